package gossip

import (
	"context"
	"fmt"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
)

// readEntries is about how many entries one Replica.Read may look at: some
// milliseconds of hashing.
const readEntries = 4096

// begin is the side that asks.
func (c *Cluster) begin(s *session) error {
	ours, progress, total, err := c.bucketDigests(s.ctx, s.spec.Name)
	if err != nil {
		return err
	}
	if err := c.sendStream(s.peer, syncStart{s.id, *s.spec, ours, progress}.encode(c.name)); err != nil {
		return err
	}
	message, err := s.next()
	if err != nil {
		return err
	}
	want, ok := message.(syncWant)
	if !ok {
		return fmt.Errorf("%T instead of the buckets that differ", message)
	}
	s.theirs = want.Progress
	var whole, narrow []int
	for _, b := range bucketList(want.Buckets) {
		switch {
		case ours[b] == 0: // the other side sends all it has
		case bitAt(want.Empty, b):
			whole = append(whole, b)
		default:
			narrow = append(narrow, b)
		}
	}
	if err := c.shipBuckets(s, whole, total); err != nil {
		return err
	}
	if err := c.narrow(s, narrow, total); err != nil {
		return err
	}
	if err := c.settle(s); err != nil {
		return err
	}
	if err := c.sendStream(s.peer, encodeSyncEnd(c.name, s.id)); err != nil {
		return err
	}
	if message, err = s.next(); err != nil {
		return err
	}
	if _, ok := message.(syncEnd); !ok {
		return fmt.Errorf("%T instead of the end", message)
	}
	return c.complete(s)
}

// complete notes that all that the other side had when the session began is
// here: what it shipped is merged, and so is what it was shipped.
func (c *Cluster) complete(s *session) error {
	if c.exchanged(s.peer, s.spec.Name, s.spec.KeyBytes, s.spec.ValueBytes) == nil {
		return fmt.Errorf("map %s was refused meanwhile", s.spec.Name)
	}
	if err := c.replica.Learn(s.ctx, s.spec.Name, s.theirs, true); err != nil {
		return err
	}
	c.gotAll(s.peer, s.spec)
	return nil
}

// serve is the side that was asked.
func (c *Cluster) serve(s *session, theirs []uint64) error {
	ours, progress, total, err := c.bucketDigests(s.ctx, s.spec.Name)
	if err != nil {
		return err
	}
	want := syncWant{s.id, differing(ours, theirs), make([]byte, bucketMapBytes), progress}
	var whole []int
	for _, b := range bucketList(want.Buckets) {
		if ours[b] == 0 {
			setBit(want.Empty, b)
		} else if theirs[b] == 0 {
			whole = append(whole, b)
		}
	}
	if err := c.sendStream(s.peer, want.encode(c.name)); err != nil {
		return err
	}
	if err := c.shipBuckets(s, whole, total); err != nil {
		return err
	}
	for {
		message, err := s.next()
		if err != nil {
			return err
		}
		switch m := message.(type) {
		case syncParts:
			err = c.answerParts(s, m, total)
		case syncEnd:
			if err := c.settle(s); err != nil {
				return err
			}
			if err := c.complete(s); err != nil {
				return err
			}
			return c.sendStream(s.peer, encodeSyncEnd(c.name, s.id))
		default:
			err = fmt.Errorf("%T is not a question", message)
		}
		if err != nil {
			return err
		}
	}
}

// settle waits until all that was shipped is merged.
func (c *Cluster) settle(s *session) error {
	if err := s.window.Acquire(s.ctx, sessionWindow); err != nil || s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	s.window.Release(sessionWindow)
	return nil
}

// shipBuckets sends all entries of whole buckets. total is how many entries
// the map has.
func (c *Cluster) shipBuckets(s *session, buckets []int, total int) error {
	group := bucketsPerRead(total)
	for len(buckets) > 0 {
		n := min(group, len(buckets))
		var slots []crdt.Slot
		err := c.replica.Read(s.ctx, s.spec.Name, func(store *crdt.Store) {
			for _, b := range buckets[:n] {
				for slot := range store.BucketSlots(b) {
					slots = append(slots, slot)
				}
			}
		})
		if err != nil {
			return fmt.Errorf("slots of buckets: %w", err)
		}
		buckets = buckets[n:]
		if err := c.ship(s, slots); err != nil {
			return err
		}
	}
	return nil
}

// bucketsPerRead is how many buckets hold about readEntries of total.
func bucketsPerRead(total int) int {
	return max(1, min(crdt.Buckets, readEntries*crdt.Buckets/max(total, 1)))
}

// ship sends the entries in the slots, in as many frames as needed.
func (c *Cluster) ship(s *session, slots []crdt.Slot) error {
	cols := c.columns.Get().(*columns)
	defer c.columns.Put(cols)
	for len(slots) > 0 {
		estimate := min(batchOverhead(c.name, s.spec.Name)+len(slots)*entryBytes(s.spec), max(bulkBytes, entryBytes(s.spec)))
		weight := frameWeight(estimate, sessionWindow)
		if err := s.window.Acquire(s.ctx, weight); err != nil {
			return context.Cause(s.ctx)
		}
		cols.reset(c.name, s.spec)
		err := c.replica.Read(s.ctx, s.spec.Name, func(store *crdt.Store) {
			for len(slots) > 0 && cols.addSlot(store, slots[0], bulkBytes) {
				slots = slots[1:]
			}
		})
		if err != nil || len(cols.slots) == 0 {
			s.window.Release(weight)
			if err != nil {
				return fmt.Errorf("entries to ship: %w", err)
			}
			continue
		}
		seq := c.seq.Add(1)
		frame := cols.encode(seq, true, s.id)
		s.peer.launch(seq, &flight{sent: time.Now(), session: s, release: func() {
			s.window.Release(weight)
			s.progress()
		}})
		if err := c.sendStream(s.peer, frame); err != nil {
			s.peer.land(seq, false, time.Now())
			return err
		}
		c.counters.syncEntriesOut.Add(uint64(len(cols.slots)))
	}
	return nil
}

// bucketDigests returns a digest of each bucket, the Progress at that moment,
// and the number of entries.
func (c *Cluster) bucketDigests(ctx context.Context, mapName string) (digests []uint64, progress crdt.Report, total int, err error) {
	err = c.replica.Read(ctx, mapName, func(s *crdt.Store) {
		digests, progress = s.BucketDigests(), s.Progress().Report()
		entries, tombstones := s.Len()
		total = entries + tombstones
	})
	if err != nil {
		return nil, crdt.Report{}, 0, fmt.Errorf("bucket digests: %w", err)
	}
	if len(digests) != crdt.Buckets {
		return nil, crdt.Report{}, 0, fmt.Errorf("bucket digests: have %d, want %d", len(digests), crdt.Buckets)
	}
	return digests, progress, total, nil
}

// digest returns the digest of a map and the Progress at that moment.
func (c *Cluster) digest(ctx context.Context, mapName string) (d crdt.Digest, progress crdt.Report, err error) {
	err = c.replica.Read(ctx, mapName, func(s *crdt.Store) { d, progress = s.Digest(), s.Progress().Report() })
	return d, progress, err
}
