package mapgossip

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Stories of clocks that are wrong, are set, or stood still. All end with every
// clock mended, all members equal, and no version gone back on the way.

// TestClockAhead: one of four members is an hour ahead. It says so, stamps with
// the others' time, and nobody refuses what is written there.
func TestClockAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newClockRig(t, 1, lan, 0, 2*time.Second, time.Hour, -time.Second)
		bad := r.nodes[2]
		r.live(t, 10*time.Second)
		for i, n := range r.nodes {
			if said := complaint(t, n); (said != "") != (n == bad) {
				t.Errorf("%s says %q", n.config.Node, said)
			} else if n == bad && !strings.Contains(said, "ahead of those of 3 of 3 other members") {
				t.Errorf("it says %q", said)
			}
			if n != bad && r.logs[i].String() != "" {
				t.Errorf("%s tells %q", n.config.Node, r.logs[i])
			}
		}
		if got := offset(t, bad); got != time.Hour {
			t.Errorf("the status says %v ahead", got)
		}
		if got := offset(t, r.nodes[0]); got != 0 && got != -2*time.Second && got != time.Second {
			t.Errorf("the status of a good member says %v ahead", got)
		}
		for i := range 20 {
			r.nodes[i%4].write(t, i%3, i) // each overwrites what another wrote
			r.live(t, time.Second)
		}
		for key, last := range []int{18, 19, 17} {
			r.want(t, key, last)
		}
		bad.write(t, 9, 1)
		r.live(t, time.Second)
		if got := ahead(t, bad, 9); got > 0 {
			t.Errorf("its change is stamped %v ahead", got)
		}
		for _, n := range r.nodes {
			if s := n.state(t); s.Counters.FutureTimes != 0 || s.Error != "" {
				t.Errorf("%s refused %d entries: %s", n.config.Node, s.Counters.FutureTimes, s.Error)
			}
		}
		r.clocks[2].mend()
		r.live(t, 3*time.Second)
		if said := complaint(t, bad); said != "" {
			t.Errorf("mended, it says %q", said)
		}
		if told := r.logs[2].String(); told != toldBad+"; "+toldWell {
			t.Errorf("it told %q", told)
		}
		r.nodes[0].write(t, 9, 2)
		r.live(t, time.Second)
		r.want(t, 9, 2)
		r.converge(t, 0)
	})
}

// TestClockBehind: one of four members is an hour behind. It says so and changes
// nothing: what it writes over an entry that it has is newer than that.
func TestClockBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newClockRig(t, 1, lan, 0, 0, 0, -2*time.Minute)
		bad := r.nodes[3]
		r.live(t, 10*time.Second)
		if said := complaint(t, bad); !strings.Contains(said, "2m0s behind those of 3 of 3 other members") {
			t.Errorf("it says %q", said)
		}
		if got := offset(t, bad); got != -2*time.Minute {
			t.Errorf("the status says %v ahead", got)
		}
		bad.write(t, 1, 1)
		r.live(t, time.Second)
		r.want(t, 1, 1)
		if got := ahead(t, bad, 1).Round(time.Second); got != -3*time.Minute+time.Minute-time.Second {
			t.Errorf("its change is stamped %v ahead", got)
		}
		r.nodes[0].write(t, 2, 2)
		r.live(t, time.Second)
		if s := bad.state(t); bad.at(2) != -1 || s.Counters.FutureTimes == 0 || !strings.Contains(s.Error, "member n0 ") {
			t.Errorf("it took an entry from its future: %+v", s)
		}
		if got := complaint(t, r.nodes[0]); got != "" {
			t.Errorf("a good member says %q", got)
		}
		r.clocks[3].mend()
		r.converge(t, 10*time.Second)
		r.want(t, 2, 2)
		bad.write(t, 2, 3)
		r.live(t, 2*time.Second)
		r.want(t, 2, 3)
		if s, told := bad.state(t), r.logs[3].String(); s.Error != "" || complaint(t, bad) != "" || told != toldBad+"; "+toldWell {
			t.Errorf("mended: %q, %q, told %q", s.Error, complaint(t, bad), told)
		}
	})
}

// TestClockOfTwo: nobody can tell which of two clocks is right. Both members say
// so, and the one that is ahead gives way, so that the writes of both are taken.
func TestClockOfTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newClockRig(t, 1, lan, 0, time.Minute)
		slow, fast := r.nodes[0], r.nodes[1]
		r.live(t, 5*time.Second)
		if said := complaint(t, slow); !strings.Contains(said, "1m0s behind that of the only other member") {
			t.Errorf("the slow one says %q", said)
		}
		if said := complaint(t, fast); !strings.Contains(said, "1m0s ahead of that of the only other member") {
			t.Errorf("the fast one says %q", said)
		}
		for i := range 6 {
			r.nodes[i%2].write(t, 1, i)
			r.live(t, time.Second)
			r.want(t, 1, i)
			if got := ahead(t, slow, 1); got > 0 {
				t.Errorf("a change is stamped %v ahead", got)
			}
		}
		fast.stop()
		r.nodes = r.nodes[:1] // alone: there is nobody to disagree with
		if err := <-fast.ended; err != nil {
			t.Error(err)
		}
		fast.kernel.Close()
		r.live(t, 3*time.Second)
		if said := complaint(t, slow); said != "" {
			t.Errorf("alone, it says %q", said)
		}
	})
}

// TestClocksAllWrong: clocks that agree are right to each other. When all are set
// back, what overwrites the entries from the future is not refused.
func TestClocksAllWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newClockRig(t, 1, lan, time.Hour, time.Hour, time.Hour)
		r.live(t, 5*time.Second)
		r.nodes[0].write(t, 1, 1)
		r.nodes[1].write(t, 2, 1)
		r.live(t, time.Second)
		for i, n := range r.nodes {
			if said := complaint(t, n); said != "" {
				t.Errorf("%s says %q", n.config.Node, said)
			}
			r.clocks[i].mend()
		}
		r.nodes[1].write(t, 1, 2) // at once, before anybody was asked
		r.live(t, 5*time.Second)
		r.nodes[2].write(t, 2, 2)
		r.nodes[2].write(t, 3, 2)
		r.live(t, time.Second)
		for key := 1; key <= 3; key++ {
			r.want(t, key, 2)
		}
		// What was promised while the clocks were wrong still binds.
		if got := ahead(t, r.nodes[0], 3); got > time.Hour {
			t.Errorf("a new key is stamped %v ahead", got)
		}
		if err := r.nodes[0].m.Remove(number(1), 0); err != nil {
			t.Fatal(err)
		}
		r.live(t, time.Second)
		r.want(t, 1, -1)
		for _, n := range r.nodes {
			if s := n.state(t); s.Counters.FutureTimes != 0 || s.Error != "" {
				t.Errorf("%s refused %d entries: %s", n.config.Node, s.Counters.FutureTimes, s.Error)
			}
		}
		r.converge(t, 0)
	})
}

// TestClockSteps: the wall clock of a member jumps an hour, forward or back, and
// later to where it belongs. At no time does a write on it lose to what it
// overwrote, and what is written while it is ahead is taken at once.
func TestClockSteps(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newClockRig(t, 1, lan, 0, 0, 0)
				jumps, other := r.nodes[1], r.nodes[2]
				r.live(t, 10*time.Second)
				value := 0
				write := func(n *rigNode) {
					t.Helper()
					value++
					n.write(t, 1, value)
					r.live(t, time.Second)
					r.want(t, 1, value)
				}
				write(other)
				write(jumps)
				r.clocks[1].step(step)
				write(jumps) // at once, before a tick
				write(jumps)
				if step > 0 {
					write(other)
					write(jumps)
					if got := ahead(t, jumps, 1); got > 0 {
						t.Errorf("a change is stamped %v ahead", got)
					}
				}
				r.live(t, 5*time.Second)
				if complaint(t, jumps) == "" || complaint(t, other) != "" {
					t.Errorf("it says %q, another one %q", complaint(t, jumps), complaint(t, other))
				}
				write(jumps)
				r.clocks[1].mend()
				write(jumps)
				write(other)
				write(jumps)
				if said := complaint(t, jumps); said != "" {
					t.Errorf("mended, it says %q", said)
				}
				if told := r.logs[1].String(); told != toldBad+"; "+toldWell {
					t.Errorf("it told %q", told)
				}
				for _, n := range r.nodes {
					if s := n.state(t); s.Counters.FutureTimes != 0 {
						t.Errorf("%s refused %d entries", n.config.Node, s.Counters.FutureTimes)
					}
				}
				r.converge(t, 0)
			})
		})
	}
}

// TestClockOfASleeper: a host sleeps ten minutes and is declared dead; both its
// clocks jump when it wakes. That is no disagreement, and nothing is stamped with
// a time that passed in its sleep but what the kernel saw then.
func TestClockOfASleeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newClockRig(t, 1, lan, 0, 0, 0)
		sleeper, other := r.nodes[2], r.nodes[0]
		r.live(t, 10*time.Second)
		sleeper.write(t, 1, 1)
		r.live(t, time.Second)
		r.net.Stall(sleeper.addr)
		r.clocks[2].sleep()
		pass(time.Minute)
		other.write(t, 1, 2)
		other.write(t, 2, 2)
		pass(9 * time.Minute)
		r.clocks[2].wake()
		r.net.Resume(sleeper.addr)
		sleeper.write(t, 3, 3) // at once
		r.converge(t, time.Minute)
		r.check(t)
		r.want(t, 1, 2)
		r.want(t, 3, 3)
		if got := ahead(t, other, 3); got < -time.Minute || got > 0 {
			t.Errorf("the first change after the sleep is stamped %v ahead", got)
		}
		for i, n := range r.nodes {
			if s, told := n.state(t), r.logs[i].String(); s.Counters.FutureTimes != 0 || strings.Contains(told, toldBad) {
				t.Errorf("%s refused %d entries and told %q", n.config.Node, s.Counters.FutureTimes, told)
			}
		}
	})
}

// TestFutureTimes: entries from too far ahead are refused, drag no clock along,
// are told of by map and member, and are taken when their time has come, without
// being written again.
func TestFutureTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newClockRig(t, 1, lan, 0, 0, 0, time.Hour)
		a := r.nodes[0]
		r.live(t, 5*time.Second)
		bad := r.join(30 * time.Second)
		pass(100 * time.Millisecond) // nobody has told it yet
		bad.write(t, 1, 1)
		bad.write(t, 2, 1)
		written := time.Now()
		r.live(t, 15*time.Second)
		if got := ahead(t, bad, 1); got < 14*time.Second {
			t.Fatalf("the entry is just %v ahead: the story is not what it should be", got)
		}
		for _, n := range r.nodes[:4] { // also the one that knows that its clock is worse
			s := n.state(t)
			if s.Entries != 0 || s.Counters.FutureTimes < 2 {
				t.Errorf("an entry from the future was taken: %+v", s)
			}
			if !strings.Contains(s.Error, "entries of member n4 are not taken yet: their time is 1") || !strings.Contains(s.Error, "5s of --max-clock-skew") {
				t.Errorf("it is told of as %q", s.Error)
			}
			if _, reasons := n.Healthy(t.Context()); !strings.HasPrefix(reasons[len(reasons)-1], "map flows: ") {
				t.Errorf("unhealthy: %q", reasons)
			}
		}
		a.write(t, 3, 1)
		bad.write(t, 1, 2) // after an entry that is still ahead: so is this
		bad.write(t, 4, 2)
		r.live(t, time.Second)
		r.want(t, 3, 1)
		r.want(t, 4, 2)
		if got := ahead(t, a, 3); got > 0 {
			t.Errorf("the clock was dragged along: a change is stamped %v ahead", got)
		}
		r.converge(t, time.Minute)
		if took := time.Since(written); took < 24*time.Second || took > 30*time.Second {
			t.Errorf("taken after %v", took)
		}
		r.want(t, 1, 2)
		r.want(t, 2, 1)
		r.live(t, 2*time.Second)
		if s := a.state(t); s.Error != "" {
			t.Errorf("all is taken, but %q", s.Error)
		}
	})
}

// TestClockStepBeforeABacklog: changes that the kernel saw before a step and that
// are processed after it are stamped by the clock of after, none in its future,
// and in the order of the changes.
func TestClockStepBeforeABacklog(t *testing.T) {
	for _, step := range []time.Duration{-time.Minute, time.Minute} {
		t.Run(step.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newClockRig(t, 1, lan, 0)
				n := r.nodes[0]
				r.live(t, 5*time.Second)
				n.write(t, 1, 1)
				r.live(t, time.Second)
				busy := make(chan struct{})
				go func() { _ = n.call(t.Context(), func() { <-busy }) }()
				pass(time.Millisecond)
				n.write(t, 1, 2) // over an entry from before the step
				n.write(t, 2, 2)
				pass(10 * time.Second)
				r.clocks[0].step(step)
				n.write(t, 2, 3)
				close(busy)
				r.live(t, time.Second)
				now := r.clocks[0].Wall().UnixNano()
				for key, off := range map[int]time.Duration{2: -time.Second, 1: -11 * time.Second} {
					if key == 1 && step < 0 {
						off = step.Abs() - 12*time.Second // just after what it overwrote
					}
					if got := time.Duration(entryOf(t, n, key).Version.Time.Wall - now).Round(100 * time.Millisecond); got != off {
						t.Errorf("key %d is stamped %v ahead, want %v", key, got, off)
					}
				}
				r.want(t, 1, 2)
				r.want(t, 2, 3)
				late := r.join(step) // right to each other
				r.converge(t, time.Minute)
				if late.at(2) != 3 {
					t.Errorf("a new member has %d", late.at(2))
				}
			})
		})
	}
}

// TestClockOfTheCutOff: a member with a bad clock that is cut off from all others
// goes on stamping with their time.
func TestClockOfTheCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newClockRig(t, 1, lan, 0, 0, time.Hour)
		bad := r.nodes[2]
		r.live(t, 10*time.Second)
		r.net.Partition([]string{r.nodes[0].addr, r.nodes[1].addr}, []string{bad.addr})
		r.live(t, time.Minute)
		bad.write(t, 1, 1)
		r.live(t, time.Second)
		if got := ahead(t, bad, 1); got > 0 {
			t.Errorf("cut off, its change is stamped %v ahead", got)
		}
		r.net.Heal()
		for key := range 100 { // also while it meets them again
			bad.write(t, key, 2)
			r.live(t, 300*time.Millisecond)
			if got := ahead(t, bad, key); got > 0 {
				t.Errorf("coming back, its change is stamped %v ahead", got)
			}
		}
		r.converge(t, time.Minute)
		if told := r.logs[2].String(); told != toldBad {
			t.Errorf("it told %q", told)
		}
	})
}
