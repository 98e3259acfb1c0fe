package conformance

import (
	"bytes"
	"slices"
	"testing"

	"github.com/mapgossip/mapgossip/mapwatch"
)

// successor makes a new map in the place of p's, and opens it.
func (s Subject) successor(t *testing.T, p Program) (Program, mapwatch.Map) {
	t.Helper()
	next := p.Replace(t)
	return next, s.open(t, next.Target())
}

// untilRescan takes batches until map i is to be scanned.
func (w *watching) untilRescan(t *testing.T, i int) {
	t.Helper()
	for !slices.Contains(w.rescan, i) {
		w.next(t)
	}
	w.rescan = nil
}

func replaceAsksForRescan(t *testing.T, s Subject) {
	_, m0 := s.create(t, 4, 4, 16)
	p1, m1 := s.create(t, 4, 4, 16)
	w := s.watch(t, mapwatch.Options{}, m0, m1)
	w.sync(t)
	w.rescan = nil
	_, next := s.successor(t, p1)
	must(t, w.Replace(1, next))
	w.untilRescan(t, 1)
	must(t, m1.Close())
	apply(t, next, update(s.key(4, 1), value(4, 1)))
	w.sync(t)
	if slices.Contains(w.rescan, 0) {
		t.Error("the map beside is to be scanned, too")
	}
	if err := w.Replace(1, m0); err == nil {
		t.Error("a map is watched twice")
	}
	if err := w.Replace(1, stranger{}); err == nil {
		t.Error("a map of another kernel is watched")
	}
}

func replaceRefusesOtherShapes(t *testing.T, s Subject) {
	_, m := s.create(t, 4, 4, 16)
	w := s.watch(t, mapwatch.Options{}, m)
	for _, shape := range []mapwatch.Shape{
		{Type: mapwatch.TypeHash, KeyBytes: 8, ValueBytes: 4, MaxEntries: 16},
		{Type: mapwatch.TypeHash, KeyBytes: 4, ValueBytes: 8, MaxEntries: 16},
		{Type: mapwatch.TypeArray, KeyBytes: 4, ValueBytes: 4, MaxEntries: 16},
	} {
		other := s.open(t, s.Create(t, shape).Target())
		wantError(t, "a map of another shape", w.Replace(0, other), mapwatch.ErrUnsupported)
	}
	larger := s.open(t, s.Create(t, mapwatch.Shape{KeyBytes: 4, ValueBytes: 4, MaxEntries: 32}).Target())
	must(t, w.Replace(0, larger))
	w.untilRescan(t, 0)
}

// replaceFollows: the new map is captured, the old one is not.
func replaceFollows(t *testing.T, s Subject) {
	p, m := s.create(t, 4, 4, 16)
	w := s.watch(t, mapwatch.Options{}, m)
	must(t, p.Update(s.key(4, 1), value(4, 1)))
	w.sync(t)
	for round := range 3 {
		next, opened := s.successor(t, p)
		must(t, w.Replace(0, opened))
		w.untilRescan(t, 0)
		w.sync(t)
		before := w.Counts(0)
		w.changes = nil
		must(t, p.Update(s.key(4, 2), value(4, 2)))
		must(t, next.Update(s.key(4, 3), value(4, round)))
		apply(t, opened, update(s.key(4, 4), value(4, 4)))
		w.sync(t)
		if len(w.changes) != 1 || !bytes.Equal(w.changes[0].Key, s.key(4, 3)) {
			t.Errorf("round %d: %d changes, want the one of the new map", round, len(w.changes))
		}
		if after := w.Counts(0); after.Captured != before.Captured+1 || after.Own != before.Own+1 {
			t.Errorf("round %d: counts are %+v, were %+v", round, after, before)
		}
		p = next
	}
}
