package mapwatch

import (
	"bytes"
	"slices"
	"sync"
)

// Bounds of one Batch. A batch that reaches one of them is sent and a new one
// begun.
const (
	batchChanges   = 4096
	batchDataBytes = 4 << 20
	slabBytes      = 64 << 10 // least allocation for keys and values
)

// batchMemory is what a batch's changes lie in. It goes round: builder, receiver,
// pool.
type batchMemory struct {
	pool    *sync.Pool
	changes []Change
	slab    []byte
}

// batchBuilder collects changes for the next Batch. Not safe for concurrent use.
type batchBuilder struct {
	pool    sync.Pool // of *batchMemory
	least   int       // bytes in the ring of the shortest record with a value
	most    int       // bytes of the longest key and value
	memory  *batchMemory
	changes []Change
	data    int    // bytes of keys and values in changes
	slab    []byte // room for the next keys and values, shared by a batch's changes
	rescan  []bool // by map
	rescans int    // how many of rescan are set
	drained []int  // maps, no duplicates
}

func newBatchBuilder(shapes []Shape) *batchBuilder {
	b := &batchBuilder{rescan: make([]bool, len(shapes))}
	for i, s := range shapes {
		if n := ringHeadBytes + recordHeadBytes + s.KeyBytes + s.ValueBytes; i == 0 || n < b.least {
			b.least = n
		}
		b.most = max(b.most, s.KeyBytes+s.ValueBytes)
	}
	return b
}

// expect makes room for about that many bytes of ring data, so that one drain
// of the ring costs few allocations, and none where batches are released.
func (b *batchBuilder) expect(ringBytes int) {
	if ringBytes <= 0 || b.memory != nil {
		return
	}
	b.memory, _ = b.pool.Get().(*batchMemory)
	if b.memory == nil {
		b.memory = &batchMemory{pool: &b.pool}
	}
	changes := min(ringBytes/b.least+1, batchChanges)
	bytes := min(max(ringBytes, 512), batchDataBytes, changes*b.most)
	if cap(b.memory.changes) < changes {
		b.memory.changes = make([]Change, 0, changes)
	}
	if len(b.memory.slab) < bytes {
		b.memory.slab = make([]byte, bytes)
	}
	if len(b.changes) == 0 {
		b.changes = b.memory.changes[:0]
	}
	if len(b.slab) == 0 {
		b.slab = b.memory.slab
	}
}

// add copies a record's key and value; r.slot is an index of the watch's maps.
func (b *batchBuilder) add(r record) {
	change := Change{Map: int(r.slot), Captured: r.captured, CPU: r.cpu, PID: uint32(r.pidTgid >> 32), Source: r.source}
	// Behind the zero there can be the rest of an earlier name (5.10).
	comm, _, _ := bytes.Cut(r.comm, []byte{0})
	copy(change.Comm[:], comm)
	switch r.kind {
	case recordUpdated:
		change.Kind = Updated
	case recordDeleted:
		change.Kind = Deleted
	case recordTouched:
		change.Kind = Touched
	case recordEvicted:
		change.Kind = Evicted
	case recordDrained:
		b.addDrained(int(r.slot))
		return
	}
	n := len(r.key) + len(r.value)
	if len(b.slab) < n {
		b.slab = make([]byte, max(n, slabBytes))
	}
	data := b.slab[:n:n]
	b.slab = b.slab[n:]
	copy(data, r.key)
	change.Key = data[:len(r.key):len(r.key)]
	if change.Kind == Updated {
		copy(data[len(r.key):], r.value)
		change.Value = data[len(r.key):]
	}
	b.data += n
	b.changes = append(b.changes, change)
}

// addRescan marks a map as one that lost records.
func (b *batchBuilder) addRescan(mapIndex int) {
	if !b.rescan[mapIndex] {
		b.rescan[mapIndex] = true
		b.rescans++
	}
}

// addDrained marks a map as one of which many keys were deleted at once.
func (b *batchBuilder) addDrained(mapIndex int) {
	b.addRescan(mapIndex)
	if !slices.Contains(b.drained, mapIndex) {
		b.drained = append(b.drained, mapIndex)
	}
}

// addRescanAll marks every map.
func (b *batchBuilder) addRescanAll() {
	for i := range b.rescan {
		b.addRescan(i)
	}
}

func (b *batchBuilder) full() bool {
	return len(b.changes) >= batchChanges || b.data >= batchDataBytes
}

func (b *batchBuilder) empty() bool { return len(b.changes) == 0 && b.rescans == 0 }

// take returns what was collected and starts anew.
func (b *batchBuilder) take(upto int64) Batch {
	batch := Batch{Changes: b.changes, Upto: upto, Drained: b.drained, memory: b.memory}
	if b.memory != nil {
		b.memory.changes = b.changes[:0] // it may have grown
	}
	if b.rescans > 0 {
		batch.Rescan = make([]int, 0, b.rescans)
		for i, set := range b.rescan {
			if set {
				batch.Rescan = append(batch.Rescan, i)
			}
		}
		clear(b.rescan)
	}
	b.memory, b.changes, b.data, b.slab, b.rescans, b.drained = nil, nil, 0, nil, 0, nil
	return batch
}
