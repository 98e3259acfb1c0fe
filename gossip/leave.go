package gossip

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	handOver     = 8 * time.Second // what waits is handed over at most so long
	handOverRest = 2 * time.Second // and for more than two members so long
	leaveTimeout = 3 * time.Second
	linger       = time.Second
	// handOverSyncs is with how many members digests are compared at the end.
	handOverSyncs = 4
)

// Leave leaves in order: it hands over what waits until two members (or the
// only other one) acknowledged it, compares digests with them, says goodbye,
// and then answers probes for another second, so that nobody takes it for a
// crash. Blocks about 1.5 s, 15 s at most, or until ctx ends. A lone member
// leaves at once. Close comes next; Run may have ended before.
func (c *Cluster) Leave(ctx context.Context) error {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return errors.New("leave cluster: it is closed")
	}
	c.leaving.Store(true)
	peers := slices.DeleteFunc(c.peers(), (*peer).isStalled)
	alone := len(c.peers()) == 0
	handed := c.handOver(ctx, peers)
	c.sayGoodbye(ctx, c.peers())
	if err := c.leaveList(); err != nil && !alone {
		return fmt.Errorf("leave cluster: %w", err)
	}
	if !alone {
		pause(ctx, linger)
	}
	if want := min(2, len(peers)); handed < want {
		return fmt.Errorf("leave cluster: only %d of %d members have all that this one knows; the others find out by anti-entropy if they can", handed, want)
	}
	return nil
}

func (c *Cluster) leaveList() error {
	c.life.Lock()
	defer c.life.Unlock()
	if c.ctx.Err() != nil {
		return errors.New("it is closed")
	}
	return c.list.Leave(leaveTimeout)
}

// handOver returns how many members surely have what this one knew.
func (c *Cluster) handOver(ctx context.Context, peers []*peer) (handed int) {
	ctx, cancel := context.WithTimeout(ctx, handOver)
	defer cancel()
	rest, cancelRest := context.WithTimeout(ctx, handOverRest)
	defer cancelRest()
	var (
		mu sync.Mutex
		wg sync.WaitGroup
	)
	enough := make(chan struct{})
	for i, p := range peers {
		wg.Go(func() {
			ctx := ctx
			if i >= 2 {
				ctx = rest
			}
			if !c.drain(ctx, p) {
				return
			}
			if i < handOverSyncs && c.exchange(ctx, p, false) != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if handed++; handed == 2 {
				close(enough)
			}
		})
	}
	all := make(chan struct{})
	go func() { wg.Wait(); close(all) }()
	select {
	case <-all:
	case <-enough:
		select { // the others may still make it
		case <-all:
		case <-rest.Done():
		}
	case <-ctx.Done():
	}
	cancel()
	<-all
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
	timer := time.NewTimer(linger)
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
