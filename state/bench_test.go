package state_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/state"
)

func benchDir(b *testing.B, path string) (*state.Dir, *state.Saved) {
	b.Helper()
	d, saved, err := state.Open(state.OS(path), identity, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	return d, saved
}

// numbered sets e to the entry of the i-th key: 16 bytes, and 64 of value.
func numbered(e *crdt.Entry, i int) {
	binary.BigEndian.PutUint64(e.Key, uint64(i))
	binary.BigEndian.PutUint64(e.Value, uint64(i))
	e.Version.Time.Wall++
}

func newEntry() crdt.Entry {
	return crdt.Entry{Key: make([]byte, 16), Value: make([]byte, 64), Version: crdt.Version{Time: crdt.Timestamp{Wall: 1}, Member: "member-01"}}
}

// BenchmarkAppend appends and flushes batches, with a snapshot (of nothing) when
// one is due, to bound the disk.
func BenchmarkAppend(b *testing.B) {
	for _, batch := range []int{1, 4096} {
		b.Run(fmt.Sprint("batch=", batch), func(b *testing.B) {
			d, _ := benchDir(b, b.TempDir())
			defer d.Close()
			e, n := newEntry(), 0
			b.ReportAllocs()
			for b.Loop() {
				for range batch {
					numbered(&e, n)
					n++
					d.Append("sessions", e, false)
				}
				if err := d.Flush(); err != nil {
					b.Fatal(err)
				}
				if n%(1<<17) == 0 && d.Due() {
					s, err := d.Begin()
					if err != nil {
						b.Fatal(err)
					}
					if err := s.Commit(); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/entry")
		})
	}
}

// BenchmarkLoad opens a directory of a million keys, and goes through them: one
// entry of each in a snapshot, then, if told, another one in the journal.
func BenchmarkLoad(b *testing.B) {
	const keys = 1_000_000
	for _, replaced := range []bool{false, true} {
		b.Run(fmt.Sprint("replaced=", replaced), func(b *testing.B) {
			path := b.TempDir()
			d, _ := benchDir(b, path)
			s, err := d.Begin()
			if err != nil {
				b.Fatal(err)
			}
			e := newEntry()
			for i := range keys {
				numbered(&e, i)
				s.Add("sessions", e, false)
			}
			if err := s.Commit(); err != nil {
				b.Fatal(err)
			}
			for i := 0; replaced && i < keys; i++ {
				numbered(&e, i)
				e.Value[63] = 1
				d.Append("sessions", e, false)
			}
			d.Close()
			var onDisk int64
			err = filepath.WalkDir(path, func(name string, _ os.DirEntry, err error) error {
				info, statErr := os.Stat(name)
				if !info.IsDir() {
					onDisk += info.Size()
				}
				return errors.Join(err, statErr)
			})
			if err != nil {
				b.Fatal(err)
			}
			var held uint64
			for b.Loop() {
				b.StopTimer()
				before := heap()
				b.StartTimer()
				d, saved := benchDir(b, path)
				n := 0
				for range saved.Entries("sessions") {
					n++
				}
				b.StopTimer()
				held = heap() - before
				if n != keys {
					b.Fatalf("%d keys", n)
				}
				runtime.KeepAlive(saved)
				d.Close()
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/load")
			b.ReportMetric(float64(held)/keys, "heapB/key")
			b.ReportMetric(float64(onDisk)/keys, "diskB/key")
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
