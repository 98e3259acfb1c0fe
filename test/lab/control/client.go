package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"github.com/hashicorp/yamux"
)

// Client is the test's side of a control channel. Safe for concurrent use.
type Client struct {
	session *yamux.Session
}

// NewClient takes over c. Nothing is sent before the first operation.
func NewClient(c io.ReadWriteCloser) (*Client, error) {
	session, err := yamux.Client(newBuffered(c), configuration())
	if err != nil {
		return nil, fmt.Errorf("open control channel: %w", err)
	}
	return &Client{session: session}, nil
}

// Close ends every operation; theirs are the errors. Idempotent.
func (c *Client) Close() error { return c.session.Close() }

// Closed is closed when the channel has ended, from whichever side.
func (c *Client) Closed() <-chan struct{} { return c.session.CloseChan() }

// open begins an operation. The stream is closed when ctx ends, until release is called.
func (c *Client) open(ctx context.Context, q request) (stream *yamux.Stream, release func() bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	stream, err = c.session.OpenStream()
	if err != nil {
		return nil, nil, fmt.Errorf("control channel: %w", err)
	}
	release = context.AfterFunc(ctx, func() { abort(stream) })
	if err := writeJSON(stream, kindRequest, q); err != nil {
		release()
		abort(stream)
		return nil, nil, orContext(ctx, err)
	}
	return stream, release, nil
}

// abort ends reads and writes that are under way, which Close alone does not.
func abort(s *yamux.Stream) {
	_ = s.SetDeadline(aLongTimeAgo)
	_ = s.Close()
}

// orContext names the end of ctx as the reason where it is.
func orContext(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// call is an operation of one request and one reply.
func (c *Client) call(ctx context.Context, q request) (reply, error) {
	stream, release, err := c.open(ctx, q)
	if err != nil {
		return reply{}, err
	}
	defer stream.Close()
	defer release()
	var r reply
	if err := readJSON(stream, kindReply, &r); err != nil {
		return reply{}, orContext(ctx, err)
	}
	return r, r.err()
}

// Hello blocks until the host answers.
func (c *Client) Hello(ctx context.Context) (Hello, error) {
	r, err := c.call(ctx, request{Op: "hello"})
	return r.Hello, err
}

// ReadFile reads a whole file of the host. Errors of the host are recognised by
// errors.Is as fs.ErrNotExist and fs.ErrPermission.
func (c *Client) ReadFile(ctx context.Context, path string) ([]byte, error) {
	stream, release, err := c.open(ctx, request{Op: "read", Path: path})
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	defer release()
	var r reply
	if err := readJSON(stream, kindReply, &r); err != nil {
		return nil, orContext(ctx, err)
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	var content, buffer []byte
	for {
		k, p, err := readFrame(stream, &buffer)
		switch {
		case err != nil:
			return nil, orContext(ctx, fmt.Errorf("read %s: %w", path, err))
		case k == kindEnd:
			return content, nil
		case k == kindReply: // it failed half way
			if err := json.Unmarshal(p, &r); err != nil {
				return nil, err
			}
			return nil, r.err()
		}
		content = append(content, p...)
	}
}

// WriteFile puts a file on the host from r, with the directories above it. A regular file is
// replaced at once when it is complete; a device or a file of /proc or /sys is written in place.
func (c *Client) WriteFile(ctx context.Context, path string, r io.Reader, mode os.FileMode) error {
	stream, release, err := c.open(ctx, request{Op: "write", Path: path, Mode: uint32(mode.Perm())})
	if err != nil {
		return err
	}
	defer stream.Close()
	defer release()
	var mu sync.Mutex
	_, err = io.CopyBuffer(frameWriter{&mu, stream, kindData}, struct{ io.Reader }{r}, make([]byte, chunkBytes))
	if err == nil {
		err = writeFrame(stream, kindEnd, nil)
	}
	// The host may have refused early and closed: its reason is the better one.
	var answer reply
	if e := readJSON(stream, kindReply, &answer); e != nil {
		return orContext(ctx, errors.Join(err, e))
	}
	return answer.err()
}

// DialContext connects from the host itself: its loopback, its unix sockets. The
// connection has no half-close, and ctx bounds only the dialing.
func (c *Client) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	stream, release, err := c.open(ctx, request{Op: "dial", Network: network, Address: address})
	if err != nil {
		return nil, err
	}
	var r reply
	err = readJSON(stream, kindReply, &r)
	if !release() || err != nil {
		abort(stream)
		return nil, orContext(ctx, err)
	}
	if err := r.err(); err != nil {
		_ = stream.Close()
		return nil, err
	}
	return stream, nil
}

// Signal sends a signal to a process started by this package, or to its whole process group.
// os.ErrProcessDone (by text only) when it has ended.
func (c *Client) Signal(ctx context.Context, pid int, signal syscall.Signal, group bool) error {
	_, err := c.call(ctx, request{Op: "signal", PID: pid, Signal: int(signal), Group: group})
	return err
}
