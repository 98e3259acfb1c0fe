//go:build linux

package mapwatch

import (
	"strings"
	"sync"
	"sync/atomic"
)

// hookWatch is the Watch of ModeFexit and ModeFentry. One goroutine, ringLoop,
// reads the ring, fills Batches and looks for losses.
type hookWatch struct {
	capture *capture
	now     func() int64
	reason  string
	batches chan Batch
	quit    chan struct{} // closed by Close
	ended   chan struct{} // closed when the reading goroutine has returned

	// barrier is the time of the latest Barrier call.
	barrier atomic.Int64

	close    sync.Once
	closeErr error

	// mu guards the capture's counters against Close.
	mu          sync.Mutex
	closed      bool
	firstMisses uint64
	counts      []Counts // as last read; by map
}

var _ Watch = (*hookWatch)(nil)

// startHookWatch owns c from here on. misses is what c.readMisses said before
// the first map was watched.
func startHookWatch(c *capture, now func() int64, shapes []Shape, misses uint64, options Options) *hookWatch {
	w := &hookWatch{
		capture:     c,
		now:         now,
		reason:      strings.Join(c.lacking, "; "),
		batches:     make(chan Batch, options.Queue),
		quit:        make(chan struct{}),
		ended:       make(chan struct{}),
		firstMisses: misses,
		counts:      make([]Counts, len(shapes)),
	}
	loop := newRingLoop(w, shapes, options)
	go loop.run()
	return w
}

func (w *hookWatch) Batches() <-chan Batch { return w.batches }
func (w *hookWatch) Mode() Mode            { return w.capture.mode }
func (w *hookWatch) Reason() string        { return w.reason }

// Barrier implements Watch. The batch follows within a millisecond or two, or
// when there is room in Batches.
func (w *hookWatch) Barrier() {
	at := w.now()
	for {
		before := w.barrier.Load()
		if before >= at {
			break
		}
		if w.barrier.CompareAndSwap(before, at) {
			break
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.wake()
	}
}

// wake makes the reading goroutine look at barrier and quit.
func (w *hookWatch) wake() {
	// The only error is that the ring is closed, and then nobody is asleep.
	_ = w.capture.reader.Flush()
}

// Counts implements Watch. After Close, and for a counter that cannot be read,
// it returns what was read last.
func (w *hookWatch) Counts(mapIndex int) Counts {
	w.mu.Lock()
	defer w.mu.Unlock()
	if mapIndex < 0 || mapIndex >= len(w.counts) {
		return Counts{}
	}
	w.readCountsLocked(mapIndex)
	return w.counts[mapIndex]
}

func (w *hookWatch) readCountsLocked(mapIndex int) {
	if w.closed {
		return
	}
	counts := &w.counts[mapIndex]
	if sum, err := w.capture.readCounts(uint32(mapIndex)); err == nil {
		counts.Captured, counts.Own, counts.Failed, counts.Dropped = sum.Captured, sum.Own, sum.Failed, sum.Dropped
	}
	if misses, err := w.capture.readMisses(); err == nil {
		counts.Missed = misses - w.firstMisses
	}
}

// Close implements Watch. Records that are still in the ring are lost.
func (w *hookWatch) Close() error {
	w.close.Do(func() {
		close(w.quit)
		w.wake()
		<-w.ended
		w.mu.Lock()
		defer w.mu.Unlock()
		for i := range w.counts {
			w.readCountsLocked(i)
		}
		w.closed = true
		w.closeErr = w.capture.Close()
	})
	return w.closeErr
}
