//go:build guest

package mapwatch

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
)

// Threads that write one map on one CPU preempt each other in the middle of the
// hook where the kernel allows that (preempt=full), and a timer interrupts them:
// each write is accounted for, with catchers and without.
func TestCatcherAccounting(t *testing.T) {
	const threads, writes = 2, 20_000
	for _, kind := range typesTested {
		lost := make(map[bool]uint64)
		for _, catchers := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/catchers=%v", kind, catchers), func(t *testing.T) {
				h := openTestHost(t)
				// With room to spare: a full trie of an older kernel takes no overwrite.
				m, opened := newTypedMap(t, h, kind, threads*1000+100)
				if !captured(t, h, ModeFexit, kind, opened) {
					return
				}
				w := startTestWatch(t, h, Options{Mode: ModeFexit, Queue: 1 << 12}, opened)
				if !catchers {
					w.withoutCatchers()
				}
				writeOnOneCPU(t, m, kind, threads, writes)
				w.sync()
				counts := w.Counts(0)
				evicted := uint64(0)
				for _, c := range w.changes {
					if c.Kind == Evicted {
						evicted++
					}
				}
				t.Logf("%d writes: %+v, %d evicted, %.2f %% missed", threads*writes, counts, evicted, 100*float64(counts.Missed)/(threads*writes))
				if got := counts.Captured - evicted + counts.Own + counts.Missed + counts.Dropped + counts.Failed; got != threads*writes {
					t.Errorf("counts %+v add up to %d, want %d", counts, got, threads*writes)
				}
				if uint64(len(w.changes)) != counts.Captured || counts.Caught > counts.Captured || !catchers && counts.Caught > 0 {
					t.Errorf("%d changes, counts %+v", len(w.changes), counts)
				}
				lost[catchers] = counts.Missed
			})
		}
		t.Logf("%s: %d of %d missed without catchers, %d with", kind, lost[false], threads*writes, lost[true])
	}
}

// withoutCatchers detaches them.
func (w *testWatch) withoutCatchers() {
	w.t.Helper()
	c := w.Watch.(*hookWatch).capture
	for _, h := range hooks() {
		if l := c.links[h.catcher(c.mode)]; l != nil {
			must(w.t, l.Close())
		}
	}
}

// writeOnOneCPU writes as fast as the system call allows, from several threads.
func writeOnOneCPU(t testing.TB, m *ebpf.Map, kind string, threads, writes int) {
	t.Helper()
	var group sync.WaitGroup
	for thread := range threads {
		group.Go(func() {
			runtime.LockOSThread() // not unlocked: the pinned thread ends with the goroutine
			pinThread(t, 1)
			for n := range writes {
				key := typedKey(kind, uint32(thread*1000+n%1000))
				if err := m.Put(key, key32(uint32(n+1))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
}
