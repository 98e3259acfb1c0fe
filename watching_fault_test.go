package mapgossip

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/gossip/simnet"
	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/fake"
)

// TestNoCaptureForAWhile: as long as no Watch is to be had, the maps that were
// watched stay what they are: what is written to them is found afterwards.
func TestNoCaptureForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		a := r.add()
		b, k := r.addMoody(true)
		for i := range 100 {
			a.write(t, i, i)
		}
		r.converge(t, 10*time.Second)
		k.refuse.Store(true)
		b.kernel.AddMap(mapwatch.Shape{Target: latePin})
		pass(5 * time.Second)
		b.write(t, 7, 77)
		if err := b.m.Remove(number(8), 0); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		k.refuse.Store(false)
		pass(2 * time.Minute)
		r.converge(t, 10*time.Second)
		if got, _ := a.m.Get(number(7)); string(got) != string(number(77)) {
			t.Errorf("a write during that time is lost: %x", got)
		}
		if _, ok := a.m.Get(number(8)); ok {
			t.Error("a delete during that time is undone")
		}
	})
}

// TestLeaveDuringScan: what a scan that is under way has yet to find is handed
// over before the member leaves.
func TestLeaveDuringScan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 4, simnet.Link{Delay: time.Millisecond})
		a := r.add()
		b, k := r.addMoody(false)
		b.write(t, 0, 0)
		r.converge(t, 10*time.Second)
		k.reading.Store(int64(time.Second))
		b.m.Lose(50, fake.Dropped)
		for i := range 50 {
			b.write(t, i, i+1)
		}
		pass(1500 * time.Millisecond) // the scan is under way
		b.stop()
		if err := <-b.ended; err != nil {
			t.Fatal(err)
		}
		r.nodes = without(r.nodes, b)
		pass(time.Second)
		if a.m.Len() != 50 {
			t.Errorf("%d of 50 keys were handed over", a.m.Len())
		}
	})
}

// TestLeaveDuringRewatch: what is changed while no Watch is there is handed over.
func TestLeaveDuringRewatch(t *testing.T) {
	for _, refused := range []bool{false, true} {
		t.Run(fmt.Sprintf("refused %t", refused), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 5, simnet.Link{Delay: time.Millisecond})
				a := r.add()
				b, k := r.addMoody(true)
				b.write(t, 0, 0)
				r.converge(t, 10*time.Second)
				k.refuse.Store(refused)
				k.making.Store(int64(3 * time.Second))
				b.kernel.AddMap(mapwatch.Shape{Target: latePin})
				pass(2 * time.Second) // capture ended
				for i := range 50 {
					b.write(t, i, i+1)
				}
				if ok, _ := b.Healthy(t.Context()); ok && refused {
					t.Error("healthy without capture")
				}
				b.stop()
				if err := <-b.ended; err != nil {
					t.Fatal(err)
				}
				r.nodes = without(r.nodes, b)
				pass(time.Second)
				if a.m.Len() != 50 {
					t.Errorf("%d of 50 keys were handed over", a.m.Len())
				}
			})
		})
	}
}

// TestOldMapIsEmptied: what happens to a map that was replaced is no change of
// the one in its place, whatever a new Watch takes.
func TestOldMapIsEmptied(t *testing.T) {
	for _, slow := range []string{"to end", "to begin"} {
		t.Run("slow "+slow, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 7, simnet.Link{Delay: time.Millisecond})
				a := r.add()
				b, k := r.addMoody(true)
				const keys = 2000
				for i := range keys {
					a.write(t, i, i)
				}
				r.converge(t, 10*time.Second)
				old := b.m
				if slow == "to end" { // each map takes a new Watch, which takes its time
					k.noReplace.Store(true)
					k.ending.Store(int64(3 * time.Second))
				} else { // a Watch is being made when the map is replaced
					k.beginning.Store(int64(3 * time.Second))
					b.kernel.AddMap(mapwatch.Shape{Target: latePin})
					pass(1500 * time.Millisecond)
				}
				b.replace(mapwatch.Shape{})
				pass(1200 * time.Millisecond) // until then the change may not be noticed
				for i := range keys {
					time.Sleep(5 * time.Millisecond)
					if err := old.Remove(number(i), 0); err != nil {
						t.Fatal(err)
					}
				}
				pass(30 * time.Second)
				r.wantNoDeletes(t)
				r.converge(t, 10*time.Second)
				if a.m.Len() != keys {
					t.Errorf("%d of %d elements", a.m.Len(), keys)
				}
			})
		})
	}
}
