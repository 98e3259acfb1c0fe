package gossip

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// real starts a member on a free port of the loopback interface.
func real(t testing.TB, node string, change func(*Config)) *member {
	t.Helper()
	m := &member{ran: make(chan error, 1), logged: &logBuffer{}}
	cfg := DefaultConfig()
	cfg.Node, cfg.Version = node, "test"
	cfg.Bind = netip.MustParseAddrPort("127.0.0.1:0")
	cfg.Maps = []Map{flows}
	cfg.Logger = slog.New(slog.NewTextHandler(m.logged, nil))
	if change != nil {
		change(&cfg)
	}
	m.replica = newReplica(node, cfg.Maps)
	var err error
	m.Cluster, err = Open(cfg, m.replica)
	if err != nil {
		t.Fatal(err)
	}
	m.replica.cluster = m.Cluster
	for _, o := range m.Members() {
		m.addr = o.Addr
	}
	t.Cleanup(func() {
		if m.stop != nil {
			m.stop()
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	m.run()
	return m
}

func TestRealSockets(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("cluster", func(t *testing.T) {
		key := func(c *Config) { c.Keyring = [][]byte{bytes.Repeat([]byte{1}, 32)} }
		a := real(t, "a", key)
		a.fill("flows", 20_000, 1)
		join := func(c *Config) { key(c); c.Seeds = []string{a.addr} }
		b, c := real(t, "b", join), real(t, "c", join)
		within(t, 10*time.Second, "ready", ready(a, b, c))
		within(t, 10*time.Second, "three members", func() bool { return alive(a) == 3 && alive(b) == 3 && alive(c) == 3 })
		for i := range 20_000 {
			w := []*member{a, b, c}[i%3]
			w.put("flows", key8(i), value(i))
		}
		t.Log("equal in", within(t, 20*time.Second, "equal", same("flows", a, b, c)))
		if n := a.len("flows"); n != 40_000 {
			t.Errorf("%d entries, want 40000", n)
		}
		s := b.Stats()
		if s.SessionsOut == 0 || s.SessionsOut > 2 || s.SessionsIn > 2 || s.StreamFramesOut < 10 {
			t.Errorf("%d frames by stream used %d sessions out, %d in", s.StreamFramesOut, s.SessionsOut, s.SessionsIn)
		}
		if err := c.Leave(context.Background()); err != nil {
			t.Error(err)
		}
		within(t, 5*time.Second, "left", func() bool { return stateOf(a, "c") == StateLeft && stateOf(b, "c") == StateLeft })
	})
	// memberlist and yamux do not wait for their last goroutines.
	within(t, 10*time.Second, "goroutines end", func() bool { return runtime.NumGoroutine() <= before })
}

func key8(n int) []byte { return key(n + 1<<40) }

func TestGarbageOnThePort(t *testing.T) {
	t.Parallel()
	a := real(t, "a", nil)
	b := real(t, "b", func(c *Config) { c.Seeds = []string{a.addr} })
	within(t, 10*time.Second, "ready", ready(a, b))

	rng := rand.New(rand.NewPCG(1, 2))
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	label := []byte("\xf4\x09mapgossip")
	udp, err := net.Dial("udp", a.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	frame := sampleBatch().encode(sampleSender)
	for i := range 300 {
		var p []byte
		switch i % 4 {
		case 0:
			p = noise(1 + rng.IntN(1400))
		case 1: // a user message of garbage
			p = append(append(bytes.Clone(label), 8), noise(1+rng.IntN(200))...)
		case 2: // a truncated frame
			p = append(append(bytes.Clone(label), 8), frame[:rng.IntN(len(frame))]...)
		case 3: // any message of memberlist, broken
			p = append(append(bytes.Clone(label), byte(rng.IntN(14))), noise(rng.IntN(100))...)
		}
		if _, err := udp.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 40 {
		conn, err := net.Dial("tcp", a.addr)
		if err != nil {
			t.Fatal(err)
		}
		switch i % 4 {
		case 0:
			_, err = conn.Write(noise(100))
		case 1: // truncated handshake
			_, err = conn.Write([]byte(preamble)[:5])
		case 2: // handshake, then no yamux
			_, err = conn.Write(append([]byte(preamble), noise(1000)...))
		case 3: // a frame as if the port were plain
			_, err = conn.Write(frame)
		}
		if err != nil && !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") && !strings.Contains(err.Error(), "pipe") {
			t.Fatal(err)
		}
		if i%4 == 1 {
			defer conn.Close() // held open: the handshake has a deadline
			continue
		}
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, conn) // until the member hangs up
		_ = conn.Close()
	}
	within(t, 10*time.Second, "connections are counted", func() bool { return a.Stats().BadConnections >= 30 })
	within(t, 10*time.Second, "frames are counted", func() bool { return a.Stats().Malformed > 0 })
	for i := range 100 {
		a.put("flows", key(i), value(i))
		b.put("flows", key(1000+i), value(i))
	}
	within(t, 10*time.Second, "still at work", func() bool { return same("flows", a, b)() && a.len("flows") == 200 })
	if alive(a) != 2 || alive(b) != 2 {
		t.Errorf("a sees %d members, b %d", alive(a), alive(b))
	}
	if n := a.logged.count("level=WARN"); n > 30 {
		t.Errorf("%d warnings for 340 pieces of garbage:\n%s", n, a.logged)
	}
	// Those that said nothing are hung up on.
	within(t, 2*handshakeTimeout, "silent connections end", func() bool { return a.Stats().SessionsIn <= 1 })
}

func TestAddressInUse(t *testing.T) {
	a := real(t, "a", nil)
	cfg := DefaultConfig()
	cfg.Node, cfg.Bind = "b", netip.MustParseAddrPort(a.addr)
	_, err := Open(cfg, newReplica("b", nil))
	if !errors.Is(err, ErrAddressInUse) || !strings.Contains(err.Error(), a.addr) {
		t.Errorf("error %v, want the port in use named", err)
	}
	port, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	cfg.Bind = netip.MustParseAddrPort(port.LocalAddr().String())
	if _, err := Open(cfg, newReplica("b", nil)); !errors.Is(err, ErrAddressInUse) {
		t.Errorf("UDP port in use: %v", err)
	}
}

func TestRedialAfterRestart(t *testing.T) {
	a := real(t, "a", nil)
	b := real(t, "b", func(c *Config) { c.Seeds = []string{a.addr} })
	within(t, 10*time.Second, "ready", ready(a, b))
	b.stop()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	// The same address at once: a's session to it is dead, and b a new member.
	again := real(t, "b", func(c *Config) { c.Seeds = []string{a.addr}; c.Bind = netip.MustParseAddrPort(b.addr) })
	within(t, 10*time.Second, "ready", ready(again))
	a.put("flows", key(1), value(1))
	again.put("flows", key(2), value(2))
	within(t, 10*time.Second, "equal", func() bool { return same("flows", a, again)() && a.len("flows") == 2 })
}

func TestUnspecifiedBindAdvertisesAnAddress(t *testing.T) {
	a := real(t, "a", func(c *Config) {
		c.Bind = netip.MustParseAddrPort("0.0.0.0:0")
		c.Advertise = netip.MustParseAddrPort("127.0.0.1:0")
	})
	addr := netip.MustParseAddrPort(a.addr)
	if addr.Addr().String() != "127.0.0.1" || addr.Port() == 0 {
		t.Errorf("advertises %s", addr)
	}
	b := real(t, "b", func(c *Config) { c.Seeds = []string{a.addr} })
	within(t, 10*time.Second, "ready", ready(a, b))
}

// TestInboundBytesAreBounded: streams that send without end are cut once they
// hold too much together, and give it back.
func TestInboundBytesAreBounded(t *testing.T) {
	var held atomic.Int64
	endless := func() *countedConn {
		ours, theirs := net.Pipe()
		go func() {
			chunk := make([]byte, 64<<10)
			for {
				if _, err := theirs.Write(chunk); err != nil {
					return
				}
			}
		}()
		t.Cleanup(func() { ours.Close() })
		return &countedConn{Conn: ours, held: &held, release: func() {}, took: func(int) {}}
	}
	buffer := make([]byte, 64<<10)
	first, second := endless(), endless()
	for first.read < 100<<20 {
		if _, err := first.Read(buffer); err != nil {
			t.Fatalf("after %d bytes: %v", first.read, err)
		}
	}
	var err error
	for err == nil {
		_, err = second.Read(buffer)
	}
	if !errors.Is(err, errInboundBudget) || second.read > 30<<20 {
		t.Errorf("the second stream ended after %d bytes: %v", second.read, err)
	}
	first.Close()
	second.Close()
	if n := held.Load(); n != 0 {
		t.Errorf("%d bytes are still held", n)
	}
}
