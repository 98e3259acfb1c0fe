package mapgossip

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/gossip/simnet"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// TestRoom: maps of different max_entries are legal; every member knows who
// cannot hold what, what does not fit stays known and goes in when there is room.
func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		a := r.add()
		c, kernel, m := r.prepare(1, mapwatch.Shape{MaxEntries: 50})
		b := r.start(c, kernel, m)
		for i := range 80 {
			a.write(t, i, i)
		}
		pass(10 * time.Second)
		if s := b.state(t); b.m.Len() != 50 || s.Entries != 80 || s.PendingApply != 30 || !strings.Contains(s.Error, "full") {
			t.Errorf("%d elements, %d entries, %d pending: %q", b.m.Len(), s.Entries, s.PendingApply, s.Error)
		}
		for _, n := range r.nodes {
			for _, o := range n.Members() {
				want := Room{"flows", 65536, 0}
				if o.Node == "n1" {
					want = Room{"flows", 50, 30}
				}
				if !o.Self && (len(o.Room) != 1 || o.Room[0] != want) {
					t.Errorf("%s knows of %s: %+v, want %+v", n.config.Node, o.Node, o.Room, want)
				}
			}
		}
		for i := range 40 {
			if err := a.m.Remove(number(i), 0); err != nil {
				t.Fatal(err)
			}
		}
		r.converge(t, 10*time.Second)
		pass(5 * time.Second)
		for _, o := range a.Members() {
			if !o.Self && o.Room[0].Waiting != 0 {
				t.Errorf("%d entries are said to wait", o.Room[0].Waiting)
			}
		}
	})
}
