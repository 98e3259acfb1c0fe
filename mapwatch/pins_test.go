//go:build linux

package mapwatch_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/test/need"
)

// watchPinned is a watch of no maps, in a mode that every machine offers.
func watchPinned(t *testing.T, mode mapwatch.Mode, dir string) (mapwatch.Watch, error) {
	t.Helper()
	w, err := openHost(t).Watch(nil, mapwatch.Options{Mode: mode, Pins: dir})
	if err == nil {
		t.Cleanup(func() {
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return w, err
}

// What is wrong with the directory is said whatever the mode, and before
// anything is hooked.
func TestPinsRefuseDirectory(t *testing.T) {
	need.Root(t)
	bpffs := need.BPFFS(t)
	plain := t.TempDir()
	file := filepath.Join(plain, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(bpffs, "open")
	if err := errors.Join(os.Mkdir(open, 0o700), os.Chmod(open, 0o777)); err != nil {
		t.Fatal(err)
	}
	busy := filepath.Join(bpffs, "busy")
	if err := os.Mkdir(busy, 0o700); err != nil {
		t.Fatal(err)
	}
	reader, err := os.Open(busy)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := unix.Flock(int(reader.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		dir  string
		want error // may be nil
		says string
	}{
		{plain, nil, "mount -t bpf"},
		{filepath.Join(plain, "no", "such"), nil, plain + " is not on a BPF file system"},
		{file, nil, "mount -t bpf"},
		{filepath.Join(file, "below"), nil, "not a directory"},
		{open, mapwatch.ErrPermission, "chmod go-w"},
		{busy, mapwatch.ErrInUse, "a directory of its own"},
	} {
		for _, mode := range []mapwatch.Mode{mapwatch.ModeAuto, mapwatch.ModeScan, mapwatch.ModeFexit} {
			_, err := watchPinned(t, mode, test.dir)
			if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), test.dir) {
				t.Errorf("%s, mode %s: error is %v, want %q", test.dir, mode, err, test.says)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(plain, "no")); err == nil {
		t.Error("a directory was made outside of a BPF file system")
	}
}

func TestPinsMakeDirectory(t *testing.T) {
	need.Root(t)
	bpffs := need.BPFFS(t)
	dir := filepath.Join(bpffs, "a", "b")
	for range 2 {
		w, err := watchPinned(t, mapwatch.ModeScan, dir)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(w.Reason(), "pin") {
			t.Errorf("reason is %q", w.Reason())
		}
	}
	for _, dir := range []string{dir, filepath.Dir(dir)} {
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o700 {
			t.Errorf("mode of %s is %v", dir, info.Mode())
		}
	}
}

// Only a set is removed, and only by its exact name.
func TestPinsLeaveOthersAlone(t *testing.T) {
	need.Root(t)
	dir := filepath.Join(need.BPFFS(t), "pins")
	set := "capture_0123456789abcdef0123456789abcdef"
	others := []string{"capture_0123", set + "0", "x" + set, "maps", "capture_FF23456789abcdef0123456789abcdef"}
	for _, name := range append(others, set, "capture_unfinished") {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := watchPinned(t, mapwatch.ModeScan, dir); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(others) {
		t.Errorf("left are %v, want %q", entries, others)
	}
}

// A process that may not override file modes is told so.
func TestPinsUnwritable(t *testing.T) {
	need.Root(t)
	bpffs := need.BPFFS(t)
	dir := filepath.Join(bpffs, "pins")
	for _, mode := range []os.FileMode{0, 0o500, 0o300} {
		if err := errors.Join(os.MkdirAll(dir, 0o700), os.Chmod(dir, mode)); err != nil {
			t.Fatal(err)
		}
		withCapabilities(t, []int{unix.CAP_BPF}, func() {
			if _, err := watchPinned(t, mapwatch.ModeScan, dir); !errors.Is(err, mapwatch.ErrPermission) || !strings.Contains(err.Error(), "run as its owner") {
				t.Errorf("mode %o: error is %v, want one that wraps ErrPermission", mode, err)
			}
		})
	}
}
