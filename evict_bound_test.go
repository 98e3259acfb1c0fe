package mapgossip

import (
	"hash/maphash"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/gossip/simnet"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// TestExpireCountsEvictions: of the own entries that the kernel let go of, as
// many as it has room for are kept, and those that it let go of last.
func TestExpireCountsEvictions(t *testing.T) {
	const limit = 10
	m := newMirror(mapwatch.Shape{Type: mapwatch.TypeLRUHash, KeyBytes: 8, ValueBytes: 8}, MapOptions{}, "self", crdt.NewClock(time.Hour), maphash.MakeSeed())
	now := int64(time.Hour)
	record := func(key int, kind mapwatch.Kind) {
		t.Helper()
		now += int64(time.Second)
		c := mapwatch.Change{Kind: kind, Key: number(key), Captured: now}
		if kind == mapwatch.Updated {
			c.Value = number(int(now))
		}
		m.record(c, now, now)
	}
	evicted := func(key int) bool {
		slot, known := m.store.Find(number(key))
		return known && m.keys.is(slot, flagEvicted)
	}
	for i := range 2 * limit {
		record(i, mapwatch.Updated)
	}
	for i := range limit {
		record(i, mapwatch.Evicted)
	}
	for i := 5; i < limit; i++ { // five are back, and five others gone
		record(i, mapwatch.Updated)
		record(limit+i, mapwatch.Evicted)
	}
	if expired := m.expire(limit); len(expired) != 0 {
		t.Errorf("%d entries are deleted, though only %d were let go of", len(expired), m.keys.evicted)
	}
	record(0, mapwatch.Updated) // the one that went first is back, and goes again
	record(0, mapwatch.Evicted)
	record(5, mapwatch.Evicted)
	if expired := m.expire(limit); len(expired) != 1 || !evicted(0) || evicted(1) {
		t.Errorf("%d entries are deleted; the one of the latest: %t, of the earliest: %t", len(expired), !evicted(0), !evicted(1))
	}
	for i := range 100 * limit { // and nothing grows of keys that are back
		record(100+i, mapwatch.Updated)
		record(100+i, mapwatch.Evicted)
		record(100+i, mapwatch.Updated)
		m.expire(limit)
	}
	if n := m.aging.len(); n > 2*limit || m.keys.aging != limit {
		t.Errorf("%d slots in the queue, %d evicted", n, m.keys.aging)
	}
}

// TestExpireUndoesNothing: a write of another member that is on its way is not
// undone by the delete of what nobody needs.
func TestExpireUndoesNothing(t *testing.T) {
	m := newMirror(mapwatch.Shape{Type: mapwatch.TypeLRUHash, KeyBytes: 8, ValueBytes: 8}, MapOptions{}, "self", crdt.NewClock(time.Hour), maphash.MakeSeed())
	now := int64(time.Hour)
	m.record(mapwatch.Change{Kind: mapwatch.Updated, Key: number(1), Value: number(1), Captured: 1}, 1, 1)
	m.record(mapwatch.Change{Kind: mapwatch.Evicted, Key: number(1), Captured: 2}, 2, 2)
	m.tended(now - int64(promiseLag))
	if expired := m.expire(0); len(expired) != 1 {
		t.Fatalf("%d expired", len(expired))
	}
	if _, won, err := m.remote(remoteEntry(1, now-int64(time.Second)), now); err != nil || !won {
		t.Error("the write is lost", err)
	}
}

// TestEvictedAreBoundedForUpdates: an option that keeps deletes local does not
// make a store grow without end that nobody deletes from.
func TestEvictedAreBoundedForUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 12, simnet.Link{Delay: time.Millisecond})
		r.addLRU("")
		c, kernel, m := r.prepare(1, mapwatch.Shape{Type: mapwatch.TypeLRUHash, MaxEntries: lruEntries})
		c.Maps[0].Events = EventsUpdate
		b := r.start(c, kernel, m)
		for next := range 3000 {
			b.write(t, next, next)
			if next%30 == 0 {
				pass(time.Second)
			}
		}
		pass(30 * time.Second)
		r.agree(t, 10*time.Second)
		if s := b.state(t); s.Entries > 3*lruEntries {
			t.Errorf("%d entries", s.Entries)
		}
	})
}

// TestEvictDeleteThatDoesNotGoOut: an eviction cannot be a delete for the cluster
// where deletes do not go out; on a map that follows the cluster, the two would
// write and evict for ever.
func TestEvictDeleteThatDoesNotGoOut(t *testing.T) {
	for _, o := range []MapOptions{{Direction: DirectionReceive, Evict: EvictDelete}, {Events: EventsUpdate, Evict: EvictDelete}} {
		c := DefaultConfig()
		c.Node, c.Maps = "n", []MapConfig{{Name: "m", Target: rigPin, MapOptions: o}}
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "evict=delete") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
