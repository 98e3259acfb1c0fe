package gossip

import (
	"errors"

	"github.com/mapgossip/mapgossip/crdt"
)

// merge passes a batch to the replica. What is left out is counted; it is
// acknowledged all the same, since sending it again would not help.
func (c *Cluster) merge(p *peer, b batch) {
	incomplete := func() { // a session must not pass for complete without it
		if b.Session != 0 {
			p.withSession(b.Session, func(s *session) { s.cancel(errors.New("a batch was not merged")) })
		}
	}
	spec := c.exchanged(p, b.Map, b.KeyBytes, b.ValueBytes)
	if spec == nil {
		incomplete()
		if c.spec(b.Map) == nil {
			c.counters.unknownMaps.Add(1)
			return
		}
		c.counters.shapeRefused.Add(1)
		c.requestExchange(p) // tells both about their shapes
		return
	}
	deleted, err := c.replica.Merge(p.ctx, b.Map, Sender{p.Node, c.joins(p, b.Map)}, b.Entries)
	if err != nil {
		incomplete()
		if p.ctx.Err() == nil {
			c.counters.mergeErrors.Add(1)
			c.log.Debug("batch not merged", "map", b.Map, "member", p.Node, "error", err)
		}
		return
	}
	c.tellDeleted(p, spec, deleted)
	c.counters.entriesIn.Add(uint64(len(b.Entries)))
	if b.Session != 0 {
		c.counters.syncEntriesIn.Add(uint64(len(b.Entries)))
		p.withSession(b.Session, (*session).progress)
	}
}

// tellDeleted sends tombstones for what a member has still although it was
// deleted. Where they get lost, the next exchange has to find it again.
func (c *Cluster) tellDeleted(p *peer, spec *Map, deleted []crdt.Entry) {
	if len(deleted) == 0 {
		return
	}
	cols := c.columns.Get().(*columns)
	defer c.columns.Put(cols)
	for len(deleted) > 0 {
		cols.reset(c.name, spec)
		for len(deleted) > 0 && cols.addEntry(0, deleted[0], bulkBytes) {
			deleted = deleted[1:]
		}
		_ = c.sendStream(p, cols.encode(0, true, 0)) // counted
	}
}
