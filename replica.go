package mapgossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/gossip"
)

// replica is the Node as the network sees it (gossip.Replica). Its methods are
// called from the cluster's goroutines and wait for the owner.
type replica struct{ n *Node }

// on runs f with the map of that name on the owner.
func (r replica) on(ctx context.Context, name string, f func(*boundMap)) error {
	known := false
	err := r.n.call(ctx, func() {
		if b := r.n.byName[name]; b != nil {
			known = true
			f(b)
		}
	})
	if err == nil && !known {
		err = fmt.Errorf("map %s is not replicated here", name)
	}
	return err
}

// Merge merges entries of another member, spreads those that won further and
// applies them. It returns when all that is done: this is the back-pressure. The
// owner has other things to do after each mergeLimit of them. Entries, keys and
// values are used during the call only.
func (r replica) Merge(ctx context.Context, name string, from gossip.Sender, entries []crdt.Entry) (deleted []crdt.Entry, err error) {
	for {
		some := entries[:min(len(entries), mergeLimit)]
		err := r.on(ctx, name, func(b *boundMap) { deleted = append(deleted, r.n.merge(b, from, some)...) })
		if entries = entries[len(some):]; err != nil || len(entries) == 0 {
			return deleted, err
		}
	}
}

// merge takes entries of another member. What they ask to be written is due. It
// returns tombstones for those that were deleted and forgotten.
func (n *Node) merge(b *boundMap, from gossip.Sender, entries []crdt.Entry) (deleted []crdt.Entry) {
	n.readClocks()
	now := n.kernel.Now()
	// Where our own stamps are is no future, though the clocks were set back since.
	wall := max(n.wall(now), b.above.Wall)
	following := n.followed > 0
	for i := range entries {
		if i%aheadKeys == 0 {
			b.ahead(len(entries)-i, func(j int) []byte { return entries[i+j].Key })
		}
		e := &entries[i]
		if err := b.clock.Observe(e.Version.Time, wall); err != nil && !b.reaches(*e) {
			// Anti-entropy offers it again, until time has caught up.
			b.counters.FutureTimes++
			b.futures.note(e.Version.Member, now, e.Version.Time.Wall)
			continue
		}
		slot, won, err := b.offered(e, from, now)
		if errors.Is(err, crdt.ErrDeleted) {
			deleted = append(deleted, crdt.Entry{Key: bytes.Clone(e.Key), Version: e.Version, Deleted: true})
			continue
		}
		if err != nil {
			n.log.Warn("refuse entry", "map", b.Name, "from", from.Node, "error", err)
			continue
		}
		if won {
			b.won = append(b.won, slot)
			if following {
				n.noticeRemote(b, slot, from.Node)
			}
		}
	}
	n.spread(b, b.won, from.Node)
	b.won = b.won[:0]
	n.writeDue()
	return deleted
}

// Learn takes over what another member told of its progress.
func (r replica) Learn(ctx context.Context, name string, report crdt.Report, complete bool) error {
	return r.on(ctx, name, func(b *boundMap) { r.n.learn(b, report, complete) })
}

// reaches reports whether the store's entry of that key is from the same wall
// time or a later one. Then the future has nothing to gain from a refusal: after
// the clocks of all members were set back, what overwrites the entries of before
// is stamped just after them, and is not to wait until time has caught up.
func (m *mirror) reaches(e crdt.Entry) bool {
	slot, known := m.store.Find(e.Key)
	if !known {
		return false
	}
	cur, _ := m.store.At(slot)
	return e.Version.Time.Wall <= cur.Version.Time.Wall
}

// Read calls fn with the store of one map on the owner.
func (r replica) Read(ctx context.Context, name string, fn func(*crdt.Store)) error {
	return r.on(ctx, name, func(b *boundMap) { fn(b.store) })
}

// Inspect is Read with what the kernel map lacks.
func (r replica) Inspect(ctx context.Context, name string, fn func(*crdt.Store, func(crdt.Slot) (pending, evicted bool))) error {
	return r.on(ctx, name, func(b *boundMap) { fn(b.store, b.lacks) })
}

// Held tells what this member has of a key.
func (r replica) Held(ctx context.Context, name string, key []byte) (gossip.Held, error) {
	h, _, _, err := r.n.held(ctx, name, key)
	return h, err
}

// View tells of all maps of which it is known what they are, in the order of the
// configuration.
func (r replica) View(ctx context.Context) (maps []gossip.MapView, err error) {
	err = r.n.call(ctx, func() {
		for _, c := range r.n.config.Maps {
			if b := r.n.byName[c.Name]; b != nil {
				v := gossip.MapView{Name: b.Name, Digest: b.store.Digest()}
				v.Entries, v.Tombstones = b.store.Len()
				v.Pending, _ = b.pendingApply()
				maps = append(maps, v)
			}
		}
	})
	return maps, err
}
