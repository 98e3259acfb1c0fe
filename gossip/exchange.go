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

// syncLoop asks for an exchange with one random member each interval, and with
// those that rumors were dropped for.
func (c *Cluster) syncLoop() {
	for {
		interval := c.cfg.SyncInterval
		if !c.isReady() {
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
// come and go, and leaves a member that is not ready alone: that one runs an
// exchange of its own with some member.
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
	if len(differ) > 0 && !c.isReady() {
		// One at a time: two members would bring the same entries.
		select {
		case c.joining <- struct{}{}:
			defer func() { <-c.joining }()
		case <-ctx.Done():
			return ctx.Err()
		}
		if differ, _, err = c.question(ctx, p); err != nil {
			return err
		}
	}
	if patience && !missed && len(differ) > 0 {
		moved := c.moved()
		if !pause(ctx, onTheirWay+answerTrips/4*time.Duration(p.rtt.Load())) {
			return ctx.Err()
		}
		if differ, _, err = c.question(ctx, p); err != nil {
			return err
		}
		// While rumors come and go digests differ whether anything is missing or not.
		if c.moved() != moved && c.deferred.Add(1) <= maxDeferred {
			return nil
		}
		c.deferred.Store(0)
	}
	var failures []error
	for _, name := range differ {
		if err := c.syncMap(ctx, p, c.maps[name]); err != nil {
			failures = append(failures, fmt.Errorf("map %s: %w", name, err))
		}
	}
	if err := errors.Join(failures...); err != nil {
		return err
	}
	if len(differ) > 0 {
		if _, _, err := c.question(ctx, p); err != nil {
			return err
		}
	}
	c.becomeReady()
	return nil
}

// moved changes whenever rumors are sent or entries come.
func (c *Cluster) moved() uint64 {
	return c.counters.rumorsSent.Load() + c.counters.entriesIn.Load()
}

// question asks p for its digests and returns the names of the maps that
// differ, and whether p is ready.
func (c *Cluster) question(ctx context.Context, p *peer) (differ []string, joined bool, err error) {
	nonce := rand.Uint64() | 1
	answer := make(chan state, 1)
	c.mu.Lock()
	c.answers[nonce] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.answers, nonce)
	}()
	mine := c.state(ctx)
	mine.Nonce, mine.Reply = nonce, true
	if err := c.sendStream(p, mine.encode(c.name)); err != nil {
		return nil, false, err
	}
	timeout := answerTimeout + answerTrips*time.Duration(p.rtt.Load())
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case theirs := <-answer:
		differ, err := c.compare(ctx, p, theirs)
		return differ, theirs.Ready, err
	case <-timer.C:
		return nil, false, fmt.Errorf("no answer within %v", timeout)
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
}

// compare notes and returns the names of the common maps whose digests differ,
// or whose floors do, for then digests say nothing. What the member told of its
// Progress is learned first: the floor may move. An error when a digest is not
// to be had on one of the sides.
func (c *Cluster) compare(ctx context.Context, p *peer, theirs state) ([]string, error) {
	var differ []string
	for _, m := range theirs.Maps {
		if c.exchanged(p, m.Name, m.KeyBytes, m.ValueBytes) == nil {
			continue
		}
		if !m.Known {
			return nil, fmt.Errorf("map %s: the member tells no digest", m.Name)
		}
		if err := c.replica.Learn(ctx, m.Name, m.Progress, false); err != nil {
			return nil, fmt.Errorf("progress of map %s: %w", m.Name, err)
		}
		ours, progress, err := c.digest(ctx, m.Name)
		if err != nil {
			return nil, fmt.Errorf("digest of map %s: %w", m.Name, err)
		}
		if ours != m.Digest || progress.Floor != m.Progress.Floor {
			differ = append(differ, m.Name)
			continue
		}
		if err := c.replica.Learn(ctx, m.Name, m.Progress, true); err != nil {
			return nil, fmt.Errorf("progress of map %s: %w", m.Name, err)
		}
	}
	c.compared(p, differ)
	return differ, nil
}

// state is what this member tells about its maps. Before Run, and where the
// replica does not answer before ctx ends, digests are left out.
func (c *Cluster) state(ctx context.Context) state {
	refused := c.Refused()
	s := state{Ready: c.isReady()}
	for i := range c.cfg.Maps {
		m := mapState{Map: c.cfg.Maps[i]}
		_, m.Refused = refused[m.Name]
		if c.running.Load() {
			var err error
			m.Digest, m.Progress, err = c.digest(ctx, m.Name)
			m.Known = err == nil
		}
		s.Maps = append(s.Maps, m)
	}
	return s
}

// handleState learns from a push/pull, a question or an answer.
func (c *Cluster) handleState(p *peer, s state) {
	c.learn(p, s)
	if s.Nonce != 0 && !s.Reply {
		c.mu.Lock()
		answer := c.answers[s.Nonce]
		delete(c.answers, s.Nonce)
		c.mu.Unlock()
		if answer != nil {
			answer <- s
		}
		return
	}
	differ, err := c.compare(p.ctx, p, s)
	if err != nil {
		c.log.Debug("digests not compared", "member", p.Node, "error", err)
	}
	if s.Reply {
		mine := c.state(p.ctx)
		mine.Nonce = s.Nonce
		_ = c.sendStream(p, mine.encode(c.name)) // counted; who asked asks again
	} else if len(differ) > 0 || err == nil && !c.isReady() {
		c.requestExchange(p)
	}
}
