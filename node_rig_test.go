package mapgossip

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/gossip/simnet"
	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/fake"
)

const rigPin = "/sys/fs/bpf/flows"

// rig is a cluster of real Nodes and memberlists on a simulated network, each
// with a fake kernel, in virtual time.
type rig struct {
	t     *testing.T
	net   *simnet.Network
	nodes []*rigNode
}

type rigNode struct {
	*Node
	kernel *fake.Kernel
	m      *fake.Map
	addr   string
	stop   context.CancelFunc
	ended  chan error
}

// newRig must run inside a synctest bubble.
func newRig(t *testing.T, seed uint64, link simnet.Link) *rig {
	r := &rig{t: t, net: simnet.New(seed, link)}
	t.Cleanup(func() {
		for _, n := range r.nodes {
			n.stop()
		}
		for _, n := range r.nodes {
			if err := <-n.ended; err != nil {
				t.Errorf("%s: %v", n.config.Node, err)
			}
			n.kernel.Close()
		}
		pass(time.Minute) // memberlist's probes outlive its Shutdown
	})
	return r
}

// prepare returns the configuration of the i-th node and its fake kernel.
func (r *rig) prepare(i int, shape mapwatch.Shape) (Config, *fake.Kernel, *fake.Map) {
	kernel := fake.NewKernel(nil)
	shape.Target = rigPin
	m := kernel.AddMap(shape)
	addr := fmt.Sprintf("10.0.%d.%d:7946", i/250, i%250+1)
	transport, err := r.net.Listen(addr)
	if err != nil {
		r.t.Fatal(err)
	}
	c := DefaultConfig()
	c.Node = fmt.Sprintf("n%d", i)
	c.Bind = netip.MustParseAddrPort(addr)
	c.Maps = []MapConfig{{Name: "flows", Target: rigPin}}
	c.Kernel, c.Transport = kernel, transport
	c.SyncInterval = time.Second
	c.Logger = slog.New(slog.DiscardHandler)
	if i > 0 {
		c.Join = []string{"10.0.0.1:7946"}
	}
	return c, kernel, m
}

// start runs a node with the given configuration.
func (r *rig) start(c Config, kernel *fake.Kernel, m *fake.Map) *rigNode {
	node, err := New(c)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	n := &rigNode{Node: node, kernel: kernel, m: m, addr: c.Bind.String(), stop: stop, ended: make(chan error, 1)}
	go func() { n.ended <- node.Run(ctx) }()
	r.nodes = append(r.nodes, n)
	return n
}

// add starts one more node as prepared.
func (r *rig) add() *rigNode {
	c, kernel, m := r.prepare(len(r.nodes), mapwatch.Shape{})
	return r.start(c, kernel, m)
}

// pass lets virtual time pass.
func pass(d time.Duration) {
	time.Sleep(d) // synctest's clock: nobody waits
	synctest.Wait()
}

// number makes an 8-byte key or value.
func number(n int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

func (n *rigNode) write(t *testing.T, key, value int) {
	t.Helper()
	if err := n.m.Write(number(key), number(value), 0); err != nil {
		t.Fatal(err)
	}
}

// state is the Node's only map.
func (n *rigNode) state(t *testing.T) MapStatus {
	t.Helper()
	maps, err := n.Maps(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return maps[0]
}

// differ says how the nodes differ, or "" when all are equal, in the kernel and
// in the store, and nothing is in doubt.
func (r *rig) differ(t *testing.T) string {
	first := r.nodes[0]
	want, digest := first.m.Content(), first.state(t).Digest
	for _, n := range r.nodes {
		s := n.state(t)
		if s.Digest != digest {
			return fmt.Sprintf("%s has digest %s, %s has %s", n.config.Node, s.Digest, first.config.Node, digest)
		}
		if s.Unsettled != 0 || s.PendingApply != 0 {
			return fmt.Sprintf("%s has %d unsettled keys and %d entries to apply: %s", n.config.Node, s.Unsettled, s.PendingApply, s.Error)
		}
		got := n.m.Content()
		if len(got) != len(want) || s.Entries != len(got) {
			return fmt.Sprintf("%s has %d elements and %d entries, %s has %d elements", n.config.Node, len(got), s.Entries, first.config.Node, len(want))
		}
		for k, v := range want {
			if got[k] != v {
				return fmt.Sprintf("%s has %x at %x, %s has %x", n.config.Node, got[k], k, first.config.Node, v)
			}
		}
	}
	return ""
}

// converge lets time pass until all nodes are equal, and returns how long it took.
func (r *rig) converge(t *testing.T, within time.Duration) time.Duration {
	t.Helper()
	for begin := time.Now(); ; pass(10 * time.Millisecond) {
		difference := r.differ(t)
		if difference == "" {
			return time.Since(begin)
		}
		if time.Since(begin) > within {
			t.Fatalf("after %v: %s", within, difference)
		}
	}
}
