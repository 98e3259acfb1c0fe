package crdt_test

import (
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
)

// TestProgressIsNotDragged: a member whose clock is years ahead says when it saw
// the others. They count no longer for that, and who left stays gone.
func TestProgressIsNotDragged(t *testing.T) {
	const now, hour = int64(1_700_000_000e9), int64(time.Hour)
	var ahead, p crdt.Progress
	at := now + 100000*hour
	heard := func(members ...string) map[string]int64 {
		times := make(map[string]int64)
		for _, m := range members {
			times[m] = at
		}
		return times
	}
	ahead.Tend("bad", at, 0, heard("gone", "left", "own"), time.Duration(24*hour), false)
	at = now
	p.Tend("own", now, now, heard("bad", "gone", "left"), time.Duration(24*hour), false)
	p.Learn(ahead.Report(), true, now)
	p.Remove("left", now+hour)
	if p.Counts("left", now+hour, time.Duration(24*hour)) {
		t.Error("a member that left still counts")
	}
	if p.Counts("gone", now+25*hour, time.Duration(24*hour)) {
		t.Error("a member that nobody saw for a day still counts")
	}
}

// TestClockOfOwnWasAhead: what this host's clock said of others while it was
// years ahead does not make them count once it is mended.
func TestClockOfOwnWasAhead(t *testing.T) {
	const now, hour = int64(1_700_000_000e9), int64(time.Hour)
	const forget = time.Duration(24 * hour)
	var p crdt.Progress
	ahead := now + 100000*hour
	p.Tend("own", ahead, 0, map[string]int64{"gone": ahead, "left": ahead}, forget, false)
	p.Sober(now)
	p.Remove("left", now+hour)
	if p.Counts("left", now+hour, forget) {
		t.Error("a member that left still counts")
	}
	if p.Counts("gone", now+25*hour, forget) {
		t.Error("a member that nobody saw for a day still counts")
	}
}

// TestFloorOfTheFuture: the floor of a member whose clock is ahead is not taken.
func TestFloorOfTheFuture(t *testing.T) {
	const now = int64(1_700_000_000e9)
	s := crdt.NewStore(8, 8)
	for _, r := range []crdt.Report{{Floor: now + 1}, {Floor: 1<<63 - 1, Marks: []crdt.Mark{{Member: "bad", Fence: 1<<63 - 1}}}} {
		s.Learn(r, true, now, idle)
		if floor := s.Progress().Floor(); floor != 0 {
			t.Errorf("floor %d is taken at %d", floor, now)
		}
	}
	if s.Learn(crdt.Report{Floor: now}, true, now, idle); s.Progress().Floor() != now {
		t.Error("the floor of the present is not taken")
	}
}
