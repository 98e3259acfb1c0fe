package gossip

import (
	"bytes"
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/gossip/simnet"
)

func TestLostPacketsAreRepaired(t *testing.T) {
	link := lan
	link.Loss, link.Duplicate = 0.3, 0.1
	virtual(t, link, func(t *testing.T, w *world) {
		a := w.start("a", addrA, nil)
		b := w.start("b", addrB, seeds(addrA))
		c := w.start("c", addrC, seeds(addrA, addrB))
		within(t, 10*time.Second, "three members", func() bool { return alive(a) == 3 && alive(b) == 3 && alive(c) == 3 })
		within(t, 10*time.Second, "ready", ready(a, b, c))
		for i := range 200 {
			w.members[i%3].put("flows", key(i), value(i))
			<-time.After(5 * time.Millisecond)
		}
		t.Log("equal in", within(t, 2*time.Second, "equal", same("flows", a, b, c)))
		if a.len("flows") != 200 {
			t.Errorf("%d entries, want 200", a.len("flows"))
		}
		if a.Stats().RumorsResent == 0 {
			t.Error("nothing was lost: the test shows nothing")
		}
	})
}

func TestRumorsTakeStreamsWherePacketsVanish(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, nil)
		b := w.start("b", addrB, seeds(addrA))
		within(t, 3*time.Second, "ready", ready(a, b))
		w.net.SetFilter(func(_, _ string, packet []byte) bool { return !bytes.Contains(packet, []byte("flows")) })
		for i := range 20 {
			a.put("flows", key(i), value(i))
		}
		t.Log("equal in", within(t, time.Second, "equal", same("flows", a, b)))
		w.net.SetFilter(nil)
		within(t, time.Second, "idle", func() bool { return a.peers()[0].idle() })
	})
}

func TestFramesOfNoUse(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, nil)
		b := w.start("b", addrB, seeds(addrA))
		within(t, 3*time.Second, "ready", ready(a, b))
		to := a.peers()[0].node
		wrong := sampleBatch() // another key size
		unknown := sampleBatch()
		unknown.Map = "nobody's"
		body := encodeGoodbye(a.name)
		broken := sampleBatch().encode(a.name)
		broken[len(broken)-1] ^= 1
		for _, frame := range [][]byte{
			newFrame(99, a.name, 0, 64).finish(), // a kind of a later version
			wrong.encode(a.name), unknown.encode(a.name),
			sampleBatch().encode(sampleSender), // of a stranger
			broken, broken[:20], body[:5], {0}, sealed(byte(kindState), body[frameHeaderBytes:]),
		} {
			if err := a.list.SendReliable(to, frame); err != nil {
				t.Fatal(err)
			}
		}
		within(t, time.Second, "counted", func() bool {
			s := b.Stats()
			return s.UnknownFrames == 1 && s.ShapeRefused == 1 && s.UnknownMaps == 1 && s.Malformed == 5
		})
		<-time.After(2 * strangerWait)
		if err := a.list.SendReliable(to, sampleBatch().encode(sampleSender)); err != nil {
			t.Fatal(err)
		}
		within(t, time.Second, "the stranger's frame is dropped", func() bool { return b.Stats().StrangerFrames == 1 })
		b.put("flows", key(1), value(1))
		within(t, time.Second, "equal", same("flows", a, b))
	})
}

func TestAntiEntropyAlone(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, nil)
		b := w.start("b", addrB, seeds(addrA))
		within(t, 3*time.Second, "two members", w.sees(2))
		within(t, 3*time.Second, "ready", ready(a, b))
		a.fill("flows", 50, 1) // no rumor at all
		b.fill("flows", 50, 2)
		within(t, 30*time.Second, "equal", same("flows", a, b))
		if a.len("flows") != 100 {
			t.Errorf("%d entries, want 100", a.len("flows"))
		}
	})
}

func TestPartitionHealsThroughSeeds(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, seeds(addrC))
		b := w.start("b", addrB, seeds(addrA))
		c := w.start("c", addrC, seeds(addrA))
		within(t, 3*time.Second, "three members", w.sees(3))
		within(t, 3*time.Second, "ready", ready(a, b, c))
		w.net.Partition([]string{addrA, addrB}, []string{addrC})
		var states []string
		within(t, 60*time.Second, "c dead for a", func() bool {
			s := stateOf(a, "c")
			if len(states) == 0 || states[len(states)-1] != s {
				states = append(states, s)
			}
			return s == StateDead
		})
		if got := strings.Join(states, " "); got != "alive suspect dead" {
			t.Errorf("states of c: %s", got)
		}
		<-time.After(90 * time.Second)
		for i := range 100 {
			a.put("flows", key(i), value(i))
			c.put("flows", key(50+i), value(1000+i))
		}
		within(t, 5*time.Second, "a and b equal", same("flows", a, b))
		if n := a.Stats().RumorsWaiting; n != 0 {
			t.Errorf("%d rumors wait for the dead", n)
		}
		w.net.Heal()
		t.Log("met in", within(t, 45*time.Second, "three members", w.sees(3)))
		t.Log("equal in", within(t, 10*time.Second, "equal", same("flows", a, b, c)))
		if a.len("flows") != 150 {
			t.Errorf("%d entries, want 150", a.len("flows"))
		}
	})
}

func TestLeaveHandsOver(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, nil)
		b := w.start("b", addrB, seeds(addrA))
		c := w.start("c", addrC, seeds(addrA))
		within(t, 3*time.Second, "three members", w.sees(3))
		within(t, 3*time.Second, "ready", ready(a, b, c))
		for i := range 20_000 {
			c.put("flows", key(i), value(i))
		}
		c.stop() // Run ends first, as in a Node that stops
		begin := time.Now()
		if err := c.Leave(context.Background()); err != nil {
			t.Error(err)
		}
		took := time.Since(begin)
		if took < linger || took > 5*time.Second {
			t.Errorf("leaving took %v", took)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if !same("flows", a, b, c)() {
			t.Errorf("a has %d, b %d, want 20000", a.len("flows"), b.len("flows"))
		}
		within(t, time.Second, "left", func() bool { return stateOf(a, "c") == StateLeft && stateOf(b, "c") == StateLeft })
		if err := c.Leave(context.Background()); err == nil {
			t.Error("leaving after Close succeeded")
		}
	})
}

func TestLeaveAloneAtOnce(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, nil)
		within(t, time.Second, "ready", ready(a))
		begin := time.Now()
		if err := a.Leave(context.Background()); err != nil || time.Since(begin) > 100*time.Millisecond {
			t.Errorf("leaving alone: %v after %v", err, time.Since(begin))
		}
	})
}

func TestOneWayCut(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, nil)
		b := w.start("b", addrB, seeds(addrA))
		c := w.start("c", addrC, seeds(addrA))
		within(t, 3*time.Second, "ready", ready(a, b, c))
		within(t, 3*time.Second, "three members", w.sees(3))
		w.net.Cut(addrA, addrC) // c reaches a, a does not reach c; b reaches both
		a.put("flows", key(1), value(1))
		t.Log("by way of b in", within(t, 90*time.Second, "equal", same("flows", a, b, c)))
		w.net.Heal()
		within(t, 60*time.Second, "three members", w.sees(3))
	})
}

func TestSync(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		slow := func(c *Config) { c.SyncInterval = time.Hour }
		a := w.start("a", addrA, slow)
		b := w.start("b", addrB, func(c *Config) { slow(c); c.Seeds = []string{addrA} })
		within(t, 3*time.Second, "ready", ready(a, b))
		<-time.After(time.Minute)
		a.fill("flows", 100, 1)
		b.fill("flows", 100, 2)
		if err := a.Sync(context.Background()); err != nil {
			t.Error(err)
		}
		if !same("flows", a, b)() || a.len("flows") != 200 {
			t.Errorf("a has %d, b %d entries", a.len("flows"), b.len("flows"))
		}
		w.net.Kill(addrB)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := a.Sync(ctx); err == nil || !strings.Contains(err.Error(), "sync with b") {
			t.Errorf("sync with a dead member: %v", err)
		}
	})
}

func TestClockOffset(t *testing.T) {
	virtual(t, simnet.Link{Delay: 10 * time.Millisecond}, func(t *testing.T, w *world) {
		a := w.start("a", addrA, nil)
		w.start("b", addrB, func(c *Config) {
			c.Seeds = []string{addrA}
			c.Now = func() time.Time { return time.Now().Add(3 * time.Second) }
		})
		within(t, 10*time.Second, "a probe", func() bool {
			for _, m := range a.Members() {
				if m.Node == "b" && m.RTT != 0 {
					return m.RTT == 20*time.Millisecond && m.ClockOffset == 3*time.Second
				}
			}
			return false
		})
	})
}

// TestClockOffsetAfterAStep: what is known of other clocks does not depend on this
// host's wall clock, so that a step shows at once and not with the next probe.
func TestClockOffsetAfterAStep(t *testing.T) {
	virtual(t, simnet.Link{Delay: 10 * time.Millisecond}, func(t *testing.T, w *world) {
		began := time.Now()
		var step atomic.Int64
		a := w.start("a", addrA, func(c *Config) {
			c.Now = func() time.Time { return time.Now().Add(time.Duration(step.Load())) }
			c.Boot = func() int64 { return int64(time.Since(began)) }
		})
		w.start("b", addrB, func(c *Config) { c.Seeds = []string{addrA} })
		offset := func() time.Duration {
			for _, m := range a.Members() {
				if m.Node == "b" && m.RTT != 0 {
					if want := began.UnixNano(); int64(m.Clock) != want {
						t.Errorf("its wall clock minus our boot clock is %d, want %d", m.Clock, want)
					}
					return m.ClockOffset
				}
			}
			return -1
		}
		within(t, 10*time.Second, "a probe", func() bool { return offset() == 0 })
		for _, d := range []time.Duration{time.Hour, -time.Hour} {
			step.Store(int64(d))
			if got := offset(); got != -d {
				t.Errorf("after a step of %v it is %v ahead", d, got)
			}
		}
	})
}
