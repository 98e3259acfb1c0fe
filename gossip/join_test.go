package gossip

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestStartedAtTheSameTime(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		var all []*member
		addrs := []string{addrA, addrB, addrC, "10.0.0.4:7946", "10.0.0.5:7946"}
		for i, addr := range addrs {
			m, err := w.open(fmt.Sprint("n", i), addr, seeds(addrs...)) // own address among them
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, m)
		}
		for i, m := range all {
			m.fill("flows", 100, i)
			m.run()
		}
		t.Log("formed in", within(t, 2*time.Second, "five members", w.sees(5)))
		t.Log("ready in", within(t, 3*time.Second, "ready", ready(all...)))
		t.Log("equal in", within(t, 60*time.Second, "equal", same("flows", all...)))
	})
}

func TestSeedThatComesLater(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		b := w.start("b", addrB, seeds(addrA))
		<-time.After(5 * time.Minute)
		if ok, why := b.Ready(); ok || !strings.Contains(strings.Join(why, " "), addrA) {
			t.Errorf("ready %v, reasons %q; want the seed named", ok, why)
		}
		a := w.start("a", addrA, nil)
		within(t, 50*time.Second, "met", w.sees(2))
		within(t, 3*time.Second, "ready", ready(a, b))
		if n := b.logged.count("seed does not work"); n != 1 {
			t.Errorf("%d warnings about the seed in five minutes, want 1:\n%s", n, b.logged)
		}
	})
}

func TestSeedOnlyOurselves(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, seeds(addrA))
		within(t, time.Second, "ready", ready(a))
		a.put("flows", key(1), value(1))
		if n := a.Stats().RumorsWaiting; n != 0 {
			t.Errorf("a lone member keeps %d rumors", n)
		}
	})
}

func TestSeedNames(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, nil)
		b, err := w.open("b", addrB, seeds("seed.example", "gone.example:99"))
		if err != nil {
			t.Fatal(err)
		}
		var fail atomic.Bool
		fail.Store(true)
		b.lookup = func(_ context.Context, host string) ([]netip.Addr, error) {
			if host == "gone.example" || fail.Load() {
				return nil, fmt.Errorf("lookup %s: no such host", host)
			}
			return []netip.Addr{netip.MustParseAddr("10.0.0.1")}, nil
		}
		b.run()
		<-time.After(2 * time.Second)
		_, why := b.Ready()
		if got := strings.Join(why, "\n"); !strings.Contains(got, "seed.example: does not resolve: lookup seed.example: no such host") {
			t.Errorf("reasons:\n%s", got)
		}
		fail.Store(false)
		within(t, time.Minute, "ready", ready(a, b))
		<-time.After(5 * time.Minute)
		if n := b.logged.count("seed does not work"); n != 2 {
			t.Errorf("%d warnings, want one a seed:\n%s", n, b.logged)
		}
	})
}
