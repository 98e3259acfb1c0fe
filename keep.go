package mapgossip

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/state"
)

const (
	noteInterval     = 5 * time.Second  // between notes of what is not an entry
	snapshotInterval = time.Minute      // between attempts at a snapshot
	repairInterval   = 10 * time.Second // between attempts to keep state again
	snapshotSlots    = 4096             // written in one turn of the owner
)

// diskState writes down what must survive a restart. The owner goroutine uses it,
// but for what is said to run beside.
type diskState struct {
	dir       *state.Dir
	noted     time.Time // when the last note was written
	tried     time.Time // when the last snapshot began
	unsettled bool      // something was written down that may not be applied yet
	syncing   bool
	snapping  bool
}

// journal writes down the entries of these slots, so that they are there after a
// restart: called before the kernel or another member comes to know of them.
func (n *Node) journal(b *boundMap, slots []crdt.Slot) {
	if n.disk == nil || len(slots) == 0 {
		return
	}
	n.settled() // one turn of the owner after the other: no apply is under way
	n.disk.unsettled = true
	for _, slot := range slots {
		if e, known := b.store.At(slot); known {
			n.disk.dir.Append(b.Name, e, b.stuck(slot))
		}
	}
	n.flushState()
}

// settled writes down that the kernel holds all entries but those that wait.
// Before a map's first scan is done nobody knows: the run before may have ended
// during an apply.
func (n *Node) settled() {
	for b := range n.withKernel() {
		if !b.imported {
			return
		}
	}
	n.disk.dir.Settled()
}

func (n *Node) flushState() {
	if err := n.disk.dir.Flush(); err != nil {
		n.log.Error("state is not kept", "error", err)
	}
}

// keep does what is due for the state directory.
func (n *Node) keep(ctx context.Context) {
	k := n.disk
	if k == nil {
		return
	}
	now := n.config.Now()
	if k.unsettled {
		k.unsettled = false
		n.settled()
		n.flushState()
	}
	if now.Sub(k.noted) >= noteInterval || now.Before(k.noted) {
		k.noted = now
		n.writeNote()
		if !k.syncing {
			k.syncing = true
			n.scans.Go(func() {
				if err := k.dir.Sync(); err != nil {
					n.log.Error("state is not kept", "error", err)
				}
				_ = n.call(context.Background(), func() { k.syncing = false })
			})
		}
	}
	pause := snapshotInterval
	if k.dir.Broken() != nil {
		pause = repairInterval
	}
	due := k.tried.IsZero() || now.Sub(k.tried) >= pause || now.Before(k.tried)
	for b := range n.withKernel() {
		due = due && b.imported
	}
	if due && !k.snapping && k.dir.Due() {
		k.tried, k.snapping = now, true
		n.writeNote()
		n.scans.Go(func() {
			if err := n.snapshot(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, ErrStopped) {
				n.log.Error("snapshot of the state; it is tried again", "error", err)
			}
			_ = n.call(context.Background(), func() { k.snapping = false })
		})
	}
}

// writeNote writes down what is not an entry.
func (n *Node) writeNote() {
	if n.disk == nil {
		return
	}
	n.known = n.cluster.Known()
	kept := note{Known: n.known, Maps: make(map[string]mapNote, len(n.maps))}
	for _, b := range n.maps {
		if b.kernel != nil && !b.imported && b.kept != nil {
			// The kernel's map was not compared with the entries yet, and a new one is
			// not filled: said to be theirs, what it lacks would pass for deleted.
			kept.Maps[b.Name] = *b.kept
			continue
		}
		boot := ""
		if b.imported { // else it holds what no entry tells of, of unknown age
			boot = n.kernel.Boot()
		}
		kept.Maps[b.Name] = mapNote{b.shape.Type, b.shape.KeyBytes, b.shape.ValueBytes, boot, b.shape.ID, b.store.Progress().Report()}
	}
	text, err := json.Marshal(kept)
	if err != nil {
		n.log.Error("write state", "error", err) // numbers and names: never
		return
	}
	n.settled()
	n.disk.dir.Meta(text)
	n.flushState()
}

// snapshot writes all entries, in turns of the owner. It runs beside.
func (n *Node) snapshot(ctx context.Context) error {
	var s *state.Snapshot
	var err error
	var maps []*boundMap
	var slots []crdt.Slot
	if called := n.call(ctx, func() {
		if s, err = n.disk.dir.Begin(); err == nil {
			for _, b := range n.maps {
				maps, slots = append(maps, b), append(slots, b.store.Slots())
			}
		}
	}); called != nil || err != nil {
		return errors.Join(called, err)
	}
	defer s.Abort()
	for i, b := range maps {
		for from := crdt.Slot(0); from < slots[i]; from += snapshotSlots {
			if err := n.call(ctx, func() {
				for slot := from; slot < min(from+snapshotSlots, slots[i]); slot++ {
					if e, known := b.store.At(slot); known {
						// Before the first scan all wait, and nothing will say that they no longer do.
						s.Add(b.Name, e, b.imported && b.keys.pending(slot))
					}
				}
			}); err != nil {
				return err
			}
		}
	}
	return s.Commit()
}

// closeState writes down the rest. The owner has ended.
func (n *Node) closeState() error {
	if n.disk == nil {
		return nil
	}
	if n.cluster != nil { // else New has failed
		n.writeNote()
	}
	return n.disk.dir.Close()
}

// takeRest takes the last changes before capture ended, when it is pinned and
// goes on without this Node: what is not released the next one doubts. Owner and
// cluster have ended; the state directory has them for the next run.
func (n *Node) takeRest() {
	if n.disk == nil || n.config.CapturePins == "" || n.cluster == nil {
		return
	}
	for b := range n.withKernel() {
		if !b.imported {
			return
		}
	}
	for batch := range n.watch.Batches() {
		n.captured(batch)
		batch.Release()
	}
}
