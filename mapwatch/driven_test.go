//go:build linux && !guest

package mapwatch_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/test/need"
)

const drivenKeyBytes, drivenValueBytes = 16, 64

// openDriven returns a driven host with an open, empty map.
func openDriven(t testing.TB, maxEntries int) (*mapwatch.Driven, mapwatch.Map, *program) {
	t.Helper()
	need.Root(t)
	need.Kernel(t, 6, 16)
	p := newProgram(t, need.BPFFS(t)+"/driven", mapwatch.Shape{KeyBytes: drivenKeyBytes, ValueBytes: drivenValueBytes, MaxEntries: maxEntries})
	d, err := mapwatch.OpenDriven()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	m, err := d.Open(p.Target())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return d, m, p
}

func watchDriven(t testing.TB, d *mapwatch.Driven, m mapwatch.Map, options mapwatch.Options) mapwatch.Watch {
	t.Helper()
	w, err := d.Watch([]mapwatch.Map{m}, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// drivenWrite is the key and value of one write.
func drivenWrite(n, keys uint64) (key, value []byte) {
	key = append(binary.NativeEndian.AppendUint64(nil, n%keys), make([]byte, drivenKeyBytes-8)...)
	return key, bytes.Repeat(binary.NativeEndian.AppendUint64(nil, n), drivenValueBytes/8)
}

// nextBatch fails the test when none comes.
func nextBatch(t testing.TB, w mapwatch.Watch) mapwatch.Batch {
	t.Helper()
	select {
	case batch := <-w.Batches():
		return batch
	case <-time.After(10 * time.Second):
		t.Fatalf("no batch came; counts: %+v", w.Counts(0))
		return mapwatch.Batch{}
	}
}

// Every write is one record, with its key and value, in order.
func TestDrivenRecords(t *testing.T) {
	const writes, keys = 10_000, 1000
	d, m, _ := openDriven(t, keys)
	w := watchDriven(t, d, m, mapwatch.Options{})
	if err := d.Write(t.Context(), writes, keys); err != nil {
		t.Fatal(err)
	}
	if n := d.Written(); n != writes {
		t.Errorf("Written is %d after %d writes", n, writes)
	}
	for n := uint64(0); n < writes; {
		for _, c := range nextBatch(t, w).Changes {
			key, value := drivenWrite(n, keys)
			if c.Map != 0 || c.Kind != mapwatch.Updated || !bytes.Equal(c.Key, key) || !bytes.Equal(c.Value, value) {
				t.Fatalf("change %d is %+v", n, c)
			}
			if n++; n > writes {
				t.Fatalf("more than %d changes", writes)
			}
		}
	}
	if got, want := w.Counts(0), (mapwatch.Counts{Captured: writes}); got != want {
		t.Errorf("counts are %+v, want %+v", got, want)
	}
	for n := uint64(writes - keys); n < writes; n++ {
		key, value := drivenWrite(n, keys)
		if got, err := m.Lookup(key); err != nil || !bytes.Equal(got, value) {
			t.Fatalf("key %d holds %x, %v; want %x", n%keys, got, err, value)
		}
	}
}

// What finds the ring full is counted, and answered by a rescan.
func TestDrivenDrops(t *testing.T) {
	const keys = 1000
	d, m, _ := openDriven(t, keys)
	w := watchDriven(t, d, m, mapwatch.Options{RingBytes: 64 << 10, Queue: 1})
	writes := uint64(0)
	for w.Counts(0).Dropped == 0 {
		if writes > 1<<20 {
			t.Fatalf("nothing was dropped of %d writes that nobody read", writes)
		}
		if err := mapwatch.WriteUnpaced(d, keys); err != nil {
			t.Fatal(err)
		}
		writes = d.Written()
	}
	counts := w.Counts(0)
	if counts.Captured+counts.Dropped != writes {
		t.Errorf("counts are %+v after %d writes", counts, writes)
	}
	read, rescan := uint64(0), false
	for read < counts.Captured || !rescan {
		batch := nextBatch(t, w)
		read += uint64(len(batch.Changes))
		rescan = rescan || len(batch.Rescan) == 1 && batch.Rescan[0] == 0
	}
	if read != counts.Captured {
		t.Errorf("%d changes of %d records", read, counts.Captured)
	}
}

// A write that the map refuses is no record.
func TestDrivenFailedWrites(t *testing.T) {
	d, m, _ := openDriven(t, 10)
	w := watchDriven(t, d, m, mapwatch.Options{})
	if err := d.Write(t.Context(), 25, 25); err != nil {
		t.Fatal(err)
	}
	if got, want := w.Counts(0), (mapwatch.Counts{Captured: 10, Failed: 15}); got != want {
		t.Errorf("counts are %+v, want %+v", got, want)
	}
}

// Nobody loses a record by waiting for room.
func TestDrivenWaitsForRoom(t *testing.T) {
	const writes, keys = 20_000, 100
	d, m, _ := openDriven(t, keys)
	w := watchDriven(t, d, m, mapwatch.Options{RingBytes: 128 << 10, Queue: 1})
	written := make(chan error, 1)
	go func() { written <- d.Write(t.Context(), writes, keys) }()
	for read := 0; read < writes; {
		read += len(nextBatch(t, w).Changes)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if counts := w.Counts(0); counts.Dropped != 0 || counts.Captured != writes {
		t.Errorf("counts are %+v", counts)
	}
}

// The raw ring has the same records.
func TestDrivenRing(t *testing.T) {
	const writes, keys, headBytes = 300, 7, 40
	d, m, _ := openDriven(t, keys)
	ring, err := d.Ring(m, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Write(t.Context(), writes, keys); err != nil {
		t.Fatal(err)
	}
	ring.SetDeadline(time.Now().Add(10 * time.Second))
	for n := range uint64(writes) {
		record, err := ring.Read()
		if err != nil {
			t.Fatal(err)
		}
		key, value := drivenWrite(n, keys)
		if want := append(key, value...); !bytes.Equal(record.RawSample[headBytes:], want) {
			t.Fatalf("record %d is %x, want %x", n, record.RawSample[headBytes:], want)
		}
	}
}

func TestDrivenRefusals(t *testing.T) {
	d, m, _ := openDriven(t, 10)
	if err := d.Write(t.Context(), 1, 1); !errors.Is(err, mapwatch.ErrGone) {
		t.Errorf("Write before Watch: %v", err)
	}
	if _, err := d.Watch([]mapwatch.Map{m}, mapwatch.Options{Mode: mapwatch.ModeScan}); !errors.Is(err, mapwatch.ErrUnsupported) {
		t.Errorf("Watch by scan: %v", err)
	}
	w := watchDriven(t, d, m, mapwatch.Options{})
	if _, err := d.Watch([]mapwatch.Map{m}, mapwatch.Options{}); !errors.Is(err, mapwatch.ErrUnsupported) {
		t.Errorf("second Watch: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.Write(t.Context(), 1, 1); !errors.Is(err, mapwatch.ErrGone) {
		t.Errorf("Write after Close: %v", err)
	}
}
