package crdt_test

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"

	"github.com/mapgossip/mapgossip/crdt"
	"pgregory.net/rapid"
)

// twin is a Store that is too simple to be wrong: it remembers all that it was
// told about each key, by rank, and looks for the highest when asked.
type twin struct {
	told map[string]map[string]crdt.Entry
}

func newTwin() *twin { return &twin{told: map[string]map[string]crdt.Entry{}} }

func (w *twin) merge(e crdt.Entry) (changed bool) {
	e.Key, e.Value = bytes.Clone(e.Key), bytes.Clone(e.Value)
	told := w.told[string(e.Key)]
	if told == nil {
		told = map[string]crdt.Entry{}
		w.told[string(e.Key)] = told
	}
	changed = true
	for other := range told {
		changed = changed && rank(e) > other
	}
	told[rank(e)] = e
	return changed
}

func (w *twin) get(key []byte) (crdt.Entry, bool) {
	told := w.told[string(key)]
	if len(told) == 0 {
		return crdt.Entry{}, false
	}
	return told[slices.Max(slices.Collect(maps.Keys(told)))], true
}

// entries returns the winners in the order of their keys.
func (w *twin) entries() (winners []crdt.Entry) {
	for _, key := range slices.Sorted(maps.Keys(w.told)) {
		e, _ := w.get([]byte(key))
		winners = append(winners, e)
	}
	return winners
}

// equal compares what the twins hold, not how they were told.
func (w *twin) equal(v *twin) bool {
	return slices.EqualFunc(w.entries(), v.entries(), sameEntry)
}

// same checks everything that s can be asked against the twin.
func (w *twin) same(t *rapid.T, s *crdt.Store) {
	winners := w.entries()

	var live, tombstones int
	var sum [2]uint64
	buckets := map[int]uint64{}
	inBucket := map[int][]crdt.Entry{}
	for _, e := range winners {
		if e.Deleted {
			tombstones++
		} else {
			live++
		}
		a, b := crdt.LanesOf(e.AppendBinary(nil))
		i := crdt.BucketOf(e.Key)
		sum[0] += a
		sum[1] += b
		buckets[i] += a
		inBucket[i] = append(inBucket[i], e)

		got, ok := s.Get(e.Key)
		if !ok || !sameEntry(got, e) {
			t.Fatalf("get %x: %+v, %v; want %+v", e.Key, got, ok, e)
		}
	}
	if e, ok := s.Get([]byte{255, 255}); ok {
		t.Fatalf("got a key that nobody wrote: %+v", e)
	}
	if l, d := s.Len(); l != live || d != tombstones {
		t.Fatalf("len %d, %d; want %d, %d", l, d, live, tombstones)
	}
	if got := sorted(s.All()); !slices.EqualFunc(got, winners, sameEntry) {
		t.Fatalf("all: %+v; want %+v", got, winners)
	}
	var digest crdt.Digest
	binary.BigEndian.PutUint64(digest[:8], sum[0])
	binary.BigEndian.PutUint64(digest[8:], sum[1])
	if got := s.Digest(); got != digest {
		t.Fatalf("digest %v, want %v", got, digest)
	}
	digests := s.BucketDigests()
	for i, want := range buckets {
		if digests[i] != want {
			t.Fatalf("digest of bucket %d is %x, want %x", i, digests[i], want)
		}
		digests[i] = 0
	}
	if slices.Max(digests) != 0 {
		t.Fatal("an empty bucket has a digest")
	}
	for i, want := range inBucket {
		if got := sorted(s.Bucket(i)); !slices.EqualFunc(got, want, sameEntry) {
			t.Fatalf("bucket %d: %+v; want %+v", i, got, want)
		}
		w.sameParts(t, s, i, want)
	}
	w.sameSlots(t, s, winners)
}

// sameParts checks what s says of the slots and parts of a bucket that holds want.
func (w *twin) sameParts(t *rapid.T, s *crdt.Store, bucket int, want []crdt.Entry) {
	const salt, parts = 0x5a17, 4
	inBucket := sorted(func(yield func(crdt.Entry) bool) {
		for slot := range s.BucketSlots(bucket) {
			if e, ok := s.At(slot); !ok || !yield(e) {
				return
			}
		}
	})
	if !slices.EqualFunc(inBucket, want, sameEntry) {
		t.Fatalf("slots of bucket %d: %+v; want %+v", bucket, inBucket, want)
	}
	got, sums := make([]uint64, parts), make([]uint64, parts)
	for _, e := range want {
		at := crdt.PartOf(e.Key, parts)
		sums[at] = (sums[at] + crdt.FingerprintOf(e.AppendBinary(nil), salt)) % (1 << 48)
	}
	if s.BucketParts(bucket, salt, got); !slices.Equal(got, sums) {
		t.Fatalf("parts of bucket %d: %x; want %x", bucket, got, sums)
	}
}

// sameSlots checks that each of the winners has a slot of its own in s, and
// nothing else has one.
func (w *twin) sameSlots(t *rapid.T, s *crdt.Store, winners []crdt.Entry) {
	const salt = 0x5a17
	taken := map[crdt.Slot]bool{}
	for _, e := range winners {
		slot, ok := s.Find(e.Key)
		got, held := s.At(slot)
		if !ok || !held || taken[slot] || !sameEntry(got, e) {
			t.Fatalf("slot %d of %x: %v, %v, taken %v, %+v; want %+v", slot, e.Key, ok, held, taken[slot], got, e)
		}
		taken[slot] = true
		if got, want := s.Fingerprint(slot, salt), crdt.FingerprintOf(e.AppendBinary(nil), salt); got != want {
			t.Fatalf("fingerprint of %+v is %x, want %x", e, got, want)
		}
	}
	for slot := range s.Slots() + 1 {
		if _, ok := s.At(slot); ok != taken[slot] {
			t.Fatalf("slot %d holds something: %v", slot, ok)
		}
	}
	if slot, ok := s.Find([]byte{255, 255}); ok {
		t.Fatalf("found a key that nobody wrote in slot %d", slot)
	}
}

// sorted copies entries and puts them in the order of their keys.
func sorted(all func(func(crdt.Entry) bool)) (entries []crdt.Entry) {
	for e := range all {
		e.Key, e.Value = bytes.Clone(e.Key), bytes.Clone(e.Value)
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(e, f crdt.Entry) int { return bytes.Compare(e.Key, f.Key) })
	return entries
}
