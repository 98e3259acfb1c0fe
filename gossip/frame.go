package gossip

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/vmihailenco/msgpack/v5"
)

// A frame is one message between two members: an 11-byte header and a body.
//
//	0   magic 0xB6
//	1   version of the envelope
//	2   kind
//	3   length of the body, 4 bytes, big endian
//	7   CRC-32C of bytes 0 to 6 and the body, 4 bytes, big endian
//	11  body: one msgpack array; its first element is the sender's memberlist name
//
// A kind never changes its fields: a new meaning is a new kind, and unknown
// kinds are skipped and counted.
const (
	frameMagic       = 0xB6
	frameVersion     = 1
	frameHeaderBytes = 11
	maxFrameBytes    = 20 << 20 // what memberlist lets through
	maxNameBytes     = maxNodeBytes + 1 + bootIDBytes
)

type kind uint8

const (
	kindBatch      kind = iota + 1 // entries
	kindAck                        // batches that were merged
	kindState                      // shapes and digests of all maps
	kindSyncStart                  // bucket digests of one map: a sync session begins
	kindSyncWant                   // the buckets that differ
	kindSyncEnd                    // all of the sender's entries of these were merged
	kindSyncRefuse                 // no session, and why
	kindGoodbye                    // the sender leaves in order
	kindSyncParts                  // sums of the parts of some buckets that differ
	kindSyncPrints                 // fingerprints of the entries of the parts that differ
	kindSyncLack                   // which of these entries are wanted
	kindSyncChunk                  // these were merged
	kindAsk                        // something is to be told or done, by kind
	kindAnswer                     // what came of it
)

var (
	errMalformed   = errors.New("malformed frame")
	errUnknownKind = errors.New("unknown kind or version of frame")
)

// frameWriter builds one frame.
type frameWriter struct {
	buf bytes.Buffer
	enc *msgpack.Encoder
}

// newFrame begins a frame of the given kind, whose body has fields elements
// after the sender. sizeHint is the expected size of the whole in bytes.
func newFrame(k kind, sender string, fields, sizeHint int) *frameWriter {
	w := &frameWriter{}
	w.begin(k, sender, fields, sizeHint)
	return w
}

func (w *frameWriter) begin(k kind, sender string, fields, sizeHint int) {
	w.buf.Grow(sizeHint)
	w.buf.Write([]byte{frameMagic, frameVersion, byte(k), 0, 0, 0, 0, 0, 0, 0, 0})
	w.enc = msgpack.NewEncoder(&w.buf)
	w.array(fields + 1)
	w.text(sender)
}

// A bytes.Buffer never fails, so the errors of these have nothing to say.

func (w *frameWriter) array(n int)   { _ = w.enc.EncodeArrayLen(n) }
func (w *frameWriter) text(s string) { _ = w.enc.EncodeString(s) }
func (w *frameWriter) uint(n uint64) { _ = w.enc.EncodeUint(n) }
func (w *frameWriter) int(n int64)   { _ = w.enc.EncodeInt(n) }
func (w *frameWriter) number(n int)  { w.uint(uint64(n)) }
func (w *frameWriter) flag(set bool) { _ = w.enc.EncodeBool(set) }

// blob writes b; a nil one too, which the encoder would not write as empty bytes.
func (w *frameWriter) blob(b []byte) {
	_ = w.enc.EncodeBytesLen(len(b))
	w.buf.Write(b)
}

// finish seals the frame and returns its bytes.
func (w *frameWriter) finish() []byte {
	b := w.buf.Bytes()
	binary.BigEndian.PutUint32(b[3:], uint32(len(b)-frameHeaderBytes))
	binary.BigEndian.PutUint32(b[7:], frameSum(b))
	return b
}

func frameSum(b []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(b[:7], table), table, b[frameHeaderBytes:])
}

// openFrame verifies a frame whole and returns its kind, its sender and a
// reader of the remaining fields, which refers to b. The error is
// errUnknownKind or wraps errMalformed.
func openFrame(b []byte) (k kind, sender string, r *fieldReader, err error) {
	if len(b) < frameHeaderBytes || b[0] != frameMagic {
		return 0, "", nil, fmt.Errorf("%w: no header", errMalformed)
	}
	if n := binary.BigEndian.Uint32(b[3:]); uint64(n) != uint64(len(b)-frameHeaderBytes) {
		return 0, "", nil, fmt.Errorf("%w: body of %d bytes announced, %d present", errMalformed, n, len(b)-frameHeaderBytes)
	}
	if binary.BigEndian.Uint32(b[7:]) != frameSum(b) {
		return 0, "", nil, fmt.Errorf("%w: checksum differs", errMalformed)
	}
	k = kind(b[2])
	if b[1] != frameVersion || k < kindBatch || k > kindAnswer {
		return k, "", nil, errUnknownKind
	}
	r = newFieldReader(b[frameHeaderBytes:])
	r.left = r.array(64)
	sender = r.text(maxNameBytes)
	if r.err != nil {
		return k, "", nil, r.err
	}
	return k, sender, r, nil
}
