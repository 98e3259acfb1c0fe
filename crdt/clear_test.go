package crdt_test

import (
	"encoding/binary"
	"testing"

	"github.com/mapgossip/mapgossip/crdt"
)

// TestClearTakesTurns: very many tombstones go in parts, each one in the end, and
// those that are busy stay.
func TestClearTakesTurns(t *testing.T) {
	const tombstones, atOnce = 100_000, 64 << 10
	s := crdt.NewStore(8, 8)
	for i := range tombstones {
		mustMerge(t, s, crdt.Entry{Key: binary.BigEndian.AppendUint64(nil, uint64(i)), Deleted: true,
			Version: crdt.Version{Time: crdt.Timestamp{Wall: 1}, Member: "m"}})
	}
	held := func(slot crdt.Slot) bool { return slot == 7 }
	s.Raise(1, held)
	if removed, left := s.Collected(), s.Buried(); removed != atOnce || left != tombstones-atOnce {
		t.Errorf("%d removed and %d left at first, want %d and the rest", removed, left, atOnce)
	}
	if s.Digest() != crdt.NewStore(8, 8).Digest() {
		t.Error("tombstones that wait to be removed count")
	}
	s.Clear(held)
	if removed, left := s.Collected(), s.Buried(); removed != tombstones-1 || left != 1 {
		t.Errorf("%d removed and %d left, want all but the one that is held", removed, left)
	}
	s.Clear(idle)
	if entries, left := s.Len(); entries+left != 0 || s.Buried() != 0 {
		t.Errorf("%d entries and %d tombstones are left", entries, left)
	}
}
