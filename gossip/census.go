package gossip

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	// startUp is how long after its first meeting a member may find that it
	// is the duplicate and stop.
	startUp   = 10 * time.Second
	pingTries = 3
)

// Two living members with one node ID and different boot IDs: either one of
// them is gone and memberlist does not know yet, or an operator gave one ID to
// two hosts. Data stay convergent even then, because equal versions are ordered
// by value; but two hosts that stamp as one member are a fault that a human has
// to mend.

func (c *Cluster) wakeCensus() {
	select {
	case c.census <- struct{}{}:
	default:
	}
}

// censusLoop looks for duplicates each time membership changed.
func (c *Cluster) censusLoop() {
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-c.census:
			c.findDuplicates()
		}
	}
}

func (c *Cluster) findDuplicates() {
	byNode := make(map[string][]record)
	c.mu.Lock()
	for _, r := range c.records {
		if r.peer != nil || r.self {
			byNode[r.Node] = append(byNode[r.Node], record{meta: r.meta, name: r.name, addr: r.addr, self: r.self})
		}
	}
	for node := range c.duplicates {
		if len(byNode[node]) < 2 {
			delete(c.duplicates, node)
		}
	}
	c.mu.Unlock()
	for node, same := range byNode {
		if len(same) < 2 || c.leaving.Load() {
			continue
		}
		slices.SortFunc(same, func(a, b record) int {
			if a.earlier(b.meta) {
				return -1
			}
			return 1
		})
		first, second := same[0], same[1]
		if !first.self && !c.lives(first) || !second.self && !c.lives(second) {
			continue // memberlist will notice, and wake us
		}
		c.reportDuplicate(node, first, second)
	}
}

// askSuspect asks a member that did not answer a probe again each second until
// it answers or is gone: memberlist would ask it once a round of all members,
// and does not tell when the member itself has refuted the suspicion.
func (c *Cluster) askSuspect(name string) {
	for pause(c.ctx, time.Second) {
		c.mu.Lock()
		r := c.records[name]
		if r == nil || r.state != StateSuspect {
			c.mu.Unlock()
			return
		}
		asked := record{name: r.name, addr: r.addr}
		c.mu.Unlock()
		if c.lives(asked) {
			c.suspect(name, false)
		}
	}
}

// lives asks a member directly, a few times.
func (c *Cluster) lives(r record) bool {
	addr, err := netip.ParseAddrPort(r.addr)
	if err != nil {
		return false
	}
	for range pingTries {
		if _, err := c.list.Ping(r.name, pingAddr{addr}); err == nil {
			return true
		}
		if c.ctx.Err() != nil {
			return false
		}
	}
	return false
}

// pingAddr is a net.Addr for memberlist.Ping, which uses the text only.
type pingAddr struct{ netip.AddrPort }

func (pingAddr) Network() string { return "udp" }

func (c *Cluster) reportDuplicate(node string, first, second record) {
	why := fmt.Sprintf("node ID %q is used by two members, at %s and at %s: give one of the hosts another ID", node, first.addr, second.addr)
	c.mu.Lock()
	known := c.duplicates[node] == why
	c.duplicates[node] = why
	starting := !c.isReady() || c.cfg.Now().Sub(c.joined) < startUp
	c.mu.Unlock()
	if !known {
		c.log.Error("duplicate node ID", "member", node, "addr", first.addr, "other_addr", second.addr)
	}
	if second.self && starting {
		err := fmt.Errorf("join cluster %s: node ID %q is in use by the member at %s, and this one at %s came later: give this host another node ID or stop the other: %w",
			c.cfg.Cluster, node, first.addr, second.addr, ErrDuplicateNode)
		select {
		case c.fatal <- err:
		default:
		}
	}
}

// oneLine flattens errors that memberlist lists over several lines.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
