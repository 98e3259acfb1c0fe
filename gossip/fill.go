package gossip

import (
	"context"
	"fmt"
	"math/rand/v2"
)

// A map is filled once this member has had a whole exchange of it, in this run,
// with a member that was filled itself, or with any if none of those that live is.
// If nobody else has the map there is nothing to wait for: once all that live have
// said so, knowing that this member has it. So of two to which one map is added at
// the same time not both find themselves alone with it.

// Filled reports whether the map holds what the cluster knew of it when this
// member came to have it; otherwise why not, in words. Once true it stays true. It
// says more than Ready, which one exchange with one member makes true, whatever
// maps that one has. A map that is refused is not filled. Members that had the map
// and are dead are waited for, up to an hour: they may just be cut off.
func (c *Cluster) Filled(mapName string) (bool, string) {
	c.mu.Lock()
	defer c.unlock()
	c.fillAloneLocked()
	if c.filled[mapName] {
		return true, ""
	}
	for i, spec := range c.maps.Load().all {
		if spec.Name == mapName {
			return false, c.lackLocked(i, spec)
		}
	}
	return false, fmt.Sprintf("map %s is not replicated here", mapName)
}

// lackLocked says what this member waits for to be filled with its map number i
// by nobody; empty if for nothing.
func (c *Cluster) lackLocked(i int, spec *Map) string {
	if why, out := c.refused[spec.Name]; out {
		return why
	}
	if !c.isReady() {
		return "no whole exchange with any member yet"
	}
	silent := ""
	for _, r := range c.records {
		switch {
		case r.peer == nil:
		case r.takesLocked(spec) && r.told:
			return "no whole exchange of the map with a member that has it yet"
		case r.peer.knows <= i:
			silent = fmt.Sprintf("member %s has not said yet whether it has the map", r.Node)
		}
	}
	if silent != "" {
		return silent
	}
	now := c.cfg.Now()
	for node, r := range c.latestGoneLocked() {
		if _, had := r.maps[spec.Name]; node != c.self.Node && r.state == StateDead && now.Sub(r.since) <= keepGone && had && r.takesLocked(spec) {
			return fmt.Sprintf("member %s, which has the map, is dead or cut off", node)
		}
	}
	return ""
}

// fillAloneLocked notes which maps nobody else has.
func (c *Cluster) fillAloneLocked() {
	all := c.maps.Load().all
	if len(c.filled) == len(all) || !c.isReady() {
		return
	}
	for i, spec := range all {
		if !c.filled[spec.Name] && c.lackLocked(i, spec) == "" {
			c.filledLocked(spec)
		}
	}
}

func (c *Cluster) filledLocked(spec *Map) {
	c.filled[spec.Name] = true
	c.routes.Store(nil) // what others tell of the map is passed on from now on
}

// gotAll notes that all that the member had of the map a moment ago is here.
func (c *Cluster) gotAll(p *peer, spec *Map) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.records[p.boot]
	if c.filled[spec.Name] || r == nil || r.peer != p {
		return
	}
	if !r.maps[spec.Name].Filled {
		for _, o := range c.records {
			if o.peer != nil && o.maps[spec.Name].Filled && o.takesLocked(spec) {
				return // that one knows more
			}
		}
	}
	c.filledLocked(spec)
}

// joins reports whether the member has had no whole exchange of the map yet.
func (c *Cluster) joins(p *peer, mapName string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.records[p.boot]
	return r == nil || !r.maps[mapName].Filled
}

// split sorts the names of maps that differ: late are those that this member is
// to be filled with. With patience those are left out that the member is to be
// filled with: it begins itself.
func (c *Cluster) split(p *peer, differ []string, patience bool) (late, rest []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.records[p.boot]
	for _, name := range differ {
		switch {
		case !c.filled[name]:
			late = append(late, name)
		case patience && r != nil && !r.maps[name].Filled:
		default:
			rest = append(rest, name)
		}
	}
	return late, rest
}

// fillFrom brings the maps that this member is to be filled with, from one member at
// a time: two would bring the same entries. While another one is at it, a call
// with patience does nothing.
func (c *Cluster) fillFrom(ctx context.Context, p *peer, patience bool) error {
	select {
	case c.joining <- struct{}{}:
	default:
		if patience {
			return nil
		}
		select {
		case c.joining <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() { <-c.joining }()
	differ, _, err := c.question(ctx, p) // another one may have brought them
	if err != nil {
		return err
	}
	late, _ := c.split(p, differ, patience)
	return c.syncMaps(ctx, p, late)
}

// fillers returns, for each map that this member is to be filled with, one of
// the living members that have it, a filled one if there is one.
func (c *Cluster) fillers() []*peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.maps.Load().all
	if len(c.filled) == len(all) {
		return nil
	}
	var fillers []*peer
	for _, spec := range all {
		if _, out := c.refused[spec.Name]; out || c.filled[spec.Name] {
			continue
		}
		var filled, others []*peer
		for _, r := range c.records {
			theirs, has := r.maps[spec.Name]
			switch {
			case r.peer == nil || !has || !r.takesLocked(spec):
			case theirs.Filled:
				filled = append(filled, r.peer)
			default:
				others = append(others, r.peer)
			}
		}
		if len(filled) == 0 {
			filled = others
		}
		if len(filled) > 0 {
			fillers = append(fillers, filled[rand.IntN(len(filled))])
		}
	}
	return fillers
}
