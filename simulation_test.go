package mapgossip

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/gossip/simnet"
)

// simulatedLink is a network that clusters are measured on.
type simulatedLink struct {
	name string
	simnet.Link
}

var (
	cleanLink = simulatedLink{"clean", simnet.Link{}}
	lossyLink = simulatedLink{"20 % loss", simnet.Link{Loss: 0.2}}
	lateLink  = simulatedLink{"1 to 2 ms", simnet.Link{Delay: time.Millisecond, Jitter: time.Millisecond}}
)

// TestSimulation measures clusters of real Nodes in virtual time: 2000 keys are
// written on up to ten members within a second, one in ten twice, by another
// member. (300 keys where members pass changes on, but for the clean link in an
// exhaustive run.) It holds the goals of convergence, and prints for each cluster
//
//   - the time from the last write until all kernel maps and digests are equal,
//   - copies: the entries that members received, by rumors and anti-entropy
//     together, for each write and each other member,
//   - the bytes that a member sent in a second, meanwhile and at rest,
//   - how long the test took.
//
// MAPGOSSIP_EXHAUSTIVE=1 has all links with all sizes, MAPGOSSIP_SIMULATE=300
// one more size on the clean link (minutes of CPU; any number of members will do).
func TestSimulation(t *testing.T) {
	type cluster struct {
		members int
		link    simulatedLink
	}
	clusters := []cluster{{3, lossyLink}, {10, lateLink}, {30, cleanLink}, {100, cleanLink}}
	if fewer > 1 {
		clusters = []cluster{{3, lossyLink}, {40, cleanLink}}
	}
	if long() {
		clusters = nil
		for _, size := range []int{3, 10, 30, 100} {
			for _, link := range []simulatedLink{cleanLink, lossyLink, lateLink} {
				clusters = append(clusters, cluster{size, link})
			}
		}
	}
	if size := wanted(t); size > 0 {
		clusters = []cluster{{size, cleanLink}}
	}
	for _, c := range clusters {
		began := time.Now()
		var m measured
		synctest.Test(t, func(t *testing.T) { m = measure(t, c.members, c.link.Link) })
		t.Logf("%3d members, %-9s: equal after %6v, %.2f copies, %6.1f kB/s a member, %5.2f kB/s at rest, formed in %v; %.1f s real",
			c.members, c.link.name, m.took, m.copies, m.loaded/1e3, m.resting/1e3, m.formed, time.Since(began).Seconds())
		goal := 3 * time.Second
		if c.link.Loss > 0 {
			goal = 10 * time.Second
		}
		if m.took > goal {
			t.Errorf("%d members, %s: equal after %v, want at most %v", c.members, c.link.name, m.took, goal)
		}
		if c.link.Loss == 0 && m.copies > 4 {
			t.Errorf("%d members, %s: %.2f copies an entry, want at most 4", c.members, c.link.name, m.copies)
		}
	}
}

// measured is one line of what TestSimulation prints.
type measured struct {
	formed, took    time.Duration
	copies          float64
	loaded, resting float64 // bytes a member a second
}

func measure(t *testing.T, members int, link simnet.Link) (m measured) {
	s := simulate(t, members, link, 64)
	pass(20 * time.Second) // the news of who joined has gone round
	resting := s.totals()
	pass(10 * time.Second)
	begin := s.totals()
	keys := 2000
	if members > 32 && (!long() || link != cleanLink.Link) {
		keys = 300 // each is passed on by every member
	}
	writes := s.load(t, s.nodes[:min(members, 10)], 0, keys, time.Second)
	m.formed, m.took = s.took, s.converge(t, time.Minute)
	end := s.totals()
	m.copies = float64(end.entries-begin.entries) / float64(writes) / float64(members-1)
	m.loaded, m.resting = s.rate(begin, end), s.rate(resting, begin)
	return m
}
