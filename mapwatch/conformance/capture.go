package conformance

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/mapgossip/mapgossip/mapwatch"
)

func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}

// hooks reports whether this subject captures changes at all.
func (s Subject) hooks() bool { return s.mode != mapwatch.ModeScan }

// kind is the Kind of a Change where fexit gives that one. An array has no
// deletes: zeros are written.
func (s Subject) kind(fexit mapwatch.Kind) mapwatch.Kind {
	if s.mode == mapwatch.ModeFentry && (fexit == mapwatch.Updated || s.mapType == mapwatch.TypeArray) {
		return mapwatch.Touched
	}
	return fexit
}

// ownAppliesDoNotComeBack holds in every mode.
func ownAppliesDoNotComeBack(t *testing.T, s Subject) {
	const entries = 500
	p, m := s.create(t, 4, 4, entries)
	w := s.watch(t, mapwatch.Options{}, m)
	fill(t, s, m, entries)
	fill(t, s, m, entries)
	for i := range entries / 2 {
		apply(t, m, remove(s.key(4, i)))
	}
	if s.hooks() { // A foreign write in between is not taken for one of ours.
		must(t, p.Update(s.key(4, 1), value(4, 99)))
	}
	apply(t, m, update(s.key(4, 2), value(4, 2)))
	w.sync(t)
	counts := w.Counts(0)
	if !s.hooks() {
		if len(w.changes) > 0 || counts != (mapwatch.Counts{}) {
			t.Errorf("%d changes, counts %+v", len(w.changes), counts)
		}
		return
	}
	if slices.Contains(w.rescan, 0) {
		t.Fatalf("records were lost, counts %+v", counts)
	}
	if len(w.changes) != 1 || !bytes.Equal(w.changes[0].Key, s.key(4, 1)) {
		t.Errorf("%d changes, want the one foreign write", len(w.changes))
	}
	if want := uint64(2*entries + entries/2 + 1); counts.Own != want || counts.Captured != 1 {
		t.Errorf("counts are %+v, want %d own and 1 captured", counts, want)
	}
}

func changesAreCaptured(t *testing.T, s Subject) {
	first, m0 := s.create(t, 4, 8, 16)
	second, m1 := s.create(t, 7, 3, 16)
	w := s.watch(t, mapwatch.Options{}, m0, m1)
	type step struct {
		run  func() error
		want mapwatch.Change
	}
	key, other := s.key(4, 1), s.key(7, 2)
	v := func(n int) []byte { return value(8, n) }
	steps := []step{
		{func() error { return first.Update(key, v(1)) }, mapwatch.Change{Map: 0, Kind: mapwatch.Updated, Key: key, Value: v(1)}},
		{func() error { return first.Overwrite(key, v(2)) }, mapwatch.Change{Map: 0, Kind: mapwatch.Updated, Key: key, Value: v(2)}},
		{func() error { return s.insert(second, other, value(3, 9)) }, mapwatch.Change{Map: 1, Kind: mapwatch.Updated, Key: other, Value: value(3, 9)}},
		{func() error { return first.Overwrite(key, v(2)) }, mapwatch.Change{Map: 0, Kind: mapwatch.Updated, Key: key, Value: v(2)}},
		{func() error { return s.clear(first, key, 8) }, mapwatch.Change{Map: 0, Kind: mapwatch.Deleted, Key: key}},
		{func() error { return s.clear(second, other, 3) }, mapwatch.Change{Map: 1, Kind: mapwatch.Deleted, Key: other}},
	}
	for i, step := range steps {
		before := s.Kernel.Now()
		must(t, step.run())
		after := s.Kernel.Now()
		w.sync(t)
		if len(w.changes) != 1 {
			t.Fatalf("step %d: %d changes, want 1", i, len(w.changes))
		}
		got, want := w.changes[0], step.want
		want.Kind = s.kind(want.Kind)
		if want.Kind == mapwatch.Touched {
			want.Value = nil
		}
		if got.Map != want.Map || got.Kind != want.Kind || !bytes.Equal(got.Key, want.Key) || !bytes.Equal(got.Value, want.Value) {
			t.Errorf("step %d: change is %+v, want %+v", i, got, want)
		}
		if got.Captured < before || got.Captured > after || got.Captured >= w.upto {
			t.Errorf("step %d: captured at %d, want from %d to %d and before %d", i, got.Captured, before, after, w.upto)
		}
		w.changes = nil
	}
	if a, b := w.Counts(0).Captured, w.Counts(1).Captured; a != 4 || b != 2 {
		t.Errorf("captured %d and %d, want 4 and 2", a, b)
	}
}

// writersAreNamed: the process always, all of it while somebody asks.
func writersAreNamed(t *testing.T, s Subject) {
	p, m := s.create(t, 4, 4, 4)
	w := s.watch(t, mapwatch.Options{}, m)
	for i, asked := range []bool{false, true, true, false} {
		w.NameWriters(asked)
		must(t, p.Update(s.key(4, 1), value(4, i)))
		w.sync(t)
		if len(w.changes) != 1 {
			t.Fatalf("step %d: %d changes, want 1", i, len(w.changes))
		}
		got, source := w.changes[0], mapwatch.SourceUnknown
		if asked {
			source = mapwatch.SourceSyscall
		}
		if got.PID == 0 || got.Source != source || (got.Comm != [16]byte{}) != asked {
			t.Errorf("step %d, asked is %t: process %d %q, source %q", i, asked, got.PID, got.Comm, got.Source)
		}
		w.changes = nil
	}
}

func failuresChangeNothing(t *testing.T, s Subject) {
	p := s.Create(t, mapwatch.Shape{Type: s.mapType, KeyBytes: s.shape(4, 4, 2).KeyBytes, ValueBytes: 4, MaxEntries: 2})
	m := s.open(t, p.Target())
	must(t, p.Update(s.key(4, 0), value(4, 1)))
	must(t, p.Update(s.key(4, 1), value(4, 2)))
	w := s.watch(t, mapwatch.Options{}, m)
	failures := make(map[string]error)
	if s.mapType != mapwatch.TypeLRUHash { // which makes room
		failures["update of a full map"] = p.Update(s.key(4, 3), value(4, 9))
	}
	if s.mapType == mapwatch.TypeHash || s.mapType == mapwatch.TypeArray { // an LRU map makes room first, old tries allow it
		failures["insert of a key that is there"] = p.Insert(s.key(4, 1), value(4, 9))
	}
	if s.mapType == mapwatch.TypeHash {
		failures["overwrite of a key that is not"] = p.Overwrite(s.key(4, 3), value(4, 9))
	}
	if s.mapType != mapwatch.TypeArray { // which no hook of deletes is for
		failures["delete of a key that is not there"] = p.Delete(s.key(4, 3))
	}
	for what, err := range failures {
		if err == nil {
			t.Errorf("%s succeeded", what)
		}
	}
	w.sync(t)
	for _, change := range w.changes {
		if change.Kind != mapwatch.Touched || s.mode == mapwatch.ModeFexit {
			t.Errorf("a failed operation came as %+v", change)
		}
	}
	if counts := w.Counts(0); s.mode == mapwatch.ModeFexit && counts.Failed != uint64(len(failures)) {
		t.Errorf("counts are %+v, want %d failed", counts, len(failures))
	}
}

func unwatchedMapsAreSilent(t *testing.T, s Subject) {
	p, m := s.create(t, 4, 4, 16)
	unwatched, _ := s.create(t, 4, 4, 16)
	w := s.watch(t, mapwatch.Options{}, m)
	for i := range 16 {
		must(t, unwatched.Update(s.key(4, i), value(4, i)))
	}
	must(t, p.Update(s.key(4, 1), value(4, 1)))
	w.sync(t)
	if len(w.changes) != 1 || w.Counts(0).Captured != 1 {
		t.Errorf("%d changes, counts %+v, want the 1 of the watched map", len(w.changes), w.Counts(0))
	}
}

func manyChangesAllArrive(t *testing.T, s Subject) {
	const entries = 10_000
	p, m := s.create(t, 4, 8, entries)
	w := s.watch(t, mapwatch.Options{}, m)
	want := make(map[string][]byte)
	for i := range entries {
		key := s.key(4, i)
		want[string(key)] = value(8, i)
		must(t, p.Update(key, want[string(key)]))
	}
	w.sync(t)
	counts := w.Counts(0)
	if lost := counts.Dropped + counts.Missed; lost > 0 {
		if !slices.Contains(w.rescan, 0) {
			t.Errorf("%d records were lost and no rescan asked for", lost)
		}
		return
	}
	seen := make(map[string]bool)
	for _, change := range w.changes {
		seen[string(change.Key)] = true
		if change.Kind == mapwatch.Updated && !bytes.Equal(change.Value, want[string(change.Key)]) {
			t.Errorf("key %x came with the value of another", change.Key)
		}
	}
	if len(seen) != entries || len(w.changes) != entries || counts.Captured != entries {
		t.Errorf("%d changes of %d keys, counts %+v, want %d of each", len(w.changes), len(seen), counts, entries)
	}
}

func changesBelongToTheReceiver(t *testing.T, s Subject) {
	const entries = 200
	p, m := s.create(t, 4, 8, entries)
	w := s.watch(t, mapwatch.Options{}, m)
	for i := range entries {
		must(t, p.Update(numbered(4, i), numbered(8, i)))
		if i%20 == 0 {
			w.sync(t)
		}
	}
	w.sync(t)
	// Neighbours do not share memory: growing or clearing one spares the rest.
	for i, change := range w.changes {
		if !bytes.Equal(change.Key, numbered(4, i)) {
			t.Fatalf("change %d is of key %x", i, change.Key)
		}
		_ = append(change.Key, 0xff, 0xff, 0xff, 0xff)
		_ = append(change.Value, 0xff, 0xff, 0xff, 0xff)
		clear(change.Key)
		clear(change.Value)
	}
}
