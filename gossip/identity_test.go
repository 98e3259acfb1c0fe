package gossip

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
)

// talk lets a member change something and waits until another has it; the keys
// are counted on.
func talk(t *testing.T, limit time.Duration, n *int, from, to *member) time.Duration {
	t.Helper()
	*n++
	k := key(1_000_000 + *n)
	from.put("flows", k, value(*n))
	return within(t, limit, fmt.Sprintf("an entry from %s to %s", from.addr, to.addr), func() bool { return to.has("flows", k) })
}

// TestRestartElsewhere: a member that restarts at another address is talked to
// by all within a second, as one member, while its former run is still believed
// alive; and that one is gone soon.
func TestRestartElsewhere(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, patient())
		b := w.start("b", addrB, patient(addrA))
		c := w.start("c", addrC, patient(addrA))
		within(t, 3*time.Second, "three members", w.sees(3))
		within(t, 3*time.Second, "ready", ready(a, b, c))
		<-time.After(20 * time.Second)
		w.kill(b)
		n := 0
		begin := time.Now()
		b = w.start("b", addrD, patient(addrA))
		within(t, time.Second, "ready", ready(b))
		for _, m := range []*member{a, c} {
			talk(t, 3*time.Second, &n, b, m)
			talk(t, 3*time.Second, &n, m, b)
		}
		t.Log("all talk to it after", time.Since(begin))
		t.Log("its former run is gone after", within(t, 30*time.Second, "one b", func() bool {
			return len(a.Members()) == 3 && len(b.Members()) == 3 && len(c.Members()) == 3 && w.sees(3)()
		}))
		for _, m := range w.members {
			if got := m.Conflicts(); len(got) > 0 || m.logged.count("duplicate") > 0 {
				t.Errorf("conflicts %q:\n%s", got, m.logged)
			}
			if slices.Contains(m.Known(), addrB) {
				t.Errorf("%s still wants the former address: %q", m.addr, m.Known())
			}
		}
	})
}

// TestRestartAtOnce: killed and back at the same address within half a second.
func TestRestartAtOnce(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, patient())
		b := w.start("b", addrB, patient(addrA))
		c := w.start("c", addrC, patient(addrA))
		within(t, 3*time.Second, "three members", w.sees(3))
		within(t, 3*time.Second, "ready", ready(a, b, c))
		n := 0
		for round, down := range []time.Duration{0, 100 * time.Millisecond, 500 * time.Millisecond, 500 * time.Millisecond} {
			for i := range 100 {
				b.put("flows", key(1000*round+i), value(i))
			}
			within(t, time.Second, "equal", same("flows", a, b, c))
			w.kill(b)
			for i := range 100 {
				a.put("flows", key(1000*round+500+i), value(i))
			}
			<-time.After(down)
			begin := time.Now()
			b = w.start("b", addrB, patient(addrA))
			for _, m := range []*member{a, c} {
				within(t, 3*time.Second, "the new run", func() bool { return bootOf(m, "b") == b.self.BootID })
				if len(m.Members()) != 3 {
					t.Errorf("%d members, want 3: %+v", len(m.Members()), m.Members())
				}
				talk(t, 3*time.Second, &n, b, m)
				talk(t, 3*time.Second, &n, m, b)
			}
			t.Logf("down %v: all talk to it after %v", down, time.Since(begin))
			within(t, 5*time.Second, "equal", same("flows", a, b, c))
			t.Logf("equal after %v", time.Since(begin))
			if got := a.len("flows"); got != 200*(round+1)+n {
				t.Errorf("%d entries, want %d", got, 200*(round+1)+n)
			}
		}
		<-time.After(time.Minute)
		for _, m := range w.members {
			if got := m.Conflicts(); len(got) > 0 || alive(m) != 3 {
				t.Errorf("conflicts %q, %d alive", got, alive(m))
			}
		}
	})
}

// TestRecycledAddress: the address of a lost seed is taken by a member of
// another cluster, which has as a seed an address of ours: the two stay apart,
// say why, and do not hammer each other; when our member is back it is found.
func TestRecycledAddress(t *testing.T) {
	for name, foreign := range map[string]func(*Config){
		"cluster": func(c *Config) { c.Cluster = "another" },
		"key":     func(c *Config) { c.Keyring = [][]byte{bytes.Repeat([]byte{2}, 32)} },
		"no key":  func(c *Config) { c.Keyring = nil },
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, lan, func(t *testing.T, w *world) {
				ours := func(known ...string) func(*Config) {
					return func(c *Config) {
						patient(known...)(c)
						c.Keyring = [][]byte{bytes.Repeat([]byte{1}, 32)}
					}
				}
				theirs := func(known ...string) func(*Config) {
					return func(c *Config) { ours(known...)(c); foreign(c) }
				}
				a := w.start("a", addrA, ours(addrC))
				b := w.start("b", addrB, ours(addrA))
				c := w.start("c", addrC, ours(addrA))
				within(t, 3*time.Second, "three members", w.sees(3))
				x := w.start("x", addrD, theirs(addrB))
				w.kill(c)
				y := w.start("y", addrC, theirs(addrD))
				within(t, 3*time.Second, "two of theirs", func() bool { return alive(x) == 2 && alive(y) == 2 })
				a.put("flows", key(1), value(1))
				x.put("flows", key(2), value(2))
				before := []uint64{a.Stats().JoinAttempts, b.Stats().JoinAttempts}
				<-time.After(10 * time.Minute)
				for _, m := range w.members {
					if alive(m) != 2 || m.len("flows") != 1 {
						t.Errorf("%s sees %d members and has %d entries", m.addr, alive(m), m.len("flows"))
					}
				}
				if !a.has("flows", key(1)) || !b.has("flows", key(1)) || !x.has("flows", key(2)) || !y.has("flows", key(2)) {
					t.Error("entries crossed")
				}
				for i, m := range []*member{a, b} {
					if n := m.Stats().JoinAttempts - before[i]; n > 10*60/15+1 {
						t.Errorf("%s tried %d times in ten minutes", m.addr, n)
					}
				}
				// a has the address as a seed, b as that of a lost member.
				for m, line := range map[*member]string{a: "same cluster name and key", b: "the address of a lost member answers", x: "same cluster name and key"} {
					if n := m.logged.count(line); n < 1 || n > 4 {
						t.Errorf("%s has %d lines with %q:\n%s", m.addr, n, line, m.logged)
					}
				}
				told := map[string]string{"cluster": otherCluster, "key": otherKey, "no key": otherKey}[name]
				if got, want := b.RefusedSenders(), "what 10.0.0.4 sends "+told; !slices.Contains(got, want) {
					t.Errorf("b tells of %q, want %q", got, want)
				}
				if name == "no key" {
					if got, want := y.RefusedSenders(), "what 10.0.0.1 sends "+encrypted; !slices.Contains(got, want) {
						t.Errorf("y tells of %q, want %q", got, want)
					}
				}
				w.kill(x, y)
				<-time.After(2 * refusedFor)
				if got := b.RefusedSenders(); len(got) != 0 {
					t.Errorf("b tells of %q, which are gone", got)
				}
				c = w.start("c", addrC, ours(addrA))
				t.Log("back in", within(t, healBound, "three members", w.sees(3)))
			})
		})
	}
}

// TestRecycledWithin: the address of a dead member is taken by another member
// of the cluster while the first is still believed alive.
func TestRecycledWithin(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, patient())
		b := w.start("b", addrB, patient(addrA))
		c := w.start("c", addrC, patient(addrA))
		within(t, 3*time.Second, "three members", w.sees(3))
		within(t, 3*time.Second, "ready", ready(a, b, c))
		w.kill(b)
		begin := time.Now()
		d := w.start("d", addrB, patient(addrA))
		n := 0
		within(t, time.Second, "ready", ready(d))
		for _, m := range []*member{a, c} {
			talk(t, 3*time.Second, &n, d, m)
			talk(t, 3*time.Second, &n, m, d)
		}
		t.Log("all talk to it after", time.Since(begin))
		t.Log("the former is dead after", within(t, 40*time.Second, "b dead", func() bool {
			return stateOf(a, "b") == StateDead && stateOf(c, "b") == StateDead
		}))
		<-time.After(10 * time.Minute)
		for _, m := range w.members {
			if got := m.Conflicts(); len(got) > 0 || alive(m) != 3 || stateOf(m, "b") == StateAlive {
				t.Errorf("%s: conflicts %q, %d alive, b %s", m.addr, got, alive(m), stateOf(m, "b"))
			}
		}
		// b comes back elsewhere, and d's address is not mistaken for b's.
		b = w.start("b", addrD, patient(addrA))
		within(t, time.Second, "ready", ready(b))
		talk(t, 3*time.Second, &n, b, d)
		talk(t, 3*time.Second, &n, d, b)
		if got := a.Conflicts(); len(got) > 0 {
			t.Errorf("conflicts %q", got)
		}
	})
}

// TestTwinsOnTwoIslands: one ID on both sides of a cut is reported by all when
// they meet, and data converge all the same.
func TestTwinsOnTwoIslands(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		w.net.Partition([]string{addrA, addrB}, []string{addrC, addrD})
		a := w.start("a", addrA, patient(addrC))
		b := w.start("b", addrB, patient(addrA))
		c := w.start("c", addrC, patient(addrA))
		twin := w.start("b", addrD, patient(addrC))
		<-time.After(10 * time.Minute)
		b.put("flows", key(1), value(1))
		twin.put("flows", key(1), value(2))
		w.net.Heal()
		within(t, healBound, "reported", func() bool {
			for _, m := range []*member{a, b, c, twin} {
				if !strings.Contains(strings.Join(m.Conflicts(), " "), `node ID "b"`) {
					return false
				}
			}
			return true
		})
		within(t, healBound, "equal", same("flows", a, b, c, twin))
		select {
		case err := <-b.ran:
			t.Error("ended:", err)
		case err := <-twin.ran:
			t.Error("ended:", err)
		default:
		}
	})
}

func bootOf(m *member, node string) string {
	for _, o := range m.Members() {
		if o.Node == node && o.State == StateAlive {
			return o.BootID
		}
	}
	return ""
}

func (m *member) has(name string, key []byte) (ok bool) {
	_ = m.Read(context.Background(), name, func(s *crdt.Store) { e, found := s.Get(key); ok = found && !e.Deleted })
	return ok
}
