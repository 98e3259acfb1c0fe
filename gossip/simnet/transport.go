package simnet

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Transport is one host's port. It is a memberlist.NodeAwareTransport.
type Transport struct {
	net     *Network
	addr    string
	at      netip.AddrPort
	udp     net.Addr // at, as packets carry it
	packets chan *memberlist.Packet
	streams chan net.Conn
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	arriving  arrivals
	receiving sync.Once // since the first packet, a goroutine hands them over
	count     traffic

	// Guarded by net.mu.
	dead    bool
	stalled bool
	backlog int       // streams that were made while stalled and are not accepted
	busy    time.Time // when all that waits to leave has left

	mu     sync.Mutex
	closed bool
	conns  map[*conn]bool
}

var _ memberlist.NodeAwareTransport = (*Transport)(nil)

// Listen adds a host at addr, IP:PORT. An address in use is an error.
func (n *Network) Listen(addr string) (*Transport, error) {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", addr, err)
	}
	t := &Transport{net: n, addr: addr, at: at, udp: net.UDPAddrFromAddrPort(at), packets: make(chan *memberlist.Packet),
		streams: make(chan net.Conn), conns: make(map[*conn]bool),
		arriving: arrivals{wake: make(chan struct{}, 1)}}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts[addr] != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, os.ErrExist)
	}
	n.hosts[addr] = t
	return t, nil
}

// FinalAdvertiseAddr is the address of Listen, whatever is configured.
func (t *Transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return net.IP(t.at.Addr().AsSlice()), int(t.at.Port()), nil
}

// WriteTo never blocks and never fails; the packet may get lost.
func (t *Transport) WriteTo(b []byte, addr string) (time.Time, error) {
	now := time.Now()
	t.count.packetsOut.Add(1)
	t.count.packetBytesOut.Add(uint64(len(b)))
	target, after := t.net.fate(t, addr, b)
	if len(after) > 0 {
		target.receiving.Do(func() { target.spawn(target.receive) })
	}
	for _, d := range after {
		target.arriving.put(t, &memberlist.Packet{Buf: bytes.Clone(b), From: t.udp}, now.Add(d))
	}
	return now, nil
}

// WriteToAddress is WriteTo; the name does not matter.
func (t *Transport) WriteToAddress(b []byte, addr memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, addr.Addr)
}

// PacketCh is where packets arrive.
func (t *Transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh is where inbound streams arrive.
func (t *Transport) StreamCh() <-chan net.Conn { return t.streams }

// DialAddressTimeout is DialTimeout; the name does not matter.
func (t *Transport) DialAddressTimeout(addr memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(addr.Addr, timeout)
}

// maxBacklog is how many streams to a stalled host are made before a dial
// waits.
const maxBacklog = 128

// DialTimeout needs a link that is open both ways for one round trip. The
// other host need not read: see Network.Stall.
func (t *Transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(t.ctx, timeout)
	defer cancel()
	fail := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for {
		target, stalled, change := t.net.reach(t, addr)
		if target == nil {
			select {
			case <-change:
				continue
			case <-ctx.Done():
				return nil, fail(ctx.Err())
			}
		}
		if !sleep(ctx, 2*t.net.delay()) {
			t.net.forget(target, stalled)
			return nil, fail(ctx.Err())
		}
		mine, theirs := pipe(t, target)
		if !t.keep(mine) || !target.keep(theirs) {
			t.net.forget(target, stalled)
			return nil, fail(net.ErrClosed)
		}
		t.count.dials.Add(1)
		if stalled {
			target.spawn(func() {
				target.acceptLater(theirs)
				t.net.forget(target, true)
			})
			return mine, nil
		}
		select {
		case target.streams <- theirs:
			return mine, nil
		case <-target.ctx.Done():
			_ = mine.Close()
			return nil, fail(net.ErrClosed)
		case <-ctx.Done():
			_ = mine.Close()
			_ = theirs.Close()
			return nil, fail(ctx.Err())
		}
	}
}

// reach returns the host at addr if t can open a stream to it, and whether it
// is stalled; then a place of its backlog is taken until forget. Otherwise nil
// and a channel that closes when that may have changed.
func (n *Network) reach(t *Transport, addr string) (target *Transport, stalled bool, change <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	target = n.hosts[addr]
	if target == nil || t.silent() || target.dead ||
		n.cuts[[2]string{t.addr, addr}] || n.cuts[[2]string{addr, t.addr}] ||
		target.stalled && target.backlog == maxBacklog {
		return nil, false, n.heal
	}
	if target.stalled {
		target.backlog++
	}
	return target, target.stalled, n.heal
}

// forget gives back what reach took of a stalled host's backlog.
func (n *Network) forget(target *Transport, stalled bool) {
	if stalled {
		n.mu.Lock()
		defer n.mu.Unlock()
		target.backlog--
	}
}

// acceptLater hands over a stream once this host goes on. Shutdown closes it.
func (t *Transport) acceptLater(theirs net.Conn) {
	for {
		t.net.mu.Lock()
		silent, change := t.silent(), t.net.heal
		t.net.mu.Unlock()
		if !silent {
			select {
			case t.streams <- theirs:
			case <-t.ctx.Done():
			}
			return
		}
		select {
		case <-change:
		case <-t.ctx.Done():
			return
		}
	}
}

// silent reports whether the host neither sends nor receives; with net.mu held.
func (t *Transport) silent() bool { return t.dead || t.stalled }

// Shutdown ends all streams and frees the address. Idempotent.
func (t *Transport) Shutdown() error {
	t.net.mu.Lock()
	if t.net.hosts[t.addr] == t {
		delete(t.net.hosts, t.addr)
	}
	t.net.mu.Unlock()
	t.cancel()
	t.mu.Lock()
	t.closed = true
	conns := t.conns
	t.conns = map[*conn]bool{}
	t.mu.Unlock()
	for c := range conns {
		_ = c.Close()
	}
	t.wg.Wait()
	return nil
}

// spawn runs fn unless the transport is closed; Shutdown waits for it.
func (t *Transport) spawn(fn func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.wg.Go(fn)
	}
}

func (t *Transport) keep(c *conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.conns[c] = true
	}
	return !t.closed
}

func (t *Transport) drop(c *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, c)
}

// sleep returns false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
