//go:build guest

// What outlives a watch is one story with one set of tools: it stays in one file.

package mapwatch

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/mapgossip/mapgossip/test/need"
)

// startPinnedWatch releases what it reads.
func startPinnedWatch(t testing.TB, h *Host, options Options, maps ...Map) *testWatch {
	t.Helper()
	w := startTestWatch(t, h, options, maps...)
	w.release = true
	return w
}

// finish reads until now, closes the watch, and reads what is left.
func (w *testWatch) finish() {
	w.t.Helper()
	w.sync()
	must(w.t, w.Close())
	for batch := range w.Batches() {
		w.note(batch)
	}
}

// wantRescan compares what was to be scanned since the last call.
func (w *testWatch) wantRescan(what string, want ...int) {
	w.t.Helper()
	w.sync()
	slices.Sort(w.rescan)
	if !slices.Equal(w.rescan, want) {
		w.t.Errorf("%s: rescan of %v, want %v", what, w.rescan, want)
	}
	w.rescan = nil
}

func setsIn(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// linkIDs are the kernel's numbers of the links of the watch, by program.
func (w *testWatch) linkIDs() map[string]link.ID {
	w.t.Helper()
	ids := make(map[string]link.ID)
	for name, l := range w.Watch.(*hookWatch).capture.links {
		info, err := l.Info()
		must(w.t, err)
		ids[name] = info.ID
	}
	return ids
}

func TestPinsTakeOver(t *testing.T) {
	for _, mode := range []Mode{ModeFexit, ModeFentry} {
		t.Run(string(mode), func(t *testing.T) {
			options := Options{Mode: mode, Pins: need.BPFFS(t) + "/pins"}
			h := openTestHost(t)
			m0, opened0 := newTestMap(t, h, 4, 4, 100)
			m1, opened1 := newTestMap(t, h, 4, 4, 100)
			begun := h.Now()
			w := startPinnedWatch(t, h, options, opened0, opened1)
			t.Logf("first watch in %v", time.Duration(h.Now()-begun))
			w.wantRescan("first watch", 0, 1)
			must(t, m0.Put(key32(1), key32(1)))
			opened0.Apply([]Op{{Key: key32(50), Value: key32(50)}})
			w.sync()
			if len(w.changes) != 1 {
				t.Fatalf("%d changes before", len(w.changes))
			}
			before := w.Counts(0)
			links := w.linkIDs()
			w.finish()

			type step struct {
				do   func() error
				says map[Mode]string
			}
			steps := []step{
				{func() error { return m0.Put(key32(1), key32(2)) }, map[Mode]string{ModeFexit: "0 update 00000001=00000002", ModeFentry: "0 touch 00000001"}},
				{func() error { return m1.Put(key32(1), key32(3)) }, map[Mode]string{ModeFexit: "1 update 00000001=00000003", ModeFentry: "1 touch 00000001"}},
				{func() error { return m0.Put(key32(1), key32(4)) }, map[Mode]string{ModeFexit: "0 update 00000001=00000004", ModeFentry: "0 touch 00000001"}},
				{func() error { return m0.Delete(key32(1)) }, map[Mode]string{ModeFexit: "0 delete 00000001", ModeFentry: "0 delete 00000001"}},
			}
			for round := range 2 {
				var from, to []int64
				var want []string
				for _, s := range steps {
					from = append(from, h.Now())
					must(t, s.do())
					to = append(to, h.Now())
					want = append(want, s.says[mode])
				}
				// Another process would have another thread.
				h2 := openTestHost(t)
				again0, again1 := openTestMap(t, h2, m0), openTestMap(t, h2, m1)
				begun := h.Now()
				w = startPinnedWatch(t, h2, options, again0, again1)
				t.Logf("take-over in %v", time.Duration(h.Now()-begun))
				ops := []Op{{Key: key32(60), Value: key32(1)}, {Key: key32(60), Delete: true}}
				again0.Apply(ops)
				must(t, errors.Join(ops[0].Err, ops[1].Err))
				w.sync()
				for i, c := range w.changes {
					if i < len(from) && (c.Captured < from[i] || c.Captured > to[i]) {
						t.Errorf("change %d: captured at %d, want from %d to %d", i, c.Captured, from[i], to[i])
					}
				}
				w.want(fmt.Sprintf("take-over %d", round), want...)
				w.wantRescan("take-over")
				if got := w.linkIDs(); !maps.Equal(got, links) {
					t.Errorf("links are %v, were %v", got, links)
				}
				if got, want := w.Counts(0), (Counts{Captured: before.Captured + 3, Own: before.Own + 2, Missed: before.Missed}); got != want {
					t.Errorf("counts %+v, want %+v", got, want)
				}
				before = w.Counts(0)
				must(t, m0.Put(key32(7), key32(7)))
				if got := w.take(); len(got) != 1 {
					t.Errorf("after take-over %d: %q", round, got)
				}
				before.Captured++
				w.finish()
			}
			if got := setsIn(t, options.Pins); len(got) != 1 {
				t.Errorf("sets %q", got)
			}
			info, err := os.Stat(options.Pins)
			must(t, err)
			if info.Mode().Perm() != 0o700 {
				t.Errorf("mode of the directory is %v", info.Mode())
			}
		})
	}
}

// The batches that wait when the watch is closed are not lost, nor what is written
// in that moment.
func TestPinsCloseUnderLoad(t *testing.T) {
	const rounds = 4
	options := Options{Mode: ModeFexit, Pins: need.BPFFS(t) + "/pins", Queue: 1 << 10}
	h := openTestHost(t)
	m, opened := newTestMap(t, h, 4, 4, 4)
	written := uint32(0)
	var got []Change
	var missed uint64
	for round := range rounds {
		w := startPinnedWatch(t, h, options, opened)
		w.sync()
		was := missed
		if missed = w.Counts(0).Missed; round > 0 && slices.Contains(w.rescan, 0) != (missed > was) {
			t.Errorf("round %d: rescan %v, %d misses, %d before", round, w.rescan, missed, was)
		}
		stop, stopped := make(chan struct{}), make(chan error, 1)
		go func() {
			for {
				select {
				case <-stop:
					stopped <- nil
					return
				default:
				}
				if err := m.Put(key32(written%4), key32(written)); err != nil {
					stopped <- err
					return
				}
				written++
			}
		}()
		for before := len(w.changes); len(w.changes) < before+200; {
			w.next()
		}
		must(t, w.Close())
		close(stop)
		must(t, <-stopped)
		for batch := range w.Batches() {
			w.note(batch)
		}
		got = append(got, w.changes...)
	}
	w := startPinnedWatch(t, h, options, opened)
	w.sync()
	got = append(got, w.changes...)
	if counts := w.Counts(0); int(counts.Captured) != len(got) || counts.Captured+counts.Missed < uint64(written) {
		t.Errorf("counts %+v, %d changes of %d writes", counts, len(got), written)
	}
	last := int64(-1)
	for _, c := range got {
		n := int64(binary.BigEndian.Uint32(c.Value))
		if n <= last {
			t.Fatalf("write %d came after write %d", n, last)
		}
		last = n
	}
}

func TestPinsReplaced(t *testing.T) {
	dir := need.BPFFS(t) + "/pins"
	must(t, os.Mkdir(dir, 0o700))
	h := openTestHost(t)
	m, opened := newTestMap(t, h, 4, 4, 100)
	_, other := newTestMap(t, h, 4, 4, 100)
	options := Options{Mode: ModeFexit, Pins: dir, RingBytes: 1 << 16}
	watched := []Map{opened, other}
	foreign := filepath.Join(dir, "somebody")
	must(t, os.Mkdir(foreign, 0o700))
	must(t, m.Pin(filepath.Join(foreign, "map")))

	set := func() string {
		t.Helper()
		sets := slices.DeleteFunc(setsIn(t, dir), func(name string) bool { return name == "somebody" })
		if len(sets) != 1 {
			t.Fatalf("sets %q", sets)
		}
		return filepath.Join(dir, sets[0])
	}
	startPinnedWatch(t, h, options, watched...).finish()
	for _, change := range []struct {
		what string
		do   func()
	}{
		{"another ring", func() { options.RingBytes *= 2 }},
		{"another mode", func() { options.Mode = ModeFentry }},
		{"another order", func() { slices.Reverse(watched) }},
		{"another version", func() { must(t, os.Rename(set(), filepath.Join(dir, setPrefix+strings.Repeat("0", 32)))) }},
		{"no ring", func() { must(t, os.Remove(filepath.Join(set(), mapFile(captureMapRing)))) }},
		{"no link", func() {
			must(t, os.Remove(filepath.Join(set(), linkFile(captureProgHashUpdateFentry))))
		}},
		{"another map", func() { watched = []Map{opened, func() Map { _, m := newTestMap(t, h, 4, 4, 4); return m }()} }},
		{"fewer maps", func() { watched = watched[:1] }},
	} {
		before := set()
		must(t, m.Put(key32(1), key32(1)))
		change.do()
		w := startPinnedWatch(t, h, options, watched...)
		want := make([]int, len(watched))
		for i := range want {
			want[i] = i
		}
		w.wantRescan(change.what, want...)
		w.want(change.what + ": nothing of before")
		must(t, m.Put(key32(2), key32(2)))
		if got := w.take(); len(got) != 1 {
			t.Errorf("%s: %q", change.what, got)
		}
		if after := set(); after == before && !strings.HasPrefix(change.what, "no ") && change.what != "another version" {
			t.Errorf("%s: still in %s", change.what, after)
		}
		w.finish()
	}
	w := startTestWatch(t, h, Options{Mode: ModeScan, Pins: dir}, watched...)
	if !strings.Contains(w.Reason(), "pin") {
		t.Errorf("reason of scan: %q", w.Reason())
	}
	if got := setsIn(t, dir); !slices.Equal(got, []string{"somebody"}) {
		t.Errorf("after a watch by scan: %q", got)
	}
}

// A thread that got the apply thread's ID after its end is not it.
func TestPinsRecycledThread(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	options := Options{Mode: ModeFexit, Pins: need.BPFFS(t) + "/pins"}
	h := openTestHost(t)
	m, opened := newTestMap(t, h, 4, 4, 4)
	w := startPinnedWatch(t, h, options, opened)
	own := w.Watch.(*hookWatch).capture.collection.Variables[captureVarOwnTid]
	must(t, own.Set(uint32(unix.Gettid())))
	must(t, m.Put(key32(1), key32(1)))
	w.want("its ID", "0 update 00000001=00000001")
	AbandonWatch(w.Watch)
	must(t, m.Put(key32(2), key32(2)))
	w = startPinnedWatch(t, h, options, opened)
	w.want("nobody there", "0 update 00000002=00000002")
}

// Variables of the process that TestPinsKill kills.
const (
	pinsVictimDir = "MAPGOSSIP_TEST_PINS"
	pinsVictimMap = "MAPGOSSIP_TEST_MAP"
)

// TestPinsVictim watches, applies without end and never reads a batch, in a
// process that TestPinsKill starts.
func TestPinsVictim(t *testing.T) {
	if os.Getenv(pinsVictimDir) == "" {
		return // nothing on its own
	}
	h := openTestHost(t)
	opened, err := h.Open(os.Getenv(pinsVictimMap))
	must(t, err)
	w, err := h.Watch([]Map{opened}, Options{Mode: ModeFexit, Pins: os.Getenv(pinsVictimDir), RingBytes: 1 << 16, Queue: 1})
	must(t, err)
	before := w.Counts(0).Own
	for i := uint32(0); ; i++ {
		opened.Apply([]Op{{Key: key32(i % 50), Value: key32(i)}})
		if i == 100 {
			fmt.Printf("\nvictim: own %d\n", w.Counts(0).Own-before)
		}
	}
}

func TestPinsKill(t *testing.T) {
	dir := need.BPFFS(t)
	h := openTestHost(t)
	m, opened := newTestMap(t, h, 4, 4, 100)
	for round := range 2 {
		victim := exec.Command(os.Args[0], "-test.run=^TestPinsVictim$", "-test.v")
		victim.Env = append(os.Environ(), pinsVictimDir+"="+dir, pinsVictimMap+"="+opened.Shape().Target)
		victim.Stderr = os.Stderr
		out, err := victim.StdoutPipe()
		must(t, err)
		must(t, victim.Start())
		lines := bufio.NewScanner(out)
		for lines.Scan() && !strings.HasPrefix(lines.Text(), "victim: own") {
			if strings.HasPrefix(lines.Text(), "--- ") {
				t.Fatalf("the victim ended: %s", lines.Text())
			}
		}
		if !strings.HasSuffix(lines.Text(), " 101") {
			t.Errorf("round %d: %q, want 101", round, lines.Text())
		}
		must(t, victim.Process.Kill())
		_ = victim.Wait() // its error is the signal

		before := h.Now()
		var want []string
		for i := range uint32(200) {
			must(t, m.Put(key32(60+i%20), key32(i)))
			want = append(want, fmt.Sprintf("0 update %x=%x", key32(60+i%20), key32(i)))
		}
		after := h.Now()
		w := startPinnedWatch(t, h, Options{Mode: ModeFexit, Pins: dir, RingBytes: 1 << 16}, opened)
		w.sync()
		for _, c := range w.changes {
			if c.Captured < before || c.Captured > after {
				t.Errorf("captured at %d, want from %d to %d", c.Captured, before, after)
			}
		}
		w.want("what was written after the kill", want...)
		w.wantRescan("after a kill", 0)
		opened.Apply([]Op{{Key: key32(1), Value: key32(1)}})
		w.want("own")
		w.finish()
	}
}

// What a process leaves that is killed in the middle of its self-test.
func TestPinsUnfinishedSelfTest(t *testing.T) {
	options := Options{Mode: ModeFexit, Pins: need.BPFFS(t) + "/pins"}
	h := openTestHost(t)
	m, opened := newTestMap(t, h, 4, 4, 4)
	w := startPinnedWatch(t, h, options, opened)
	must(t, w.Watch.(*hookWatch).capture.watch(0xfffffff0, ownSlot))
	w.finish()
	must(t, os.Mkdir(options.Pins+"/"+setUnfinished, 0o700))
	must(t, m.Put(key32(1), key32(1)))
	w = startPinnedWatch(t, h, options, opened)
	w.want("took over", "0 update 00000001=00000001")
	w.wantRescan("took over")
	if got := setsIn(t, options.Pins); len(got) != 1 || got[0] == setUnfinished {
		t.Errorf("sets %q", got)
	}
}

// The Host may be closed before the watch.
func TestPinsHostClosedFirst(t *testing.T) {
	options := Options{Mode: ModeFexit, Pins: need.BPFFS(t) + "/pins"}
	h := openTestHost(t)
	m, opened := newTestMap(t, h, 4, 4, 4)
	w := startPinnedWatch(t, h, options, opened)
	w.sync()
	must(t, h.Close())
	w.finish()
	h = openTestHost(t)
	w = startPinnedWatch(t, h, options, openTestMap(t, h, m))
	w.wantRescan("after a closed host")
}

func TestPinsPrivileges(t *testing.T) {
	options := Options{Mode: ModeFexit, Pins: need.BPFFS(t) + "/pins"}
	h := openTestHost(t)
	m, opened := newTestMap(t, h, 4, 4, 4)
	for range 2 {
		err := withCapabilities(t, func() error {
			w := startPinnedWatch(t, h, options, opened)
			w.sync()
			if err := m.Put(key32(1), key32(1)); err != nil {
				return err
			}
			w.want("with few capabilities", "0 update 00000001=00000001")
			w.finish()
			return nil
		}, append(olderKernels(t), unix.CAP_BPF, unix.CAP_PERFMON)...)
		must(t, err)
	}
}
