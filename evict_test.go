package mapgossip

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/gossip/simnet"
	"github.com/mapgossip/mapgossip/mapwatch"
)

const lruEntries = 100

// addLRU starts one more node, with an LRU map.
func (r *rig) addLRU(evict Evict) *rigNode {
	c, kernel, m := r.prepare(len(r.nodes), mapwatch.Shape{Type: mapwatch.TypeLRUHash, MaxEntries: lruEntries})
	c.Maps[0].Evict = evict
	c.TombstoneMinAge, c.ForgetAfter = minTombstoneAge, time.Hour
	return r.start(c, kernel, m)
}

// agree holds that all nodes hold the same entries, and that each kernel map has
// those that it did not let go of.
func (r *rig) agree(t *testing.T, within time.Duration) {
	t.Helper()
	for begin := time.Now(); ; pass(10 * time.Millisecond) {
		digest, wrong := r.nodes[0].state(t).Digest, ""
		for _, n := range r.nodes {
			s := n.state(t)
			if s.Digest != digest || s.Unsettled != 0 || s.PendingApply != 0 || s.Entries != n.m.Len()+s.Evicted {
				wrong = n.config.Node
			}
		}
		if wrong == "" {
			return
		}
		if time.Since(begin) > within {
			for _, n := range r.nodes {
				s := n.state(t)
				t.Errorf("%s: digest %s, %d entries, %d in the kernel, %d evicted, %d pending, %d unsettled %s",
					n.config.Node, s.Digest, s.Entries, n.m.Len(), s.Evicted, s.PendingApply, s.Unsettled, s.Error)
			}
			t.FailNow()
		}
	}
}

// TestEvictLocal: what one member's map lets go of stays with the others, is not
// written there again, and is back once it is written anew.
func TestEvictLocal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		a, b := r.addLRU(""), r.addLRU(EvictLocal)
		for i := range lruEntries {
			a.write(t, i, i)
		}
		r.agree(t, 10*time.Second)
		for i := range 10 {
			if err := b.m.Evict(number(i), 1); err != nil {
				t.Fatal(err)
			}
		}
		pass(time.Minute) // with scans
		r.agree(t, time.Second)
		if a.m.Len() != lruEntries || b.m.Len() != lruEntries-10 || b.state(t).Evicted != 10 || b.state(t).Evict != EvictLocal {
			t.Fatalf("%d and %d elements, %d evicted", a.m.Len(), b.m.Len(), b.state(t).Evicted)
		}
		a.write(t, 3, 33)
		b.write(t, 4, 44)
		r.agree(t, time.Second)
		for _, n := range r.nodes {
			for key, want := range map[int]int{3: 33, 4: 44} {
				if got, ok := n.m.Get(number(key)); !ok || string(got) != string(number(want)) {
					t.Errorf("%s: key %d is %x", n.config.Node, key, got)
				}
			}
		}
		if s := b.state(t); s.Tombstones != 0 || s.Evicted != 8 {
			t.Errorf("%d tombstones, %d evicted", s.Tombstones, s.Evicted)
		}
		if err := b.m.Remove(number(50), 0); err != nil { // a delete is one, there as elsewhere
			t.Fatal(err)
		}
		r.agree(t, time.Second)
		if _, ok := a.m.Get(number(50)); ok {
			t.Error("a deleted key is still there")
		}
	})
}

// TestEvictDelete: with that option an eviction is a delete.
func TestEvictDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, simnet.Link{Delay: time.Millisecond})
		a, b := r.addLRU(EvictDelete), r.addLRU(EvictDelete)
		for i := range lruEntries + 20 {
			a.write(t, i, i)
		}
		r.agree(t, 10*time.Second)
		if a.m.Len() != lruEntries || b.m.Len() != lruEntries {
			t.Errorf("%d and %d elements", a.m.Len(), b.m.Len())
		}
		if s := b.state(t); s.Entries != lruEntries || s.Evicted != 0 {
			t.Errorf("%d entries, %d evicted", s.Entries, s.Evicted)
		}
	})
}

// TestEvictedAreBounded: members that insert for ever keep a bounded store, and
// what is let go of first is deleted first.
func TestEvictedAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 3, simnet.Link{Delay: time.Millisecond, Loss: 0.02})
		a, b := r.addLRU(""), r.addLRU("")
		next := 0
		for range 100 {
			for range 30 {
				a.write(t, next, next)
				b.write(t, 1_000_000+next, next)
				next++
			}
			pass(time.Second)
		}
		pass(30 * time.Second)
		r.agree(t, 10*time.Second)
		s := a.state(t)
		if s.Entries > 4*lruEntries || s.Entries < 2*lruEntries || s.Tombstones > lruEntries {
			t.Errorf("%d entries and %d tombstones of %d keys", s.Entries, s.Tombstones, 2*next)
		}
		if _, known := a.m.Get(number(next - 1)); !known {
			t.Error("the latest key is gone")
		}
	})
}

// TestDrainedLRU: many deletes at once, of which no record tells the keys, are
// deletes and no evictions; what was evicted before stays elsewhere.
func TestDrainedLRU(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 4, simnet.Link{Delay: time.Millisecond})
		a, b := r.addLRU(""), r.addLRU("")
		for i := range 50 {
			a.write(t, i, i)
		}
		r.agree(t, 10*time.Second)
		for i := range 5 {
			if err := b.m.Evict(number(i), 0); err != nil {
				t.Fatal(err)
			}
		}
		pass(time.Second)
		if err := b.m.Drain(); err != nil {
			t.Fatal(err)
		}
		r.agree(t, 10*time.Second)
		if a.m.Len() != 5 {
			t.Errorf("%d elements on the other member, want the 5 that were evicted", a.m.Len())
		}
	})
}

// TestLostEvictions: evictions that only a scan finds are no deletes.
func TestLostEvictions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 5, simnet.Link{Delay: time.Millisecond})
		a := r.addLRU("")
		c, kernel, m := r.prepare(1, mapwatch.Shape{Type: mapwatch.TypeLRUHash, MaxEntries: lruEntries})
		kernel.LimitCapture(mapwatch.ModeScan, "no trampolines")
		b := r.start(c, kernel, m)
		for i := range 50 {
			a.write(t, i, i)
		}
		r.agree(t, 10*time.Second)
		for i := range 5 {
			if err := b.m.Evict(number(i), 0); err != nil {
				t.Fatal(err)
			}
		}
		pass(3 * time.Second)
		r.agree(t, 10*time.Second)
		if a.m.Len() != 50 || b.state(t).Evicted != 5 {
			t.Errorf("%d elements, %d evicted", a.m.Len(), b.state(t).Evicted)
		}
	})
}

// TestEvictedSurviveRestart: they are neither deleted nor written again.
func TestEvictedSurviveRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 6, simnet.Link{Delay: time.Millisecond})
		a := r.addLRU("")
		l := r.prepareLasting(1)
		l.m = l.kernel.AddMap(mapwatch.Shape{Target: rigPin, Type: mapwatch.TypeLRUHash, MaxEntries: lruEntries})
		l.up()
		for i := range 50 {
			a.write(t, i, i)
		}
		r.agree(t, 10*time.Second)
		for i := range 5 {
			if err := l.m.Evict(number(i), 0); err != nil {
				t.Fatal(err)
			}
		}
		pass(10 * time.Second)
		l.down(true)
		l.up()
		pass(10 * time.Second)
		r.agree(t, 10*time.Second)
		if a.m.Len() != 50 || l.m.Len() != 45 {
			t.Errorf("%d and %d elements", a.m.Len(), l.m.Len())
		}
	})
}
