package gossip

import (
	"bytes"
	"context"
	"math/bits"
	"math/rand/v2"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
)

const (
	// fullMesh is the number of members up to which a change goes from its
	// origin straight to all others.
	fullMesh = 32
	// farFanout is how many get a local change in a larger cluster.
	farFanout = 6
	// coalesce is how long a rumor may wait for company.
	coalesce = time.Millisecond
	// flushFrames may leave before acknowledgements are looked at again.
	flushFrames = 32
)

// audience chooses who gets a rumor: the one place that knows. members counts
// this one too; a local change has no from, a forwarded one the node ID that it
// came from. It reorders peers and returns a part of it.
func audience(peers []*peer, from string) []*peer {
	members := len(peers) + 1
	local := from == ""
	if members <= fullMesh {
		if local {
			return peers
		}
		return nil // its origin told everyone
	}
	fanout := farFanout
	if !local {
		fanout = bits.Len(uint(members - 1)) // ceil(log2 members)
	}
	rand.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
	chosen := peers[:0]
	for _, p := range peers {
		if len(chosen) == fanout {
			break
		}
		if p.Node != from {
			chosen = append(chosen, p)
		}
	}
	return chosen
}

// Spread passes entries on to other members: local changes (from is empty), or
// entries that were new to this member and came from the member with node ID
// from. It copies them and never blocks. Of one key the newest entry waits;
// what does not fit a member's bounded queue is dropped and counted, and
// anti-entropy brings it. Entries of unknown or refused maps, or of wrong size,
// go nowhere.
func (c *Cluster) Spread(mapName string, entries []crdt.Entry, from string) {
	spec := c.maps[mapName]
	if spec == nil || len(entries) == 0 || !c.running.Load() {
		return
	}
	to := audience(c.takers(spec), from)
	if len(to) == 0 {
		return
	}
	rumors := make([]*rumor, 0, len(entries))
	for _, e := range entries {
		if len(e.Key) != spec.KeyBytes || !e.Deleted && len(e.Value) != spec.ValueBytes ||
			len(e.Version.Member) == 0 || len(e.Version.Member) > maxNodeBytes {
			continue
		}
		e.Key = bytes.Clone(e.Key)
		e.Value = bytes.Clone(e.Value)
		if e.Deleted {
			e.Value = nil
		}
		rumors = append(rumors, &rumor{spec: spec, id: rumorID{mapName, string(e.Key)}, entry: e, local: from == ""})
	}
	for _, p := range to {
		c.counters.rumorsDropped.Add(uint64(p.offer(rumors, false)))
	}
}

// spreadTo sends one member its rumors until it is gone.
func (c *Cluster) spreadTo(p *peer) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var last time.Time
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-timer.C:
		case <-p.out.wake:
			if !pause(p.ctx, coalesce-time.Since(last)) {
				return
			}
		}
		c.flush(p)
		last = time.Now()
		rumors, next, overdue := p.late(last)
		if overdue {
			c.giveUp(p)
		} else if len(rumors) > 0 {
			c.counters.rumorsResent.Add(uint64(len(rumors)))
			c.counters.rumorsDropped.Add(uint64(p.offer(rumors, true)))
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

// flush sends what waits for p, up to flushFrames. It returns early when p is
// gone or given up on.
func (c *Cluster) flush(p *peer) {
	defer p.setSending(false)
	backoff := 100 * time.Millisecond
	for range flushFrames {
		if p.ctx.Err() != nil {
			return
		}
		p.setSending(true)
		rumors, resend := p.out.take(c.name)
		if len(rumors) == 0 {
			break
		}
		if c.send(p, rumors, resend) {
			backoff = 100 * time.Millisecond
			continue
		}
		if p.isStalled() {
			return
		}
		// The network refused: most likely the member just went away and
		// memberlist does not know yet.
		c.counters.rumorsDropped.Add(uint64(p.offer(rumors, true)))
		if !pause(p.ctx, backoff/2+rand.N(backoff)) {
			return
		}
		backoff = min(2*backoff, 2*time.Second)
	}
	if p.out.len() > 0 {
		p.out.rouse()
	} else if p.hasMissed() && !p.isStalled() {
		c.requestExchange(p)
	}
}

// send sends rumors of one map in one frame; false when that failed or the
// member was given up on.
func (c *Cluster) send(p *peer, rumors []*rumor, resend bool) bool {
	spec := rumors[0].spec
	b := batch{Seq: c.seq.Add(1), Map: spec.Name, KeyBytes: spec.KeyBytes, ValueBytes: spec.ValueBytes,
		Entries: make([]crdt.Entry, len(rumors))}
	for i, r := range rumors {
		b.Entries[i] = r.entry
	}
	_, size := fit(batchOverhead(c.name, spec.Name), b.Entries, maxFrameBytes)
	if !resend && size <= c.packet && !p.packetsFull() {
		frame := b.encode(c.name)
		p.launch(b.Seq, &flight{sent: time.Now(), rumors: rumors})
		if c.sendPacket(p, frame) != nil {
			p.land(b.Seq, false, time.Now())
			return false
		}
		c.counters.rumorsSent.Add(uint64(len(rumors)))
		return true
	}
	b.Stream = true
	frame := b.encode(c.name)
	weight := frameWeight(len(frame), rumorWindow)
	if !c.credit(p, weight) {
		return false
	}
	p.launch(b.Seq, &flight{sent: time.Now(), release: func() { p.window.Release(weight) }})
	if c.sendStream(p, frame) != nil {
		p.land(b.Seq, false, time.Now())
		return false
	}
	c.counters.rumorsSent.Add(uint64(len(rumors)))
	return true
}

// credit waits until p may have weight more unacknowledged. False when p is
// gone, or was given up on because it acknowledged nothing for too long.
func (c *Cluster) credit(p *peer, weight int64) bool {
	for {
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
