//go:build guest

package mapwatch

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// newTypedMap makes a map of any type with keys of 8 bytes (an array's have 4) and
// values of 4, and opens it as the daemon would.
func newTypedMap(t testing.TB, h *Host, kind string, entries int) (*ebpf.Map, Map) {
	t.Helper()
	spec := selfTestMap(kind)
	spec.Name, spec.ValueSize, spec.MaxEntries = "", 4, uint32(entries)
	m, err := ebpf.NewMap(spec)
	must(t, err)
	t.Cleanup(func() { m.Close() })
	return m, openTestMap(t, h, m)
}

// typedKey is one of a map of newTypedMap. Those of a trie are whole prefixes.
func typedKey(kind string, n uint32) []byte {
	switch kind {
	case TypeArray:
		return binary.NativeEndian.AppendUint32(nil, n)
	case TypeLPMTrie:
		return prefixKey(32, n)
	}
	return binary.BigEndian.AppendUint64(nil, uint64(n))
}

func prefixKey(bits, data uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.NativeEndian.AppendUint32(nil, bits), data)
}

// captured is the mode, and false where this kernel cannot hook the type: then
// Watch must say so, and the test has nothing else to see.
func captured(t testing.TB, h *Host, mode Mode, kind string, m Map) bool {
	t.Helper()
	w, err := h.Watch([]Map{m}, Options{Mode: mode})
	if err == nil {
		must(t, w.Close())
		return true
	}
	text := err.Error()
	if !errors.Is(err, ErrUnsupported) || !bytes.Contains([]byte(text), []byte(kind)) || !bytes.Contains([]byte(text), []byte(m.Shape().Target)) {
		t.Fatalf("watch by %s: %v, want ErrUnsupported that names %s and its type", mode, err, m.Shape().Target)
	}
	if kind != TypeLPMTrie {
		t.Fatalf("maps of type %s are not captured: %v", kind, err)
	}
	t.Logf("%s maps are not captured here: %v", kind, err)
	return false
}

var typesTested = []string{TypeHash, TypeLRUHash, TypeArray, TypeLPMTrie}

// Every type by every way of the system call, in both modes.
func TestCaptureTypes(t *testing.T) {
	for _, kind := range typesTested {
		for _, mode := range []Mode{ModeFexit, ModeFentry} {
			t.Run(kind+"/"+string(mode), func(t *testing.T) { testCaptureType(t, kind, mode) })
		}
	}
}

func testCaptureType(t *testing.T, kind string, mode Mode) {
	h := openTestHost(t)
	m, opened := newTypedMap(t, h, kind, 1024)
	unwatched, _ := newTypedMap(t, h, kind, 1024)
	if !captured(t, h, mode, kind, opened) {
		return
	}
	w := startTestWatch(t, h, Options{Mode: mode}, opened)
	if got, reason := w.Capture(0); got != mode || mode == ModeFexit && reason != "" {
		t.Errorf("captured by %s: %q", got, reason)
	}
	// change is a record of a success, whatever the mode.
	change := func(what string, key, value []byte) string {
		switch {
		case mode == ModeFentry && (value != nil || kind == TypeArray):
			return fmt.Sprintf("0 touch %x", key)
		case value == nil:
			return fmt.Sprintf("0 %s %x", what, key)
		}
		return fmt.Sprintf("0 %s %x=%x", what, key, value)
	}
	failed := func(key []byte) []string {
		if mode == ModeFentry {
			return []string{fmt.Sprintf("0 touch %x", key)}
		}
		return nil
	}
	keys := make([][]byte, 9)
	for n := range keys {
		keys[n] = typedKey(kind, uint32(n))
	}
	operations := uint64(2)
	must(t, m.Put(keys[1], key32(11)))
	w.want("insert", change("update", keys[1], key32(11)))
	must(t, m.Put(keys[1], key32(12)))
	w.want("overwrite", change("update", keys[1], key32(12)))

	var value [4]byte
	switch kind {
	case TypeArray:
		must(t, m.Put(keys[1], key32(0)))
		w.want("zeros", change("delete", keys[1], nil))
		mustFail(t, m.Put(typedKey(kind, 1024), key32(1)), unix.E2BIG)
		w.want("beyond the end", failed(typedKey(kind, 1024))...)
		operations += 2
	case TypeLPMTrie:
		must(t, m.Put(prefixKey(9, 0x0affffff), key32(1)))
		w.want("prefix with bits beyond it", change("update", prefixKey(9, 0x0a800000), key32(1)))
		must(t, m.Delete(prefixKey(9, 0x0a811111)))
		w.want("delete of it", change("delete", prefixKey(9, 0x0a800000), nil))
		operations += 2
	}
	if kind != TypeArray {
		must(t, m.Delete(keys[1]))
		w.want("delete", change("delete", keys[1], nil))
		mustFail(t, m.Delete(keys[1]), ebpf.ErrKeyNotExist)
		w.want("delete of nothing")
		operations += 2
	}
	if kind == TypeHash || kind == TypeLRUHash {
		batch := func(from, to int) (got [][8]byte) {
			for _, key := range keys[from:to] {
				got = append(got, [8]byte(key))
			}
			return got
		}
		_, err := m.BatchUpdate(batch(2, 6), make([][4]byte, 4), nil)
		must(t, err)
		w.want("batch update", change("update", keys[2], key32(0)), change("update", keys[3], key32(0)),
			change("update", keys[4], key32(0)), change("update", keys[5], key32(0)))
		_, err = m.BatchDelete(batch(2, 4), nil)
		must(t, err)
		w.want("batch delete", change("delete", keys[2], nil), change("delete", keys[3], nil))
		operations += 6
		if err := m.LookupAndDelete(keys[4], &value); !errors.Is(err, ebpf.ErrNotSupported) { // 5.14
			must(t, err)
			w.want("lookup and delete", change("delete", keys[4], nil))
			operations++
		}
		var cursor ebpf.MapBatchCursor
		if _, err := m.BatchLookupAndDelete(&cursor, make([][8]byte, 16), make([][4]byte, 16), nil); !errors.Is(err, ebpf.ErrKeyNotExist) {
			t.Fatal(err)
		}
		w.want("batch lookup and delete")
		if !slices.Equal(w.rescan, []int{0}) || !slices.Equal(w.drained, []int{0}) {
			t.Errorf("batch lookup and delete: rescan of %v, drained %v", w.rescan, w.drained)
		}
		operations++
	}

	// Ours, and those of a map that is not watched.
	ops := []Op{{Key: keys[6], Value: key32(6)}, {Key: keys[6], Delete: true}, {Key: keys[7], Value: key32(7)}}
	opened.Apply(ops)
	for _, op := range ops {
		must(t, op.Err)
	}
	w.want("own applies")
	before := w.Counts(0)
	must(t, unwatched.Put(keys[8], key32(8)))
	if kind != TypeArray {
		must(t, unwatched.Delete(keys[8]))
	}
	w.want("another map")
	counts := w.Counts(0)
	if counts != before || counts.Own != uint64(len(ops)) || counts.Captured+counts.Failed+counts.Missed != operations || counts.Dropped != 0 {
		t.Errorf("counts %+v, want %d operations and %d own", counts, operations, len(ops))
	}
}

// Each key that was inserted is in the map or was evicted, with a record.
func TestCaptureEvictions(t *testing.T) {
	const entries, inserts = 256, 3000
	for _, mode := range []Mode{ModeFexit, ModeFentry} {
		for _, own := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/own=%v", mode, own), func(t *testing.T) {
				h := openTestHost(t)
				m, opened := newTypedMap(t, h, TypeLRUHash, entries)
				w := startTestWatch(t, h, Options{Mode: mode}, opened)
				if _, reason := w.Capture(0); mode == ModeFexit && reason != "" {
					t.Fatalf("evictions are not seen: %s", reason)
				}
				for n := range uint32(inserts) {
					if !own {
						must(t, m.Put(typedKey(TypeLRUHash, n), key32(n)))
						continue
					}
					ops := []Op{{Key: typedKey(TypeLRUHash, n), Value: key32(n)}}
					opened.Apply(ops)
					must(t, ops[0].Err)
				}
				w.sync()
				gone := make(map[string]bool)
				others := 0
				for _, c := range w.changes {
					switch {
					case c.Kind != Evicted:
						others++
					case gone[string(c.Key)] || c.Value != nil:
						t.Fatalf("%s came twice, or has a value", describe(c))
					default:
						gone[string(c.Key)] = true
					}
				}
				resident := 0
				var value [4]byte
				for n := range uint32(inserts) {
					key := typedKey(TypeLRUHash, n)
					switch err := m.Lookup(key, &value); {
					case err == nil:
						resident++
						if gone[string(key)] {
							t.Errorf("key %x was evicted and is there", key)
						}
					case !gone[string(key)]:
						t.Errorf("key %x is not there (%v) and was not evicted", key, err)
					}
				}
				counts := w.Counts(0)
				t.Logf("%d evicted, %d resident, counts %+v", len(gone), resident, counts)
				if len(gone)+resident != inserts || len(gone) == 0 || counts.Dropped+counts.Missed > 0 {
					t.Errorf("%d evicted, %d resident of %d; counts %+v", len(gone), resident, inserts, counts)
				}
				want := inserts
				if own {
					want = 0
				}
				if others != want || counts.Own != uint64(inserts-want) {
					t.Errorf("%d other changes, want %d; counts %+v", others, want, counts)
				}
			})
		}
	}
}

// Writes of programs in every context, to every type.
func TestProgramWritesOfTypes(t *testing.T) {
	const packets, traced, alarms = 50, 50, 50
	h := openTestHost(t)
	objects := newWriters(t)
	for i, target := range []*ebpf.Map{objects.Target, objects.LruTarget, objects.ArrayTarget, objects.LpmTarget} {
		kind := typesTested[i]
		t.Run(kind, func(t *testing.T) {
			opened := openTestMap(t, h, target)
			if !captured(t, h, ModeFexit, kind, opened) {
				return
			}
			must(t, objects.TargetType.Set(uint32(i)))
			before := counters(t, objects.Written)
			w := startTestWatch(t, h, Options{Mode: ModeFexit}, opened)

			h.onApplyThread(func() { runProgram(t, objects.RunWrite) })
			deleted := 0
			if kind != TypeArray {
				h.onApplyThread(func() { runProgram(t, objects.RunDelete) })
				deleted = 1
			}
			receiver, sender := filteredSockets(t, objects.SocketWrite)
			defer receiver.Close()
			defer sender.Close()
			for range packets {
				_, err := sender.Write([]byte("x"))
				must(t, err)
			}
			trace, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: "task_rename", Program: objects.TraceWrite})
			must(t, err)
			must(t, objects.TraceTgid.Set(uint32(unix.Getpid())))
			name := bytes.TrimSpace(must1(os.ReadFile("/proc/self/comm"))(t))
			for range traced {
				must(t, os.WriteFile("/proc/thread-self/comm", name, 0))
			}
			must(t, trace.Close())
			timers := startTimer(t, objects, alarms)
			if timers {
				for started := h.Now(); counters(t, objects.Written)[writerTimer]-before[writerTimer] < alarms; w.sync() {
					if time.Duration(h.Now()-started) > guestPatience {
						t.Fatalf("the timer wrote %v", counters(t, objects.Written))
					}
				}
			}
			w.sync()
			written, refused := counters(t, objects.Written), counters(t, objects.Refused)
			got := make(map[uint32]uint64)
			for _, c := range w.changes {
				got[writerOf(kind, c.Key)]++
			}
			counts := w.Counts(0)
			t.Logf("written %v before %v, changes %v, counts %+v", written, before, got, counts)
			all := uint64(deleted)
			for writer := uint32(writerRun); writer < writers; writer++ {
				wrote := written[writer] - before[writer]
				all += wrote
				if writer == writerRun {
					wrote += uint64(deleted)
				}
				if got[writer] > wrote || got[writer]+counts.Missed < wrote || refused[writer] != 0 {
					t.Errorf("writer %d wrote %d, refused %d, captured %d", writer, wrote, refused[writer], got[writer])
				}
				if wrote == 0 && (writer != writerEgress && writer != writerKprobe && (writer != writerTimer || timers)) {
					t.Errorf("writer %d wrote nothing", writer)
				}
			}
			// A delete that fails is in none of the sums but this one.
			if counts.Captured+counts.Missed+counts.Failed != all+uint64(deleted) || counts.Own+counts.Dropped != 0 {
				t.Errorf("counts %+v do not add up to %d", counts, all+uint64(deleted))
			}
		})
	}
}

// startTimer makes the timer write so many times. It returns false where there are
// no timers: before 5.15, and on 7.3 in guests, whose CPUs have no cmpxchg16b.
func startTimer(t testing.TB, objects *writersObjects, writes uint32) bool {
	t.Helper()
	if objects.TimerWrite == nil {
		return false
	}
	must(t, errors.Join(objects.TimerWrites.Set(writes), objects.TimerIntervalNs.Set(uint64(100*time.Microsecond))))
	const drop, pass = 1, 2 // XDP_DROP, XDP_PASS
	result, err := objects.TimerWrite.Run(&ebpf.RunOptions{Data: make([]byte, 64)})
	must(t, err)
	if result != drop && result != pass {
		t.Fatalf("program %v returned %d", objects.TimerWrite, result)
	}
	return result == pass
}

// writerOf tells the writer from a key of bpf/writers.bpf.c.
func writerOf(kind string, key []byte) uint32 {
	switch kind {
	case TypeArray:
		return binary.NativeEndian.Uint32(key) >> 12
	case TypeLPMTrie:
		key = key[4:]
	}
	return uint32(binary.NativeEndian.Uint64(key) >> 32)
}

// All types in one watch: one that cannot be hooked is left to the scan, and the
// others are not.
func TestWatchOfTypes(t *testing.T) {
	h := openTestHost(t)
	var maps []*ebpf.Map
	var opened []Map
	for _, kind := range typesTested {
		m, o := newTypedMap(t, h, kind, 1024)
		maps, opened = append(maps, m), append(opened, o)
	}
	w := startTestWatch(t, h, Options{}, opened...)
	if w.Mode() != ModeFexit || w.Reason() != "" {
		t.Errorf("mode %s: %q", w.Mode(), w.Reason())
	}
	for i, kind := range typesTested {
		mode, reason := w.Capture(i)
		t.Logf("%s: %s %q", kind, mode, reason)
		key := typedKey(kind, 1)
		must(t, maps[i].Put(key, key32(1)))
		want := []string{fmt.Sprintf("%d update %x=%x", i, key, key32(1))}
		switch {
		case mode == ModeScan && (reason == "" || kind != TypeLPMTrie):
			t.Errorf("%s: %s %q", kind, mode, reason)
		case mode == ModeScan:
			want = nil
			_, err := h.Watch(opened, Options{Mode: ModeFexit})
			if text := cmp.Or(err, errors.New("")).Error(); !errors.Is(err, ErrUnsupported) || !bytes.Contains([]byte(text), []byte(opened[i].Shape().Target)) {
				t.Errorf("an explicit mode: %v", err)
			}
		case mode != ModeFexit || reason != "":
			t.Errorf("%s: %s %q", kind, mode, reason)
		}
		w.want(kind, want...)
	}
}
