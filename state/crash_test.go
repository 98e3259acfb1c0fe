package state_test

import (
	"errors"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/mapgossip/mapgossip/state/fakefs"
)

// TestKillAnywhere kills the process at each operation on the directory.
func TestKillAnywhere(t *testing.T) {
	for n := 0; ; n++ {
		m := newMember(t)
		m.disk.KillAfter(n)
		_, err := m.open()
		if err == nil {
			err = m.story(nil)
		}
		if err == nil {
			if n < 40 {
				t.Errorf("the story has only %d operations", n)
			}
			t.Logf("%d points", n)
			return
		}
		if !errors.Is(err, fakefs.ErrKilled) && m.dir != nil && !errors.Is(m.dir.Broken(), fakefs.ErrKilled) {
			t.Fatalf("kill after %d operations: %v", n, err)
		}
		m.disk.Kill()
		saved, err := m.open()
		if err != nil {
			t.Fatalf("kill after %d operations: %v", n, err)
		}
		if m.matches(saved, m.flushed, len(m.records)) < 0 {
			t.Fatalf("kill after %d operations: loaded %v, flushed %v\n%s", n, pictureOf(saved), picture(m.records[:m.flushed]), m.logged)
		}
		// Killed again, while it starts.
		for k := 0; k < 12; k++ {
			files := fakefs.New()
			for name, b := range m.disk.Files() {
				files.Put(name, b)
			}
			again := *m
			again.disk = files
			files.KillAfter(k)
			again.open()
			files.Kill()
			saved, err := again.open()
			if err != nil || again.matches(saved, m.flushed, len(m.records)) < 0 {
				t.Fatalf("kill after %d operations, then %d: %v, loaded %v", n, k, err, pictureOf(saved))
			}
		}
	}
}

// TestPowerCutAnywhere is the same with what was not synced lost.
func TestPowerCutAnywhere(t *testing.T) {
	for n := 0; ; n++ {
		done := false
		for seed := range uint64(30) {
			m := newMember(t)
			m.disk.KillAfter(n)
			_, err := m.open()
			if err == nil {
				err = m.story(nil)
			}
			if done = err == nil; done {
				break
			}
			m.disk.PowerCut(rand.New(rand.NewPCG(seed, 0)))
			saved, err := m.open()
			if err != nil {
				t.Fatalf("cut after %d operations, seed %d: %v", n, seed, err)
			}
			if m.matches(saved, m.synced, len(m.records)) < 0 {
				t.Fatalf("cut after %d operations, seed %d: loaded %v, synced %v\n%s", n, seed, pictureOf(saved), picture(m.records[:m.synced]), m.logged)
			}
		}
		if done {
			return
		}
	}
}

// TestDiskFullAnywhere lets the disk have room for any number of bytes, and kills
// after each step.
func TestDiskFullAnywhere(t *testing.T) {
	for limit := 0; ; limit++ {
		m := newMember(t)
		m.disk.Limit(limit)
		_, err := m.open()
		if err != nil {
			t.Fatalf("limit %d: %v", limit, err)
		}
		failed := m.dir.Broken() != nil
		check := func() {
			t.Helper()
			failed = failed || m.dir.Broken() != nil
			next := *m
			next.disk = fakefs.New()
			for name, b := range m.disk.Files() {
				next.disk.Put(name, b)
			}
			saved, err := next.open()
			if err != nil {
				t.Fatalf("limit %d: %v", limit, err)
			}
			if m.dir.Broken() != nil {
				if len(pictureOf(saved)) > 0 {
					t.Fatalf("limit %d: broken, and loaded %v", limit, pictureOf(saved))
				}
			} else if m.matches(saved, m.flushed, len(m.records)) < 0 {
				t.Fatalf("limit %d: loaded %v, flushed %v\n%s", limit, pictureOf(saved), picture(m.records[:m.flushed]), m.logged)
			}
		}
		check()
		if err := m.story(check); err != nil {
			failed = true
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("limit %d: %v", limit, err)
			}
			// There is room again: a snapshot makes it whole.
			m.disk.Limit(-1)
			if m.snapshot != nil {
				m.snapshot.Abort()
			}
			m.append("m", "k1", "later", false)
			if err := m.flush(); err != nil {
				t.Fatalf("limit %d: told twice: %v", limit, err)
			}
			check()
			if m.dir.Broken() != nil && !m.dir.Due() {
				t.Fatalf("limit %d: broken, and no snapshot is due", limit)
			}
			if err := m.begin(); err != nil {
				t.Fatalf("limit %d: %v", limit, err)
			}
			if m.snapshot.Abort(); m.dir.Broken() != nil && m.disk.Used() > 0 {
				t.Fatalf("limit %d: a repair that failed left %v", limit, m.disk.Files())
			}
			if err := m.begin(); err != nil {
				t.Fatalf("limit %d: %v", limit, err)
			}
			m.append("m", "k9", "during", false)
			m.flush()
			check()
			if err := m.commit(); err != nil {
				t.Fatalf("limit %d: %v", limit, err)
			}
			if m.dir.Broken() != nil {
				t.Fatalf("limit %d: still broken: %v", limit, m.dir.Broken())
			}
			check()
		}
		if !failed {
			t.Logf("%d bytes", limit)
			return
		}
	}
}

// TestKillWhileBreaking kills at each operation of giving up a directory whose
// disk is full.
func TestKillWhileBreaking(t *testing.T) {
	for n := 0; n < 12; n++ {
		m := newMember(t)
		reopen(t, m)
		m.append("m", "k1", "v1", false)
		err := errors.Join(m.begin(), m.commit())
		for _, key := range []string{"k2", "k3", "k4"} {
			m.append("m", key, "v2", false)
			err = errors.Join(err, m.flush(), m.begin())
			m.snapshot.Abort()
		}
		if err != nil {
			t.Fatal(err)
		}
		m.append("m", "k5", "v5", false)
		m.disk.Limit(m.disk.Used() + 1)
		m.disk.KillAfter(n)
		if err := m.flush(); err == nil {
			t.Fatal("the disk is not full")
		}
		m.disk.Kill()
		m.disk.Limit(-1)
		saved, err := m.open()
		if err != nil {
			t.Fatal(err)
		}
		if len(pictureOf(saved)) > 0 && m.matches(saved, m.flushed, len(m.records)) < 0 {
			t.Errorf("kill after %d operations: loaded %v, flushed %v", n, pictureOf(saved), picture(m.records[:m.flushed]))
		}
	}
}
