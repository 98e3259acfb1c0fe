package main

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip"
)

// TestClientsThatNeverSend: each is hung up on in its time.
func TestClientsThatNeverSend(t *testing.T) {
	const head = " / HTTP/1.1\r\nHost: localhost\r\n"
	for name, test := range map[string]struct {
		text  string
		after time.Duration
	}{
		"nothing":                  {"", headerTimeout},
		"half a header":            {"GET" + head, headerTimeout},
		"half a key":               {"POST /debug/keys/install HTTP/1.1\r\nHost: localhost\r\nContent-Length: 44\r\n\r\nAAAA", readTimeout},
		"half the body of a scan":  {"POST /debug/maps/flows/scan HTTP/1.1\r\nHost: localhost\r\nContent-Length: 44\r\n\r\nAAAA", readTimeout},
		"half the body of a watch": {"GET " + watchPath + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 44\r\n\r\nAAAA", readTimeout},
		"no second request":        {"GET" + head + "\r\n", idleTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			served(t, sourceNode{}, func(t *testing.T, l *wire, s *server) {
				begun := time.Now()
				c := l.dial("127.0.0.1:99")
				defer c.Close()
				_, _ = io.WriteString(c, test.text)
				_, _ = io.Copy(io.Discard, c)
				if took := time.Since(begun); took > test.after+time.Second {
					t.Errorf("hung up on after %s, want %s", took, test.after)
				}
				synctest.Wait()
				if s.load.open() != 0 {
					t.Errorf("%d connections are left", s.load.open())
				}
			})
		})
	}
}

// TestConnectionsAreShared: one host that opens a thousand connections gets 32,
// others get theirs, and this host always gets through.
func TestConnectionsAreShared(t *testing.T) {
	served(t, fakeNode{}, func(t *testing.T, l *wire, s *server) {
		var all []net.Conn
		open := func(n int, from string) {
			for range n {
				all = append(all, l.dial(from))
			}
			synctest.Wait()
		}
		open(1000, "192.0.2.1:99")
		if got := s.load.open(); got != maxHostConnections {
			t.Errorf("one host has %d connections, want %d", got, maxHostConnections)
		}
		for i := range 1000 { // all of one network
			open(1, fmt.Sprintf("[2001:db8::%x]:99", i+1))
		}
		for i := range 100 {
			open(1, fmt.Sprintf("198.51.100.%d:99", i))
		}
		if got := s.load.open(); got != maxOthersConnections {
			t.Errorf("other hosts have %d connections, want %d", got, maxOthersConnections)
		}
		if c, response := l.request(t, http.MethodGet, "/healthz"); response.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("this host: %s", response.Status)
		} else {
			c.Close()
			synctest.Wait()
		}
		open(1000, "127.0.0.1:99")
		if got := s.load.open(); got != maxConnections {
			t.Errorf("%d connections, want %d", got, maxConnections)
		}
		for _, c := range all {
			c.Close()
		}
		synctest.Wait()
		if s.load.open() != 0 || len(s.load.hosts) != 0 || s.load.others != 0 {
			t.Errorf("%d connections and %d hosts are left", s.load.open(), len(s.load.hosts))
		}
	})
}

// use is what the process holds at present.
type use struct {
	goroutines int
	heapBytes  uint64
}

func used() use {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return use{runtime.NumGoroutine(), m.HeapAlloc}
}

// TestFlood: a thousand connections, and requests as fast as they go, over real
// sockets. Afterwards nothing is held, and the server answers.
func TestFlood(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, end := serveOn(l, fakeNode{status: fixture()})
	defer end()
	before := used()

	conns := make([]net.Conn, 1000)
	for i := range conns {
		if conns[i], err = net.Dial("tcp", l.Addr().String()); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the server has looked at all of them", func() error {
		if got := s.load.refusedConnections.Load(); got != 1000-maxConnections {
			return fmt.Errorf("%d refused", got)
		}
		return nil
	})
	under := used()
	for _, c := range conns {
		c.Close()
	}
	closed := func() error {
		if got := s.load.open(); got != 0 {
			return fmt.Errorf("%d connections", got)
		}
		return nil
	}
	eventually(t, "all are closed", closed)

	const clients, requests = 32, 100
	var flooding sync.WaitGroup
	for i := range clients {
		flooding.Go(func() {
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			path := []string{"/debug/status", "/metrics", "/debug/maps/flows/entries", "/debug/convergence", "/debug/" + strings.Repeat("x", 4000)}[i%5]
			text := "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n"
			go func() { _, _ = io.WriteString(c, strings.Repeat(text, requests)) }() // ends with the connection
			in := bufio.NewReader(c)
			for range requests {
				response, err := http.ReadResponse(in, nil)
				if err == nil {
					_, err = io.Copy(io.Discard, response.Body)
				}
				if err != nil {
					t.Errorf("%s: %v", path, err)
					return
				}
			}
		})
	}
	flooding.Wait()
	eventually(t, "all are closed", closed)
	eventually(t, "goroutines are as before", func() error {
		if got := used().goroutines; got > before.goroutines {
			return fmt.Errorf("%d goroutines, %d before", got, before.goroutines)
		}
		return nil
	})
	after := used()
	t.Logf("before %+v, under 1000 connections %+v, after %d requests %+v", before, under, clients*requests, after)
	if after.heapBytes > before.heapBytes+4<<20 {
		t.Errorf("heap grew from %d to %d bytes", before.heapBytes, after.heapBytes)
	}
}

// TestEntriesInBoundedMemory: 200 000 entries of 250 bytes, in less memory than
// a tenth of them take.
func TestEntriesInBoundedMemory(t *testing.T) {
	const chunks, chunk = 50, 4000
	before, most := used(), use{}
	n := sourceNode{ended: make(chan error, 1), entries: func(fn func([]mapgossip.Entry) error) error {
		for i := range chunks {
			entries := make([]mapgossip.Entry, chunk)
			for j := range entries {
				entries[j] = entryFixture()
			}
			if err := fn(entries); err != nil {
				return err
			}
			if i%10 == 9 {
				most.heapBytes = max(most.heapBytes, used().heapBytes)
			}
		}
		return nil
	}}
	l := newWire()
	_, end := serveOn(l, n)
	defer end()
	c, response := l.request(t, http.MethodGet, "/debug/maps/flows/entries")
	defer c.Close()
	lines, bytes := 0, 0
	for scanner := bufio.NewScanner(response.Body); scanner.Scan(); lines++ {
		bytes += len(scanner.Bytes())
	}
	<-n.ended
	t.Logf("%d entries in %d bytes; heap %d KiB before, %d KiB at most", lines, bytes, before.heapBytes>>10, most.heapBytes>>10)
	if lines != chunks*chunk || most.heapBytes > before.heapBytes+4<<20 {
		t.Errorf("%d lines, heap grew from %d to %d bytes", lines, before.heapBytes, most.heapBytes)
	}
}

// TestAccess: what other hosts, other names and other sites may ask for.
func TestAccess(t *testing.T) {
	const status, sync, profile = "/debug/status", "/debug/sync", "/debug/pprof/cmdline"
	site := func(mode string) http.Header {
		return http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {mode}}
	}
	for _, test := range []struct {
		method, path, remote, host string
		header                     http.Header
		code                       int
	}{
		{"GET", status, "127.0.0.1:99", "localhost:7947", nil, 200},
		{"GET", status, "[::1]:99", "[::1]", nil, 200},
		{"GET", status, "[::ffff:127.0.0.1]:99", "127.0.0.1", nil, 200},
		{"GET", status, "192.0.2.1:99", "lb-1.example:7947", nil, 200},
		{"GET", status, "127.0.0.1:99", "evil.example:7947", nil, 403},
		{"GET", status, "127.0.0.1:99", "192.0.2.1:7947", nil, 403},
		{"GET", status, "127.0.0.1:99", "", nil, 403},
		{"GET", status, "192.0.2.1:99", "lb-1.example", site("no-cors"), 403},
		{"GET", status, "127.0.0.1:99", "localhost", site("navigate"), 200},
		{"POST", sync, "127.0.0.1:99", "localhost", nil, 200},
		{"POST", sync, "127.0.0.1:99", "localhost", site("navigate"), 403},
		{"POST", sync, "127.0.0.1:99", "localhost", http.Header{"Origin": {"https://evil.example"}}, 403},
		{"POST", sync, "127.0.0.1:99", "localhost", http.Header{"Origin": {"http://localhost"}}, 200},
		{"POST", sync, "192.0.2.1:99", "localhost", nil, 403},
		{"POST", "/debug/leave", "192.0.2.1:99", "localhost", nil, 403},
		{"POST", "/debug/keys/install", "192.0.2.1:99", "localhost", nil, 403},
		{"GET", profile, "127.0.0.1:99", "localhost", nil, 200},
		{"GET", profile, "192.0.2.1:99", "localhost", nil, 403},
		{"GET", "/debug/pprof/heap", "192.0.2.1:99", "localhost", nil, 403},
		{"GET", "/debug/pprof/profile?seconds=1e9", "127.0.0.1:99", "localhost", nil, 400},
		{"POST", profile, "127.0.0.1:99", "localhost", nil, 405},
	} {
		r := httptestRequest(t, test.method, test.path)
		r.RemoteAddr, r.Host = test.remote, test.host
		for name, values := range test.header {
			r.Header[name] = values
		}
		if w := record(newMux(fakeNode{status: fixture()}, nil), r); w.Code != test.code {
			t.Errorf("%+v: %d %s", test, w.Code, w.Body)
		}
	}
}

// TestLeaveAnswersFirst: who asked is told before the agent leaves.
func TestLeaveAnswersFirst(t *testing.T) {
	r := httptestRequest(t, http.MethodPost, "/debug/leave")
	r.RemoteAddr, r.Host = "127.0.0.1:99", "localhost"
	left := false
	w := record(nil, nil)
	s := newServer(fakeNode{}, nil, func() { left = w.Flushed }, configAnswer{}, present, slog.New(slog.DiscardHandler))
	s.Handler.ServeHTTP(w, r)
	if !left {
		t.Error("not left, or left before the answer was out")
	}
}
