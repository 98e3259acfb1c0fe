//go:build linux

package mapwatch_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/test/need"
)

// Each refusal has a sentence of its own.
func TestOpenSaysWhy(t *testing.T) {
	need.Root(t)
	dir := need.BPFFS(t)
	h := openHost(t)
	for kind, spec := range refusedTypes() {
		pinMap(t, filepath.Join(dir, kind), spec)
	}
	pinProgram(t, dir)
	pinLink(t, dir)
	if err := os.Symlink(filepath.Join(dir, "prog"), filepath.Join(dir, "symlink")); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "no", "such")
	for target, want := range map[string]struct {
		sentinel error
		text     string
	}{
		dir + "/missing":         {mapwatch.ErrNotFound, "has the program that owns the map been loaded?"},
		dir + "/missing/map":     {mapwatch.ErrNotFound, "has the program that owns the map been loaded?"},
		dir + "/prog/map":        {mapwatch.ErrNotFound, "has the program that owns the map been loaded?"},
		outside:                  {mapwatch.ErrNotFound, "not on a BPF file system"},
		ordinaryFile(t):          {mapwatch.ErrNotMap, "outside the BPF file system"},
		dir:                      {mapwatch.ErrNotMap, "directory"},
		dir + "/prog":            {mapwatch.ErrNotMap, "a BPF program is pinned"},
		dir + "/symlink":         {mapwatch.ErrNotMap, "a BPF program is pinned"},
		dir + "/link":            {mapwatch.ErrNotMap, "a BPF link is pinned"},
		dir + "/percpu_hash":     {mapwatch.ErrType, "each CPU"},
		dir + "/prog_array":      {mapwatch.ErrType, "kernel pointers or file descriptors"},
		dir + "/hash_of_maps":    {mapwatch.ErrType, "kernel pointers or file descriptors"},
		dir + "/ringbuf":         {mapwatch.ErrType, "stream"},
		dir + "/queue":           {mapwatch.ErrType, "no keys"},
		"id:4294967295":          {mapwatch.ErrNotFound, "no map with this ID"},
		"name:no_such_map_123":   {mapwatch.ErrNotFound, "no map with this name"},
		"name:my_name_is_longer": {mapwatch.ErrTarget, "write name:my_name_is_long"},
		"flows":                  {mapwatch.ErrTarget, "absolute path"},
	} {
		m, err := h.Open(target)
		if err == nil {
			m.Close()
		}
		if !errors.Is(err, want.sentinel) || !strings.Contains(err.Error(), want.text) || !strings.Contains(err.Error(), target) {
			t.Errorf("open %s: error is %q, want one of %q that says %q", target, err, want.sentinel, want.text)
		}
	}
}

func pinLink(t *testing.T, dir string) {
	t.Helper()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:         ebpf.FlowDissector,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		License:      "GPL",
	})
	if err != nil {
		t.Fatalf("load a program to link: %v", err)
	}
	defer prog.Close()
	var l link.Link
	inNewNetwork(t, func(netns int) {
		l, err = link.AttachNetNs(netns, prog)
	})
	if err != nil {
		t.Fatalf("link a program: %v", err)
	}
	defer l.Close()
	if err := l.Pin(filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
}

// inNewNetwork runs fn with a network namespace that nobody lives in.
func inNewNetwork(t *testing.T, fn func(netns int)) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			fn(fd)
			return nil
		}()
	}()
	if err := <-done; err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
}

// Neither success nor refusal leaves a descriptor behind, and none is passed to
// child processes.
func TestOpenKeepsNoDescriptors(t *testing.T) {
	s := subject(t)
	p := s.Create(t, mapwatch.Shape{KeyBytes: 4, ValueBytes: 4, MaxEntries: 4})
	before := bpfDescriptors(t)
	for target := range s.Refused {
		if _, err := s.Kernel.Open(target); err == nil {
			t.Fatalf("open %s succeeded", target)
		}
	}
	m, err := s.Kernel.Open(p.Target())
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := m.Current(); err != nil {
			t.Error(err)
		}
	}
	if flags, err := unix.FcntlInt(uintptr(mapwatch.Descriptor(m)), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor flags are %#x (%v), want close-on-exec", flags, err)
	}
	if n := bpfDescriptors(t); n != before+1 {
		t.Errorf("%d BPF descriptors with one map open, before it were %d", n, before)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if n := bpfDescriptors(t); n != before {
		t.Errorf("%d BPF descriptors, before were %d", n, before)
	}
}

func bpfDescriptors(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, file := range files {
		if name, err := os.Readlink("/proc/self/fd/" + file.Name()); err == nil && strings.Contains(name, "bpf") {
			n++
		}
	}
	return n
}

// Values so large that a chunk of the scan has one element, while buckets have
// several.
func TestScanGrowsToTheBucket(t *testing.T) {
	const entries, valueBytes = 32, 1 << 20
	p := newProgram(t, filepath.Join(need.BPFFS(t), "map"), mapwatch.Shape{KeyBytes: 4, ValueBytes: valueBytes, MaxEntries: entries})
	for i := range entries {
		value := make([]byte, valueBytes)
		value[0], value[valueBytes-1] = byte(i), byte(i)
		if err := p.Update([]byte{byte(i), 0, 0, 0}, value); err != nil {
			t.Fatal(err)
		}
	}
	m, err := openHost(t).Open(p.Target())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	seen := make(map[byte]int)
	err = m.Scan(t.Context(), func(keys, values []byte, n int) error {
		for i := range n {
			seen[keys[i*4]]++
			if value := values[i*valueBytes:][:valueBytes]; value[0] != keys[i*4] || value[valueBytes-1] != keys[i*4] {
				t.Errorf("key %d came with the value of %d", keys[i*4], value[0])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range entries {
		if seen[byte(i)] != 1 {
			t.Errorf("element %d was passed %d times", i, seen[byte(i)])
		}
	}
}
