package mapgossip

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/gossip"
	"github.com/mapgossip/mapgossip/gossip/simnet"
	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/fake"
)

var lan = simnet.Link{Delay: 200 * time.Microsecond, Jitter: 100 * time.Microsecond}

func TestSpreadAndDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, lan)
		a, b, c := r.add(), r.add(), r.add()
		pass(5 * time.Second)
		a.write(t, 1, 10)
		b.write(t, 2, 20)
		if took := r.converge(t, time.Minute); took > 100*time.Millisecond {
			t.Errorf("two writes took %v", took)
		}
		if err := c.m.Remove(number(1), 0); err != nil {
			t.Fatal(err)
		}
		r.converge(t, time.Minute)
		if got := a.m.Content(); len(got) != 1 {
			t.Errorf("%d elements, want 1", len(got))
		}
		if s := b.state(t); s.Tombstones != 1 || s.Counters.Local != 1 || s.Counters.Echoes != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestLateJoiner: whoever comes later gets everything, and what its map held
// before loses to what the cluster knows.
func TestLateJoiner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, lan)
		a, b := r.add(), r.add()
		for i := range 2000 {
			a.write(t, i, i)
		}
		if err := a.m.Remove(number(7), 0); err != nil {
			t.Fatal(err)
		}
		r.converge(t, time.Minute)
		config, kernel, m := r.prepare(2, mapwatch.Shape{})
		for key, value := range map[int]int{3: 333, 7: 777, 5000: 5} { // changed, deleted and unknown in the cluster
			if err := m.Write(number(key), number(value), 0); err != nil {
				t.Fatal(err)
			}
		}
		c := r.start(config, kernel, m)
		r.converge(t, time.Minute)
		want := a.m.Content()
		if len(want) != 2000 { // 2000, less one, and the unknown one
			t.Errorf("%d elements, want 2000", len(want))
		}
		if v, _ := c.m.Get(number(3)); string(v) != string(number(3)) {
			t.Errorf("an old value won: %x", v)
		}
		if _, ok := b.m.Get(number(5000)); !ok {
			t.Error("an element that only the joiner knew is lost")
		}
		if ready, why := c.Ready(t.Context()); !ready {
			t.Error(why)
		}
	})
}

// TestFaults writes at random on all nodes while records get lost, doubled
// back, or were never made, applies fail and packets vanish. All ends equal,
// and every value is one that somebody wrote for that key.
func TestFaults(t *testing.T) {
	for seed := range uint64(9 / fewer) {
		synctest.Test(t, func(t *testing.T) {
			dice := rand.New(rand.NewPCG(seed, seed))
			r := newRig(t, seed, simnet.Link{Delay: time.Millisecond, Jitter: 5 * time.Millisecond, Loss: 0.2, Duplicate: 0.1})
			for range 4 {
				r.add()
			}
			if seed%4 == 3 {
				r.nodes[3].kernel.LimitCapture(mapwatch.ModeScan, "seed")
			}
			pass(3 * time.Second)
			written := map[[2]string]bool{}
			next := 0
			for range 2000 {
				n := r.nodes[dice.IntN(len(r.nodes))]
				key, cpu := number(dice.IntN(40)), uint32(dice.IntN(2))
				next++
				value := number(next)
				switch dice.IntN(20) {
				case 0:
					n.m.Lose(1, fake.Dropped)
				case 1:
					n.m.Lose(1, fake.Silent)
				case 2:
					n.m.Lose(1, fake.Missed)
				case 3:
					n.m.Reverse(2)
				case 4:
					n.m.FailApply(1, mapwatch.ErrBusy)
				case 5:
					n.m.Misread(1)
				}
				switch dice.IntN(8) {
				case 0:
					_ = n.m.Remove(key, cpu) // absent is fine
				case 1:
					if n.m.Poke(key, value) == nil {
						written[[2]string{string(key), string(value)}] = true
					}
				default:
					if err := n.m.Write(key, value, cpu); err != nil {
						t.Fatal(err)
					}
					written[[2]string{string(key), string(value)}] = true
				}
				if dice.IntN(3) == 0 {
					pass(time.Duration(dice.IntN(20)) * time.Millisecond)
				}
			}
			took := r.converge(t, 3*time.Minute)
			for k, v := range r.nodes[0].m.Content() {
				if !written[[2]string{k, v}] {
					t.Errorf("seed %d: nobody wrote %x at %x", seed, v, k)
				}
			}
			t.Logf("seed %d: equal after %v", seed, took)
		})
	}
}

// TestPartition: both sides go on, and agree when they meet again, after much
// longer than failure detection takes.
func TestPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, lan)
		a, b, c := r.add(), r.add(), r.add()
		pass(3 * time.Second)
		r.net.Partition([]string{a.addr, b.addr}, []string{c.addr})
		for i := range 100 {
			a.write(t, i, 1000+i)
			c.write(t, i+50, 2000+i)
		}
		pass(5 * time.Minute)
		r.net.Heal()
		t.Logf("equal %v after the network healed", r.converge(t, time.Minute))
		if n := a.m.Len(); n != 150 {
			t.Errorf("%d elements, want 150", n)
		}
	})
}

// TestFullMap: what does not fit stays known, says why, and goes in when room comes.
func TestFullMap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, lan)
		a := r.add()
		config, kernel, m := r.prepare(1, mapwatch.Shape{MaxEntries: 10})
		b := r.start(config, kernel, m)
		pass(3 * time.Second)
		for i := range 15 {
			a.write(t, i, i)
		}
		pass(5 * time.Second)
		s := b.state(t)
		if s.Entries != 15 || s.PendingApply != 5 || !strings.Contains(s.Error, "full") {
			t.Errorf("%+v", s)
		}
		if ready, _ := b.Ready(t.Context()); ready {
			t.Error("ready, though its map lacks entries")
		}
		for i := range 5 {
			if err := b.m.Remove(number(keyOf(t, b.m, i)), 0); err != nil {
				t.Fatal(err)
			}
		}
		r.converge(t, time.Minute)
		if n := a.m.Len(); n != 10 {
			t.Errorf("%d elements, want 10", n)
		}
	})
}

// keyOf returns some key of a map.
func keyOf(t *testing.T, m *fake.Map, i int) int {
	for n := range 15 {
		if _, ok := m.Get(number(n)); ok {
			return n
		}
	}
	t.Fatalf("no key left at %d", i)
	return 0
}

// TestDirections: send never writes the own map, receive never sends and
// undoes local changes.
func TestDirections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, lan)
		sendConfig, kernel, m := r.prepare(0, mapwatch.Shape{})
		sendConfig.Maps[0].Direction = DirectionSend
		sender := r.start(sendConfig, kernel, m)
		receiveConfig, kernel, m := r.prepare(1, mapwatch.Shape{})
		receiveConfig.Maps[0].Direction = DirectionReceive
		receiver := r.start(receiveConfig, kernel, m)
		both := r.add()
		pass(3 * time.Second)
		sender.write(t, 1, 1)
		both.write(t, 2, 2)
		receiver.write(t, 3, 3)
		pass(2 * time.Second)
		receiver.write(t, 1, 111)
		pass(2 * time.Minute)
		if n := sender.m.Len(); n != 1 {
			t.Errorf("the sender's map has %d elements, want its own one", n)
		}
		if n := both.m.Len(); n != 2 {
			t.Errorf("%d elements, want those of sender and both", n)
		}
		if v, _ := receiver.m.Get(number(1)); string(v) != string(number(1)) {
			t.Errorf("the receiver's change was not undone: %x", v)
		}
	})
}

func entryOf(t *testing.T, n *rigNode, key int) (e crdt.Entry) {
	t.Helper()
	err := replica{n.Node}.Read(t.Context(), "flows", func(s *crdt.Store) {
		e, _ = s.Get(number(key))
		e.Key, e.Value = bytes.Clone(e.Key), bytes.Clone(e.Value)
	})
	if err != nil || e.Key == nil {
		t.Fatalf("no entry for key %d: %v", key, err)
	}
	return e
}

// TestRefusedShape: a member whose only map has another shape than the
// cluster's gives up with both shapes in the error; the others go on.
func TestRefusedShape(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, lan)
		a := r.add()
		pass(3 * time.Second)
		config, kernel, _ := r.prepare(1, mapwatch.Shape{KeyBytes: 4})
		late, err := New(config)
		if err != nil {
			t.Fatal(err)
		}
		err = late.Run(t.Context())
		kernel.Close()
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "4") || !strings.Contains(err.Error(), "8") {
			t.Errorf("error %v, want both shapes", err)
		}
		a.write(t, 1, 1)
		pass(time.Second)
		if s := a.state(t); s.Error != "" || s.Entries != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestDuplicateNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, lan)
		r.add()
		r.add()
		pass(20 * time.Second)
		config, kernel, _ := r.prepare(2, mapwatch.Shape{})
		config.Node = "n1"
		clone, err := New(config)
		if err != nil {
			t.Fatal(err)
		}
		if err := clone.Run(t.Context()); !errors.Is(err, gossip.ErrDuplicateNode) {
			t.Errorf("error %v, want ErrDuplicateNode", err)
		}
		kernel.Close()
	})
}

// TestLeaveHandsOver: what a member wrote just before it was told to stop is
// not lost.
func TestLeaveHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, lan)
		a, b := r.add(), r.add()
		pass(3 * time.Second)
		for i := range 500 {
			b.write(t, i, i)
		}
		begin := time.Now()
		b.stop()
		err := <-b.ended
		b.ended <- err // for the rig
		if err != nil || time.Since(begin) > 10*time.Second {
			t.Errorf("left with %v after %v", err, time.Since(begin))
		}
		pass(time.Second)
		if n := a.m.Len(); n != 500 {
			t.Errorf("%d of 500 entries were handed over", n)
		}
	})
}

func TestStoppedNodeAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, lan)
		config, kernel, _ := r.prepare(0, mapwatch.Shape{})
		n, err := New(config)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := n.Run(ctx); err != nil {
			t.Error(err)
		}
		if _, err := n.Maps(t.Context()); !errors.Is(err, ErrStopped) {
			t.Errorf("error %v, want ErrStopped", err)
		}
		kernel.Close()
	})
}
