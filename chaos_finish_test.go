package mapgossip

import (
	"fmt"
	"time"

	"github.com/mapgossip/mapgossip/gossip"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// finish mends all that is broken, wants the cluster equal within a bounded
// time, and judges the history.
func (c *chaosRun) finish() error {
	if err := c.mend(); err != nil {
		return err
	}
	if err := c.converge(chaosHeal + 2*c.scan + c.ahead()); err != nil {
		return err
	}
	// All news still travel, and fast.
	for _, h := range c.hosts {
		if err := c.program(h, "write", h.index%c.keys); err != nil {
			return err
		}
	}
	took := c.took
	if err := c.converge(20*time.Second + 2*c.scan); err != nil {
		return fmt.Errorf("%w (after the last writes)", err)
	}
	c.took = took
	// And nothing is found that nobody wrote.
	digest := c.hosts[0].store().Digest()
	if err := c.pass(c.scan + c.sync + time.Second); err != nil {
		return err
	}
	if after := c.hosts[0].store().Digest(); after != digest && !chaosFeatures.collection {
		return fmt.Errorf("restless: the maps changed although nobody wrote")
	}
	if err := c.converge(20 * time.Second); err != nil { // deletes are not forgotten everywhere at one moment
		return fmt.Errorf("%w (fell apart)", err)
	}
	c.took = took
	store := c.hosts[0].store()
	for key, k := range c.history.keys {
		e, known := store.Get([]byte(key))
		var err error
		if known {
			err = c.history.judge(key, k, &e)
		} else {
			err = c.history.judge(key, k, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// mend ends every fault and starts every agent that does not run.
func (c *chaosRun) mend() error {
	c.healing = true
	c.net.Heal()
	c.link = c.chaosStory.link
	c.net.SetLink(c.link)
	c.whole, c.stalled = true, 0
	for _, h := range c.hosts {
		if _, ahead := h.clock.spread(); ahead > 0 {
			c.history.stepped(h.index, ahead)
		}
		h.clock.right()
		h.disk.set(0)
		h.m.FailApply(0, nil)
		h.m.Misread(0)
		h.m.Lose(0, 0)
		h.losing = 0
		h.wanted = true
		if h.agent != nil {
			c.net.Resume(h.addr)
			h.agent.gate.slow.Store(0)
			if !h.agent.leaving && h.agent.node.maps[0].kernel.Shape().ID != h.m.Shape().ID {
				h.agent.leaving = true // to bind the new map
				h.agent.stop()
			}
		}
		for i := range c.room { // gives room
			if err := c.program(h, "delete", c.filler(h, i)); err != nil {
				return err
			}
		}
	}
	c.watchNetwork()
	return c.glance()
}

// ahead is how long it takes until time has caught up with every entry.
func (c *chaosRun) ahead() (most time.Duration) {
	for _, h := range c.hosts {
		_, ahead := h.clock.spread()
		most = max(most, ahead)
	}
	return most
}

// converge lets time pass until all members are equal.
func (c *chaosRun) converge(within time.Duration) error {
	for begin := time.Now(); ; {
		difference := c.differ()
		c.took = time.Since(begin)
		if difference == "" {
			return nil
		}
		if c.took > within {
			return fmt.Errorf("differ: %s, %v after all was well", difference, c.took)
		}
		step := 100 * time.Millisecond
		if c.took > 2*time.Second {
			step = time.Second
		}
		if err := c.pass(step); err != nil {
			return err
		}
	}
}

// differ says how the hosts differ, or "" when all are up, know each other, and
// are equal in kernel and store, with nothing in doubt and nothing waiting.
func (c *chaosRun) differ() string {
	for _, h := range c.hosts {
		if h.agent == nil || h.agent.leaving || h.store() == nil {
			return chaosID(h.index) + " is not up"
		}
	}
	first := c.hosts[0].store()
	for _, h := range c.hosts {
		id, store, b := chaosID(h.index), h.store(), h.agent.node.maps[0]
		alive := 0
		for _, m := range h.agent.node.Members() {
			if m.State == gossip.StateAlive {
				alive++
			}
		}
		if alive != c.members {
			return fmt.Sprintf("%s sees %d members alive of %d", id, alive, c.members)
		}
		if store.Digest() != first.Digest() {
			return fmt.Sprintf("%s has digest %s, %s has %s", id, store.Digest(), chaosID(0), first.Digest())
		}
		if waiting, reason := b.pendingApply(); waiting > 0 || len(b.unsettled) > 0 {
			return fmt.Sprintf("%s has %d unsettled keys and %d entries to apply: %v", id, len(b.unsettled), waiting, reason)
		}
		if stats := h.agent.node.cluster.Stats(); stats.RumorsWaiting > 0 {
			return fmt.Sprintf("%s has %d rumors waiting", id, stats.RumorsWaiting)
		}
		content := h.m.Content()
		if live, _ := store.Len(); live != len(content) {
			return fmt.Sprintf("%s has %d elements in its map and %d entries", id, len(content), live)
		}
		for key, value := range content {
			if e, known := store.Get([]byte(key)); !known || e.Deleted || string(e.Value) != value {
				return fmt.Sprintf("%s has %x at %x in its map, its store says otherwise", id, value, key)
			}
		}
		if b.gone != nil {
			return fmt.Sprintf("%s: %v", id, b.gone)
		}
	}
	return ""
}

var _ mapwatch.Map = (*gatedMap)(nil)
