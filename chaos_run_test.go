// Every step that a story can have is here, one switch with what it does, so that a
// transcript can be read beside it.

package mapgossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/gossip"
	"github.com/mapgossip/mapgossip/gossip/simnet"
	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/fake"
)

const (
	chaosGlance = time.Second          // stores are looked at so often
	chaosSlack  = 5 * time.Millisecond // between a write and what its hook's time becomes
	chaosHeal   = 100 * time.Second    // for all to be equal once all is well
	chaosRevive = time.Second          // after which an agent that gave up is started again
)

// chaosRun is a story while it is told.
type chaosRun struct {
	chaosStory
	net     *simnet.Network
	hosts   []*chaosHost
	history *chaosHistory
	log     *slog.Logger
	begin   time.Time
	link    simnet.Link // at this moment
	whole   bool        // the network is, at this moment
	stalled int
	broken  time.Time         // since when the network is not whole, or a member stalled; zero: all is well
	trouble time.Duration     // how long it was not, in all
	aways   []time.Time       // when members were cut off or killed
	guest   *simnet.Transport // a stranger
	graves  []*chaosAgent     // killed, ending by themselves
	healing bool
	told    func(format string, args ...any)
	took    time.Duration // from the healing until all were equal
}

// tellChaos tells a story, in a bubble of its own, and returns the first rule
// that it broke. The error begins with the rule's name.
func tellChaos(s chaosStory, log *slog.Logger, told func(string, ...any)) (took time.Duration, err error) {
	c := &chaosRun{chaosStory: s, net: simnet.New(s.seed, s.link), history: newChaosHistory(), log: log, link: s.link, whole: true, told: told}
	for i := range s.members {
		h := newChaosHost(i, &c.chaosStory)
		h.quiet = c.quiet
		c.hosts = append(c.hosts, h)
	}
	defer c.end()
	err = c.run()
	return c.took, err
}

func (c *chaosRun) end() {
	for _, h := range c.hosts {
		if h.agent != nil {
			c.graves = append(c.graves, h.kill())
		}
	}
	for _, a := range c.graves {
		a.gate.slow.Store(0)
		<-a.ended
		a.stop()
	}
	for _, h := range c.hosts {
		h.kernel.Close()
	}
	if c.guest != nil {
		c.guest.Shutdown()
	}
	pass(time.Minute) // memberlist's probes outlive its Shutdown
}

// chaosEvent is a step, or a part of one.
type chaosEvent struct {
	at   time.Duration
	step chaosStep
	do   func() error
}

func (c *chaosRun) run() error {
	for _, h := range c.hosts {
		if !slices.Contains(c.absent, h.index) {
			if err := c.start(h); err != nil {
				return err
			}
		}
	}
	c.begin = time.Now()
	if err := c.pass(3 * time.Second); err != nil {
		return err
	}
	c.begin = time.Now()
	var events []chaosEvent
	for _, s := range c.steps {
		if s.verb == "burst" {
			events = append(events, c.burst(s)...)
		} else {
			events = append(events, chaosEvent{s.at, s, func() error { return c.do(s) }})
		}
	}
	slices.SortStableFunc(events, func(a, b chaosEvent) int { return int(a.at - b.at) })
	for _, e := range events {
		if err := c.pass(e.at - time.Since(c.begin)); err != nil {
			return err
		}
		if e.step.verb != "" {
			c.told("%v %s", time.Since(c.begin), e.step)
		}
		if err := e.do(); err != nil {
			return fmt.Errorf("%w (in %s)", err, e.step)
		}
		if e.step.verb != "" {
			if err := c.glance(); err != nil {
				return err
			}
		}
	}
	return c.finish()
}

// pass lets time pass, and looks at the stores meanwhile.
func (c *chaosRun) pass(d time.Duration) error {
	for end := time.Now().Add(d); ; {
		left := min(time.Until(end), chaosGlance)
		if left <= 0 {
			return nil
		}
		c.release()
		pass(left)
		if err := c.glance(); err != nil {
			return err
		}
	}
}

// quiet waits until nobody runs any more: then the owners' stores may be read.
func (c *chaosRun) quiet() {
	c.release()
	synctest.Wait()
}

// release tells the race detector that what was read of the owners' memory was
// read before they go on: each owner asks its kernel for the time first.
func (c *chaosRun) release() {
	for _, h := range c.hosts {
		h.kernel.Now()
	}
}

// glance buries agents that ended and looks at all stores.
func (c *chaosRun) glance() error {
	c.quiet()
	for _, h := range c.hosts {
		if err := c.reap(h); err != nil {
			return err
		}
		c.meet(h)
		if err := c.observe(h); err != nil {
			return fmt.Errorf("%w (seen on %s %v after the beginning)", err, chaosID(h.index), time.Since(c.begin))
		}
	}
	return nil
}

// meet takes note of which agents a host's agent takes for alive.
func (c *chaosRun) meet(h *chaosHost) {
	if h.store() == nil {
		return
	}
	alive := make(map[string]bool)
	for _, m := range h.agent.node.cluster.Members() {
		alive[m.Name] = m.State == gossip.StateAlive
	}
	for _, other := range c.hosts {
		if a := other.agent; a != nil && alive[a.name] && h.agent.met[a].IsZero() {
			h.agent.met[a] = time.Now()
		}
	}
}

// horizon is the latest time that any host's clock had.
func (c *chaosRun) horizon() int64 {
	worst := time.Duration(0)
	for _, h := range c.hosts {
		_, ahead := h.clock.spread()
		worst = max(worst, ahead)
	}
	return time.Now().Add(worst + chaosSlack).UnixNano()
}

func (c *chaosRun) start(h *chaosHost) error {
	h.wanted = true
	if h.agent != nil {
		return nil
	}
	if err := h.start(&c.chaosStory, c.net, c.log); err != nil {
		return fmt.Errorf("start: %s: %w", chaosID(h.index), err)
	}
	return nil
}

// reap takes note of an agent that ended.
func (c *chaosRun) reap(h *chaosHost) error {
	if h.agent == nil {
		if h.wanted {
			return c.start(h)
		}
		return nil
	}
	select {
	case err := <-h.agent.ended:
		a := h.agent
		if err != nil && !errors.Is(err, gossip.ErrDuplicateNode) {
			return fmt.Errorf("ended: %s: %w", chaosID(h.index), err)
		}
		if err := c.observe(h); err != nil {
			return err
		}
		h.agent = nil
		a.ended <- nil
		c.graves = append(c.graves, a)
		return c.bury(h, a)
	default:
		return nil
	}
}

// bury says that a host's agent has ended, and what only it knew is lost,
// unless it is on a disk.
func (c *chaosRun) bury(h *chaosHost, a *chaosAgent) error {
	c.history.unwatched(h.index)
	if c.disks && h.disk.keeps() {
		return nil
	}
	held := h.held
	h.held, h.let = make(map[string]crdt.Entry), make(map[string]crdt.Version)
	c.history.sunk(c.floor())
	for key, e := range held {
		rest := c.newest(key)
		if rest != nil && rest.Compare(e) >= 0 {
			continue
		}
		if was := c.history.key(key).collected; was != nil && e.Version.Compare(*was) <= 0 {
			continue // the others let go of it before
		}
		if a.handing && e.Version.Time.Wall < a.left {
			return fmt.Errorf("not handed over: key %x, version %v of %s, by %s", key, e.Version.Time, e.Version.Member, chaosID(h.index))
		}
		c.history.lost(key, rest)
	}
	return nil
}

// floor is the highest that any agent knows.
func (c *chaosRun) floor() (floor int64) {
	for _, h := range c.hosts {
		if store := h.store(); store != nil {
			floor = max(floor, store.Progress().Floor())
		}
	}
	return floor
}

// calm reports whether an agent that leaves now must get rid of what it knows.
func (c *chaosRun) calm(leaving *chaosHost) bool {
	if !c.whole || c.stalled > 0 || c.link.Loss > 0.05 || c.link.Hold > 0 {
		return false
	}
	others := 0
	for _, h := range c.hosts {
		if behind, ahead := h.clock.spread(); behind+ahead > time.Second {
			return false
		}
		switch {
		case h == leaving || h.agent == nil:
		case h.agent.leaving || h.agent.gate.slow.Load() > 0 || h.store() == nil:
			return false
		default:
			others++
			for _, m := range h.agent.node.Members() {
				if m.Node == chaosID(leaving.index) && m.State != gossip.StateAlive {
					return false
				}
			}
		}
	}
	return others > 0 && leaving.store() != nil && leaving.agent.gate.slow.Load() == 0 && len(leaving.agent.node.Members()) == others+1
}

// do takes one step.
func (c *chaosRun) do(s chaosStep) error {
	arg := func(i int) int { return s.args[i] }
	var h *chaosHost
	if names := chaosVerbs[s.verb]; len(names) > 0 && names[0] == "member" {
		h = c.hosts[arg(0)]
	}
	ms := func(i int) time.Duration { return time.Duration(arg(i)) * time.Millisecond }
	switch s.verb {
	case "write", "delete", "poke":
		return c.program(h, s.verb, arg(1))
	case "fill":
		for i := range arg(1) {
			if err := c.program(h, "write", c.filler(h, i)); err != nil {
				return err
			}
		}
		return nil
	}
	defer c.watchNetwork()
	for _, h := range c.hosts { // the calm is over
		if h.agent != nil {
			h.agent.handing = false
		}
	}
	switch s.verb {
	case "link":
		share := func(i int) float64 { return float64(arg(i)) / 100 }
		c.link = simnet.Link{Loss: share(0), Duplicate: share(1), Reorder: share(2), Hold: ms(3), Delay: ms(4), Jitter: ms(5)}
		c.net.SetLink(c.link)
	case "cut":
		c.net.Cut(c.hosts[arg(0)].addr, c.hosts[arg(1)].addr)
		c.whole = false
	case "part":
		var sides [2][]string
		for i, h := range c.hosts {
			sides[arg(0)>>i&1] = append(sides[arg(0)>>i&1], h.addr)
		}
		c.net.Partition(sides[:]...)
		c.whole = false
	case "heal":
		c.net.Heal()
		c.whole = true
	case "stall":
		c.net.Stall(h.addr)
		c.stalled++
	case "resume":
		c.net.Resume(h.addr)
		c.stalled = max(0, c.stalled-1)
	case "remove":
		if by := c.hosts[arg(1)]; by.agent != nil {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			h.out = time.Now()
			_ = by.agent.node.Remove(ctx, chaosID(h.index)) // which may be alive to it
		}
	case "poison":
		c.poison(h, arg(1), arg(2))
	case "alien":
		c.alien(h, c.hosts[arg(1)], arg(2), arg(3))
	case "kill":
		h.wanted = false
		if h.agent == nil {
			return nil
		}
		if err := c.observe(h); err != nil {
			return err
		}
		a := h.kill()
		a.handing, c.aways = false, append(c.aways, time.Now())
		c.graves = append(c.graves, a)
		return c.bury(h, a)
	case "leave":
		h.wanted = false
		if h.agent != nil && !h.agent.leaving {
			h.agent.handing = c.calm(h)
			h.out = time.Now()
			h.agent.leaving, h.agent.left = true, h.clock.now().UnixNano()
			h.agent.stop()
		}
	case "start":
		return c.start(h)
	case "move":
		if h.agent == nil {
			h.newAddr()
		}
		return c.start(h)
	case "clock":
		h.clock.set(ms(1), 0)
		if ms(1) < 0 {
			c.history.stepped(h.index, -ms(1))
		}
	case "drift":
		h.clock.set(0, arg(1))
	case "badDisk":
		h.disk.set(arg(1))
	case "lose":
		h.losing = max(h.losing, arg(1))
		h.m.Lose(arg(1), fake.Loss(arg(2)))
	case "reverse":
		h.m.Reverse(arg(1))
	case "misread":
		h.m.Misread(arg(1))
	case "refuse":
		h.m.FailApply(arg(1), []error{mapwatch.ErrBusy, mapwatch.ErrFull}[arg(2)])
	case "slow":
		if h.agent != nil {
			h.agent.gate.slow.Store(int64(ms(1)))
		}
	case "replace":
		c.history.unwatched(h.index)
		h.newMap(&c.chaosStory)
	default:
		return fmt.Errorf("no such step: %s", s.verb)
	}
	return nil
}

// watchNetwork measures how long the network is not whole.
func (c *chaosRun) watchNetwork() {
	switch well := c.whole && c.stalled == 0 && c.link.Loss < 0.5; {
	case !well && c.broken.IsZero():
		c.broken, c.aways = time.Now(), append(c.aways, time.Now())
	case well && !c.broken.IsZero():
		c.trouble += time.Since(c.broken)
		c.broken = time.Time{}
	}
}

// filler is a key that only one host's program uses.
func (c *chaosRun) filler(h *chaosHost, i int) int { return 1000*(h.index+1) + i }

// program does what a program of a host does to one key, as far as the map lets
// it, and writes it into the history.
func (c *chaosRun) program(h *chaosHost, verb string, key int) error {
	store := h.store()
	k := number(key)
	held, there := h.m.Get(k)
	w := chaosWrite{host: h.index, key: string(k), deleted: verb == "delete", at: time.Now(), least: 0}
	w.hooked = verb != "poke" && h.captures() && h.losing == 0
	w.counts = w.hooked
	if w.counts {
		w.least = c.earliest(h).Add(-chaosSlack).UnixNano()
	}
	if e, known := c.lookup(store, k); known && w.hooked {
		if there != e.Deleted && (e.Deleted || bytes.Equal(e.Value, held)) {
			w.before = &e.Version
		}
		if w.deleted && e.Deleted { // it deletes what is about to be deleted: the same, by another name
			w.counts, w.hooked = false, false
		}
	}
	cpu := uint32(len(c.history.writes) % 3)
	var err error
	switch value := c.history.next(); {
	case verb == "write":
		err = h.m.Write(k, value, cpu)
	case !there:
		return nil
	case verb == "poke":
		err = h.m.Poke(k, value)
	default:
		err = h.m.Remove(k, cpu)
	}
	if errors.Is(err, mapwatch.ErrFull) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("program: %s %d: %w", verb, key, err)
	}
	if verb != "poke" && h.losing > 0 && h.captures() {
		h.losing--
	}
	c.history.add(w)
	return nil
}

// earliest is the least time that a host may stamp a write of this moment with:
// that of its own clock; where any was wrong, and members correct each other by
// what they last heard through the network, that of the slowest there was.
func (c *chaosRun) earliest(h *chaosHost) time.Time {
	least, wrong := h.clock.now(), time.Duration(0)
	for _, other := range c.hosts {
		behind, ahead := other.clock.spread()
		wrong = max(wrong, behind, ahead)
	}
	if chaosFeatures.timekeeper && wrong > time.Second {
		return least.Add(-2*wrong - DefaultMaxClockSkew)
	}
	return least
}

func (c *chaosRun) lookup(store *crdt.Store, key []byte) (crdt.Entry, bool) {
	if store == nil {
		return crdt.Entry{}, false
	}
	return store.Get(key)
}

// burst is many operations of a program.
func (c *chaosRun) burst(s chaosStep) (events []chaosEvent) {
	h, ops, every, first, keys := c.hosts[s.args[0]], s.args[1], time.Duration(s.args[2])*time.Millisecond, s.args[3], s.args[4]
	dice := rand.New(rand.NewPCG(uint64(s.args[5]), 5))
	for i := range ops {
		verb := []string{"write", "write", "write", "write", "write", "delete", "delete", "poke"}[dice.IntN(8)]
		key := first + dice.IntN(keys)
		e := chaosEvent{at: s.at + time.Duration(i)*every, do: func() error { return c.program(h, verb, key) }}
		if i == 0 {
			e.step = s
		}
		events = append(events, e)
	}
	return events
}
