package mapgossip

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/gossip"
	"github.com/mapgossip/mapgossip/gossip/simnet"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// simulation is a cluster of any size whose map has keys of 16 bytes.
type simulation struct {
	*rig
	shape mapwatch.Shape
	dice  *rand.Rand
	took  time.Duration // until the cluster had formed
}

// simulate starts members, all of which join the first, and lets time pass
// until each knows all. Must run inside a synctest bubble.
func simulate(t *testing.T, members int, link simnet.Link, valueBytes int) *simulation {
	s := &simulation{
		rig:   newRig(t, 1, link),
		shape: mapwatch.Shape{KeyBytes: 16, ValueBytes: valueBytes, MaxEntries: 1 << 20},
		dice:  rand.New(rand.NewPCG(1, uint64(members))),
	}
	for range members {
		s.join()
		pass(time.Millisecond)
	}
	s.took = s.formed(t, members, 5*time.Minute)
	return s
}

// join starts one more member, with the intervals of DefaultConfig.
func (s *simulation) join() *rigNode {
	c, kernel, m := s.prepare(len(s.nodes), s.shape)
	c.SyncInterval = DefaultSyncInterval
	return s.start(c, kernel, m)
}

// formed lets time pass until each member believes that so many are alive, and
// its map is bound, and returns how long that took. memberlist's news travels
// by random gossip: now and then it misses one member, and only the next
// push/pull brings it, which comes each 90 s among 100 members.
func (s *simulation) formed(t *testing.T, alive int, within time.Duration) (took time.Duration) {
	t.Helper()
	for begin := time.Now(); ; pass(100 * time.Millisecond) {
		lacking := ""
		for _, n := range s.nodes {
			states := make(map[string]int)
			for _, m := range n.Members() {
				states[m.State]++
			}
			if states[gossip.StateAlive] != alive || !n.state(t).Bound {
				lacking = fmt.Sprintf("%s sees %v, want %d members alive", n.config.Node, states, alive)
				break
			}
		}
		if lacking == "" {
			return time.Since(begin)
		}
		if time.Since(begin) > within {
			t.Fatalf("after %v: %s", within, lacking)
		}
	}
}

// put writes a key on a member: the value starts with number.
func (s *simulation) put(t *testing.T, n *rigNode, key, value int) {
	t.Helper()
	k, v := make([]byte, s.shape.KeyBytes), make([]byte, s.shape.ValueBytes)
	copy(k, number(key))
	copy(v, number(value))
	if err := n.m.Write(k, v, 0); err != nil {
		t.Fatal(err)
	}
}

// load writes keys [first, first+count) once each, spread over writers and
// over time, and each tenth key a second time by another writer. It returns
// how many writes that were.
func (s *simulation) load(t *testing.T, writers []*rigNode, first, count int, over time.Duration) (writes int) {
	t.Helper()
	const tick = 50 * time.Millisecond
	ticks := max(1, int(over/tick))
	for i := range ticks {
		for key := first + count*i/ticks; key < first+count*(i+1)/ticks; key++ {
			writer := s.dice.IntN(len(writers))
			s.put(t, writers[writer], key, key)
			if writes++; key%10 == 0 && len(writers) > 1 {
				again := key - s.dice.IntN(min(100, key-first+1))
				s.put(t, writers[(writer+1)%len(writers)], again, -key)
				writes++
			}
		}
		if i < ticks-1 {
			pass(tick)
		}
	}
	return writes
}

// totals are the sums over all members.
type totals struct {
	entries uint64 // received, by rumors and by anti-entropy
	bytes   uint64 // sent, packets and streams
	at      time.Time
}

func (s *simulation) totals() (sum totals) {
	sum.at = time.Now()
	for _, n := range s.nodes {
		sum.entries += n.cluster.Stats().EntriesIn
		sum.bytes += s.net.Traffic(n.addr).BytesOut()
	}
	return sum
}

// rate is how many bytes a member sent in a second since before.
func (s *simulation) rate(before, after totals) float64 {
	return float64(after.bytes-before.bytes) / float64(len(s.nodes)) / after.at.Sub(before.at).Seconds()
}

// long reports whether the tests of sizes and times that a change is not to
// wait for shall run.
func long() bool { return os.Getenv("MAPGOSSIP_EXHAUSTIVE") != "" }

// wanted is the size that MAPGOSSIP_SIMULATE asks for; 0: none.
func wanted(t *testing.T) int {
	t.Helper()
	text := os.Getenv("MAPGOSSIP_SIMULATE")
	if text == "" {
		return 0
	}
	size, err := strconv.Atoi(text)
	if err != nil || size < 2 {
		t.Fatalf("MAPGOSSIP_SIMULATE=%q: want a number of members, 2 or more", text)
	}
	return size
}
