package mapgossip

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/gossip"
	"github.com/mapgossip/mapgossip/gossip/simnet"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// merge gives a node live entries of another member, with keys [from, to).
func (n *rigNode) merge(t *testing.T, from, to, valueBytes int) {
	t.Helper()
	var entries []crdt.Entry
	for i := from; i < to; i++ {
		e := remoteEntry(i, time.Now().UnixNano())
		e.Value = make([]byte, valueBytes)
		copy(e.Value, number(i))
		entries = append(entries, e)
	}
	if _, err := (replica{n.Node}).Merge(t.Context(), "flows", gossip.Sender{Node: "other"}, entries); err != nil {
		t.Fatal(err)
	}
}

// TestEntries: each entry comes once, as it is, in bounded chunks, while others
// come and go and the reader takes its time; so do tombstones, if asked for.
func TestEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		a := r.add()
		pass(5 * time.Second)
		const live, dead = 3*chunkSlots + 100, 500
		a.merge(t, 0, live, 8)
		for i := range dead {
			a.write(t, live+i, i)
			if err := a.m.Remove(number(live+i), 0); err != nil {
				t.Fatal(err)
			}
		}
		pass(time.Second)
		for _, tombstones := range []bool{false, true} {
			seen := make(map[string]Entry)
			chunks := 0
			err := a.Entries(t.Context(), "flows", tombstones, func(some []Entry) error {
				if len(some) == 0 || len(some) > chunkSlots {
					t.Errorf("a chunk of %d", len(some))
				}
				for _, e := range some {
					if _, twice := seen[e.Key]; twice {
						t.Errorf("key %s comes twice", e.Key)
					}
					seen[e.Key] = e
				}
				// A map that grows faster than it is read.
				a.merge(t, 100_000+chunks*chunkSlots, 100_000+(chunks+1)*chunkSlots, 8)
				if chunks++; chunks > 20 {
					return errors.New("without end")
				}
				pass(time.Second)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			for i := range live {
				want := Entry{Map: "flows", Key: hexOf(i), Value: hexOf(i), Node: "other", Time: seen[hexOf(i)].Time}
				if got := seen[hexOf(i)]; got != want || got.Time.IsZero() {
					t.Fatalf("%+v, want %+v", got, want)
				}
			}
			for i := live; i < live+dead; i++ {
				e, there := seen[hexOf(i)]
				if there != tombstones || there && (!e.Deleted || e.Value != "" || e.Node != "n0") {
					t.Fatalf("tombstones %t: %+v", tombstones, e)
				}
			}
		}
	})
}

// TestEntriesEnds: the reader's error, the end of ctx and of the Node, and an
// unknown map end it.
func TestEntriesEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		a := r.add()
		pass(5 * time.Second)
		none := func([]Entry) error { t.Error("entries of an empty map"); return nil }
		if err := a.Entries(t.Context(), "flows", true, none); err != nil {
			t.Error(err)
		}
		if err := a.Entries(t.Context(), "flow", true, none); !errors.Is(err, ErrUnknownMap) || !strings.Contains(err.Error(), "flows") {
			t.Error(err)
		}
		a.merge(t, 0, 3*chunkSlots, 8)
		enough := errors.New("enough")
		if err := a.Entries(t.Context(), "flows", true, func([]Entry) error { return enough }); err != enough {
			t.Error(err)
		}
		for range 100 { // an owner that is ready for the next turn is no reason to take it
			ctx, cancel := context.WithCancelCause(t.Context())
			calls := 0
			if err := a.Entries(ctx, "flows", true, func([]Entry) error { calls++; cancel(enough); synctest.Wait(); return nil }); err != enough || calls != 1 {
				t.Fatalf("%d calls: %v", calls, err)
			}
		}
		if err := a.Entries(t.Context(), "flows", true, func([]Entry) error {
			a.stop()
			<-a.Node.done
			return nil
		}); !errors.Is(err, ErrStopped) {
			t.Error(err)
		}
	})
}

// TestCopyChunk: what one turn of the owner copies is bounded, in slots and in
// bytes, whatever the sizes; what was forgotten is left out.
func TestCopyChunk(t *testing.T) {
	for _, valueBytes := range []int{1, 8, 1000, chunkBytes / 3, 2 * chunkBytes} {
		t.Run(fmt.Sprintf("%d bytes", valueBytes), func(t *testing.T) {
			shape := mapwatch.Shape{KeyBytes: 8, ValueBytes: valueBytes}
			b := &boundMap{shape: shape, mirror: newMirror(shape, MapOptions{}, "self", crdt.NewClock(time.Hour), benchMirror().seed)}
			count := min(3*chunkSlots, 20<<20/valueBytes)
			for i := range count {
				e := remoteEntry(i, int64(1000+i))
				if e.Value = make([]byte, valueBytes); i%3 == 0 {
					e.Value, e.Deleted = nil, true
				}
				if _, _, err := b.remote(e, 1); err != nil {
					t.Fatal(err)
				}
			}
			b.store.Raise(1000+int64(count)/2, func(crdt.Slot) bool { return true })
			want := 0
			for e := range b.store.All() { // without those that are buried
				if e.Key != nil {
					want++
				}
			}
			var c chunk
			got := 0
			for next, end := crdt.Slot(0), b.store.Slots(); next < end; {
				from, bytes := next, 0
				if next = b.copyChunk(&c, next, end, true); next == from || next-from > chunkSlots {
					t.Fatalf("from slot %d to %d", from, next)
				}
				for _, e := range c.entries {
					bytes += len(e.Key) + len(e.Value)
					if slot, known := b.store.Find(e.Key); !known || slot < from || slot >= next {
						t.Fatalf("key %x", e.Key)
					}
				}
				if bytes > chunkBytes && len(c.entries) > 1 {
					t.Fatalf("%d entries with %d bytes", len(c.entries), bytes)
				}
				got += len(c.entries)
			}
			if got != want {
				t.Errorf("%d entries, want %d", got, want)
			}
		})
	}
}

// BenchmarkCopyChunk is what one turn of the owner takes in a store of a million.
func BenchmarkCopyChunk(b *testing.B) {
	m, _, _ := filledMirror(benchEntries)
	bound := &boundMap{shape: mapwatch.Shape{KeyBytes: benchKey, ValueBytes: benchValue}, mirror: m}
	var c chunk
	next, end := crdt.Slot(0), m.store.Slots()
	for b.Loop() {
		if next = bound.copyChunk(&c, next, end, true); next == end {
			next = 0
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N), "µs/turn")
}
