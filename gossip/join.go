package gossip

import (
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	firstRetry = 200 * time.Millisecond
	// A round of joining each so long: memberlist does not heal a partition that
	// lasted longer than some tens of seconds by itself, and it shall be whole
	// within 30 s of the network. A try that began during the cut may take its 10 s
	// to fail, and the next one is due at most 10 s later; what else it takes is
	// seconds (news.go).
	retryMin = 5 * time.Second
	retryMax = 10 * time.Second
	// Of the addresses that are wanted so many are tried in one round, those
	// first that were not tried for longest; and so many of members that left.
	triesAtOnce = 12
	triesOfLeft = 4
	// An address that answers and does not let us join is left alone for a while,
	// and so is one that lets us so often in a row and is no member: ourselves, or
	// a member by another address.
	fruitlessJoins = 3
	coolMin        = 15 * time.Second
	coolMax        = 20 * time.Second
)

// attempt is what came of the tries of one address.
type attempt struct {
	busy      bool
	began     time.Time // the last one
	notBefore time.Time // the next one
	fruitless int       // joins in a row, and it still is no member
	refused   int       // times in a row that somebody answered and did not let us join
}

// joinLoop wants the seeds and those that were members for ever. Fast at first,
// so that members started together meet at once.
func (c *Cluster) joinLoop() {
	for wait := firstRetry; ; {
		if c.leaving.Load() {
			return
		}
		c.joinRound()
		next := wait/2 + rand.N(wait/2+1)
		if c.settled() || wait > retryMax {
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
	return len(c.seeds) == 0 && (!c.joined.IsZero() || c.alone && len(c.lost) == 0)
}

// joinRound begins to try some of the addresses that should be members and are
// not. It does not wait for the outcome: what hangs keeps nothing else waiting.
func (c *Cluster) joinRound() {
	seeds := c.resolveSeeds()
	own := make(map[netip.AddrPort]bool)
	if c.transport != nil {
		own = hostAddrs(c.cfg.Bind.Addr(), uint16(c.transport.port()))
	}
	c.mu.Lock()
	w := c.wantedLocked(seeds, own)
	c.working = w.works
	maps.Copy(c.reached, w.works)
	c.alone = c.alone || !w.foreign
	for addr, a := range c.attempts {
		if _, still := w.first[addr]; !still && !w.left[addr] && !a.busy {
			delete(c.attempts, addr)
		}
	}
	tries := append(c.pickLocked(maps.Keys(w.first), triesAtOnce), c.pickLocked(maps.Keys(w.left), triesOfLeft)...)
	c.mu.Unlock()

	if !w.foreign {
		c.becomeReady()
	}
	for seed := range w.works {
		c.seedFailed(seed, "")
	}
	for _, addr := range tries {
		c.launch(func() { c.join(addr, w.first[addr]) })
	}
}

// wanted are the addresses that should be members and are not.
type wanted struct {
	first   map[netip.AddrPort]string // by seed; empty: of a member that was lost
	left    map[netip.AddrPort]bool   // of members that left, which may be back
	works   map[string]bool           // seeds of which some address is a member, or all are ourselves
	foreign bool                      // some seed is not ourselves
}

func (c *Cluster) wantedLocked(seeds map[string][]netip.AddrPort, own map[netip.AddrPort]bool) wanted {
	w := wanted{first: make(map[netip.AddrPort]string), left: make(map[netip.AddrPort]bool), works: make(map[string]bool)}
	members := make(map[netip.AddrPort]bool)
	var elsewhere netip.AddrPort // what we advertise, where it is not this host's
	for _, r := range c.records {
		addr, err := netip.ParseAddrPort(r.addr)
		switch {
		case err != nil:
		case r.self:
			if c.transport != nil && !own[addr] {
				elsewhere = addr
			}
			own[addr] = true
		case r.peer != nil:
			members[addr] = true
		}
	}
	living := c.livingLocked()
	for addr, l := range c.lost {
		switch {
		case members[addr] || own[addr] || living[l.node]:
		case l.left:
			w.left[addr] = true
		default:
			w.first[addr] = ""
		}
	}
	for seed, addrs := range seeds {
		ours := len(addrs) > 0
		for _, addr := range addrs {
			switch {
			case own[addr]:
				continue
			case members[addr]:
				w.works[seed] = true
			default:
				w.first[addr] = seed
				delete(w.left, addr)
			}
			ours = false
		}
		if ours {
			w.works[seed] = true
		} else {
			w.foreign = true
		}
	}
	if elsewhere.IsValid() {
		w.first[elsewhere] = "" // ourselves behind a translation, or another member that advertises the same
	}
	return w
}

// pickLocked returns the addresses to try, at most so many: those that were not
// tried for longest.
func (c *Cluster) pickLocked(from iter.Seq[netip.AddrPort], atMost int) []netip.AddrPort {
	now := time.Now()
	var due []netip.AddrPort // in random order
	for addr := range from {
		if a := c.attempts[addr]; a == nil {
			c.attempts[addr] = &attempt{}
		} else if a.busy || now.Before(a.notBefore) {
			continue
		}
		due = append(due, addr)
	}
	rand.Shuffle(len(due), func(i, j int) { due[i], due[j] = due[j], due[i] })
	slices.SortStableFunc(due, func(a, b netip.AddrPort) int {
		return c.attempts[a].began.Compare(c.attempts[b].began)
	})
	due = due[:min(len(due), atMost)]
	for _, addr := range due {
		c.attempts[addr].busy, c.attempts[addr].began = true, now
	}
	return due
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
	cool := time.Now().Add(coolMin + rand.N(coolMax-coolMin))
	c.mu.Lock()
	a := c.attempts[addr]
	a.busy = false
	switch {
	case err == nil: // and no member as long as we are asked again
		if a.refused, a.fruitless = 0, a.fruitless+1; a.fruitless >= fruitlessJoins {
			a.notBefore = cool
		}
	case answered(err):
		a.refused, a.fruitless, a.notBefore = a.refused+1, 0, cool
	default:
		a.refused, a.fruitless = 0, 0
	}
	strange := seed == "" && a.refused == fruitlessJoins // not of one that is just starting
	works := c.working[seed]
	c.mu.Unlock()
	switch {
	case c.ctx.Err() != nil || c.leaving.Load(): // our own end says nothing
	case strange:
		c.log.Warn("the address of a lost member answers, but is no member: it has another cluster name or key, or is another program", "addr", addr, "error", oneLine(err))
	case seed == "" || works:
	case err != nil:
		c.seedFailed(seed, fmt.Sprintf("%s does not let this member join; is it up, with the same cluster name and key? (%s)", addr, oneLine(err)))
	default:
		c.seedFailed(seed, "")
	}
}

// answered reports whether a join failed although somebody is there.
// memberlist passes on the text of the error only.
func answered(err error) bool {
	text := err.Error()
	for _, silence := range []string{"dial", "timeout", "deadline", "closed"} {
		if strings.Contains(text, silence) {
			return false
		}
	}
	return true
}
