package gossip

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// maxKnown bounds the addresses that Known returns, and the lost ones that are
// tried.
const maxKnown = 256

// lostMember is an address at which a member was and is not.
type lostMember struct {
	node  string    // empty: from Config.Known
	since time.Time // zero: from an earlier run
	left  bool      // it said goodbye
}

// Known returns the addresses, IP:port, of the members that live, then of those
// that were lost and of those that left, the latest first: at most 256, not this
// member's own. A later run takes it as Config.Known. The slice is the caller's.
func (c *Cluster) Known() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	own := c.records[c.name].address()
	known := make([]string, 0, len(c.records))
	for _, r := range c.records {
		if r.peer != nil && r.addr != own {
			known = append(known, r.addr)
		}
	}
	slices.Sort(known)
	known = slices.Compact(known)
	for _, addr := range c.lostLocked() {
		if text := addr.String(); text != own && !slices.Contains(known, text) {
			known = append(known, text)
		}
	}
	return known[:min(len(known), maxKnown)]
}

// lostLocked returns the lost addresses, those that left last, the latest first.
func (c *Cluster) lostLocked() []netip.AddrPort {
	addrs := make([]netip.AddrPort, 0, len(c.lost))
	for addr := range c.lost {
		addrs = append(addrs, addr)
	}
	slices.SortFunc(addrs, func(a, b netip.AddrPort) int {
		x, y := c.lost[a], c.lost[b]
		if x.left != y.left {
			if y.left {
				return -1
			}
			return 1
		}
		return cmp.Or(y.since.Compare(x.since), a.Compare(b))
	})
	return addrs
}

// loseLocked keeps the address of a member that is gone, to be tried for ever,
// or until newer ones need the place.
func (c *Cluster) loseLocked(r *record, now time.Time) {
	addr, err := netip.ParseAddrPort(r.addr)
	if err != nil || r.self || c.livingLocked()[r.Node] {
		return // the member lives elsewhere
	}
	c.lost[addr] = lostMember{r.Node, now, r.state == StateLeft}
	if len(c.lost) > maxKnown {
		order := c.lostLocked()
		delete(c.lost, order[len(order)-1])
	}
}

// findLocked forgets the addresses that a member which is back had.
func (c *Cluster) findLocked(r *record) {
	for addr, l := range c.lost {
		if l.node == r.Node || addr.String() == r.addr {
			delete(c.lost, addr)
		}
	}
}
