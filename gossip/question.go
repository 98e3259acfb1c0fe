package gossip

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

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
		c.answered(p, len(mine.Maps))
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
	these := make(map[string]bool, len(theirs.Maps))
	for _, m := range theirs.Maps {
		spec := c.exchanged(p, m.Name, m.KeyBytes, m.ValueBytes)
		if spec == nil {
			continue
		}
		these[m.Name] = true
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
		c.gotAll(p, spec)
	}
	c.compared(p, these, differ)
	return differ, nil
}

// state is what this member tells about its maps. Before Run, and where the
// replica does not answer before ctx ends, digests are left out.
func (c *Cluster) state(ctx context.Context) state {
	c.mu.Lock()
	c.states++
	specs := c.maps.Load().all
	s := state{Order: c.states, Ready: c.isReady(), Maps: make([]mapState, 0, len(specs)), Lacking: c.lacking}
	for _, spec := range specs {
		_, out := c.refused[spec.Name]
		s.Maps = append(s.Maps, mapState{Map: *spec, Refused: out, Filled: c.filled[spec.Name],
			Since: c.since[spec.Name], Room: c.rooms[spec.Name]})
	}
	c.mu.Unlock()
	if !c.running.Load() {
		return s
	}
	for i := range s.Maps {
		m := &s.Maps[i]
		var err error
		m.Digest, m.Progress, err = c.digest(ctx, m.Name)
		m.Known = err == nil
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

// compared notes the outcome of a comparison of digests with a member: of these
// maps, and some differ.
func (c *Cluster) compared(p *peer, these map[string]bool, differ []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range differ {
		c.differed[name]++
	}
	r := c.records[p.boot]
	if r == nil || r.peer != p {
		return
	}
	r.sync, r.inSync, r.differ = c.cfg.Now(), len(differ) == 0, slices.Sorted(slices.Values(differ))
	for _, spec := range c.maps.Load().all {
		if !these[spec.Name] && c.commonLocked(r, spec) {
			r.uncompared(spec.Name) // added meanwhile
		}
	}
}

// uncompared notes that nothing is known of the digests of a map that both have.
func (r *record) uncompared(mapName string) {
	r.inSync = false
	if i, listed := slices.BinarySearch(r.differ, mapName); !listed {
		r.differ = slices.Insert(r.differ, i, mapName)
	}
}
