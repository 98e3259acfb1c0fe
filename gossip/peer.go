package gossip

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/mapgossip/mapgossip/crdt"
	"golang.org/x/sync/semaphore"
)

const (
	// A member may have this much unacknowledged from us, plus one frame.
	rumorWindow   = 2 << 20
	sessionWindow = 1 << 20
	frameCost     = 16 << 10 // a frame counts as at least this, so that small ones are bounded too
	// maxPackets of rumors wait for acknowledgement before streams are used.
	maxPackets = 64
	// ackTimeout without any acknowledgement while frames wait for it: the
	// member is given up on until it is heard again.
	ackTimeout = 15 * time.Second
	// lostAfter is when a stream frame of rumors counts as lost although others
	// are acknowledged.
	lostAfter = 2 * ackTimeout
	// resendAfter is how long a packet's acknowledgement may take.
	resendAfter = 300 * time.Millisecond
)

var errStalled = errors.New("the member acknowledges nothing")

// peer is another member that is alive, as memberlist believes.
type peer struct {
	meta
	boot   string // the memberlist name
	addr   string
	node   *memberlist.Node // our copy
	ctx    context.Context  // ends when the member is gone
	cancel context.CancelFunc
	out    *outbox
	in     *inbox // entries
	asked  *inbox // all else that waits

	rtt        atomic.Int64  // ns, 0: not known
	tried      atomic.Int64  // Unix ns: when an exchange with it last began
	exchanging chan struct{} // holds a token while an exchange with it runs
	asking     chan struct{} // holds a token for each ask of it that is under way
	answering  atomic.Int32  // asks of its that are being answered
	announce   chan struct{} // a token: it may not know all maps of this member
	knows      int           // so many it knew when it last answered; guarded by Cluster.mu

	mu       sync.Mutex
	flights  map[uint64]*flight
	packets  int       // flights that are packets
	lastAck  time.Time // or when the first flight of the present ones began
	stalled  bool      // given up on: nothing is queued until it is heard
	sending  bool      // slots were taken from out and are no flight yet
	missed   bool      // rumors were dropped: anti-entropy is due
	due      bool      // an exchange is queued
	goodbye  bool      // it said that it leaves
	window   *semaphore.Weighted
	sessions map[string]*session // by map name
}

// flight is a batch that was sent and not yet acknowledged.
type flight struct {
	sent    time.Time
	spec    *Map
	lane    int
	slots   []crdt.Slot // of a packet: to send again
	release func()      // of a stream: gives the credit back
	session *session    // nil for rumors
}

func newPeer(ctx context.Context, m meta, node memberlist.Node, inboxBytes int, waiting *atomic.Int64) *peer {
	p := &peer{
		meta:       m,
		boot:       m.name(),
		addr:       node.Address(),
		node:       &node,
		out:        newOutbox(),
		in:         newInbox(inboxBytes, waiting),
		asked:      newInbox(inboxBytes, waiting),
		exchanging: make(chan struct{}, 1),
		asking:     make(chan struct{}, maxAnswering),
		announce:   make(chan struct{}, 1),
		flights:    make(map[uint64]*flight),
		window:     semaphore.NewWeighted(rumorWindow),
		sessions:   make(map[string]*session),
	}
	p.ctx, p.cancel = context.WithCancel(ctx)
	return p
}

// frameWeight is the credit that a frame takes of a window.
func frameWeight(frame, window int) int64 {
	return int64(min(max(frame, frameCost), window))
}

// launch registers a flight before its frame is sent.
func (p *peer) launch(seq uint64, f *flight) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.flights) == 0 {
		p.lastAck = f.sent
	}
	p.flights[seq] = f
	if f.slots != nil {
		p.packets++
	}
}

// land ends a flight: it was acknowledged, or could not be sent.
func (p *peer) land(seq uint64, acknowledged bool, now time.Time) {
	p.mu.Lock()
	f := p.flights[seq]
	delete(p.flights, seq)
	if f != nil && f.slots != nil {
		p.packets--
	}
	if f != nil && acknowledged {
		p.lastAck = now
	}
	p.mu.Unlock()
	if f != nil && f.release != nil {
		f.release()
	}
}

// late takes out what was not acknowledged in time: packets, which it returns,
// and stream frames, which anti-entropy makes good for. next is when to look again:
// zero when nothing is on its way. overdue: nothing was acknowledged for so long that the member counts as stalled.
func (p *peer) late(now time.Time) (lost []*flight, next time.Time, overdue bool) {
	patience := max(resendAfter, 3*time.Duration(p.rtt.Load()))
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.flights) == 0 {
		return nil, time.Time{}, false
	}
	next = p.lastAck.Add(ackTimeout)
	if !next.After(now) {
		return nil, time.Time{}, true
	}
	for seq, f := range p.flights {
		if f.session != nil {
			continue // it ends with its session
		}
		due := f.sent.Add(patience)
		if f.slots == nil {
			due = f.sent.Add(lostAfter)
		}
		switch {
		case due.After(now):
			if due.Before(next) {
				next = due
			}
			continue
		case f.slots == nil: // lost with its connection, since others were acknowledged
			p.missed = true
			f.release()
		default:
			lost = append(lost, f)
			p.packets--
		}
		delete(p.flights, seq)
	}
	return lost, next, false
}

// idle reports whether nothing waits and all that was sent was acknowledged.
func (p *peer) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.flights) == 0 && !p.sending && p.out.len() == 0
}

func (p *peer) packetsFull() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.packets >= maxPackets
}

// overdue is how long until the member counts as stalled; not positive when it does.
func (p *peer) overdue(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lastAck.Add(ackTimeout).Sub(now)
}

// stall gives up on the member: what waits for it is dropped. Returns how many
// rumors that were.
func (p *peer) stall() int {
	p.mu.Lock()
	for _, f := range p.flights {
		if f.release != nil {
			defer f.release()
		}
	}
	clear(p.flights)
	for _, s := range p.sessions {
		s.cancel(errStalled) // its credit comes back without a merge
	}
	p.packets = 0
	p.stalled, p.missed = true, true
	p.mu.Unlock()
	return p.out.clear()
}

// heard ends a stall and reports whether there was one.
func (p *peer) heard() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.stalled
	p.stalled = false
	return was
}

func (p *peer) isStalled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stalled
}

// offer queues slots of a map unless the member is stalled; returns how many
// were dropped.
func (p *peer) offer(lane int, spec *Map, slots []crdt.Slot, resend bool) int {
	if p.isStalled() {
		return len(slots)
	}
	p.out.put(lane, spec, slots, resend)
	return 0
}

func (p *peer) setSending(sending bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sending = sending
}

// setMissed notes whether rumors for this member were dropped.
func (p *peer) setMissed(missed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.missed = missed
}

func (p *peer) hasMissed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.missed
}
