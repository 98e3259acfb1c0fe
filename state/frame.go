package state

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/mapgossip/mapgossip/crdt"
)

// errDamaged: the bytes of a file are not what was written, or files are
// missing. What is in the directory is then not believed.
var errDamaged = errors.New("cannot be used")

// A file is a sequence of frames:
//
//	4 bytes   n, little endian, 1 or more
//	4 bytes   CRC-32C of the payload, little endian
//	n bytes   payload: its kind, then what follows from that
//
// No frame is empty, because zeros would otherwise be a sequence of them.
const frameHead = 8

// Kinds of a payload.
const (
	kindHeader  = 'H' // first in a file: what it is and to whom it belongs
	kindName    = 'N' // the name of a map: entries say 0 for the first one of the file, then 1 and so on
	kindEntry   = 'E' // uvarint of the map's number in the file, then an entry as crdt encodes it
	kindWaiting = 'W' // the same, and the kernel did not hold it
	kindMeta    = 'M' // the caller's blob
	kindSettled = 'S' // the kernel held all entries before
	kindFooter  = 'F' // last in a snapshot: how many entries there are, 8 bytes little endian
)

// writer makes the frames of one file in memory.
type writer struct {
	bytes []byte
	names map[string]uint64 // the maps named in this file
}

func checksum(payload []byte) uint32 {
	return crc32.Checksum(payload, crc32.MakeTable(crc32.Castagnoli))
}

// open starts a frame and returns where; payload bytes are then appended to
// w.bytes, and seal ends it.
func (w *writer) open(kind byte) (start int) {
	start = len(w.bytes)
	w.bytes = append(w.bytes, 0, 0, 0, 0, 0, 0, 0, 0, kind)
	return start
}

func (w *writer) seal(start int) {
	payload := w.bytes[start+frameHead:]
	binary.LittleEndian.PutUint32(w.bytes[start:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(w.bytes[start+4:], checksum(payload))
}

func (w *writer) entry(mapName string, e crdt.Entry, waiting bool) {
	number, ok := w.names[mapName]
	if !ok {
		number = uint64(len(w.names))
		w.names[mapName] = number
		start := w.open(kindName)
		w.bytes = append(w.bytes, mapName...)
		w.seal(start)
	}
	kind := byte(kindEntry)
	if waiting {
		kind = kindWaiting
	}
	start := w.open(kind)
	w.bytes = binary.AppendUvarint(w.bytes, number)
	w.bytes = e.AppendBinary(w.bytes)
	w.seal(start)
}

func (w *writer) meta(b []byte) {
	start := w.open(kindMeta)
	w.bytes = append(w.bytes, b...)
	w.seal(start)
}

func (w *writer) settled() { w.seal(w.open(kindSettled)) }

func (w *writer) footer(entries uint64) {
	start := w.open(kindFooter)
	w.bytes = binary.LittleEndian.AppendUint64(w.bytes, entries)
	w.seal(start)
}

// cutFrame returns the payload of the frame at the start of b and what follows
// it; not ok if there is no whole and good one.
func cutFrame(b []byte) (payload, rest []byte, ok bool) {
	if len(b) < frameHead {
		return nil, b, false
	}
	n := uint64(binary.LittleEndian.Uint32(b))
	if n == 0 || n > uint64(len(b)-frameHead) {
		return nil, b, false
	}
	end := frameHead + int(n)
	payload = b[frameHead:end:end]
	if checksum(payload) != binary.LittleEndian.Uint32(b[4:]) {
		return nil, b, false
	}
	return payload, b[end:], true
}

// torn reports whether b, which does not start with a good frame, looks like
// the end of a file whose last write was cut short: there is no good frame of
// usual size anywhere in it. One that follows says that the file was damaged
// where it had been whole.
func torn(b []byte) bool {
	const usual = 64 << 10
	for at := 1; at+frameHead < len(b); at++ {
		if n := binary.LittleEndian.Uint32(b[at:]); n == 0 || n > usual {
			continue
		}
		switch b[at+frameHead] {
		case kindHeader, kindName, kindEntry, kindWaiting, kindMeta, kindSettled, kindFooter:
			if _, _, ok := cutFrame(b[at:]); ok {
				return false
			}
		}
	}
	return true
}
