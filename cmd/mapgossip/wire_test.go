package main

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
)

// wire is a listener without sockets, for tests in which time is virtual. What a
// server writes waits until the client reads it.
type wire struct {
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

func newWire() *wire {
	w := &wire{conns: make(chan net.Conn), closed: make(chan struct{})}
	w.close = sync.OnceFunc(func() { close(w.closed) })
	return w
}

func (w *wire) Accept() (net.Conn, error) {
	select {
	case c := <-w.conns:
		return c, nil
	case <-w.closed:
		return nil, net.ErrClosed
	}
}
func (w *wire) Close() error   { w.close(); return nil }
func (w *wire) Addr() net.Addr { return tcp("127.0.0.1:7947") }

func tcp(text string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(text)) }

type wireConn struct {
	net.Conn
	remote net.Addr
}

func (c wireConn) RemoteAddr() net.Addr { return c.remote }
func (c wireConn) LocalAddr() net.Addr  { return tcp("127.0.0.1:7947") }

// dial connects as from that address.
func (w *wire) dial(from string) net.Conn {
	client, server := net.Pipe()
	w.conns <- wireConn{server, tcp(from)}
	return client
}

// ask connects from this host, and sends the text of a request.
func (w *wire) ask(t *testing.T, text string) net.Conn {
	t.Helper()
	conn := w.dial("127.0.0.1:99")
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatalf("send request: %v", err)
	}
	return conn
}

// request connects, asks, and returns the answer with its body to be read.
func (w *wire) request(t *testing.T, method, path string) (net.Conn, *http.Response) {
	t.Helper()
	conn := w.ask(t, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: localhost\r\n\r\n", method, path))
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("read answer to %s: %v", path, err)
	}
	return conn, response
}

// serveOn serves n until end is called.
func serveOn(l net.Listener, n node) (s *server, end func()) {
	log := slog.New(slog.DiscardHandler)
	s = newServer(n, nil, func() {}, configAnswer{}, present, log)
	var serving sync.WaitGroup
	serving.Go(func() { serve(s, l, log) })
	return s, func() {
		s.Close()
		serving.Wait()
	}
}
