//go:build guest

package mapwatch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// Tests of files with this build tag need root and trampolines: they run in an
// emulated machine, or on any host that allows them, and never skip.

// guestPatience bounds every wait; what comes at all comes within milliseconds,
// but for emulation.
const guestPatience = 30 * time.Second

func openTestHost(t testing.TB) *Host {
	t.Helper()
	h, err := OpenHost()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// newTestMap makes a hash map, and opens it as the daemon would.
func newTestMap(t testing.TB, h *Host, keyBytes, valueBytes, entries int) (*ebpf.Map, Map) {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Type: ebpf.Hash, KeySize: uint32(keyBytes), ValueSize: uint32(valueBytes), MaxEntries: uint32(entries),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m, openTestMap(t, h, m)
}

func openTestMap(t testing.TB, h *Host, m *ebpf.Map) Map {
	t.Helper()
	info, err := m.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, ok := info.ID()
	if !ok {
		t.Fatal("map has no ID")
	}
	opened, err := h.Open(fmt.Sprintf("id:%d", id))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { opened.Close() })
	return opened
}

// testWatch reads a Watch.
type testWatch struct {
	Watch
	t       testing.TB
	h       *Host
	changes []Change
	rescan  []int
	drained []int
	upto    int64
	release bool // batches, once they are noted
}

func startTestWatch(t testing.TB, h *Host, options Options, maps ...Map) *testWatch {
	t.Helper()
	w, err := h.Watch(maps, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return &testWatch{Watch: w, t: t, h: h}
}

// next reads one batch.
func (w *testWatch) next() Batch {
	w.t.Helper()
	select {
	case batch, ok := <-w.Batches():
		if !ok {
			w.t.Fatal("Batches was closed")
		}
		w.note(batch)
		return batch
	case <-time.After(guestPatience):
		w.t.Fatal("no batch came")
	}
	panic("unreachable")
}

func (w *testWatch) note(batch Batch) {
	if batch.Upto < w.upto {
		w.t.Errorf("Upto went back from %d to %d", w.upto, batch.Upto)
	}
	w.upto = batch.Upto
	for _, c := range batch.Changes {
		if w.release {
			c.Key, c.Value = bytes.Clone(c.Key), bytes.Clone(c.Value)
		}
		w.changes = append(w.changes, c)
	}
	for _, i := range batch.Rescan {
		if !slices.Contains(w.rescan, i) {
			w.rescan = append(w.rescan, i)
		}
	}
	for _, i := range batch.Drained {
		if !slices.Contains(batch.Rescan, i) {
			w.t.Errorf("drained %v, but rescan of %v", batch.Drained, batch.Rescan)
		}
		if !slices.Contains(w.drained, i) {
			w.drained = append(w.drained, i)
		}
	}
	if w.release {
		batch.Release()
	}
}

// sync reads until all that was captured before the call is there.
func (w *testWatch) sync() {
	w.t.Helper()
	at := w.h.Now()
	w.Barrier()
	for w.upto < at {
		w.next()
	}
}

// untilRescan reads until a batch asks for a scan of the map.
func (w *testWatch) untilRescan(mapIndex int) {
	w.t.Helper()
	for !slices.Contains(w.rescan, mapIndex) {
		w.next()
	}
}

// take returns the changes so far, as text, and forgets them.
func (w *testWatch) take() []string {
	w.t.Helper()
	w.sync()
	var got []string
	for _, c := range w.changes {
		got = append(got, describe(c))
	}
	w.changes = nil
	return got
}

// want compares the changes since the last call.
func (w *testWatch) want(what string, want ...string) {
	w.t.Helper()
	if got := w.take(); !slices.Equal(got, want) {
		w.t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

// describe is short for small keys and values, and whole.
func describe(c Change) string {
	kind := map[Kind]string{Updated: "update", Deleted: "delete", Touched: "touch", Evicted: "evict"}[c.Kind]
	if c.Value == nil {
		return fmt.Sprintf("%d %s %x", c.Map, kind, c.Key)
	}
	return fmt.Sprintf("%d %s %x=%x", c.Map, kind, c.Key, c.Value)
}

func key32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustFail(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}
