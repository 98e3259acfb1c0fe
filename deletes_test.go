package mapgossip

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/gossip"
	"github.com/mapgossip/mapgossip/gossip/simnet"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// forgetful starts members that keep tombstones for a minute, and wait for a
// member that is gone for ten.
func forgetful(t *testing.T, members int) *rig {
	r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
	for i := range members {
		r.startForgetful(i)
	}
	pass(3 * time.Second)
	return r
}

func (r *rig) startForgetful(i int) *rigNode {
	c, kernel, m := r.prepare(i, mapwatch.Shape{})
	c.TombstoneMinAge, c.ForgetAfter = time.Minute, 10*time.Minute
	return r.start(c, kernel, m)
}

// remove deletes keys [from, to) on a node.
func (n *rigNode) remove(t *testing.T, from, to int) {
	t.Helper()
	for key := from; key < to; key++ {
		if err := n.m.Remove(number(key), 0); err != nil {
			t.Fatal(err)
		}
	}
}

// tombstones returns how many the node has.
func (n *rigNode) tombstones(t *testing.T) int { t.Helper(); return n.state(t).Tombstones }

func (r *rig) addrs(nodes ...int) (addrs []string) {
	for _, i := range nodes {
		addrs = append(addrs, r.nodes[i].addr)
	}
	return addrs
}

// TestTombstonesGo: once all members have a delete, and a minute later, nobody
// remembers it, and all agree.
func TestTombstonesGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := forgetful(t, 3)
		for key := range 100 {
			r.nodes[key%3].write(t, key, key)
		}
		r.converge(t, time.Minute)
		r.nodes[0].remove(t, 0, 60)
		r.converge(t, time.Minute)
		pass(45 * time.Second)
		for _, n := range r.nodes {
			if got := n.tombstones(t); got != 60 {
				t.Errorf("%s has %d tombstones before a minute is over, want 60", n.config.Node, got)
			}
		}
		pass(45 * time.Second)
		for _, n := range r.nodes {
			s := n.state(t)
			if s.Tombstones != 0 || s.Entries != 40 || s.Counters.Collected != 60 || s.HeldBackBy != "" || s.Floor.IsZero() {
				t.Errorf("%s: %d tombstones, %d entries, %d collected, held back by %q, floor %v", n.config.Node, s.Tombstones, s.Entries, s.Counters.Collected, s.HeldBackBy, s.Floor)
			}
		}
		r.converge(t, 0)
		// Slots are used again, for other keys.
		for key := 1000; key < 1100; key++ {
			r.nodes[1].write(t, key, key)
		}
		r.converge(t, time.Minute)
		// A new member takes what there is.
		r.startForgetful(3)
		pass(time.Second)
		r.converge(t, time.Minute)
	})
}

// TestTombstonesWait: while a known member is out of reach they stay, and it
// finds out what was deleted when it is back.
func TestTombstonesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := forgetful(t, 3)
		for key := range 100 {
			r.nodes[0].write(t, key, key)
		}
		r.converge(t, time.Minute)
		pass(10 * time.Second)
		r.net.Partition(r.addrs(0, 1), r.addrs(2))
		r.nodes[0].remove(t, 0, 50)
		pass(5 * time.Minute)
		if s := r.nodes[1].state(t); s.Tombstones != 50 || s.HeldBackBy != "n2" {
			t.Errorf("%d tombstones, held back by %q: want 50 that wait for n2", s.Tombstones, s.HeldBackBy)
		}
		r.net.Heal()
		r.converge(t, time.Minute)
		pass(2 * time.Minute)
		r.converge(t, time.Second)
		if got := r.nodes[2].tombstones(t); got != 0 {
			t.Errorf("%d tombstones after all, want 0", got)
		}
	})
}

// TestReturnAfterCollection: a member that was away for longer than it was
// waited for takes the cluster's state for what it did not change itself, and
// keeps its own new writes and deletes.
func TestReturnAfterCollection(t *testing.T) {
	for _, command := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := forgetful(t, 3)
			for key := range 100 {
				r.nodes[key%3].write(t, key, key)
			}
			r.converge(t, time.Minute)
			pass(30 * time.Second)
			r.net.Partition(r.addrs(0, 1), r.addrs(2))
			pass(time.Minute)
			r.nodes[0].remove(t, 0, 50)
			if command {
				if err := r.nodes[0].Remove(t.Context(), "n2"); err != nil {
					t.Fatal(err)
				}
				pass(3 * time.Minute)
			} else {
				pass(15 * time.Minute)
			}
			if got := r.nodes[1].tombstones(t); got != 0 {
				t.Fatalf("command %v: %d tombstones wait for a member that was given up on", command, got)
			}
			r.nodes[2].write(t, 10, 1010) // deleted there
			r.nodes[2].write(t, 500, 500) // new
			r.nodes[2].remove(t, 90, 95)  // live there
			pass(time.Second)
			r.nodes[0].write(t, 91, 9191) // newer there
			r.nodes[1].write(t, 20, 2020) // deleted and written there
			pass(2 * time.Minute)
			r.net.Heal()
			r.converge(t, 2*time.Minute)
			pass(3 * time.Minute)
			r.converge(t, time.Second)
			content := r.nodes[1].m.Content()
			for key := range 50 {
				want := map[int]bool{10: true, 20: true}[key]
				if _, there := content[string(number(key))]; there != want {
					t.Errorf("command %v: key %d is there: %v, want %v", command, key, there, want)
				}
			}
			for key := 90; key < 95; key++ {
				if _, there := content[string(number(key))]; there != (key == 91) {
					t.Errorf("command %v: key %d is there: %v", command, key, there)
				}
			}
			if len(content) != 50+2+1-4 {
				t.Errorf("command %v: %d keys, want %d", command, len(content), 50+2+1-4)
			}
		})
	}
}

// TestRemoveAlive: who is alive can't be removed, nor who never was.
func TestRemoveAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := forgetful(t, 2)
		if err := r.nodes[0].Remove(t.Context(), "n1"); !errors.Is(err, ErrMemberAlive) {
			t.Errorf("remove a living member: %v, want %v", err, ErrMemberAlive)
		}
		if err := r.nodes[0].Remove(t.Context(), "n9"); err == nil || errors.Is(err, ErrMemberAlive) {
			t.Errorf("remove nobody: %v", err)
		}
	})
}

// TestRemovedHasLeft: for all that hear of it a member that was removed is one that
// left, and they are in sync without it; back, it is a member like others.
func TestRemovedHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := forgetful(t, 3)
		r.nodes[0].write(t, 1, 1)
		r.converge(t, time.Minute)
		r.net.Partition(r.addrs(0, 1), r.addrs(2))
		pass(time.Minute)
		for i, n := range r.nodes[:2] {
			s, err := n.Status(t.Context())
			if err != nil || s.InSync || stateOf(s, "n2") != gossip.StateDead {
				t.Fatalf("cut off from n2, n%d is in sync %v, n2 is %s (%v)", i, s.InSync, stateOf(s, "n2"), err)
			}
		}
		if err := r.nodes[0].Remove(t.Context(), "n2"); err != nil {
			t.Fatal(err)
		}
		for _, n := range r.nodes[:2] {
			n.inSyncSoon(t, "n2", gossip.StateLeft)
		}
		if err := r.nodes[1].Remove(t.Context(), "n2"); err != nil {
			t.Errorf("removed once more: %v", err)
		}
		r.net.Heal()
		pass(2 * time.Minute)
		r.nodes[2].write(t, 2, 2)
		r.converge(t, time.Minute)
		r.nodes[0].inSyncSoon(t, "n2", gossip.StateAlive)
	})
}

// TestRemoveElsewhereDead: a member that cannot be told is named, and so is one to
// which the removed one is alive.
func TestRemoveElsewhereDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := forgetful(t, 3)
		r.converge(t, time.Minute)
		r.net.Partition(r.addrs(0, 1), r.addrs(2))
		pass(time.Minute)
		r.net.Partition(r.addrs(0), r.addrs(1, 2)) // n1 and n2 are soon together, n0 does not know yet
		err := r.nodes[0].Remove(t.Context(), "n2")
		if err == nil || !strings.Contains(err.Error(), "n1: no answer") {
			t.Errorf("n1 cannot be told: %v", err)
		}
		r.net.Heal()
		pass(2 * time.Minute)
		if err := r.nodes[0].Remove(t.Context(), "n2"); !errors.Is(err, ErrMemberAlive) {
			t.Errorf("removed and back: %v, want %v", err, ErrMemberAlive)
		}
		r.converge(t, time.Minute)
	})
}

// inSyncSoon waits until n is in sync with all: an exchange says so, if no floor is
// being raised at that moment. The other member must then have that state.
func (n *rigNode) inSyncSoon(t *testing.T, other, state string) {
	t.Helper()
	for range 30 {
		s, err := n.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if s.InSync {
			if got := stateOf(s, other); got != state {
				t.Errorf("%s to %s is %s, want %s", other, s.Node, got, state)
			}
			return
		}
		pass(time.Second)
	}
	t.Errorf("not in sync after 30 s")
}

func stateOf(s Status, node string) string {
	for _, m := range s.Members {
		if m.Node == node {
			return m.State
		}
	}
	return "unknown"
}

// TestTombstonesWaitForSeeds: who is to be a member and never was may have what
// was deleted here; it is waited for as for one that is gone.
func TestTombstonesWaitForSeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		c, kernel, m := r.prepare(0, mapwatch.Shape{})
		c.TombstoneMinAge, c.ForgetAfter = time.Minute, 10*time.Minute
		c.Join = []string{"10.0.0.2:7946", "10.0.0.9:7946"}
		a := r.start(c, kernel, m)
		r.startForgetful(1)
		pass(3 * time.Second)
		a.write(t, 1, 1)
		a.remove(t, 1, 2)
		pass(5 * time.Minute)
		if s := a.state(t); s.Tombstones != 1 || s.HeldBackBy != "seed 10.0.0.9:7946" {
			t.Errorf("%d tombstones, held back by %q: want 1 that waits for the seed", s.Tombstones, s.HeldBackBy)
		}
		pass(6 * time.Minute)
		if s := a.state(t); s.Tombstones != 0 || s.HeldBackBy != "" {
			t.Errorf("%d tombstones, held back by %q after ForgetAfter", s.Tombstones, s.HeldBackBy)
		}
	})
}
