package gossip

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/gossip/simnet"
)

// member is a running cluster member in a test.
type member struct {
	*Cluster
	*replica
	addr   string
	stop   context.CancelFunc
	ran    chan error
	logged *logBuffer
}

// logBuffer keeps the records of a member.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), part)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// world is members on a network in memory.
type world struct {
	t       *testing.T
	net     *simnet.Network
	members []*member
}

func newWorld(t *testing.T, link simnet.Link) *world {
	return &world{t: t, net: simnet.New(1, link)}
}

// start opens a member and runs it.
func (w *world) start(node, addr string, change func(*Config)) *member {
	w.t.Helper()
	m, err := w.open(node, addr, change)
	if err != nil {
		w.t.Fatal(err)
	}
	m.run()
	return m
}

func (w *world) open(node, addr string, change func(*Config)) (*member, error) {
	w.t.Helper()
	tr, err := w.net.Listen(addr)
	if err != nil {
		w.t.Fatal(err)
	}
	m := &member{addr: addr, ran: make(chan error, 1), logged: &logBuffer{}}
	cfg := DefaultConfig()
	cfg.Node, cfg.Version, cfg.Transport = node, "test", tr
	cfg.Bind = netip.MustParseAddrPort(addr)
	cfg.Maps = []Map{flows}
	cfg.Logger = slog.New(slog.NewTextHandler(m.logged, &slog.HandlerOptions{Level: slog.LevelInfo}))
	if change != nil {
		change(&cfg)
	}
	m.replica = newReplica(node, cfg.Maps)
	m.Cluster, err = Open(cfg, m.replica)
	if err != nil {
		_ = tr.Shutdown()
		return nil, err
	}
	m.replica.cluster = m.Cluster
	w.members = append(w.members, m)
	return m, nil
}

func (m *member) run() {
	var ctx context.Context
	ctx, m.stop = context.WithCancel(context.Background())
	go func() { m.ran <- m.Run(ctx) }()
}

// end closes all members; the bubble then shows what leaked.
func (w *world) end() {
	for _, m := range w.members {
		if m.stop != nil {
			m.stop()
		}
		if err := m.Close(); err != nil {
			w.t.Error(err)
		}
	}
	// memberlist does not wait for its last probes. After this, whatever is
	// still blocked fails the test: synctest looks.
	<-time.After(time.Minute)
}

func seeds(addrs ...string) func(*Config) {
	return func(c *Config) { c.Seeds = addrs }
}

// within waits in virtual time until the condition holds and says how long it took.
func within(t *testing.T, limit time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	for step := time.Millisecond; !ok(); step = min(2*step, 100*time.Millisecond) {
		if time.Since(begin) > limit {
			t.Fatalf("not within %v: %s", limit, what)
		}
		<-time.After(step)
	}
	return time.Since(begin)
}

func (w *world) sees(n int) func() bool {
	return func() bool {
		for _, m := range w.members {
			if alive(m) != n {
				return false
			}
		}
		return true
	}
}

func alive(m *member) (n int) {
	for _, o := range m.Members() {
		if o.State == StateAlive {
			n++
		}
	}
	return n
}

func stateOf(m *member, node string) string {
	for _, o := range m.Members() {
		if o.Node == node {
			return o.State
		}
	}
	return ""
}

func same(name string, members ...*member) func() bool {
	return func() bool {
		for _, m := range members[1:] {
			if m.replica.digest(name) != members[0].replica.digest(name) {
				return false
			}
		}
		return true
	}
}

func ready(members ...*member) func() bool {
	return func() bool {
		for _, m := range members {
			if ok, _ := m.Ready(); !ok {
				return false
			}
		}
		return true
	}
}

func key(n int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

func value(n int) []byte { return fmt.Appendf(nil, "%016d", n) }

// virtual runs a test in virtual time.
func virtual(t *testing.T, link simnet.Link, fn func(t *testing.T, w *world)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, link)
		defer w.end()
		fn(t, w)
	})
}
