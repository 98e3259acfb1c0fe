package crdt_test

import (
	"slices"
	"testing"

	"github.com/mapgossip/mapgossip/crdt"
	"pgregory.net/rapid"
)

func mustMerge(t interface {
	Helper()
	Fatalf(string, ...any)
}, s *crdt.Store, e crdt.Entry) bool {
	t.Helper()
	_, changed, err := s.Merge(e)
	if err != nil {
		t.Fatalf("merge %+v: %v", e, err)
	}
	return changed
}

// storeOf merges entries into a store of either layout in memory: which one it
// is can be seen by nobody.
func storeOf(t *rapid.T, entries []crdt.Entry) *crdt.Store {
	s := crdt.NewStoreOf(keyBytes, valueBytes, rapid.Bool().Draw(t, "inline"))
	for _, e := range entries {
		mustMerge(t, s, e)
	}
	return s
}

// mergeAll merges one store into another, as anti-entropy does.
func mergeAll(t *rapid.T, into, from *crdt.Store) {
	for e := range from.All() {
		mustMerge(t, into, e)
	}
}

func wantSame(t *rapid.T, what string, a, b *crdt.Store) {
	if x, y := sorted(a.All()), sorted(b.All()); !slices.EqualFunc(x, y, sameEntry) {
		t.Fatalf("%s: %+v\nand %+v", what, x, y)
	}
	if a.Digest() != b.Digest() || !slices.Equal(a.BucketDigests(), b.BucketDigests()) {
		t.Fatalf("%s: same entries, different digests", what)
	}
}

// Order and repetition of what arrives do not matter.
func TestMergeAnyOrderAnyNumber(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sent := rapid.SliceOfN(entries(), 1, 30).Draw(t, "sent")
		repeated := rapid.SliceOfN(rapid.SampledFrom(sent), 0, 30).Draw(t, "repeated")
		received := rapid.Permutation(slices.Concat(sent, repeated)).Draw(t, "received")

		a, b, w := storeOf(t, sent), storeOf(t, received), newTwin()
		for _, e := range sent {
			w.merge(e)
		}
		wantSame(t, "any order", a, b)
		w.same(t, a)

		// Idempotent: all of it once more changes nothing.
		for _, e := range received {
			if mustMerge(t, a, e) {
				t.Fatalf("merged again, %+v changed the store", e)
			}
		}
		wantSame(t, "again", a, b)
	})
}

func TestMergeOfStoresCommutesAndAssociates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		some := rapid.SliceOfN(entries(), 0, 10)
		x, y, z := some.Draw(t, "x"), some.Draw(t, "y"), some.Draw(t, "z")

		xy, yx := storeOf(t, x), storeOf(t, y)
		mergeAll(t, xy, storeOf(t, y))
		mergeAll(t, yx, storeOf(t, x))
		wantSame(t, "x+y and y+x", xy, yx)

		xyThenZ := xy
		mergeAll(t, xyThenZ, storeOf(t, z))
		yz := storeOf(t, y)
		mergeAll(t, yz, storeOf(t, z))
		xThenYZ := storeOf(t, x)
		mergeAll(t, xThenYZ, yz)
		wantSame(t, "(x+y)+z and x+(y+z)", xyThenZ, xThenYZ)
	})
}

// Two stores and their twins under everything a member does to them.
func TestStoreAgainstTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stores := [2]*crdt.Store{storeOf(t, nil), storeOf(t, nil)}
		twins := [2]*twin{newTwin(), newTwin()}
		var sent []crdt.Entry

		merge := func(t *rapid.T, i int, e crdt.Entry) {
			before, had := stores[i].Get(e.Key)
			was := rank(before)
			digest := stores[i].Digest()
			changed, want := mustMerge(t, stores[i], e), twins[i].merge(e)
			if changed != want || changed != (stores[i].Digest() != digest) {
				t.Fatalf("merge %+v: changed %v, want %v", e, changed, want)
			}
			if after, ok := stores[i].Get(e.Key); !ok || had && rank(after) < was {
				t.Fatalf("merge %+v over %s: went back to %s", e, was, rank(after))
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"merge": func(t *rapid.T) {
				e := entries().Draw(t, "entry")
				sent = append(sent, e)
				merge(t, rapid.IntRange(0, 1).Draw(t, "store"), e)
			},
			"deliver again": func(t *rapid.T) {
				if len(sent) == 0 {
					t.Skip("nothing was sent yet")
				}
				merge(t, rapid.IntRange(0, 1).Draw(t, "store"), rapid.SampledFrom(sent).Draw(t, "entry"))
			},
			"reuse the buffers": func(t *rapid.T) {
				e := entries().Draw(t, "entry")
				e.Key, e.Value = slices.Clone(e.Key), slices.Clone(e.Value)
				merge(t, 0, e)
				for _, b := range [][]byte{e.Key, e.Value} {
					for i := range b {
						b[i] = 0xaa
					}
				}
			},
			"refuse": func(t *rapid.T) {
				e := entries().Draw(t, "entry")
				spoil := rapid.SampledFrom(spoilers).Draw(t, "spoiler")
				if _, changed, err := stores[0].Merge(spoil.apply(e)); changed || err == nil {
					t.Fatalf("%s: changed %v, %v", spoil.name, changed, err)
				}
			},
			"sync": func(t *rapid.T) {
				from := rapid.IntRange(0, 1).Draw(t, "from")
				mine, theirs := stores[from].BucketDigests(), stores[1-from].BucketDigests()
				for e := range stores[from].All() {
					bucket := crdt.BucketOf(e.Key)
					if _, had := stores[1-from].Get(e.Key); !had && mine[bucket] == theirs[bucket] {
						t.Fatalf("%x is missing in a bucket whose digests agree", e.Key)
					}
					merge(t, 1-from, e)
				}
			},
			"": func(t *rapid.T) {
				for i := range stores {
					twins[i].same(t, stores[i])
				}
				if same := twins[0].equal(twins[1]); (stores[0].Digest() == stores[1].Digest()) != same {
					t.Fatalf("digests %v and %v, same entries: %v", stores[0].Digest(), stores[1].Digest(), same)
				}
			},
		})
	})
}
