package gossip

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	exchangeWorkers = 4
	// answerTimeout bounds the wait for a member's digests, beside some round
	// trips: short, because few members are asked at a time.
	answerTimeout = 3 * time.Second
	answerTrips   = 20
	// onTheirWay is how long entries may be on their way before digests that
	// differ mean that something is missing.
	onTheirWay = 100 * time.Millisecond
	// maxDeferred is how often in a row anti-entropy may be put off because
	// rumors are under way.
	maxDeferred = 3
	// syncFanout is with how many members Sync runs in a large cluster.
	syncFanout = 6
	// eagerInterval is the time between attempts before the first success.
	eagerInterval = time.Second
)

// Sync runs anti-entropy now: with every living member up to 32 of them, with
// 6 random ones in a larger cluster. Blocks until all are done or ctx ends;
// the error says with whom it failed.
func (c *Cluster) Sync(ctx context.Context) error {
	peers := c.peers()
	if len(peers)+1 > fullMesh {
		rand.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
		peers = peers[:syncFanout]
	}
	failures := make([]error, len(peers))
	slots := make(chan struct{}, exchangeWorkers)
	var wg sync.WaitGroup
	for i, p := range peers {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if err := c.exchange(ctx, p, false); err != nil {
				failures[i] = fmt.Errorf("sync with %s: %w", p.Node, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(failures...)
}

// requestExchange queues an exchange with p unless one is queued. It never
// blocks; the timer repairs what is lost here.
func (c *Cluster) requestExchange(p *peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.due {
		return
	}
	select {
	case c.exchanges <- p:
		p.due = true
	default:
	}
}

func (c *Cluster) exchangeLoop() {
	for {
		select {
		case <-c.ctx.Done():
			return
		case p := <-c.exchanges:
			p.mu.Lock()
			p.due = false
			p.mu.Unlock()
			if p.ctx.Err() != nil {
				continue
			}
			if err := c.exchange(c.ctx, p, c.isReady()); err != nil {
				c.log.Debug("exchange not complete", "member", p.Node, "addr", p.addr, "error", err)
			}
		}
	}
}

// syncLoop asks for an exchange with one random member each interval, with those
// that rumors were dropped for, and with one of those that have a map which is to
// be filled.
func (c *Cluster) syncLoop() {
	for {
		interval := c.cfg.SyncInterval
		if !c.isReady() || len(c.fillers()) > 0 {
			interval = min(interval, eagerInterval)
		}
		if !pause(c.ctx, interval-interval/10+rand.N(interval/5+1)) {
			return
		}
		peers := c.peers()
		if len(peers) == 0 {
			continue
		}
		c.requestExchange(peers[rand.IntN(len(peers))])
		for _, p := range c.fillers() {
			c.requestExchange(p)
		}
		for _, p := range peers {
			if p.hasMissed() {
				c.requestExchange(p)
			}
		}
	}
}

// exchange compares all maps with p and brings each side what it lacks. One at
// a time with one member; a second call waits. The last comparison is what
// Members tells. With patience it compares twice before it sends entries, so as
// not to repeat those that are on their way as rumors, puts that off while rumors
// come and go, and leaves a member that is not ready, and maps that it is to be
// filled with, alone: that one runs an exchange of its own with some member. Maps
// that this member is to be filled with come first, without patience.
func (c *Cluster) exchange(ctx context.Context, p *peer, patience bool) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	select {
	case p.exchanging <- struct{}{}:
		defer func() { <-p.exchanging }()
	case <-ctx.Done():
		return ctx.Err()
	}
	c.counters.syncRounds.Add(1)
	p.tried.Store(time.Now().UnixNano())
	missed := p.hasMissed()
	p.setMissed(false)
	defer func() {
		if err != nil {
			c.counters.syncFailed.Add(1)
			if missed {
				p.setMissed(true)
			}
		}
	}()
	differ, joined, err := c.question(ctx, p)
	if err != nil {
		return err
	}
	if patience && !joined {
		if missed {
			p.setMissed(true)
		}
		return nil
	}
	late, rest := c.split(p, differ, patience)
	if missed && len(late)+len(rest) < len(differ) {
		p.setMissed(true)
	}
	var failed error
	if len(late) > 0 {
		failed = c.fillFrom(ctx, p, patience)
	}
	if patience && !missed && len(rest) > 0 {
		moved := c.moved()
		if !pause(ctx, onTheirWay+answerTrips/4*time.Duration(p.rtt.Load())) {
			return ctx.Err()
		}
		if differ, _, err = c.question(ctx, p); err != nil {
			return err
		}
		_, rest = c.split(p, differ, patience)
		// While rumors come and go digests differ whether anything is missing or not.
		if c.moved() != moved && c.deferred.Add(1) <= maxDeferred {
			return failed
		}
		c.deferred.Store(0)
	}
	if err := errors.Join(failed, c.syncMaps(ctx, p, rest)); err != nil {
		return err
	}
	if len(late)+len(rest) > 0 {
		if _, _, err := c.question(ctx, p); err != nil {
			return err
		}
	}
	c.becomeReady()
	return nil
}

// syncMaps runs a session about each of the maps.
func (c *Cluster) syncMaps(ctx context.Context, p *peer, names []string) error {
	var failures []error
	for _, name := range names {
		if err := c.syncMap(ctx, p, c.spec(name)); err != nil {
			failures = append(failures, fmt.Errorf("map %s: %w", name, err))
		}
	}
	return errors.Join(failures...)
}

// moved changes whenever rumors are sent or entries come.
func (c *Cluster) moved() uint64 {
	return c.counters.rumorsSent.Load() + c.counters.entriesIn.Load()
}
