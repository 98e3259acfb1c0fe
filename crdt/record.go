package crdt

import "encoding/binary"

// A record is what a store keeps of an Entry, in one piece of memory, because a
// merge that finds its key in a large store waits for memory more than for
// anything else:
//
//	8 bytes   Timestamp.Wall; the sign bit, which no valid one has, for a tombstone
//	4 bytes   Timestamp.Logical
//	4 bytes   number of the member in the roster
//	16 bytes  the entry's lanes: what it adds to digests
//	n bytes   the key
//	n bytes   the value if values of the map are inlineBytes or less, else
//	4 bytes   piece of the values slab, which a tombstone does not have
//
// Numbers are little endian. What follows the key is undefined in a tombstone.
type record []byte

const (
	recordHead  = 32 // bytes before the key
	inlineBytes = 64 // of the largest value that lies in the record
	tombstone   = 1 << 63

	valuePieceBytes = 4

	noMember = 1<<32 - 1
)

func (r record) deleted() bool { return r[7]&0x80 != 0 }

func (r record) time() Timestamp {
	return Timestamp{
		Wall:    int64(binary.LittleEndian.Uint64(r) &^ tombstone),
		Logical: binary.LittleEndian.Uint32(r[8:]),
	}
}

func (r record) setTime(t Timestamp, deleted bool) {
	wall := uint64(t.Wall)
	if deleted {
		wall |= tombstone
	}
	binary.LittleEndian.PutUint64(r, wall)
	binary.LittleEndian.PutUint32(r[8:], t.Logical)
}

func (r record) member() uint32 { return binary.LittleEndian.Uint32(r[12:]) }

// unused reports whether r was removed: it belongs to no key.
func (r record) unused() bool { return r.member() == noMember }

func (r record) setMember(n uint32) { binary.LittleEndian.PutUint32(r[12:], n) }

func (r record) lanes() lanes {
	return lanes{binary.LittleEndian.Uint64(r[16:]), binary.LittleEndian.Uint64(r[24:])}
}

func (r record) setLanes(l lanes) {
	binary.LittleEndian.PutUint64(r[16:], l.a)
	binary.LittleEndian.PutUint64(r[24:], l.b)
}

// key returns the key, of that many bytes, with no room to append.
func (r record) key(keyBytes int) []byte {
	return r[recordHead : recordHead+keyBytes : recordHead+keyBytes]
}

// valuePiece is meant for a record of large values that is no tombstone.
func (r record) valuePiece() uint32 { return binary.LittleEndian.Uint32(r[len(r)-valuePieceBytes:]) }

func (r record) setValuePiece(i uint32) { binary.LittleEndian.PutUint32(r[len(r)-valuePieceBytes:], i) }

// read brings r into the processor's caches, whose lines have 64 bytes.
func (r record) read() (sum byte) {
	for at := 0; at < len(r); at += 64 {
		sum += r[at]
	}
	return sum + r[len(r)-1]
}
