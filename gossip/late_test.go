package gossip

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var late = Map{Name: "late", Type: "hash", KeyBytes: 8, ValueBytes: 16}

// none is for members that have no map at first.
func none(addrs ...string) func(*Config) {
	return func(c *Config) { c.Maps, c.Seeds = nil, addrs }
}

func filled(name string, members ...*member) func() bool {
	return func() bool {
		for _, m := range members {
			if ok, why := m.Filled(name); ok != (why == "") || !ok {
				return false
			}
		}
		return true
	}
}

// seen returns what a member says of another one.
func seen(m *member, node string) Member {
	for _, o := range m.Members() {
		if o.Node == node {
			return o
		}
	}
	return Member{}
}

func TestLateMapIsFilled(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		both := func(addrs ...string) func(*Config) {
			return func(c *Config) { c.Maps, c.Seeds = []Map{flows, late}, addrs }
		}
		a, b := w.start("a", addrA, both()), w.start("b", addrB, both(addrA))
		c := w.start("c", addrC, none(addrA))
		within(t, 3*time.Second, "three members", w.sees(3))
		within(t, 3*time.Second, "ready", ready(a, b, c))
		within(t, 3*time.Second, "filled", filled("late", a, b))
		a.replica.fill("late", 20_000, 1)
		within(t, time.Minute, "a and b equal", same("late", a, b))
		within(t, time.Minute, "all in sync", func() bool {
			return seen(a, "c").InSync && seen(b, "c").InSync && seen(c, "a").InSync && seen(c, "b").InSync
		})
		if ok, why := c.Filled("late"); ok || !strings.Contains(why, "not replicated here") {
			t.Errorf("a map that is not here is filled: %v, %q", ok, why)
		}
		if alive, left := c.Taking("late"); len(alive)+len(left) > 0 {
			t.Errorf("in a map that is not here take part %v, %v", alive, left)
		}
		sessions := c.Stats().SyncSessions
		c.replica.create(late)
		c.replica.fill("late", 500, 3)
		if err := c.Add(late); err != nil {
			t.Fatal(err)
		}
		for _, node := range []string{"a", "b"} {
			if o := seen(c, node); o.InSync || !slices.Equal(o.Differ, []string{"late"}) {
				t.Errorf("right after the map was added %s is in sync %v, maps differ %q", node, o.InSync, o.Differ)
			}
		}
		if ok, why := c.Filled("late"); ok || !strings.Contains(why, "no whole exchange of the map") {
			t.Errorf("filled at once: %v, %q", ok, why)
		}
		if ok, why := c.Ready(); !ok {
			t.Errorf("not ready for the maps it had: %q", why)
		}
		t.Log("filled in", within(t, 2*time.Second, "filled", filled("late", c)))
		if n := c.len("late"); n != 20_500 {
			t.Errorf("filled with %d entries, want 20500", n)
		}
		if n := c.Stats().SyncSessions - sessions; n > 3 { // one may cross another
			t.Errorf("%d sessions to fill one map", n)
		}
		if n := c.Stats().SyncEntriesIn; n > 20_000 {
			t.Errorf("%d entries came to fill a map with 20000", n)
		}
		t.Log("equal in", within(t, time.Minute, "all equal", func() bool {
			for _, m := range []*member{a, b} {
				alive, _ := m.Taking("late")
				_, knows := alive["c"]
				if inSync := seen(m, "c").InSync; knows && inSync && !same("late", m, c)() {
					t.Errorf("%s takes c for in sync: %+v", m.node, seen(m, "c"))
				}
			}
			return same("late", a, b, c)()
		}))
		for i, m := range w.members {
			m.put("late", key(i), value(i))
			within(t, 20*time.Millisecond, "spread", same("late", a, b, c))
		}
		within(t, time.Minute, "all in sync", func() bool {
			return seen(a, "c").InSync && seen(b, "c").InSync && seen(c, "a").InSync && seen(c, "b").InSync
		})
		if alive, _ := a.Taking("late"); len(alive) != 2 {
			t.Errorf("in the map take part %v", alive)
		}
	})
}

// Members that know a late map from nobody are not kept waiting, and of two that
// have it since the same moment each gets what the other one has before it counts as
// filled.
func TestLateMapOfAll(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a, b, c := w.start("a", addrA, none()), w.start("b", addrB, none(addrA)), w.start("c", addrC, none(addrA))
		within(t, 3*time.Second, "three members", w.sees(3))
		within(t, 3*time.Second, "ready", ready(a, b, c))
		for i, m := range w.members {
			m.replica.create(late)
			m.replica.fill("late", 100, i)
		}
		for _, m := range []*member{b, c} {
			if err := m.Add(late); err != nil {
				t.Fatal(err)
			}
		}
		begin := time.Now()
		for pending := []*member{b, c}; len(pending) > 0; <-time.After(100 * time.Microsecond) {
			pending = slices.DeleteFunc(pending, func(m *member) bool {
				ok, _ := m.Filled("late")
				if n := m.len("late"); ok && n != 200 {
					t.Errorf("%s filled with %d entries, want 200", m.node, n)
				}
				return ok
			})
			if time.Since(begin) > 3*time.Second {
				t.Fatal("not filled")
			}
		}
		t.Log("filled in", time.Since(begin))
		if err := a.Add(late); err != nil {
			t.Fatal(err)
		}
		t.Log("filled in", within(t, 3*time.Second, "filled", filled("late", a)))
		within(t, time.Second, "all equal", same("late", a, b, c))
		alone := Map{Name: "alone", Type: "hash", KeyBytes: 1}
		a.replica.create(alone)
		if err := a.Add(alone); err != nil {
			t.Fatal(err)
		}
		if ok, why := a.Filled("alone"); ok || !strings.Contains(why, "has not said yet") {
			t.Errorf("alone with a map before anybody was asked: %v, %q", ok, why)
		}
		t.Log("alone with it after", within(t, time.Second, "filled", filled("alone", a)))
	})
}

// Who can't be reached when a map is added hears of it soon after.
func TestLateMapDuringACut(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, unsynced())
		b := w.start("b", addrB, func(c *Config) { unsynced(addrA)(c); c.Maps = []Map{late} })
		within(t, 3*time.Second, "ready", ready(a, b))
		<-time.After(10 * time.Second)
		b.replica.fill("late", 100, 1)
		w.net.Partition([]string{addrA}, []string{addrB})
		a.replica.create(late)
		a.replica.fill("late", 100, 2)
		if err := a.Add(late); err != nil {
			t.Fatal(err)
		}
		<-time.After(2 * time.Second)
		if ok, _ := a.Filled("late"); ok {
			t.Error("filled by nobody")
		}
		w.net.Heal()
		t.Log("filled in", within(t, 15*time.Second, "filled", filled("late", a)))
		within(t, time.Second, "equal", same("late", a, b))
		if n := b.len("late"); n != 200 {
			t.Errorf("%d entries, want 200", n)
		}
	})
}

// A member on its own is filled at once, before Run and after it too.
func TestLateMapOfALoneMember(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a, err := w.open("a", addrA, none())
		if err != nil {
			t.Fatal(err)
		}
		a.replica.create(late)
		if err := a.Add(late); err != nil {
			t.Fatal(err)
		}
		if ok, why := a.Filled("late"); ok || why == "" {
			t.Errorf("filled before it runs: %v, %q", ok, why)
		}
		a.run()
		within(t, time.Second, "filled", filled("late", a))
		a.replica.create(flows)
		if err := a.Add(flows); err != nil {
			t.Fatal(err)
		}
		if ok, why := a.Filled("flows"); !ok {
			t.Errorf("alone, and waits: %s", why)
		}
	})
}

// Who had the map and is dead may just be cut off: it is waited for.
func TestLateMapOfTheDead(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, none())
		b := w.start("b", addrB, func(c *Config) { c.Maps, c.Seeds = []Map{late}, []string{addrA} })
		within(t, 3*time.Second, "ready", ready(a, b))
		b.replica.fill("late", 100, 1)
		w.net.Partition([]string{addrA}, []string{addrB})
		within(t, time.Minute, "b dead", func() bool { return stateOf(a, "b") == StateDead })
		a.replica.create(late)
		if err := a.Add(late); err != nil {
			t.Fatal(err)
		}
		<-time.After(10 * time.Minute)
		if ok, why := a.Filled("late"); ok || !strings.Contains(why, "member b, which has the map, is dead") {
			t.Errorf("filled %v, %q", ok, why)
		}
		w.net.Heal()
		t.Log("filled in", within(t, time.Minute, "filled", filled("late", a)))
		if n := a.len("late"); n != 100 {
			t.Errorf("filled with %d entries", n)
		}
		// Not for ever.
		w.kill(b)
		within(t, time.Minute, "b dead", func() bool { return stateOf(a, "b") == StateDead })
		if ok, _ := a.Filled("late"); !ok {
			t.Error("what was filled is not any more")
		}
	})
}

// In a large cluster a late map is filled once, and not passed on to all others.
func TestLateMapIsNotPassedOn(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		const n = million / 50
		for i := range 36 {
			w.start(fmt.Sprintf("a%02d", i), fmt.Sprintf("10.0.1.%d:7946", i+1), func(c *Config) {
				if quiet("10.0.1.1:7946")(c); i == 7 {
					c.Maps = nil
				}
			})
		}
		within(t, 2*time.Minute, "members", w.sees(36))
		within(t, 30*time.Second, "ready", ready(w.members...))
		<-time.After(10 * time.Second)
		seven := w.members[7]
		for _, m := range slices.Delete(slices.Clone(w.members), 7, 8) {
			m.write(0, n, 1)
		}
		seven.replica.create(wide)
		if err := seven.Add(wide); err != nil {
			t.Fatal(err)
		}
		t.Log("filled in", within(t, time.Minute, "filled", filled("wide", seven)))
		<-time.After(time.Minute)
		if s := seven.Stats(); s.RumorsSent > n/10 || s.SyncEntriesIn > 2*n {
			t.Errorf("got %d entries, told %d of %d on", s.SyncEntriesIn, s.RumorsSent, n)
		}
		if got := seven.len("wide"); got != n {
			t.Errorf("%d entries, want %d", got, n)
		}
		seven.put("wide", make([]byte, 16), make([]byte, 64))
		within(t, time.Second, "one more entry reaches all", same("wide", w.members...))
	})
}

// A Replica learns who is new to a map, which is not who is new to the cluster.
func TestJoiningIsAboutAMap(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, func(c *Config) { c.Maps = []Map{flows, late} })
		b := w.start("b", addrB, seeds(addrA))
		within(t, 3*time.Second, "ready", ready(a, b))
		within(t, 3*time.Second, "filled", filled("flows", a, b))
		<-time.After(30 * time.Second)
		b.put("flows", key(1), value(1))
		within(t, time.Second, "spread", same("flows", a, b))
		b.replica.create(late)
		b.replica.fill("late", 10, 1)
		if err := b.Add(late); err != nil {
			t.Fatal(err)
		}
		within(t, time.Second, "filled", filled("late", b))
		within(t, time.Minute, "in sync", func() bool { return seen(a, "b").InSync })
		b.put("late", key(2), value(2))
		within(t, time.Second, "spread", same("late", a, b))
		a.replica.mu.Lock()
		defer a.replica.mu.Unlock()
		if got := a.replica.joining["flows"] + " " + a.replica.joining["late"]; got != "old new,old" {
			t.Errorf("the member was %q, want first new to the late map only", got)
		}
	})
}
