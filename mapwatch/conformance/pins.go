package conformance

import (
	"bytes"
	"slices"
	"testing"

	"github.com/mapgossip/mapgossip/mapwatch"
)

// pinned watches with Options.Pins, and releases what it reads.
func (s Subject) pinned(t *testing.T, options mapwatch.Options, maps ...mapwatch.Map) *watching {
	t.Helper()
	w := s.watch(t, options, maps...)
	w.release = true
	return w
}

// finish closes the watch with nothing left behind.
func (w *watching) finish(t *testing.T) {
	t.Helper()
	w.sync(t)
	must(t, w.Close())
	for batch := range w.Batches() {
		w.note(t, batch)
	}
}

// wantChanges compares keys and times, in order, and forgets them.
func (w *watching) wantChanges(t *testing.T, what string, want []mapwatch.Change) {
	t.Helper()
	w.sync(t)
	if len(w.changes) != len(want) {
		t.Fatalf("%s: %d changes, want %d", what, len(w.changes), len(want))
	}
	for i, got := range w.changes {
		if got.Map != want[i].Map || !bytes.Equal(got.Key, want[i].Key) || got.Kind != mapwatch.Touched && !bytes.Equal(got.Value, want[i].Value) {
			t.Errorf("%s: change %d is %+v, want %+v", what, i, got, want[i])
		}
		if i > 0 && got.Captured < w.changes[i-1].Captured {
			t.Errorf("%s: change %d was captured before the one before", what, i)
		}
	}
	w.changes = nil
}

// wantRescan compares what was to be scanned so far, and forgets it.
func (w *watching) wantRescan(t *testing.T, what string, want ...int) {
	t.Helper()
	w.sync(t)
	slices.Sort(w.rescan)
	if !slices.Equal(w.rescan, want) {
		t.Errorf("%s: rescan of %v, want %v", what, w.rescan, want)
	}
	w.rescan = nil
}

// write is an update and the Change that it makes.
func write(t *testing.T, p Program, mapIndex, key, value int) mapwatch.Change {
	t.Helper()
	c := mapwatch.Change{Map: mapIndex, Kind: mapwatch.Updated, Key: numbered(4, key), Value: numbered(4, value)}
	must(t, p.Update(c.Key, c.Value))
	return c
}

func pinsInEveryMode(t *testing.T, s Subject) {
	_, m := s.create(t, 4, 4, 4)
	options := mapwatch.Options{Pins: s.Pins(t)}
	for range 2 {
		w := s.pinned(t, options, m)
		if !s.hooks() && w.Reason() == "" {
			t.Error("a scan pins nothing and does not say so")
		}
		w.finish(t)
		if len(w.changes) > 0 {
			t.Errorf("%d changes of nothing", len(w.changes))
		}
	}
}

func pinsGoOn(t *testing.T, s Subject) {
	p0, m0 := s.create(t, 4, 4, 64)
	p1, m1 := s.create(t, 4, 4, 64)
	options := mapwatch.Options{Pins: s.Pins(t)}
	w := s.pinned(t, options, m0, m1)
	w.wantRescan(t, "first watch", 0, 1)
	w.wantChanges(t, "before", nil)
	want := []mapwatch.Change{write(t, p0, 0, 1, 1)}
	apply(t, m0, update(numbered(4, 50), numbered(4, 50)))
	w.wantChanges(t, "first watch", want)
	for round := range 2 {
		counts := w.Counts(0)
		w.finish(t)
		from := s.Kernel.Now()
		want = []mapwatch.Change{write(t, p0, 0, 1, 2), write(t, p1, 1, 1, 3), write(t, p0, 0, 1, round)}
		to := s.Kernel.Now()
		w = s.pinned(t, options, m0, m1)
		apply(t, m0, update(numbered(4, 51), numbered(4, round)), remove(numbered(4, 51)))
		want = append(want, write(t, p1, 1, 2, round))
		w.sync(t)
		for i, c := range w.changes[:min(3, len(w.changes))] {
			if c.Captured < from || c.Captured > to {
				t.Errorf("change %d was captured at %d, not from %d to %d", i, c.Captured, from, to)
			}
		}
		w.wantChanges(t, "after a while", want)
		w.wantRescan(t, "after a while")
		if got := w.Counts(0); got.Captured != counts.Captured+2 || got.Own != counts.Own+2 {
			t.Errorf("counts are %+v, were %+v", got, counts)
		}
	}
}

func pinsRingFull(t *testing.T, s Subject) {
	const most = 1000
	p, m := s.create(t, 4, 4, most)
	_, quiet := s.create(t, 4, 4, 4)
	options := mapwatch.Options{Pins: s.Pins(t), RingBytes: 4096}
	s.pinned(t, options, quiet, m).finish(t)
	for i := range most {
		write(t, p, 1, i, i)
	}
	w := s.pinned(t, options, quiet, m)
	w.sync(t)
	counts := w.Counts(1)
	if counts.Dropped == 0 || counts.Captured+counts.Dropped+counts.Missed != most || counts.Captured != uint64(len(w.changes)) {
		t.Errorf("%d changes of %d writes, counts %+v", len(w.changes), most, counts)
	}
	if counts.Missed == 0 {
		w.wantRescan(t, "the ring was full", 1)
	}
	w.changes = nil
	w.wantChanges(t, "after the overflow", []mapwatch.Change{write(t, p, 1, 1, 1)})
	w.finish(t)
	s.pinned(t, options, quiet, m).wantRescan(t, "a loss that was answered")
}

func pinsUnreleased(t *testing.T, s Subject) {
	p, m := s.create(t, 4, 4, 4)
	options := mapwatch.Options{Pins: s.Pins(t)}
	s.pinned(t, options, m).finish(t)
	w := s.watch(t, options, m)
	write(t, p, 0, 1, 1)
	w.sync(t)
	w.finish(t)
	w = s.pinned(t, options, m)
	w.wantRescan(t, "a batch was not released", 0)
	w.finish(t)

	// Released after Close.
	w = s.watch(t, options, m)
	write(t, p, 0, 1, 1)
	batch := w.next(t)
	for len(batch.Changes) == 0 {
		batch = w.next(t)
	}
	w.finish(t)
	batch.Release()
	s.pinned(t, options, m).wantRescan(t, "all batches were released")
}

func pinsKill(t *testing.T, s Subject) {
	p, m := s.create(t, 4, 4, 64)
	options := mapwatch.Options{Pins: s.Pins(t), Queue: 1}
	for range 2 {
		w := s.pinned(t, options, m)
		apply(t, m, update(numbered(4, 50), numbered(4, 50)))
		w.sync(t)
		s.Kill(t, w.Watch)
		var want []mapwatch.Change
		for i := range 50 {
			want = append(want, write(t, p, 0, i%10, i))
		}
		m = s.open(t, p.Target())
		w = s.pinned(t, options, m)
		apply(t, m, update(numbered(4, 50), numbered(4, 51)))
		w.wantChanges(t, "after a kill", want)
		w.wantRescan(t, "after a kill", 0)
		w.finish(t)
		s.pinned(t, options, m).finish(t)
	}
	// Without pins a kill is the end.
	options.Pins = ""
	w := s.watch(t, options, m)
	w.sync(t)
	s.Kill(t, w.Watch)
	write(t, p, 0, 1, 1)
	m = s.open(t, p.Target())
	w = s.watch(t, options, m)
	w.wantChanges(t, "after a kill without pins", []mapwatch.Change{write(t, p, 0, 2, 2)})
	w.wantRescan(t, "after a kill without pins")
}

func pinsReplaced(t *testing.T, s Subject) {
	p0, m0 := s.create(t, 4, 4, 64)
	_, m1 := s.create(t, 4, 4, 64)
	_, m2 := s.create(t, 4, 4, 64)
	options := mapwatch.Options{Pins: s.Pins(t)}
	s.pinned(t, options, m0, m1).finish(t)
	for _, now := range []struct {
		what string
		ring int
		maps []mapwatch.Map
		want []int
	}{
		{"another ring", 1 << 16, []mapwatch.Map{m0, m1}, []int{0, 1}},
		{"fewer maps", 1 << 16, []mapwatch.Map{m0}, []int{0}},
		{"more maps", 1 << 16, []mapwatch.Map{m0, m1, m2}, []int{0, 1, 2}},
		{"another order", 1 << 16, []mapwatch.Map{m0, m2, m1}, []int{0, 1, 2}},
	} {
		write(t, p0, 0, 1, 1)
		options.RingBytes = now.ring
		w := s.pinned(t, options, now.maps...)
		w.wantRescan(t, now.what, now.want...)
		w.wantChanges(t, now.what, []mapwatch.Change{write(t, p0, 0, 1, 2)})
		w.finish(t)
	}
}

func pinsHaveOneReader(t *testing.T, s Subject) {
	_, m := s.create(t, 4, 4, 4)
	options := mapwatch.Options{Mode: s.mode, Pins: s.Pins(t)}
	w := s.pinned(t, options, m)
	if _, err := s.Kernel.Watch([]mapwatch.Map{m}, options); !isAny(err, mapwatch.ErrInUse) {
		t.Errorf("second watch: error is %v, want one that wraps ErrInUse", err)
	}
	other := options
	other.Pins = s.Pins(t)
	s.pinned(t, other, m).finish(t)
	w.finish(t)
	s.pinned(t, options, m).wantRescan(t, "after a refused watch")
}

func pinsAppliesOfNobody(t *testing.T, s Subject) {
	_, m := s.create(t, 4, 4, 4)
	options := mapwatch.Options{Pins: s.Pins(t)}
	s.pinned(t, options, m).finish(t)
	apply(t, m, update(numbered(4, 1), numbered(4, 2)))
	w := s.pinned(t, options, m)
	w.wantChanges(t, "an apply while nobody watched", []mapwatch.Change{{Key: numbered(4, 1), Value: numbered(4, 2)}})
}
