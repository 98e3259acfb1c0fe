package mapgossip

import (
	"time"

	"github.com/mapgossip/mapgossip/gossip"
)

const (
	// steadyReading is how long the reading of two clocks may take; else this
	// goroutine was held up in between, and what they say is not of one moment.
	steadyReading = int64(100 * time.Microsecond)
	readings      = 3 // at most, then the last one counts
)

// readClocks relates the boot clock to the wall clock. It comes before each use
// of wall: the wall clock may have been set since.
func (n *Node) readClocks() {
	for range readings {
		before := n.kernel.Now()
		wall := n.config.Now().UnixNano()
		after := n.kernel.Now()
		n.time.read(wall, before+(after-before)/2)
		if after-before < steadyReading {
			return
		}
	}
}

// wall maps a boot time to the time for stamps.
func (n *Node) wall(boot int64) int64 { return n.time.wall(boot) }

// hearClocks compares this host's clock with those of the members that are
// alive, or, if none is, of those that were lost: a host that is cut off does not
// begin to believe a clock that was found wrong. It tells when the clock begins or
// ceases to disagree with most of them.
func (n *Node) hearClocks() {
	var alive, lost []int64
	unknown := 0
	for _, m := range n.cluster.Members() {
		switch {
		case m.Self || m.State == gossip.StateLeft:
		case m.State != gossip.StateDead && m.RTT == 0:
			unknown++
		case m.State != gossip.StateDead: // suspect: a lost packet or two are no news of its clock
			alive = append(alive, int64(m.Clock))
		case m.RTT != 0:
			lost = append(lost, int64(m.Clock))
		}
	}
	if len(alive) == 0 {
		alive = lost
	}
	n.time.hear(alive, unknown)
	n.tellClock()
}

func (n *Node) tellClock() {
	s := n.time.state
	if s.relation == n.toldClock {
		return
	}
	n.toldClock = s.relation
	switch others := len(n.time.others); {
	case s.relation != clockAgrees:
		n.log.Error("clock disagrees with most other members", "offset", n.time.offset(),
			"ahead_of", s.ahead, "behind", s.behind, "members", others, "error", n.time.sentence())
	case others == 0:
		n.log.Info("clock has no other member's to be compared with")
	default:
		n.log.Info("clock agrees with the other members again", "offset", n.time.offset(), "members", others)
	}
}

// futureWindow is how long a refused entry is told of, in nanoseconds: until it
// should have been offered again. Anti-entropy meets each member once in half as
// many rounds as there are others, on average.
func (n *Node) futureWindow() int64 {
	return int64(n.config.SyncInterval) * int64(max(3, 2*len(n.time.others)))
}
