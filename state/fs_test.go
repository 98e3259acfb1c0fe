package state_test

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/state"
	"github.com/mapgossip/mapgossip/state/fakefs"
)

// TestFS holds the real directory and the one in memory to the same.
func TestFS(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	for name, dir := range map[string]state.FS{"os": state.OS(path), "fake": fakefs.New().Mount()} {
		t.Run(name, func(t *testing.T) {
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			unlock, err := dir.Lock()
			must(err)
			if _, err := dir.Lock(); !errors.Is(err, state.ErrLocked) {
				t.Errorf("locked twice: %v", err)
			}
			for _, err := range []error{dir.Rename("x", "y"), dir.Remove("x"), second(dir.ReadFile("x")), second(dir.Append("x"))} {
				if !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("a file that is not there: %v", err)
				}
			}
			f, err := dir.Create("x")
			must(err)
			must(second(f.Write([]byte("one "))))
			must(f.Sync())
			must(f.Close())
			if f.Close() == nil || f.Sync() == nil || second(f.Write(nil)) == nil && second(f.Write([]byte("x"))) == nil {
				t.Error("a closed file works")
			}
			f, err = dir.Append("x")
			must(err)
			must(second(f.Write([]byte("two"))))
			must(f.Close())
			must(dir.Rename("x", "y"))
			must(dir.SyncDir())
			if b, err := dir.ReadFile("y"); err != nil || string(b) != "one two" {
				t.Errorf("read %q, %v", b, err)
			}
			f, err = dir.Create("y")
			must(err)
			must(f.Close())
			if b, err := dir.ReadFile("y"); err != nil || len(b) > 0 {
				t.Errorf("created again: %q, %v", b, err)
			}
			must(dir.Remove("y"))
			names, err := dir.List()
			must(err)
			for _, n := range names {
				if n != "lock" {
					t.Errorf("there is %s", n)
				}
			}
			must(unlock())
			unlock, err = dir.Lock()
			must(err)
			must(unlock())
		})
	}
}

func second[T any](_ T, err error) error { return err }

// TestModes wants what is in the directory to be for its owner alone.
func TestModes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	log := slog.New(slog.DiscardHandler)
	d, _, err := state.Open(state.OS(path), identity, log)
	if err != nil {
		t.Fatal(err)
	}
	d.Append("m", entryAt(1, "k", "v"), false)
	s, err := d.Begin()
	if err != nil {
		t.Fatal(err)
	}
	s.Add("m", entryAt(1, "k", "v"), false)
	if err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := state.Open(state.OS(path), identity, log); !errors.Is(err, state.ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(path, func(name string, e fs.DirEntry, err error) error {
		info, err := os.Stat(name)
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	d, saved, err := state.Open(state.OS(path), identity, log)
	if err != nil || saved.Len("m") != 1 {
		t.Fatalf("%v, loaded %v", err, pictureOf(saved))
	}
	d.Close()
}

// slowFS waits in File.Sync until it is let go.
type slowFS struct {
	state.FS
	reached, leave chan struct{}
}

type slowFile struct {
	state.File
	fs *slowFS
}

func (s *slowFS) Create(name string) (state.File, error) {
	f, err := s.FS.Create(name)
	return slowFile{f, s}, err
}

func (f slowFile) Sync() error {
	f.fs.reached <- struct{}{}
	<-f.fs.leave
	return f.File.Sync()
}

// TestSyncLetsOthersGoOn appends, flushes and rotates while the disk takes its
// time; if that had to wait, the test would hang.
func TestSyncLetsOthersGoOn(t *testing.T) {
	m := newMember(t)
	slow := &slowFS{m.disk.Mount(), make(chan struct{}), make(chan struct{})}
	d, _, err := state.Open(slow, identity, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	d.Append("m", entryAt(1, "k", "v"), false)
	d.Flush()
	done := make(chan error)
	go func() { done <- d.Sync() }()
	<-slow.reached
	d.Append("m", entryAt(2, "k", "w"), false)
	if err := d.Flush(); err != nil {
		t.Error(err)
	}
	s, err := d.Begin()
	if err != nil {
		t.Fatal(err)
	}
	s.Abort()
	close(slow.leave)
	if err := <-done; err != nil {
		t.Error(err)
	}
	go func() {
		for range slow.reached {
		}
	}()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	close(slow.reached)
}

// hookFS calls a hook before one of the syncs of files and of the directory.
type hookFS struct {
	state.FS
	left int // 1: the next one
	hook func()
}

type hookFile struct {
	state.File
	fs *hookFS
}

func (h *hookFS) count() {
	if h.left--; h.left == 0 {
		h.hook()
	}
}

func (h *hookFS) Create(name string) (state.File, error) {
	f, err := h.FS.Create(name)
	return hookFile{f, h}, err
}

func (h *hookFS) SyncDir() error { h.count(); return h.FS.SyncDir() }
func (f hookFile) Sync() error   { f.fs.count(); return f.File.Sync() }

// TestBreakDuringCommit fills the disk at each wait of a Commit: a snapshot whose
// journal broke must not count.
func TestBreakDuringCommit(t *testing.T) {
	for wait := 1; ; wait++ {
		m := newMember(t)
		hooked := &hookFS{FS: m.disk.Mount()}
		d, _, err := state.Open(hooked, identity, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		d.Append("m", entryAt(1, "k", "v"), false)
		s, err := d.Begin()
		if err != nil {
			t.Fatal(err)
		}
		s.Add("m", entryAt(1, "k", "v"), false)
		fired, listed := false, 0
		hooked.hook = func() {
			fired, listed = true, len(m.disk.Files())
			m.disk.Limit(0)
			d.Append("m", entryAt(2, "k", "w"), false)
			if err := d.Flush(); !errors.Is(err, syscall.ENOSPC) {
				t.Error(err)
			}
		}
		hooked.left = wait
		err = s.Commit()
		if !fired {
			if wait < 6 {
				t.Errorf("a commit has only %d waits", wait-1)
			}
			return
		}
		// When only the new generation is left, the commit is over.
		if over := listed == 2; (err == nil) != over || d.Broken() == nil {
			t.Errorf("wait %d: committed: %v, broken: %v", wait, err, d.Broken())
		}
		if files := m.disk.Files(); len(files) > 0 {
			t.Errorf("wait %d: there is %v", wait, files)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestTogether runs what may run at the same time at the same time; it is for
// the race detector.
func TestTogether(t *testing.T) {
	const entries = 2000
	m := newMember(t)
	reopen(t, m)
	var wait sync.WaitGroup
	stop := make(chan struct{})
	wait.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if err := m.dir.Sync(); err != nil {
					t.Error(err)
				}
			}
		}
	})
	var all []crdt.Entry
	for i := range entries {
		e := entryAt(int64(i+1), string(rune('a'+i%20)), "v")
		all = append(all, e)
		m.dir.Append("m", e, false)
		if err := m.dir.Flush(); err != nil {
			t.Error(err)
		}
		if i%50 == 0 && (i == 0 || m.dir.Due()) || i%200 == 0 {
			s, err := m.dir.Begin()
			if err != nil {
				continue // one is under way
			}
			add := all[max(0, len(all)-20):]
			wait.Go(func() {
				for _, e := range add {
					s.Add("m", e, false)
				}
				if err := s.Commit(); err != nil {
					t.Error(err)
				}
			})
		}
	}
	close(stop)
	wait.Wait()
	m.disk.Kill()
	saved, err := m.open()
	if err != nil || saved.Len("m") != 20 {
		t.Fatalf("%v: %d keys", err, saved.Len("m"))
	}
	for e := range saved.Entries("m") {
		if e.Version.Time.Wall <= entries-20 {
			t.Errorf("key %s: loaded %v", e.Key, e.Version)
		}
	}
}
