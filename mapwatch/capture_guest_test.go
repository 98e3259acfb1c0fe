//go:build guest

package mapwatch

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

func TestCaptureOperations(t *testing.T) {
	h := openTestHost(t)
	m, opened := newTestMap(t, h, 4, 4, 4)
	other, _ := newTestMap(t, h, 4, 4, 4)
	w := startTestWatch(t, h, Options{Mode: ModeFexit}, opened)
	if w.Mode() != ModeFexit || w.Reason() != "" {
		t.Errorf("mode %q, reason %q", w.Mode(), w.Reason())
	}

	must(t, m.Update(key32(1), key32(11), ebpf.UpdateNoExist))
	w.want("insert", "0 update 00000001=0000000b")
	must(t, m.Update(key32(1), key32(12), ebpf.UpdateExist))
	w.want("overwrite", "0 update 00000001=0000000c")
	must(t, m.Delete(key32(1)))
	w.want("delete", "0 delete 00000001")

	keys, values := [][4]byte{{1}, {2}, {3}, {4}}, [][4]byte{{11}, {12}, {13}, {14}}
	_, err := m.BatchUpdate(keys, values, nil)
	must(t, err)
	w.want("batch update", "0 update 01000000=0b000000", "0 update 02000000=0c000000",
		"0 update 03000000=0d000000", "0 update 04000000=0e000000")

	mustFail(t, m.Update(key32(9), key32(9), ebpf.UpdateAny), unix.E2BIG)
	mustFail(t, m.Update(keys[0], keys[0], ebpf.UpdateNoExist), ebpf.ErrKeyExist)
	mustFail(t, m.Update(key32(9), key32(9), ebpf.UpdateExist), ebpf.ErrKeyNotExist)
	mustFail(t, m.Delete(key32(9)), ebpf.ErrKeyNotExist)
	failed := uint64(4)
	var value [4]byte
	lookupAndDelete := hasLookupAndDelete(m)
	if lookupAndDelete {
		failed++ // it has just failed
	}
	w.want("failed operations")
	if got := w.Counts(0); got.Failed != failed {
		t.Errorf("counts %+v, want %d failed", got, failed)
	}

	if lookupAndDelete {
		must(t, m.LookupAndDelete(keys[0], &value))
	} else {
		must(t, m.Delete(keys[0]))
	}
	w.want("lookup and delete", "0 delete 01000000")
	_, err = m.BatchDelete(keys[1:3], nil)
	must(t, err)
	w.want("batch delete", "0 delete 02000000", "0 delete 03000000")

	var cursor ebpf.MapBatchCursor
	if _, err := m.BatchLookup(&cursor, make([][4]byte, 4), make([][4]byte, 4), nil); !errors.Is(err, ebpf.ErrKeyNotExist) {
		t.Fatal(err)
	}
	w.want("batch lookup")
	if len(w.rescan) != 0 {
		t.Errorf("rescan of %v after a batch lookup", w.rescan)
	}
	cursor = ebpf.MapBatchCursor{}
	if _, err := m.BatchLookupAndDelete(&cursor, make([][4]byte, 4), make([][4]byte, 4), nil); !errors.Is(err, ebpf.ErrKeyNotExist) {
		t.Fatal(err)
	}
	w.want("batch lookup and delete")
	if !slices.Equal(w.rescan, []int{0}) {
		t.Errorf("rescan of %v after a batch lookup and delete, want [0]", w.rescan)
	}

	must(t, other.Put(key32(1), key32(1)))
	must(t, other.Delete(key32(1)))
	w.want("another map")
	if got := w.Counts(0); got.Captured != 11 || got.Own != 0 || got.Dropped != 0 || got.Missed != 0 {
		t.Errorf("counts %+v, want 11 captured", got)
	}
}

// hasLookupAndDelete reports whether the kernel has the operation for hash maps
// (5.14), by a key that is not there.
func hasLookupAndDelete(m *ebpf.Map) bool {
	return !errors.Is(m.LookupAndDelete(make([]byte, m.KeySize()), make([]byte, m.ValueSize())), ebpf.ErrNotSupported)
}

// Before an update nobody knows how it ends; a delete is captured after it.
func TestCaptureFentryTouches(t *testing.T) {
	h := openTestHost(t)
	m, opened := newTestMap(t, h, 4, 4, 4)
	lookupAndDelete := hasLookupAndDelete(m)
	w := startTestWatch(t, h, Options{Mode: ModeFentry}, opened)
	if w.Mode() != ModeFentry {
		t.Errorf("mode %q", w.Mode())
	}
	must(t, m.Put(key32(1), key32(1)))
	mustFail(t, m.Update(key32(1), key32(2), ebpf.UpdateNoExist), ebpf.ErrKeyExist)
	must(t, m.Delete(key32(1)))
	must(t, m.Put(key32(2), key32(2)))
	var value [4]byte
	if lookupAndDelete {
		must(t, m.LookupAndDelete(key32(2), &value))
	} else {
		must(t, m.Delete(key32(2)))
	}
	w.want("fentry", "0 touch 00000001", "0 touch 00000001", "0 delete 00000001", "0 touch 00000002", "0 delete 00000002")

	ops := []Op{{Key: key32(3), Value: key32(3)}, {Key: key32(3), Delete: true}}
	opened.Apply(ops)
	must(t, errors.Join(ops[0].Err, ops[1].Err))
	w.want("own applies")
	if got := w.Counts(0); got.Own != 2 || got.Captured != 5 {
		t.Errorf("counts %+v, want 5 captured and 2 own", got)
	}
}

func TestCaptureSizes(t *testing.T) {
	h := openTestHost(t)
	type shaped struct {
		keyBytes, valueBytes int
		kind                 Kind
		m                    *ebpf.Map
	}
	// The longest record is 32 KiB: a head of 40 bytes, the longest key, the value and
	// room for a name of 16.
	all := []shaped{
		{keyBytes: 1, valueBytes: 1, kind: Updated},
		{keyBytes: 512, valueBytes: 8, kind: Updated},
		{keyBytes: 13, valueBytes: 77, kind: Updated},
		{keyBytes: 4, valueBytes: 32<<10 - 40 - 512 - 16, kind: Updated},
		{keyBytes: 4, valueBytes: 32<<10 - 40 - 512 - 16 + 1, kind: Touched},
		{keyBytes: 512, valueBytes: 64 << 10, kind: Touched},
	}
	var maps []Map
	for i := range all {
		m, opened := newTestMap(t, h, all[i].keyBytes, all[i].valueBytes, 4)
		all[i].m = m
		maps = append(maps, opened)
	}
	w := startTestWatch(t, h, Options{Mode: ModeFexit}, maps...)
	for i, s := range all {
		key, value := make([]byte, s.keyBytes), make([]byte, s.valueBytes)
		for j := range key {
			key[j] = byte(j + i)
		}
		for j := range value {
			value[j] = byte(j * 7)
		}
		must(t, s.m.Put(key, value))
		w.sync()
		if len(w.changes) != 1 {
			t.Fatalf("%d+%d bytes: %d changes", s.keyBytes, s.valueBytes, len(w.changes))
		}
		c := w.changes[0]
		w.changes = nil
		if c.Map != i || c.Kind != s.kind || !bytes.Equal(c.Key, key) {
			t.Errorf("%d+%d bytes: map %d, kind %d, key of %d bytes", s.keyBytes, s.valueBytes, c.Map, c.Kind, len(c.Key))
		}
		if s.kind == Updated && !bytes.Equal(c.Value, value) {
			t.Errorf("%d+%d bytes: another value", s.keyBytes, s.valueBytes)
		}
		if s.kind == Touched && c.Value != nil {
			t.Errorf("%d+%d bytes: touched with a value", s.keyBytes, s.valueBytes)
		}
	}
}

// The raw value of a map with a timer holds a kernel pointer; a system call
// hides it. Whether a map is like that is in its BTF, which these maps have.
func TestCaptureValuesWithKernelFieldsTouch(t *testing.T) {
	h := openTestHost(t)
	objects := newWriters(t)
	w := startTestWatch(t, h, Options{Mode: ModeFexit},
		openTestMap(t, h, objects.HashedAlarms), openTestMap(t, h, objects.Pairs), openTestMap(t, h, objects.Target))
	must(t, objects.HashedAlarms.Put(key32(1), make([]byte, objects.HashedAlarms.ValueSize())))
	if objects.TimerWrite != nil {
		w.want("value with a timer", "0 touch 00000001")
	} else { // before 5.15 these are bytes like others
		w.want("value without a timer", "0 update 00000001=00000000000000000000000000000000")
	}
	must(t, objects.Pairs.Put(key32(1), make([]byte, 8)))
	w.want("plain struct", "1 update 00000001=0000000000000000")
	must(t, objects.Target.Put(make([]byte, 8), make([]byte, 8)))
	w.want("integer", "2 update 0000000000000000=0000000000000000")
}

// As fast as the system call allows: nothing lost, nothing invented, in order.
func TestCaptureTenThousandKeys(t *testing.T) {
	const keys = 10_000
	h := openTestHost(t)
	m, opened := newTestMap(t, h, 4, 4, keys)
	w := startTestWatch(t, h, Options{Mode: ModeFexit}, opened)
	for i := range uint32(keys) {
		must(t, m.Put(key32(i), key32(^i)))
	}
	w.sync()
	counts := w.Counts(0)
	if got := counts.Captured + counts.Missed + counts.Dropped; got != keys {
		t.Errorf("counts %+v add up to %d, want %d", counts, got, keys)
	}
	if len(w.changes) != int(counts.Captured) {
		t.Errorf("%d changes, %d captured", len(w.changes), counts.Captured)
	}
	last := int64(-1)
	for _, c := range w.changes {
		n := int64(c.Key[0])<<24 | int64(c.Key[1])<<16 | int64(c.Key[2])<<8 | int64(c.Key[3])
		if n <= last || !bytes.Equal(c.Value, key32(^uint32(n))) {
			t.Fatalf("after key %d: %s", last, describe(c))
		}
		last = n
	}
}

func TestCaptureOverflowAsksForRescan(t *testing.T) {
	const updates = 2000
	h := openTestHost(t)
	m, opened := newTestMap(t, h, 4, 256, updates)
	quiet, quietOpened := newTestMap(t, h, 4, 4, 4)
	w := startTestWatch(t, h, Options{Mode: ModeFexit, RingBytes: unix.Getpagesize(), Queue: 1}, quietOpened, opened)
	// Nobody reads Batches: the queue fills, then the ring.
	for i := range uint32(updates) {
		must(t, m.Put(key32(i), make([]byte, 256)))
	}
	w.untilRescan(1)
	w.sync()
	counts := w.Counts(1)
	if counts.Dropped == 0 || counts.Captured+counts.Dropped+counts.Missed != updates {
		t.Errorf("counts %+v do not add up to %d", counts, updates)
	}
	if len(w.changes) != int(counts.Captured) {
		t.Errorf("%d changes, %d captured", len(w.changes), counts.Captured)
	}
	if counts.Missed == 0 && slices.Contains(w.rescan, 0) {
		t.Error("rescan of a map that lost nothing")
	}
	// And it goes on.
	w.changes = nil
	must(t, quiet.Put(key32(1), key32(2)))
	w.want("after the overflow", "0 update 00000001=00000002")
}

// Without a Barrier: the reader sleeps, and the first record wakes it.
func TestCaptureWakesFromIdle(t *testing.T) {
	h := openTestHost(t)
	m, opened := newTestMap(t, h, 4, 4, 4)
	w := startTestWatch(t, h, Options{Mode: ModeFexit}, opened)
	for i := range uint32(3) {
		select {
		case batch := <-w.Batches():
			t.Fatalf("a batch of %d changes although nothing changed", len(batch.Changes))
		case <-time.After(3 * idleWait):
		}
		before := h.Now()
		must(t, m.Put(key32(i), key32(i)))
		batch := w.next()
		late := time.Duration(h.Now() - before)
		t.Logf("change %d was seen after %v", i, late)
		// That a record wakes the reader is held by the self-test in Watch.
		if len(batch.Changes) != 1 || late > time.Second {
			t.Errorf("%d changes after %v", len(batch.Changes), late)
		}
		if c := batch.Changes[0]; c.Captured < before || c.Captured > h.Now() {
			t.Errorf("captured at %d, not after %d", c.Captured, before)
		}
	}
}

func TestCaptureBarrierAnswersSoon(t *testing.T) {
	h := openTestHost(t)
	_, opened := newTestMap(t, h, 4, 4, 4)
	for _, mode := range []Mode{ModeFexit, ModeFentry, ModeScan} {
		w := startTestWatch(t, h, Options{Mode: mode}, opened)
		took := make([]time.Duration, 200)
		for i := range took {
			before := h.Now()
			w.sync()
			took[i] = time.Duration(h.Now() - before)
		}
		slices.Sort(took)
		t.Logf("%s: of 200 barriers the median took %v, the slowest %v", mode, took[100], took[199])
		if took[100] > idleWait/2 {
			t.Errorf("%s: half of the barriers took more than %v", mode, took[100])
		}
	}
}

// While another thread writes without a pause, so that the ring is never empty.
func TestCaptureBarrierUnderLoad(t *testing.T) {
	h := openTestHost(t)
	m, opened := newTestMap(t, h, 4, 4, 4)
	w := startTestWatch(t, h, Options{Mode: ModeFexit}, opened)
	stop, stopped := make(chan struct{}), make(chan error)
	go func() {
		for i := uint32(0); ; i++ {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			if err := m.Put(key32(i%4), key32(i)); err != nil {
				stopped <- err
				return
			}
		}
	}()
	for range 50 {
		w.sync()
	}
	close(stop)
	for {
		select {
		case batch := <-w.Batches():
			w.note(batch)
			continue
		case err := <-stopped:
			must(t, err)
		}
		break
	}
	w.sync()
	if got := w.Counts(0).Captured; int(got) != len(w.changes) {
		t.Errorf("%d changes, %d captured", len(w.changes), got)
	}
}

func TestCaptureClose(t *testing.T) {
	h := openTestHost(t)
	m, opened := newTestMap(t, h, 4, 4, 4)
	w, err := h.Watch([]Map{opened}, Options{Mode: ModeAuto})
	must(t, err)
	if w.Mode() != ModeFexit {
		t.Errorf("auto chose %s: %s", w.Mode(), w.Reason())
	}
	must(t, m.Put(key32(1), key32(1)))
	must(t, w.Close())
	must(t, w.Close())
	for range w.Batches() {
	}
	must(t, m.Put(key32(2), key32(2)))
	if got := w.Counts(0); got.Captured != 1 {
		t.Errorf("counts after Close %+v", got)
	}
	w.Barrier()
}

func TestWatchRefusesMaps(t *testing.T) {
	h, other := openTestHost(t), openTestHost(t)
	m, opened := newTestMap(t, h, 4, 4, 4)
	if _, err := h.Watch([]Map{opened, openTestMap(t, h, m)}, Options{}); err == nil {
		t.Error("the same map twice")
	}
	if _, err := other.Watch([]Map{opened}, Options{}); err == nil {
		t.Error("another host's map")
	}
}
