package mapgossip

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/gossip/simnet"
)

// sized chooses what a story is played with: short without further wishes,
// raced under the race detector, all with MAPGOSSIP_EXHAUSTIVE=1.
func sized(short, raced, all int) int {
	switch {
	case fewer > 1:
		return raced
	case long():
		return all
	}
	return short
}

// TestSimulatedPartition: 60 of 100 members do not see the other 40 for a
// minute, in which memberlist buries them. Both sides write, in part the same
// keys. A minute after the network healed, at most, all are equal.
func TestSimulatedPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		members := sized(20, 5, 100)
		s := simulate(t, members, simnet.Link{}, 8)
		var sides [2][]*rigNode
		var addrs [2][]string
		for i, n := range s.nodes {
			side := i * 5 / members / 3
			sides[side] = append(sides[side], n)
			addrs[side] = append(addrs[side], n.addr)
		}
		s.net.Partition(addrs[0], addrs[1])
		for i := range 6 {
			s.load(t, sides[0][:3], 100*i, 100, 0)
			s.load(t, sides[1][:2], 100*i+50, 100, 0)
			pass(10 * time.Second)
		}
		for i, side := range sides {
			want := side[0].state(t)
			if want.Entries != 600 {
				t.Errorf("side %d has %d entries, want the 600 that it wrote", i, want.Entries)
			}
			for _, n := range side {
				if got := n.state(t); got.Digest != want.Digest {
					t.Errorf("%s differs from its own side: %d entries", n.config.Node, got.Entries)
				}
			}
		}
		s.net.Heal()
		took := s.converge(t, time.Minute)
		if n := s.nodes[0].m.Len(); n != 650 {
			t.Errorf("%d elements, want 650", n)
		}
		t.Logf("%d members: equal %v after the network healed", members, took)
	})
}

// TestSimulatedStall: one of ten members stops for a minute, as a process does
// that is not scheduled, while the others write all the time. They stay as fast
// as before, what waits for it is bounded by the number of keys and what is on
// its way by the windows, and once it goes on, nothing is lost: neither what
// the others wrote, nor what programs on its own host wrote.
func TestSimulatedStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := simulate(t, 10, simnet.Link{Delay: time.Millisecond}, 64)
		const keys, stalled = 2000, 9
		perRound := sized(400, 100, 2000)
		others := s.nodes[:stalled]
		round := func(i int) (visible time.Duration) {
			for range perRound {
				s.put(t, others[s.dice.IntN(len(others))], s.dice.IntN(keys), s.dice.Int())
			}
			s.put(t, others[0], keys+i, i)
			begin := time.Now()
			for time.Since(begin) < time.Second {
				pass(time.Millisecond)
				if visible == 0 && holdAll(s, others, keys+i) {
					visible = time.Since(begin)
				}
			}
			return visible
		}
		s.load(t, others, 0, keys, time.Second)
		s.converge(t, time.Minute)
		before, atRest := round(0), s.unread()
		s.net.Stall(s.nodes[stalled].addr)
		var slowest time.Duration
		waiting, unread := 0, uint64(0)
		for i := range 60 {
			s.put(t, s.nodes[stalled], 2*keys+i, i)
			took := round(1 + i)
			if took == 0 {
				t.Errorf("second %d of the stall: a write is not on all others within a second", i)
			}
			slowest = max(slowest, took)
			for _, n := range others {
				waiting = max(waiting, n.cluster.Stats().RumorsWaiting)
			}
			unread = max(unread, s.unread()-atRest)
		}
		s.net.Resume(s.nodes[stalled].addr)
		took := s.converge(t, time.Minute)
		t.Logf("a write is on all others after %v before the stall and at most %v in it; %d rumors and %d kB wait at most; equal %v after it",
			before, slowest, waiting, unread/1e3, took)
		if n := s.nodes[0].m.Len(); n != keys+61+60 {
			t.Errorf("%d elements, want %d", n, keys+61+60)
		}
		if slowest > 4*before+10*time.Millisecond {
			t.Errorf("in the stall a write takes %v, before it took %v", slowest, before)
		}
		if limit := 2 * (keys + 61 + 60); waiting > limit {
			t.Errorf("%d rumors wait on one member, want at most %d", waiting, limit)
		}
		if limit := uint64(len(others)) * 4 << 20; unread > limit {
			t.Errorf("%d bytes are on their way to the stalled member, want at most %d", unread, limit)
		}
	})
}

// holdAll reports whether all of these nodes' kernel maps have a key.
func holdAll(s *simulation, nodes []*rigNode, key int) bool {
	k := make([]byte, s.shape.KeyBytes)
	copy(k, number(key))
	for _, n := range nodes {
		if _, ok := n.m.Get(k); !ok {
			return false
		}
	}
	return true
}

// unread is how many bytes were written to streams and never read.
func (s *simulation) unread() uint64 {
	var in, out uint64
	for _, n := range s.nodes {
		traffic := s.net.Traffic(n.addr)
		in, out = in+traffic.StreamBytesIn, out+traffic.StreamBytesOut
	}
	return out - in
}

// TestSimulatedLargeValues: values of 64 KiB go round as others do.
func TestSimulatedLargeValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := simulate(t, 10, simnet.Link{Delay: time.Millisecond, Loss: 0.05}, 64<<10)
		count := sized(40, 10, 200)
		begin := s.totals()
		writes := s.load(t, s.nodes, 0, count, time.Second)
		took := s.converge(t, 10*time.Second)
		end := s.totals()
		t.Logf("%d writes of 64 KiB among 10 members: equal after %v, %.2f times their size sent to each", writes, took,
			float64(end.bytes-begin.bytes)/float64(writes)/(64<<10)/9)
	})
}

// TestSimulatedJoinUnderLoad: an empty member joins a pair that has many
// entries and overwrites them all the time, over links of 10 MiB a second. It becomes ready, and what it
// receives until then is little more than what there is.
func TestSimulatedJoinUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := simulate(t, 2, simnet.Link{Delay: 200 * time.Microsecond, Rate: 10 << 20}, 64)
		entries := sized(30000, 10000, 100000)
		for first := 0; first < entries; first += 5000 {
			s.load(t, s.nodes[:1], first, 5000, 50*time.Millisecond)
			pass(50 * time.Millisecond)
		}
		s.converge(t, time.Minute)
		c := s.join()
		begin, writes := time.Now(), 0
		for ready := false; !ready; ready, _ = c.Ready(t.Context()) {
			if time.Since(begin) > 30*time.Second {
				_, why := c.Ready(t.Context())
				t.Fatalf("not ready after %v: %q", time.Since(begin), why)
			}
			for range 10 {
				s.put(t, s.nodes[s.dice.IntN(2)], s.dice.IntN(entries), s.dice.Int())
				writes++
			}
			pass(10 * time.Millisecond)
		}
		ready := time.Since(begin)
		took := s.converge(t, 10*time.Second)
		version := 8 + 4 + 1 // wall, counter, and the member's place in a table
		size := float64(entries+writes) * float64(s.shape.KeyBytes+s.shape.ValueBytes+version)
		share := float64(s.net.Traffic(c.addr).BytesIn()) / size
		t.Logf("%d entries, %d writes meanwhile: ready after %v, equal %v later, received %.2f times the size of keys, values and versions, %d entries by anti-entropy",
			entries, writes, ready, took, share, c.cluster.Stats().SyncEntriesIn)
		if share > 1.3 {
			t.Errorf("received %.2f times the size of keys, values and versions, want at most 1.3", share)
		}
	})
}

// TestSimulatedDisorder: a network that doubles and holds back a third of the
// packets, some for half a second, and loses some.
func TestSimulatedDisorder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := simulate(t, 10, simnet.Link{Delay: time.Millisecond, Jitter: 5 * time.Millisecond, Loss: 0.05,
			Duplicate: 0.3, Reorder: 0.3, Hold: 500 * time.Millisecond}, 8)
		s.load(t, s.nodes, 0, sized(500, 200, 2000), time.Second)
		t.Logf("equal after %v", s.converge(t, 10*time.Second))
	})
}
