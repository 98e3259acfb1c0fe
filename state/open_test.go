package state_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mapgossip/mapgossip/state"
	"github.com/mapgossip/mapgossip/state/fakefs"
)

// TestForeignFiles wants what is not this member's to be put aside, once, and
// one line that says why.
func TestForeignFiles(t *testing.T) {
	good := newMember(t)
	reopen(t, good)
	good.story(nil)
	for _, test := range []struct {
		name   string
		change func(files map[string][]byte)
		says   string
	}{
		{"a newer format", func(files map[string][]byte) {
			for name, b := range files {
				files[name] = state.Reseal(b, func(header []byte) { header[17]++ })
			}
		}, "format version 2"},
		{"another node", func(files map[string][]byte) {
			for name, b := range files {
				files[name] = state.Reseal(b, func(header []byte) { header[46] = 'b' })
			}
		}, `state of node \"b\"`},
		{"a snapshot without its journal", func(files map[string][]byte) {
			for name := range files {
				if strings.HasSuffix(name, ".journal") {
					delete(files, name)
				}
			}
		}, "is missing"},
		{"a journal without its snapshot", func(files map[string][]byte) {
			for name := range files {
				if strings.HasSuffix(name, ".snapshot") {
					delete(files, name)
				}
			}
		}, "is missing"},
		{"files under another name", func(files map[string][]byte) {
			files["5.journal"], files["5.snapshot"] = files["4.journal"], files["4.snapshot"]
			delete(files, "4.journal")
			delete(files, "4.snapshot")
		}, "not what its name says"},
		{"a snapshot that lacks an entry", func(files map[string][]byte) {
			b := files["4.snapshot"]
			head := len(state.FirstFrame(b))
			head += len(state.FirstFrame(b[head:])) // the name of the map
			files["4.snapshot"] = slices.Concat(b[:head], b[head+len(state.FirstFrame(b[head:])):])
		}, "entries are missing"},
		{"a snapshot cut short", func(files map[string][]byte) {
			for name, b := range files {
				if strings.HasSuffix(name, ".snapshot") {
					files[name] = b[:len(b)-3]
				}
			}
		}, "the end is missing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMember(t)
			files := good.disk.Files()
			test.change(files)
			for name, b := range files {
				m.disk.Put(name, b)
			}
			m.disk.Put("7.journal.bad", []byte("older"))
			m.disk.Put("unrelated", []byte("stays"))
			saved := reopen(t, m)
			if len(saved.Maps()) > 0 || saved.Meta != nil {
				t.Errorf("loaded %v", pictureOf(saved))
			}
			if log := m.logged.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, "level=ERROR") || !strings.Contains(log, test.says) {
				t.Errorf("logged: %s", log)
			}
			now := m.disk.Files()
			for name, b := range files {
				if string(now[name+".bad"]) != string(b) {
					t.Errorf("%s was not put aside", name)
				}
			}
			if now["7.journal.bad"] != nil || string(now["unrelated"]) != "stays" {
				t.Errorf("files: %v", now)
			}
			// From there on it is an ordinary directory.
			m.append("m", "k", "v", false)
			if got := pictureOf(reopen(t, m)); len(got) != 1 {
				t.Errorf("loaded %v", got)
			}
		})
	}
}

// TestOlderGeneration wants a damaged snapshot to be made up for by the older
// one, if that is still there.
func TestOlderGeneration(t *testing.T) {
	m := newMember(t)
	reopen(t, m)
	m.append("m", "k1", "v1", false)
	m.disk.Fail(errTest, fakefs.Remove)
	if err := errors.Join(m.begin(), m.commit()); err != nil {
		t.Fatal(err)
	}
	m.append("m", "k2", "v2", false)
	if err := errors.Join(m.begin(), m.commit()); err != nil {
		t.Fatal(err)
	}
	m.append("m", "k3", "v3", false)
	m.flush()
	m.disk.Fail(nil, fakefs.Remove)
	m.disk.Flip("3.snapshot", 70, 1)
	m.logged.Reset()
	lost := newMember(t)
	for name, b := range m.disk.Files() {
		if name != "3.journal" {
			lost.disk.Put(name, b)
		}
	}
	if saved := reopen(t, lost); len(pictureOf(saved)) > 0 || !strings.Contains(lost.logged.String(), "level=ERROR") {
		t.Errorf("without the newest journal: loaded %v\n%s", pictureOf(saved), lost.logged)
	}
	m.disk.Kill()
	saved, err := m.open()
	if err != nil || m.matches(saved, 3, 3) != 3 || !strings.Contains(m.logged.String(), "older generation") {
		t.Fatalf("%v: loaded %v\n%s", err, pictureOf(saved), m.logged)
	}
}

// TestErrors wants an error where nothing can be read, and a Dir that is broken
// where nothing can be written.
func TestErrors(t *testing.T) {
	m := newMember(t)
	reopen(t, m)
	m.append("m", "k", "v", false)
	first := m.dir
	if _, err := m.open(); !errors.Is(err, state.ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
	if err := errors.Join(first.Close(), first.Close()); err != nil {
		t.Error(err)
	}
	m.dir = nil
	for _, op := range []fakefs.Op{fakefs.Lock, fakefs.List, fakefs.Read} {
		m.disk.Fail(errTest, op)
		if _, err := m.open(); !errors.Is(err, errTest) {
			t.Errorf("%s fails: %v", op, err)
		}
		m.disk.Fail(nil, op)
	}
	for _, op := range []fakefs.Op{fakefs.Create, fakefs.Write} {
		reopen(t, m)
		m.append("m", "k", "v", false)
		m.dir.Close()
		m.disk.Fail(errTest, op)
		saved, err := m.open()
		if err != nil || saved.Len("m") != 1 || !errors.Is(m.dir.Broken(), errTest) || !m.dir.Due() {
			t.Errorf("%s fails: %v, loaded %v, broken: %v", op, err, pictureOf(saved), m.dir.Broken())
		}
		m.dir.Close()
		m.dir = nil
		m.disk.Fail(nil, op)
		if saved = reopen(t, m); saved.Len("m") != 0 {
			t.Errorf("%s had failed: loaded %v", op, pictureOf(saved))
		}
		m.dir.Close()
		m.dir = nil
	}
	for _, op := range []fakefs.Op{fakefs.Sync, fakefs.SyncDir} {
		reopen(t, m)
		m.append("m", "k", "v", false)
		m.flush()
		m.disk.Fail(errTest, op)
		if err := m.dir.Sync(); !errors.Is(err, errTest) || m.dir.Broken() == nil {
			t.Errorf("%s fails: %v", op, err)
		}
		m.disk.Fail(nil, op)
		if err := m.dir.Flush(); err != nil {
			t.Errorf("told twice: %v", err)
		}
		if saved := reopen(t, m); saved.Len("m") != 0 {
			t.Errorf("%s had failed: loaded %v", op, pictureOf(saved))
		}
		m.dir.Close()
		m.dir = nil
	}
	reopen(t, m)
	m.append("m", "k", "v", false)
	m.disk.Fail(errTest, fakefs.Write, fakefs.Remove)
	if err := m.flush(); !errors.Is(err, errTest) || !strings.Contains(err.Error(), "cannot be removed") {
		t.Errorf("write and remove fail: %v", err)
	}
}

// TestDue wants a snapshot at the start, when the journal has grown, and not
// while there is one under way.
func TestDue(t *testing.T) {
	m := newMember(t)
	reopen(t, m)
	value := strings.Repeat("v", 1<<20)
	for _, want := range []int{0, 16, 16} {
		n := 0
		for ; !m.dir.Due(); n++ {
			m.append("m", "k", value, false)
		}
		if n < want || n > want+1 {
			t.Errorf("due after %d MiB, want %d", n, want)
		}
		if err := m.begin(); err != nil {
			t.Fatal(err)
		}
		if m.dir.Due() {
			t.Error("due while one is under way")
		}
		if _, err := m.dir.Begin(); err == nil {
			t.Error("two at a time")
		}
		if err := m.commit(); err != nil {
			t.Fatal(err)
		}
	}
	if got := slices.Sorted(func(yield func(string) bool) {
		for name := range m.disk.Files() {
			if !yield(name) {
				return
			}
		}
	}); fmt.Sprint(got) != "[4.journal 4.snapshot]" {
		t.Errorf("files: %v", got)
	}
}
