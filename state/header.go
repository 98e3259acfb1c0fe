package state

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// formatVersion of the files that are written, and the only one that is read.
const formatVersion = 1

const magic = "mapgossip state\n"

// Identity says whose state a directory holds.
type Identity struct {
	Node    string // the stable ID of the member
	Cluster string
}

// What a file is.
const (
	fileSnapshot = 'S'
	fileJournal  = 'J'
)

// What a journal goes on from.
const (
	fromNothing  = 0 // no entries
	fromJournal  = 1 // the first bytes of an older journal
	fromSnapshot = 2 // the snapshot of its own generation and nothing else
)

// header is the first frame of each file: the kind of frame, magic, and
//
//	2 bytes   format version, little endian like all that follows
//	1 byte    what the file is
//	8 bytes   its generation
//	1 byte    what a journal goes on from
//	8 bytes   generation of that journal
//	8 bytes   how many bytes of it count
//	n bytes   node ID, cluster name: each its length as an uvarint, then its bytes
type header struct {
	file       byte
	generation uint64
	from       byte
	previous   uint64
	length     uint64
	id         Identity
}

func (w *writer) header(h header) {
	start := w.open(kindHeader)
	b := append(w.bytes, magic...)
	b = binary.LittleEndian.AppendUint16(b, formatVersion)
	b = append(b, h.file)
	b = binary.LittleEndian.AppendUint64(b, h.generation)
	b = append(b, h.from)
	b = binary.LittleEndian.AppendUint64(b, h.previous)
	b = binary.LittleEndian.AppendUint64(b, h.length)
	for _, s := range []string{h.id.Node, h.id.Cluster} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	w.bytes = b
	w.seal(start)
}

// parseHeader decodes the payload of a file's first frame. The error wraps
// errDamaged and says what to do.
func parseHeader(payload []byte) (h header, err error) {
	b, ok := strings.CutPrefix(string(payload), string(kindHeader)+magic)
	if !ok || len(b) < 2 {
		return header{}, fmt.Errorf("not a file of mapgossip: %w", errDamaged)
	}
	fields := []byte(b)
	if version := binary.LittleEndian.Uint16(fields); version != formatVersion {
		return header{}, fmt.Errorf("format version %d, this release reads version %d; go back to the release that wrote it to use it: %w", version, formatVersion, errDamaged)
	}
	if len(fields) < 28 {
		return header{}, fmt.Errorf("not a file of mapgossip: %w", errDamaged)
	}
	h.file = fields[2]
	h.generation = binary.LittleEndian.Uint64(fields[3:])
	h.from = fields[11]
	h.previous = binary.LittleEndian.Uint64(fields[12:])
	h.length = binary.LittleEndian.Uint64(fields[20:])
	rest := fields[28:]
	for _, s := range []*string{&h.id.Node, &h.id.Cluster} {
		n, k := binary.Uvarint(rest)
		if k <= 0 || n > uint64(len(rest)-k) {
			return header{}, fmt.Errorf("not a file of mapgossip: %w", errDamaged)
		}
		*s, rest = string(rest[k:k+int(n)]), rest[k+int(n):]
	}
	return h, nil
}

// check returns an error that wraps errDamaged if h does not belong to this
// generation of this member.
func (h header) check(file byte, generation uint64, id Identity) error {
	switch {
	case h.id != id:
		return fmt.Errorf("state of node %q in cluster %q, not of node %q in cluster %q; give each member a directory of its own: %w", h.id.Node, h.id.Cluster, id.Node, id.Cluster, errDamaged)
	case h.file != file || h.generation != generation || h.from > fromSnapshot:
		return fmt.Errorf("the file is not what its name says: %w", errDamaged)
	case h.from == fromJournal && h.previous >= generation:
		return fmt.Errorf("goes on from a later journal: %w", errDamaged)
	}
	return nil
}
