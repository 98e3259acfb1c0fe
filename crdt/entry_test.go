package crdt_test

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/mapgossip/mapgossip/crdt"
	"pgregory.net/rapid"
)

const (
	keyBytes   = 2
	valueBytes = 3
)

// entries draws valid entries from so small a world that equal keys, equal
// versions with different content (a cloned member) and exact repeats are common.
func entries() *rapid.Generator[crdt.Entry] {
	return rapid.Custom(func(t *rapid.T) crdt.Entry {
		e := crdt.Entry{
			Key: []byte{0, rapid.ByteRange(0, 3).Draw(t, "key")},
			Version: crdt.Version{
				Time: crdt.Timestamp{
					Wall:    rapid.SampledFrom([]int64{0, 1, 2, math.MaxInt64}).Draw(t, "wall"),
					Logical: rapid.SampledFrom([]uint32{0, 1, math.MaxUint32}).Draw(t, "logical"),
				},
				Member: rapid.SampledFrom([]string{"a", "ab", "b", strings.Repeat("z", 255)}).Draw(t, "member"),
			},
			Deleted: rapid.Bool().Draw(t, "deleted"),
		}
		if !e.Deleted {
			e.Value = []byte{rapid.SampledFrom([]byte{0, 1, 255}).Draw(t, "value"), 0, 0}
		}
		return e
	})
}

// rank is the order of a key's entries written down a second time, plainly: a
// string that sorts like the entries. No member in these tests has bytes below 'a'.
func rank(e crdt.Entry) string {
	return fmt.Sprintf("%020d %010d %s\x00 %t %x", e.Version.Time.Wall, e.Version.Time.Logical, e.Version.Member, e.Deleted, e.Value)
}

func TestEntryOrderIsTotal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := entries().Draw(t, "a"), entries().Draw(t, "b"), entries().Draw(t, "c")
		if got, want := a.Compare(b), strings.Compare(rank(a), rank(b)); got != want {
			t.Fatalf("compare %q with %q: %d, want %d", rank(a), rank(b), got, want)
		}
		if a.Compare(b) != -b.Compare(a) || a.Compare(a) != 0 {
			t.Fatal("not antisymmetric")
		}
		if a.Compare(b) <= 0 && b.Compare(c) <= 0 && a.Compare(c) > 0 {
			t.Fatal("not transitive")
		}
		if v := a.Version.Compare(b.Version); v != 0 && a.Compare(b) != v || v != -b.Version.Compare(a.Version) {
			t.Fatal("the version does not decide first")
		}
		same := a.Deleted == b.Deleted && bytes.Equal(a.Value, b.Value)
		if a.SameContent(b) != same || (a.Compare(b) == 0) != (same && a.Version == b.Version) {
			t.Fatalf("same content: %v, compare %d", a.SameContent(b), a.Compare(b))
		}
	})
}

func TestEntryOrderByExample(t *testing.T) {
	entry := func(wall int64, logical uint32, member string, value string) crdt.Entry {
		e := crdt.Entry{Version: crdt.Version{Time: crdt.Timestamp{Wall: wall, Logical: logical}, Member: member}}
		if e.Deleted = value == ""; !e.Deleted {
			e.Value = []byte(value)
		}
		return e
	}
	// Each beats all before it.
	ascending := []crdt.Entry{
		entry(0, 0, "b", "z"),
		entry(0, 1, "a", "a"),
		entry(1, 0, "a", "a"),
		entry(1, 0, "a", "b"),
		entry(1, 0, "a", ""),
		entry(1, 0, "aa", "a"),
		entry(1, 0, "b", "a"),
		entry(1, 1, "a", "a"),
		entry(2, 0, "a", ""),
		entry(2, 0, "host-1", "a"),
		entry(2, 0, "host-10", "a"), // bytes, not numbers
		entry(2, 0, "host-2", "a"),
	}
	if !slices.IsSortedFunc(ascending, crdt.Entry.Compare) {
		t.Error("not ascending")
	}
}
