//go:build linux

package mapwatch_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"reflect"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"

	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/test/need"
)

// A flow table's sizes: a 5-tuple, and counters with some state.
const (
	benchKeyBytes   = 13
	benchValueBytes = 77
	benchEntries    = 100_000
)

func benchOps(n int) []mapwatch.Op {
	ops := make([]mapwatch.Op, n)
	for i := range ops {
		key := make([]byte, benchKeyBytes)
		binary.LittleEndian.PutUint32(key, uint32(i))
		ops[i] = mapwatch.Op{Key: key, Value: make([]byte, benchValueBytes)}
	}
	return ops
}

// benchMap is a map that has benchEntries elements.
func benchMap(b *testing.B) (mapwatch.Map, *ebpf.Map) {
	b.Helper()
	p := newProgram(b, filepath.Join(need.BPFFS(b), "map"), mapwatch.Shape{KeyBytes: benchKeyBytes, ValueBytes: benchValueBytes, MaxEntries: benchEntries})
	m, err := openHost(b).Open(p.Target())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { m.Close() })
	ops := benchOps(benchEntries)
	m.Apply(ops)
	for _, op := range ops {
		if op.Err != nil {
			b.Fatal(op.Err)
		}
	}
	return m, p.m
}

func perEntry(b *testing.B, entries int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*entries), "ns/entry")
	b.ReportMetric(0, "ns/op")
}

func BenchmarkApply(b *testing.B) {
	for _, n := range []int{1, 16, 256, 4096, benchEntries} {
		b.Run(fmt.Sprintf("ops=%d", n), func(b *testing.B) {
			m, _ := benchMap(b)
			ops := benchOps(n)
			b.ReportAllocs()
			for b.Loop() {
				m.Apply(ops)
			}
			perEntry(b, n)
		})
	}
	b.Run("ops=4096,single", func(b *testing.B) {
		m, _ := benchMap(b)
		mapwatch.WithoutBatches(m)
		ops := benchOps(4096)
		for b.Loop() {
			m.Apply(ops)
		}
		perEntry(b, len(ops))
	})
}

func BenchmarkScan(b *testing.B) {
	m, _ := benchMap(b)
	b.ReportAllocs()
	for b.Loop() {
		total := 0
		if err := m.Scan(context.Background(), func(_, _ []byte, n int) error { total += n; return nil }); err != nil {
			b.Fatal(err)
		}
		if total != benchEntries {
			b.Fatalf("%d entries", total)
		}
	}
	perEntry(b, benchEntries)
}

func BenchmarkLookup(b *testing.B) {
	m, _ := benchMap(b)
	ops := benchOps(1024)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, err := m.Lookup(ops[i%len(ops)].Key); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// BenchmarkAliasedBatch is the eBPF library's way to update and to read by
// batch where sizes are known at run time only, to compare with Apply and Scan.
func BenchmarkAliasedBatch(b *testing.B) {
	const n = 1024
	slice := func(flat []byte, size int) any {
		array := reflect.ArrayOf(size, reflect.TypeFor[byte]())
		return reflect.SliceAt(array, unsafe.Pointer(unsafe.SliceData(flat)), len(flat)/size).Interface()
	}
	b.Run("update", func(b *testing.B) {
		_, m := benchMap(b)
		ops := benchOps(n)
		var keys, values []byte
		for b.Loop() {
			keys, values = keys[:0], values[:0]
			for _, op := range ops {
				keys = append(keys, op.Key...)
				values = append(values, op.Value...)
			}
			if _, err := m.BatchUpdate(slice(keys, benchKeyBytes), slice(values, benchValueBytes), nil); err != nil {
				b.Fatal(err)
			}
		}
		perEntry(b, n)
	})
	b.Run("lookup", func(b *testing.B) {
		_, m := benchMap(b)
		keys, values := make([]byte, 4096*benchKeyBytes), make([]byte, 4096*benchValueBytes)
		for b.Loop() {
			var cursor ebpf.MapBatchCursor
			total := 0
			for {
				n, err := m.BatchLookup(&cursor, slice(keys, benchKeyBytes), slice(values, benchValueBytes), nil)
				total += n
				if err != nil {
					break
				}
			}
			if total != benchEntries {
				b.Fatalf("%d entries", total)
			}
		}
		perEntry(b, benchEntries)
	})
}
