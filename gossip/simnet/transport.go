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
	packets chan *memberlist.Packet
	streams chan net.Conn
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	dead bool // guarded by net.mu

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
	t := &Transport{net: n, addr: addr, at: at, packets: make(chan *memberlist.Packet),
		streams: make(chan net.Conn), conns: make(map[*conn]bool)}
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
	target, after := t.net.fate(t, addr, b)
	from := net.UDPAddrFromAddrPort(t.at)
	for _, d := range after {
		p := &memberlist.Packet{Buf: bytes.Clone(b), From: from}
		target.spawn(func() {
			if !sleep(target.ctx, d) {
				return
			}
			if blocked, _ := t.net.blocked(t, target); blocked {
				return
			}
			p.Timestamp = time.Now()
			select {
			case target.packets <- p:
			case <-target.ctx.Done():
			}
		})
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

// DialTimeout needs a link that is open both ways for one round trip.
func (t *Transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(t.ctx, timeout)
	defer cancel()
	fail := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for {
		t.net.mu.Lock()
		target, change := t.net.hosts[addr], t.net.heal
		open := target != nil && !t.dead && !t.net.cuts[[2]string{t.addr, addr}] && !t.net.cuts[[2]string{addr, t.addr}]
		t.net.mu.Unlock()
		if !open {
			select {
			case <-change:
				continue
			case <-ctx.Done():
				return nil, fail(ctx.Err())
			}
		}
		if !sleep(ctx, 2*t.net.delay()) {
			return nil, fail(ctx.Err())
		}
		mine, theirs := pipe(t, target)
		if !t.keep(mine) || !target.keep(theirs) {
			return nil, fail(net.ErrClosed)
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
