package gossip

import (
	"errors"
	"time"
)

const (
	// Frames of senders that are no members yet wait this long for the news
	// of their joining, which can arrive after them.
	strangerWait     = 5 * time.Second
	maxStrangers     = 256
	maxStrangerBytes = 2 << 20
)

type strangerFrame struct {
	sender  string
	parcel  parcel
	arrived time.Time
}

// deliver takes one frame from the network. It owns frame, and never blocks.
func (c *Cluster) deliver(frame []byte) {
	if !c.running.Load() {
		return
	}
	c.counters.framesIn.Add(1)
	c.counters.bytesIn.Add(uint64(len(frame)))
	k, sender, fields, err := openFrame(frame)
	if err != nil {
		c.discard("", k, err)
		return
	}
	if sender == c.name {
		return // a push/pull with ourselves
	}
	c.mu.Lock()
	r := c.records[sender]
	if r == nil || r.peer == nil {
		c.shelveLocked(sender, parcel{k, fields, len(frame)})
		c.mu.Unlock()
		return
	}
	p := r.peer
	r.heard = c.cfg.Boot()
	c.mu.Unlock()
	if err := c.accept(p, parcel{k, fields, len(frame)}); err != nil {
		c.discard(p.Node, k, err)
	}
}

// shelveLocked keeps the frame of a stranger for a while.
func (c *Cluster) shelveLocked(sender string, p parcel) {
	now := time.Now()
	kept, size := c.strangers[:0], p.bytes
	for _, s := range c.strangers {
		if now.Sub(s.arrived) < strangerWait {
			kept = append(kept, s)
			size += s.parcel.bytes
		}
	}
	c.counters.strangerFrames.Add(uint64(len(c.strangers) - len(kept)))
	clear(c.strangers[len(kept):])
	c.strangers = kept
	if len(kept) >= maxStrangers || size > maxStrangerBytes {
		c.counters.strangerFrames.Add(1)
		return
	}
	c.strangers = append(c.strangers, strangerFrame{sender, p, now})
}

// admitLocked hands a new peer's inbox what came from it before it was known.
func (c *Cluster) admitLocked(p *peer) {
	kept := c.strangers[:0]
	for _, s := range c.strangers {
		if s.sender != p.boot {
			kept = append(kept, s)
		} else if err := c.accept(p, s.parcel); err != nil {
			c.noteLocked(func() { c.discard(p.Node, s.parcel.kind, err) })
		}
	}
	clear(c.strangers[len(kept):])
	c.strangers = kept
}

// accept handles at once what releases credit, and queues the rest. The error is
// for discard, without locks.
func (c *Cluster) accept(p *peer, f parcel) error {
	if p.heard() {
		c.requestExchange(p)
	}
	switch f.kind {
	case kindAck:
		seqs, err := decodeAck(f.fields)
		if err != nil {
			return err
		}
		now := time.Now()
		for _, seq := range seqs {
			p.land(seq, true, now)
		}
	case kindGoodbye:
		if err := decodeGoodbye(f.fields); err != nil {
			return err
		}
		p.mu.Lock()
		p.goodbye = true
		p.mu.Unlock()
	default:
		in := p.asked
		if f.kind == kindBatch {
			in = p.in
		}
		if !in.put(f) {
			c.counters.inboxDropped.Add(1)
		}
	}
	return nil
}

// discard counts a frame that could not be understood. Not to be called with a
// lock held: a log may be slow.
func (c *Cluster) discard(node string, k kind, err error) {
	if errors.Is(err, errUnknownKind) {
		c.counters.unknownFrames.Add(1)
	} else {
		c.counters.malformed.Add(1)
	}
	c.log.Debug("frame dropped", "member", node, "kind", int(k), "error", err)
}

// acks are the batches of one member that were merged but not yet acknowledged.
type acks struct{ packet, stream []uint64 }

// receiveFrom handles what one member sent, in order, until it is gone: entries
// in one inbox, questions and answers in the other. These do not wait behind
// the entries of a member that sends without end.
func (c *Cluster) receiveFrom(p *peer, in *inbox) {
	defer in.discard()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-in.wake:
		}
		var done acks
		d := c.decoders.Get().(*decoder)
		for p.ctx.Err() == nil {
			f, ok := in.take()
			if !ok {
				break
			}
			c.handle(p, f, d, &done)
			// Half a window of stream frames: the member never runs dry.
			if len(done.stream) >= 4 || len(done.packet) >= maxPackets/4 {
				c.acknowledge(p, &done)
			}
		}
		c.acknowledge(p, &done)
		d.forget()
		c.decoders.Put(d)
	}
}

func (c *Cluster) acknowledge(p *peer, done *acks) {
	if len(done.packet) > 0 {
		_ = c.sendPacket(p, encodeAck(c.name, done.packet)) // counted; the sender sends again
	}
	if len(done.stream) > 0 {
		_ = c.sendStream(p, encodeAck(c.name, done.stream)) // counted; the sender gives up in time
	}
	*done = acks{}
}

func (c *Cluster) handle(p *peer, f parcel, d *decoder, done *acks) {
	var err error
	switch f.kind {
	case kindBatch:
		var b batch
		if b, err = d.batch(f.fields); err == nil {
			c.merge(p, b)
			switch {
			case b.Seq == 0:
			case b.Stream:
				done.stream = append(done.stream, b.Seq)
			default:
				done.packet = append(done.packet, b.Seq)
			}
		}
	case kindState:
		var s state
		if s, err = decodeState(f.fields); err == nil {
			c.handleState(p, s)
		}
	case kindSyncStart:
		var s syncStart
		if s, err = decodeSyncStart(f.fields); err == nil {
			c.handleSyncStart(p, s)
		}
	case kindSyncWant:
		var s syncWant
		if s, err = decodeSyncWant(f.fields); err == nil {
			p.withSession(s.Session, func(s2 *session) { s2.got(s) })
		}
	case kindSyncEnd:
		var id uint64
		if id, err = decodeSyncEnd(f.fields); err == nil {
			p.withSession(id, func(s *session) { s.got(syncEnd{}) })
		}
	case kindSyncParts:
		var s syncParts
		if s, err = decodeSyncParts(f.fields); err == nil {
			p.withSession(s.Session, func(s2 *session) { s2.got(s) })
		}
	case kindSyncPrints:
		var s syncPrints
		if s, err = decodeSyncPrints(f.fields); err == nil {
			p.withSession(s.Session, func(s2 *session) { s2.got(s) })
		}
	case kindSyncLack:
		var s syncLack
		if s, err = decodeSyncLack(f.fields); err == nil {
			p.withSession(s.Session, func(s2 *session) { s2.got(s) })
		}
	case kindSyncChunk:
		var s syncChunk
		if s, err = decodeSyncChunk(f.fields); err == nil {
			p.withSession(s.Session, func(s2 *session) { s2.got(s) })
		}
	case kindAsk:
		var a ask
		if a, err = decodeAsk(f.fields); err == nil {
			c.handleAsk(p, a)
		}
	case kindAnswer:
		var a answer
		if a, err = decodeAnswer(f.fields); err == nil {
			c.handleAnswer(p, a)
		}
	case kindSyncRefuse:
		var id uint64
		var reason string
		if id, reason, err = decodeSyncRefuse(f.fields); err == nil {
			p.withSession(id, func(s *session) { s.gotRefusal(reason) })
		}
	}
	if err != nil {
		c.discard(p.Node, f.kind, err)
	}
}
