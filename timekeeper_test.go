package mapgossip

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// keeper is a timekeeper that allows 5 s, whose own clock is ahead of the true
// time by own, and which heard clocks that are ahead by others; boot is 1000 s.
func keeper(own time.Duration, others ...time.Duration) *timekeeper {
	k := newTimekeeper(5 * time.Second)
	var clocks []int64
	for _, o := range others {
		clocks = append(clocks, trueTime+int64(o)-1000e9)
	}
	k.read(trueTime+int64(own), 1000e9)
	k.hear(clocks, 0)
	return k
}

const trueTime = 1_700_000_000_000_000_000

func TestTimekeeper(t *testing.T) {
	const h, s = time.Hour, time.Second
	for _, c := range []struct {
		what   string
		own    time.Duration
		others []time.Duration
		want   time.Duration // that wall is ahead of the true time by
		offset time.Duration
		says   string // in the sentence; empty: there is none
	}{
		{"alone", h, nil, h, 0, ""},
		{"all right", 0, []time.Duration{s, -s, 0}, 0, 0, ""},
		{"ahead of all", h, []time.Duration{0, s, -s}, 0, h, "1h0m0s ahead of those of 3 of 3 other members"},
		{"behind all", -h, []time.Duration{0, s, -s}, -h, -h, "1h0m0s behind those of 3 of 3 other members"},
		{"ahead of the only other", 6 * s, []time.Duration{0}, 0, 6 * s, "6s ahead of that of the only other member"},
		{"behind the only other", 0, []time.Duration{6 * s}, 0, -6 * s, "6s behind that of the only other member"},
		{"at the bound", 5 * s, []time.Duration{0, 0, 0}, 5 * s, 5 * s, ""},
		{"beyond it", 5*s + 1, []time.Duration{0, 0, 0}, 0, 5*s + 1, "5s ahead of those of 3 of 3"},
		{"a bad other", 0, []time.Duration{0, 0, h}, 0, 0, ""},
		{"a bad other behind", 0, []time.Duration{0, 0, -h}, 0, 0, ""},
		{"half of the others bad", 0, []time.Duration{0, -h}, 0, h, ""},
		{"ahead of most, with one bad", h, []time.Duration{h, 0, 0}, 0, h, "ahead of those of 2 of 3"},
		{"ahead of most by little, of the median by much", 10 * s, []time.Duration{10 * s, 0, 2 * s, -h}, 0, 10 * s, "10s ahead of those of 3 of 4"},
		{"all over the place", 0, []time.Duration{-h, h, 0}, 0, 0, "ahead of those of 1 and behind those of 1 of 3"},
		{"all the same wrong", h, []time.Duration{h, h, h}, h, 0, ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			k := keeper(c.own, c.others...)
			if got := time.Duration(k.wall(1000e9) - trueTime); got != c.want {
				t.Errorf("wall is %v ahead, want %v", got, c.want)
			}
			if got := k.wall(1000e9) - k.wall(990e9); got != 10e9 {
				t.Errorf("10 s of the boot clock are %v", time.Duration(got))
			}
			if got := k.offset(); got != c.offset {
				t.Errorf("offset %v, want %v", got, c.offset)
			}
			switch says := k.sentence(); {
			case c.says == "" && says != "":
				t.Errorf("says %q", says)
			case !strings.Contains(says, c.says):
				t.Errorf("says %q, want %q", says, c.says)
			case says != "" && (!strings.Contains(says, "5s") || !strings.Contains(says, "mend") || !strings.Contains(says, "NTP")):
				t.Errorf("does not say what to do: %q", says)
			}
		})
	}
}

// TestTimekeeperStep: a step of the own clock counts with the next reading,
// though the others' clocks were measured before it; a sleep, in which both clocks
// go on, is none.
func TestTimekeeperStep(t *testing.T) {
	k := keeper(0, 0, 0, 0)
	k.read(trueTime+3600e9+1e9, 1001e9)
	if got := k.wall(1001e9) - trueTime; got != 1e9 || k.offset() != time.Hour || k.sentence() == "" {
		t.Errorf("after a step of an hour: %v, offset %v, %q", time.Duration(got), k.offset(), k.sentence())
	}
	if got := k.wall(1000e9) - trueTime; got != 0 {
		t.Errorf("a change from before the step is %v ahead", time.Duration(got))
	}
	k.read(trueTime+2e9, 1002e9)
	if got := k.wall(1002e9) - trueTime; got != 2e9 || k.offset() != 0 || k.sentence() != "" {
		t.Errorf("mended: %v, offset %v, %q", time.Duration(got), k.offset(), k.sentence())
	}
	k.read(trueTime+602e9, 1602e9)
	if got := k.wall(1602e9) - trueTime; got != 602e9 || k.sentence() != "" {
		t.Errorf("after ten minutes of sleep: %v, %q", time.Duration(got), k.sentence())
	}
}

// TestTimekeeperAtTheBound: a clock at the bound is told of once.
func TestTimekeeperAtTheBound(t *testing.T) {
	k := keeper(0, 0, 0)
	changes := 0
	for i := range int64(100) {
		before := k.state.relation
		k.read(trueTime+5e9+(i%2*2-1)*1e6, 1000e9)
		if k.state.relation != before {
			changes++
		}
	}
	if changes != 1 {
		t.Errorf("%d changes", changes)
	}
	if k.read(trueTime+4e9, 1000e9); k.state.relation != clockAgrees {
		t.Error("a second nearer it still disagrees")
	}
}

// TestTimekeeperHearsFew: where one clock is known out of three, it may be the bad
// one. It counts when the others remain unknown.
func TestTimekeeperHearsFew(t *testing.T) {
	k := keeper(0)
	behind := func() []int64 { return []int64{trueTime - 3600e9 - 1000e9} }
	for range fewPatience {
		if k.hear(behind(), 2); k.wall(1000e9) != trueTime || k.sentence() != "" {
			t.Fatalf("one of three clocks was believed: %q", k.sentence())
		}
	}
	if k.hear(behind(), 2); k.wall(1000e9) != trueTime-3600e9 {
		t.Error("one clock of three, and it will not be more, was never believed")
	}
	k = keeper(time.Hour, 0, 0)
	if k.hear(nil, 2); k.wall(1000e9) != trueTime {
		t.Error("two members that come again made it believe its own clock")
	}
	if k.hear(nil, 0); k.wall(1000e9) != trueTime+3600e9 {
		t.Error("alone it does not believe its own clock")
	}
}

// TestTimekeeperLaws compares with the plain meaning of the words.
func TestTimekeeperLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clock := rapid.OneOf(rapid.Int64Range(0, 30), rapid.SampledFrom([]int64{math.MaxInt64, trueTime}))
		skew := rapid.OneOf(rapid.Int64Range(1, 12), rapid.Just(int64(math.MaxInt64))).Draw(t, "skew")
		k := newTimekeeper(time.Duration(skew))
		others := rapid.SliceOfN(clock, 0, 7).Draw(t, "others")
		own, boot := clock.Draw(t, "own"), rapid.Int64Range(0, 20).Draw(t, "boot")
		k.read(own, 0)
		k.hear(slices.Clone(others), 0) // measured when the boot clock was 0
		if own < math.MaxInt64 {
			k.read(own+boot, boot) // both clocks went on
		}
		off := func(clock int64) (ahead, behind int) {
			for _, o := range others {
				if clock-o > skew {
					ahead++
				}
				if o-clock > skew {
					behind++
				}
			}
			return ahead, behind
		}

		ahead, behind := off(own)
		if disagrees := 2*(ahead+behind) > len(others); disagrees != (k.sentence() != "") {
			t.Fatalf("ahead of %d and behind %d of %d: %q", ahead, behind, len(others), k.sentence())
		}
		wall := k.wall(0)
		if corrected := 2*ahead > len(others); corrected != (wall != own) {
			t.Fatalf("ahead of %d of %d: wall %d, own clock %d", ahead, len(others), wall, own)
		}
		if wall > own {
			t.Fatalf("wall %d is ahead of the own clock %d", wall, own)
		}
		if beyond, _ := off(wall); 2*beyond > len(others) {
			t.Fatalf("wall %d is in the future of %d of %d", wall, beyond, len(others))
		}
		if wall != own && !slices.Contains(others, wall) {
			t.Fatalf("wall %d is nobody's clock", wall)
		}
		if len(others) > 0 {
			median := own - int64(k.offset())
			before, after := 0, 0
			for _, o := range others {
				if o < median {
					before++
				}
				if o > median {
					after++
				}
			}
			if 2*before >= len(others) || 2*after > len(others) {
				t.Fatalf("offset %v: %d are behind that and %d ahead, of %d", k.offset(), before, after, len(others))
			}
		}
	})
}
