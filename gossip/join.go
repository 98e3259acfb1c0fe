package gossip

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	firstRetry = 200 * time.Millisecond
	retryMin   = 10 * time.Second
	retryMax   = 30 * time.Second
	// joinsAtOnce bounds the addresses that are tried in one round.
	joinsAtOnce   = 4
	lookupTimeout = 5 * time.Second
)

func lookupHost(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// joinLoop wants the seeds for ever: memberlist does not heal a partition that
// lasted longer than some tens of seconds by itself. Fast at first, so that
// members started together meet at once.
func (c *Cluster) joinLoop() {
	for wait := firstRetry; ; {
		if c.leaving.Load() {
			return
		}
		c.joinRound()
		next := wait/2 + rand.N(wait/2+1)
		if c.settled() || wait > retryMin {
			next = retryMin + rand.N(retryMax-retryMin)
		} else if wait *= 2; wait == 2*firstRetry {
			wait = 500 * time.Millisecond
		}
		if !pause(c.ctx, next) {
			return
		}
	}
}

// settled reports whether the fast phase is over.
func (c *Cluster) settled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.joined.IsZero() && len(c.seeds) == 0 || c.alone
}

// joinRound tries some of the addresses that should be members and are not.
func (c *Cluster) joinRound() {
	wanted, own := c.resolveSeeds()
	members := make(map[netip.AddrPort]bool)
	var lost []netip.AddrPort
	var elsewhere netip.AddrPort // what we advertise, where it is not this host's
	c.mu.Lock()
	living := c.livingLocked()
	for _, r := range c.records {
		addr, err := netip.ParseAddrPort(r.addr)
		if err != nil {
			continue
		}
		switch {
		case r.self:
			if !own[addr] {
				elsewhere = addr
			}
			own[addr] = true
		case r.peer != nil:
			members[addr] = true
		case r.state == StateDead && !living[r.Node]:
			lost = append(lost, addr)
		}
	}
	c.mu.Unlock()

	foreign := false // some seed is not ourselves
	seeds := make(map[netip.AddrPort]string)
	for seed, addrs := range wanted {
		foreign = foreign || len(addrs) == 0
		for _, addr := range addrs {
			if own[addr] {
				continue
			}
			foreign = true
			if !members[addr] {
				seeds[addr] = seed
			} else {
				c.seedFailed(seed, "")
			}
		}
	}
	if !foreign {
		c.mu.Lock()
		c.alone = true
		c.mu.Unlock()
		c.becomeReady()
	}
	tries := make(map[netip.AddrPort]string, joinsAtOnce)
	for addr, seed := range seeds { // in random order
		if len(tries) < joinsAtOnce {
			tries[addr] = seed
		}
	}
	rand.Shuffle(len(lost), func(i, j int) { lost[i], lost[j] = lost[j], lost[i] })
	for _, addr := range lost {
		if len(tries) < joinsAtOnce && !members[addr] && !own[addr] {
			tries[addr] = ""
		}
	}
	if c.transport != nil && elsewhere.IsValid() {
		tries[elsewhere] = "" // ourselves behind a translation, or another member that advertises the same
	}
	var wg sync.WaitGroup
	for addr, seed := range tries {
		wg.Go(func() { c.join(addr, seed) })
	}
	wg.Wait()
}

// join makes the member at addr known to us and us to it. seed is empty for a
// member that was lost.
func (c *Cluster) join(addr netip.AddrPort, seed string) {
	c.counters.joinAttempts.Add(1)
	_, err := c.list.Join([]string{addr.String()})
	if err != nil {
		c.counters.joinFailures.Add(1)
		c.log.Debug("join failed", "addr", addr, "error", err)
	}
	if seed == "" {
		return
	}
	if err != nil {
		c.seedFailed(seed, fmt.Sprintf("%s does not let this member join; is it up, with the same cluster name and key? (%s)", addr, oneLine(err)))
		return
	}
	c.seedFailed(seed, "")
}

// resolveSeeds returns the addresses of each seed, none where it does not
// resolve, and the addresses of this host at our port.
func (c *Cluster) resolveSeeds() (wanted map[string][]netip.AddrPort, own map[netip.AddrPort]bool) {
	own = make(map[netip.AddrPort]bool)
	if c.transport != nil {
		own = hostAddrs(c.cfg.Bind.Addr(), uint16(c.transport.port()))
	}
	wanted = make(map[string][]netip.AddrPort, len(c.cfg.Seeds))
	for _, seed := range c.cfg.Seeds {
		host, seedPort, err := splitSeed(seed, DefaultPort)
		if err != nil {
			continue // Validate refused it
		}
		addrs, err := c.resolve(host)
		wanted[seed] = nil
		if err != nil {
			c.seedFailed(seed, "does not resolve: "+oneLine(err))
			continue
		}
		for _, a := range addrs {
			wanted[seed] = append(wanted[seed], netip.AddrPortFrom(a.Unmap(), seedPort))
		}
	}
	return wanted, own
}

func (c *Cluster) resolve(host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	ctx, cancel := context.WithTimeout(c.ctx, lookupTimeout)
	defer cancel()
	return c.lookup(ctx, host)
}

// seedFailed notes why a seed is of no use, empty for none. The log gets the
// first reason and each change.
func (c *Cluster) seedFailed(seed, why string) {
	topic := withoutDigits(why) // of ports, which change each time
	c.mu.Lock()
	before, failed := c.seeds[seed]
	if why == "" {
		delete(c.seeds, seed)
	} else {
		c.seeds[seed] = why
	}
	c.mu.Unlock()
	switch {
	case why == "" && failed:
		c.log.Info("seed works", "seed", seed)
	case why != "" && topic != withoutDigits(before):
		c.log.Warn("seed does not work; it is tried again for ever", "seed", seed, "error", why)
	}
}
