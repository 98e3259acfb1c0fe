package gossip

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/mapgossip/mapgossip/crdt"
)

// chunkBytes bounds the entries in one answer; a single larger entry still makes
// an answer of its own.
const chunkBytes = 1 << 20

// Comparison looks into a map of another member. Nothing is merged by it, here or
// there. It is not safe for concurrent use.
type Comparison struct {
	// Digests are of the member's buckets, as crdt.Store.BucketDigests returned
	// them when the comparison began.
	Digests []uint64

	cluster *Cluster
	peer    *peer
	spec    *Map
}

// BucketChunk is some entries of one bucket of another member's map.
type BucketChunk struct {
	Entries []crdt.Entry
	Floor   int64     // the member's: it has no tombstones up to then, whether it knows of the deletes or not
	Next    crdt.Slot // of the member's store: where to go on
	More    bool      // there is something to go on for

	pending, evicted []byte // a bit for each entry
}

// Lacks reports whether the member's kernel map does not have the entry yet, or let
// go of it.
func (b *BucketChunk) Lacks(i int) (pending, evicted bool) {
	return b.pending[i/8]>>(i%8)&1 == 1, b.evicted[i/8]>>(i%8)&1 == 1
}

// Compare begins to compare a map with that of a living member. found is false if
// there is no such member, or no such map here.
func (c *Cluster) Compare(ctx context.Context, mapName, node string) (x *Comparison, found bool, err error) {
	var p *peer
	for _, q := range c.peers() {
		if q.Node == node && (p == nil || p.earlier(q.meta)) {
			p = q
		}
	}
	spec := c.spec(mapName)
	if p == nil || spec == nil {
		return nil, false, nil
	}
	w := newBody(3, 512)
	w.text(mapName)
	w.number(spec.KeyBytes)
	w.number(spec.ValueBytes)
	body, err := c.ask(ctx, p, askBuckets, w.body())
	if err != nil {
		return nil, true, err
	}
	digests, err := decodeBuckets(body)
	if err != nil {
		return nil, true, err
	}
	return &Comparison{digests, c, p, spec}, true, nil
}

func decodeBuckets(body []byte) ([]uint64, error) {
	var packed []byte
	if err := openBody(body, 1, func(r *fieldReader) {
		if packed = r.blob(8 * crdt.Buckets); len(packed) != 8*crdt.Buckets {
			r.fail("%d bytes of bucket digests", len(packed))
		}
	}); err != nil {
		return nil, err
	}
	digests := make([]uint64, crdt.Buckets)
	for i := range digests {
		digests[i] = binary.BigEndian.Uint64(packed[8*i:])
	}
	return digests, nil
}

// Bucket returns the entries of one bucket from a slot on, 0 at first, at most 1 MiB
// of them or one. An entry that is there all the time comes once.
func (x *Comparison) Bucket(ctx context.Context, bucket int, from crdt.Slot) (BucketChunk, error) {
	w := newBody(3, 512)
	w.text(x.spec.Name)
	w.number(bucket)
	w.uint(uint64(from))
	body, err := x.cluster.ask(ctx, x.peer, askBucket, w.body())
	if err != nil {
		return BucketChunk{}, err
	}
	b, err := decodeBucket(body, x.spec, bucket)
	if err == nil && b.More && b.Next <= from {
		err = fmt.Errorf("%w: the member goes round in circles", errMalformed)
	}
	return b, err
}

func decodeBucket(body []byte, spec *Map, bucket int) (BucketChunk, error) {
	var b BucketChunk
	var frame []byte
	if err := openBody(body, 6, func(r *fieldReader) {
		b.Floor, b.Next, b.More = r.int(), crdt.Slot(r.number(math.MaxUint32)), r.flag()
		b.pending, b.evicted = r.blob(maxFrameBytes), r.blob(maxFrameBytes)
		frame = r.blob(maxFrameBytes)
	}); err != nil {
		return BucketChunk{}, err
	}
	if len(frame) > 0 {
		k, _, fields, err := openFrame(frame)
		if err != nil {
			return BucketChunk{}, err
		}
		if k != kindBatch {
			return BucketChunk{}, fmt.Errorf("%w: no batch but kind %d", errMalformed, k)
		}
		got, err := new(decoder).batch(fields)
		if err != nil {
			return BucketChunk{}, err
		}
		if got.Map != spec.Name || got.KeyBytes != spec.KeyBytes || got.ValueBytes != spec.ValueBytes {
			return BucketChunk{}, fmt.Errorf("%w: entries of map %s with keys of %d and values of %d bytes", errMalformed, readable(got.Map), got.KeyBytes, got.ValueBytes)
		}
		b.Entries = got.Entries
	}
	if n := (len(b.Entries) + 7) / 8; len(b.pending) != n || len(b.evicted) != n {
		return BucketChunk{}, fmt.Errorf("%w: %d and %d bytes of marks for %d entries", errMalformed, len(b.pending), len(b.evicted), len(b.Entries))
	}
	for _, e := range b.Entries {
		if crdt.BucketOf(e.Key) != bucket || !printable(e.Version.Member) {
			return BucketChunk{}, fmt.Errorf("%w: an entry of another bucket, or without an origin", errMalformed)
		}
	}
	return b, nil
}

func (c *Cluster) replyBuckets(ctx context.Context, body []byte) ([]byte, error) {
	var asked Map
	if err := openBody(body, 3, func(r *fieldReader) {
		asked = Map{Name: r.text(maxMapNameBytes), KeyBytes: r.number(MaxEntryBytes), ValueBytes: r.number(MaxEntryBytes)}
	}); err != nil {
		return nil, err
	}
	spec := c.spec(asked.Name)
	if spec == nil {
		return nil, fmt.Errorf("map %s is not replicated there", readable(asked.Name))
	}
	if asked.KeyBytes != spec.KeyBytes || asked.ValueBytes != spec.ValueBytes {
		return nil, fmt.Errorf("map %s has keys of %d and values of %d bytes there", spec.Name, spec.KeyBytes, spec.ValueBytes)
	}
	var digests []uint64
	if err := c.replica.Read(ctx, spec.Name, func(s *crdt.Store) { digests = s.BucketDigests() }); err != nil {
		return nil, err
	}
	packed := make([]byte, 0, 8*len(digests))
	for _, d := range digests {
		packed = binary.BigEndian.AppendUint64(packed, d)
	}
	w := newBody(1, len(packed)+16)
	w.blob(packed)
	return w.body(), nil
}

func (c *Cluster) replyBucket(ctx context.Context, body []byte) ([]byte, error) {
	var name string
	var bucket int
	var from crdt.Slot
	if err := openBody(body, 3, func(r *fieldReader) {
		name, bucket, from = r.text(maxMapNameBytes), r.number(crdt.Buckets-1), crdt.Slot(r.number(math.MaxUint32))
	}); err != nil {
		return nil, err
	}
	spec := c.spec(name)
	if spec == nil {
		return nil, fmt.Errorf("map %s is not replicated there", readable(name))
	}
	cols := c.columns.Get().(*columns)
	defer c.columns.Put(cols)
	var pending, evicted []byte
	var floor int64
	next, more := from, false
	err := c.replica.Inspect(ctx, name, func(s *crdt.Store, lacks func(crdt.Slot) (bool, bool)) {
		cols.reset(c.name, spec)
		floor = s.Progress().Floor()
		var slots []crdt.Slot
		for slot := range s.BucketSlots(bucket) {
			if slot >= from {
				slots = append(slots, slot)
			}
		}
		slices.Sort(slots) // a slot stays its key's for as long as that is there
		for _, slot := range slots {
			at := len(cols.slots)
			if !cols.addSlot(s, slot, chunkBytes) {
				next, more = slot, true
				return
			}
			if at == len(cols.slots) {
				continue
			}
			if at%8 == 0 {
				pending, evicted = append(pending, 0), append(evicted, 0)
			}
			p, e := lacks(slot)
			if p {
				pending[at/8] |= 1 << (at % 8)
			}
			if e {
				evicted[at/8] |= 1 << (at % 8)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	var frame []byte
	if len(cols.slots) > 0 {
		frame = cols.encode(0, true, 0)
	}
	w := newBody(6, len(frame)+2*len(pending)+128)
	w.int(floor)
	w.uint(uint64(next))
	w.flag(more)
	w.blob(pending)
	w.blob(evicted)
	w.blob(frame)
	return w.body(), nil
}
