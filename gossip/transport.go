package gossip

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/yamux"
)

const (
	// preamble opens each TCP connection, from the dialing side.
	preamble = "mapgossip/1\n"
	// handshakeTimeout is how long an inbound connection may take for it.
	handshakeTimeout = 5 * time.Second
	connectTimeout   = 10 * time.Second
	writeTimeout     = 10 * time.Second
	keepAlive        = 10 * time.Second
	// idleClose closes a dialed session without streams; the accepting side
	// waits longer.
	idleClose = 2 * time.Minute

	maxSessionsIn     = 1024
	maxSessionsOneIP  = 128
	maxStreamsIn      = 512 // all sessions
	maxStreamsSession = 64
	maxHalfClosed     = 1024 // streams of a session that this side closed and the other one did not
	// A stream may be freeStreamBytes long for nothing: more than a full frame.
	// What longer ones hold beyond that is bounded for all together.
	freeStreamBytes = 512 << 10
	maxHeldBytes    = 128 << 20
	// So many encrypted messages of streams are with memberlist at a time: what
	// holds the key may compress 40 MiB into some bytes.
	maxWholeStreams = 4
)

// transport is memberlist's network on one TCP and one UDP port. A TCP
// connection carries a yamux session, whose streams are what memberlist sees
// as connections, so that a message does not cost a dial. Sessions have a
// direction: streams are opened only on a session that this side dialed,
// because an accepted connection says nothing about who is there.
type transport struct {
	base    *memberlist.NetTransport
	log     *slog.Logger
	streams chan net.Conn
	packets chan *memberlist.Packet
	mux     *yamux.Config
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	slots   chan struct{} // inbound streams, all sessions
	whole   chan struct{} // those of them that were read whole, see countedConn

	encrypted bool         // members encrypt
	held      atomic.Int64 // see countedConn
	unread    atomic.Int64 // see inflow

	bad, refused atomic.Uint64

	mu     sync.Mutex
	closed bool
	dialed map[string]*dialer      // by address
	inward map[net.Conn]netip.Addr // inbound connections
	perIP  map[netip.Addr]int      // of these
	warned time.Time               // last warning about garbage
}

var _ memberlist.NodeAwareTransport = (*transport)(nil)

func openTransport(bind netip.AddrPort, encrypted bool, logger *log.Logger, l *slog.Logger) (*transport, error) {
	t := &transport{
		log:       l,
		encrypted: encrypted,
		streams:   make(chan net.Conn),
		packets:   make(chan *memberlist.Packet),
		slots:     make(chan struct{}, maxStreamsIn),
		whole:     make(chan struct{}, maxWholeStreams),
		dialed:    make(map[string]*dialer),
		inward:    make(map[net.Conn]netip.Addr),
		perIP:     make(map[netip.Addr]int),
	}
	t.mux = yamux.DefaultConfig()
	t.mux.AcceptBacklog = maxStreamsSession
	t.mux.KeepAliveInterval = keepAlive
	t.mux.ConnectionWriteTimeout = writeTimeout
	t.mux.StreamOpenTimeout = 2 * connectTimeout
	t.mux.StreamCloseTimeout = 30 * time.Second // of the sessions that this side dialed: see serveConn
	t.mux.LogOutput, t.mux.Logger = nil, logger
	t.ctx, t.cancel = context.WithCancel(context.Background())

	tries := 1
	if bind.Port() == 0 {
		tries = 10 // a port that is free for TCP may be taken for UDP
	}
	var err error
	for range tries {
		t.base, err = memberlist.NewNetTransport(&memberlist.NetTransportConfig{
			BindAddrs: []string{bind.Addr().Unmap().String()}, BindPort: int(bind.Port()), Logger: logger,
		})
		if err == nil {
			break
		}
	}
	if err != nil {
		t.cancel()
		return nil, fmt.Errorf("listen on %s (TCP and UDP): %w", bind, listenError(err))
	}
	t.wg.Go(t.acceptLoop)
	t.wg.Go(t.forwardPackets)
	t.wg.Go(t.tidyLoop)
	return t, nil
}

// listenError makes a sentence of why memberlist could not bind. It passes on
// the text of the errno only, so that is what there is to go by.
func listenError(err error) error {
	for errno, sentence := range map[syscall.Errno]string{
		syscall.EADDRNOTAVAIL: "no interface of this host has the address; bind one that it has, or 0.0.0.0",
		syscall.EACCES:        "a port below 1024 needs CAP_NET_BIND_SERVICE; bind a higher one",
	} {
		if strings.Contains(err.Error(), errno.Error()) {
			return fmt.Errorf("%s: %w", sentence, errno)
		}
	}
	if strings.Contains(err.Error(), syscall.EADDRINUSE.Error()) {
		return fmt.Errorf("another process has this port, maybe another agent; stop it or bind another port: %w", ErrAddressInUse)
	}
	return err
}

func (t *transport) port() int { return t.base.GetAutoBindPort() }

func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) { return t.base.WriteTo(b, addr) }

func (t *transport) WriteToAddress(b []byte, addr memberlist.Address) (time.Time, error) {
	return t.base.WriteToAddress(b, addr)
}

func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }
func (t *transport) StreamCh() <-chan net.Conn           { return t.streams }

func (t *transport) DialAddressTimeout(addr memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(addr.Addr, timeout)
}

// DialTimeout opens a stream on the session to addr, and the session first if
// there is none. The stream has timeout as the deadline of its use, which
// memberlist moves where it needs more.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	if timeout <= 0 {
		return nil, context.DeadlineExceeded
	}
	ctx, cancel := context.WithTimeout(t.ctx, timeout)
	defer cancel()
	for {
		d := t.dialer(addr)
		if d == nil {
			return nil, net.ErrClosed
		}
		stream, err := d.open(ctx, t)
		if errors.Is(err, errRetired) {
			continue // the transport has forgotten it: the next one is new
		}
		if err != nil {
			return nil, err
		}
		_ = stream.SetDeadline(time.Now().Add(timeout)) // of a yamux stream: never fails
		return stream, nil
	}
}

// dialer returns the one for addr; nil after Shutdown.
func (t *transport) dialer(addr string) *dialer {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	d := t.dialed[addr]
	if d == nil {
		d = newDialer(addr)
		t.dialed[addr] = d
	}
	return d
}

// tidyLoop closes sessions that nobody uses, and forgets addresses.
func (t *transport) tidyLoop() {
	ticker := time.NewTicker(idleClose / 4)
	defer ticker.Stop()
	for {
		select {
		case <-t.ctx.Done():
			return
		case now := <-ticker.C:
			t.mu.Lock()
			for addr, d := range t.dialed {
				if d.closeIdle(now) {
					delete(t.dialed, addr)
				}
			}
			t.mu.Unlock()
		}
	}
}

// Shutdown closes everything and waits for the goroutines. Idempotent.
func (t *transport) Shutdown() error {
	t.mu.Lock()
	already := t.closed
	t.closed = true
	dialed := make([]*dialer, 0, len(t.dialed))
	for _, d := range t.dialed {
		dialed = append(dialed, d)
	}
	inward := make([]net.Conn, 0, len(t.inward))
	for conn := range t.inward {
		inward = append(inward, conn)
	}
	t.mu.Unlock()
	if already {
		return nil
	}
	err := t.base.Shutdown() // acceptLoop still takes what it hands over
	t.cancel()
	for _, conn := range inward {
		_ = conn.Close()
	}
	for _, d := range dialed {
		d.close()
	}
	t.wg.Wait()
	return err
}

// abandon is Shutdown where no memberlist reads the packets.
func (t *transport) abandon() {
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-t.packets:
			case <-done:
				return
			}
		}
	}()
	_ = t.Shutdown() // listeners that are closed already are no news
	close(done)
}

func (t *transport) addStats(s *Stats) {
	s.BadConnections, s.RefusedConnections = t.bad.Load(), t.refused.Load()
	t.mu.Lock()
	defer t.mu.Unlock()
	s.SessionsIn = len(t.inward)
	for _, d := range t.dialed {
		if d.alive() {
			s.SessionsOut++
		}
	}
}
