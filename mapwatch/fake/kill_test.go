package fake_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/fake"
)

// process is who uses a kernel: it has opened /m and watches it.
func process(t *testing.T, k *fake.Kernel, options mapwatch.Options) (mapwatch.Map, mapwatch.Watch) {
	t.Helper()
	m, err := k.Open("/m")
	if err != nil {
		t.Fatal(err)
	}
	w, err := k.Watch([]mapwatch.Map{m}, options)
	if err != nil {
		t.Fatal(err)
	}
	return m, w
}

// A process that was killed writes no more, though its goroutines may not know.
func TestKillEndsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := fake.NewKernel(nil)
		owner := k.AddMap(mapwatch.Shape{Target: "/m", KeyBytes: 1, ValueBytes: 1})
		m, w := process(t, k, mapwatch.Options{})
		_, pinned := process(t, k, mapwatch.Options{Pins: "/p"})
		write(t, owner, 1)
		k.Kill()
		for _, w := range []mapwatch.Watch{w, pinned} {
			if batch, more := <-w.Batches(); more {
				t.Errorf("a batch came after the kill: %+v", batch)
			}
			w.Barrier()
			_ = w.Counts(0)
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		}
		ops := []mapwatch.Op{{Key: []byte{2}, Value: []byte{2}}}
		m.Apply(ops)
		if _, err := m.Lookup([]byte{1}); !errors.Is(ops[0].Err, mapwatch.ErrGone) || !errors.Is(err, mapwatch.ErrGone) {
			t.Errorf("errors are %v and %v, want ErrGone", ops[0].Err, err)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if owner.Len() != 1 {
			t.Errorf("%d elements, want 1", owner.Len())
		}
		// The next process, killed as well, and the one after it.
		for range 2 {
			m, w = process(t, k, mapwatch.Options{Pins: "/p"})
			ops[0].Err = nil
			if m.Apply(ops); ops[0].Err != nil {
				t.Error(ops[0].Err)
			}
			batch := <-w.Batches()
			if !slices.Equal(batch.Rescan, []int{0}) {
				t.Errorf("batch is %+v", batch)
			}
			k.Kill()
		}
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
}

// What was read from the ring and not handled is lost with the process, what was
// still in it is not.
func TestKillLosesWhatWasRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := fake.NewKernel(nil)
		defer k.Close()
		owner := k.AddMap(mapwatch.Shape{Target: "/m", KeyBytes: 1, ValueBytes: 1})
		_, w := process(t, k, mapwatch.Options{Pins: "/p", Queue: 1, Poll: time.Millisecond})
		first := <-w.Batches() // the rescan of a first watch
		first.Release()
		write(t, owner, 1) // waits in Batches
		time.Sleep(10 * time.Millisecond)
		write(t, owner, 2) // waits for room there
		time.Sleep(10 * time.Millisecond)
		write(t, owner, 3) // in the ring
		time.Sleep(10 * time.Millisecond)
		k.Kill()
		write(t, owner, 4)
		_, w = process(t, k, mapwatch.Options{Pins: "/p"})
		batch := <-w.Batches()
		if keys(batch) != "\x03\x04" || !slices.Equal(batch.Rescan, []int{0}) {
			t.Errorf("changes of keys %x, rescan %v, want 3 and 4 and a rescan", keys(batch), batch.Rescan)
		}
	})
}

// The ring keeps what fits; there is no hurry while nobody reads.
func TestPinnedRingHasBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := fake.NewKernel(nil)
		defer k.Close()
		owner := k.AddMap(mapwatch.Shape{Target: "/m", KeyBytes: 1, ValueBytes: 1})
		options := mapwatch.Options{Pins: "/p", RingBytes: 4096}
		_, w := process(t, k, options)
		first := <-w.Batches()
		first.Release()
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		for range 200 {
			write(t, owner, 1)
			time.Sleep(time.Minute)
		}
		_, w = process(t, k, options)
		batch := <-w.Batches()
		if n := len(batch.Changes); n == 0 || n > 4096/50 || !slices.Equal(batch.Rescan, []int{0}) {
			t.Errorf("%d changes, rescan %v", n, batch.Rescan)
		}
		if counts := w.Counts(0); counts.Captured+counts.Dropped != 200 {
			t.Errorf("counts %+v, want 200 in all", counts)
		}
	})
}
