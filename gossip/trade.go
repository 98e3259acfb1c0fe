package gossip

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
)

// begin is the side that asks.
func (c *Cluster) begin(s *session) error {
	digests, err := c.bucketDigests(s.ctx, s.spec.Name)
	if err != nil {
		return fmt.Errorf("bucket digests: %w", err)
	}
	if len(digests) != crdt.Buckets {
		return fmt.Errorf("bucket digests: have %d, want %d", len(digests), crdt.Buckets)
	}
	if err := c.sendStream(s.peer, syncStart{s.id, *s.spec, digests}.encode(c.name)); err != nil {
		return err
	}
	select {
	case want := <-s.want:
		return c.trade(s, bucketList(want))
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}

// serve is the side that was asked.
func (c *Cluster) serve(s *session, theirs []uint64) error {
	ours, err := c.bucketDigests(s.ctx, s.spec.Name)
	if err != nil {
		return fmt.Errorf("bucket digests: %w", err)
	}
	if len(ours) != crdt.Buckets {
		return fmt.Errorf("bucket digests: have %d, want %d", len(ours), crdt.Buckets)
	}
	buckets := differing(ours, theirs)
	if err := c.sendStream(s.peer, syncWant{s.id, buckets}.encode(c.name)); err != nil {
		return err
	}
	return c.trade(s, bucketList(buckets))
}

// trade sends the entries of buckets, then waits for the other side's end.
func (c *Cluster) trade(s *session, buckets []int) error {
	for group := 1; len(buckets) > 0; {
		n := min(group, len(buckets))
		entries, err := c.bucketEntries(s.ctx, s.spec.Name, buckets[:n])
		if err != nil {
			return fmt.Errorf("entries of buckets: %w", err)
		}
		buckets = buckets[n:]
		size, err := c.ship(s, entries)
		if err != nil {
			return err
		}
		switch {
		case size < groupBytes/4:
			group = min(2*group, maxGroup)
		case size > groupBytes:
			group = max(group/2, 1)
		}
	}
	// All credit back: everything was merged.
	if err := s.window.Acquire(s.ctx, sessionWindow); err != nil || s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	if err := c.sendStream(s.peer, encodeSyncEnd(c.name, s.id)); err != nil {
		return err
	}
	select {
	case <-s.end:
		return nil
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}

// ship sends entries in as many frames as needed and returns their size.
func (c *Cluster) ship(s *session, entries []crdt.Entry) (size int, err error) {
	overhead := batchOverhead(c.name, s.spec.Name)
	for len(entries) > 0 {
		n, _ := fit(overhead, entries, bulkBytes)
		b := batch{Seq: c.seq.Add(1), Stream: true, Session: s.id, Map: s.spec.Name,
			KeyBytes: s.spec.KeyBytes, ValueBytes: s.spec.ValueBytes, Entries: entries[:n]}
		frame := b.encode(c.name)
		weight := frameWeight(len(frame), sessionWindow)
		if err := s.window.Acquire(s.ctx, weight); err != nil {
			return 0, err
		}
		s.peer.launch(b.Seq, &flight{sent: time.Now(), release: func() {
			s.window.Release(weight)
			s.progress()
		}})
		if err := c.sendStream(s.peer, frame); err != nil {
			s.peer.land(b.Seq, false, time.Now())
			return 0, err
		}
		c.counters.syncEntriesOut.Add(uint64(n))
		entries = entries[n:]
		size += len(frame)
	}
	return size, nil
}

func (c *Cluster) bucketDigests(ctx context.Context, mapName string) (digests []uint64, err error) {
	err = c.replica.Read(ctx, mapName, func(s *crdt.Store) { digests = s.BucketDigests() })
	return digests, err
}

// bucketEntries returns copies.
func (c *Cluster) bucketEntries(ctx context.Context, mapName string, buckets []int) (entries []crdt.Entry, err error) {
	err = c.replica.Read(ctx, mapName, func(s *crdt.Store) {
		for _, b := range buckets {
			for e := range s.Bucket(b) {
				e.Key, e.Value = bytes.Clone(e.Key), bytes.Clone(e.Value)
				entries = append(entries, e)
			}
		}
	})
	return entries, err
}

func (c *Cluster) digest(ctx context.Context, mapName string) (d crdt.Digest, err error) {
	err = c.replica.Read(ctx, mapName, func(s *crdt.Store) { d = s.Digest() })
	return d, err
}
