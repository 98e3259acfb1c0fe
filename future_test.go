package mapgossip

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestFutures(t *testing.T) {
	const wall, s = trueTime, int64(time.Second)
	var f futures
	if got := f.sentence(wall, 5*time.Second); got != "" {
		t.Errorf("nothing was refused: %q", got)
	}
	f.note("b", 10*s, wall+40*s)
	f.note("a", 11*s, wall+20*s)
	f.note("a", 12*s, wall+10*s) // refused later, of an earlier time
	if got, want := f.sentence(wall, 5*time.Second), "entries of members a, b are not taken yet: their time is 40s ahead of this host's clock, more than the 5s of --max-clock-skew"; !strings.HasPrefix(got, want) {
		t.Errorf("says %q", got)
	}
	f.forget(0, wall+19*s) // 14 s have passed
	if len(f) != 2 {
		t.Errorf("forgot before the time has come: %v", f)
	}
	f.forget(0, wall+20*s)
	if got := f.sentence(wall+15*s, 5*time.Second); !strings.Contains(got, "member b are not taken yet: their time is 25s ahead") {
		t.Errorf("says %q", got)
	}
	if f.forget(10*s+1, wall); len(f) != 0 {
		t.Errorf("what is no longer offered is still told of: %v", f)
	}
	for i := range 2 * maxFutures { // the IDs are the network's
		f.note(fmt.Sprint(i), s, wall+s)
	}
	if len(f) != maxFutures {
		t.Errorf("remembers %d members", len(f))
	}
}
