package mapgossip

import (
	"context"
	"fmt"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
)

// replica is the Node as the network sees it (gossip.Replica). Its methods are
// called from the cluster's goroutines and wait for the owner.
type replica struct{ n *Node }

// on runs f with the map of that name on the owner.
func (r replica) on(ctx context.Context, name string, f func(*boundMap)) error {
	b := r.n.byName[name]
	if b == nil {
		return fmt.Errorf("map %s is not replicated here", name)
	}
	return r.n.call(ctx, func() { f(b) })
}

// Merge merges entries of another member, applies those that won and spreads
// them further. It returns when all that is done: this is the back-pressure.
func (r replica) Merge(ctx context.Context, name, from string, entries []crdt.Entry) error {
	return r.on(ctx, name, func(b *boundMap) {
		n := r.n
		wall, now := n.config.Now().UnixNano(), n.kernel.Now()
		won := entries[:0:0]
		for _, e := range entries {
			if err := b.clock.Observe(e.Version.Time, wall); err != nil {
				// Anti-entropy offers it again, until time has caught up.
				b.counters.FutureTimes++
				b.future = future{n.config.Now(), e.Version.Member, time.Duration(e.Version.Time.Wall - wall)}
				continue
			}
			ok, err := b.remote(e, now)
			if err != nil {
				n.log.Warn("refuse entry", "map", name, "from", from, "error", err)
				continue
			}
			if ok {
				won = append(won, e)
			}
		}
		n.writeDue()
		n.spread(b, won, from)
	})
}

// Read calls fn with the store of one map on the owner.
func (r replica) Read(ctx context.Context, name string, fn func(*crdt.Store)) error {
	return r.on(ctx, name, func(b *boundMap) { fn(b.store) })
}
