package gossip

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
)

// A map must have one shape on all members. Where two differ, the member that
// came later keeps its own out of the exchange until no living member that
// takes part has another shape; the earlier one goes on and ignores what the
// later sends. Hence an established map is never given up because some refused
// member outlives another.
//
// It is the maps' age that counts, not the members': an old member may add one
// late. A map that was filled while the other was not came earlier: a newcomer
// whose clock is behind must not stop the established. Only between two that were
// filled when they met, and while neither is, the times decide at which the two
// were added.

// theirsFirstLocked reports whether the map of that name of the member of r came
// before ours.
func (c *Cluster) theirsFirstLocked(r *record, name string) bool {
	ours, theirs := c.filled[name], r.maps[name].Filled
	first, decided := r.first[name]
	switch {
	case decided:
		return first
	case ours != theirs:
		r.first[name] = theirs
		return theirs
	case r.maps[name].Since != c.since[name]:
		return r.maps[name].Since < c.since[name]
	}
	return r.earlier(c.self)
}

// mapEarlier reports whether the map of that name of the member of r was added
// before that of o.
func (r *record) mapEarlier(o *record, name string) bool {
	if s, t := r.maps[name].Since, o.maps[name].Since; s != t {
		return s < t
	}
	return r.earlier(o.meta)
}

// Refused returns the maps that this member keeps out of the exchange, each
// with the reason. The map is the caller's.
func (c *Cluster) Refused() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.refused)
}

// Conflicts returns duplicate node IDs and maps whose shape differs on other
// members, in words, sorted. Empty when all is well.
func (c *Cluster) Conflicts() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var conflicts []string
	for _, sentence := range c.duplicates {
		conflicts = append(conflicts, sentence)
	}
	for _, r := range c.records {
		if r.peer == nil {
			continue
		}
		if self := c.records[c.name]; self != nil && r.addr == self.addr && r.Node != self.Node {
			conflicts = append(conflicts, fmt.Sprintf("member %s advertises this member's address %s: members can't tell the two apart; give each its own --advertise",
				r.Node, r.addr))
		}
		for name, theirs := range r.maps {
			ours := c.spec(name)
			if ours == nil || ours.sameShape(theirs.Map) {
				continue
			}
			if _, out := c.refused[name]; out {
				conflicts = append(conflicts, c.refused[name])
			} else {
				conflicts = append(conflicts, fmt.Sprintf("map %s is (%s) on member %s, which came later, and (%s) here: that member keeps it out of the exchange",
					name, theirs.shape(), r.Node, ours.shape()))
			}
		}
	}
	slices.Sort(conflicts)
	return slices.Compact(conflicts)
}

// reviewLocked decides anew which maps are refused here.
func (c *Cluster) reviewLocked() {
	defer c.routes.Store(nil)
	for _, ours := range c.maps.Load().all {
		name := ours.Name
		_, out := c.refused[name]
		var against *record
		for _, r := range c.records {
			theirs, ok := r.maps[name]
			if r.peer == nil || !ok || theirs.Refused || ours.sameShape(theirs.Map) {
				continue
			}
			if (c.theirsFirstLocked(r, name) || out) && (against == nil || r.mapEarlier(against, name)) {
				against = r
			}
		}
		switch {
		case against != nil:
			why := fmt.Sprintf("map %s is (%s) here but (%s) on member %s, which came earlier: it is kept out of the exchange; make its shape that of the cluster",
				name, ours.shape(), against.maps[name].shape(), against.Node)
			if c.refused[name] != why {
				c.refused[name] = why
				c.noteLocked(func() { c.log.Error("map refused", "map", name, "error", why) })
			}
		case out:
			delete(c.refused, name)
			c.noteLocked(func() { c.log.Info("map no longer refused", "map", name) })
			for _, r := range c.records {
				if r.peer == nil {
					continue
				}
				c.requestExchange(r.peer)
				if c.commonLocked(r, ours) {
					r.uncompared(name)
				}
			}
		}
		c.reportLaterLocked(name, ours)
	}
	c.fillAloneLocked()
}

// reportLaterLocked logs once for each later member that its map differs.
func (c *Cluster) reportLaterLocked(name string, ours *Map) {
	for _, r := range c.records {
		theirs, ok := r.maps[name]
		if r.peer == nil || !ok || ours.sameShape(theirs.Map) {
			delete(r.ignored, name)
			continue
		}
		if _, out := c.refused[name]; out || r.ignored[name] {
			continue
		}
		r.ignored[name] = true
		member, there, here := r.Node, theirs.shape(), ours.shape()
		c.noteLocked(func() {
			c.log.Error("map has another shape on a later member", "map", name, "member", member, "there", there, "here", here)
		})
	}
}

// learn takes over what a member says about its maps.
func (c *Cluster) learn(p *peer, s state) {
	c.mu.Lock()
	defer c.unlock()
	r := c.records[p.boot]
	if r == nil || r.peer != p {
		return
	}
	if s.Order <= r.order {
		return // it came late: the member has told more since
	}
	was := &record{told: r.told, maps: r.maps}
	r.told, r.order, r.lacking = true, s.Order, s.Lacking
	c.keepMapsLocked(r, s.Maps)
	c.reviewLocked()
	for name := range r.maps {
		if spec := c.spec(name); c.commonLocked(r, spec) && !c.commonLocked(was, spec) {
			r.uncompared(name)
		}
	}
}

// maxForeign bounds the maps that this member does not have and knows of, counted
// for each member that told of one.
const maxForeign = 64 << 10

// keepMapsLocked notes the maps that a member told of, without their Progress.
// Those that this member does not have, and that there is no room for, are left
// out: when it adds one it asks all members anyway.
func (c *Cluster) keepMapsLocked(r *record, told []mapState) {
	room := maxForeign
	for _, o := range c.records {
		if o != r {
			room -= o.foreign
		}
	}
	r.foreign, r.maps = 0, make(map[string]mapState)
	var kept []mapState
	for _, m := range told {
		if c.spec(m.Name) == nil {
			if r.foreign >= room {
				continue
			}
			r.foreign++
		}
		m.Progress = crdt.Report{}
		r.maps[m.Name] = m
		kept = append(kept, m)
	}
	r.rooms = roomsOf(kept)
}

// commonLocked reports whether this member and the one of r exchange the map, as
// far as that one told. A nil map they do not.
func (c *Cluster) commonLocked(r *record, spec *Map) bool {
	if spec == nil {
		return false
	}
	_, out := c.refused[spec.Name]
	return !out && r.told && r.takesLocked(spec)
}

// exchanged returns the map if entries of it may pass between this member and
// p, both ways. keyBytes and valueBytes are what a frame of p says.
func (c *Cluster) exchanged(p *peer, name string, keyBytes, valueBytes int) *Map {
	spec := c.spec(name)
	if spec == nil || spec.KeyBytes != keyBytes || spec.ValueBytes != valueBytes {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, out := c.refused[name]; out {
		return nil
	}
	if r := c.records[p.boot]; r != nil && !r.takesLocked(spec) {
		return nil
	}
	return spec
}

// takesLocked reports whether entries of the map mean something to the member,
// as far as it told: true if it has not told yet.
func (r *record) takesLocked(spec *Map) bool {
	theirs, ok := r.maps[spec.Name]
	if !ok {
		return !r.told
	}
	return !theirs.Refused && spec.sameShape(theirs.Map)
}

// Taking returns the node IDs of the other members that take part in the map
// and are alive, with the time at which each was last heard (Config.Boot; 0: not
// yet), and of those that left in order, with the time of that. A member is alive
// for as long as it takes to find out that it is not. Both are empty for a map that
// this member does not have.
func (c *Cluster) Taking(mapName string) (alive map[string]int64, left map[string]time.Time) {
	spec := c.spec(mapName)
	c.mu.Lock()
	defer c.mu.Unlock()
	living := c.livingLocked()
	alive, left = make(map[string]int64), make(map[string]time.Time)
	if spec == nil {
		return alive, left
	}
	for _, r := range c.records {
		switch {
		case r.self || r.Node == c.self.Node:
		case r.peer != nil && r.told && r.takesLocked(spec):
			alive[r.Node] = max(alive[r.Node], r.heard)
		case r.state == StateLeft && !living[r.Node] && left[r.Node].Before(r.since):
			left[r.Node] = r.since
		}
	}
	return alive, left
}

// takersLocked returns the living members that take part in the map; none if
// it is refused here.
func (c *Cluster) takersLocked(spec *Map) []*peer {
	if _, out := c.refused[spec.Name]; out {
		return nil
	}
	peers := make([]*peer, 0, len(c.records))
	for _, r := range c.records {
		if r.peer != nil && r.takesLocked(spec) {
			peers = append(peers, r.peer)
		}
	}
	return peers
}
