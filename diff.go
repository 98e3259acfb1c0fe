package mapgossip

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/gossip"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// diffKeys is how many keys one turn of the owner compares.
const diffKeys = 1024

// Diff calls fn with each key of which this member and another one have different
// entries; of a key that has none, and of a tombstone that one of the two has
// forgotten (MapStatus.Floor), it tells nothing. Nothing is merged by it. fn may keep
// what it gets, and take its time; memory does not grow with the map.
//
// It is not one moment's picture: what is written meanwhile may differ because it is
// still on its way. Kernel is null: see Held.
//
// It returns the error of fn, or ErrUnknownMap, ErrUnknownMember, what keeps the
// member from answering within 3 s, ErrStopped, or the cause of ctx's end. Order is not
// promised.
func (n *Node) Diff(ctx context.Context, mapName, member string, fn func(Difference) error) error {
	d := diff{n: n, mapName: mapName, fn: fn, p: printer{mapName: mapName}}
	if err := n.with(ctx, mapName, func(*boundMap) error { return nil }); err != nil {
		return err
	}
	if member == n.config.Node {
		return n.unknownMember(member)
	}
	x, found, err := n.cluster.Compare(ctx, mapName, member)
	if !found {
		return n.unknownMember(member)
	}
	if err != nil {
		return fmt.Errorf("compare map %s with member %s: %w", mapName, member, err)
	}
	var digests []uint64
	if err := n.with(ctx, mapName, func(b *boundMap) error {
		d.shape, digests = b.shape, b.store.BucketDigests()
		return nil
	}); err != nil {
		return err
	}
	for bucket := range digests {
		if digests[bucket] != x.Digests[bucket] {
			if err := d.bucket(ctx, x, member, bucket); err != nil {
				return err
			}
		}
	}
	return nil
}

// diff is one comparison of a map with another member's.
type diff struct {
	n       *Node
	mapName string
	shape   mapwatch.Shape
	fn      func(Difference) error
	p       printer
	floor   int64    // the member's
	found   []differ // of one turn of the owner
}

// differ is a key of which the entries differ; nil: none.
type differ struct{ here, there *copied }

// bucket compares one bucket: all that the member has, and then what is left of what
// this one has.
func (d *diff) bucket(ctx context.Context, x *gossip.Comparison, member string, bucket int) error {
	left := map[crdt.Slot]bool{} // of this member's store: no entry of the member was for them
	if err := d.n.with(ctx, d.mapName, func(b *boundMap) error {
		for slot := range b.store.BucketSlots(bucket) {
			left[slot] = true
		}
		return nil
	}); err != nil {
		return err
	}
	for from, more := crdt.Slot(0), true; more; {
		chunk, err := x.Bucket(ctx, bucket, from)
		if err != nil {
			return fmt.Errorf("compare map %s with member %s: %w", d.mapName, member, err)
		}
		d.floor, from, more = chunk.Floor, chunk.Next, chunk.More
		for at := 0; at < len(chunk.Entries); at += diffKeys {
			if err := d.turn(ctx, func(b *boundMap) { d.theirs(b, &chunk, at, left) }); err != nil {
				return err
			}
		}
	}
	slots := make([]crdt.Slot, 0, len(left))
	for slot := range left {
		slots = append(slots, slot)
	}
	slices.Sort(slots)
	for len(slots) > 0 {
		if err := d.turn(ctx, func(b *boundMap) { slots = slots[d.ours(b, slots, bucket):] }); err != nil {
			return err
		}
	}
	return nil
}

// turn runs compare on the owner and tells what it found.
func (d *diff) turn(ctx context.Context, compare func(*boundMap)) error {
	d.found = d.found[:0]
	var kernel mapwatch.Map
	if err := d.n.with(ctx, d.mapName, func(b *boundMap) error {
		if b.shape.KeyBytes != d.shape.KeyBytes || b.shape.ValueBytes != d.shape.ValueBytes {
			return errAnotherMap
		}
		kernel = b.kernel
		compare(b)
		return nil
	}); err != nil {
		return err
	}
	d.p.use(kernel)
	for _, f := range d.found {
		if err := d.fn(d.p.difference(f)); err != nil {
			return err
		}
	}
	return nil
}

// theirs compares what the member has, from one entry of a chunk on.
func (d *diff) theirs(b *boundMap, chunk *gossip.BucketChunk, at int, left map[crdt.Slot]bool) {
	for i := at; i < min(at+diffKeys, len(chunk.Entries)); i++ {
		e := chunk.Entries[i]
		there := copied{Entry: e}
		there.pending, there.evicted = chunk.Lacks(i)
		slot, known := b.store.Find(e.Key)
		if !known {
			d.note(b, nil, &there)
			continue
		}
		delete(left, slot)
		if ours, _ := b.store.At(slot); ours.Compare(e) != 0 {
			here := b.copyOf(slot)
			d.note(b, &here, &there)
		}
	}
}

// ours takes slots of which the member has nothing, and returns how many.
func (d *diff) ours(b *boundMap, slots []crdt.Slot, bucket int) int {
	bytes := 0
	for i, slot := range slots {
		if i == diffKeys || i > 0 && bytes > chunkBytes {
			return i
		}
		e, known := b.store.At(slot)
		if !known || crdt.BucketOf(e.Key) != bucket { // collected meanwhile, and the slot may be another key's
			continue
		}
		bytes += len(e.Key) + len(e.Value)
		here := b.copyOf(slot)
		d.note(b, &here, nil)
	}
	return len(slots)
}

// note notes a difference, unless there is nothing on both sides: a tombstone that
// either member has forgotten is nothing.
func (d *diff) note(b *boundMap, here, there *copied) {
	floor := max(d.floor, b.store.Progress().Floor())
	none := func(c *copied) bool { return c == nil || c.Deleted && c.Version.Time.Wall <= floor }
	if !none(here) || !none(there) {
		d.found = append(d.found, differ{here, there})
	}
}

// difference puts a difference into words.
func (p *printer) difference(f differ) Difference {
	known := cmp.Or(f.here, f.there)
	d := Difference{Key: hex.EncodeToString(known.Key), KeyText: text(p.key, known.Key), Newer: "here"}
	if f.here != nil {
		e := p.entry(*f.here)
		d.Here = &e
	}
	if f.there != nil {
		e := p.entry(*f.there)
		d.There = &e
		if f.here == nil || f.there.Compare(f.here.Entry) > 0 {
			d.Newer = "there"
		}
	}
	return d
}
