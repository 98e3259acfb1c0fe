package crdt_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mapgossip/mapgossip/crdt"
)

// spoiler makes a valid entry of the test's shape one that a store must refuse.
type spoiler struct {
	name  string
	want  error
	apply func(crdt.Entry) crdt.Entry
}

var spoilers = []spoiler{
	{"short key", crdt.ErrShape, func(e crdt.Entry) crdt.Entry { e.Key = e.Key[1:]; return e }},
	{"long key", crdt.ErrShape, func(e crdt.Entry) crdt.Entry { e.Key = []byte{1, 2, 3}; return e }},
	{"no key", crdt.ErrShape, func(e crdt.Entry) crdt.Entry { e.Key = nil; return e }},
	{"short value", crdt.ErrShape, func(e crdt.Entry) crdt.Entry { e.Deleted, e.Value = false, []byte{1, 2}; return e }},
	{"long value", crdt.ErrShape, func(e crdt.Entry) crdt.Entry { e.Deleted, e.Value = false, []byte{1, 2, 3, 4}; return e }},
	{"no value", crdt.ErrShape, func(e crdt.Entry) crdt.Entry { e.Deleted, e.Value = false, nil; return e }},
	{"tombstone with value", crdt.ErrShape, func(e crdt.Entry) crdt.Entry { e.Deleted, e.Value = true, []byte{1, 2, 3}; return e }},
	{"no member", crdt.ErrShape, func(e crdt.Entry) crdt.Entry { e.Version.Member = ""; return e }},
	{"long member", crdt.ErrShape, func(e crdt.Entry) crdt.Entry { e.Version.Member = strings.Repeat("m", 256); return e }},
	{"before 1970", crdt.ErrMalformed, func(e crdt.Entry) crdt.Entry { e.Version.Time.Wall = -1; return e }},
}

func TestMergeRefuses(t *testing.T) {
	for _, spoil := range spoilers {
		s := crdt.NewStore(keyBytes, valueBytes)
		_, changed, err := s.Merge(spoil.apply(sample))
		if changed || !errors.Is(err, spoil.want) {
			t.Errorf("%s: changed %v, %v", spoil.name, changed, err)
		}
		if live, tombstones := s.Len(); live+tombstones != 0 || s.Digest() != (crdt.Digest{}) || s.Members() != 0 {
			t.Errorf("%s left something behind", spoil.name)
		}
	}
}

func TestEmptyStore(t *testing.T) {
	s := crdt.NewStore(keyBytes, valueBytes)
	if s.Digest() != (crdt.Digest{}) || s.Digest().String() != strings.Repeat("0", 32) {
		t.Errorf("digest of nothing is %v", s.Digest())
	}
	if sums := s.BucketDigests(); len(sums) != crdt.Buckets || slices.Max(sums) != 0 {
		t.Errorf("%d bucket digests, the greatest %d", len(sums), slices.Max(sums))
	}
	for _, key := range [][]byte{nil, {1}, {1, 2}, {1, 2, 3}} {
		if e, ok := s.Get(key); ok {
			t.Errorf("get %x: %+v", key, e)
		}
	}
	for _, i := range []int{-1, 0, crdt.Buckets - 1, crdt.Buckets} {
		for e := range s.Bucket(i) {
			t.Errorf("bucket %d has %+v", i, e)
		}
	}
	for e := range s.All() {
		t.Errorf("all has %+v", e)
	}
}

func TestIterationStops(t *testing.T) {
	s := crdt.NewStore(keyBytes, valueBytes)
	keys := sameBucket(keyBytes, 3)
	for _, key := range keys {
		mustMerge(t, s, with(sample, func(e *crdt.Entry) { e.Key = key }))
	}
	var seen int
	for range s.All() {
		seen++
		break
	}
	for range s.Bucket(crdt.BucketOf(keys[0])) {
		seen++
		break
	}
	if seen != 2 {
		t.Errorf("saw %d entries", seen)
	}
}

// Sizes from the smallest to some that exceed a chunk of memory, each with
// enough keys, overwrites, deletes and returns to go through all growth.
func TestStoreSizes(t *testing.T) {
	for _, c := range []struct{ keyBytes, valueBytes, keys int }{
		{1, 1, 256}, {4, 0, 500}, {4, 8, 20000}, {512, 3000, 60}, {8, 16 << 10, 5}, {4, 64 << 10, 5}, {40 << 10, 1, 3},
	} {
		t.Run(fmt.Sprintf("%d,%d", c.keyBytes, c.valueBytes), func(t *testing.T) {
			s := crdt.NewStore(c.keyBytes, c.valueBytes)
			e := sample
			key := func(i int) []byte {
				b := make([]byte, c.keyBytes)
				for at, n := 0, i; at < len(b); at, n = at+1, n>>8 {
					b[at] = byte(n)
				}
				return b
			}
			value := func(i int) []byte { return bytes.Repeat([]byte{byte(i * 7)}, c.valueBytes) }
			merge := func(i int, wall int64, deleted bool) {
				e.Key, e.Value, e.Deleted, e.Version.Time.Wall = key(i), value(i+int(wall)), deleted, wall
				if deleted {
					e.Value = nil
				}
				if !mustMerge(t, s, e) {
					t.Fatalf("key %d at %d changed nothing", i, wall)
				}
			}
			for i := range c.keys {
				merge(i, 1, i%3 == 0)
			}
			for i := range c.keys {
				merge(i, 2, i%2 == 0)
			}
			var deleted int
			digests := make([]uint64, crdt.Buckets)
			for i := range c.keys {
				e, ok := s.Get(key(i))
				want := value(i + 2)
				if i%2 == 0 {
					deleted++
					want = nil
				}
				if !ok || e.Deleted != (i%2 == 0) || !bytes.Equal(e.Value, want) || !bytes.Equal(e.Key, key(i)) || e.Version.Time.Wall != 2 {
					t.Fatalf("get key %d: %v, version %v, deleted %v", i, ok, e.Version, e.Deleted)
				}
				a, _ := crdt.LanesOf(e.AppendBinary(nil))
				digests[crdt.BucketOf(e.Key)] += a
			}
			if live, tombstones := s.Len(); live != c.keys-deleted || tombstones != deleted {
				t.Errorf("len %d, %d; want %d, %d", live, tombstones, c.keys-deleted, deleted)
			}
			if !slices.Equal(s.BucketDigests(), digests) {
				t.Error("bucket digests are not the sums of their entries")
			}
			var seen int
			for i := range crdt.Buckets {
				for e := range s.Bucket(i) {
					if seen++; crdt.BucketOf(e.Key) != i {
						t.Fatalf("bucket %d has a key of bucket %d", i, crdt.BucketOf(e.Key))
					}
				}
			}
			if seen != c.keys {
				t.Errorf("all buckets have %d entries, want %d", seen, c.keys)
			}
		})
	}
}

// An entry taken from a store may be stamped anew and merged back.
func TestMergeOwnSlices(t *testing.T) {
	s := crdt.NewStore(keyBytes, valueBytes)
	mustMerge(t, s, sample)
	e, _ := s.Get(sample.Key)
	e.Version.Time = e.Version.Time.Next()
	if !mustMerge(t, s, e) {
		t.Fatal("not changed")
	}
	got, _ := s.Get(sample.Key)
	if !got.SameContent(sample) || got.Version.Time != sample.Version.Time.Next() {
		t.Errorf("got %+v", got)
	}
	fresh := crdt.NewStore(keyBytes, valueBytes)
	mustMerge(t, fresh, got)
	if fresh.Digest() != s.Digest() {
		t.Error("the digest is not that of the entry")
	}
}

// Slices that the store gave out leave no room to write into a neighbour.
func TestGetGivesNoRoom(t *testing.T) {
	s := crdt.NewStore(keyBytes, valueBytes)
	for i := range byte(4) {
		mustMerge(t, s, with(sample, func(e *crdt.Entry) { e.Key = []byte{0, i} }))
	}
	for e := range s.All() {
		_ = append(e.Key, 0xee)
		_ = append(e.Value, 0xee)
	}
	for i := range byte(4) {
		if e, ok := s.Get([]byte{0, i}); !ok || !e.SameContent(sample) {
			t.Errorf("entry %d was written over: %+v", i, e)
		}
	}
}
