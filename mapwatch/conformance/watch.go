package conformance

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/mapwatch"
)

func (s Subject) watch(t *testing.T, options mapwatch.Options, maps ...mapwatch.Map) *watching {
	t.Helper()
	options.Mode = s.mode
	w, err := s.Kernel.Watch(maps, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return &watching{Watch: w, kernel: s.Kernel}
}

// watching collects what a Watch says.
type watching struct {
	mapwatch.Watch
	kernel  mapwatch.Kernel
	upto    int64
	changes []mapwatch.Change
	rescan  []int
	drained []int
	release bool // batches, once they are noted
}

// next takes one batch.
func (w *watching) next(t *testing.T) mapwatch.Batch {
	t.Helper()
	select {
	case batch, ok := <-w.Batches():
		if !ok {
			t.Fatal("Batches was closed")
		}
		w.note(t, batch)
		return batch
	case <-time.After(30 * time.Second):
		t.Fatal("no batch in 30 s")
	}
	panic("unreachable")
}

func (w *watching) note(t *testing.T, batch mapwatch.Batch) {
	t.Helper()
	if batch.Upto < w.upto {
		t.Errorf("Upto went back from %d to %d", w.upto, batch.Upto)
	}
	w.upto = batch.Upto
	for _, c := range batch.Changes {
		if w.release {
			c.Key, c.Value = bytes.Clone(c.Key), bytes.Clone(c.Value)
		}
		w.changes = append(w.changes, c)
	}
	for n, i := range batch.Rescan {
		if slices.Contains(batch.Rescan[:n], i) {
			t.Errorf("Rescan lists map %d twice", i)
		}
	}
	w.rescan = append(w.rescan, batch.Rescan...)
	for n, i := range batch.Drained {
		if slices.Contains(batch.Drained[:n], i) || !slices.Contains(batch.Rescan, i) {
			t.Errorf("map %d of Drained is there twice, or not in Rescan", i)
		}
	}
	w.drained = append(w.drained, batch.Drained...)
	if w.release {
		batch.Release()
	}
}

// sync takes batches until all that happened before the call was in them.
func (w *watching) sync(t *testing.T) {
	t.Helper()
	now := w.kernel.Now()
	w.Barrier()
	for w.upto < now {
		w.next(t)
	}
}

func watchNamesItsMode(t *testing.T, s Subject) {
	_, m := s.create(t, 4, 4, 4)
	if got := s.watch(t, mapwatch.Options{}, m).Mode(); got != s.mode {
		t.Errorf("mode is %q, want %q", got, s.mode)
	}
	auto, err := s.Kernel.Watch([]mapwatch.Map{m}, mapwatch.Options{Mode: mapwatch.ModeAuto})
	must(t, err)
	defer auto.Close()
	switch auto.Mode() {
	case mapwatch.ModeFexit:
	case mapwatch.ModeFentry, mapwatch.ModeScan:
		if auto.Reason() == "" {
			t.Errorf("auto chose %s and does not say why not a better one", auto.Mode())
		}
	default:
		t.Errorf("auto led to the mode %q", auto.Mode())
	}
}

// watchRefusesMode: a mode that auto passed over cannot be had by asking.
func watchRefusesMode(t *testing.T, s Subject) {
	_, m := s.create(t, 4, 4, 4)
	auto, err := s.Kernel.Watch([]mapwatch.Map{m}, mapwatch.Options{})
	must(t, err)
	best := auto.Mode()
	must(t, auto.Close())
	modes := []mapwatch.Mode{mapwatch.ModeFexit, mapwatch.ModeFentry, mapwatch.ModeScan}
	for i, mode := range modes {
		w, err := s.Kernel.Watch([]mapwatch.Map{m}, mapwatch.Options{Mode: mode})
		allowed := i >= slices.Index(modes, best)
		switch {
		case err == nil && w.Mode() != mode:
			t.Errorf("asked for %s, got %s", mode, w.Mode())
		case err == nil && !allowed:
			t.Errorf("auto chose %s and %s is allowed", best, mode)
		case err != nil && allowed:
			t.Errorf("auto chose %s and %s is refused: %v", best, mode, err)
		case err != nil && !isAny(err, mapwatch.ErrPermission, mapwatch.ErrUnsupported):
			t.Errorf("error is %v, want one that wraps ErrPermission or ErrUnsupported", err)
		}
		if err == nil {
			must(t, w.Close())
		}
	}
}

func watchRefusesOptions(t *testing.T, s Subject) {
	for _, options := range []mapwatch.Options{
		{Mode: "telepathy"},
		{Mode: s.mode, RingBytes: 12345},
		{Mode: s.mode, RingBytes: 1},
		{Mode: s.mode, Poll: -1},
		{Mode: s.mode, Queue: -1},
	} {
		if w, err := s.Kernel.Watch(nil, options); err == nil {
			w.Close()
			t.Errorf("%+v is allowed", options)
		}
	}
}

// stranger is a Map of no kernel.
type stranger struct{ mapwatch.Map }

func (stranger) Shape() mapwatch.Shape { return mapwatch.Shape{Target: "/strange"} }

func watchOnlyOwnMaps(t *testing.T, s Subject) {
	_, m := s.create(t, 4, 4, 4)
	for _, maps := range [][]mapwatch.Map{{stranger{}}, {m, m}} {
		if w, err := s.Kernel.Watch(maps, mapwatch.Options{Mode: s.mode}); err == nil {
			w.Close()
			t.Errorf("watch of %d maps is allowed", len(maps))
		}
	}
}

func watchOfNoMaps(t *testing.T, s Subject) {
	w := s.watch(t, mapwatch.Options{})
	w.sync(t)
	if len(w.changes)+len(w.rescan) > 0 {
		t.Errorf("%d changes, rescan %v", len(w.changes), w.rescan)
	}
}

func watchCloseEndsBatches(t *testing.T, s Subject) {
	p, m := s.create(t, 4, 4, 4)
	w := s.watch(t, mapwatch.Options{Queue: 1}, m)
	for range 3 { // A reader that is not there must not keep Close waiting.
		must(t, p.Update(numbered(4, 1), numbered(4, 1)))
		w.Barrier()
	}
	must(t, w.Close())
	must(t, w.Close())
	for range w.Batches() { // until it is closed
	}
	w.Barrier() // does nothing, and does not panic
	_ = w.Counts(0)
	// The map outlives the watch.
	apply(t, m, update(numbered(4, 2), numbered(4, 2)))
	must(t, p.Delete(numbered(4, 2)))
}

func barrierIsAnswered(t *testing.T, s Subject) {
	_, m := s.create(t, 4, 4, 4)
	w := s.watch(t, mapwatch.Options{Poll: time.Hour}, m)
	for range 20 {
		w.sync(t)
	}
	if w.upto > s.Kernel.Now() {
		t.Errorf("Upto %d is in the future", w.upto)
	}
	if len(w.changes) > 0 {
		t.Errorf("%d changes of nothing", len(w.changes))
	}
}
