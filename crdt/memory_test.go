package crdt_test

import (
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"github.com/mapgossip/mapgossip/crdt"
)

// A peer that invents member IDs does not fill memory with them.
func TestForgottenMembers(t *testing.T) {
	s := crdt.NewStore(keyBytes, valueBytes)
	for i := range 1000 {
		mustMerge(t, s, with(sample, func(e *crdt.Entry) {
			e.Version = crdt.Version{Time: crdt.Timestamp{Wall: int64(i)}, Member: fmt.Sprintf("member-%d", i)}
			e.Deleted = i%2 == 0
			if e.Deleted {
				e.Value = nil
			}
		}))
	}
	if got := s.Members(); got != 1 {
		t.Errorf("%d members remembered for one entry", got)
	}
	e, _ := s.Get(sample.Key)
	if e.Version.Member != "member-999" {
		t.Errorf("the entry's member is %q", e.Version.Member)
	}
}

// A member ID cut out of a large frame must not keep the frame in memory.
func TestMergeCopiesMember(t *testing.T) {
	s := crdt.NewStore(keyBytes, valueBytes)
	frame := strings.Repeat("frame", 1000)
	mustMerge(t, s, with(sample, func(e *crdt.Entry) { e.Version.Member = frame[:5] }))
	if e, _ := s.Get(sample.Key); e.Version.Member != "frame" || unsafe.StringData(e.Version.Member) == unsafe.StringData(frame) {
		t.Errorf("the member's ID %q lies in the frame", e.Version.Member)
	}
}

// A key that comes and goes for ever costs what one key costs.
func TestChurnIsBounded(t *testing.T) {
	s := crdt.NewStore(keyBytes, 16<<10)
	e := with(sample, func(e *crdt.Entry) { e.Value = nil })
	value := make([]byte, 16<<10)
	if n := testing.AllocsPerRun(100, func() {
		for range 2 {
			e.Version.Time = e.Version.Time.Next()
			if e.Deleted = !e.Deleted; e.Deleted {
				e.Value = nil
			} else {
				e.Value = value
			}
			mustMerge(t, s, e)
		}
	}); n != 0 {
		t.Errorf("%v allocations for each time that the key went and came back", n)
	}
}

func TestMergeAllocations(t *testing.T) {
	s := crdt.NewStore(keyBytes, valueBytes)
	newer := with(sample, func(e *crdt.Entry) { e.Version.Time.Wall += 1 << 20 })
	older := with(sample, func(e *crdt.Entry) { e.Version.Time.Wall-- })
	mustMerge(t, s, newer)
	for name, f := range map[string]func(){
		"merge an older entry": func() { _, _, _ = s.Merge(older) },
		"merge the same entry": func() { _, _, _ = s.Merge(newer) },
		"replace a value":      func() { newer.Version.Time.Wall++; _, _, _ = s.Merge(newer) },
		"get":                  func() { _, _ = s.Get(sample.Key) },
		"digest":               func() { _ = s.Digest() },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
