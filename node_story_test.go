package mapgossip

import (
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/gossip/simnet"
	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/fake"
)

// Stories of single keys, each of which once went wrong.

// limited starts a node whose kernel offers no better capture than mode, and
// which scans often, so that little time need pass.
func (r *rig) limited(mode mapwatch.Mode) *rigNode {
	config, kernel, m := r.prepare(len(r.nodes), mapwatch.Shape{})
	config.ScanInterval = time.Second
	kernel.LimitCapture(mode, "test")
	return r.start(config, kernel, m)
}

// at is the number that a node's kernel map has at a key; -1 if it has none.
func (n *rigNode) at(key int) int {
	v, ok := n.m.Get(number(key))
	if !ok {
		return -1
	}
	return int(v[6])<<8 | int(v[7])
}

// TestSameValueAgain: a program writes the very value that a remote entry had
// brought before. That is a new write, not an apply of ours that is still there.
func TestSameValueAgain(t *testing.T) {
	for _, mode := range []mapwatch.Mode{mapwatch.ModeFexit, mapwatch.ModeFentry, mapwatch.ModeScan} {
		t.Run(string(mode), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 1, lan)
				a, b := r.add(), r.limited(mode)
				pass(5 * time.Second)
				a.write(t, 1, 1)
				pass(5 * time.Second)
				b.write(t, 1, 2)
				pass(5 * time.Second)
				if mode == mapwatch.ModeFexit {
					b.m.Lose(1, fake.Dropped)
				}
				b.write(t, 1, 1)
				pass(5 * time.Second)
				if a.at(1) != 1 || b.at(1) != 1 {
					t.Errorf("a has %d and b has %d, want 1", a.at(1), b.at(1))
				}
			})
		})
	}
}

// TestLastWriteWins: of few values, in all modes, with faults, the last local
// write before a quiet time is what all hosts have.
func TestLastWriteWins(t *testing.T) {
	for seed := range uint64(6 / fewer) {
		synctest.Test(t, func(t *testing.T) {
			dice := rand.New(rand.NewPCG(seed, seed+100))
			r := newRig(t, seed, simnet.Link{Delay: time.Millisecond, Jitter: 5 * time.Millisecond, Loss: 0.1})
			r.limited(mapwatch.ModeFexit)
			r.limited(mapwatch.ModeFentry)
			r.limited(mapwatch.ModeScan)
			pass(5 * time.Second)
			last := map[int]int{}
			for round := range 120 {
				n := r.nodes[dice.IntN(3)]
				for key := range 4 {
					switch dice.IntN(16) {
					case 0:
						n.m.Lose(1, fake.Dropped)
					case 1:
						n.m.Lose(1, fake.Silent)
					case 2:
						n.m.FailApply(1, mapwatch.ErrBusy)
					case 3:
						n.m.Misread(1)
					}
					switch v := dice.IntN(6) - 1; {
					case v < 0:
						_ = n.m.Remove(number(key), 0) // absent is fine
						last[key] = v
					case v < 2:
						n.write(t, key, v)
						last[key] = v
					}
				}
				pass(4 * time.Second)
				for key, v := range last {
					for i, x := range r.nodes {
						if got := x.at(key); got != v {
							t.Fatalf("seed %d, round %d, key %d: node %d has %d, %s wrote %d", seed, round, key, i, got, n.config.Node, v)
						}
					}
				}
			}
		})
	}
}

// TestLocalMatters: what stays local by events= is not undone, and does not
// keep an entry waiting for ever.
func TestLocalMatters(t *testing.T) {
	start := func(t *testing.T, events Events, entries int) (a, b *rigNode) {
		r := newRig(t, 1, lan)
		a = r.add()
		config, kernel, m := r.prepare(1, mapwatch.Shape{MaxEntries: entries})
		config.Maps[0].Events = events
		b = r.start(config, kernel, m)
		pass(5 * time.Second)
		return a, b
	}
	settled := func(t *testing.T, n *rigNode) {
		t.Helper()
		if ready, why := n.Ready(t.Context()); !ready {
			t.Errorf("not ready: %v, %+v", why, n.state(t))
		}
	}
	t.Run("a delete stays", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := start(t, EventsUpdate, 0)
			a.write(t, 1, 1)
			pass(time.Second)
			if err := a.m.Remove(number(1), 0); err != nil {
				t.Fatal(err)
			}
			pass(time.Second)
			b.write(t, 1, 2)
			pass(time.Second)
			if err := b.m.Remove(number(1), 0); err != nil {
				t.Fatal(err)
			}
			pass(65 * time.Second)
			if b.at(1) != -1 || a.at(1) != 2 {
				t.Errorf("b has %d, a has %d", b.at(1), a.at(1))
			}
		})
	})
	t.Run("a refused write and a delete", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := start(t, EventsUpdate, 0)
			a.write(t, 1, 1)
			pass(time.Second)
			b.m.FailApply(1, mapwatch.ErrBusy)
			a.write(t, 1, 2)
			if err := b.m.Remove(number(1), 0); err != nil {
				t.Fatal(err)
			}
			pass(10 * time.Second)
			settled(t, b)
		})
	})
	t.Run("a full map and an update", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := start(t, EventsDelete, 2)
			b.write(t, 7, 7)
			b.write(t, 8, 8)
			a.write(t, 1, 1) // does not fit
			pass(100 * time.Millisecond)
			if err := b.m.Remove(number(7), 0); err != nil {
				t.Fatal(err)
			}
			b.write(t, 1, 9) // stays local
			pass(10 * time.Second)
			settled(t, b)
		})
	})
}

// TestHotCounter: a value that is written in place between any two reads can't
// be told by a look; the scan's word is taken.
func TestHotCounter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, lan)
		a := r.add()
		config, kernel, m := r.prepare(1, mapwatch.Shape{})
		hot := &hotKernel{Kernel: kernel, m: m}
		config.Kernel = hot
		b := r.start(config, kernel, m)
		pass(5 * time.Second)
		b.write(t, 1, 1)
		pass(time.Second)
		hot.count.Store(1)
		pass(2 * time.Minute)
		if n := a.at(1); n < 2 {
			t.Errorf("after two minutes of counting on b, a has %d", n)
		}
		hot.count.Store(0)
		pass(time.Minute)
		if a.at(1) != b.at(1) {
			t.Errorf("a has %d, b has %d", a.at(1), b.at(1))
		}
	})
}

// hotKernel counts key 1 up at each lookup, once count is not 0.
type hotKernel struct {
	*fake.Kernel
	m     *fake.Map
	count atomic.Int64
}

type hotMap struct {
	mapwatch.Map
	kernel *hotKernel
}

func (k *hotKernel) Open(target string) (mapwatch.Map, error) {
	m, err := k.Kernel.Open(target)
	return &hotMap{m, k}, err
}

func (k *hotKernel) Watch(maps []mapwatch.Map, o mapwatch.Options) (mapwatch.Watch, error) {
	raw := make([]mapwatch.Map, len(maps))
	for i, m := range maps {
		raw[i] = m.(*hotMap).Map
	}
	return k.Kernel.Watch(raw, o)
}

func (m *hotMap) tick() {
	if m.kernel.count.Load() > 0 {
		_ = m.kernel.m.Poke(number(1), number(int(m.kernel.count.Add(1)))) // the key is there
	}
}

func (m *hotMap) Lookup(key []byte) ([]byte, error) {
	m.tick()
	return m.Map.Lookup(key)
}

func (m *hotMap) Current() error { // each second
	m.tick()
	return m.Map.Current()
}

// TestNotReadyBehind: a member whose clock is so far behind that it can take
// nothing yet is not ready, and says why.
func TestNotReadyBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, lan)
		a := r.add()
		for i := range 100 {
			a.write(t, i, i)
		}
		pass(time.Second)
		config, kernel, m := r.prepare(1, mapwatch.Shape{})
		config.Now = func() time.Time { return time.Now().Add(-time.Minute) }
		b := r.start(config, kernel, m)
		pass(5 * time.Second)
		if ready, why := b.Ready(t.Context()); ready || !strings.Contains(strings.Join(why, " "), "clock") {
			t.Errorf("ready %t with %d of 100 entries: %q", ready, b.m.Len(), why)
		}
		r.converge(t, 2*time.Minute)
	})
}

// TestSlowSender: a host that only sends, and whose clock is behind, still has
// the last word on what it wrote after it had learnt of another's write.
func TestSlowSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, lan)
		a := r.add()
		config, kernel, m := r.prepare(1, mapwatch.Shape{})
		config.Maps[0].Direction = DirectionSend
		config.Now = func() time.Time { return time.Now().Add(-4 * time.Second) }
		b := r.start(config, kernel, m)
		pass(10 * time.Second)
		a.write(t, 1, 2)
		pass(2 * time.Second)
		b.write(t, 1, 3)
		pass(10 * time.Second)
		if a.at(1) != 3 {
			t.Errorf("a has %d, want 3", a.at(1))
		}
	})
}

// TestLeaveByScan: where a scan is the capture, what was written since the last
// one is handed over too.
func TestLeaveByScan(t *testing.T) {
	for _, mode := range []mapwatch.Mode{mapwatch.ModeFentry, mapwatch.ModeScan} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, 1, lan)
			a, b := r.add(), r.limited(mode)
			pass(5 * time.Second)
			for i := range 5000 {
				b.write(t, i, i)
			}
			b.stop()
			err := <-b.ended
			b.ended <- err
			pass(2 * time.Second)
			if n := a.m.Len(); err != nil || n != 5000 {
				t.Errorf("%s: %d of 5000 entries were handed over: %v", mode, n, err)
			}
		})
	}
}

// TestClockSetBack: a member crashes and starts again at once at its address,
// with its clock set back.
func TestClockSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, lan)
		a, b := r.add(), r.add()
		pass(20 * time.Second)
		r.net.Kill(b.addr)
		config, kernel, m := r.prepare(1, mapwatch.Shape{})
		config.Now = func() time.Time { return time.Now().Add(-30 * time.Second) }
		config.MaxClockSkew = time.Minute
		again := r.start(config, kernel, m)
		pass(5 * time.Minute)
		a.write(t, 2, 2)
		again.write(t, 3, 3)
		pass(time.Minute)
		if a.at(3) != 3 || again.at(2) != 2 {
			t.Errorf("a has %d at 3, b has %d at 2", a.at(3), again.at(2))
		}
	})
}

// TestSlowIntruder: a newcomer with another shape and a clock that is behind
// does not stop the established members' map.
func TestSlowIntruder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, lan)
		a, b := r.add(), r.add()
		pass(time.Minute)
		config, kernel, _ := r.prepare(2, mapwatch.Shape{KeyBytes: 4})
		config.Now = func() time.Time { return time.Now().Add(-time.Hour) }
		intruder, err := New(config)
		if err != nil {
			t.Fatal(err)
		}
		if err := intruder.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "key 4 bytes") {
			t.Errorf("the intruder ended with %v", err)
		}
		kernel.Close()
		a.write(t, 2, 2)
		pass(time.Second)
		if b.at(2) != 2 || a.state(t).Error != "" {
			t.Errorf("b has %d; a says %q", b.at(2), a.state(t).Error)
		}
	})
}

// TestInSync: a member that can't be reached is not in sync.
func TestInSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, lan)
		a, b := r.add(), r.add()
		pass(20 * time.Second)
		if s, err := a.Status(t.Context()); err != nil || !s.InSync {
			t.Errorf("%v, %+v", err, s)
		}
		r.net.Partition([]string{a.addr}, []string{b.addr})
		a.write(t, 1, 1)
		pass(6 * time.Second)
		if s, err := a.Status(t.Context()); err != nil || s.InSync {
			t.Errorf("in sync six seconds after the network was cut: %v, %+v", err, s.Members)
		}
	})
}

// TestOwnFormerRun: a member that was killed and starts again at its address
// does not take its former run for a member.
func TestOwnFormerRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, lan)
		r.add()
		b := r.add()
		pass(20 * time.Second)
		r.net.Kill(b.addr)
		config, kernel, m := r.prepare(1, mapwatch.Shape{})
		again := r.start(config, kernel, m)
		pass(2 * time.Second)
		for _, m := range again.Members() {
			if m.Node == "n1" && !m.Self {
				t.Errorf("its former run is a member: %+v", m)
			}
		}
		begin := time.Now()
		again.stop()
		err := <-again.ended
		again.ended <- err
		if took := time.Since(begin); err != nil || took > 3*time.Second {
			t.Errorf("left with %v after %v", err, took)
		}
	})
}
