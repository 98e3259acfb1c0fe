package mapgossip

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/gossip/simnet"
	"github.com/mapgossip/mapgossip/mapwatch/fake"
)

// TestClocksAtRandom: clocks of three to five members are wrong, drift, are set
// and set right again, sleep and wake, while all write, over a network that loses
// packets. When every clock is right and the latest time that was given out has
// come, all are equal.
func TestClocksAtRandom(t *testing.T) {
	for seed := range uint64(24 / fewer) {
		synctest.Test(t, func(t *testing.T) {
			dice := rand.New(rand.NewPCG(seed, 18))
			between := func(d time.Duration) time.Duration { return time.Duration(dice.Int64N(int64(2*d))) - d }
			r := newClockRig(t, seed, simnet.Link{Delay: time.Millisecond, Jitter: 3 * time.Millisecond, Loss: 0.05})
			for range 3 + dice.IntN(3) {
				r.join(between(time.Second))
			}
			drift := make([]time.Duration, len(r.nodes)) // a round
			for range 60 {
				i := dice.IntN(len(r.nodes))
				switch dice.IntN(12) {
				case 0:
					r.clocks[i].step(between(time.Minute))
				case 1:
					drift[i] = between(200 * time.Millisecond)
				case 2:
					r.clocks[i].mend()
					drift[i] = 0
				case 3:
					r.net.Stall(r.nodes[i].addr)
					r.clocks[i].sleep()
					pass(between(10*time.Second) + 10*time.Second)
					r.clocks[i].wake()
					r.net.Resume(r.nodes[i].addr)
				case 4:
					r.nodes[i].m.Lose(1, fake.Dropped)
				}
				for range dice.IntN(4) {
					n, key := r.nodes[dice.IntN(len(r.nodes))], dice.IntN(5)
					if dice.IntN(4) == 0 {
						_ = n.m.Remove(number(key), 0) // absent is fine
					} else {
						n.write(t, key, dice.IntN(1000))
					}
				}
				r.live(t, time.Duration(dice.IntN(2000))*time.Millisecond)
				for i, d := range drift {
					r.clocks[i].step(d)
				}
			}
			for _, c := range r.clocks {
				c.mend()
			}
			r.live(t, 90*time.Second) // no clock was further ahead for as long as others believed it
			r.converge(t, time.Minute)
			for i, n := range r.nodes {
				if said := complaint(t, n); said != "" {
					t.Errorf("mended, %s says %q, told %q", n.config.Node, said, r.logs[i])
				}
			}
			for i := range 10 {
				n := r.nodes[dice.IntN(len(r.nodes))]
				n.write(t, i%5, 2000+i)
				r.live(t, 2*time.Second)
				r.want(t, i%5, 2000+i)
			}
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		})
	}
}

// TestScanAfterAStepBack: scans come at their interval whatever the wall clock says.
func TestScanAfterAStepBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newClockRig(t, 1, lan, 0, 0)
		r.live(t, 5*time.Second)
		for i, c := range r.clocks {
			c.step(-time.Hour)
			r.nodes[i].m.Lose(1, fake.Silent)
			r.nodes[i].write(t, i, 1)
		}
		r.live(t, DefaultScanInterval+2*time.Second)
		r.want(t, 0, 1)
		r.want(t, 1, 1)
	})
}

// TestPromiseOfAMendedClock: a host starts with a clock that is years off, as one
// without a battery does, and has it set right. That holds no tombstone back, and
// makes nothing that it stamps come from the future.
func TestPromiseOfAMendedClock(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, off := range []time.Duration{-10 * year, 20 * time.Minute} {
		t.Run(off.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newClockRig(t, 1, lan, 0, 0, off)
				n := r.nodes[2]
				r.live(t, 10*time.Second)
				r.clocks[2].mend()
				r.live(t, 10*time.Second)
				n.write(t, 1, 1)
				r.live(t, time.Second)
				r.want(t, 1, 1)
				if got := ahead(t, n, 1); got > 0 || got < -10*time.Second {
					t.Errorf("its change is stamped %v ahead", got)
				}
				var promise int64
				if err := n.call(t.Context(), func() { promise = n.promise }); err != nil {
					t.Fatal(err)
				}
				if late := time.Duration(time.Now().UnixNano() - promise); late > DefaultTombstoneMinAge {
					t.Errorf("its promise is %v old, and deletes are to be remembered for %v", late, DefaultTombstoneMinAge)
				}
			})
		})
	}
}
