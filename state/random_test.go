package state_test

import (
	"errors"
	"math/rand/v2"
	"syscall"
	"testing"

	"pgregory.net/rapid"
)

// TestRandomCrashes holds any order of calls, kills, power cuts and full disks
// against a list of what was written.
func TestRandomCrashes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMember(nil)
		if _, err := m.open(); err != nil {
			t.Fatal(err)
		}
		full := false
		must := func(err error) {
			if err != nil && !(full && errors.Is(err, syscall.ENOSPC)) && m.dir.Broken() == nil {
				t.Fatalf("%v\n%s", err, m.logged)
			}
		}
		reopen := func(low int) {
			broken := m.dir.Broken()
			saved, err := m.open()
			if err != nil {
				t.Fatal(err)
			}
			if broken != nil {
				m.records, low = nil, 0
			}
			n := m.matches(saved, low, len(m.records))
			if n < 0 {
				t.Fatalf("loaded %v, want at least %v; broken: %v\n%s", pictureOf(saved), picture(m.records[:low]), broken, m.logged)
			}
			m.records, m.flushed, m.synced = m.records[:n], n, min(m.synced, n)
		}
		under := func(t *rapid.T, want bool) {
			if (m.snapshot != nil) != want {
				t.Skip()
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				m.append(rapid.SampledFrom([]string{"m", "n"}).Draw(t, "map"), rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key"),
					rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "value"), rapid.Bool().Draw(t, "deleted"))
			},
			"meta":   func(t *rapid.T) { m.meta(rapid.SampledFrom([]string{"p", "q"}).Draw(t, "blob")) },
			"flush":  func(t *rapid.T) { must(m.flush()) },
			"sync":   func(t *rapid.T) { must(m.sync()) },
			"begin":  func(t *rapid.T) { under(t, false); must(m.begin()) },
			"add":    func(t *rapid.T) { under(t, true); m.add(1) },
			"commit": func(t *rapid.T) { under(t, true); must(m.commit()) },
			"abort":  func(t *rapid.T) { under(t, true); m.snapshot.Abort(); m.snapshot = nil },
			"close": func(t *rapid.T) {
				n := len(m.records)
				must(m.dir.Close())
				m.flushed, m.synced = n, n
				reopen(n)
			},
			"kill": func(t *rapid.T) {
				m.disk.Kill()
				reopen(m.flushed)
			},
			"power cut": func(t *rapid.T) {
				m.disk.PowerCut(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "dice"), 0)))
				reopen(m.synced)
			},
			"full": func(t *rapid.T) {
				full = true
				m.disk.Limit(m.disk.Used() + rapid.IntRange(0, 300).Draw(t, "room"))
			},
			"room": func(t *rapid.T) {
				full = false
				m.disk.Limit(-1)
			},
		})
	})
}
