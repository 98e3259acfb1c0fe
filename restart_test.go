package mapgossip

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/gossip/simnet"
	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/state/fakefs"
)

// lasting is a member whose kernel and disk outlive its agent.
type lasting struct {
	*rigNode
	r      *rig
	config Config
	disk   *fakefs.Disk
}

func (r *rig) startLasting(i int) *lasting {
	l := r.prepareLasting(i)
	l.up()
	return l
}

func (r *rig) prepareLasting(i int) *lasting {
	c, kernel, m := r.prepare(i, mapwatch.Shape{})
	c.TombstoneMinAge, c.ForgetAfter = time.Minute, 10*time.Minute
	return &lasting{rigNode: &rigNode{kernel: kernel, m: m}, r: r, config: c, disk: fakefs.New()}
}

// down ends the agent, as kill -9 does or in order.
func (l *lasting) down(kill bool) {
	if kill {
		l.disk.Kill()
		l.r.net.Kill(l.addr)
	}
	l.stop()
	if err := <-l.ended; err != nil && !kill {
		l.r.t.Errorf("%s: %v", l.config.Node, err)
	}
	l.r.nodes = without(l.r.nodes, l.rigNode)
}

func without(nodes []*rigNode, gone *rigNode) (rest []*rigNode) {
	for _, n := range nodes {
		if n != gone {
			rest = append(rest, n)
		}
	}
	return rest
}

// up starts the agent again on the same host.
func (l *lasting) up() {
	if l.Node != nil {
		transport, err := l.r.net.Listen(l.addr)
		if err != nil {
			l.r.t.Fatal(err)
		}
		l.config.Transport = transport
	}
	l.config.StateFS = l.disk.Mount()
	l.rigNode = l.r.start(l.config, l.kernel, l.m)
}

// TestRestart: what a map held and did not change keeps its version over a
// restart; what was changed while the agent was down is a change of that time,
// also against what the others did before; what they did meanwhile is taken.
func TestRestart(t *testing.T) {
	for _, kill := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
			a, b := r.startLasting(0), r.startLasting(1)
			pass(3 * time.Second)
			for key := range 100 {
				[]*lasting{a, b}[key%2].write(t, key, key)
			}
			r.converge(t, time.Minute)
			a.remove(t, 90, 100)
			r.converge(t, time.Minute)
			if kill {
				pass(10 * time.Second)
			}

			b.down(kill)
			pass(2 * time.Second)
			b.write(t, 1, 1001)  // while its agent is down
			b.write(t, 500, 500) // new
			b.remove(t, 10, 12)  // deleted
			a.write(t, 20, 2020) // the other one
			a.remove(t, 30, 31)  // and deleted
			a.write(t, 2, 1)     // older than what b writes now
			pass(5 * time.Second)
			b.write(t, 2, 2002)
			b.up()
			r.converge(t, 2*time.Minute)
			content := a.m.Content()
			want := map[int]int{1: 1001, 2: 2002, 20: 2020, 500: 500}
			for key := range 90 {
				if _, ok := want[key]; !ok && key != 10 && key != 11 && key != 30 {
					want[key] = key
				}
			}
			for key, value := range want {
				if got := content[string(number(key))]; got != string(number(value)) {
					t.Errorf("kill %v: key %d is %x, want %d", kill, key, got, value)
				}
			}
			if len(content) != len(want) {
				t.Errorf("kill %v: %d keys, want %d", kill, len(content), len(want))
			}
			if local := b.state(t).Counters.Local; local != 5 {
				t.Errorf("kill %v: %d changes stamped after the restart, want the 5 that were made", kill, local)
			}
		})
	}
}

// TestRestartAlone: entries, versions and tombstones are there after a restart
// with nobody to ask.
func TestRestartAlone(t *testing.T) {
	for _, kill := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, 1, simnet.Link{})
			a := r.startLasting(0)
			pass(time.Second)
			for key := range 100 {
				a.write(t, key, key)
			}
			a.remove(t, 0, 10)
			pass(10 * time.Second)
			before := a.state(t)
			a.down(kill)
			a.up()
			pass(10 * time.Second)
			if s := a.state(t); s.Digest != before.Digest || s.Tombstones != 10 || s.Counters.Local != 0 {
				t.Errorf("kill %v: %d entries, %d tombstones, %d stamped: want all as before", kill, s.Entries, s.Tombstones, s.Counters.Local)
			}
		})
	}
}

// TestRestartOnNewMap: after a reboot, or when the program's loader made a new
// map, the map is filled from what was saved, and nothing is deleted.
func TestRestartOnNewMap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		a, b := r.startLasting(0), r.startLasting(1)
		pass(3 * time.Second)
		for key := range 100 {
			a.write(t, key, key)
		}
		r.converge(t, time.Minute)
		b.down(false)
		b.m = b.kernel.AddMap(mapwatch.Shape{Target: rigPin})
		b.write(t, 7, 7777) // of unknown age: loses
		b.write(t, 300, 300)
		b.up()
		r.converge(t, time.Minute)
		content := a.m.Content()
		if len(content) != 101 || content[string(number(7))] != string(number(7)) {
			t.Errorf("%d keys, key 7 is %x: want 101, and 7", len(content), content[string(number(7))])
		}
	})
}

// TestPinnedCapture: with pinned capture, what was written while the agent was
// down has the time at which it was written.
func TestPinnedCapture(t *testing.T) {
	for _, kill := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
			r.startLasting(0)
			b := r.prepareLasting(1)
			b.config.CapturePins = "/sys/fs/bpf/mapgossip"
			b.up()
			pass(3 * time.Second)
			b.write(t, 1, 1)
			r.converge(t, time.Minute)
			pass(10 * time.Second)
			if kill {
				b.kernel.Kill()
			}
			b.down(kill)
			pass(10 * time.Second)
			b.write(t, 1, 1001)
			b.write(t, 2, 2002)
			written := time.Now()
			pass(10 * time.Second)
			b.up()
			r.converge(t, time.Minute)
			for key, value := range map[int]int{1: 1001, 2: 2002} {
				var e crdt.Entry
				if err := b.call(t.Context(), func() { e, _ = b.maps[0].store.Get(number(key)) }); err != nil {
					t.Fatal(err)
				}
				if at := time.Unix(0, e.Version.Time.Wall); at.Sub(written).Abs() > time.Millisecond || string(e.Value) != string(number(value)) {
					t.Errorf("kill %v: key %d has %x of %v, want %d of %v", kill, key, e.Value, at, value, written)
				}
			}
		})
	}
}

// TestKilledInItsFirstSecond: what was written down before the first housekeeping
// is there after a restart.
func TestKilledInItsFirstSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{})
		a := r.startLasting(0)
		pass(300 * time.Millisecond)
		a.write(t, 1, 1)
		pass(100 * time.Millisecond)
		before := a.state(t).Digest
		a.down(true)
		a.up()
		pass(time.Second)
		if s := a.state(t); s.Digest != before || s.Entries != 1 {
			t.Errorf("%d entries, digest %s: want 1, as before the kill, %s", s.Entries, s.Digest, before)
		}
	})
}

// TestDeletedRightAfter: a key that was written just before a kill, here or by
// another member, and deleted while the agent was down, is deleted.
func TestDeletedRightAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		a, b := r.startLasting(0), r.startLasting(1)
		pass(3 * time.Second)
		b.write(t, 1, 1)
		pass(100 * time.Millisecond)
		b.write(t, 2, 2)
		r.converge(t, time.Minute)
		b.down(true)
		b.remove(t, 2, 3)
		pass(time.Second)
		b.up()
		r.converge(t, time.Minute)
		a.write(t, 3, 3)
		r.converge(t, time.Minute)
		pass(2 * time.Second) // of another member's, it is known by then that the kernel has it
		b.down(true)
		b.remove(t, 3, 4)
		pass(time.Second)
		b.up()
		r.converge(t, time.Minute)
		if content := a.m.Content(); len(content) != 1 {
			t.Errorf("%d keys, want one: two were deleted", len(content))
		}
	})
}

// TestKnownMembersSurvive: a member without seeds finds the others again.
func TestKnownMembersSurvive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		a, b := r.startLasting(0), r.startLasting(1)
		pass(10 * time.Second)
		a.down(true)
		b.down(true)
		b.config.Join = nil
		a.up()
		b.up()
		pass(15 * time.Second)
		for _, l := range []*lasting{a, b} {
			if members := l.Members(); len(members) != 2 || members[1].State != "alive" {
				t.Errorf("%s sees %+v, want the other one", l.config.Node, members)
			}
		}
	})
}
