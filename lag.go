package mapgossip

import (
	"math"
	"math/bits"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// The lag of an entry is the time from its stamp to the moment this host's
// kernel map had it: what a program here waits for what a program there wrote. It
// is told of other members' entries only. Two clocks are in it: what this host's is
// ahead of the writer's counts as lag, and if it is behind, the lag is 0.
//
// Entries stamped before the map was first filled are left out: what a new member is
// given is as old as it is because nobody was there to have it earlier. What a
// member that was cut off gets afterwards is late, and counts. An entry counts once:
// what is written again, because a program here undid it, or into a kernel map that
// came in the place of another, is not late.

const (
	lagFirst   = 500 * time.Microsecond // upper bound of the first bucket; each further one is twice the one before
	lagBuckets = 18                     // the last bound is 65.536 s
	lagUntold  = math.MaxInt64          // as mirror.lagFrom: no lag is told
)

// lagHistogram counts lags by buckets. The zero value is empty.
type lagHistogram struct {
	counts  [lagBuckets + 1]uint64 // each lag in one; the last is for those above all bounds
	seconds float64                // of all together
}

// observe counts a lag; one below 0 is 0.
func (h *lagHistogram) observe(lag time.Duration) {
	lag = max(lag, 0)
	h.counts[min(bits.Len64(uint64(max(lag-1, 0)/lagFirst)), lagBuckets)]++
	h.seconds += lag.Seconds()
}

// total returns how many lags there are, and how many up to each bound in seconds.
func (h *lagHistogram) total() (count uint64, upTo map[float64]uint64) {
	upTo = make(map[float64]uint64, lagBuckets)
	for i := range lagBuckets {
		count += h.counts[i]
		upTo[(lagFirst << i).Seconds()] = count
	}
	return count + h.counts[lagBuckets], upTo
}

// lagStamp is the wall time from which an entry's lag counts, which is about to be
// written. It is 0 for one that has none: it was here before, or is this member's own.
func (m *mirror) lagStamp(slot crdt.Slot, e crdt.Entry) int64 {
	if e.Version.Member == m.member || !m.keys.is(slot, flagFresh) {
		return 0
	}
	return e.Version.Time.Wall
}

// observeLags takes when the writes of the latest takeWrites were done (wall).
func (m *mirror) observeLags(ops []mapwatch.Op, wall int64) {
	for i := range ops {
		if stamp := m.stamps[i]; ops[i].Err == nil && stamp > m.lagFrom {
			m.lags.observe(time.Duration(wall - stamp))
		}
	}
}

// tellLags begins to tell lags of a map once it was read and filled; wall is the
// present.
func (n *Node) tellLags(b *boundMap, wall int64) {
	if b.lagFrom != lagUntold || b.kernel == nil || !b.imported {
		return
	}
	if filled, _ := n.cluster.Filled(b.Name); filled {
		b.lagFrom = wall
	}
}
