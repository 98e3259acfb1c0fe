package main

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Bounds of what the debug endpoint does at once. What is over them is refused,
// and counted.
const (
	maxConnections       = 128
	maxOthersConnections = 96 // of all other hosts, so that this one gets through
	maxHostConnections   = 32 // of one other host
	maxWatchers          = 32
	maxStreams           = 8  // of entries or differences
	maxAsking            = 16 // requests that scan, or ask other members
)

// quota holds a token for each of what is under way. Other hosts get three
// quarters of them at most, so that this one gets through.
type quota struct{ all, others chan struct{} }

func newQuota(most int) quota {
	return quota{make(chan struct{}, most), make(chan struct{}, most*3/4)}
}

// load holds what the debug endpoint does at present to its bounds. Safe for
// concurrent use.
type load struct {
	watchers, streams, asks quota
	refusedRequests         atomic.Uint64
	refusedConnections      atomic.Uint64

	mu          sync.Mutex
	connections int // all
	others      int // of other hosts
	hosts       map[netip.Addr]int
}

func newLoad() *load {
	return &load{
		watchers: newQuota(maxWatchers),
		streams:  newQuota(maxStreams),
		asks:     newQuota(maxAsking),
		hosts:    make(map[netip.Addr]int),
	}
}

// begin takes a token, or answers that there is none. end, which gives it back,
// is nil then.
func (l *load) begin(w http.ResponseWriter, r *http.Request, s quota, what string) (end func()) {
	take := func(tokens chan struct{}) bool {
		select {
		case tokens <- struct{}{}:
			return true
		default:
			l.refusedRequests.Add(1)
			tooMany(w, what, cap(tokens))
			return false
		}
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	others := err == nil && !peer.Addr().Unmap().IsLoopback() // an error: a unix socket
	if others && !take(s.others) {
		return nil
	}
	if !take(s.all) {
		if others {
			<-s.others
		}
		return nil
	}
	return func() {
		<-s.all
		if others {
			<-s.others
		}
	}
}

// asking bounds how many of these requests are under way.
func (l *load) asking(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if end := l.begin(w, r, l.asks, "requests that scan or ask other members"); end != nil {
			defer end()
			h(w, r)
		}
	}
}

// bound returns listener with its connections bounded. One over the bounds is
// closed at once: were it kept waiting, whoever holds the others would decide
// for how long.
func (l *load) bound(listener net.Listener) net.Listener { return boundedListener{listener, l} }

type boundedListener struct {
	net.Listener
	load *load
}

func (b boundedListener) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := hostOf(conn.RemoteAddr())
		if b.load.admit(from) {
			return &boundedConn{Conn: conn, release: sync.OnceFunc(func() { b.load.release(from) })}, nil
		}
		b.load.refusedConnections.Add(1)
		conn.Close()
	}
}

type boundedConn struct {
	net.Conn
	release func()
}

func (c *boundedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// hostOf returns who is to share a bound: an address, of IPv6 the network of 64
// bits that one host may have all of. Invalid: this host.
func hostOf(remote net.Addr) netip.Addr {
	at, err := netip.ParseAddrPort(remote.String())
	if err != nil { // a unix socket
		return netip.Addr{}
	}
	addr := at.Addr().Unmap().WithZone("")
	if addr.IsLoopback() {
		return netip.Addr{}
	}
	if addr.Is6() {
		return netip.PrefixFrom(addr, 64).Masked().Addr()
	}
	return addr
}

func (l *load) admit(from netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.connections >= maxConnections || from.IsValid() && (l.others >= maxOthersConnections || l.hosts[from] >= maxHostConnections) {
		return false
	}
	l.connections++
	if from.IsValid() {
		l.others++
		l.hosts[from]++
	}
	return true
}

func (l *load) release(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.connections--
	if !from.IsValid() {
		return
	}
	l.others--
	if l.hosts[from]--; l.hosts[from] == 0 {
		delete(l.hosts, from)
	}
}

func (l *load) open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.connections
}
