package mapgossip

import (
	"fmt"
	"hash/maphash"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/gossip"
	"github.com/mapgossip/mapgossip/gossip/simnet"
	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/state/fakefs"
)

// TestReplacedBeforeFilled: a member that does not know yet what the cluster has
// does not make the newest of what a new map holds.
func TestReplacedBeforeFilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, simnet.Link{Delay: time.Millisecond})
		a := r.add()
		a.write(t, 1, 1)
		a.write(t, 99, 99)
		pass(2 * time.Second)
		if err := a.m.Remove(number(99), 0); err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Second)
		r.net.Partition([]string{a.addr}, []string{"10.0.0.2:7946"})
		b := r.add()
		pass(5 * time.Second)
		b.replace(mapwatch.Shape{}) // its loader began anew
		b.write(t, 1, 1111)
		b.write(t, 99, 9999)
		b.write(t, 5, 5)
		pass(20 * time.Second)
		r.net.Heal()
		r.converge(t, 2*time.Minute)
		if got, _ := a.m.Get(number(1)); string(got) != string(number(1)) {
			t.Errorf("what the loader put there replaced the cluster's value: %x", got)
		}
		if _, ok := a.m.Get(number(99)); ok {
			t.Error("a deleted key is back")
		}
		if _, ok := a.m.Get(number(5)); !ok {
			t.Error("what nobody else knows is lost")
		}
	})
}

// TestAbsentMapForgets: a member whose only map is absent holds no deletes back:
// it has nothing to stamp. It remembers itself those of keys that the map may
// still hold when it comes, and no others.
func TestAbsentMapForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 3, simnet.Link{Delay: time.Millisecond})
		a, b := r.startLasting(0), r.startLasting(1)
		for i := range 100 {
			a.write(t, i, i)
		}
		r.converge(t, 20*time.Second)
		b.down(false)
		b.kernel.Unpin(rigPin)
		b.up()
		pass(10 * time.Second)
		a.remove(t, 0, 50)
		for i := range 200 {
			a.write(t, 2000+i, i)
			pass(10 * time.Millisecond)
			a.remove(t, 2000+i, 2000+i+1)
		}
		pass(15 * time.Minute)
		if s := a.state(t); s.Tombstones != 0 {
			t.Errorf("%d tombstones, held back by %q", s.Tombstones, s.HeldBackBy)
		}
		if s := b.state(t); s.Tombstones != 50 || s.HeldBackBy != "" {
			t.Errorf("%d tombstones without a map, held back by %q", s.Tombstones, s.HeldBackBy)
		}
		b.rigNode.replace(mapwatch.Shape{})
		for i := range 60 { // it has been away
			b.write(t, i, i)
		}
		b.write(t, 1000, 1)
		r.converge(t, 20*time.Second)
		if b.m.Len() != 51 {
			t.Errorf("%d elements", b.m.Len())
		}
		pass(5 * time.Minute)
		if s := b.state(t); s.Tombstones != 0 {
			t.Errorf("%d tombstones", s.Tombstones)
		}
	})
}

// TestLateMapThatNobodyTakes: a map that cannot be part of the cluster is not
// called bound and ready.
func TestLateMapThatNobodyTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 6, simnet.Link{Delay: time.Millisecond})
		r.add()
		b, _ := r.addMoody(true)
		pass(5 * time.Second)
		b.kernel.AddMap(mapwatch.Shape{Target: latePin, ValueBytes: gossip.MaxEntryBytes})
		pass(time.Minute)
		maps, err := b.Maps(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if maps[1].Error == "" || !strings.Contains(maps[1].Error, "can be replicated") {
			t.Errorf("error %q", maps[1].Error)
		}
		if ok, _ := b.Ready(t.Context()); ok {
			t.Error("ready")
		}
	})
}

// TestSendForgets: a map that is only sent from does not remember deletes of
// what it never had; but of what it has, which would come back.
func TestSendForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 8, simnet.Link{Delay: time.Millisecond})
		a := r.startLasting(0)
		b := r.prepareLasting(1)
		b.config.Maps[0].Direction = DirectionSend
		b.up()
		pass(5 * time.Second)
		b.write(t, 1000, 1)
		for i := range 50 {
			a.write(t, i, i)
		}
		pass(10 * time.Second)
		a.remove(t, 0, 50)
		if err := a.m.Remove(number(1000), 0); err != nil {
			t.Fatal(err)
		}
		pass(15 * time.Minute)
		if s := b.state(t); s.Tombstones != 1 {
			t.Errorf("%d tombstones, want that of the key that is in the map", s.Tombstones)
		}
		if a.m.Len() != 0 {
			t.Errorf("%d keys are back", a.m.Len())
		}
	})
}

// TestWriteDuringImport: a write to a new map after an apply there is newer than
// what was applied, though the first scan comes by before its record.
func TestWriteDuringImport(t *testing.T) {
	m := newMirror(mapwatch.Shape{KeyBytes: 8, ValueBytes: 8}, MapOptions{}, "self", crdt.NewClock(time.Hour), maphash.MakeSeed())
	now := int64(time.Hour)
	m.rebind(crdt.Timestamp{Wall: now})
	s := m.beginScan(now)
	// By a clock that is ahead of this one.
	if _, won, err := m.remote(remoteEntry(1, now+int64(5*time.Second)), now+1); err != nil || !won {
		t.Fatal(err)
	}
	ops, slots := m.takeWrites(10)
	m.applied(ops, slots, now+2, now+3)
	written := mapwatch.Change{Kind: mapwatch.Updated, Key: number(1), Value: number(77), Captured: now + 100}
	m.scanned(s, number(1), number(77), 1, true, now+200, now+200)
	ops, slots = m.takeWrites(10)
	m.applied(ops, slots, now+300, now+301)
	if _, won := m.record(written, written.Captured, now+400); !won {
		t.Error("the write lost to what it overwrote")
	}
}

// TestFoundAfterPromise: what is found in a new map is not stamped below what
// was promised meanwhile.
func TestFoundAfterPromise(t *testing.T) {
	m := newMirror(mapwatch.Shape{KeyBytes: 8, ValueBytes: 8}, MapOptions{}, "self", crdt.NewClock(time.Hour), maphash.MakeSeed())
	now := int64(time.Hour)
	m.rebind(crdt.Timestamp{Wall: now})
	m.tended(now + int64(time.Minute))
	s := m.beginScan(now)
	m.scanned(s, number(1), number(1), 1, true, now, now)
	if e, _ := m.store.Get(number(1)); e.Version.Time.Wall < now+int64(time.Minute) {
		t.Error(fmt.Sprint("stamped at ", e.Version.Time.Wall-now))
	}
}

// TestAwayAfterFill: a map that came late, and was filled from what was saved, is
// held against that after a restart as any other: what was written and deleted
// meanwhile counts.
func TestAwayAfterFill(t *testing.T) {
	for _, kill := range []bool{false, true} {
		t.Run(fmt.Sprintf("kill %t", kill), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 9, simnet.Link{Delay: time.Millisecond})
				a, b := r.startLasting(0), r.startLasting(1)
				for i := range 100 {
					a.write(t, i, i)
				}
				r.converge(t, 10*time.Second)
				b.down(false)
				b.kernel.Unpin(rigPin)
				b.up()
				pass(10 * time.Second)
				b.rigNode.replace(mapwatch.Shape{})
				r.converge(t, 10*time.Second)
				pass(10 * time.Second)
				b.down(kill)
				b.write(t, 1, 1111)
				b.remove(t, 2, 3)
				pass(5 * time.Second)
				b.up()
				pass(20 * time.Second)
				r.converge(t, 20*time.Second)
				if got, _ := a.m.Get(number(1)); string(got) != string(number(1111)) {
					t.Errorf("a write while the agent was down is undone: %x", got)
				}
				if _, ok := a.m.Get(number(2)); ok {
					t.Error("a delete while the agent was down is undone")
				}
			})
		})
	}
}

// TestTwoMapsOfOneName: of two maps that have the name of the target the later one
// is meant, for as long as both are there.
func TestTwoMapsOfOneName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 11, simnet.Link{Delay: time.Millisecond})
		a := r.add()
		c, kernel, m := r.prepare(1, mapwatch.Shape{})
		c.Maps[0].Target = "name:flows"
		b := r.start(c, kernel, m)
		for i := range 100 {
			a.write(t, i, i)
		}
		r.converge(t, 10*time.Second)
		b.m = kernel.AddMap(mapwatch.Shape{Target: "/sys/fs/bpf/new", Name: "flows"})
		for i := range 30 {
			pass(2100 * time.Millisecond)
			if s := b.state(t); s.ID != b.m.Shape().ID || !s.Bound || s.Error != "" {
				t.Fatalf("after %d s: map %d, want %d; bound %t, error %q", 2*i+2, s.ID, b.m.Shape().ID, s.Bound, s.Error)
			}
		}
		for i := range 100 { // the program of before ends
			if err := m.Remove(number(i), 0); err != nil {
				t.Fatal(err)
			}
		}
		pass(5 * time.Second)
		r.converge(t, 10*time.Second)
		r.wantNoDeletes(t)
	})
}

// TestLateMapWaitsForTheDead: a member to whose map nobody else is known yet lets
// nobody forget deletes for whose sake the others wait.
func TestLateMapWaitsForTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 13, simnet.Link{Delay: time.Millisecond})
		a, d := r.startLasting(0), r.startLasting(1)
		l := r.prepareLasting(2)
		l.kernel.Unpin(rigPin)
		l.config.Maps = append(l.config.Maps, MapConfig{Name: "other", Target: latePin})
		l.kernel.AddMap(mapwatch.Shape{Target: latePin})
		l.up()
		for i := range 100 {
			a.write(t, i, i)
		}
		pass(20 * time.Second)
		m := d.m
		d.down(true)
		a.remove(t, 0, 50)
		pass(time.Minute)
		r.net.Partition([]string{a.addr}, []string{l.addr})
		l.rigNode.replace(mapwatch.Shape{})
		pass(4 * time.Minute)
		if floor := l.state(t).Floor; !floor.IsZero() {
			t.Errorf("floor %v of a map of which nothing is known", floor)
		}
		r.net.Heal()
		pass(time.Minute)
		if s := a.state(t); s.Tombstones != 50 {
			t.Errorf("%d tombstones, though a member that is dead for six minutes needs them", s.Tombstones)
		}
		d.disk = fakefs.New() // which comes back without its state
		d.m = m
		d.up()
		r.converge(t, time.Minute)
		if a.m.Len() != 50 {
			t.Errorf("%d keys: deleted ones are back", a.m.Len())
		}
	})
}
