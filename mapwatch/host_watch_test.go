//go:build linux

package mapwatch

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestOptionsDefaults(t *testing.T) {
	got, err := Options{}.withDefaults()
	want := Options{Mode: ModeAuto, RingBytes: 8 << 20, Poll: time.Millisecond, Queue: 64}
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	_, err = Options{Mode: "kprobe", RingBytes: 5000, Poll: -1, Queue: -1}.withDefaults()
	if err == nil {
		t.Fatal("took nonsense")
	}
	for _, says := range []string{`"kprobe"`, "5000 bytes", "poll interval", "queue of -1"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("%q does not say %q", err, says)
		}
	}
}

// Whatever this host allows: auto never fails, and says why it is not fexit;
// what auto could not have, nobody gets by asking for it.
func TestWatchAuto(t *testing.T) {
	h, err := OpenHost()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	w, err := h.Watch(nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	t.Logf("mode %s, reason %q", w.Mode(), w.Reason())

	at := h.Now()
	w.Barrier()
	for {
		if batch := <-w.Batches(); batch.Upto >= at {
			break
		}
	}
	if w.Mode() == ModeFexit {
		return
	}
	if w.Reason() == "" {
		t.Errorf("mode %s without a reason", w.Mode())
	}
	if _, err := h.Watch(nil, Options{Mode: ModeFexit}); !errors.Is(err, ErrPermission) && !errors.Is(err, ErrUnsupported) {
		t.Errorf("mode fexit, which auto could not have: %v", err)
	}
}

func TestWatchScan(t *testing.T) {
	h, err := OpenHost()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	w, err := h.Watch(nil, Options{Mode: ModeScan})
	if err != nil {
		t.Fatal(err)
	}
	if w.Mode() != ModeScan || w.Reason() == "" {
		t.Errorf("mode %q, reason %q", w.Mode(), w.Reason())
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, ok := <-w.Batches(); ok {
		t.Error("Batches is open after Close")
	}
}
