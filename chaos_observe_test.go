package mapgossip

import (
	"bytes"
	"fmt"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
)

// observe takes what is new in a host's store.
func (c *chaosRun) observe(h *chaosHost) error {
	store := h.store()
	if store == nil {
		return nil
	}
	m := h.agent.node.maps[0].mirror
	if n := len(m.unsettled); n > c.keys*2+c.room*c.members {
		return fmt.Errorf("queues: %d unsettled keys", n)
	}
	digest := store.Digest()
	if digest == h.seen {
		return nil
	}
	h.seen = digest
	horizon := c.horizon()
	for e := range store.All() {
		old, known := h.held[string(e.Key)]
		if known && e.Compare(old) == 0 {
			continue
		}
		if known && e.Compare(old) < 0 && chaosFeatures.collection && old.Deleted {
			// The tombstone went, and what somebody kept came, since the last glance.
			if err := c.forgotten(h, string(e.Key), old); err != nil {
				return err
			}
		} else if known && e.Compare(old) < 0 {
			return fmt.Errorf("went back: key %x had version %v of %s and has %v of %s", e.Key, old.Version.Time, old.Version.Member, e.Version.Time, e.Version.Member)
		}
		if ahead := time.Duration(e.Version.Time.Wall - horizon); e.Version.Member != chaosID(h.index) && ahead > 0 {
			return fmt.Errorf("stamped ahead: key %x has version %v of %s, which no clock has reached", e.Key, e.Version.Time, e.Version.Member)
		}
		if behind, ahead := h.clock.spread(); e.Version.Member != chaosID(h.index) && behind+ahead == 0 &&
			e.Version.Time.Wall > time.Now().Add(DefaultMaxClockSkew).UnixNano() {
			return fmt.Errorf("dragged: key %x has version %v of %s, %v ahead", e.Key, e.Version.Time, e.Version.Member, time.Duration(e.Version.Time.Wall-time.Now().UnixNano()))
		}
		e.Key, e.Value = bytes.Clone(e.Key), bytes.Clone(e.Value)
		h.held[string(e.Key)] = e
		if err := c.history.observe(h.index, e, horizon, c.doubtful(e)); err != nil {
			return err
		}
	}
	entries, tombstones := store.Len()
	if entries+tombstones != len(h.held) {
		return c.collected(h, store)
	}
	return nil
}

// collected takes note of what a store forgot: tombstones that it may forget,
// and what the cluster deleted while this host was away.
func (c *chaosRun) collected(h *chaosHost, store *crdt.Store) error {
	for key, e := range h.held {
		if _, known := store.Get([]byte(key)); known {
			continue
		}
		if err := c.forgotten(h, key, e); err != nil {
			return err
		}
	}
	return nil
}

// forgotten takes note of one entry that a store has no longer.
func (c *chaosRun) forgotten(h *chaosHost, key string, e crdt.Entry) error {
	was := e
	delete(h.held, key)
	k := c.history.key(key)
	if came := k.after(e.Version); !e.Deleted && came != nil { // and went since the last glance
		e = crdt.Entry{Key: []byte(key), Version: *came, Deleted: true}
	}
	switch {
	case !chaosFeatures.collection:
	case !e.Deleted && (e.Version.Time.Wall == 0 || k.collected != nil && e.Version.Compare(*k.collected) < 0):
		return nil
	case e.Deleted && time.Since(time.Unix(0, e.Version.Time.Wall)) >= c.minAge-c.ahead():
		if err := c.early(h, key, e); err != nil {
			return err
		}
		h.let[key] = e.Version
		c.history.collect(h.index, e, c.newest(key))
		return nil
	}
	return fmt.Errorf("forgot: key %x, version %v of %s (deleted: %t); there is a tombstone after it: %t, %v",
		key, was.Version.Time, was.Version.Member, was.Deleted, e.Deleted, e.Version.Time)
}

// doubtful reports whether an entry may come back although it was deleted: its
// member stamped it shortly before it was gone for longer than the others wait,
// when they had not yet heard that this is all of that time. Then they can't tell
// it from one that never reached them, and what nobody may have had is kept.
func (c *chaosRun) doubtful(e crdt.Entry) bool {
	for _, at := range c.aways {
		if time.Since(at) > c.forget-c.patience() && e.Version.Time.Wall > at.Add(-promiseLag-c.minAge/2-6*c.sync).UnixNano() {
			return true
		}
	}
	return false
}

// early holds that a tombstone is collected only once everybody has it who was
// there, unless somebody was away for so long that nobody waits.
func (c *chaosRun) early(h *chaosHost, key string, e crdt.Entry) error {
	if c.ahead() > 0 || c.trouble > c.forget-c.patience() || !c.broken.IsZero() && c.trouble+time.Since(c.broken) > c.forget-c.patience() {
		return nil
	}
	for _, author := range c.hosts {
		if chaosID(author.index) == e.Version.Member && !author.out.IsZero() && e.Version.Time.Wall > author.out.Add(-chaosSlack).UnixNano() {
			return nil // it came when its author was back, below the floor: it goes by way of what it deleted
		}
	}
	for _, other := range c.hosts {
		if other == h || other.agent == nil || other.agent.leaving || other.store() == nil {
			continue
		}
		if met, known := h.agent.met[other.agent]; !known || met.UnixNano() > e.Version.Time.Wall {
			continue // it takes the cluster's state
		}
		if !other.out.IsZero() && time.Since(other.out) < 20*time.Second {
			continue // it counts as gone for some seconds more
		}
		has, known := other.held[key]
		if let, did := other.let[key]; did && let.Compare(e.Version) >= 0 {
			continue
		}
		if now, is := other.store().Get([]byte(key)); is && now.Version.Compare(e.Version) >= 0 {
			continue
		}
		if !known || has.Compare(e) < 0 {
			return fmt.Errorf("collected early: tombstone of key %x, version %v of %s, by %s; %s does not have it, but version %v (known: %t)", key,
				e.Version.Time, e.Version.Member, chaosID(h.index), chaosID(other.index), has.Version.Time, known)
		}
	}
	return nil
}

// patience is how much sooner than Config.ForgetAfter the others may believe
// that a member was not seen.
func (c *chaosRun) patience() time.Duration { return 15 * time.Second }

// newest is the greatest entry of a key that any host has, in a store or on a disk.
func (c *chaosRun) newest(key string) (best *crdt.Entry) {
	for _, h := range c.hosts {
		if e, has := h.held[key]; has && (best == nil || e.Compare(*best) > 0) {
			best = &e
		}
	}
	return best
}
