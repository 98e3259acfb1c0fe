package gossip

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// lookupTimeout is enough for a second name server when the first is dead;
	// a round of joining waits shorter and takes what the name meant before.
	lookupTimeout = 12 * time.Second
	lookupWait    = time.Second
)

func lookupHost(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// lookup is what a seed's name meant when it was last resolved.
type lookup struct {
	busy  bool
	addrs []netip.Addr
}

// resolveSeeds returns the addresses of each seed, none where it never
// resolved. Names are resolved again each time; one that takes long, or fails,
// means what it meant before.
func (c *Cluster) resolveSeeds() map[string][]netip.AddrPort {
	var lookups sync.WaitGroup
	for _, seed := range c.cfg.Seeds {
		host, _, err := splitSeed(seed, DefaultPort)
		if err != nil {
			continue // Validate refused it
		}
		c.mu.Lock()
		l := c.lookups[seed]
		if l == nil {
			l = &lookup{}
			c.lookups[seed] = l
		}
		if addr, err := netip.ParseAddr(host); err == nil {
			l.addrs = []netip.Addr{addr}
		} else if !l.busy && !c.closed {
			l.busy = true
			lookups.Add(1)
			c.wg.Go(func() {
				defer lookups.Done()
				c.resolve(seed, host, l)
			})
		}
		c.mu.Unlock()
	}
	done := make(chan struct{})
	go func() { lookups.Wait(); close(done) }() // ends with the lookups
	timer := time.NewTimer(lookupWait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-c.ctx.Done():
	}
	seeds := make(map[string][]netip.AddrPort, len(c.cfg.Seeds))
	c.mu.Lock()
	defer c.mu.Unlock()
	for seed, l := range c.lookups {
		_, port, _ := splitSeed(seed, DefaultPort)
		seeds[seed] = nil
		for _, a := range l.addrs {
			seeds[seed] = append(seeds[seed], netip.AddrPortFrom(a.Unmap(), port))
		}
	}
	return seeds
}

func (c *Cluster) resolve(seed, host string, l *lookup) {
	ctx, cancel := context.WithTimeout(c.ctx, lookupTimeout)
	defer cancel()
	addrs, err := c.lookup(ctx, host)
	c.mu.Lock()
	l.busy = false
	if err == nil {
		l.addrs = addrs
	}
	works := c.working[seed]
	c.mu.Unlock()
	if err != nil && !works && c.ctx.Err() == nil {
		c.seedFailed(seed, "does not resolve: "+oneLine(err))
	}
}

// Unreached returns the seeds of which no address was a member yet in this run:
// who is there may have entries that nobody here knows of.
func (c *Cluster) Unreached() (seeds []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, seed := range c.cfg.Seeds {
		if !c.reached[seed] {
			seeds = append(seeds, seed)
		}
	}
	return seeds
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
