package mapwatch

import (
	"sync/atomic"
	"testing"
	"testing/synctest"

	_ "github.com/mapgossip/mapgossip/test/raceproc"
)

func TestScanWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var clock atomic.Int64
		w := newScanWatch(func() int64 { return clock.Add(1) }, nil, "because")
		if w.Mode() != ModeScan || w.Reason() != "because" || w.Counts(0) != (Counts{}) {
			t.Errorf("mode %q, reason %q, counts %+v", w.Mode(), w.Reason(), w.Counts(0))
		}
		synctest.Wait()
		select {
		case <-w.Batches():
			t.Error("a batch that nobody asked for")
		default:
		}

		// Many requests, none read: the latest is still answered with a
		// moment that is not before it.
		for range 100 {
			clock.Add(1)
			w.Barrier()
			synctest.Wait()
		}
		last := clock.Load()
		w.Barrier()
		var batch Batch
		for batch.Upto < last {
			batch = <-w.Batches()
			if len(batch.Changes) != 0 || len(batch.Rescan) != 0 {
				t.Errorf("batch %+v", batch)
			}
		}

		w.Barrier() // not read: Close must not wait for it
		for range 2 {
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
		}
		for range w.Batches() {
		}
		w.Barrier()
	})
}
