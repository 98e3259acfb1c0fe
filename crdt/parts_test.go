package crdt_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/mapgossip/mapgossip/crdt"
	"pgregory.net/rapid"
)

// crowd returns entries whose keys are all in one bucket, so that its parts have
// something in them, and that bucket.
func crowd(t *rapid.T, keys [][]byte, label string) []crdt.Entry {
	drawn := rapid.SliceOfN(entries(), 0, 40).Draw(t, label)
	for i := range drawn {
		drawn[i].Key = rapid.SampledFrom(keys).Draw(t, "key")
	}
	return drawn
}

// part returns the entries of one part of a bucket, in the order of their keys.
func part(s *crdt.Store, bucket, at, parts int) []crdt.Entry {
	return slices.DeleteFunc(sorted(s.Bucket(bucket)), func(e crdt.Entry) bool { return crdt.PartOf(e.Key, parts) != at })
}

// Two stores have equal sums of exactly the parts in which they hold the same.
func TestPartsTellWhereStoresDiffer(t *testing.T) {
	keys := sameBucket(keyBytes, 12)
	bucket := crdt.BucketOf(keys[0])
	rapid.Check(t, func(t *rapid.T) {
		parts := 1 << rapid.IntRange(0, 8).Draw(t, "log of parts")
		salt := rapid.Uint64().Draw(t, "salt")
		common := crowd(t, keys, "common")
		a := storeOf(t, append(common, crowd(t, keys, "a's own")...))
		b := storeOf(t, append(common, crowd(t, keys, "b's own")...))
		x, y := make([]uint64, parts), make([]uint64, parts)
		a.BucketParts(bucket, salt, x)
		b.BucketParts(bucket, salt, y)
		for at := range parts {
			p, q := part(a, bucket, at, parts), part(b, bucket, at, parts)
			if same := slices.EqualFunc(p, q, sameEntry); (x[at] == y[at]) != same {
				t.Fatalf("part %d of %d: sums %x and %x, same entries: %v\n%+v\n%+v", at, parts, x[at], y[at], same, p, q)
			}
		}
	})
}

// The sums of fewer parts are those of more, folded, and what is in the slice
// already is added to.
func TestPartsAdd(t *testing.T) {
	keys := sameBucket(keyBytes, 12)
	bucket := crdt.BucketOf(keys[0])
	rapid.Check(t, func(t *rapid.T) {
		s := storeOf(t, crowd(t, keys, "entries"))
		fine, coarse, twice := make([]uint64, 64), make([]uint64, 8), make([]uint64, 8)
		s.BucketParts(bucket, 5, fine)
		s.BucketParts(bucket, 5, coarse)
		for range 2 {
			s.BucketParts(bucket, 5, twice)
		}
		for at := range coarse {
			var sum uint64
			for i := at; i < len(fine); i += len(coarse) {
				sum += fine[i]
			}
			if sum%(1<<48) != coarse[at] || twice[at] != 2*coarse[at]%(1<<48) {
				t.Fatalf("part %d: %x, from finer ones %x, added twice %x", at, coarse[at], sum, twice[at])
			}
		}
	})
}

// A collision of one comparison is none in the next.
func TestSaltChangesFingerprints(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := storeOf(t, []crdt.Entry{entries().Draw(t, "entry")})
		salt := rapid.Uint64().Draw(t, "salt")
		other := rapid.Uint64().Filter(func(other uint64) bool { return other != salt }).Draw(t, "other")
		if x, y := s.Fingerprint(0, salt), s.Fingerprint(0, other); x == y || x >= 1<<48 || y >= 1<<48 {
			t.Fatalf("fingerprint %x with salt %x, %x with salt %x", x, salt, y, other)
		}
	})
}

// Keys of one bucket fall into its parts about evenly: BucketOf and PartOf share no bits.
func TestPartsAreEven(t *testing.T) {
	const parts, perPart = 16, 64
	var counts [parts]int
	for _, key := range sameBucket(8, parts*perPart) {
		counts[crdt.PartOf(key, parts)]++
	}
	if least, most := slices.Min(counts[:]), slices.Max(counts[:]); least < perPart-48 || most > perPart+48 {
		t.Errorf("%d to %d keys a part, mean %d", least, most, perPart)
	}
}

// A key that the store knows keeps its slot, whatever is merged, and what is in
// the slot is what Get says of the key.
func TestSlotsStay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := storeOf(t, nil)
		slots := map[string]crdt.Slot{}
		for _, e := range rapid.SliceOfN(entries(), 0, 40).Draw(t, "sent") {
			slot, changed, err := s.Merge(e)
			if err != nil {
				t.Fatal(err)
			}
			if was, known := slots[string(e.Key)]; known && was != slot || !known && !changed {
				t.Fatalf("merge %+v: slot %d, changed %v; the slot was %d", e, slot, changed, was)
			}
			slots[string(e.Key)] = slot
			for key, want := range slots {
				slot, ok := s.Find([]byte(key))
				at, held := s.At(slot)
				got, _ := s.Get([]byte(key))
				if !ok || !held || slot != want || slot >= s.Slots() || !bytes.Equal(at.Key, []byte(key)) || !sameEntry(at, got) {
					t.Fatalf("key %x: slot %d of %d, want %d; holds %+v, get says %+v", key, slot, s.Slots(), want, at, got)
				}
			}
		}
		if _, ok := s.At(s.Slots()); ok || s.Fingerprint(s.Slots(), 1) != 0 {
			t.Fatal("something is in a slot above all in use")
		}
		if _, ok := s.Find([]byte{1}); ok {
			t.Fatal("found a key of another size")
		}
	})
}

// Touching changes nothing and takes every key: known or not, of another size,
// more of them than are touched together.
func TestTouchChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sent := rapid.SliceOfN(entries(), 0, 20).Draw(t, "sent")
		a, b := storeOf(t, sent), storeOf(t, nil)
		keys := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 3), 0, 200).Draw(t, "keys")
		for _, e := range sent {
			b.Touch(append(keys, e.Key))
			mustMerge(t, b, e)
		}
		b.Touch(keys)
		wantSame(t, "touched", a, b)
	})
}

func TestReadingAllocations(t *testing.T) {
	s := crdt.NewStore(keyBytes, valueBytes)
	keys := sameBucket(keyBytes, 12)
	for _, key := range keys {
		mustMerge(t, s, with(sample, func(e *crdt.Entry) { e.Key = key }))
	}
	bucket, sums := crdt.BucketOf(keys[0]), make([]uint64, 4)
	for name, f := range map[string]func(){
		"find and at": func() { slot, _ := s.Find(keys[3]); _, _ = s.At(slot) },
		"parts":       func() { s.BucketParts(bucket, 1, sums) },
		"fingerprint": func() { _ = s.Fingerprint(0, 1) },
		"bucket slots": func() {
			for range s.BucketSlots(bucket) {
			}
		},
		"touch": func() { s.Touch(keys) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
