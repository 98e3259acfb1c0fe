//go:build linux

package mapwatch

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// hookWatch is the Watch of ModeFexit and ModeFentry. One goroutine, ringLoop,
// reads the ring, fills Batches and looks for losses.
type hookWatch struct {
	capture *capture
	host    *Host
	now     func() int64
	reason  string // why it is not ModeFexit
	batches chan Batch
	quit    chan struct{} // closed by Close
	ended   chan struct{} // closed when the reading goroutine has returned

	// Of a watch with Options.Pins; see leave.
	pins      *pins        // nil without
	number    uint64       // in the ledger
	unhandled atomic.Int64 // batches that were not released
	left      atomic.Bool  // Close is done but for them

	// barrier is the time of the latest Barrier call.
	barrier atomic.Int64

	close    sync.Once
	closeErr error

	// replaced is set, by map, when Replace wants a rescan of it.
	replaced []atomic.Bool

	// mu guards the capture's counters against Close, and what Replace changes.
	mu     sync.Mutex
	closed bool
	counts []Counts     // as last read; by map
	plan   *capturePlan // with the shapes of the maps that are watched; nil for Driven
	shapes []Shape
}

var _ Watch = (*hookWatch)(nil)

// startHookWatch owns c and p from here on. p is nil, or where c, of the plan, is
// pinned.
func startHookWatch(h *Host, c *capture, plan *capturePlan, p *pins, options Options) *hookWatch {
	shapes := slices.Clone(plan.watched())
	w := &hookWatch{
		capture: c,
		host:    h,
		now:     h.Now,
		batches: make(chan Batch, options.Queue),
		quit:    make(chan struct{}),
		ended:   make(chan struct{}),
		pins:    p,
		counts:  make([]Counts, len(shapes)),
		plan:    plan,
		shapes:  shapes,

		replaced: make([]atomic.Bool, len(shapes)),
	}
	loop := newRingLoop(w, slices.Clone(shapes), options)
	if p != nil {
		var settled bool
		w.number, settled = c.ledger.begin()
		loop.resume(settled)
	}
	go loop.run()
	return w
}

func (w *hookWatch) Batches() <-chan Batch { return w.batches }
func (w *hookWatch) Mode() Mode            { return w.capture.mode }

// Reason implements Watch.
func (w *hookWatch) Reason() string {
	best := ""
	for i := range w.shapes {
		mode, reason := w.Capture(i)
		if mode == ModeScan {
			continue
		}
		if reason == w.reason {
			return reason
		}
		if best == "" {
			best = reason
		}
	}
	return cmp.Or(best, w.reason)
}

// Capture implements Watch.
func (w *hookWatch) Capture(mapIndex int) (Mode, string) {
	if mapIndex < 0 || mapIndex >= len(w.replaced) {
		return w.Mode(), w.reason
	}
	w.mu.Lock()
	kind := w.shapes[mapIndex].Type // never changes
	w.mu.Unlock()
	if err := w.capture.refused[kind]; err != nil {
		return ModeScan, fmt.Sprintf("capture by %s of %s maps: %v", w.Mode(), kind, err)
	}
	return w.Mode(), joinReasons(append([]string{w.reason}, w.capture.lacking[kind]...)...)
}

// Replace implements Watch.
func (w *hookWatch) Replace(mapIndex int, m Map) error {
	shape := m.Shape()
	w.mu.Lock()
	defer w.mu.Unlock()
	if own, ok := m.(*hostMap); !ok || own.host != w.host {
		return fmt.Errorf("watch map %s: it was not opened by this host; open it with Host.Open", shape.Target)
	}
	if err := checkReplace(w.shapes, mapIndex, shape); err != nil {
		return err
	}
	if w.closed {
		return fmt.Errorf("watch map %s: %w: the watch was closed", shape.Target, ErrGone)
	}
	if w.plan == nil {
		return fmt.Errorf("watch map %s: a driven host watches one map, once: %w", shape.Target, ErrUnsupported)
	}
	old := w.shapes[mapIndex]
	if w.capture.refused[shape.Type] == nil && old.ID != shape.ID {
		if err := w.capture.watch(shape.ID, uint32(mapIndex)); err != nil {
			return err
		}
		if err := w.capture.unwatch(old.ID); err != nil {
			return err
		}
	}
	before := w.plan.setName(w.host.Boot())
	w.shapes[mapIndex], w.plan.shapes[mapIndex] = shape, shape
	w.replaced[mapIndex].Store(true)
	w.wake()
	if w.pins == nil {
		return nil
	}
	return w.pins.rename(before, w.plan.setName(w.host.Boot()))
}

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

// NameWriters implements Watch. A pinned capture keeps to it until Close, or, if
// that never comes, until the next watch begins.
func (w *hookWatch) NameWriters(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	// The variable is memory that we share with the programs: it fails only when
	// its size is not what they were compiled with, and then nobody is named.
	_ = w.capture.setNameWriters(on)
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
		counts.Caught = sum.Caught
	}
	if misses, err := w.capture.readMisses(); err == nil {
		counts.Missed = max(counts.Missed, misses.of(w.shapes[mapIndex].Type, w.capture.firstMisses))
	}
}

// Close implements Watch. Records that are still in the ring are lost, unless
// the capture is pinned.
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
		if w.pins == nil {
			w.closeErr = w.capture.Close()
		} else {
			w.closeErr = w.leave()
		}
	})
	return w.closeErr
}

// leave lets go of a pinned capture, which goes on without us: no thread is ours
// while nobody is there. An Apply that is under way ends before.
func (w *hookWatch) leave() error {
	forgot := false
	var errs [2]error
	forget := func() { errs[0], forgot = w.capture.forgetOwnThread(), true }
	w.host.onApplyThread(forget)
	if !forgot { // the Host is closed, and nobody applies
		forget()
	}
	// Nobody is to be woken for each record, and nobody asks who wrote it.
	errs[1] = errors.Join(w.capture.setReaderIdle(true), w.capture.setNameWriters(false))
	err := errors.Join(errs[0], errs[1], w.capture.Close())
	w.left.Store(true)
	w.settle()
	return errors.Join(err, w.pins.Close())
}

// released is called for each batch that its receiver is done with.
func (w *hookWatch) released() {
	w.unhandled.Add(-1)
	w.settle()
}

// settle tells the next watch that nothing was left behind, once that is so.
func (w *hookWatch) settle() {
	if w.left.Load() && w.unhandled.Load() == 0 {
		w.capture.ledger.settle(w.number)
	}
}
