package mapgossip

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/gossip/simnet"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// replace puts another map under the same pin, as a loader that starts again does.
// That is never at the very moment at which the Node looks, whose steps are whole
// milliseconds: what is written at once is in the map before it is bound.
func (n *rigNode) replace(shape mapwatch.Shape) {
	pass(1234567)
	shape.Target = rigPin
	n.m = n.kernel.AddMap(shape)
}

// wantNoDeletes holds that nobody took a replaced map for deletes.
func (r *rig) wantNoDeletes(t *testing.T) {
	t.Helper()
	for _, n := range r.nodes {
		if s := n.state(t); s.Tombstones != 0 {
			t.Errorf("%s has %d tombstones", n.config.Node, s.Tombstones)
		}
	}
}

// TestReplacedMap: an empty map in place of a full one is filled again, and
// changes of it go out from then on.
func TestReplacedMap(t *testing.T) {
	const keys = 10_000
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		a, b, c := r.add(), r.add(), r.add()
		for i := range keys {
			a.write(t, i, i)
		}
		r.converge(t, 10*time.Second)

		b.replace(mapwatch.Shape{})
		for i := range 100 { // before anybody noticed
			a.write(t, i, keys+i)
		}
		c.write(t, keys, keys)
		took := r.converge(t, 10*time.Second)
		t.Logf("filled after %v", took)
		r.wantNoDeletes(t)

		b.write(t, 5, 55)
		if err := b.m.Remove(number(6), 0); err != nil {
			t.Fatal(err)
		}
		r.converge(t, time.Second)
		if got, ok := a.m.Get(number(5)); !ok || string(got) != string(number(55)) {
			t.Errorf("a write to the new map is %x elsewhere", got)
		}
		if a.m.Len() != keys {
			t.Errorf("%d elements after one delete, want %d", a.m.Len(), keys)
		}
	})
}

// TestReplacedMapWithContent: what the loader put into the new map loses to
// what the cluster knows of the key, and is new where it knows nothing.
func TestReplacedMapWithContent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, simnet.Link{Delay: time.Millisecond})
		a, b := r.add(), r.add()
		for i := range 100 {
			a.write(t, i, i)
		}
		r.converge(t, 10*time.Second)
		if err := a.m.Remove(number(99), 0); err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Second)

		b.replace(mapwatch.Shape{})
		b.write(t, 1, 1)     // as the cluster has it
		b.write(t, 2, 1234)  // otherwise
		b.write(t, 99, 99)   // deleted there
		b.write(t, 500, 500) // nobody knows it
		r.converge(t, 10*time.Second)
		want := map[int]int{1: 1, 2: 2, 3: 3, 500: 500}
		for key, value := range want {
			if got, ok := a.m.Get(number(key)); !ok || string(got) != string(number(value)) {
				t.Errorf("key %d is %x, want %x", key, got, number(value))
			}
		}
		if _, ok := a.m.Get(number(99)); ok {
			t.Error("a deleted key is back")
		}
	})
}

// TestReplacedAgainAndAgain: a loader that does not stop, while others write.
func TestReplacedAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 3, simnet.Link{Delay: time.Millisecond, Loss: 0.05})
		a, b := r.add(), r.add()
		n := 0
		for round := range 20 {
			for range 200 {
				a.write(t, n, n)
				n++
			}
			pass(time.Duration(round) * 173 * time.Millisecond)
			b.replace(mapwatch.Shape{})
		}
		r.converge(t, 20*time.Second)
		if r.wantNoDeletes(t); b.m.Len() != n {
			t.Errorf("%d of %d elements", b.m.Len(), n)
		}
	})
}

// TestReplacedByAnotherShape: such a map is not bound, the one before stays, and
// the error says what to do; one of the right shape is bound.
func TestReplacedByAnotherShape(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 4, simnet.Link{})
		a, b := r.add(), r.add()
		a.write(t, 1, 1)
		r.converge(t, 10*time.Second)
		b.replace(mapwatch.Shape{ValueBytes: 16})
		pass(3 * time.Second)
		s := b.state(t)
		if s.Bound || !strings.Contains(s.Error, "value 16 bytes") || !strings.Contains(s.Error, "value 8 bytes") {
			t.Errorf("bound %t, error %q", s.Bound, s.Error)
		}
		if ok, _ := b.Ready(t.Context()); ok {
			t.Error("ready without a map")
		}
		b.replace(mapwatch.Shape{})
		r.converge(t, 10*time.Second)
		r.wantNoDeletes(t)
		if s := b.state(t); !s.Bound || s.Error != "" {
			t.Errorf("bound %t, error %q", s.Bound, s.Error)
		}
	})
}

// TestUnpinnedMap: while the target leads to nothing, the map that was bound
// stays so, and that is told.
func TestUnpinnedMap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 5, simnet.Link{})
		a, b := r.add(), r.add()
		a.write(t, 1, 1)
		r.converge(t, 10*time.Second)
		b.kernel.Unpin(rigPin)
		pass(time.Minute)
		a.write(t, 2, 2)
		pass(2 * time.Second)
		if s := b.state(t); s.Bound || s.Error == "" {
			t.Errorf("bound %t, error %q", s.Bound, s.Error)
		}
		b.replace(mapwatch.Shape{})
		r.converge(t, 10*time.Second)
		r.wantNoDeletes(t)
	})
}

// TestLateMap: an agent whose map is not there starts, says so, and takes part as
// soon as the map is there, in both directions.
func TestLateMap(t *testing.T) {
	for _, saved := range []bool{false, true} {
		t.Run(fmt.Sprintf("state %t", saved), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 6, simnet.Link{Delay: time.Millisecond})
				a := r.add()
				l := r.prepareLasting(1)
				if saved {
					l.up()
					l.write(t, 7, 7)
					r.converge(t, 10*time.Second)
					l.down(false)
				}
				l.kernel.Unpin(rigPin)
				for i := range 1000 {
					a.write(t, i, i)
				}
				l.up()
				pass(time.Minute)
				if s := l.state(t); s.Bound || !strings.Contains(s.Error, "waiting for the map") {
					t.Errorf("bound %t, error %q", s.Bound, s.Error)
				}
				if ok, why := l.Ready(t.Context()); ok || !strings.Contains(fmt.Sprint(why), "flows") {
					t.Errorf("ready %t: %q", ok, why)
				}
				l.rigNode.replace(mapwatch.Shape{})
				l.write(t, 5000, 5000)
				r.converge(t, 10*time.Second)
				r.wantNoDeletes(t)
				pass(5 * time.Second)
				if ok, why := l.Ready(t.Context()); !ok {
					t.Errorf("not ready: %q", why)
				}
				l.write(t, 6000, 1)
				a.write(t, 6001, 1)
				r.converge(t, 2*time.Second)
				if a.m.Len() != 1003 {
					t.Errorf("%d elements", a.m.Len())
				}
			})
		})
	}
}

// TestLackIsTold: a member whose host has no such map is in sync with nobody, on
// all members, until it has.
func TestLackIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		a, b := r.add(), r.add()
		a.write(t, 1, 1)
		r.converge(t, 10*time.Second)
		lacks := func() (Status, []string) {
			s, err := a.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return s, s.Members[1].Lacks
		}
		wait := func(what string, inSync bool, want string) {
			t.Helper()
			for range 60 {
				if s, names := lacks(); s.InSync == inSync && strings.Join(names, ",") == want {
					return
				}
				pass(time.Second)
			}
			s, names := lacks()
			t.Fatalf("%s: in sync %t, lacks %q", what, s.InSync, names)
		}
		wait("all is there", true, "")
		b.kernel.Unpin(rigPin)
		wait("the map is gone", false, "flows")
		b.replace(mapwatch.Shape{})
		wait("the map is back", true, "")
	})
}
