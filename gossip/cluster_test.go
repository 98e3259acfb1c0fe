package gossip

import (
	"fmt"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/gossip/simnet"
)

const (
	addrA = "10.0.0.1:7946"
	addrB = "10.0.0.2:7946"
	addrC = "10.0.0.3:7946"
)

var lan = simnet.Link{Delay: 200 * time.Microsecond, Jitter: 300 * time.Microsecond}

func TestThreeMembersThroughOneSeed(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, nil)
		if ok, why := a.Ready(); !ok && len(why) == 0 {
			t.Error("not ready without a reason")
		}
		b := w.start("b", addrB, seeds(addrA))
		c := w.start("c", addrC, seeds(addrA))
		t.Log("formed in", within(t, 3*time.Second, "three members", w.sees(3)))
		t.Log("ready in", within(t, 2*time.Second, "ready", ready(a, b, c)))
		b.put("flows", key(1), value(1))
		t.Log("spread in", within(t, 20*time.Millisecond, "spread", same("flows", a, b, c)))
		if a.len("flows") != 1 {
			t.Error("nothing was spread")
		}
		b.put("flows", key(1), nil)
		within(t, 20*time.Millisecond, "delete", same("flows", a, b, c))
		if a.len("flows") != 0 {
			t.Error("the delete was not spread")
		}
		for i := range 10_000 {
			c.put("flows", key(i), value(i))
		}
		t.Log("10,000 in", within(t, time.Second, "10,000 keys", same("flows", a, b, c)))
		within(t, 40*time.Second, "all in sync", func() bool {
			for _, m := range w.members {
				for _, o := range m.Members() {
					if !o.Self && (!o.InSync || o.LastSync.IsZero() || o.RTT == 0 || o.Version != "test") {
						return false
					}
				}
			}
			return true
		})
	})
}

func TestLateJoinerGetsEverything(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, nil)
		b := w.start("b", addrB, seeds(addrA))
		within(t, 3*time.Second, "two members", w.sees(2))
		within(t, 2*time.Second, "ready", ready(a, b))
		a.fill("flows", 100_000, 1)
		within(t, 30*time.Second, "equal", same("flows", a, b))
		c, err := w.open("c", addrC, seeds(addrA))
		if err != nil {
			t.Fatal(err)
		}
		c.fill("flows", 5_000, 2)
		c.run()
		t.Log("ready in", within(t, 20*time.Second, "ready", ready(c)))
		if got := c.len("flows"); got != 105_000 {
			t.Errorf("ready with %d entries, want 105000", got)
		}
		t.Log("all in", within(t, 60*time.Second, "all equal", same("flows", a, b, c)))
		t.Logf("%+v", c.Stats())
	})
}

// Beyond fullMesh members a change is passed on by those that it was new to.
func TestLargeClusterPassesOn(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		const members = 40
		for i := range members {
			w.start(fmt.Sprint("n", i), fmt.Sprintf("10.0.1.%d:7946", i+1), seeds("10.0.1.1:7946", "10.0.1.2:7946"))
		}
		t.Log("formed in", within(t, time.Minute, "all members", w.sees(members)))
		within(t, 30*time.Second, "ready", ready(w.members...))
		received := func() (n int) {
			for _, m := range w.members {
				n += int(m.Stats().EntriesIn)
			}
			return n
		}
		before := received()
		for i := range 200 {
			w.members[i%members].put("flows", key(i), value(i))
		}
		reached := func() (n int) {
			for _, m := range w.members {
				n += m.len("flows")
			}
			return n
		}
		<-time.After(100 * time.Millisecond)
		t.Logf("%.2f %% after 100 ms", float64(reached())/members/2)
		if reached() < 200*members*98/100 {
			t.Errorf("%d of %d after 100 ms", reached(), 200*members)
		}
		copies := float64(received()-before) / (200 * (members - 1))
		t.Logf("%.2f copies of an entry to each member", copies)
		if limit := 1.1 * float64(len(successors(members))); copies > limit { // the origin gets it back too
			t.Errorf("%.2f copies of an entry to each member, want at most %v", copies, limit)
		}
		t.Log("equal in", within(t, 3*time.Minute, "equal", same("flows", w.members...)))
	})
}
