package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/mapgossip/mapgossip/mapwatch"
)

func lookupCopies(t *testing.T, s Subject) {
	p, m := s.create(t, 4, 8, 4)
	key, want := s.key(4, 1), value(8, 7)
	_, err := m.Lookup(key)
	wantError(t, "lookup of an absent key", err, mapwatch.ErrNotFound)
	must(t, p.Update(key, want))
	first, err := m.Lookup(key)
	must(t, err)
	if !bytes.Equal(first, want) {
		t.Errorf("value is %x, want %x", first, want)
	}
	clear(first)
	second, err := m.Lookup(key)
	must(t, err)
	if !bytes.Equal(second, want) {
		t.Error("the result of one lookup changed the next")
	}
	for _, wrong := range [][]byte{nil, key[:3], append(bytes.Clone(key), 0)} {
		if _, err := m.Lookup(wrong); err == nil || errors.Is(err, mapwatch.ErrNotFound) {
			t.Errorf("lookup of a key of %d bytes: error is %v", len(wrong), err)
		}
	}
}

// lookupIsExact: a key that is not there is not found, whatever else is.
func lookupIsExact(t *testing.T, s Subject) {
	const keys = 300
	p, m := s.create(t, 4, 8, keys)
	there := func(i int) bool { return i%3 != 0 }
	for i := range keys {
		must(t, p.Update(s.key(4, i), value(8, i)))
	}
	for i := range keys {
		if !there(i) {
			must(t, s.clear(p, s.key(4, i), 8))
		}
	}
	for i := range keys {
		got, err := m.Lookup(s.key(4, i))
		switch {
		case !there(i):
			wantError(t, fmt.Sprintf("lookup of element %d", i), err, mapwatch.ErrNotFound)
		case err != nil:
			t.Errorf("lookup of element %d: %v", i, err)
		case !bytes.Equal(got, value(8, i)):
			t.Errorf("element %d has the value %x, want %x", i, got, value(8, i))
		}
	}
	_, err := m.Lookup(s.key(4, keys+1000))
	wantError(t, "lookup of a key that was never there", err, mapwatch.ErrNotFound)
}

func applyOfNothing(t *testing.T, s Subject) {
	_, m := s.create(t, 4, 4, 4)
	m.Apply(nil)
	m.Apply([]mapwatch.Op{})
	wantContent(t, m, nil)
}

func applyKeepsOrder(t *testing.T, s Subject) {
	_, m := s.create(t, 4, 4, 16)
	a, b, c := s.key(4, 1), s.key(4, 2), s.key(4, 3)
	apply(t, m,
		update(a, numbered(4, 10)), update(a, numbered(4, 11)), update(b, numbered(4, 12)), update(a, numbered(4, 13)),
		remove(a), remove(b), update(b, numbered(4, 14)),
		update(c, numbered(4, 15)), remove(c), remove(c),
		update(a, numbered(4, 16)), update(a, numbered(4, 17)),
	)
	wantContent(t, m, map[string]string{string(a): string(numbered(4, 17)), string(b): string(numbered(4, 14))})
}

// applyFollowsTwin compares random ops, in random portions, with a Go map.
func applyFollowsTwin(t *testing.T, s Subject) {
	const keys, rounds = 200, 30
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	_, m := s.create(t, 5, 9, keys)
	twin := make(map[string]string)
	for range rounds {
		ops := make([]mapwatch.Op, 0, 300)
		deletes := random.Float64() // sometimes long runs, sometimes none
		for range random.IntN(cap(ops)) {
			key := s.key(5, random.IntN(keys))
			if random.Float64() < deletes {
				ops = append(ops, remove(key))
				delete(twin, string(key))
			} else {
				new := value(9, random.IntN(1<<31))
				ops = append(ops, update(key, new))
				twin[string(key)] = string(new)
			}
		}
		apply(t, m, ops...)
	}
	wantContent(t, m, twin)
}

func applyDeletesAbsentKeys(t *testing.T, s Subject) {
	p, m := s.create(t, 4, 4, 64)
	var ops []mapwatch.Op
	for i := range 50 {
		if i%3 == 0 {
			must(t, p.Update(s.key(4, i), value(4, i)))
		}
		ops = append(ops, remove(s.key(4, i)))
	}
	apply(t, m, ops...)
	wantContent(t, m, nil)
}

func applyChecksSizes(t *testing.T, s Subject) {
	_, m := s.create(t, 4, 8, 64)
	good := func(n int) mapwatch.Op { return update(s.key(4, n), numbered(8, n)) }
	ops := []mapwatch.Op{
		good(1), good(2),
		update(append(s.key(4, 9), 0), numbered(8, 9)),
		good(3),
		update(s.key(4, 9), numbered(7, 9)),
		update(s.key(4, 9), nil),
		update(nil, numbered(8, 9)),
		good(4),
		remove(s.key(4, 9)[:3]),
		{Key: s.key(4, 4), Value: []byte("ignored"), Delete: true},
		good(5),
	}
	bad := map[int]bool{2: true, 4: true, 5: true, 6: true, 8: true}
	m.Apply(ops)
	for i, op := range ops {
		if (op.Err != nil) != bad[i] {
			t.Errorf("op %d: error is %v", i, op.Err)
		}
	}
	want := make(map[string]string)
	for _, n := range []int{1, 2, 3, 5} {
		want[string(s.key(4, n))] = string(numbered(8, n))
	}
	wantContent(t, m, want)
}

// applyToFullMap has the failures in the middle of a run, where a batch ends. In
// tries of old kernels there is no overwriting either when they are full.
func applyToFullMap(t *testing.T, s Subject) {
	const most = 8
	p, m := s.create(t, 4, 4, most)
	want := make(map[string]string)
	for i := range most {
		apply(t, m, update(s.key(4, i), value(4, 0)))
		want[string(s.key(4, i))] = string(value(4, 0))
	}
	overwrites := p.Update(s.key(4, 0), value(4, 0)) == nil
	if !overwrites && s.mapType != mapwatch.TypeLPMTrie {
		t.Error("nothing in a full map can be overwritten")
	}
	ops := []mapwatch.Op{
		update(s.key(4, 0), value(4, 1)),
		update(s.key(4, 100), value(4, 1)), // full
		update(s.key(4, 101), value(4, 1)), // full
		update(s.key(4, 2), value(4, 1)),
		update(s.key(4, 102), value(4, 1)), // full
		remove(s.key(4, 3)),
		update(s.key(4, 103), value(4, 1)),
		update(s.key(4, 104), value(4, 1)), // full
	}
	full := map[int]bool{0: !overwrites, 1: true, 2: true, 3: !overwrites, 4: true, 7: true}
	// An error of an earlier apply must not stay.
	for i := range ops {
		ops[i].Err = errors.New("stale")
	}
	m.Apply(ops)
	for i, op := range ops {
		switch {
		case full[i]:
			wantError(t, fmt.Sprintf("op %d", i), op.Err, mapwatch.ErrFull)
		case op.Err != nil:
			t.Errorf("op %d: %v", i, op.Err)
		}
	}
	delete(want, string(s.key(4, 3)))
	changed := []int{0, 2, 103}
	if !overwrites {
		changed = []int{103}
	}
	for _, n := range changed {
		want[string(s.key(4, n))] = string(value(4, 1))
	}
	wantContent(t, m, want)
}

func applyToFrozenMap(t *testing.T, s Subject) {
	p, m := s.create(t, 4, 4, 8)
	must(t, p.Update(s.key(4, 1), value(4, 2)))
	want := map[string]string{string(s.key(4, 1)): string(value(4, 2))}
	p.Freeze(t)
	opened := s.open(t, p.Target())
	for _, m := range []mapwatch.Map{m, opened} {
		ops := []mapwatch.Op{
			update(s.key(4, 1), value(4, 3)),
			update(s.key(4, 2), value(4, 3)),
			remove(s.key(4, 1)),
		}
		m.Apply(ops)
		m.Apply(ops[:1])
		for i, op := range ops {
			wantError(t, fmt.Sprintf("op %d", i), op.Err, mapwatch.ErrFrozen)
		}
		wantContent(t, m, want)
		if _, err := m.Lookup(s.key(4, 1)); err != nil {
			t.Error(err)
		}
	}
}

// applyEvicts: an LRU hash map is never full, and never holds more than it may.
func applyEvicts(t *testing.T, s Subject) {
	const entries = 500
	p := s.Create(t, mapwatch.Shape{Type: s.mapType, KeyBytes: 4, ValueBytes: 4, MaxEntries: entries})
	m := s.open(t, p.Target())
	fill(t, s, m, 4*entries)
	got := content(t, m)
	if len(got) == 0 || len(got) > entries {
		t.Errorf("%d elements in a map of %d", len(got), entries)
	}
	for i := range 4 * entries {
		if v, ok := got[string(s.key(4, i))]; ok && v != string(value(4, i)) {
			t.Errorf("element %d has another value than was written", i)
		}
	}
}

func applyFromManyGoroutines(t *testing.T, s Subject) {
	const writers, each = 8, 500
	_, m := s.create(t, 4, 4, writers*each)
	want := make(map[string]string)
	var all sync.WaitGroup
	for w := range writers {
		ops := make([]mapwatch.Op, 0, each)
		for i := range each {
			op := update(s.key(4, w*each+i), value(4, i))
			want[string(op.Key)] = string(op.Value)
			ops = append(ops, op)
		}
		all.Go(func() {
			for len(ops) > 0 {
				n := min(len(ops), 50)
				m.Apply(ops[:n])
				for _, op := range ops[:n] {
					if op.Err != nil {
						t.Error(op.Err)
					}
				}
				ops = ops[n:]
			}
		})
	}
	all.Wait()
	wantContent(t, m, want)
}
