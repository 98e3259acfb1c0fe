package gossip

import (
	"slices"
	"testing"
	"time"
)

// TestLacking: members come to know which of the maps that both are to have
// another one has not, and when it has them.
func TestLacking(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		other := Map{Name: "other", Type: "hash", KeyBytes: 4, ValueBytes: 4}
		nat := Map{Name: "nat", Type: "hash", KeyBytes: 4, ValueBytes: 4}
		wider := nat
		wider.ValueBytes = 8
		a := w.start("a", addrA, func(c *Config) { c.Maps = []Map{flows, other, nat} })
		b := w.start("b", addrB, func(c *Config) { c.Maps = []Map{flows, wider}; c.Seeds = []string{addrA} })
		within(t, 3*time.Second, "ready", ready(a, b))
		lacks := func(m *member, node string) []string {
			for _, o := range m.Members() {
				if o.Node == node {
					return o.Lacks
				}
			}
			return nil
		}
		told := func(want ...string) func() bool {
			return func() bool { return slices.Equal(lacks(a, "b"), want) }
		}
		within(t, time.Minute, "the map of another shape", told("nat"))
		b.SetLacking([]string{"other", "flows", "of b alone"})
		within(t, time.Minute, "all three", told("flows", "nat", "other"))
		b.SetLacking(nil)
		within(t, time.Minute, "two are there", told("nat"))
		if got := lacks(b, "a"); len(got) != 0 {
			t.Errorf("b says that a lacks %q", got)
		}
	})
}
