//go:build linux

package mapwatch_test

import (
	"errors"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/conformance"
	"github.com/mapgossip/mapgossip/test/need"
)

// All that holds for writes by batch holds for single ones.
func TestHostConformanceWithoutBatches(t *testing.T) {
	need.Root(t)
	need.BPFFS(t)
	conformance.Run(t, mapwatch.ModeScan, func(t *testing.T) conformance.Subject {
		s := subject(t)
		s.Kernel = withoutBatches{s.Kernel}
		return s
	})
}

type withoutBatches struct{ mapwatch.Kernel }

func (k withoutBatches) Open(target string) (mapwatch.Map, error) {
	m, err := k.Kernel.Open(target)
	if err == nil {
		mapwatch.WithoutBatches(m)
	}
	return m, err
}

// openMap creates a map of 4-byte keys and values, and opens it.
func openMap(t testing.TB, entries int) mapwatch.Map {
	t.Helper()
	p := newProgram(t, filepath.Join(need.BPFFS(t), "map"), mapwatch.Shape{KeyBytes: 4, ValueBytes: 4, MaxEntries: entries})
	m, err := openHost(t).Open(p.Target())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func elements(t *testing.T, m mapwatch.Map) int {
	t.Helper()
	total := 0
	if err := m.Scan(t.Context(), func(_, _ []byte, n int) error { total += n; return nil }); err != nil {
		t.Fatal(err)
	}
	return total
}

func tenUpdates() []mapwatch.Op {
	ops := make([]mapwatch.Op, 10)
	for i := range ops {
		ops[i] = mapwatch.Op{Key: []byte{byte(i), 0, 0, 0}, Value: []byte{1, 2, 3, 4}}
	}
	return ops
}

func TestApplyTriesAgainWhenBusy(t *testing.T) {
	for _, errno := range []error{unix.EBUSY, unix.EDEADLK, unix.ETIMEDOUT, unix.EAGAIN} {
		m := openMap(t, 16)
		busy := map[byte]int{3: 2, 4: 1, 9: 3}
		refused := mapwatch.RefuseWrites(m, func(key []byte) error {
			if busy[key[0]] > 0 {
				busy[key[0]]--
				return errno
			}
			return nil
		})
		ops := tenUpdates()
		m.Apply(ops)
		for i, op := range ops {
			if op.Err != nil {
				t.Errorf("op %d: %v", i, op.Err)
			}
		}
		if refused.Load() != 6 || elements(t, m) != 10 {
			t.Errorf("%v: %d calls were refused and %d elements written, want 6 and 10", errno, refused.Load(), elements(t, m))
		}
	}
}

// One element that stays busy costs a bounded number of tries and leaves the
// others alone. So with batches and without.
func TestApplyGivesUpWhenBusyForLong(t *testing.T) {
	for _, single := range []bool{false, true} {
		m := openMap(t, 16)
		if single {
			mapwatch.WithoutBatches(m)
		}
		refused := mapwatch.RefuseWrites(m, func(key []byte) error {
			if key[0] == 5 {
				return unix.EDEADLK
			}
			return nil
		})
		ops := tenUpdates()
		m.Apply(ops)
		for i, op := range ops {
			if (op.Err != nil) != (i == 5) {
				t.Errorf("op %d: %v", i, op.Err)
			}
		}
		if !errors.Is(ops[5].Err, mapwatch.ErrBusy) || !errors.Is(ops[5].Err, unix.EDEADLK) {
			t.Errorf("error is %v, want ErrBusy with its cause", ops[5].Err)
		}
		if n := refused.Load(); n < 2 || n > 10 {
			t.Errorf("%d tries", n)
		}
		if elements(t, m) != 9 {
			t.Errorf("%d elements, want 9", elements(t, m))
		}
	}
}

func TestApplyWhereMemoryIsShort(t *testing.T) {
	m := openMap(t, 16)
	mapwatch.RefuseWrites(m, func(key []byte) error {
		if key[0]%2 == 0 {
			return unix.ENOMEM
		}
		return nil
	})
	ops := tenUpdates()
	m.Apply(ops)
	for i, op := range ops {
		if errors.Is(op.Err, mapwatch.ErrBusy) != (i%2 == 0) {
			t.Errorf("op %d: %v", i, op.Err)
		}
	}
}

// EPERM is not about an element: the rest of the run is not tried.
func TestApplyWithoutCapability(t *testing.T) {
	m := openMap(t, 16)
	refused := mapwatch.RefuseWrites(m, func(key []byte) error { return unix.EPERM })
	ops := tenUpdates()
	m.Apply(ops)
	for i, op := range ops {
		if !errors.Is(op.Err, mapwatch.ErrPermission) || errors.Is(op.Err, mapwatch.ErrFrozen) {
			t.Errorf("op %d: error is %v, want ErrPermission, for the map is not frozen", i, op.Err)
		}
	}
	if refused.Load() != 1 {
		t.Errorf("%d calls, want 1", refused.Load())
	}
}

// A refused batch that turns out to be about one element goes on by batches.
func TestApplyOfAnElementThatTheKernelDislikes(t *testing.T) {
	m := openMap(t, 16)
	refused := mapwatch.RefuseWrites(m, func(key []byte) error {
		if key[0] == 4 {
			return unix.EINVAL
		}
		return nil
	})
	ops := tenUpdates()
	m.Apply(ops)
	for i, op := range ops {
		if errors.Is(op.Err, unix.EINVAL) != (i == 4) {
			t.Errorf("op %d: %v", i, op.Err)
		}
	}
	if refused.Load() != 2 {
		t.Errorf("%d calls were refused, want the batch and the single one", refused.Load())
	}
}

// Close waits for calls that are under way, and the descriptor is not used
// afterwards, when it may be another file's.
func TestCloseDuringUse(t *testing.T) {
	m := openMap(t, 10_000)
	var all sync.WaitGroup
	started := make(chan struct{}, 3)
	use := func(once func() error) {
		all.Go(func() {
			err := once()
			started <- struct{}{}
			for err == nil {
				err = once()
			}
			if !errors.Is(err, mapwatch.ErrGone) {
				t.Errorf("error is %v, want ErrGone", err)
			}
		})
	}
	use(func() error {
		ops := tenUpdates()
		m.Apply(ops)
		return ops[9].Err
	})
	use(func() error {
		return m.Scan(t.Context(), func(_, _ []byte, _ int) error { return nil })
	})
	use(func() error {
		_, err := m.Lookup([]byte{1, 0, 0, 0})
		if errors.Is(err, mapwatch.ErrNotFound) {
			return nil
		}
		return err
	})
	for range cap(started) {
		<-started
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	all.Wait()
}
