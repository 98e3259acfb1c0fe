package gossip

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestDuplicateNodeID(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, nil)
		b := w.start("b", addrB, seeds(addrA))
		within(t, 3*time.Second, "two members", w.sees(2))
		within(t, 3*time.Second, "ready", ready(a, b))
		<-time.After(time.Minute)
		twin := w.start("b", addrC, seeds(addrA))
		var err error
		within(t, 10*time.Second, "Run ends", func() bool {
			select {
			case err = <-twin.ran:
				return true
			default:
				return false
			}
		})
		if !errors.Is(err, ErrDuplicateNode) || !strings.Contains(err.Error(), addrB) || !strings.Contains(err.Error(), addrC) {
			t.Errorf("error %v, want a duplicate with both addresses", err)
		}
		for _, m := range []*member{a, b} {
			within(t, 5*time.Second, "a report", func() bool { return len(m.Conflicts()) == 1 })
			if n := m.logged.count("duplicate node ID"); n != 1 {
				t.Errorf("%d log lines about the duplicate, want 1:\n%s", n, m.logged)
			}
		}
		if err := twin.Close(); err != nil {
			t.Error(err)
		}
		within(t, 60*time.Second, "the report ends", func() bool { return len(a.Conflicts()) == 0 && len(b.Conflicts()) == 0 })
		a.put("flows", key(1), value(1))
		within(t, time.Second, "undisturbed", same("flows", a, b))
	})
}

func TestRestartIsNoDuplicate(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, nil)
		b := w.start("b", addrB, seeds(addrA))
		within(t, 3*time.Second, "two members", w.sees(2))
		w.net.Kill(addrB)
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		w.members = w.members[:1]
		for i, addr := range []string{addrB, addrC} { // the same address, then another
			again := w.start("b", addr, seeds(addrA))
			within(t, 5*time.Second, "ready", ready(again))
			within(t, time.Second, "one b", func() bool { return i > 0 || alive(a) == 2 })
			<-time.After(20 * time.Second)
			select {
			case err := <-again.ran:
				t.Errorf("at %s: Run ended: %v", addr, err)
			default:
			}
			if got := append(a.Conflicts(), again.Conflicts()...); len(got) > 0 {
				t.Errorf("at %s: %q", addr, got)
			}
			w.net.Kill(addr)
			if err := again.Close(); err != nil {
				t.Error(err)
			}
			w.members = w.members[:1]
		}
	})
}

func TestShapeConflict(t *testing.T) {
	other := Map{Name: "other", Type: "hash", KeyBytes: 8, ValueBytes: 16}
	broad := flows
	broad.ValueBytes = 32
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, func(c *Config) { c.Maps = []Map{flows, other} })
		b := w.start("b", addrB, func(c *Config) { c.Maps = []Map{flows, other}; c.Seeds = []string{addrA} })
		within(t, 3*time.Second, "ready", ready(a, b))
		c := w.start("c", addrC, func(c *Config) { c.Maps = []Map{broad, other}; c.Seeds = []string{addrA} })
		within(t, 5*time.Second, "refused", func() bool { return c.Refused()["flows"] != "" })
		within(t, 5*time.Second, "ready", ready(c))
		why := c.Refused()["flows"]
		for _, part := range []string{"value 16 bytes", "value 32 bytes", "member a"} {
			if !strings.Contains(why, part) {
				t.Errorf("refusal %q does not say %q", why, part)
			}
		}
		within(t, 30*time.Second, "a tells", func() bool { return len(a.Conflicts()) == 1 && len(b.Conflicts()) == 1 })
		if len(a.Refused()) != 0 {
			t.Errorf("the earlier member refuses %v", a.Refused())
		}
		c.put("flows", key(7), bytes.Repeat([]byte{7}, 32))
		c.put("other", key(1), value(1))
		a.put("flows", key(1), value(1))
		within(t, time.Second, "the other map", same("other", a, b, c))
		within(t, time.Second, "the first map", same("flows", a, b))
		<-time.After(time.Minute)
		if a.len("flows") != 1 || c.len("flows") != 1 {
			t.Errorf("entries crossed: a has %d, c %d", a.len("flows"), c.len("flows"))
		}
		// The refusal ends with those it is about, not with one of them.
		w.net.Kill(addrA)
		_ = a.Close()
		within(t, time.Minute, "a gone", func() bool { return stateOf(c, "a") == StateDead })
		if c.Refused()["flows"] == "" || len(b.Refused()) != 0 {
			t.Errorf("after a left: c refuses %v, b %v", c.Refused(), b.Refused())
		}
		w.net.Kill(addrB)
		_ = b.Close()
		within(t, time.Minute, "alone", func() bool { return stateOf(c, "b") == StateDead })
		if len(c.Refused()) != 0 {
			t.Errorf("alone and still refused: %v", c.Refused())
		}
	})
}

func TestForeignClustersAndKeys(t *testing.T) {
	keyed := func(k byte) func(*Config) {
		return func(c *Config) { c.Keyring = [][]byte{bytes.Repeat([]byte{k}, 32)}; c.Seeds = []string{addrA} }
	}
	for name, change := range map[string]func(*Config){
		"cluster": func(c *Config) { c.Cluster = "another"; c.Seeds = []string{addrA} },
		"key":     keyed(2),
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, lan, func(t *testing.T, w *world) {
				home := func(c *Config) {}
				if name == "key" {
					home = keyed(1)
				}
				a := w.start("a", addrA, func(c *Config) { home(c); c.Seeds = nil })
				b := w.start("b", addrB, home)
				if name == "cluster" {
					_ = b.Close()
				} else {
					within(t, 3*time.Second, "same key", func() bool { return alive(a) == 2 && alive(b) == 2 })
				}
				before := alive(a)
				c := w.start("c", addrC, change)
				<-time.After(time.Minute)
				if alive(a) != before || alive(c) != 1 {
					t.Errorf("a sees %d, c %d", alive(a), alive(c))
				}
				if ok, why := c.Ready(); ok || len(why) != 2 || !strings.Contains(why[1], "cluster name and key") {
					t.Errorf("ready %v, %q", ok, why)
				}
				if n := a.logged.count("level=WARN msg=network"); n == 0 || n > 20 {
					t.Errorf("%d warnings in a minute, want some:\n%s", n, a.logged)
				}
			})
		})
	}
}

func TestKeysChangeWithoutInterruption(t *testing.T) {
	one, two := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 16)
	virtual(t, lan, func(t *testing.T, w *world) {
		keyed := func(c *Config) { c.Keyring = [][]byte{one} }
		a := w.start("a", addrA, keyed)
		b := w.start("b", addrB, func(c *Config) { keyed(c); c.Seeds = []string{addrA} })
		within(t, 3*time.Second, "ready", ready(a, b))
		for i, ring := range [][][]byte{{one, two}, {two, one}, {two}} {
			for j, m := range []*member{a, b} {
				if err := m.SetKeyring(ring); err != nil {
					t.Fatal(err)
				}
				a.put("flows", key(10*i+j), value(i))
				b.put("flows", key(100+10*i+j), value(i))
				within(t, 50*time.Millisecond, "equal", same("flows", a, b))
			}
		}
		if a.SetKeyring(nil) == nil || a.SetKeyring([][]byte{{1}}) == nil {
			t.Error("a bad keyring was taken")
		}
	})
}
