package mapgossip

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/gossip/simnet"
	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/fake"
)

// chaosHost is one host of a story: a kernel and a clock that stay, and an agent
// that comes and goes.
type chaosHost struct {
	index  int
	kernel *fake.Kernel
	m      *fake.Map // at the pin path
	clock  chaosClock
	disk   chaosDisk
	addr   string // of the agent, or of the next one
	moves  int    // addresses left behind

	agent  *chaosAgent // nil: none runs
	wanted bool        // an agent is to run
	out    time.Time   // when an agent left, or was removed
	quiet  func()      // waits until nobody runs any more
	losing int         // records of writes that will be lost, at most

	held map[string]crdt.Entry   // what the agent's store held when last seen; what the disk has, between agents
	seen crdt.Digest             // of that store, when last seen
	let  map[string]crdt.Version // the newest tombstone of a key that the store let go of
}

// chaosAgent is one run of a Node.
type chaosAgent struct {
	node    *Node
	gate    *gate
	net     *simnet.Network
	stop    context.CancelFunc
	ended   chan error
	leaving bool                      // asked to; what is written from here on is as if no agent ran
	handing bool                      // and all is well, so that it must hand over what it knew
	left    int64                     // by the wall clock
	name    string                    // of this run, as members know it
	met     map[*chaosAgent]time.Time // other runs, since when this one has known them
}

// chaosClock is a host's wall clock, which may be wrong.
type chaosClock struct {
	mu    sync.Mutex
	skew  time.Duration // at since
	ppm   int
	since time.Time
	most  time.Duration // the largest skew since the beginning
	least time.Duration
}

func (c *chaosClock) skewLocked(now time.Time) time.Duration {
	return c.skew + now.Sub(c.since)*time.Duration(c.ppm)/1e6
}

// now is what the host takes for the time.
func (c *chaosClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	skew := c.skewLocked(now)
	c.most, c.least = max(c.most, skew), min(c.least, skew)
	return now.Add(skew)
}

// set steps the clock by so much and makes it run so much too fast.
func (c *chaosClock) set(step time.Duration, ppm int) {
	c.mu.Lock()
	now := time.Now()
	c.skew, c.ppm, c.since = c.skewLocked(now)+step, ppm, now
	c.mu.Unlock()
	c.now()
}

// right puts the clock right.
func (c *chaosClock) right() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.skew, c.ppm, c.since = 0, 0, time.Now()
}

// spread is how wrong the clock was at worst: behind and ahead.
func (c *chaosClock) spread() (behind, ahead time.Duration) {
	c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	return -c.least, c.most
}

// gate stands between a Node and its host's kernel: a Node that was killed
// writes nothing any more, though its goroutines end a little later.
type gate struct {
	*fake.Kernel
	killed atomic.Bool
	slow   atomic.Int64 // how long an Apply takes
}

type gatedMap struct {
	mapwatch.Map
	gate *gate
}

func (g *gate) Open(target string) (mapwatch.Map, error) {
	m, err := g.Kernel.Open(target)
	if err != nil {
		return nil, err
	}
	return &gatedMap{m, g}, nil
}

func (g *gate) Watch(maps []mapwatch.Map, options mapwatch.Options) (mapwatch.Watch, error) {
	inner := make([]mapwatch.Map, len(maps))
	for i, m := range maps {
		inner[i] = m.(*gatedMap).Map
	}
	return g.Kernel.Watch(inner, options)
}

func (m *gatedMap) Apply(ops []mapwatch.Op) {
	if d := time.Duration(m.gate.slow.Load()); d > 0 {
		time.Sleep(d)
	}
	if m.gate.killed.Load() {
		for i := range ops {
			ops[i].Err = fmt.Errorf("the agent was killed: %w", mapwatch.ErrGone)
		}
		return
	}
	m.Map.Apply(ops)
}

func newChaosHost(index int, s *chaosStory) *chaosHost {
	h := &chaosHost{index: index, kernel: fake.NewKernel(nil), held: make(map[string]crdt.Entry), let: make(map[string]crdt.Version)}
	h.clock.since = time.Now()
	h.kernel.LimitCapture(s.capture[index], "story")
	h.newMap(s)
	h.newAddr()
	return h
}

func (h *chaosHost) newMap(s *chaosStory) {
	h.m = h.kernel.AddMap(mapwatch.Shape{Target: rigPin, MaxEntries: s.room})
	h.losing = 0
}

func (h *chaosHost) newAddr() {
	h.addr = fmt.Sprintf("10.0.%d.%d:7946", h.moves, h.index+1)
	h.moves++
}

func chaosID(index int) string { return fmt.Sprintf("n%d", index) }

// start runs an agent.
func (h *chaosHost) start(s *chaosStory, net *simnet.Network, log *slog.Logger) error {
	transport, err := net.Listen(h.addr)
	if err != nil {
		return err
	}
	a := &chaosAgent{met: make(map[*chaosAgent]time.Time), gate: &gate{Kernel: h.kernel}, net: net, ended: make(chan error, 1)}
	c := DefaultConfig()
	c.Node = chaosID(h.index)
	c.Bind = netip.MustParseAddrPort(h.addr)
	c.Maps = []MapConfig{{Name: "flows", Target: rigPin}}
	c.Kernel, c.Transport, c.Now = a.gate, transport, h.clock.now
	c.SyncInterval, c.ScanInterval = s.sync, s.scan
	c.TombstoneMinAge, c.ForgetAfter = s.minAge, s.forget
	c.Logger = log.With("on", c.Node)
	for i := range s.members {
		if i != h.index {
			c.Join = append(c.Join, fmt.Sprintf("10.0.0.%d:7946", i+1))
		}
	}
	if chaosFeatures.disks && s.disks {
		h.disk.use(&c, a)
	}
	if a.node, err = New(c); err != nil {
		return err
	}
	a.name = a.node.Members()[0].Name
	ctx, stop := context.WithCancel(context.Background())
	a.stop = stop
	go func() { a.ended <- a.node.Run(ctx) }()
	h.agent, h.seen = a, crdt.Digest{}
	return nil
}

// kill ends the agent as kill -9 does; the kernel and its programs go on. What
// is left of the agent ends by itself.
func (h *chaosHost) kill() *chaosAgent {
	a := h.agent
	h.agent = nil
	a.gate.killed.Store(true)
	h.disk.kill()
	a.net.Kill(h.addr)
	if !a.leaving { // else it holds a mutex while it waits, and whoever waits for that stops virtual time
		go func() { _ = a.node.cluster.Close() }() // unlike stop, without a goodbye
	}
	return a
}

// entries are what the agent's store holds, once all that can happen at this
// moment has: nobody else runs then. nil while the agent starts.
func (h *chaosHost) store() *crdt.Store {
	h.quiet()
	if h.agent == nil || !h.agent.node.maps[0].imported {
		return nil
	}
	return h.agent.node.maps[0].store
}

// captures reports whether the hooks of an agent tell of each write to the map.
func (h *chaosHost) captures() bool {
	return h.agent != nil && !h.agent.leaving && h.agent.node.watch.Mode() == mapwatch.ModeFexit &&
		h.agent.node.maps[0].kernel.Shape().ID == h.m.Shape().ID
}
