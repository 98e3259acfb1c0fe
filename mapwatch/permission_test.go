//go:build linux

package mapwatch_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/test/need"
)

// withCapabilities runs fn on a thread of its own that has these capabilities
// and no others.
func withCapabilities(t *testing.T, capabilities []int, fn func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		defer close(done)      // also after t.FailNow
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		var data [2]unix.CapUserData
		for _, c := range capabilities {
			data[c/32].Effective |= 1 << (c % 32)
			data[c/32].Permitted |= 1 << (c % 32)
		}
		err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0])
		if err != nil {
			done <- err
			return
		}
		fn()
	}()
	if err := <-done; err != nil {
		t.Fatalf("give up capabilities: %v", err)
	}
}

func TestPinPathNeedsNoAdmin(t *testing.T) {
	need.Root(t)
	p := newProgram(t, filepath.Join(need.BPFFS(t), "map"), mapwatch.Shape{KeyBytes: 4, ValueBytes: 4, MaxEntries: 4})
	h := openHost(t)
	withCapabilities(t, []int{unix.CAP_BPF, unix.CAP_PERFMON}, func() {
		m, err := h.Open(p.Target())
		if err != nil {
			t.Errorf("open a pin with CAP_BPF and CAP_PERFMON: %v", err)
			return
		}
		defer m.Close()
		if err := m.Current(); err != nil {
			t.Error(err)
		}
		ops := tenUpdates()[:1]
		m.Apply(ops)
		if ops[0].Err != nil {
			t.Error(ops[0].Err)
		}
		if _, err := m.Lookup(ops[0].Key); err != nil {
			t.Error(err)
		}
		if elements(t, m) != 1 {
			t.Errorf("%d elements, want 1", elements(t, m))
		}
		for _, target := range []string{"id:1", "name:flows"} {
			_, err := h.Open(target)
			if !errors.Is(err, mapwatch.ErrPermission) || !strings.Contains(err.Error(), "CAP_SYS_ADMIN") {
				t.Errorf("open %s: error is %v, want ErrPermission that names CAP_SYS_ADMIN", target, err)
			}
		}
	})
}

// The mode of the pin counts for a process that may not override it.
func TestPinFileMode(t *testing.T) {
	need.Root(t)
	dir := need.BPFFS(t)
	p := newProgram(t, filepath.Join(dir, "map"), mapwatch.Shape{KeyBytes: 4, ValueBytes: 4, MaxEntries: 4})
	if err := p.Update([]byte{1, 0, 0, 0}, []byte{1, 2, 3, 4}); err != nil {
		t.Fatal(err)
	}
	h := openHost(t)
	chmod := func(path string, mode os.FileMode) {
		if err := os.Chmod(path, mode); err != nil {
			t.Error(err)
		}
	}
	withCapabilities(t, []int{unix.CAP_BPF, unix.CAP_PERFMON}, func() {
		chmod(p.path, 0o400)
		m, err := h.Open(p.Target())
		if err != nil {
			t.Errorf("open a pin that is read-only: %v", err)
			return
		}
		defer m.Close()
		if elements(t, m) != 1 {
			t.Errorf("%d elements, want 1", elements(t, m))
		}
		ops := []mapwatch.Op{{Key: []byte{2, 0, 0, 0}, Value: make([]byte, 4)}, {Key: []byte{1, 0, 0, 0}, Delete: true}}
		m.Apply(ops)
		for i, op := range ops {
			if !errors.Is(op.Err, mapwatch.ErrFrozen) || !strings.Contains(op.Err.Error(), "file mode") {
				t.Errorf("op %d: error is %v, want ErrFrozen that names the file mode", i, op.Err)
			}
		}
		for _, mode := range []os.FileMode{0, 0o200} {
			chmod(p.path, mode)
			_, err := h.Open(p.Target())
			if !errors.Is(err, mapwatch.ErrPermission) || !strings.Contains(err.Error(), "file mode") {
				t.Errorf("open a pin of mode %o: error is %v, want ErrPermission that names the file mode", mode, err)
			}
			if err := m.Current(); !errors.Is(err, mapwatch.ErrPermission) || errors.Is(err, mapwatch.ErrGone) {
				t.Errorf("current of a pin of mode %o: error is %v, want ErrPermission only", mode, err)
			}
		}
		chmod(p.path, 0o600)
		chmod(dir, 0)
		if _, err := h.Open(p.Target()); !errors.Is(err, mapwatch.ErrPermission) || !strings.Contains(err.Error(), "directory") {
			t.Errorf("open a pin in a closed directory: error is %v, want ErrPermission that names the directory", err)
		}
		chmod(dir, 0o700)
	})
}
