package gossip

import (
	"errors"
	"fmt"
	"slices"
)

// mapSet is the maps of this member: a new one takes its place with each that
// is added, so that it is read without a lock. None is ever taken out.
type mapSet struct {
	byName map[string]*Map
	all    []*Map // in the order in which they were added
}

// newMapSet copies the maps.
func newMapSet(maps []Map) *mapSet {
	s := &mapSet{byName: make(map[string]*Map, len(maps)), all: make([]*Map, 0, len(maps))}
	for _, m := range maps {
		s.all = append(s.all, &m)
		s.byName[m.Name] = &m
	}
	return s
}

// with returns a copy of the set that has one more. Those of before stay the
// same pointers.
func (s *mapSet) with(m *Map) *mapSet {
	more := &mapSet{byName: make(map[string]*Map, len(s.all)+1), all: append(slices.Clip(s.all), m)}
	for _, m := range more.all {
		more.byName[m.Name] = m
	}
	return more
}

// shapes returns a copy of the maps and one more.
func (s *mapSet) shapes(more Map) []Map {
	shapes := make([]Map, 0, len(s.all)+1)
	for _, m := range s.all {
		shapes = append(shapes, *m)
	}
	return append(shapes, more)
}

// spec returns the map of that name, nil if this member has none.
func (c *Cluster) spec(mapName string) *Map { return c.maps.Load().byName[mapName] }

// Add replicates one more map from now on, as if it had been in Config.Maps:
// the other members are told at once, and what they have of it comes, in the
// background (Filled). A shape that differs from that of a member which had the
// map before is no error: the map is refused (Refused), by this member if its map
// is the later one. The Replica must answer for the map before Add is called. An
// error when the name is taken, the map is invalid, or there are too many, or
// after Close. It does not block, and may be called before Run.
func (c *Cluster) Add(m Map) error {
	c.mu.Lock()
	defer c.unlock()
	if c.closed {
		return fmt.Errorf("add map %s: the cluster is closed", m.Name)
	}
	set := c.maps.Load()
	if err := errors.Join(validateMaps(set.shapes(m))...); err != nil {
		return fmt.Errorf("add map %s: %w", m.Name, err)
	}
	c.since[m.Name] = max(0, c.cfg.Now().UnixNano())
	c.routes.Store(nil) // before the map is to be found: who finds it works out a new route
	c.maps.Store(set.with(&m))
	c.inboxSize = max(c.inboxSize, inboxFor(&m))
	for _, r := range c.records {
		if r.peer != nil {
			r.peer.in.raise(c.inboxSize)
			r.peer.asked.raise(c.inboxSize)
		}
	}
	c.reviewLocked()
	for _, r := range c.records {
		if r.peer != nil && c.commonLocked(r, &m) {
			r.uncompared(m.Name)
		}
	}
	c.announceLocked()
	return nil
}

// inboxFor is how many bytes may wait from one member that has the map.
func inboxFor(m *Map) int { return maxInboxBytes + 3*(m.KeyBytes+m.ValueBytes) }

// announceLocked has all members told what maps this one has.
func (c *Cluster) announceLocked() {
	for _, r := range c.records {
		if r.peer != nil {
			r.peer.announceSoon()
		}
	}
}

func (p *peer) announceSoon() {
	select {
	case p.announce <- struct{}{}:
	default:
	}
}

// announceTo tells one member which maps this one has, each time that more are
// there, until it answers. Its goroutine is its own: members that hang keep nobody
// else from hearing of a map.
func (c *Cluster) announceTo(p *peer) {
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-p.announce:
		}
		for wait := eagerInterval; !c.knowsAll(p); {
			differ, _, err := c.question(p.ctx, p)
			if err == nil {
				if len(differ) > 0 {
					c.requestExchange(p)
				}
				continue
			}
			c.log.Debug("maps not announced", "member", p.Node, "addr", p.addr, "error", err)
			if c.knowsAll(p) {
				break // it answered, and only the digests could not be compared
			}
			if !pause(p.ctx, wait) {
				return
			}
			wait = min(2*wait, retryMax)
		}
	}
}

// knowsAll reports whether the member has answered since it was told of all maps.
func (c *Cluster) knowsAll(p *peer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return p.knows == len(c.maps.Load().all)
}

// answered notes that the member answered after it was told of so many of this
// member's maps, the first ones.
func (c *Cluster) answered(p *peer, maps int) {
	c.mu.Lock()
	defer c.unlock()
	p.knows = max(p.knows, maps)
	c.fillAloneLocked()
}
