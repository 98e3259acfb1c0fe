package crdt_test

import (
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/mapgossip/mapgossip/crdt"
)

// A million entries of 16-byte keys and values, merged in an order that has
// nothing to do with where they end up.
const benchEntries = 1_000_000

type benchSource struct {
	key, value [16]byte
}

func (b *benchSource) entry(i int, wall int64) crdt.Entry {
	binary.LittleEndian.PutUint64(b.key[:], uint64(i)*0x9e3779b97f4a7c15)
	binary.LittleEndian.PutUint64(b.value[:], uint64(i))
	return crdt.Entry{Key: b.key[:], Value: b.value[:],
		Version: crdt.Version{Time: crdt.Timestamp{Wall: wall}, Member: "host-1"}}
}

func benchStore(b *testing.B) *crdt.Store {
	s := crdt.NewStore(16, 16)
	var source benchSource
	for i := range benchEntries {
		mustMerge(b, s, source.entry(i, 1000))
	}
	return s
}

func reportEach(b *testing.B, entries int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(entries), "ns/entry")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkMergeNew fills an empty store; B/entry is what the heap has more
// after it, garbage collected.
func BenchmarkMergeNew(b *testing.B) {
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var filled int
	var grown uint64
	for b.Loop() {
		b.StopTimer()
		before := heap()
		b.StartTimer()
		s := benchStore(b)
		b.StopTimer()
		grown += heap() - before
		runtime.KeepAlive(s)
		filled += benchEntries
		b.StartTimer()
	}
	reportEach(b, filled)
	b.ReportMetric(float64(grown)/float64(filled), "B/entry")
}

func benchMerge(b *testing.B, wall func(round int) int64) {
	s := benchStore(b)
	var source benchSource
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		mustMerge(b, s, source.entry(i%benchEntries, wall(i/benchEntries)))
		i++
	}
	reportEach(b, i)
}

func BenchmarkMergeOlder(b *testing.B) { benchMerge(b, func(int) int64 { return 999 }) }

func BenchmarkMergeSame(b *testing.B) { benchMerge(b, func(int) int64 { return 1000 }) }

func BenchmarkMergeNewer(b *testing.B) {
	benchMerge(b, func(round int) int64 { return 1001 + int64(round) })
}

func BenchmarkGet(b *testing.B) {
	s := benchStore(b)
	var source benchSource
	i := 0
	for b.Loop() {
		if _, ok := s.Get(source.entry(i%benchEntries, 0).Key); !ok {
			b.Fatal("entry is gone")
		}
		i++
	}
	reportEach(b, i)
}

func BenchmarkDigest(b *testing.B) {
	s := benchStore(b)
	for b.Loop() {
		_ = s.Digest()
	}
}

func BenchmarkBucketDigests(b *testing.B) {
	s := benchStore(b)
	b.ReportAllocs()
	for b.Loop() {
		_ = s.BucketDigests()
	}
}

func BenchmarkAll(b *testing.B) {
	s := benchStore(b)
	var seen int
	for b.Loop() {
		for range s.All() {
			seen++
		}
	}
	reportEach(b, seen)
}

func BenchmarkEntryEncoding(b *testing.B) {
	var source benchSource
	var buffer []byte
	b.ReportAllocs()
	for b.Loop() {
		buffer = source.entry(1, 1000).AppendBinary(buffer[:0])
		if _, _, err := crdt.ParseEntry(buffer); err != nil {
			b.Fatal(err)
		}
	}
}
