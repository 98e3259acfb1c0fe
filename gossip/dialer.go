package gossip

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/hashicorp/yamux"
)

const (
	redialMin = 50 * time.Millisecond
	redialMax = time.Second
)

// dialer keeps the one session to an address that this side dialed.
type dialer struct {
	addr string
	lock chan struct{} // holds a token while free: a mutex whose wait can be given up

	// Guarded by lock.
	session  *yamux.Session
	used     time.Time
	notYet   time.Time // no dial before
	backoff  time.Duration
	lastFail error
	retired  bool // forgotten by the transport
}

var errRetired = errors.New("dialer is retired")

func newDialer(addr string) *dialer {
	d := &dialer{addr: addr, lock: make(chan struct{}, 1), backoff: redialMin, used: time.Now()}
	d.lock <- struct{}{}
	return d
}

// open returns a new stream. Blocks until ctx ends at most; callers to one
// address wait for one dial together. After a failed dial the next one is due
// after a jittered while, up to a second, and until then the last error is
// returned at once.
func (d *dialer) open(ctx context.Context, t *transport) (net.Conn, error) {
	select {
	case <-d.lock:
	case <-ctx.Done():
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: ctx.Err()}
	}
	session, err := d.ready(ctx, t)
	d.lock <- struct{}{}
	if err != nil {
		return nil, err
	}
	return openStream(ctx, session)
}

// openStream is yamux's OpenStream with a limit: it can block for as long as a
// write, and while many streams wait for the other side. A caller out of
// patience must not end a session that merely is busy.
func openStream(ctx context.Context, session *yamux.Session) (net.Conn, error) {
	fail := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	type result struct {
		stream *yamux.Stream
		err    error
	}
	opened := make(chan result, 1)
	go func() { // ends with yamux's write timeout, or with the session
		stream, err := session.OpenStream()
		if err != nil {
			_ = session.Close() // whatever it is, a new session is better
		}
		opened <- result{stream, err}
	}()
	select {
	case r := <-opened:
		if r.err != nil {
			return nil, fail(r.err)
		}
		return &pieceConn{Conn: r.stream}, nil
	case <-ctx.Done():
		go func() {
			if r := <-opened; r.err == nil {
				_ = r.stream.Close()
			}
		}()
		return nil, fail(ctx.Err())
	}
}

// ready returns the session, dialing it if there is none. Wants the lock.
func (d *dialer) ready(ctx context.Context, t *transport) (*yamux.Session, error) {
	if d.retired {
		return nil, errRetired
	}
	now := time.Now()
	d.used = now
	if d.session != nil && !d.session.IsClosed() {
		return d.session, nil
	}
	d.session = nil
	if now.Before(d.notYet) {
		return nil, d.lastFail
	}
	session, err := d.dial(ctx, t)
	if err != nil {
		d.lastFail = err
		d.notYet = time.Now().Add(d.backoff/2 + rand.N(d.backoff))
		d.backoff = min(2*d.backoff, redialMax)
		return nil, err
	}
	d.backoff = redialMin
	d.session = session
	return session, nil
}

func (d *dialer) dial(ctx context.Context, t *transport) (*yamux.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	var nd net.Dialer
	conn, err := nd.DialContext(ctx, "tcp", d.addr)
	if err != nil {
		return nil, err
	}
	guarded := &guardedConn{Conn: conn}
	if _, err := guarded.Write([]byte(preamble)); err != nil {
		_ = conn.Close()
		return nil, err
	}
	session, err := yamux.Client(guarded, t.mux)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("session to %s: %w", d.addr, err)
	}
	go refuseStreams(session)
	if t.ctx.Err() != nil { // shut down meanwhile, which may have missed this one
		_ = session.Close()
		return nil, net.ErrClosed
	}
	return session, nil
}

// refuseStreams ends a session when the side that was dialed opens a stream:
// nobody would ever read it. It returns once the session has ended.
func refuseStreams(session *yamux.Session) {
	if _, err := session.AcceptStream(); err == nil {
		_ = session.Close()
	}
}

// closeIdle closes a session without streams that was not used for a while,
// and reports whether the dialer can be forgotten. Busy ones are left alone.
func (d *dialer) closeIdle(now time.Time) bool {
	select {
	case <-d.lock:
	default:
		return false
	}
	defer func() { d.lock <- struct{}{} }()
	if now.Sub(d.used) < idleClose || d.session != nil && d.session.NumStreams() > 0 && !d.session.IsClosed() {
		return false
	}
	if d.session != nil {
		_ = d.session.Close()
	}
	d.retired = true
	return true
}

func (d *dialer) alive() bool {
	select {
	case <-d.lock:
	default:
		return false // a dial is under way
	}
	defer func() { d.lock <- struct{}{} }()
	return d.session != nil && !d.session.IsClosed()
}

func (d *dialer) close() {
	<-d.lock
	defer func() { d.lock <- struct{}{} }()
	if d.session != nil {
		_ = d.session.Close()
	}
}

// pieceBytes is how much of a message goes into one frame of the multiplexer.
const pieceBytes = 32 << 10

// pieceConn writes in pieces: the other side's multiplexer keeps a buffer that
// grows to twice the largest frame of a stream and more, for each stream anew. What
// answers is looked at as in countedConn.
type pieceConn struct {
	net.Conn
	opening opening
}

func (c *pieceConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if unwanted := c.opening.see(b[:n]); unwanted != nil {
		return 0, unwanted
	}
	return n, err
}

func (c *pieceConn) Write(b []byte) (n int, err error) {
	for piece := range slices.Chunk(b, pieceBytes) {
		wrote, err := c.Conn.Write(piece)
		if n += wrote; err != nil {
			return n, err
		}
	}
	return n, nil
}

// guardedConn gives each write a deadline, so that a peer that reads nothing
// ends the session instead of blocking it.
type guardedConn struct{ net.Conn }

func (c *guardedConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}
