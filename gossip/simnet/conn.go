package simnet

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// window is what one direction of a stream holds before a write blocks.
const window = 256 << 10

// chunk is written bytes on their way.
type chunk struct {
	data    []byte
	arrives time.Time
}

// half is one direction of a stream.
type half struct {
	from, to *Transport

	mu     sync.Mutex
	chunks []chunk
	bytes  int
	closed bool          // by the writer: the reader sees EOF after the data
	broken bool          // by the reader: writes fail
	wake   chan struct{} // closed and replaced at each change
}

// conn is one end of a stream.
type conn struct {
	local, remote *Transport
	in, out       *half

	mu              sync.Mutex
	readBy, writeBy time.Time
	moved           chan struct{} // closed and replaced when a deadline moves
	closed          bool
}

func pipe(a, b *Transport) (*conn, *conn) {
	ab := &half{from: a, to: b, wake: make(chan struct{})}
	ba := &half{from: b, to: a, wake: make(chan struct{})}
	return &conn{local: a, remote: b, in: ba, out: ab, moved: make(chan struct{})},
		&conn{local: b, remote: a, in: ab, out: ba, moved: make(chan struct{})}
}

func (h *half) changedLocked() {
	close(h.wake)
	h.wake = make(chan struct{})
}

// Read returns what has arrived, waiting for the first byte.
func (c *conn) Read(b []byte) (int, error) {
	return c.do(false, func() (n int, done bool, ready time.Time, err error, wake <-chan struct{}) {
		h := c.in
		h.mu.Lock()
		defer h.mu.Unlock()
		wake = h.wake
		if len(h.chunks) == 0 {
			if h.closed {
				return 0, true, ready, io.EOF, wake
			}
			return 0, false, ready, nil, wake
		}
		if first := h.chunks[0].arrives; time.Now().Before(first) {
			return 0, false, first, nil, wake
		}
		n = copy(b, h.chunks[0].data)
		if h.chunks[0].data = h.chunks[0].data[n:]; len(h.chunks[0].data) == 0 {
			h.chunks = h.chunks[1:]
		}
		h.bytes -= n
		c.local.count.streamBytesIn.Add(uint64(n))
		h.changedLocked()
		return n, true, ready, nil, wake
	})
}

// Write blocks while the window is full.
func (c *conn) Write(b []byte) (int, error) {
	total := 0
	for len(b) > 0 {
		n, err := c.do(true, func() (n int, done bool, ready time.Time, err error, wake <-chan struct{}) {
			h := c.out
			h.mu.Lock()
			defer h.mu.Unlock()
			wake = h.wake
			if h.closed || h.broken {
				return 0, true, ready, io.ErrClosedPipe, wake
			}
			if n = min(len(b), window-h.bytes); n == 0 {
				return 0, false, ready, nil, wake
			}
			h.chunks = append(h.chunks, chunk{bytes.Clone(b[:n]), c.local.net.arrives(c.local, n, time.Now())})
			h.bytes += n
			c.local.count.streamBytesOut.Add(uint64(n))
			h.changedLocked()
			return n, true, ready, nil, wake
		})
		total += n
		b = b[n:]
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// do tries until done, the deadline passes, or the end is closed. Reads also
// wait while the link is cut.
func (c *conn) do(write bool, try func() (n int, done bool, ready time.Time, err error, wake <-chan struct{})) (int, error) {
	for {
		c.mu.Lock()
		by, moved, closed := c.readBy, c.moved, c.closed
		if write {
			by = c.writeBy
		}
		c.mu.Unlock()
		now := time.Now()
		if closed {
			return 0, net.ErrClosed
		}
		if !by.IsZero() && !by.After(now) {
			return 0, os.ErrDeadlineExceeded
		}
		var (
			n     int
			done  bool
			ready time.Time
			err   error
			wake  <-chan struct{}
		)
		cut, change := false, (<-chan struct{})(nil)
		if !write {
			cut, change = c.local.net.blocked(c.remote, c.local)
		}
		if !cut {
			if n, done, ready, err, wake = try(); done {
				return n, err
			}
		}
		next := by
		if !ready.IsZero() && (next.IsZero() || ready.Before(next)) {
			next = ready
		}
		var due <-chan time.Time
		if !next.IsZero() {
			timer := time.NewTimer(next.Sub(now))
			defer timer.Stop()
			due = timer.C
		}
		select {
		case <-wake:
		case <-change:
		case <-moved:
		case <-due:
		}
	}
}

// Close lets the other end read what was written, and fails its writes.
func (c *conn) Close() error {
	c.mu.Lock()
	was := c.closed
	c.closed = true
	if !was {
		close(c.moved)
		c.moved = make(chan struct{})
	}
	c.mu.Unlock()
	if was {
		return nil
	}
	for _, h := range []*half{c.out, c.in} {
		h.mu.Lock()
		if h == c.out {
			h.closed = true
		} else {
			h.broken = true
		}
		h.changedLocked()
		h.mu.Unlock()
	}
	c.local.drop(c)
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(c.local.at) }
func (c *conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote.at) }

func (c *conn) SetDeadline(t time.Time) error      { return c.setDeadline(t, true, true) }
func (c *conn) SetReadDeadline(t time.Time) error  { return c.setDeadline(t, true, false) }
func (c *conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(t, false, true) }

func (c *conn) setDeadline(t time.Time, read, write bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if read {
		c.readBy = t
	}
	if write {
		c.writeBy = t
	}
	close(c.moved)
	c.moved = make(chan struct{})
	return nil
}
