package gossip

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"

	"github.com/vmihailenco/msgpack/v5"
)

const (
	// protocol is what members of different versions must share. A change
	// that an older member cannot skip raises it.
	protocol        = 2
	bootIDBytes     = 16 // hexadecimal
	maxVersionBytes = 64
)

// meta is what memberlist carries about a member, at most 512 bytes of it.
type meta struct {
	Protocol int
	Node     string
	BootID   string
	Start    int64 // wall clock when the member was opened, ns since the Unix epoch
	Version  string
}

// newBootID returns a random ID for one run of a member.
func newBootID() string {
	var b [bootIDBytes / 2]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// name is the memberlist name: a restart is a new member at once.
func (m meta) name() string { return m.Node + "-" + m.BootID }

func (m meta) encode() []byte {
	w := &frameWriter{}
	w.enc = msgpack.NewEncoder(&w.buf)
	w.array(5)
	w.number(m.Protocol)
	w.text(m.Node)
	w.text(m.BootID)
	w.int(m.Start)
	w.text(m.Version)
	return bytes.Clone(w.buf.Bytes())
}

func decodeMeta(b []byte) (m meta, err error) {
	r := newFieldReader(b)
	r.record(5, func() {
		m = meta{
			Protocol: r.number(255),
			Node:     r.text(maxNodeBytes),
			BootID:   r.text(bootIDBytes),
			Start:    r.int(),
			Version:  r.text(maxVersionBytes),
		}
	})
	if err := r.end(); err != nil {
		return meta{}, err
	}
	if m.Node == "" || len(m.BootID) != bootIDBytes || !printable(m.Node) || !printable(m.BootID) || !printable(m.Version) {
		return meta{}, fmt.Errorf("%w: node %q, boot ID %q", errMalformed, m.Node, m.BootID)
	}
	return m, nil
}

// earlier reports whether m started before o; a total order of members.
func (m meta) earlier(o meta) bool {
	if m.Start != o.Start {
		return m.Start < o.Start
	}
	if m.Node != o.Node {
		return m.Node < o.Node
	}
	return m.BootID < o.BootID
}
