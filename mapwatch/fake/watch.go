package fake

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mapgossip/mapgossip/mapwatch"
)

type watch struct {
	k       *Kernel
	capture *capture
	number  uint64  // of this watch among those of capture
	best    limit   // of each
	each    []limit // by map
	poll    time.Duration
	batches chan mapwatch.Batch
	kick    chan struct{} // something is in the ring, or a map is to be rescanned
	barrier chan struct{} // and it must not wait for company
	quit    chan struct{}
	ended   chan struct{}
	once    sync.Once

	// Guarded by k.mu.
	left      bool // Close is done
	unhandled int  // batches of a pinned capture that were not released
}

// Watch implements mapwatch.Kernel. Any text will do for Options.Pins.
func (k *Kernel) Watch(maps []mapwatch.Map, options mapwatch.Options) (mapwatch.Watch, error) {
	ring := cmp.Or(options.RingBytes, 8<<20)
	switch {
	case ring < 4096 || ring&(ring-1) != 0:
		return nil, fmt.Errorf("watch: RingBytes is %d, want a power of two of at least 4096", ring)
	case options.Poll < 0 || options.Queue < 0:
		return nil, fmt.Errorf("watch: Poll is %v and Queue is %d, want neither below zero", options.Poll, options.Queue)
	}
	w := &watch{
		k:       k,
		poll:    cmp.Or(options.Poll, time.Millisecond),
		batches: make(chan mapwatch.Batch, cmp.Or(options.Queue, 64)),
		kick:    make(chan struct{}, 1),
		barrier: make(chan struct{}, 1),
		quit:    make(chan struct{}),
		ended:   make(chan struct{}),
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.isClosed {
		return nil, errors.New("watch: the kernel is closed")
	}
	watched, err := k.watchedLocked(maps)
	if err != nil {
		return nil, err
	}
	if w.best, w.each, err = k.chooseLimitsLocked(options.Mode, watched); err != nil {
		return nil, err
	}
	if old := k.pinnedLocked(options.Pins); old != nil && old.watch != nil {
		return nil, fmt.Errorf("watch: pin captures in %s: %w", options.Pins, mapwatch.ErrInUse)
	}
	if options.Pins != "" && w.best.mode == mapwatch.ModeScan {
		w.best.reason += "; a scan has nothing to pin"
	}
	w.capture = k.captureForLocked(w, watched, ring, options.Pins)
	w.number = w.capture.number
	go w.run()
	return w, nil
}

// watchedLocked checks the maps of a watch. It has others already.
func (k *Kernel) watchedLocked(maps []mapwatch.Map, others ...*Map) ([]*Map, error) {
	watched := make([]*Map, 0, len(maps))
	for _, m := range maps {
		h, ok := m.(*handle)
		if !ok || h.k != k {
			return nil, fmt.Errorf("watch map %s: it was not opened by this kernel", m.Shape().Target)
		}
		if err := h.goneLocked(); err != nil {
			return nil, fmt.Errorf("watch: %w", err)
		}
		if slices.Contains(watched, h.m) || slices.Contains(others, h.m) {
			return nil, fmt.Errorf("watch map %s: it is in the list twice", h.shape.Target)
		}
		watched = append(watched, h.m)
	}
	return watched, nil
}

func (w *watch) run() {
	defer close(w.ended)
	defer close(w.batches)
	for {
		select {
		case <-w.kick:
			company := time.NewTimer(w.poll)
			select {
			case <-company.C:
			case <-w.barrier:
			case <-w.quit:
			}
			company.Stop()
		case <-w.barrier:
		case <-w.quit:
			return
		}
		select {
		case <-w.quit: // what is in the ring stays there
			return
		default:
		}
		batch := w.drain()
		select {
		case w.batches <- batch:
		case <-w.quit:
			select {
			case w.batches <- batch:
			default:
			}
			return
		}
	}
}

func (w *watch) drain() mapwatch.Batch {
	w.k.mu.Lock()
	defer w.k.mu.Unlock()
	if w.capture.watch != w { // killed
		return mapwatch.Batch{Upto: w.k.nowLocked()}
	}
	// All that was asked for until now is answered by this batch.
	for _, asked := range []chan struct{}{w.kick, w.barrier} {
		select {
		case <-asked:
		default:
		}
	}
	batch := w.capture.takeLocked()
	if w.capture.pins != "" && len(batch.Changes)+len(batch.Rescan) > 0 {
		w.unhandled++
		batch.OnRelease(w.released)
	}
	return batch
}

// released is called for each batch that its receiver is done with.
func (w *watch) released() {
	w.k.mu.Lock()
	defer w.k.mu.Unlock()
	w.unhandled--
	w.settleLocked()
}

// settleLocked tells the next watch that nothing was left behind, once that is so.
func (w *watch) settleLocked() {
	if w.left && w.unhandled == 0 && w.capture.number == w.number {
		w.capture.settled = w.number
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (w *watch) Batches() <-chan mapwatch.Batch { return w.batches }
func (w *watch) Barrier()                       { wake(w.barrier) }
func (w *watch) Mode() mapwatch.Mode            { return w.best.mode }
func (w *watch) Reason() string                 { return w.best.reason }

// Capture implements mapwatch.Watch.
func (w *watch) Capture(mapIndex int) (mapwatch.Mode, string) {
	l := w.each[mapIndex]
	return l.mode, l.reason
}

// NameWriters implements mapwatch.Watch.
func (w *watch) NameWriters(on bool) {
	w.k.mu.Lock()
	defer w.k.mu.Unlock()
	if w.capture.watch == w {
		w.capture.named = on
	}
}

// Replace implements mapwatch.Watch.
func (w *watch) Replace(mapIndex int, m mapwatch.Map) error {
	w.k.mu.Lock()
	defer w.k.mu.Unlock()
	c := w.capture
	if c.watch != w {
		return fmt.Errorf("watch map %s: the watch was closed", m.Shape().Target)
	}
	others := slices.Delete(slices.Clone(c.maps), mapIndex, mapIndex+1)
	watched, err := w.k.watchedLocked([]mapwatch.Map{m}, others...)
	if err != nil {
		return err
	}
	was, is := c.maps[mapIndex].shape, watched[0].shape
	if was.Type != is.Type || was.KeyBytes != is.KeyBytes || was.ValueBytes != is.ValueBytes {
		return fmt.Errorf("watch map %s: %w: it is of type %s with keys of %d and values of %d bytes, the one in whose place it comes is of type %s with %d and %d; start a new Watch",
			m.Shape().Target, mapwatch.ErrUnsupported, is.Type, is.KeyBytes, is.ValueBytes, was.Type, was.KeyBytes, was.ValueBytes)
	}
	c.replaceLocked(mapIndex, watched[0])
	return nil
}

func (w *watch) Counts(mapIndex int) mapwatch.Counts {
	w.k.mu.Lock()
	defer w.k.mu.Unlock()
	return w.capture.counts[mapIndex]
}

func (w *watch) Close() error {
	w.once.Do(func() {
		close(w.quit)
		<-w.ended
		w.k.mu.Lock()
		defer w.k.mu.Unlock()
		w.capture.leaveLocked()
		w.left = true
		w.settleLocked()
	})
	<-w.ended
	return nil
}

// kill is Close as a kill -9 does it: nothing is settled, and what was read from
// the ring and not yet received is lost.
func (w *watch) kill() {
	w.once.Do(func() {
		w.k.mu.Lock()
		w.capture.leaveLocked()
		w.k.mu.Unlock()
		close(w.quit)
		<-w.ended
		for range w.batches {
		}
	})
	<-w.ended
}
