package crdt_test

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"

	"github.com/mapgossip/mapgossip/crdt"
)

// A million entries of 16-byte keys, merged in an order that has nothing to do
// with where they end up. They are visited again in another order: benchStep has
// no divisor in common with their number.
const (
	benchEntries = 1_000_000
	benchStep    = 617_651
	benchBatch   = 64 // divides their number
)

// benchSource makes entries in a buffer of its own, one at a time.
type benchSource struct {
	key   [16]byte
	value []byte
}

func (b *benchSource) entry(i int, wall int64) crdt.Entry {
	binary.LittleEndian.PutUint64(b.key[:], uint64(i)*0x9e3779b97f4a7c15)
	binary.LittleEndian.PutUint64(b.value, uint64(i))
	return crdt.Entry{Key: b.key[:], Value: b.value,
		Version: crdt.Version{Time: crdt.Timestamp{Wall: wall}, Member: "host-1"}}
}

// benchMerge is mustMerge without Helper, which costs as much as a merge.
func benchMerge(b *testing.B, s *crdt.Store, e crdt.Entry, want bool) {
	if _, changed, err := s.Merge(e); err != nil || changed != want {
		b.Fatalf("merge %+v: changed %v, %v", e, changed, err)
	}
}

// benchSizes runs fn for values of 16 and of 64 bytes.
func benchSizes(b *testing.B, fn func(b *testing.B, source *benchSource)) {
	for _, valueBytes := range []int{16, 64} {
		b.Run(fmt.Sprintf("16+%d", valueBytes), func(b *testing.B) {
			fn(b, &benchSource{value: make([]byte, valueBytes)})
		})
	}
}

func benchStore(b *testing.B, source *benchSource) *crdt.Store {
	s := crdt.NewStore(16, len(source.value))
	for i := range benchEntries {
		benchMerge(b, s, source.entry(i, 1000), true)
	}
	return s
}

func reportEach(b *testing.B, entries int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(entries), "ns/entry")
	b.ReportMetric(0, "ns/op")
}

// heapBytes returns what is in the heap, garbage collected.
func heapBytes() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkMergeNew fills an empty store; B/entry is what the heap has more after it.
func BenchmarkMergeNew(b *testing.B) {
	benchSizes(b, func(b *testing.B, source *benchSource) {
		var filled int
		var grown uint64
		for b.Loop() {
			b.StopTimer()
			before := heapBytes()
			b.StartTimer()
			s := benchStore(b, source)
			b.StopTimer()
			grown += heapBytes() - before
			runtime.KeepAlive(s)
			filled += benchEntries
			b.StartTimer()
		}
		reportEach(b, filled)
		b.ReportMetric(float64(grown)/float64(filled), "B/entry")
	})
}

// benchKnown hands all keys to fn over and over, in another order than they came
// first, and what wall says of them in that round; plainly and in batches that
// are touched before.
func benchKnown(b *testing.B, wall func(round int) int64, fn func(b *testing.B, s *crdt.Store, e crdt.Entry)) {
	benchSizes(b, func(b *testing.B, source *benchSource) {
		var sources [benchBatch]benchSource
		for i := range sources {
			sources[i].value = make([]byte, len(source.value))
		}
		batch, keys := make([]crdt.Entry, benchBatch), make([][]byte, benchBatch)
		for _, touched := range []bool{false, true} {
			name := "plain"
			if touched {
				name = "touched"
			}
			b.Run(name, func(b *testing.B) {
				s := benchStore(b, source)
				i, at := 0, 0
				b.ReportAllocs()
				for b.Loop() {
					for k := range batch {
						batch[k] = sources[k].entry(at, wall(i/benchEntries))
						keys[k] = batch[k].Key
						at = (at + benchStep) % benchEntries
					}
					if touched {
						s.Touch(keys)
					}
					for _, e := range batch {
						fn(b, s, e)
					}
					i += benchBatch
				}
				reportEach(b, i)
			})
		}
	})
}

func BenchmarkMergeOlder(b *testing.B) {
	benchKnown(b, func(int) int64 { return 999 }, func(b *testing.B, s *crdt.Store, e crdt.Entry) {
		benchMerge(b, s, e, false)
	})
}

func BenchmarkMergeSame(b *testing.B) {
	benchKnown(b, func(int) int64 { return 1000 }, func(b *testing.B, s *crdt.Store, e crdt.Entry) {
		benchMerge(b, s, e, false)
	})
}

func BenchmarkMergeNewer(b *testing.B) {
	benchKnown(b, func(round int) int64 { return 1001 + int64(round) }, func(b *testing.B, s *crdt.Store, e crdt.Entry) {
		benchMerge(b, s, e, true)
	})
}

func BenchmarkGet(b *testing.B) {
	benchKnown(b, func(int) int64 { return 1000 }, func(b *testing.B, s *crdt.Store, e crdt.Entry) {
		if got, ok := s.Get(e.Key); !ok || !got.SameContent(e) {
			b.Fatalf("got %+v, %v", got, ok)
		}
	})
}

// BenchmarkGoMap is the yardstick for the others: a map of the language, with
// keys and values of the larger size, in the same orders.
func BenchmarkGoMap(b *testing.B) {
	type key = [16]byte
	type value = [64]byte
	source := &benchSource{value: make([]byte, 64)}
	fill := func() map[key]value {
		m := make(map[key]value)
		for i := range benchEntries {
			e := source.entry(i, 0)
			m[key(e.Key)] = value(e.Value)
		}
		return m
	}
	b.Run("insert", func(b *testing.B) {
		var filled int
		for b.Loop() {
			fill()
			filled += benchEntries
		}
		reportEach(b, filled)
		before := heapBytes()
		m := fill()
		b.ReportMetric(float64(heapBytes()-before)/benchEntries, "B/entry")
		runtime.KeepAlive(m)
	})
	m := fill()
	visit := func(b *testing.B, fn func(e crdt.Entry)) {
		i, at := 0, 0
		for b.Loop() {
			fn(source.entry(at, 0))
			at = (at + benchStep) % benchEntries
			i++
		}
		reportEach(b, i)
	}
	b.Run("overwrite", func(b *testing.B) {
		visit(b, func(e crdt.Entry) { m[key(e.Key)] = value(e.Value) })
	})
	b.Run("lookup", func(b *testing.B) {
		visit(b, func(e crdt.Entry) {
			if m[key(e.Key)] != value(e.Value) {
				b.Fatal("entry is gone")
			}
		})
	})
}

func BenchmarkBucketParts(b *testing.B) {
	benchSizes(b, func(b *testing.B, source *benchSource) {
		s := benchStore(b, source)
		sums := make([]uint64, 16)
		i := 0
		b.ReportAllocs()
		for b.Loop() {
			s.BucketParts(i%crdt.Buckets, 1, sums)
			i++
		}
		reportEach(b, i*benchEntries/crdt.Buckets)
	})
}

func BenchmarkDigest(b *testing.B) {
	s := benchStore(b, &benchSource{value: make([]byte, 16)})
	for b.Loop() {
		_ = s.Digest()
	}
}

func BenchmarkBucketDigests(b *testing.B) {
	s := benchStore(b, &benchSource{value: make([]byte, 16)})
	b.ReportAllocs()
	for b.Loop() {
		_ = s.BucketDigests()
	}
}

func BenchmarkAll(b *testing.B) {
	s := benchStore(b, &benchSource{value: make([]byte, 16)})
	var seen int
	for b.Loop() {
		for range s.All() {
			seen++
		}
	}
	reportEach(b, seen)
}

func BenchmarkEntryEncoding(b *testing.B) {
	source := &benchSource{value: make([]byte, 16)}
	var buffer []byte
	b.ReportAllocs()
	for b.Loop() {
		buffer = source.entry(1, 1000).AppendBinary(buffer[:0])
		if _, _, err := crdt.ParseEntry(buffer); err != nil {
			b.Fatal(err)
		}
	}
}
