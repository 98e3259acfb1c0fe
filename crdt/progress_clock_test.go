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
