package gossip

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/mapgossip/mapgossip/gossip/simnet"
)

// healBound is how soon after the network is whole again everybody knows
// everybody.
const healBound = 30 * time.Second

var healDice = flag.Int("heal", 16, "dice of TestPartitionsHeal")

// TestPartitionsHeal: clusters of 3 to 10 members, cut in two or three, both
// ways or one way, for a minute to an hour, are whole within the bound, always.
func TestPartitionsHeal(t *testing.T) {
	t.Parallel()
	var took []time.Duration
	for seed := range uint64(*healDice) {
		synctest.Test(t, func(t *testing.T) {
			s := newSplit(t, seed)
			defer s.end()
			took = append(took, s.tell(t))
		})
		if t.Failed() {
			t.Fatalf("dice %d", seed)
		}
	}
	slices.Sort(took)
	t.Logf("whole after %v (median), %v (90 of 100), %v (worst) of %d",
		took[len(took)/2], took[len(took)*9/10], took[len(took)-1], len(took))
}

// synTransport dials as TCP does: a lost SYN is sent again after 1, 3 and 7
// seconds, so that a dial which began during a cut does not end with it.
type synTransport struct {
	*simnet.Transport
	ctx    context.Context // ends with Shutdown
	cancel context.CancelFunc
}

func newSynTransport(t memberlist.Transport) *synTransport {
	s := &synTransport{Transport: t.(*simnet.Transport)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

func (s *synTransport) Shutdown() error {
	s.cancel()
	return s.Transport.Shutdown()
}

func (s *synTransport) DialAddressTimeout(addr memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return s.DialTimeout(addr.Addr, timeout)
}

func (s *synTransport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	begin := time.Now()
	for _, at := range []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second} {
		if at > timeout {
			break
		}
		pause(s.ctx, at-time.Since(begin))
		if conn, err := s.Transport.DialTimeout(addr, 20*time.Millisecond); err == nil {
			return conn, nil
		}
	}
	pause(s.ctx, timeout-time.Since(begin))
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: context.DeadlineExceeded}
}

// split is a cluster that is cut.
type split struct {
	*world
	dice   *rand.Rand
	addrs  []string
	length time.Duration
	what   string
}

func newSplit(t *testing.T, seed uint64) *split {
	dice := rand.New(rand.NewPCG(seed, 4))
	link := lan
	if dice.IntN(3) == 0 {
		link.Loss = 0.05
	}
	s := &split{world: &world{t: t, net: simnet.New(seed, link)}, dice: dice}
	for i := range 3 + dice.IntN(8) {
		s.addrs = append(s.addrs, fmt.Sprintf("10.0.0.%d:7946", i+1))
	}
	for i, addr := range s.addrs {
		// Each knows its predecessor only, or all the first, or everybody all.
		var known []string
		switch seed % 3 {
		case 0:
			known = s.addrs[max(0, i-1):max(1, i)]
		case 1:
			known = s.addrs[:1]
		default:
			known = s.addrs
		}
		s.start(fmt.Sprintf("n%d", i), addr, func(c *Config) {
			c.Seeds = known
			c.Transport = newSynTransport(c.Transport)
		})
	}
	return s
}

// tell cuts the network, waits, heals it, and returns how long it took until
// everybody knew everybody and had the same.
func (s *split) tell(t *testing.T) time.Duration {
	n := len(s.addrs)
	within(t, 60*time.Second, "formed", s.sees(n))
	within(t, 20*time.Second, "ready", ready(s.members...))
	s.length = time.Minute + time.Duration(s.dice.Int64N(int64(4*time.Minute)))
	switch s.dice.IntN(12) {
	case 0:
		s.length = time.Hour + time.Duration(s.dice.Int64N(int64(time.Minute)))
	case 1, 2:
		s.length = time.Duration(s.dice.Int64N(int64(time.Minute)))
	}
	mixed := slices.Clone(s.addrs)
	s.dice.Shuffle(n, func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
	first := 1 + s.dice.IntN(n-1)
	second := n
	if s.dice.IntN(3) == 0 && first < n-1 {
		second = first + 1 + s.dice.IntN(n-first-1)
	}
	groups := [][]string{mixed[:first], mixed[first:second], mixed[second:]}
	oneWay := s.dice.IntN(4) == 0
	if oneWay {
		for _, from := range groups[0] {
			for _, to := range groups[1] {
				s.net.Cut(from, to)
			}
		}
	} else {
		s.net.Partition(groups...)
	}
	s.what = fmt.Sprintf("%d members %v|%v|%v, one way %v, for %v", n, groups[0], groups[1], groups[2], oneWay, s.length)
	<-time.After(s.length)
	for i, m := range s.members {
		m.put("flows", key(i), value(i))
	}
	s.net.Heal()
	begin := time.Now()
	whole := within(t, 10*healBound, "whole: "+s.what, s.sees(n))
	within(t, time.Minute, "equal: "+s.what, same("flows", s.members...))
	if testing.Verbose() {
		t.Logf("%s: whole after %v, equal after %v", s.what, whole, time.Since(begin))
	}
	if whole > healBound {
		t.Errorf("%s: whole after %v, want at most %v", s.what, whole, healBound)
	}
	return whole
}
