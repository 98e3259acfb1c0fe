package mapgossip

import (
	"fmt"
	"slices"
	"sort"
	"time"
)

// timekeeper tells the time that changes are stamped with and that stamps of
// other members are held against: this host's wall clock, unless that is ahead
// of more than half of the other members' clocks by more than the allowed skew.
// Then it is the time of their median, so that no stamp lies in the others'
// future. A clock that is behind is not corrected: its stamps harm nobody else.
//
// It is pure: it waits for nothing and reads no clock. All its times are
// differences to one steady clock, the boot clock of this host, which goes on
// while the host sleeps and which nobody sets. So it does not matter when a
// clock was measured: a step of this host's wall clock changes what read is told
// and nothing that hear was told, and takes effect with the next read.
//
// A member that has just started knows no other clock and has only its own, for
// the seconds until three of the others (or all, if they are fewer) have answered
// a probe. What it stamps ahead until then, others take when its time has come.
//
// A time of the boot clock is mapped by what is known at that moment, not by
// what was known when it passed: a change that the kernel saw before a step of
// the wall clock and that is stamped after it gets its time by the new clock. A
// step is a correction as a rule, and where it is none the others' clocks say
// so. So a stamp is never ahead of the present either, but for a key whose entry
// is; mapped by what was known at the time, stamps would come from the future
// after each step back.
type timekeeper struct {
	skew   int64           // nanoseconds that clocks may differ by
	own    int64           // this host's wall clock minus its boot clock
	others []int64         // the other members' wall clocks minus this host's boot clock, ascending
	state  clockComparison // of own with others
	waited int             // ticks, for more clocks to be known
}

// clockComparison is how this host's clock is to those of the other members. A
// disagreement ends when the clocks are by steadyShare nearer than it took to
// begin, so that a clock at the very bound does not go to and fro.
type clockComparison struct {
	relation clockRelation
	ahead    int // others that own is ahead of by more than the skew
	behind   int // others that own is behind by more than the skew
}

type clockRelation uint8

const (
	clockAgrees clockRelation = iota // with half of the others or more, or there are none
	clockAhead                       // of more than half
	clockBehind                      // more than half
	clockApart                       // from more than half, some one way and some the other
)

const (
	steadyShare = 10 // a tenth of the skew
	fewClocks   = 3  // fewer are not believed at once, if there are more
	fewPatience = 10 // but after so many ticks: some clocks may never be known
)

func newTimekeeper(skew time.Duration) *timekeeper { return &timekeeper{skew: int64(skew)} }

// read takes one reading of this host's wall and boot clocks, nanoseconds.
func (k *timekeeper) read(wall, boot int64) {
	k.own = wall - boot
	k.compare()
}

// hear takes, once a tick, the wall clocks of the other members that are alive,
// each minus this host's boot clock, and how many more are alive whose clock is
// not known yet. One or two out of more may be just the bad ones: then what was
// heard before stands for some time. The slice becomes the timekeeper's.
func (k *timekeeper) hear(others []int64, unknown int) {
	if len(others) < min(fewClocks, len(others)+unknown) && k.waited < fewPatience {
		k.waited++
		return
	}
	k.waited = 0
	slices.Sort(others)
	k.others = others
	k.compare()
}

func (k *timekeeper) compare() {
	s := k.compareBy(k.skew)
	if s.relation == clockAgrees && k.state.relation != clockAgrees {
		s = k.compareBy(k.skew - k.skew/steadyShare)
	}
	k.state = s
}

// compareBy is the comparison for a given skew. It subtracts clocks and adds
// nothing: the skew may be as long as there is time.
func (k *timekeeper) compareBy(skew int64) (s clockComparison) {
	n := len(k.others)
	s.ahead = sort.Search(n, func(i int) bool { return k.own-k.others[i] <= skew })
	s.behind = n - sort.Search(n, func(i int) bool { return k.others[i]-k.own > skew })
	switch {
	case 2*s.ahead > n:
		s.relation = clockAhead
	case 2*s.behind > n:
		s.relation = clockBehind
	case 2*(s.ahead+s.behind) > n:
		s.relation = clockApart
	}
	return s
}

// median is the clock in the middle of the others', of two the one that is
// behind: less than half of the others are behind it. There is at least one.
func (k *timekeeper) median() int64 { return k.others[(len(k.others)-1)/2] }

// wall maps a time of the boot clock to the time for stamps and for refusing
// them, nanoseconds since 1970. Within one read and hear it keeps the order.
func (k *timekeeper) wall(boot int64) int64 {
	if k.state.relation == clockAhead {
		return boot + k.median()
	}
	return boot + k.own
}

// confirmed reports whether other clocks are known and agree with wall.
func (k *timekeeper) confirmed() bool {
	return len(k.others) > 0 && (k.state.relation == clockAgrees || k.state.relation == clockAhead)
}

// offset is how far this host's clock is ahead of the others' median; negative
// if it is behind, 0 if no other clock is known.
func (k *timekeeper) offset() time.Duration {
	if len(k.others) == 0 {
		return 0
	}
	return time.Duration(k.own - k.median())
}

// sentence says how this host's clock disagrees with most others, what comes of
// it and what to do; empty if it does not.
func (k *timekeeper) sentence() string {
	those, mend := fmt.Sprintf("those of %d of %d other members", max(k.state.ahead, k.state.behind), len(k.others)), "mend this host's clock (NTP)"
	if len(k.others) == 1 {
		those, mend = "that of the only other member", "mend whichever of the two is wrong (NTP)"
	}
	skew, by := time.Duration(k.skew), k.offset().Round(time.Millisecond).Abs()
	switch k.state.relation {
	case clockAhead:
		return fmt.Sprintf("this host's clock is %v ahead of %s, where --max-clock-skew allows %v: changes are stamped with the other members' time instead; %s", by, those, skew, mend)
	case clockBehind:
		return fmt.Sprintf("this host's clock is %v behind %s, where --max-clock-skew allows %v: changes made here lose against older ones of theirs, and theirs are refused until their time has come here; %s", by, those, skew, mend)
	case clockApart:
		return fmt.Sprintf("this host's clock is ahead of those of %d and behind those of %d of %d other members, where --max-clock-skew allows %v: it is not told which are right; mend the clocks (NTP)",
			k.state.ahead, k.state.behind, len(k.others), skew)
	}
	return ""
}
