package gossip

import (
	"context"
	"errors"
	"fmt"
)

// ErrMemberAlive: who is alive, or did not answer just now, is not given up.
var ErrMemberAlive = errors.New("member is alive")

// GiveUp counts a member that is gone as one that left in order: it is StateLeft
// here from now on, until it is back. It does nothing about a member that is not
// known; ErrMemberAlive if it is alive or suspected.
func (c *Cluster) GiveUp(node string) error {
	c.mu.Lock()
	defer c.unlock()
	for _, r := range c.records {
		if r.Node == node && !r.gone() {
			return fmt.Errorf("%w at %s", ErrMemberAlive, r.addr)
		}
	}
	for _, r := range c.records {
		if r.Node == node && r.state == StateDead {
			r.state = StateLeft
			args := []any{"member", r.Node, "addr", r.addr, "boot_id", r.BootID}
			c.noteLocked(func() { c.log.Info("member removed: it counts as one that left", args...) })
		}
	}
	for addr, l := range c.lost {
		if l.node == node {
			l.left = true
			c.lost[addr] = l
		}
	}
	c.reviewLocked()
	return nil
}

// GiveUpAll asks the other living members for what GiveUp does, all at the same
// time. The answers are sorted by node ID.
func (c *Cluster) GiveUpAll(ctx context.Context, node string) []Answer[struct{}] {
	w := newBody(1, len(node)+16)
	w.text(node)
	return askAll(ctx, c, askGiveUp, w.body(), func(b []byte) (struct{}, error) {
		return struct{}{}, openBody(b, 0, func(*fieldReader) {})
	})
}

func (c *Cluster) replyGiveUp(body []byte) ([]byte, error) {
	var node string
	if err := openBody(body, 1, func(r *fieldReader) { node = r.text(maxNodeBytes) }); err != nil {
		return nil, err
	}
	if err := c.GiveUp(node); err != nil {
		return nil, err
	}
	return newBody(0, 1).body(), nil
}
