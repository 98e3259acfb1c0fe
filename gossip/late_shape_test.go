package gossip

import (
	"strings"
	"testing"
	"time"
)

// It is the map that came later that is refused, though its member came first.
func TestLateMapOfAnotherShape(t *testing.T) {
	for name, behind := range map[string]time.Duration{"clocks agree": 0, "clock behind": 5 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			virtual(t, lan, func(t *testing.T, w *world) {
				a := w.start("a", addrA, func(c *Config) {
					c.Maps = []Map{flows}
					c.Now = func() time.Time { return time.Now().Add(-behind) }
				})
				<-time.After(time.Minute)
				both := func(c *Config) { c.Maps, c.Seeds = []Map{flows, late}, []string{addrA} }
				b, c := w.start("b", addrB, both), w.start("c", addrC, both)
				within(t, 3*time.Second, "three members", w.sees(3))
				within(t, 3*time.Second, "ready", ready(a, b, c))
				within(t, 3*time.Second, "filled", filled("late", b, c))
				broad := late
				broad.ValueBytes = 32
				a.replica.create(broad)
				if err := a.Add(broad); err != nil {
					t.Fatal(err)
				}
				within(t, time.Second, "refused", func() bool { return a.Refused()["late"] != "" })
				why := a.Refused()["late"]
				for _, part := range []string{"value 16 bytes", "value 32 bytes", "which came earlier"} {
					if !strings.Contains(why, part) {
						t.Errorf("refusal %q does not say %q", why, part)
					}
				}
				if ok, reason := a.Filled("late"); ok || reason != why {
					t.Errorf("filled %v, %q", ok, reason)
				}
				within(t, 3*time.Second, "the others tell", func() bool { return len(b.Conflicts()) == 1 && len(c.Conflicts()) == 1 })
				if said := b.Conflicts()[0]; !strings.Contains(said, "member a, which came later") {
					t.Errorf("conflict %q", said)
				}
				a.put("late", key(7), make([]byte, 32))
				b.put("late", key(1), value(1))
				a.put("flows", key(1), value(1))
				within(t, time.Second, "the first map", same("flows", a, b, c))
				within(t, time.Second, "the other map", same("late", b, c))
				<-time.After(5 * time.Minute)
				if len(b.Refused())+len(c.Refused()) > 0 || a.Refused()["late"] == "" || a.len("late") != 1 || b.len("late") != 1 {
					t.Errorf("refused by a %q, b %q, c %q; a has %d, b %d", a.Refused(), b.Refused(), c.Refused(), a.len("late"), b.len("late"))
				}
			})
		})
	}
}

// Both add it at the same time in two shapes: one of them is refused, by itself.
func TestLateMapsOfTwoShapesAtOnce(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a, b := w.start("a", addrA, none()), w.start("b", addrB, none(addrA))
		within(t, 3*time.Second, "ready", ready(a, b))
		broad := late
		broad.ValueBytes = 32
		a.replica.create(late)
		b.replica.create(broad)
		if err := a.Add(late); err != nil {
			t.Fatal(err)
		}
		if err := b.Add(broad); err != nil {
			t.Fatal(err)
		}
		within(t, 3*time.Second, "one refused", func() bool { return len(a.Refused())+len(b.Refused()) == 1 })
		<-time.After(time.Minute)
		if len(a.Refused())+len(b.Refused()) != 1 {
			t.Errorf("refused by a %q, by b %q", a.Refused(), b.Refused())
		}
	})
}
