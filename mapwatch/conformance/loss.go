package conformance

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/mapgossip/mapgossip/mapwatch"
)

func largeValuesArriveOrTouch(t *testing.T, s Subject) {
	for _, size := range []struct{ key, value, ring int }{
		{512, 8, 0},
		{1, 1, 0},
		{512, 16 << 10, 0},
		{8, 64 << 10, 0},      // more than the scratch of the capture programs
		{8, 16 << 10, 4096},   // more than the ring
		{512, 16 << 10, 4096}, // the key alone fits
	} {
		t.Run(fmt.Sprintf("key=%d,value=%d,ring=%d", size.key, size.value, size.ring), func(t *testing.T) {
			p, m := s.create(t, size.key, size.value, 4)
			w := s.watch(t, mapwatch.Options{RingBytes: size.ring}, m)
			key, value := numbered(size.key, 1), numbered(size.value, 1)
			must(t, p.Update(key, value))
			w.sync(t)
			if len(w.changes) != 1 || !bytes.Equal(w.changes[0].Key, key) {
				t.Fatalf("%d changes, want 1 of the key", len(w.changes))
			}
			switch got := w.changes[0]; got.Kind {
			case mapwatch.Updated:
				if !bytes.Equal(got.Value, value) {
					t.Error("the value was not captured whole")
				}
			case mapwatch.Touched:
				if got.Value != nil {
					t.Error("Touched comes with a value")
				}
				if small := size.value <= 16<<10 && size.ring == 0; small && s.mode == mapwatch.ModeFexit {
					t.Error("the record has room and was cut")
				}
			default:
				t.Errorf("kind is %d", got.Kind)
			}
		})
	}
}

// overflowAsksForRescan writes more than queue and ring hold, with nobody
// reading. Then the reader comes back and must hear of the loss.
func overflowAsksForRescan(t *testing.T, s Subject) {
	const ring, most = 4096, 200_000
	p, m := s.create(t, 4, 1024, 64)
	w := s.watch(t, mapwatch.Options{RingBytes: ring, Queue: 1}, m)
	written := uint64(0)
	for w.Counts(0).Dropped < 10 {
		if written == most {
			t.Fatalf("%d records of 1 KiB fit a ring of %d bytes and a queue of 1 batch", written, ring)
		}
		must(t, p.Update(numbered(4, int(written%64)), numbered(1024, int(written))))
		written++
	}
	for !slices.Contains(w.rescan, 0) {
		w.next(t)
	}
	w.sync(t)
	counts := w.Counts(0)
	if counts.Captured != uint64(len(w.changes)) || counts.Captured+counts.Dropped+counts.Missed < written {
		t.Errorf("%d writes, %d changes, counts %+v", written, len(w.changes), counts)
	}
	// It goes on after the loss.
	w.changes = nil
	must(t, p.Update(numbered(4, 1), numbered(1024, 12345)))
	w.sync(t)
	if len(w.changes) != 1 {
		t.Errorf("%d changes after the overflow, want 1", len(w.changes))
	}
}
