package mapwatch

import (
	"maps"
	"slices"
	"sync"
)

// scanWatch is the Watch of ModeScan: no hooks, so that it never has a Change.
// It answers Barrier, and that is all.
type scanWatch struct {
	now     func() int64
	reason  string
	batches chan Batch
	barrier chan struct{} // one waiting request stands for all
	quit    chan struct{} // closed by Close
	ended   chan struct{} // closed when run has returned
	close   sync.Once

	mu       sync.Mutex
	shapes   []Shape      // of the maps that are watched
	replaced map[int]bool // maps that Replace put in the place of others
}

var _ Watch = (*scanWatch)(nil)

func newScanWatch(now func() int64, shapes []Shape, reason string) *scanWatch {
	w := &scanWatch{
		now:      now,
		reason:   reason,
		shapes:   slices.Clone(shapes),
		replaced: make(map[int]bool),
		batches:  make(chan Batch),
		barrier:  make(chan struct{}, 1),
		quit:     make(chan struct{}),
		ended:    make(chan struct{}),
	}
	go w.run()
	return w
}

func (w *scanWatch) run() {
	defer close(w.ended)
	defer close(w.batches)
	for {
		select {
		case <-w.barrier:
		case <-w.quit:
			return
		}
		select {
		case w.batches <- w.batch():
		case <-w.quit:
			return
		}
	}
}

func (w *scanWatch) batch() Batch {
	w.mu.Lock()
	defer w.mu.Unlock()
	batch := Batch{Upto: w.now(), Rescan: slices.Sorted(maps.Keys(w.replaced))}
	clear(w.replaced)
	return batch
}

func (w *scanWatch) Batches() <-chan Batch { return w.batches }

func (w *scanWatch) Barrier() {
	select {
	case w.barrier <- struct{}{}:
	default: // one is waiting, and will be answered after this moment
	}
}

func (w *scanWatch) Mode() Mode        { return ModeScan }
func (w *scanWatch) Reason() string    { return w.reason }
func (w *scanWatch) Counts(int) Counts { return Counts{} }

func (w *scanWatch) Capture(int) (Mode, string) { return ModeScan, w.reason }

// Replace implements Watch.
func (w *scanWatch) Replace(mapIndex int, m Map) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := checkReplace(w.shapes, mapIndex, m.Shape()); err != nil {
		return err
	}
	w.shapes[mapIndex] = m.Shape()
	w.replaced[mapIndex] = true
	w.Barrier()
	return nil
}

// NameWriters implements Watch: there are no Changes to name anybody in.
func (w *scanWatch) NameWriters(bool) {}

func (w *scanWatch) Close() error {
	w.close.Do(func() { close(w.quit) })
	<-w.ended
	return nil
}
