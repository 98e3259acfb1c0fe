package gossip

import (
	"cmp"
	"math"
	"slices"
)

const (
	// fullMesh is the number of members up to which a change goes from its
	// origin straight to all others.
	fullMesh = 32
	// minSuccessors get a change from each member of a larger cluster.
	minSuccessors = 3
)

// route is whom this member tells of changes in one map.
type route struct {
	peers []*peer
	relay bool // what others told is passed on too: the map is filled
}

// audience chooses who gets a rumor: the one place that knows. peers are the
// other members that take part in the map, self is this one's name. Up to
// fullMesh members the origin tells all others. In a larger cluster each member
// tells its successors on a ring of all, ordered by name, and so does each to
// whom the rumor was new. It reorders peers and returns a part of it.
func audience(peers []*peer, self string) route {
	members := len(peers) + 1
	if members <= fullMesh {
		return route{peers: peers}
	}
	slices.SortFunc(peers, func(a, b *peer) int { return cmp.Compare(a.boot, b.boot) })
	first, _ := slices.BinarySearchFunc(peers, self, func(p *peer, name string) int { return cmp.Compare(p.boot, name) })
	distances := successors(members)
	chosen := make([]*peer, len(distances))
	for i, d := range distances {
		chosen[i] = peers[(first+d-1)%len(peers)]
	}
	return route{peers: chosen, relay: true}
}

// successors returns the distances on the ring from a member to those that it
// tells: floor(log2(members)/2) of them, at least minSuccessors, the first 1, in
// geometric progression. The first alone reaches everybody; together they do
// in few hops, and each member is told by as many.
func successors(members int) []int {
	n := max(minSuccessors, int(math.Log2(float64(members))/2))
	distances := make([]int, n)
	for i := range distances {
		distances[i] = int(math.Round(math.Pow(float64(members), float64(i)/float64(n))))
		if i > 0 {
			distances[i] = max(distances[i], distances[i-1]+1)
		}
	}
	return distances
}

// route returns whom to tell of changes in the map. It is worked out once for
// each change of the membership or of the maps.
func (c *Cluster) route(spec *Map) route {
	if all := c.routes.Load(); all != nil {
		return (*all)[spec]
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	specs := c.maps.Load().all
	all := make(map[*Map]route, len(specs))
	for _, m := range specs {
		to := audience(c.takersLocked(m), c.name)
		to.relay = to.relay && c.filled[m.Name]
		all[m] = to
	}
	c.routes.Store(&all)
	return all[spec]
}
