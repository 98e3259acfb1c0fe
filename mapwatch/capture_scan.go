package mapwatch

import "sync"

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
}

var _ Watch = (*scanWatch)(nil)

func newScanWatch(now func() int64, reason string) *scanWatch {
	w := &scanWatch{
		now:     now,
		reason:  reason,
		batches: make(chan Batch),
		barrier: make(chan struct{}, 1),
		quit:    make(chan struct{}),
		ended:   make(chan struct{}),
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
		case w.batches <- Batch{Upto: w.now()}:
		case <-w.quit:
			return
		}
	}
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

// Replace implements Watch: there is nothing to follow.
func (w *scanWatch) Replace(int, Map) error { return nil }

func (w *scanWatch) Close() error {
	w.close.Do(func() { close(w.quit) })
	<-w.ended
	return nil
}
