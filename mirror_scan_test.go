package mapgossip

import (
	"fmt"
	"hash/maphash"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// TestUnseen: of the keys that a scan did not read, those are looked at that
// should have been in the kernel's map all the time, and no others.
func TestUnseen(t *testing.T) {
	m := newMirror(mapwatch.Shape{KeyBytes: 8, ValueBytes: 8}, MapOptions{}, "self", crdt.NewClock(time.Hour), maphash.MakeSeed())
	began := int64(time.Hour)
	record := func(key int, kind mapwatch.Kind, at int64) {
		t.Helper()
		c := mapwatch.Change{Kind: kind, Key: number(key), Captured: at}
		if kind == mapwatch.Updated {
			c.Value = number(key)
		}
		if _, won := m.record(c, at, at); !won {
			t.Fatalf("key %d: the record lost", key)
		}
	}
	long := began - int64(time.Minute)
	const read, unread, changed, deleted, waits, born = 0, 1000, 2000, 3000, 4000, 5000
	for i := range 300 {
		record(read+i, mapwatch.Updated, long)
		record(unread+i, mapwatch.Updated, long)
		record(changed+i, mapwatch.Updated, long)
		record(deleted+i, mapwatch.Updated, long)
		record(deleted+i, mapwatch.Deleted, long+1)
		if _, _, err := m.remote(remoteEntry(waits+i, long), long); err != nil {
			t.Fatal(err)
		}
	}
	s := m.beginScan(began)
	for i := range 300 {
		m.scanned(s, number(read+i), number(read+i), 1, false, began, began)
		record(changed+i, mapwatch.Updated, began+int64(i))
		record(born+i, mapwatch.Updated, began+int64(i))
	}
	for !m.unseen(s, began+int64(time.Second)) {
	}
	for i := range 300 {
		for _, kind := range []int{read, unread, changed, deleted, waits, born} {
			if u := m.unsettled[string(number(kind+i))]; (u != nil && u.scan) != (kind == unread) {
				t.Fatalf("key %d: to be looked at: %t", kind+i, u != nil)
			}
		}
	}
}

// TestUnseenInParts: an emptied map does not occupy the owner for long at a time.
func TestUnseenInParts(t *testing.T) {
	m := newMirror(mapwatch.Shape{KeyBytes: 8, ValueBytes: 8}, MapOptions{}, "self", crdt.NewClock(time.Hour), maphash.MakeSeed())
	const keys = 3*unseenKeys + 10
	for i := range keys {
		m.record(mapwatch.Change{Kind: mapwatch.Updated, Key: number(i), Value: number(i), Captured: 1}, 1, 1)
	}
	s := m.beginScan(10)
	calls := 1
	for before := 0; !m.unseen(s, 10); calls++ {
		if n := len(m.unsettled) - before; n > unseenKeys+64 {
			t.Fatalf("%d keys in one call", n)
		}
		before = len(m.unsettled)
	}
	if len(m.unsettled) != keys || calls != 4 {
		t.Errorf("%d of %d keys in %d calls", len(m.unsettled), keys, calls)
	}
}

// BenchmarkScanned compares a map of equal elements with the store, in another
// order than they came in.
func BenchmarkScanned(b *testing.B) {
	for _, entries := range []int{1 << 14, 1 << 20} {
		b.Run(fmt.Sprintf("%d entries", entries), func(b *testing.B) {
			m, keys, values := filledMirror(entries)
			b.ReportAllocs()
			for b.Loop() {
				s := m.beginScan(int64(2 * time.Hour))
				const chunk = 4096
				for from := 0; from < entries; from += chunk {
					m.scanned(s, keys[from*benchKey:(from+chunk)*benchKey], values[from*benchValue:(from+chunk)*benchValue], chunk, false, s.began, s.began)
				}
				for !m.unseen(s, s.began) {
				}
			}
			if len(m.unsettled) > 0 {
				b.Fatalf("%d keys differ", len(m.unsettled))
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*entries), "ns/element")
		})
	}
}

// BenchmarkUnseen walks a million slots none of which was read, and none of
// which should have been: tombstones.
func BenchmarkUnseen(b *testing.B) {
	const entries = 1 << 20
	m := newMirror(mapwatch.Shape{KeyBytes: 8, ValueBytes: 8}, MapOptions{}, "self", crdt.NewClock(time.Hour), maphash.MakeSeed())
	for i := range entries {
		m.record(mapwatch.Change{Kind: mapwatch.Deleted, Key: number(i), Captured: 1}, 1, 1)
	}
	calls := 0
	for b.Loop() {
		s := m.beginScan(10)
		for done := false; !done; calls++ {
			done = m.unseen(s, 10)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(calls), "µs/call")
}
