package mapwatch

import (
	"bytes"
	"slices"
	"testing"
)

func TestBatchBuilder(t *testing.T) {
	b := newBatchBuilder(make([]Shape, 3))
	if !b.empty() {
		t.Error("a new one is not empty")
	}
	b.expect(1000)
	key, value := []byte("key"), []byte("value")
	b.add(record{slot: 1, cpu: 7, captured: 5, pidTgid: 8<<32 | 9, source: SourceProgram, kind: recordUpdated, key: key, value: value, comm: []byte("writer\x00.test789\x00")})
	b.add(record{slot: 0, captured: 6, kind: recordDeleted, key: key})
	b.add(record{slot: 2, captured: 7, kind: recordTouched, key: key})
	b.add(record{slot: 2, kind: recordDrained})
	b.add(record{slot: 2, kind: recordDrained})
	b.add(record{slot: 1, captured: 8, kind: recordEvicted, key: key})
	b.addRescan(0)
	b.addRescan(2)
	clear(key) // the ring is read over
	clear(value)

	got := b.take(99)
	want := []Change{
		{Map: 1, Kind: Updated, Key: []byte("key"), Value: []byte("value"), Captured: 5, CPU: 7, PID: 8, Source: SourceProgram, Comm: [16]byte{'w', 'r', 'i', 't', 'e', 'r'}},
		{Map: 0, Kind: Deleted, Key: []byte("key"), Captured: 6},
		{Map: 2, Kind: Touched, Key: []byte("key"), Captured: 7},
		{Map: 1, Kind: Evicted, Key: []byte("key"), Captured: 8},
	}
	same := func(a, b Change) bool {
		return a.Map == b.Map && a.Kind == b.Kind && bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value) &&
			(a.Value == nil) == (b.Value == nil) && a.Captured == b.Captured && a.CPU == b.CPU &&
			a.PID == b.PID && a.Source == b.Source && a.Comm == b.Comm
	}
	if !slices.EqualFunc(got.Changes, want, same) || got.Upto != 99 || !slices.Equal(got.Rescan, []int{0, 2}) || !slices.Equal(got.Drained, []int{2}) {
		t.Errorf("got %+v", got)
	}
	// The receiver owns what it got: growing one slice must not reach another.
	_ = append(got.Changes[0].Key, 'X')
	_ = append(got.Changes[0].Value, 'X')
	if string(got.Changes[0].Value) != "value" || string(got.Changes[1].Key) != "key" {
		t.Error("slices of one batch overlap")
	}
	if !b.empty() {
		t.Error("not empty after take")
	}
	if next := b.take(100); len(next.Changes) != 0 || len(next.Rescan)+len(next.Drained) != 0 || next.Upto != 100 {
		t.Errorf("after take: %+v", next)
	}
}

func TestBatchBuilderIsBounded(t *testing.T) {
	count := func(r record) int {
		b := newBatchBuilder(make([]Shape, 1))
		for n := 0; ; n++ {
			if b.full() {
				return n
			}
			b.add(r)
		}
	}
	if got := count(record{kind: recordDeleted, key: []byte("k")}); got != batchChanges {
		t.Errorf("%d small changes in a batch, want %d", got, batchChanges)
	}
	large := record{kind: recordUpdated, key: make([]byte, 512), value: make([]byte, 32000)}
	if got := count(large); got > batchDataBytes/32512+1 {
		t.Errorf("%d changes of 32512 bytes in a batch", got)
	}
}

func TestBatchBuilderRescanAll(t *testing.T) {
	b := newBatchBuilder(make([]Shape, 3))
	b.addRescan(1)
	b.addRescanAll()
	if got := b.take(0).Rescan; !slices.Equal(got, []int{0, 1, 2}) {
		t.Errorf("rescan %v", got)
	}
}
