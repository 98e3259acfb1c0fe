package mapgossip

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/gossip/simnet"
)

// TestClockAheadAtStart: a host that starts with a clock far ahead, and is set
// right some seconds later, is as good as any other.
func TestClockAheadAtStart(t *testing.T) {
	for name, members := range map[string]int{"alone": 1, "among others": 3} {
		synctest.Test(t, func(t *testing.T) {
			r := newClockRig(t, 1, simnet.Link{Delay: time.Millisecond})
			for range members - 1 {
				r.join(0)
			}
			late := r.join(1000 * time.Hour)
			pass(5 * time.Second)
			r.clocks[members-1].mend()
			pass(5 * time.Second)
			if members == 1 {
				r.join(0)
			}
			late.write(t, 1, 1)
			pass(10 * time.Second)
			r.want(t, 1, 1)
			if by := ahead(t, late, 1); by > time.Second {
				t.Errorf("%s: stamped %v ahead", name, by)
			}
			for _, n := range r.nodes {
				if floor := n.state(t).Floor; floor.After(time.Now()) {
					t.Errorf("%s: %s has a floor at %v", name, n.config.Node, floor)
				}
			}
		})
	}
}

// TestReportOfTheFuture: what a member with a broken clock, or a hostile one, tells
// neither stops the changes of others nor makes anybody delete anything.
func TestReportOfTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := forgetful(t, 3)
		for key := range 100 {
			r.nodes[key%3].write(t, key, key)
		}
		r.converge(t, time.Minute)
		pass(2 * time.Minute)
		const far = 1<<63 - 1
		report := crdt.Report{Floor: far}
		for _, n := range r.nodes {
			report.Marks = append(report.Marks, crdt.Mark{Member: n.config.Node, Has: far, Stable: far, Told: far, Seen: far, Out: far, Fence: far})
		}
		for _, complete := range []bool{false, true} {
			if err := (replica{r.nodes[0].Node}).Learn(t.Context(), "flows", report, complete); err != nil {
				t.Fatal(err)
			}
		}
		r.nodes[0].write(t, 1, 1001)
		r.nodes[1].write(t, 2, 2002)
		r.nodes[0].write(t, 500, 500)
		r.nodes[1].write(t, 501, 501)
		pass(30 * time.Second)
		r.converge(t, time.Minute)
		content := r.nodes[2].m.Content()
		for key, value := range map[int]int{1: 1001, 2: 2002, 500: 500, 501: 501} {
			if content[string(number(key))] != string(number(value)) {
				t.Errorf("key %d is %x, want %d", key, content[string(number(key))], value)
			}
		}
		if len(content) != 102 {
			t.Errorf("%d keys, want 102", len(content))
		}
		pass(3 * time.Minute)
		r.converge(t, time.Minute)
		r.nodes[0].remove(t, 0, 50)
		pass(3 * time.Minute)
		r.converge(t, time.Minute)
		if s := r.nodes[1].state(t); s.Entries != 52 || s.Tombstones != 0 {
			t.Errorf("%d entries and %d tombstones, want 52 and none", s.Entries, s.Tombstones)
		}
	})
}
