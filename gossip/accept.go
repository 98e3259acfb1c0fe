package gossip

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"
)

// acceptLoop takes inbound connections until base is shut down, and then those
// that it still hands over.
func (t *transport) acceptLoop() {
	for {
		select {
		case <-t.ctx.Done():
			return
		case conn := <-t.base.StreamCh():
			if !t.admit(conn) {
				_ = conn.Close()
				continue
			}
			t.wg.Go(func() {
				defer t.dismiss(conn)
				t.serveConn(conn)
			})
		}
	}
}

// admit counts an inbound connection in; false when there are too many.
func (t *transport) admit(conn net.Conn) bool {
	ip := remoteIP(conn)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	if len(t.inward) >= maxSessionsIn || t.perIP[ip] >= maxSessionsOneIP {
		t.refused.Add(1)
		return false
	}
	t.inward[conn] = ip
	t.perIP[ip]++
	return true
}

func (t *transport) dismiss(conn net.Conn) {
	_ = conn.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	ip := t.inward[conn]
	delete(t.inward, conn)
	if t.perIP[ip]--; t.perIP[ip] == 0 {
		delete(t.perIP, ip)
	}
}

func remoteIP(conn net.Conn) netip.Addr {
	addr, _ := netip.ParseAddrPort(conn.RemoteAddr().String()) // the zero address counts as one
	return addr.Addr().Unmap()
}

// serveConn hands the streams of one inbound connection to memberlist until
// the connection ends.
func (t *transport) serveConn(conn net.Conn) {
	var hello [len(preamble)]byte
	_ = conn.SetReadDeadline(time.Now().Add(handshakeTimeout)) // a closed connection fails in the read
	if _, err := io.ReadFull(conn, hello[:]); err != nil || string(hello[:]) != preamble {
		t.garbage(conn, "no handshake")
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	flow := &inflow{guardedConn: guardedConn{Conn: conn}, all: &t.unread}
	// A stream that this side closed first waits for the other one's end until the
	// session ends. A timer of its own would hold it, and a full window, for longer.
	mux := *t.mux
	mux.StreamCloseTimeout = 0
	session, err := yamux.Server(flow, &mux)
	if err != nil {
		t.garbage(conn, err.Error())
		return
	}
	defer flow.empty() // nothing reads any more
	defer session.Close()
	idle := time.AfterFunc(2*idleClose, func() { closeUnused(session) })
	defer idle.Stop()
	own := make(chan struct{}, maxStreamsSession)
	for streams := 0; ; streams++ {
		stream, err := session.AcceptStream()
		if err != nil {
			if streams == 0 {
				t.garbage(conn, err.Error())
			}
			return
		}
		if session.NumStreams() > maxHalfClosed {
			t.garbage(conn, "too many streams that it does not end")
			return
		}
		idle.Reset(2 * idleClose)
		if !t.hand(stream, session, flow, own) {
			return
		}
	}
}

// closeUnused ends a session that opened no stream for long. One that is still
// at work then is cut, and dialed again by the other side.
func closeUnused(session *yamux.Session) { _ = session.Close() }

// hand waits for room among the inbound streams and passes one to memberlist.
func (t *transport) hand(stream net.Conn, session *yamux.Session, flow *inflow, own chan struct{}) bool {
	for _, slots := range []chan struct{}{own, t.slots} {
		select {
		case slots <- struct{}{}:
		case <-session.CloseChan():
			return false
		case <-t.ctx.Done():
			return false
		}
	}
	counted := &countedConn{Conn: stream, held: &t.held, took: flow.took, whole: t.whole, ended: session.CloseChan(), release: func() {
		if session.NumStreams() == 0 {
			flow.empty()
		}
		<-own
		<-t.slots
	}}
	select {
	case t.streams <- counted:
		return true
	case <-session.CloseChan():
	case <-t.ctx.Done():
	}
	_ = counted.Close()
	return false
}

// errInboundBudget ends a stream when the members' streams hold too much.
var errInboundBudget = errors.New("too many bytes of inbound messages at once")

// countedConn gives its slot back when it is closed. memberlist keeps all that
// it reads of a stream until the message is whole, up to 20 MiB, from anybody
// who knows the cluster's name: so what long streams hold together is bounded
// too, and how many messages that were read whole are taken apart at a time. A
// message that is cut off so comes again by anti-entropy.
type countedConn struct {
	net.Conn
	once    sync.Once
	release func()
	took    func(int)       // told what was read
	whole   chan struct{}   // a slot each for streams that were read whole
	ended   <-chan struct{} // the session's end
	held    *atomic.Int64   // bytes past freeStreamBytes, all inbound streams
	read    int64           // of this one
	opening opening
	isWhole bool
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read += int64(n)
	c.took(n)
	if over := min(int64(n), c.read-freeStreamBytes); over > 0 && c.held.Add(over) > maxHeldBytes {
		return 0, errInboundBudget
	}
	if unwanted := c.opening.see(b[:n]); unwanted != nil {
		return 0, unwanted
	}
	if c.opening.length > 0 && c.read >= int64(c.opening.length) && !c.isWhole {
		if !c.waitWhole() {
			return 0, errInboundBudget
		}
	}
	return n, err
}

// waitWhole waits for a slot, not for ever.
func (c *countedConn) waitWhole() bool {
	timer := time.NewTimer(connectTimeout)
	defer timer.Stop()
	select {
	case c.whole <- struct{}{}:
		c.isWhole = true
		return true
	case <-timer.C:
	case <-c.ended:
	}
	return false
}

func (c *countedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		c.held.Add(-max(0, c.read-freeStreamBytes))
		if c.isWhole {
			<-c.whole
		}
		c.release()
	})
	return err
}

// garbage counts a connection that does not speak the protocol, and warns once
// in a while.
func (t *transport) garbage(conn net.Conn, why string) {
	t.bad.Add(1)
	if t.ctx.Err() != nil {
		return
	}
	now := time.Now()
	t.mu.Lock()
	due := now.Sub(t.warned) >= repeatAfter
	if due {
		t.warned = now
	}
	t.mu.Unlock()
	if due {
		t.log.Warn("connection does not speak the protocol", "addr", conn.RemoteAddr().String(), "error", why, "total", t.bad.Load())
	}
}
