package mapgossip

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/gossip/simnet"
	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/fake"
)

// hostClock is the wall clock and the boot clock of one host. Its readings have
// no monotonic part, so that a step shows wherever two of them are subtracted.
type hostClock struct {
	mu     sync.Mutex
	ahead  time.Duration // of the true time
	asleep time.Time     // since when it stands still; zero: it does not
}

func (c *hostClock) trueTime() time.Time {
	if !c.asleep.IsZero() {
		return c.asleep
	}
	return time.Now()
}

// Wall is the wall clock.
func (c *hostClock) Wall() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Unix(0, c.trueTime().Add(c.ahead).UnixNano())
}

// Boot is the boot clock: nobody sets it.
func (c *hostClock) Boot() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trueTime().UnixNano() - 946684800e9 + 1e9 // the bubble's first moment is 2000-01-01
}

// step sets the wall clock.
func (c *hostClock) step(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += by
}

// mend makes the wall clock show the true time.
func (c *hostClock) mend() { c.step(-c.off()) }

func (c *hostClock) off() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ahead
}

// sleep stops both clocks, as a host sees its own sleep, and wake has them jump to
// where they would be.
func (c *hostClock) sleep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asleep = time.Now()
}

func (c *hostClock) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asleep = time.Time{}
}

// clockRig is a rig whose hosts have clocks of their own.
type clockRig struct {
	*rig
	clocks   []*hostClock
	logs     []*clockLog
	versions []map[string]crdt.Version // by node, by key: the latest seen
}

// newClockRig starts one node for each offset, whose clock is ahead by it. Must
// run inside a synctest bubble.
func newClockRig(t *testing.T, seed uint64, link simnet.Link, ahead ...time.Duration) *clockRig {
	r := &clockRig{rig: newRig(t, seed, link)}
	for _, d := range ahead {
		r.join(d)
	}
	return r
}

func (r *clockRig) join(ahead time.Duration) *rigNode {
	c, kernel, _ := r.prepare(len(r.nodes), mapwatch.Shape{})
	kernel.Close()
	clock, log := &hostClock{ahead: ahead}, &clockLog{}
	kernel = fake.NewKernel(clock.Boot)
	m := kernel.AddMap(mapwatch.Shape{Target: rigPin})
	c.Kernel, c.Now, c.Logger = kernel, clock.Wall, slog.New(log)
	r.clocks, r.logs = append(r.clocks, clock), append(r.logs, log)
	r.versions = append(r.versions, map[string]crdt.Version{})
	return r.start(c, kernel, m)
}

// live lets time pass and checks on the way that no version goes back.
func (r *clockRig) live(t *testing.T, d time.Duration) {
	t.Helper()
	for step := min(d, 250*time.Millisecond); d > 0; d -= step {
		pass(min(d, step))
		r.check(t)
	}
}

// check fails if the version of some key is older than it was.
func (r *clockRig) check(t *testing.T) {
	t.Helper()
	for i, n := range r.nodes {
		seen := r.versions[i]
		err := replica{n.Node}.Read(t.Context(), "flows", func(s *crdt.Store) {
			for e := range s.All() {
				last := seen[string(e.Key)]
				if e.Version.Compare(last) < 0 {
					t.Errorf("%s: the version of key %x went back from %v to %v", n.config.Node, e.Key, last, e.Version)
				}
				seen[string(e.Key)] = e.Version
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// want fails unless all nodes have the value at the key.
func (r *clockRig) want(t *testing.T, key, value int) {
	t.Helper()
	for _, n := range r.nodes {
		if got := n.at(key); got != value {
			t.Errorf("%s has %d at key %d, want %d", n.config.Node, got, key, value)
		}
	}
}

// ahead is how far ahead of the true time the entry of a key is stamped.
func ahead(t *testing.T, n *rigNode, key int) time.Duration {
	t.Helper()
	return time.Duration(entryOf(t, n, key).Version.Time.Wall - time.Now().UnixNano())
}

// complaint is what a node says of its own clock in Healthy; empty: nothing.
func complaint(t *testing.T, n *rigNode) string {
	t.Helper()
	healthy, reasons := n.Healthy(t.Context())
	if healthy != (len(reasons) == 0) {
		t.Errorf("healthy is %v for %q", healthy, reasons)
	}
	for _, reason := range reasons {
		if strings.HasPrefix(reason, "this host's clock") {
			return reason
		}
	}
	return ""
}

// offset is what a node's status says of its own clock.
func offset(t *testing.T, n *rigNode) time.Duration {
	t.Helper()
	s, err := n.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(s.ClockOffsetMS * float64(time.Millisecond)).Round(10 * time.Millisecond)
}

// clockLog keeps what is logged of clocks, as LEVEL and message.
type clockLog struct {
	mu    sync.Mutex
	lines []string
}

func (l *clockLog) Enabled(context.Context, slog.Level) bool { return true }
func (l *clockLog) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *clockLog) WithGroup(string) slog.Handler            { return l }

func (l *clockLog) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "clock ") {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.lines = append(l.lines, fmt.Sprintf("%v %s", r.Level, r.Message))
	}
	return nil
}

func (l *clockLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "; ")
}

const (
	toldBad  = "ERROR clock disagrees with most other members"
	toldWell = "INFO clock agrees with the other members again"
)
