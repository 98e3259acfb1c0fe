package mapgossip

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/gossip/simnet"
	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/state"
)

// upAndDown starts the agent and ends it before it has looked at its map.
func (l *lasting) upAndDown() {
	l.listen()
	n, err := New(l.config)
	if err != nil {
		l.r.t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		l.r.t.Fatal(err)
	}
}

// listen gives the next run a transport and the disk.
func (l *lasting) listen() {
	transport, err := l.r.net.Listen(l.addr)
	if err != nil {
		l.r.t.Fatal(err)
	}
	l.config.Transport, l.config.StateFS = transport, l.disk.Mount()
}

// edit writes to the state directory as an agent does that is then killed.
func (l *lasting) edit(write func(*state.Dir)) {
	dir, _, err := state.Open(l.disk.Mount(), state.Identity{Node: l.config.Node, Cluster: l.config.Cluster}, slog.New(slog.DiscardHandler))
	if err != nil {
		l.r.t.Fatal(err)
	}
	write(dir)
	if err := dir.Flush(); err != nil {
		l.r.t.Fatal(err)
	}
	l.disk.Kill()
}

// TestRestartTwiceOnNewMap: a new map that was not filled before the agent ended
// again is no map from which all was deleted.
func TestRestartTwiceOnNewMap(t *testing.T) {
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
		b.upAndDown()
		b.up()
		pass(3 * time.Second)
		r.converge(t, time.Minute)
		if n := len(a.m.Content()); n != 100 {
			t.Errorf("%d keys are left, want 100", n)
		}
	})
}

// TestFirstStartCutShort: what a map holds of unknown age is so at the second
// start, too, if the first one did not come to read it all.
func TestFirstStartCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		a, b := r.startLasting(0), r.prepareLasting(1)
		pass(3 * time.Second)
		a.write(t, 1, 111)
		b.write(t, 1, 5)
		b.config.Transport.Shutdown()
		b.addr = b.config.Bind.String()
		b.upAndDown()
		b.listen()
		b.rigNode = r.start(b.config, b.kernel, b.m)
		r.converge(t, time.Minute)
		if value := a.m.Content()[string(number(1))]; value != string(number(111)) {
			t.Errorf("key 1 is %x, want 111", value)
		}
	})
}

// TestRestartTwiceAfterKill: an apply that was under way when the agent was
// killed is made up for, also if the next run ends before it comes to that.
func TestRestartTwiceAfterKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		a := r.startLasting(0)
		pass(3 * time.Second)
		a.write(t, 1, 1)
		pass(10 * time.Second)
		a.down(true)
		pass(time.Second)
		a.edit(func(dir *state.Dir) {
			dir.Settled()
			dir.Append("flows", crdt.Entry{Key: number(1), Deleted: true,
				Version: crdt.Version{Time: crdt.Timestamp{Wall: time.Now().UnixNano()}, Member: "n9"}}, false)
		})
		a.upAndDown()
		a.up()
		pass(5 * time.Second)
		if s := a.state(t); len(a.m.Content()) != 0 || s.Tombstones != 1 {
			t.Errorf("the map has %x and %d tombstones: want the delete", a.m.Content(), s.Tombstones)
		}
	})
}

// TestRestartKeepsUnappliedDelete: a delete that the kernel's map is not to get,
// because the member only sends, is not forgotten in a restart after all others
// have forgotten it: the map has the key still.
func TestRestartKeepsUnappliedDelete(t *testing.T) {
	for _, renewed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
			a, b := r.startLasting(0), r.prepareLasting(1)
			b.config.Maps[0].Direction = DirectionSend
			b.up()
			pass(3 * time.Second)
			b.write(t, 1, 1)
			a.write(t, 2, 2)
			pass(10 * time.Second)
			a.remove(t, 1, 2)
			pass(3 * time.Minute)
			if got := a.tombstones(t); got != 0 || len(a.m.Content()) != 1 {
				t.Fatalf("%d tombstones, %d keys before the restart", got, len(a.m.Content()))
			}
			b.down(true)
			if renewed { // what the member did not write itself is not in its map
				b.m = b.kernel.AddMap(mapwatch.Shape{Target: rigPin})
				b.write(t, 1, 1)
			}
			b.up()
			pass(3 * time.Second)
			if renewed {
				b.down(true)
				b.up()
				pass(10 * time.Second)
				if content := a.m.Content(); content[string(number(2))] == "" {
					t.Error("a key that the member never had in its map was deleted")
				}
				return
			}
			pass(10 * time.Second)
			if content := a.m.Content(); len(content) != 1 {
				t.Errorf("the deleted key is back: %x", content)
			}
		})
	}
}

// TestRestartAmidToldDelete: a delete that the others told this member of, at the
// version that it had stamped itself, is applied though the agent was killed before.
func TestRestartAmidToldDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{})
		a := r.startLasting(0)
		pass(time.Second)
		a.write(t, 1, 1)
		pass(10 * time.Second)
		var version crdt.Version
		var kept mapNote
		if err := a.call(t.Context(), func() {
			b := a.maps[0]
			e, _ := b.store.Get(number(1))
			version = e.Version
			kept = mapNote{b.shape.Type, b.shape.KeyBytes, b.shape.ValueBytes, a.kernel.Boot(), b.shape.ID, crdt.Report{Floor: version.Time.Wall}}
		}); err != nil {
			t.Fatal(err)
		}
		a.down(true)
		a.edit(func(dir *state.Dir) {
			text, err := json.Marshal(note{Maps: map[string]mapNote{"flows": kept}})
			if err != nil {
				t.Fatal(err)
			}
			dir.Meta(text)
			dir.Settled()
			dir.Append("flows", crdt.Entry{Key: number(1), Deleted: true, Version: version}, false)
		})
		a.up()
		pass(5 * time.Second)
		if n := len(a.m.Content()); n != 0 {
			t.Errorf("%d keys, want the delete", n)
		}
	})
}

// TestRestartWithStrangeState: what the directory says of another shape, or
// nobody can read, keeps no agent from starting.
func TestRestartWithStrangeState(t *testing.T) {
	for name, write := range map[string]func(l *lasting, dir *state.Dir){
		"entry of another shape": func(l *lasting, dir *state.Dir) {
			dir.Append("flows", crdt.Entry{Key: []byte("four"), Value: []byte("four"),
				Version: crdt.Version{Time: crdt.Timestamp{Wall: time.Now().UnixNano()}, Member: "n0"}}, false)
		},
		"note that is none": func(_ *lasting, dir *state.Dir) { dir.Meta([]byte("{")) },
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, 1, simnet.Link{})
			a := r.startLasting(0)
			a.write(t, 1, 1)
			pass(10 * time.Second)
			a.down(true)
			a.edit(func(dir *state.Dir) { write(a, dir) })
			a.up()
			pass(5 * time.Second)
			if s := a.state(t); s.Entries != 1 || !s.Bound {
				t.Errorf("%s: %d entries, bound %v", name, s.Entries, s.Bound)
			}
		})
	}
}

// TestCrowdedStart: a member with very many tombstones gives those whom it has
// had no time to meet a chance.
func TestCrowdedStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		a := r.prepareLasting(0)
		now := time.Now().UnixNano()
		a.edit(func(dir *state.Dir) {
			for i := range tombstoneLimit(a.m.Shape().MaxEntries) + 1 {
				dir.Append("flows", crdt.Entry{Key: number(i), Deleted: true,
					Version: crdt.Version{Time: crdt.Timestamp{Wall: now - 1}, Member: "n1"}}, false)
			}
			shape := a.m.Shape()
			text, err := json.Marshal(note{Maps: map[string]mapNote{"flows": {Type: shape.Type, KeyBytes: shape.KeyBytes, ValueBytes: shape.ValueBytes,
				Boot: a.kernel.Boot(), ID: shape.ID, Progress: crdt.Report{Marks: []crdt.Mark{{Member: "n1", Seen: now, Has: now}}}}}})
			if err != nil {
				t.Fatal(err)
			}
			dir.Meta(text)
		})
		a.up()
		waits := func() (yes bool) {
			if err := a.call(t.Context(), func() {
				yes = a.maps[0].store.Progress().Counts("n1", time.Now().UnixNano(), a.config.ForgetAfter)
			}); err != nil {
				t.Fatal(err)
			}
			return yes
		}
		pass(10 * time.Second)
		if !waits() {
			t.Error("n1 is given up on at the start")
		}
		pass(2 * crowdedAge)
		if waits() {
			t.Error("n1 is waited for although there are too many tombstones")
		}
	})
}

// TestCloseDuringRun: Close may come at any time while Run is at work.
func TestCloseDuringRun(t *testing.T) {
	for i := range 5 {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, 1, simnet.Link{})
			a := r.prepareLasting(0)
			a.config.CapturePins = "/sys/fs/bpf/mapgossip"
			a.up()
			var writers sync.WaitGroup
			writers.Go(func() {
				for key := range 1000 {
					_ = a.m.Write(number(key), number(key), 0)
				}
			})
			time.Sleep(time.Duration(i+1) * 500 * time.Millisecond)
			if err := a.Close(); err != nil {
				t.Error(fmt.Errorf("close: %w", err))
			}
			writers.Wait()
			pass(time.Second)
		})
	}
}
