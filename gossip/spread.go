package gossip

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
)

const (
	// coalesce is how long a rumor may wait for company, and bulkCoalesce
	// while so many come that frames of bulkFrame bytes left last.
	coalesce     = time.Millisecond
	bulkCoalesce = 2 * time.Millisecond
	bulkFrame    = 32 << 10
	// flushFrames may leave before acknowledgements are looked at again.
	flushFrames = 32
)

// Spread passes entries on to other members: those in the slots of the map's
// store, which are local changes (from is empty), or were new to this member
// and came from the member with node ID from. It is to be called by whoever
// owns the store, and copies only the slots: an entry is read when it leaves,
// so of one key the newest is sent. It never blocks and never calls the
// Replica. Slots of unknown or refused maps go nowhere; those for a member that
// acknowledges nothing are dropped and counted, and anti-entropy brings them.
func (c *Cluster) Spread(mapName string, slots []crdt.Slot, from string) {
	spec := c.spec(mapName)
	if spec == nil || len(slots) == 0 || !c.running.Load() {
		return
	}
	to := c.route(spec)
	lane := laneLocal
	if from != "" {
		lane = laneForwarded
		if !to.relay {
			return // its origin told everyone; what fills a newcomer all others know
		}
	}
	for _, p := range to.peers {
		if from == "" || p.Node != from {
			c.counters.rumorsDropped.Add(uint64(p.offer(lane, spec, slots, false)))
		}
	}
}

// spreadTo sends one member its rumors until it is gone.
func (c *Cluster) spreadTo(p *peer) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var last time.Time
	wait := coalesce
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-timer.C:
		case <-p.out.wake:
			if !pause(p.ctx, wait-time.Since(last)) {
				return
			}
		}
		wait = coalesce
		if c.flush(p) >= bulkFrame {
			wait = bulkCoalesce
		}
		last = time.Now()
		lost, next, overdue := p.late(last)
		if overdue {
			c.giveUp(p)
		}
		for _, f := range lost {
			c.counters.rumorsResent.Add(uint64(len(f.slots)))
			c.counters.rumorsDropped.Add(uint64(p.offer(f.lane, f.spec, f.slots, true)))
		}
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
}

// pause waits; false when ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// flush sends what waits for p, up to flushFrames, and returns the size of the
// largest frame. It returns early when p is gone or given up on.
func (c *Cluster) flush(p *peer) (largest int) {
	defer p.setSending(false)
	cols := c.columns.Get().(*columns)
	defer c.columns.Put(cols)
	backoff := 100 * time.Millisecond
	for range flushFrames {
		if p.ctx.Err() != nil {
			return largest
		}
		p.setSending(true)
		lane, spec, count, resend := p.out.next()
		if spec == nil {
			break
		}
		size, ok := c.send(p, cols, lane, spec, count, resend)
		if ok {
			largest = max(largest, size)
			backoff = 100 * time.Millisecond
			continue
		}
		if p.isStalled() {
			return largest
		}
		// The network refused: most likely the member just went away and
		// memberlist does not know yet.
		if !pause(p.ctx, backoff/2+rand.N(backoff)) {
			return largest
		}
		backoff = min(2*backoff, 2*time.Second)
	}
	if p.out.len() > 0 {
		p.out.rouse()
	} else if p.hasMissed() && !p.isStalled() && time.Since(time.Unix(0, p.tried.Load())) >= eagerInterval {
		c.requestExchange(p)
	}
	return largest
}

// send sends entries of one queue in one frame and returns its size; false
// when that failed, and they wait again, or the member was given up on.
func (c *Cluster) send(p *peer, cols *columns, lane int, spec *Map, count int, resend bool) (size int, ok bool) {
	estimate := min(batchOverhead(c.name, spec.Name)+count*entryBytes(spec), max(bulkBytes, entryBytes(spec)))
	small := !resend && estimate <= c.packet && !p.packetsFull()
	limit, weight := bulkBytes, int64(0)
	if small {
		limit = c.packet
	} else {
		// Credit first, so that the entries are those of the moment at which they
		// may leave; and for a full frame, since more may wait by then.
		weight = frameWeight(max(estimate, bulkBytes), rumorWindow)
		if !c.credit(p, weight) {
			return 0, false
		}
	}
	release := func() {
		if weight > 0 {
			p.window.Release(weight)
		}
	}
	cols.reset(c.name, spec)
	err := c.replica.Read(p.ctx, spec.Name, func(s *crdt.Store) {
		p.out.take(lane, spec, func(slot crdt.Slot) bool { return cols.addSlot(s, slot, limit) })
	})
	if err != nil || len(cols.slots) == 0 {
		release()
		return 0, err == nil
	}
	again := func() {
		c.counters.rumorsDropped.Add(uint64(p.offer(lane, spec, cols.slots, true)))
	}
	seq := c.seq.Add(1)
	if small && cols.size <= c.packet {
		frame := cols.encode(seq, false, 0)
		p.launch(seq, &flight{sent: time.Now(), spec: spec, lane: lane, slots: slices.Clone(cols.slots)})
		if c.sendPacket(p, frame) != nil {
			p.land(seq, false, time.Now())
			again()
			return 0, false
		}
	} else {
		if weight == 0 { // an origin with a long name
			weight = frameWeight(cols.size, rumorWindow)
			if !c.credit(p, weight) {
				weight = 0
				again()
				return 0, false
			}
		}
		if used := frameWeight(cols.size, rumorWindow); used < weight {
			p.window.Release(weight - used)
			weight = used
		}
		frame := cols.encode(seq, true, 0)
		p.launch(seq, &flight{sent: time.Now(), release: release})
		if c.sendStream(p, frame) != nil {
			p.land(seq, false, time.Now())
			again()
			return 0, false
		}
	}
	c.counters.rumorsSent.Add(uint64(len(cols.slots)))
	return cols.size, true
}

// credit waits until p may have weight more unacknowledged. False when p is
// gone, or was given up on because it acknowledged nothing for too long.
func (c *Cluster) credit(p *peer, weight int64) bool {
	for !p.window.TryAcquire(weight) {
		ctx, cancel := context.WithTimeout(p.ctx, max(p.overdue(time.Now()), time.Millisecond))
		err := p.window.Acquire(ctx, weight)
		cancel()
		switch {
		case err == nil:
			return true
		case p.ctx.Err() != nil:
			return false
		case p.overdue(time.Now()) <= 0:
			c.giveUp(p)
			return false
		}
	}
	return true
}

func (c *Cluster) giveUp(p *peer) {
	c.counters.stalls.Add(1)
	dropped := p.stall()
	c.counters.rumorsDropped.Add(uint64(dropped))
	c.log.Warn("member acknowledges nothing; changes for it wait for anti-entropy",
		"member", p.Node, "addr", p.addr, "for", ackTimeout, "dropped", dropped)
}

// sendPacket may lose the frame silently. It does not block.
func (c *Cluster) sendPacket(p *peer, frame []byte) error {
	err := c.list.SendBestEffort(p.node, frame)
	if err != nil {
		c.counters.sendErrors.Add(1)
		return err
	}
	c.counters.packetFramesOut.Add(1)
	c.counters.packetBytesOut.Add(uint64(len(frame)))
	return nil
}

// sendStream blocks for as long as the network takes the frame, 10 s at most
// for a connection and as long for each write.
func (c *Cluster) sendStream(p *peer, frame []byte) error {
	err := c.list.SendReliable(p.node, frame)
	if err != nil {
		c.counters.sendErrors.Add(1)
		return err
	}
	c.counters.streamFramesOut.Add(1)
	c.counters.streamBytesOut.Add(uint64(len(frame)))
	return nil
}
