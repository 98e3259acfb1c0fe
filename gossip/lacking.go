package gossip

import "slices"

// SetLacking names the maps that this member is to have and of which its host has
// no kernel map at present; the other members are told as SetRoom tells. At most
// 1024, in any order; the slice is the caller's. It does not block.
func (c *Cluster) SetLacking(mapNames []string) {
	names := slices.Sorted(slices.Values(mapNames))
	names = names[:min(len(names), maxMaps)]
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Equal(c.lacking, names) {
		c.lacking = names // Members and state hand the other one out
	}
}

// lacksLocked returns the maps that this member has, and that the other one told
// it is to have too and does not: its host has no kernel map, or it keeps it out
// because the shapes differ. Sorted.
func (c *Cluster) lacksLocked(r *record) (names []string) {
	for _, name := range r.lacking {
		if c.spec(name) != nil {
			names = append(names, name)
		}
	}
	for name, m := range r.maps {
		if m.Refused && c.spec(name) != nil && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
