package gossip

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/hashicorp/memberlist"
)

// Bytes of memberlist's that begin a packet or a stream (v0.7.0: net.go, label.go).
const (
	labelByte    = 0xf4 // a length byte and the cluster's name follow
	compressByte = 9
	encryptByte  = 10 // of a stream: 4 bytes of length follow
	// An encrypted message begins with its version. Version 0 is not written by any
	// member, and one whose padding lies makes memberlist panic; so does a stream
	// whose message is empty.
	encryptVersion = 1
	encryptedBytes = 1 + 12 + 16 // of an empty message
)

var errUnwanted = errors.New("a message that no member sends")

// withoutLabel returns what follows the label; false where it is cut off.
func withoutLabel(b []byte) ([]byte, bool) {
	if len(b) == 0 || b[0] != labelByte {
		return b, true
	}
	if len(b) < 2 || len(b) < 2+int(b[1]) {
		return nil, false
	}
	return b[2+int(b[1]):], true
}

// disarm changes a packet of encryption version 0, where members encrypt, to one
// of no version, which memberlist refuses, and tells whose it was.
func disarm(packet []byte) {
	if b, ok := withoutLabel(packet); ok && len(b) > 0 && b[0] == 0 {
		b[0] = 0xff
	}
}

// opening is the beginning of a stream, as far as it was read.
type opening struct {
	head   []byte
	length int // of the whole stream, once it is known; -1: not to be known
}

// maxOpening is label, type, length and version.
const maxOpening = 2 + memberlist.LabelMaxSize + 1 + 4 + 1

// see takes what was read next. The error is errUnwanted.
func (o *opening) see(b []byte) error {
	if o.length != 0 {
		return nil
	}
	o.head = append(o.head, b[:min(len(b), maxOpening-len(o.head))]...)
	rest, ok := withoutLabel(o.head)
	if !ok || len(rest) == 0 {
		return nil
	}
	switch rest[0] {
	case compressByte: // some bytes of it become 40 MiB
		return errUnwanted
	case encryptByte:
		if len(rest) < 6 {
			return nil
		}
		n := binary.BigEndian.Uint32(rest[1:])
		if rest[5] != encryptVersion || n <= encryptedBytes {
			return errUnwanted
		}
		o.length = len(o.head) - len(rest) + 5 + int(n)
	default:
		o.length = -1
	}
	o.head = nil
	return nil
}

// forwardPackets passes packets on to memberlist. It copies them, because each
// comes in 64 KiB of memory and thousands may wait.
func (t *transport) forwardPackets() {
	for {
		select {
		case <-t.ctx.Done():
			return
		case p := <-t.base.PacketCh():
			p.Buf = bytes.Clone(p.Buf)
			if t.encrypted {
				disarm(p.Buf)
			}
			select {
			case t.packets <- p:
			case <-t.ctx.Done():
				return
			}
		}
	}
}
