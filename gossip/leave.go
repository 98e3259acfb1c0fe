package gossip

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// leaveLimit bounds Leave, and leaveEnd of it is kept for saying so.
	leaveLimit = 9 * time.Second
	leaveEnd   = 5 * time.Second / 2
	// handOverRest is how long others are waited for once two members have all.
	handOverRest = 2 * time.Second
	goodbyeLimit = 500 * time.Millisecond
	listTimeout  = time.Second
	linger       = time.Second
	// handOverSyncs is with how many members digests are compared at the end.
	handOverSyncs = 4
)

// Leave leaves in order: it hands over what waits until two members (or the
// only other one) that stay acknowledged it, compares digests with them, says
// goodbye, and then answers probes for another second, so that nobody takes it
// for a crash. Blocks about 1.5 s, 9 s at most, or until ctx ends, whatever the
// others do. A lone member leaves at once. An error says that too few of those
// that stay have all. Close comes next; Run may have ended before.
func (c *Cluster) Leave(ctx context.Context) error {
	c.mu.Lock()
	closed, started := c.closed, c.started
	c.mu.Unlock()
	if closed {
		return errors.New("leave cluster: it is closed")
	}
	c.leaving.Store(true)
	ctx, cancel := context.WithTimeout(ctx, leaveLimit)
	defer cancel()
	all := c.peers()
	c.announce(all)
	var handed []*peer
	want := 0
	if started {
		handed = c.handOver(ctx, c.heirs())
		want = min(2, staying(all))
	}
	c.sayGoodbye(ctx, c.peers())
	if err := c.leaveList(ctx); err != nil {
		return fmt.Errorf("leave cluster: %w", err)
	}
	if len(c.peers()) > 0 {
		pause(ctx, linger)
	}
	if have := staying(handed); have < want {
		return fmt.Errorf("leave cluster: only %d of %d members have all that this one knows; the others find out by anti-entropy if they can", have, want)
	}
	return nil
}

// leaveList tells by memberlist that this member leaves.
func (c *Cluster) leaveList(ctx context.Context) error {
	timeout := listTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = max(min(timeout, time.Until(deadline)), time.Millisecond) // 0: for ever
	}
	c.life.Lock()
	defer c.life.Unlock()
	if c.ctx.Err() != nil {
		return errors.New("it is closed")
	}
	if err := c.list.Leave(timeout); err != nil {
		// Most likely the others leave too: memberlist gossips to nobody then, and
		// waits for its news to be sent. Goodbyes were said, and the news goes on
		// being sent while we linger.
		c.log.Debug("memberlist did not spread that this member leaves", "error", err)
	}
	return nil
}

// heirs returns the members to hand over to, those first that are likely to
// take it: not those that leave too, nor those that acknowledge nothing; last
// those that are suspect.
func (c *Cluster) heirs() []*peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	var heirs, suspect []*peer
	for _, r := range c.records {
		switch {
		case r.peer == nil || r.peer.isStalled() || r.peer.saidGoodbye():
		case r.state == StateSuspect:
			suspect = append(suspect, r.peer)
		default:
			heirs = append(heirs, r.peer)
		}
	}
	return append(heirs, suspect...)
}

// announce tells the others early that this one leaves, so that who leaves at
// the same time hands over to somebody else.
func (c *Cluster) announce(peers []*peer) {
	frame := encodeGoodbye(c.name)
	for _, p := range peers {
		_ = c.sendPacket(p, frame) // counted; it is said again
	}
}

// staying is how many of the members are there and did not say that they leave.
func staying(peers []*peer) (n int) {
	for _, p := range peers {
		if p.ctx.Err() == nil && !p.saidGoodbye() {
			n++
		}
	}
	return n
}

// handOver returns the members that surely have what this one knew. It does
// not wait for what hangs: Close ends that.
func (c *Cluster) handOver(ctx context.Context, peers []*peer) (handed []*peer) {
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, left-min(leaveEnd, left/2))
		defer cancel()
	}
	rest, cancelRest := context.WithTimeout(ctx, handOverRest)
	defer cancelRest()
	done := make(chan *peer, len(peers)) // nil: it does not have all
	for i, p := range peers {
		c.launch(func() {
			ctx := ctx
			if i >= handOverSyncs {
				ctx = rest
			}
			if !c.drain(ctx, p) || i < handOverSyncs && c.exchange(ctx, p, false) != nil {
				done <- nil
				return
			}
			done <- p
		})
	}
	patience := ctx
	for range peers {
		select {
		case p := <-done:
			if p != nil {
				handed = append(handed, p)
			}
			if staying(handed) >= min(2, staying(peers)) {
				patience = rest // the others may still make it
			}
		case <-patience.Done():
			return handed
		case <-c.ctx.Done():
			return handed
		}
	}
	return handed
}

// drain waits until nothing waits for p and everything sent is acknowledged.
func (c *Cluster) drain(ctx context.Context, p *peer) bool {
	for !p.idle() {
		select {
		case <-p.ctx.Done():
			return false
		default:
		}
		if p.isStalled() || !pause(ctx, 5*time.Millisecond) {
			return false
		}
	}
	return true
}

// sayGoodbye lets others tell an orderly leave from a crash: memberlist knows
// the difference but keeps it to itself.
func (c *Cluster) sayGoodbye(ctx context.Context, peers []*peer) {
	frame := encodeGoodbye(c.name)
	said := make(chan struct{}, len(peers))
	want := 0
	for i, p := range peers {
		_ = c.sendPacket(p, frame) // counted
		if i < fullMesh {
			want++
			c.launch(func() {
				_ = c.sendStream(p, frame) // counted
				said <- struct{}{}
			})
		}
	}
	timer := time.NewTimer(goodbyeLimit)
	defer timer.Stop()
	for range want {
		select {
		case <-said:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		case <-c.ctx.Done():
			return
		}
	}
}
