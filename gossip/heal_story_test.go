package gossip

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

const addrD = "10.0.0.4:7946"

// stop closes members as a crash does.
func (w *world) kill(members ...*member) {
	for _, m := range members {
		w.net.Kill(m.addr)
		m.stop()
		if err := m.Close(); err != nil {
			w.t.Error(err)
		}
	}
	w.members = slices.DeleteFunc(w.members, func(m *member) bool { return slices.Contains(members, m) })
}

// patient makes dials behave as TCP's.
func patient(known ...string) func(*Config) {
	return func(c *Config) {
		c.Seeds = known
		c.Transport = newSynTransport(c.Transport)
	}
}

// TestSeedsDeadOldMembersAlive: the only seed is dead for good, and two members
// that knew each other through it meet again after hours.
func TestSeedsDeadOldMembersAlive(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, patient())
		b := w.start("b", addrB, patient(addrA))
		c := w.start("c", addrC, patient(addrA))
		within(t, 3*time.Second, "three members", w.sees(3))
		w.kill(a)
		w.net.Partition([]string{addrB}, []string{addrC})
		<-time.After(2*time.Hour + 10*time.Minute)
		w.net.Heal()
		t.Log("met in", within(t, healBound, "two members", func() bool { return stateOf(b, "c") == StateAlive && stateOf(c, "b") == StateAlive }))
	})
}

// TestBackAfterLeaving: a member that nobody has as a seed, and that has itself
// only a dead one, is found by those it left.
func TestBackAfterLeaving(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, nil)
		b := w.start("b", addrB, seeds(addrA))
		c := w.start("c", addrC, seeds(addrB))
		within(t, 3*time.Second, "three members", w.sees(3))
		if err := a.Leave(t.Context()); err != nil {
			t.Error(err)
		}
		w.kill(a, b)
		<-time.After(90 * time.Minute)
		a = w.start("a", addrA, nil)
		t.Log("met in", within(t, healBound, "two members", func() bool { return stateOf(a, "c") == StateAlive && stateOf(c, "a") == StateAlive }))
	})
}

// TestIslandsFormedAtStart: the seeds are down when the others start, and then on two sides of
// a cut.
func TestIslandsFormedAtStart(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		var all []*member
		for i := range 6 {
			all = append(all, w.start(fmt.Sprint("n", i), fmt.Sprintf("10.0.1.%d:7946", i+1), patient(addrA, addrB)))
		}
		w.net.Partition([]string{all[0].addr, all[1].addr, all[2].addr, addrA}, []string{all[3].addr, all[4].addr, all[5].addr, addrB})
		<-time.After(15 * time.Minute)
		w.start("a", addrA, patient())
		w.start("b", addrB, patient())
		t.Log("two islands in", within(t, healBound, "two islands", w.sees(4)))
		<-time.After(15 * time.Minute)
		w.net.Heal()
		t.Log("one cluster in", within(t, healBound, "all", w.sees(8)))
	})
}

// names is a name server.
type names struct {
	mu    sync.Mutex
	addrs map[string][]netip.Addr
	hangs bool
}

func newNames() *names { return &names{addrs: make(map[string][]netip.Addr)} }

func (n *names) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	hangs, addrs := n.hangs, n.addrs[host]
	n.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if len(addrs) > 0 {
		return addrs, nil
	}
	return nil, errors.New("no such host")
}

func (n *names) set(host string, addrs ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addrs[host] = nil
	for _, a := range addrs {
		n.addrs[host] = append(n.addrs[host], netip.MustParseAddrPort(a).Addr())
	}
}

func (n *names) hang() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hangs = true
}

// startNamed starts a member that resolves by n.
func (w *world) startNamed(n *names, node, addr string, change func(*Config)) *member {
	w.t.Helper()
	m, err := w.open(node, addr, change)
	if err != nil {
		w.t.Fatal(err)
	}
	m.lookup = n.lookup
	m.run()
	return m
}

// TestNamesThatChange: at start the name means each member itself only, then
// all; then the seed restarts at another address behind its name; and while the
// name server can't be reached, a name means what it meant.
func TestNamesThatChange(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		na, nb := newNames(), newNames()
		na.set("all.example", addrA)
		nb.set("all.example", addrB)
		a := w.startNamed(na, "a", addrA, patient("all.example"))
		b := w.startNamed(nb, "b", addrB, patient("all.example"))
		<-time.After(10 * time.Minute)
		within(t, time.Second, "alone and ready", ready(a, b))
		na.set("all.example", addrA, addrB)
		t.Log("met in", within(t, healBound, "two members", w.sees(2)))

		nb.set("all.example", addrC)
		w.kill(a)
		c := w.startNamed(na, "a", addrC, nil)
		c.put("flows", key(1), value(1))
		t.Log("restarted elsewhere, known in", within(t, retryMax+2*time.Second, "the new address", same("flows", b, c)))
		if got := b.Conflicts(); len(got) > 0 {
			t.Errorf("conflicts %q", got)
		}

		w.net.Partition([]string{addrB}, []string{addrC})
		nb.hang()
		<-time.After(time.Hour)
		w.net.Heal()
		t.Log("met without names in", within(t, healBound, "two members", w.sees(2)))
		w.members = append(w.members[:0], b, c)
	})
}

// TestSeedWithADeadAddress: a name with several addresses works as long as one
// of them does, and the log is quiet.
func TestSeedWithADeadAddress(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		n := newNames()
		n.set("all.example", addrA, addrB, addrC, addrD)
		for i, addr := range []string{addrA, addrB} {
			w.startNamed(n, fmt.Sprint("n", i), addr, patient("all.example"))
		}
		within(t, 5*time.Second, "two members", w.sees(2))
		<-time.After(10 * time.Minute)
		for _, m := range w.members {
			if n := m.logged.count("seed"); n > 2 {
				t.Errorf("%d log lines about seeds:\n%s", n, m.logged)
			}
		}
	})
}

// TestKnown: a member that starts again with the addresses of its former run
// needs no seed; what it then tries is bounded, and so is how often.
func TestKnown(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, patient())
		b := w.start("b", addrB, patient(addrA))
		c := w.start("c", addrC, patient(addrA))
		within(t, 3*time.Second, "three members", w.sees(3))
		w.kill(c)
		within(t, time.Minute, "lost", func() bool { return stateOf(a, "c") == StateDead })
		want := []string{addrB, addrC} // the living first
		if got := a.Known(); !slices.Equal(got, want) {
			t.Errorf("known %q, want %q", got, want)
		}
		known := a.Known()
		for i := range 300 {
			known = append(known, fmt.Sprintf("10.9.%d.%d:7946", i/250, i%250+1))
		}
		w.kill(a)
		<-time.After(2 * time.Hour)
		again := w.start("a", addrA, func(c *Config) { patient()(c); c.Known = known })
		within(t, 10*time.Millisecond, "ready without seeds", ready(again))
		within(t, healBound, "met", func() bool { return stateOf(again, "b") == StateAlive && stateOf(b, "a") == StateAlive })
		if got := again.Known(); len(got) != maxKnown || got[0] != addrB {
			t.Errorf("%d known, first %q", len(got), got[0])
		}
		before := again.Stats().JoinAttempts
		<-time.After(10 * time.Minute)
		if n := again.Stats().JoinAttempts - before; n < 256 || n > 10*60/5*triesAtOnce {
			t.Errorf("%d tries in ten minutes", n)
		}
		var faults []string
		cfg := DefaultConfig()
		cfg.Node, cfg.Known = "x", []string{"10.0.0.1", "10.0.0.1:1"}
		if err := cfg.Validate(); err != nil {
			faults = strings.Split(err.Error(), "\n")
		}
		if len(faults) != 1 || !strings.Contains(faults[0], `known member "10.0.0.1": want IP:PORT`) {
			t.Errorf("faults %q", faults)
		}
	})
}

// natTransport reaches addresses by others.
type natTransport struct {
	*synTransport
	to map[string]string
}

func (n natTransport) DialAddressTimeout(addr memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return n.DialTimeout(cmp.Or(n.to[addr.Addr], addr.Addr), timeout)
}

// TestSeedByAnotherAddress: a seed that is ourselves or a member, by an address
// that nobody advertises, is no member ever: it is asked now and then, and a
// cut heals through it.
func TestSeedByAnotherAddress(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		const service = "10.99.0.1:7946"
		through := func(c *Config) {
			c.Seeds = []string{service}
			c.Transport = natTransport{newSynTransport(c.Transport), map[string]string{service: addrA}}
		}
		a := w.start("a", addrA, through)
		b := w.start("b", addrB, through)
		within(t, 5*time.Second, "two members", w.sees(2))
		before := []uint64{a.Stats().JoinAttempts, b.Stats().JoinAttempts}
		<-time.After(10 * time.Minute)
		for i, m := range []*member{a, b} {
			if n := m.Stats().JoinAttempts - before[i]; n < 20 || n > 10*60/15+3 {
				t.Errorf("%s tried %d times in ten minutes", m.addr, n)
			}
		}
		w.net.Partition([]string{addrA}, []string{addrB})
		<-time.After(10 * time.Minute)
		w.net.Heal()
		t.Log("met in", within(t, healBound, "two members", w.sees(2)))
	})
}

// TestManyDeadAddresses: dozens of addresses of members that are no more do not
// keep those from being tried that are to be.
func TestManyDeadAddresses(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		var dead []string
		for i := range 20 {
			dead = append(dead, fmt.Sprintf("10.9.0.%d:7946", i+1))
		}
		for i, addr := range []string{addrA, addrB, addrC} {
			w.start(fmt.Sprint("n", i), addr, func(c *Config) { patient(addrA)(c); c.Known = dead })
		}
		within(t, 10*time.Second, "three members", w.sees(3))
		var worst time.Duration
		for range 5 {
			w.net.Partition([]string{addrA}, []string{addrB, addrC})
			<-time.After(10 * time.Minute)
			w.net.Heal()
			worst = max(worst, within(t, healBound, "three members", w.sees(3)))
		}
		t.Log("worst", worst)
	})
}
