package mapgossip

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/gossip"
	"github.com/mapgossip/mapgossip/gossip/simnet"
	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/fake"
	"github.com/mapgossip/mapgossip/state/fakefs"
)

// moody is a kernel that is slow, or refuses, as a test wants it. The zero
// fields change nothing.
type moody struct {
	mapwatch.Kernel
	refuse    atomic.Bool  // every Watch
	noReplace atomic.Bool  // a Watch follows no map
	making    atomic.Int64 // ns before a Watch captures
	beginning atomic.Int64 // ns that a Watch takes once it captures
	ending    atomic.Int64 // ns that a Watch captures on after Close
	reading   atomic.Int64 // ns before each chunk of a Scan
}

type moodyWatch struct {
	mapwatch.Watch
	k *moody
}

type moodyMap struct {
	mapwatch.Map
	k *moody
}

var errMoody = errors.New("no capture today")

func bare(m mapwatch.Map) mapwatch.Map { return m.(*moodyMap).Map }

func (k *moody) Open(target string) (mapwatch.Map, error) {
	m, err := k.Kernel.Open(target)
	if err != nil {
		return nil, err
	}
	return &moodyMap{m, k}, nil
}

func (k *moody) Reopen(old mapwatch.Map) (mapwatch.Map, error) {
	m, err := k.Kernel.Reopen(bare(old))
	if err != nil {
		return nil, err
	}
	return &moodyMap{m, k}, nil
}

func (k *moody) Watch(maps []mapwatch.Map, options mapwatch.Options) (mapwatch.Watch, error) {
	if k.refuse.Load() {
		return nil, errMoody
	}
	var inner []mapwatch.Map
	for _, m := range maps {
		inner = append(inner, bare(m))
	}
	time.Sleep(time.Duration(k.making.Load())) // synctest's clock
	w, err := k.Kernel.Watch(inner, options)
	if err != nil {
		return nil, err
	}
	time.Sleep(time.Duration(k.beginning.Load()))
	return &moodyWatch{w, k}, nil
}

func (w *moodyWatch) Replace(i int, m mapwatch.Map) error {
	if w.k.noReplace.Load() {
		return mapwatch.ErrUnsupported
	}
	return w.Watch.Replace(i, bare(m))
}

func (w *moodyWatch) Close() error {
	time.Sleep(time.Duration(w.k.ending.Load()))
	return w.Watch.Close()
}

func (m *moodyMap) Scan(ctx context.Context, fn func(keys, values []byte, n int) error) error {
	return m.Map.Scan(ctx, func(keys, values []byte, n int) error {
		time.Sleep(time.Duration(m.k.reading.Load()))
		return fn(keys, values, n)
	})
}

const latePin = "/sys/fs/bpf/late"

// addMoody starts one more node, on a moody kernel; late is a second map, which is
// not there yet.
func (r *rig) addMoody(late bool) (*rigNode, *moody) {
	c, kernel, m := r.prepare(len(r.nodes), mapwatch.Shape{})
	k := &moody{Kernel: kernel}
	c.Kernel = k
	if late {
		c.Maps = append(c.Maps, MapConfig{Name: "late", Target: latePin})
	}
	return r.start(c, kernel, m), k
}

// TestNoCaptureForAWhile: as long as no Watch is to be had, the maps that were
// watched stay what they are: what is written to them is found afterwards.
func TestNoCaptureForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		a := r.add()
		b, k := r.addMoody(true)
		for i := range 100 {
			a.write(t, i, i)
		}
		r.converge(t, 10*time.Second)
		k.refuse.Store(true)
		b.kernel.AddMap(mapwatch.Shape{Target: latePin})
		pass(5 * time.Second)
		b.write(t, 7, 77)
		if err := b.m.Remove(number(8), 0); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		k.refuse.Store(false)
		pass(2 * time.Minute)
		r.converge(t, 10*time.Second)
		if got, _ := a.m.Get(number(7)); string(got) != string(number(77)) {
			t.Errorf("a write during that time is lost: %x", got)
		}
		if _, ok := a.m.Get(number(8)); ok {
			t.Error("a delete during that time is undone")
		}
	})
}

// TestReplacedBeforeFilled: a member that does not know yet what the cluster has
// does not make the newest of what a new map holds.
func TestReplacedBeforeFilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, simnet.Link{Delay: time.Millisecond})
		a := r.add()
		a.write(t, 1, 1)
		a.write(t, 99, 99)
		pass(2 * time.Second)
		if err := a.m.Remove(number(99), 0); err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Second)
		r.net.Partition([]string{a.addr}, []string{"10.0.0.2:7946"})
		b := r.add()
		pass(5 * time.Second)
		b.replace(mapwatch.Shape{}) // its loader began anew
		b.write(t, 1, 1111)
		b.write(t, 99, 9999)
		b.write(t, 5, 5)
		pass(20 * time.Second)
		r.net.Heal()
		r.converge(t, 2*time.Minute)
		if got, _ := a.m.Get(number(1)); string(got) != string(number(1)) {
			t.Errorf("what the loader put there replaced the cluster's value: %x", got)
		}
		if _, ok := a.m.Get(number(99)); ok {
			t.Error("a deleted key is back")
		}
		if _, ok := a.m.Get(number(5)); !ok {
			t.Error("what nobody else knows is lost")
		}
	})
}

// TestAbsentMapForgets: a member whose only map is absent holds no deletes back:
// it has nothing to stamp. It remembers itself those of keys that the map may
// still hold when it comes, and no others.
func TestAbsentMapForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 3, simnet.Link{Delay: time.Millisecond})
		a, b := r.startLasting(0), r.startLasting(1)
		for i := range 100 {
			a.write(t, i, i)
		}
		r.converge(t, 20*time.Second)
		b.down(false)
		b.kernel.Unpin(rigPin)
		b.up()
		pass(10 * time.Second)
		a.remove(t, 0, 50)
		for i := range 200 {
			a.write(t, 2000+i, i)
			pass(10 * time.Millisecond)
			a.remove(t, 2000+i, 2000+i+1)
		}
		pass(15 * time.Minute)
		if s := a.state(t); s.Tombstones != 0 {
			t.Errorf("%d tombstones, held back by %q", s.Tombstones, s.HeldBackBy)
		}
		if s := b.state(t); s.Tombstones != 50 || s.HeldBackBy != "" {
			t.Errorf("%d tombstones without a map, held back by %q", s.Tombstones, s.HeldBackBy)
		}
		b.rigNode.replace(mapwatch.Shape{})
		for i := range 60 { // it has been away
			b.write(t, i, i)
		}
		b.write(t, 1000, 1)
		r.converge(t, 20*time.Second)
		if b.m.Len() != 51 {
			t.Errorf("%d elements", b.m.Len())
		}
		pass(5 * time.Minute)
		if s := b.state(t); s.Tombstones != 0 {
			t.Errorf("%d tombstones", s.Tombstones)
		}
	})
}

// TestLeaveDuringScan: what a scan that is under way has yet to find is handed
// over before the member leaves.
func TestLeaveDuringScan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 4, simnet.Link{Delay: time.Millisecond})
		a := r.add()
		b, k := r.addMoody(false)
		b.write(t, 0, 0)
		r.converge(t, 10*time.Second)
		k.reading.Store(int64(time.Second))
		b.m.Lose(50, fake.Dropped)
		for i := range 50 {
			b.write(t, i, i+1)
		}
		pass(1500 * time.Millisecond) // the scan is under way
		b.stop()
		if err := <-b.ended; err != nil {
			t.Fatal(err)
		}
		r.nodes = without(r.nodes, b)
		pass(time.Second)
		if a.m.Len() != 50 {
			t.Errorf("%d of 50 keys were handed over", a.m.Len())
		}
	})
}

// TestLeaveDuringRewatch: what is changed while no Watch is there is handed over.
func TestLeaveDuringRewatch(t *testing.T) {
	for _, refused := range []bool{false, true} {
		t.Run(fmt.Sprintf("refused %t", refused), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 5, simnet.Link{Delay: time.Millisecond})
				a := r.add()
				b, k := r.addMoody(true)
				b.write(t, 0, 0)
				r.converge(t, 10*time.Second)
				k.refuse.Store(refused)
				k.making.Store(int64(3 * time.Second))
				b.kernel.AddMap(mapwatch.Shape{Target: latePin})
				pass(2 * time.Second) // capture ended
				for i := range 50 {
					b.write(t, i, i+1)
				}
				if ok, _ := b.Healthy(t.Context()); ok && refused {
					t.Error("healthy without capture")
				}
				b.stop()
				if err := <-b.ended; err != nil {
					t.Fatal(err)
				}
				r.nodes = without(r.nodes, b)
				pass(time.Second)
				if a.m.Len() != 50 {
					t.Errorf("%d of 50 keys were handed over", a.m.Len())
				}
			})
		})
	}
}

// TestLateMapThatNobodyTakes: a map that cannot be part of the cluster is not
// called bound and ready.
func TestLateMapThatNobodyTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 6, simnet.Link{Delay: time.Millisecond})
		r.add()
		b, _ := r.addMoody(true)
		pass(5 * time.Second)
		b.kernel.AddMap(mapwatch.Shape{Target: latePin, ValueBytes: gossip.MaxEntryBytes})
		pass(time.Minute)
		maps, err := b.Maps(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if maps[1].Error == "" || !strings.Contains(maps[1].Error, "can be replicated") {
			t.Errorf("error %q", maps[1].Error)
		}
		if ok, _ := b.Ready(t.Context()); ok {
			t.Error("ready")
		}
	})
}

// TestOldMapIsEmptied: what happens to a map that was replaced is no change of
// the one in its place, whatever a new Watch takes.
func TestOldMapIsEmptied(t *testing.T) {
	for _, slow := range []string{"to end", "to begin"} {
		t.Run("slow "+slow, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 7, simnet.Link{Delay: time.Millisecond})
				a := r.add()
				b, k := r.addMoody(true)
				const keys = 2000
				for i := range keys {
					a.write(t, i, i)
				}
				r.converge(t, 10*time.Second)
				old := b.m
				if slow == "to end" { // each map takes a new Watch, which takes its time
					k.noReplace.Store(true)
					k.ending.Store(int64(3 * time.Second))
				} else { // a Watch is being made when the map is replaced
					k.beginning.Store(int64(3 * time.Second))
					b.kernel.AddMap(mapwatch.Shape{Target: latePin})
					pass(1500 * time.Millisecond)
				}
				b.replace(mapwatch.Shape{})
				pass(1200 * time.Millisecond) // until then the change may not be noticed
				for i := range keys {
					time.Sleep(5 * time.Millisecond)
					if err := old.Remove(number(i), 0); err != nil {
						t.Fatal(err)
					}
				}
				pass(30 * time.Second)
				r.wantNoDeletes(t)
				r.converge(t, 10*time.Second)
				if a.m.Len() != keys {
					t.Errorf("%d of %d elements", a.m.Len(), keys)
				}
			})
		})
	}
}

// TestSendForgets: a map that is only sent from does not remember deletes of
// what it never had; but of what it has, which would come back.
func TestSendForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 8, simnet.Link{Delay: time.Millisecond})
		a := r.startLasting(0)
		b := r.prepareLasting(1)
		b.config.Maps[0].Direction = DirectionSend
		b.up()
		pass(5 * time.Second)
		b.write(t, 1000, 1)
		for i := range 50 {
			a.write(t, i, i)
		}
		pass(10 * time.Second)
		a.remove(t, 0, 50)
		if err := a.m.Remove(number(1000), 0); err != nil {
			t.Fatal(err)
		}
		pass(15 * time.Minute)
		if s := b.state(t); s.Tombstones != 1 {
			t.Errorf("%d tombstones, want that of the key that is in the map", s.Tombstones)
		}
		if a.m.Len() != 0 {
			t.Errorf("%d keys are back", a.m.Len())
		}
	})
}

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

// TestWriteDuringImport: a write to a new map after an apply there is newer than
// what was applied, though the first scan comes by before its record.
func TestWriteDuringImport(t *testing.T) {
	m := newMirror(mapwatch.Shape{KeyBytes: 8, ValueBytes: 8}, MapOptions{}, "self", crdt.NewClock(time.Hour), maphash.MakeSeed())
	now := int64(time.Hour)
	m.rebind(crdt.Timestamp{Wall: now})
	s := m.beginScan(now)
	// By a clock that is ahead of this one.
	if _, won, err := m.remote(remoteEntry(1, now+int64(5*time.Second)), now+1); err != nil || !won {
		t.Fatal(err)
	}
	ops, slots := m.takeWrites(10)
	m.applied(ops, slots, now+2, now+3)
	written := mapwatch.Change{Kind: mapwatch.Updated, Key: number(1), Value: number(77), Captured: now + 100}
	m.scanned(s, number(1), number(77), 1, true, now+200, now+200)
	ops, slots = m.takeWrites(10)
	m.applied(ops, slots, now+300, now+301)
	if _, won := m.record(written, written.Captured, now+400); !won {
		t.Error("the write lost to what it overwrote")
	}
}

// TestFoundAfterPromise: what is found in a new map is not stamped below what
// was promised meanwhile.
func TestFoundAfterPromise(t *testing.T) {
	m := newMirror(mapwatch.Shape{KeyBytes: 8, ValueBytes: 8}, MapOptions{}, "self", crdt.NewClock(time.Hour), maphash.MakeSeed())
	now := int64(time.Hour)
	m.rebind(crdt.Timestamp{Wall: now})
	m.tended(now + int64(time.Minute))
	s := m.beginScan(now)
	m.scanned(s, number(1), number(1), 1, true, now, now)
	if e, _ := m.store.Get(number(1)); e.Version.Time.Wall < now+int64(time.Minute) {
		t.Error(fmt.Sprint("stamped at ", e.Version.Time.Wall-now))
	}
}

// TestAwayAfterFill: a map that came late, and was filled from what was saved, is
// held against that after a restart as any other: what was written and deleted
// meanwhile counts.
func TestAwayAfterFill(t *testing.T) {
	for _, kill := range []bool{false, true} {
		t.Run(fmt.Sprintf("kill %t", kill), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 9, simnet.Link{Delay: time.Millisecond})
				a, b := r.startLasting(0), r.startLasting(1)
				for i := range 100 {
					a.write(t, i, i)
				}
				r.converge(t, 10*time.Second)
				b.down(false)
				b.kernel.Unpin(rigPin)
				b.up()
				pass(10 * time.Second)
				b.rigNode.replace(mapwatch.Shape{})
				r.converge(t, 10*time.Second)
				pass(10 * time.Second)
				b.down(kill)
				b.write(t, 1, 1111)
				b.remove(t, 2, 3)
				pass(5 * time.Second)
				b.up()
				pass(20 * time.Second)
				r.converge(t, 20*time.Second)
				if got, _ := a.m.Get(number(1)); string(got) != string(number(1111)) {
					t.Errorf("a write while the agent was down is undone: %x", got)
				}
				if _, ok := a.m.Get(number(2)); ok {
					t.Error("a delete while the agent was down is undone")
				}
			})
		})
	}
}

// TestKilledWhileBinding: whenever an agent is killed while a map is bound anew,
// nothing passes for deleted and nothing is lost afterwards.
func TestKilledWhileBinding(t *testing.T) {
	const keys = 10_000
	for _, after := range []time.Duration{0, 300, 900, 1000, 1019, 1020, 1021, 1022, 1023, 1025, 1030, 1100, 2000, 2050, 6000} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 10, simnet.Link{Delay: time.Millisecond})
				a, b := r.startLasting(0), r.startLasting(1)
				for i := range keys {
					a.write(t, i, i)
				}
				r.converge(t, 20*time.Second)
				pass(7 * time.Second)
				b.rigNode.replace(mapwatch.Shape{})
				b.write(t, 7, 1) // of unknown age
				pass(after * time.Millisecond)
				m := b.m
				b.down(true)
				if m.Len() > 10 {
					if err := m.Remove(number(9), 0); err != nil {
						t.Error(err)
					}
				}
				pass(2 * time.Second)
				b.up()
				pass(30 * time.Second)
				r.converge(t, 20*time.Second)
				if n := a.m.Len(); n < keys-1 {
					t.Errorf("%d of %d keys", n, keys)
				}
				if got, _ := a.m.Get(number(7)); string(got) != string(number(7)) {
					t.Errorf("key 7 is %x", got)
				}
			})
		})
	}
}

// TestTwoMapsOfOneName: of two maps that have the name of the target the later one
// is meant, for as long as both are there.
func TestTwoMapsOfOneName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 11, simnet.Link{Delay: time.Millisecond})
		a := r.add()
		c, kernel, m := r.prepare(1, mapwatch.Shape{})
		c.Maps[0].Target = "name:flows"
		b := r.start(c, kernel, m)
		for i := range 100 {
			a.write(t, i, i)
		}
		r.converge(t, 10*time.Second)
		b.m = kernel.AddMap(mapwatch.Shape{Target: "/sys/fs/bpf/new", Name: "flows"})
		for i := range 30 {
			pass(2100 * time.Millisecond)
			if s := b.state(t); s.ID != b.m.Shape().ID || !s.Bound || s.Error != "" {
				t.Fatalf("after %d s: map %d, want %d; bound %t, error %q", 2*i+2, s.ID, b.m.Shape().ID, s.Bound, s.Error)
			}
		}
		for i := range 100 { // the program of before ends
			if err := m.Remove(number(i), 0); err != nil {
				t.Fatal(err)
			}
		}
		pass(5 * time.Second)
		r.converge(t, 10*time.Second)
		r.wantNoDeletes(t)
	})
}

// TestBindingStories: whatever happens to the map of one member, with its agent and
// with the network, keys that another member wrote once and nobody deleted are
// there in the end, all are equal, and no value is one that nobody wrote there.
func TestBindingStories(t *testing.T) {
	for seed := range uint64(storySeeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { bindingStory(t, seed) })
		})
	}
}

const storySeeds = 30

func bindingStory(t *testing.T, seed uint64) {
	dice := rand.New(rand.NewPCG(seed, 5))
	r := newRig(t, seed, simnet.Link{Delay: time.Millisecond, Loss: 0.02})
	a := r.add()
	b := r.prepareLasting(1)
	k := &moody{Kernel: b.kernel}
	b.config.Kernel = k
	if seed%2 == 1 {
		b.config.CapturePins = "/sys/fs/bpf/capture"
	}
	b.config.Maps = append(b.config.Maps, MapConfig{Name: "late", Target: latePin})
	b.up()
	c := r.add()
	var story []string
	log := func(format string, args ...any) {
		story = append(story, fmt.Sprintf(format, args...))
	}
	defer func() {
		if t.Failed() {
			t.Log(strings.Join(story, "; "))
		}
	}()
	const permanent = 1 << 20
	written, kept, last, up := map[int]bool{}, 0, 0, true
	write := func(n *rigNode, key int) {
		last++
		value := key<<32 | last
		if n.m.Write(number(key), number(value), 0) == nil {
			written[value] = true
		}
	}
	pass(3 * time.Second)
	for range 60 {
		for range dice.IntN(40) {
			n := []*rigNode{a, b.rigNode, c}[dice.IntN(3)]
			if key := dice.IntN(50); dice.IntN(3) == 0 {
				_ = n.m.Remove(number(key), 0)
			} else {
				write(n, key)
			}
		}
		for range 20 {
			write(a, permanent+kept)
			kept++
		}
		pass(time.Duration(dice.IntN(1500)) * time.Millisecond)
		switch what := dice.IntN(9); {
		case what == 0:
			log("replace")
			old := b.m
			b.rigNode.replace(mapwatch.Shape{})
			for range dice.IntN(20) {
				write(b.rigNode, dice.IntN(50))
			}
			pass(1100*time.Millisecond + time.Duration(dice.IntN(1500))*time.Millisecond) // it has been noticed
			for key := range old.Content() {
				_ = old.Remove([]byte(key), 0)
			}
		case what == 1:
			log("unpin")
			b.kernel.Unpin(rigPin)
		case what == 2 && up:
			kill := dice.IntN(2) == 0
			log("down %t", kill)
			m := b.m
			b.down(kill)
			b.m, up = m, false
		case what == 3 || what == 2:
			if !up {
				log("up")
				m := b.m
				b.up()
				b.m, up = m, true
			}
		case what == 4 && up:
			refuse := dice.IntN(2) == 0
			log("refuse %t", refuse)
			k.refuse.Store(refuse)
		case what == 5:
			k.noReplace.Store(dice.IntN(2) == 0)
			k.beginning.Store(int64(dice.IntN(3)) * int64(time.Second))
			k.ending.Store(int64(dice.IntN(2)) * int64(time.Second))
			log("slow %t %v %v", k.noReplace.Load(), k.beginning.Load(), k.ending.Load())
		case what == 6:
			log("late")
			b.kernel.AddMap(mapwatch.Shape{Target: latePin})
		case what == 7:
			log("cut")
			r.net.Partition([]string{a.addr, c.addr}, []string{"10.0.0.2:7946"})
		case what == 8:
			log("heal")
			r.net.Heal()
		}
		if !up {
			k.refuse.Store(false) // a start fails without
		}
	}
	r.net.Heal()
	k.refuse.Store(false)
	if !up {
		m := b.m
		b.up()
		b.m = m
	}
	b.rigNode.replace(mapwatch.Shape{})
	pass(90 * time.Second)
	r.converge(t, 2*time.Minute)
	content := a.m.Content()
	for i := range kept {
		if _, ok := content[string(number(permanent+i))]; !ok {
			t.Fatalf("permanent key %d of %d is lost", i, kept)
		}
	}
	for key, value := range content {
		v := int(binary.BigEndian.Uint64([]byte(value)))
		if k := int(binary.BigEndian.Uint64([]byte(key))); v>>32 != k || !written[v] {
			t.Fatalf("nobody wrote %d at %d", v, k)
		}
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

// TestLateMapWaitsForTheDead: a member to whose map nobody else is known yet lets
// nobody forget deletes for whose sake the others wait.
func TestLateMapWaitsForTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 13, simnet.Link{Delay: time.Millisecond})
		a, d := r.startLasting(0), r.startLasting(1)
		l := r.prepareLasting(2)
		l.kernel.Unpin(rigPin)
		l.config.Maps = append(l.config.Maps, MapConfig{Name: "other", Target: latePin})
		l.kernel.AddMap(mapwatch.Shape{Target: latePin})
		l.up()
		for i := range 100 {
			a.write(t, i, i)
		}
		pass(20 * time.Second)
		m := d.m
		d.down(true)
		a.remove(t, 0, 50)
		pass(time.Minute)
		r.net.Partition([]string{a.addr}, []string{l.addr})
		l.rigNode.replace(mapwatch.Shape{})
		pass(4 * time.Minute)
		if floor := l.state(t).Floor; !floor.IsZero() {
			t.Errorf("floor %v of a map of which nothing is known", floor)
		}
		r.net.Heal()
		pass(time.Minute)
		if s := a.state(t); s.Tombstones != 50 {
			t.Errorf("%d tombstones, though a member that is dead for six minutes needs them", s.Tombstones)
		}
		d.disk = fakefs.New() // which comes back without its state
		d.m = m
		d.up()
		r.converge(t, time.Minute)
		if a.m.Len() != 50 {
			t.Errorf("%d keys: deleted ones are back", a.m.Len())
		}
	})
}
