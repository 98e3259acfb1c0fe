package mapgossip

import (
	"context"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// What one turn of the owner copies of a map, at most, which takes it some hundred
// microseconds; an entry that is larger than chunkBytes comes alone.
const (
	chunkSlots = 4096    // slots of the store that are passed over
	chunkBytes = 1 << 20 // of keys and values
)

// chunk is what one turn copied. Its memory is used again.
type chunk struct {
	entries []copied
	memory  []byte // of their keys and values
}

// Entries calls fn with all entries of a map, tombstones included if asked for,
// some at a time: at most chunkSlots, with at most chunkBytes of keys and values,
// or one. fn may keep what it gets, and may take its time: nothing waits for it,
// and memory does not grow with the map. Nor is it one moment's picture: an entry
// that is there all the time comes once, as it is when its turn comes; of what comes
// and goes meanwhile some is there and some is not. Kernel is null: see Entry.
//
// Tombstones that all members have (MapStatus.Floor) are left out: some members
// still hold them, others don't, and to their digests it is all the same.
//
// It returns the error of fn, or the cause of ctx's end, ErrUnknownMap or
// ErrStopped. Order is not promised.
func (n *Node) Entries(ctx context.Context, mapName string, tombstones bool, fn func([]Entry) error) error {
	p := printer{mapName: mapName}
	var c chunk
	var next, end crdt.Slot
	for begun := false; !begun || next < end; begun = true {
		if ctx.Err() != nil { // with an owner that is ready n.call may run nevertheless
			return context.Cause(ctx)
		}
		var kernel mapwatch.Map
		if err := n.with(ctx, mapName, func(b *boundMap) error {
			if !begun { // a map that grows faster than fn reads has an end, too
				end = b.store.Slots()
			}
			kernel = b.kernel
			next = b.copyChunk(&c, next, end, tombstones)
			return nil
		}); err != nil {
			return err
		}
		if len(c.entries) == 0 {
			continue
		}
		p.use(kernel)
		entries := make([]Entry, len(c.entries))
		for i := range c.entries {
			entries[i] = p.entry(c.entries[i])
		}
		if err := fn(entries); err != nil {
			return err
		}
	}
	return nil
}

// copyChunk copies entries from slot next on, up to end or until that is enough
// for one turn, and returns where to go on.
func (b *boundMap) copyChunk(c *chunk, next, end crdt.Slot, tombstones bool) crdt.Slot {
	if c.memory == nil {
		most := b.shape.KeyBytes + b.shape.ValueBytes
		c.memory = make([]byte, 0, max(most, min(chunkBytes, chunkSlots*most)))
	}
	c.entries = c.entries[:0]
	memory, floor := c.memory, b.store.Progress().Floor()
	for end = min(end, next+chunkSlots); next < end; next++ {
		e, known := b.store.At(next)
		if !known || e.Deleted && (!tombstones || e.Version.Time.Wall <= floor) {
			continue
		}
		size := len(e.Key) + len(e.Value)
		if len(memory)+size > cap(memory) {
			break
		}
		c.entries = append(c.entries, b.appendCopy(memory, next, e))
		memory = memory[:len(memory)+size]
	}
	return next
}
