package mapgossip

import (
	"encoding/binary"
	"hash/maphash"
	"runtime"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/mapwatch"
)

const benchKey, benchValue = 16, 64

// benchElements returns n keys and values end to end, in an order that has
// nothing to do with how they lie in a store filled from 0 up; n is a power of two.
func benchElements(n int) (keys, values []byte) {
	keys, values = make([]byte, n*benchKey), make([]byte, n*benchValue)
	for i := range n {
		at := i * 0x9E3779B1 & (n - 1)
		binary.BigEndian.PutUint64(keys[at*benchKey+8:], uint64(i))
		binary.BigEndian.PutUint64(values[at*benchValue:], uint64(i))
	}
	return keys, values
}

func benchMirror() *mirror {
	return newMirror(mapwatch.Shape{KeyBytes: benchKey, ValueBytes: benchValue}, MapOptions{}, "self", crdt.NewClock(time.Hour), maphash.MakeSeed())
}

// filledMirror returns a mirror of n applied entries whose kernel holds keys and values.
func filledMirror(n int) (m *mirror, keys, values []byte) {
	m = benchMirror()
	now := int64(time.Hour)
	var key [benchKey]byte
	var value [benchValue]byte
	for i := range n {
		binary.BigEndian.PutUint64(key[8:], uint64(i))
		binary.BigEndian.PutUint64(value[:], uint64(i))
		m.receive(key[:], value[:], now+int64(i), now+int64(i))
		if m.ready.len() == applyLimit || i == n-1 {
			m.write(now+int64(i), now+int64(i))
		}
	}
	m.keys.forget(now + int64(time.Hour))
	keys, values = benchElements(n)
	return m, keys, values
}

func (m *mirror) receive(key, value []byte, wall, now int64) {
	e := crdt.Entry{Key: key, Value: value, Version: crdt.Version{Time: crdt.Timestamp{Wall: wall}, Member: "other"}}
	if _, _, err := m.remote(e, now); err != nil {
		panic(err)
	}
}

// write applies what is due to a kernel that takes all.
func (m *mirror) write(start, end int64) {
	ops, slots := m.takeWrites(applyLimit)
	m.applied(ops, slots, start, end)
}

const benchEntries = 1 << 20

// BenchmarkMerge is the yardstick of the others: the store alone.
func BenchmarkMerge(b *testing.B) {
	m, keys, values := filledMirror(benchEntries)
	now := int64(2 * time.Hour)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		at := i % benchEntries
		if at%aheadKeys == 0 { // as Node does
			m.ahead(aheadKeys, func(j int) []byte { return keys[(at+j)*benchKey:][:benchKey] })
		}
		now += int64(time.Microsecond)
		e := crdt.Entry{Key: keys[at*benchKey:][:benchKey], Value: values[at*benchValue:][:benchValue],
			Version: crdt.Version{Time: crdt.Timestamp{Wall: now}, Member: "other"}}
		if _, won, err := m.store.Merge(e); !won || err != nil {
			b.Fatal(won, err)
		}
	}
}

// BenchmarkRecord updates a million keys in turn by local records.
func BenchmarkRecord(b *testing.B) {
	m, keys, values := filledMirror(benchEntries)
	now := int64(2 * time.Hour)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		at := i % benchEntries
		if at%aheadKeys == 0 { // as Node does
			m.ahead(aheadKeys, func(j int) []byte { return keys[(at+j)*benchKey:][:benchKey] })
		}
		now += int64(time.Microsecond)
		c := mapwatch.Change{Kind: mapwatch.Updated, Key: keys[at*benchKey:][:benchKey], Value: values[at*benchValue:][:benchValue], Captured: now}
		if _, won := m.record(c, now, now); !won {
			b.Fatal("the record lost")
		}
	}
	b.ReportMetric(float64(len(m.unsettled)), "unsettled")
}

// BenchmarkRemote updates a million keys in turn by remote entries, and takes
// and reports their writes in batches. The value is another one each time.
func BenchmarkRemote(b *testing.B) {
	m, keys, values := filledMirror(benchEntries)
	now := int64(2 * time.Hour)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		at := i % benchEntries
		if at%aheadKeys == 0 { // as Node does
			m.ahead(aheadKeys, func(j int) []byte { return keys[(at+j)*benchKey:][:benchKey] })
		}
		now += int64(time.Microsecond)
		value := values[at*benchValue:][:benchValue]
		value[20]++
		m.receive(keys[at*benchKey:][:benchKey], value, now, now)
		if m.ready.len() == applyLimit {
			m.write(now, now)
		}
	}
	b.ReportMetric(float64(len(m.unsettled)), "unsettled")
}

// BenchmarkIdle is what a million quiet entries cost each second.
func BenchmarkIdle(b *testing.B) {
	m, _, _ := filledMirror(benchEntries)
	b.Run("pendingApply", func(b *testing.B) {
		for b.Loop() {
			m.pendingApply()
		}
	})
	b.Run("retry", func(b *testing.B) {
		for b.Loop() {
			m.retry(retryLimit, 1)
		}
	})
	b.Run("forget", func(b *testing.B) {
		for b.Loop() {
			m.keys.forget(0)
		}
	})
}

// BenchmarkMemory measures bytes an entry beyond the store's, after a million
// remote entries: right after they were applied, once they are quiet, and where
// nothing is ever written (direction=send).
func BenchmarkMemory(b *testing.B) {
	for _, direction := range []Direction{DirectionBoth, DirectionSend} {
		b.Run(string(direction), func(b *testing.B) {
			for b.Loop() {
				m := newMirror(mapwatch.Shape{KeyBytes: benchKey, ValueBytes: benchValue}, MapOptions{Direction: direction}, "self", crdt.NewClock(time.Hour), maphash.MakeSeed())
				now := int64(time.Hour)
				var key [benchKey]byte
				var value [benchValue]byte
				for i := range benchEntries {
					binary.BigEndian.PutUint64(key[8:], uint64(i))
					m.receive(key[:], value[:], now, now)
					if m.ready.len() == applyLimit {
						m.write(now, now)
					}
				}
				busy := heapBytes()
				m.keys.forget(now + 1)
				quiet := heapBytes()
				m.keys, m.ready, m.stalled, m.ops, m.writing = keyTable{}, slotQueue{}, slotQueue{}, nil, nil
				store := heapBytes()
				b.ReportMetric(float64(busy-store)/benchEntries, "busy-B/entry")
				b.ReportMetric(float64(quiet-store)/benchEntries, "quiet-B/entry")
				b.ReportMetric(float64(store)/benchEntries, "store-B/entry")
				runtime.KeepAlive(m)
			}
		})
	}
}

func heapBytes() int64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}
