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
	maps    []*Map
	mode    mapwatch.Mode
	reason  string
	ring    int // bytes
	poll    time.Duration
	batches chan mapwatch.Batch
	kick    chan struct{} // something is in the ring, or a map is to be rescanned
	barrier chan struct{} // and it must not wait for company
	quit    chan struct{}
	ended   chan struct{}
	once    sync.Once

	// Guarded by k.mu.
	records  []mapwatch.Change
	used     int   // bytes of the ring that records take
	reversed []int // by map: where in records its reversed ones start; -1: none
	rescan   []bool
	counts   []mapwatch.Counts
}

// Watch implements mapwatch.Kernel.
func (k *Kernel) Watch(maps []mapwatch.Map, options mapwatch.Options) (mapwatch.Watch, error) {
	ring := cmp.Or(options.RingBytes, 8<<20)
	switch {
	case ring < 4096 || ring&(ring-1) != 0:
		return nil, fmt.Errorf("watch: RingBytes is %d, want a power of two of at least 4096", ring)
	case options.Poll < 0 || options.Queue < 0:
		return nil, fmt.Errorf("watch: Poll is %v and Queue is %d, want neither below zero", options.Poll, options.Queue)
	}
	w := &watch{
		k:        k,
		ring:     ring,
		poll:     cmp.Or(options.Poll, time.Millisecond),
		batches:  make(chan mapwatch.Batch, cmp.Or(options.Queue, 64)),
		kick:     make(chan struct{}, 1),
		barrier:  make(chan struct{}, 1),
		quit:     make(chan struct{}),
		ended:    make(chan struct{}),
		reversed: slices.Repeat([]int{-1}, len(maps)),
		rescan:   make([]bool, len(maps)),
		counts:   make([]mapwatch.Counts, len(maps)),
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.isClosed {
		return nil, errors.New("watch: the kernel is closed")
	}
	for _, m := range maps {
		h, ok := m.(*handle)
		if !ok || h.k != k {
			return nil, fmt.Errorf("watch map %s: it was not opened by this kernel", m.Shape().Target)
		}
		if err := h.goneLocked(); err != nil {
			return nil, fmt.Errorf("watch: %w", err)
		}
		if slices.Contains(w.maps, h.m) {
			return nil, fmt.Errorf("watch map %s: it is in the list twice", h.shape.Target)
		}
		w.maps = append(w.maps, h.m)
	}
	var err error
	if w.mode, w.reason, err = k.chooseModeLocked(options.Mode); err != nil {
		return nil, err
	}
	k.watches = append(k.watches, w)
	go w.run()
	return w, nil
}

// chooseModeLocked: fexit needs the most of a host, scan nothing.
func (k *Kernel) chooseModeLocked(asked mapwatch.Mode) (mapwatch.Mode, string, error) {
	order := []mapwatch.Mode{mapwatch.ModeScan, mapwatch.ModeFentry, mapwatch.ModeFexit}
	switch rank := slices.Index(order, asked); {
	case asked == "" || asked == mapwatch.ModeAuto:
		return k.capture, k.reason, nil
	case rank < 0:
		return "", "", fmt.Errorf("watch: mode %q is none of auto, fexit, fentry, scan", asked)
	case rank > slices.Index(order, k.capture):
		return "", "", fmt.Errorf("watch by %s: %w: %s", asked, mapwatch.ErrUnsupported, k.reason)
	}
	if asked == mapwatch.ModeFexit {
		return asked, "", nil
	}
	return asked, fmt.Sprintf("capture mode %s was asked for", asked), nil
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
		case w.batches <- w.drain():
		case <-w.quit:
			return
		}
	}
}

func (w *watch) drain() mapwatch.Batch {
	w.k.mu.Lock()
	defer w.k.mu.Unlock()
	// All that was asked for until now is answered by this batch.
	for _, asked := range []chan struct{}{w.kick, w.barrier} {
		select {
		case <-asked:
		default:
		}
	}
	batch := mapwatch.Batch{Changes: w.records, Upto: w.k.nowLocked()}
	w.records, w.used = nil, 0
	for i := range w.maps {
		if w.rescan[i] {
			batch.Rescan = append(batch.Rescan, i)
		}
		w.rescan[i], w.reversed[i] = false, -1
	}
	return batch
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (w *watch) Batches() <-chan mapwatch.Batch { return w.batches }
func (w *watch) Barrier()                       { wake(w.barrier) }
func (w *watch) Mode() mapwatch.Mode            { return w.mode }
func (w *watch) Reason() string                 { return w.reason }

func (w *watch) Counts(mapIndex int) mapwatch.Counts {
	w.k.mu.Lock()
	defer w.k.mu.Unlock()
	return w.counts[mapIndex]
}

func (w *watch) Close() error {
	w.once.Do(func() {
		w.k.mu.Lock()
		w.k.watches = slices.DeleteFunc(w.k.watches, func(other *watch) bool { return other == w })
		w.k.mu.Unlock()
		close(w.quit)
	})
	<-w.ended
	return nil
}
