package gossip

import (
	"bytes"

	"github.com/mapgossip/mapgossip/crdt"
)

// keepColumns bounds the memory, in bytes, that columns keep between frames.
const keepColumns = 1 << 20

// columns collects entries of one map for one frame after the other, in the
// same memory. The zero columns want a reset first.
type columns struct {
	sender string
	spec   *Map
	slots  []crdt.Slot // of the entries
	size   int         // an upper bound of the frame

	origins []string
	index   map[string]int // of origins
	times   []byte
	who     []uint16
	deleted []byte
	keys    []byte
	values  []byte
	frame   []byte
}

// reset begins a frame.
func (c *columns) reset(sender string, spec *Map) {
	if c.index == nil {
		c.index = make(map[string]int, 4)
	}
	clear(c.index)
	clear(c.origins)
	if cap(c.frame) > keepColumns {
		c.frame, c.keys, c.values = nil, nil, nil
	}
	c.sender, c.spec = sender, spec
	c.size = batchOverhead(sender, spec.Name)
	c.slots, c.origins, c.who = c.slots[:0], c.origins[:0], c.who[:0]
	c.times, c.deleted, c.keys, c.values = c.times[:0], c.deleted[:0], c.keys[:0], c.values[:0]
}

// batchOverhead bounds the bytes of a batch frame that are not in its entries.
func batchOverhead(sender, mapName string) int {
	return frameHeaderBytes + len(sender) + len(mapName) + 96
}

// entryBytes bounds what an entry of the map adds to a frame, but for its origin.
func entryBytes(spec *Map) int { return timestampBytes + 3 + spec.KeyBytes + spec.ValueBytes }

// addSlot adds the entry in a slot of the store, nothing for an empty slot;
// false if the frame would grow over limit bytes. The first entry always fits.
func (c *columns) addSlot(s *crdt.Store, slot crdt.Slot, limit int) bool {
	e, ok := s.At(slot)
	return !ok || c.addEntry(slot, e, limit)
}

// addEntry is addSlot for an entry that the caller has at hand.
func (c *columns) addEntry(slot crdt.Slot, e crdt.Entry, limit int) bool {
	if len(c.slots) > 0 && (c.size+entryBytes(c.spec)+len(e.Version.Member)+3 > limit || len(c.slots) >= maxOrigins) {
		return false
	}
	c.add(slot, e)
	return true
}

// add copies an entry, which must have the map's sizes.
func (c *columns) add(slot crdt.Slot, e crdt.Entry) {
	n := len(c.slots)
	at := 0
	if n > 0 {
		at = int(c.who[n-1]) // often the same
	}
	if n == 0 || c.origins[at] != e.Version.Member {
		var ok bool
		if at, ok = c.index[e.Version.Member]; !ok {
			at = len(c.origins)
			c.index[e.Version.Member] = at
			c.origins = append(c.origins, e.Version.Member)
			c.size += len(e.Version.Member) + 3
		}
	}
	c.slots = append(c.slots, slot)
	c.who = append(c.who, uint16(at))
	c.times = e.Version.Time.AppendBinary(c.times)
	c.keys = append(c.keys, e.Key...)
	if n%8 == 0 {
		c.deleted = append(c.deleted, 0)
	}
	if e.Deleted {
		c.deleted[n/8] |= 1 << (n % 8)
	} else {
		c.values = append(c.values, e.Value...)
	}
	c.size += timestampBytes + 3 + len(e.Key) + len(e.Value)
}

// encode returns the frame, which is the columns' own until the next reset.
func (c *columns) encode(seq uint64, stream bool, session uint64) []byte {
	w := newFrameIn(c.frame, kindBatch, c.sender, 12, c.size)
	w.uint(seq)
	w.flag(stream)
	w.uint(session)
	w.text(c.spec.Name)
	w.number(c.spec.KeyBytes)
	w.number(c.spec.ValueBytes)
	w.array(len(c.origins))
	for _, o := range c.origins {
		w.text(o)
	}
	w.blob(c.times)
	w.originColumn(c.who, len(c.origins))
	w.blob(c.deleted)
	w.blob(c.keys)
	w.blob(c.values)
	c.frame = w.finish()
	return c.frame
}

// originColumn writes the index of each entry's origin: a byte each, two (big
// endian) from 257 origins on.
func (w *frameWriter) originColumn(who []uint16, origins int) {
	width := 1
	if origins > 256 {
		width = 2
	}
	_ = w.enc.EncodeBytesLen(width * len(who))
	col := w.buf.AvailableBuffer()
	for _, at := range who {
		if width == 2 {
			col = append(col, byte(at>>8))
		}
		col = append(col, byte(at))
	}
	w.buf.Write(col)
}

// newFrameIn is newFrame in the given memory, if that is large enough.
func newFrameIn(memory []byte, k kind, sender string, fields, sizeHint int) *frameWriter {
	w := &frameWriter{buf: *bytes.NewBuffer(memory[:0])}
	w.begin(k, sender, fields, sizeHint)
	return w
}
