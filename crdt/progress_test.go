package crdt_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
)

// world is a cluster without a network or a kernel: stores that exchange what
// they hold and how far they got, as package gossip does. Time is a number.
type world struct {
	dice    *rand.Rand
	now     int64
	age     int64         // tombstones are kept so long
	forget  time.Duration // members that nobody sees are waited for so long
	members []*actor
	flying  []flying
	made    map[byte][]op // by key
	story   []string
}

// actor is one member. Its store outlives its being down, unless it is lost.
type actor struct {
	name    string
	store   *crdt.Store
	group   int // members of other groups are out of reach
	up      bool
	removed int64 // when it was taken for gone for good; 0: not
}

// op is one write or delete, with the versions that its member knew before.
type op struct {
	crdt.Entry
	after crdt.Version // of the entry that it replaced; zero: none
	by    *actor
	away  bool // made by a member that had been removed
}

// flying is a rumor on its way.
type flying struct {
	to *actor
	e  crdt.Entry
}

func newWorld(seed uint64, members int) *world {
	w := &world{dice: rand.New(rand.NewPCG(seed, 4)), now: 1e15, age: 40e9, forget: 1e6 * time.Second, made: map[byte][]op{}}
	for i := range members {
		w.members = append(w.members, &actor{name: fmt.Sprintf("m%d", i), store: crdt.NewStore(1, 8), up: true})
	}
	w.settle() // strangers do not wait for each other
	return w
}

func (w *world) log(format string, args ...any) {
	w.story = append(w.story, fmt.Sprintf("%d ", (w.now-1e15)/1e9)+fmt.Sprintf(format, args...))
}

func (w *world) one() *actor { return w.members[w.dice.IntN(len(w.members))] }

func idle(crdt.Slot) bool { return false }

// raise is what a Node does after it has learned.
func (a *actor) raise(r crdt.Report) {
	if p := a.store.Progress(); r.Floor > p.Floor() && p.Reaches(r) {
		a.store.Raise(r.Floor, idle)
	}
}

// change writes or deletes a key on one member.
func (w *world) change(a *actor) {
	key := byte(w.dice.IntN(6))
	deleted := w.dice.IntN(2) == 0
	old, known := a.store.Get([]byte{key})
	if deleted && (!known || old.Deleted) {
		return
	}
	e := crdt.Entry{Key: []byte{key}, Deleted: deleted, Version: crdt.Version{Member: a.name}}
	if !deleted {
		e.Value = binary.BigEndian.AppendUint64(nil, w.dice.Uint64())
	}
	p := a.store.Progress()
	e.Version.Time = crdt.Timestamp{Wall: max(w.now, p.Floor()+1, p.Has(a.name)+1)}
	if known && e.Version.Time.Compare(old.Version.Time) <= 0 {
		e.Version.Time = old.Version.Time.Next()
	}
	if _, won, err := a.store.Merge(e); err != nil || !won {
		panic(fmt.Sprint("own change lost: ", err))
	}
	w.made[key] = append(w.made[key], op{e, old.Version, a, a.removed != 0})
	w.log("%s: key %d deleted=%v at %v", a.name, key, deleted, e.Version)
	for _, b := range w.members {
		if b != a && w.dice.IntN(3) > 0 {
			w.flying = append(w.flying, flying{b, e})
		}
	}
}

func (w *world) reach(a, b *actor) bool { return a.up && b.up && a.group == b.group }

// land lets some rumors arrive, in any order.
func (w *world) land() {
	for n := w.dice.IntN(4); n > 0 && len(w.flying) > 0; n-- {
		i := w.dice.IntN(len(w.flying))
		f := w.flying[i]
		w.flying = slices.Delete(w.flying, i, i+1)
		if f.to.up && (f.to.group == 0 || w.dice.IntN(2) == 0) {
			_, _, _ = f.to.store.Merge(f.e)
		}
	}
}

// exchange brings two members together; a cut one brings some and tells nobody.
func (w *world) exchange(a, b *actor, cut bool) {
	ra, rb := a.store.Progress().Report(), b.store.Progress().Report()
	for _, side := range []struct {
		a *actor
		r crdt.Report
	}{{a, rb}, {b, ra}} {
		side.a.store.Progress().Learn(side.r, false, w.now)
		side.a.raise(side.r)
	}
	fromA, fromB := w.surplus(a, b), w.surplus(b, a)
	w.send(b, a, fromB, cut)
	w.send(a, b, fromA, cut)
	if cut {
		return
	}
	a.store.Progress().Learn(rb, true, w.now)
	b.store.Progress().Learn(ra, true, w.now)
	a.raise(rb)
	b.raise(ra)
}

// surplus is what a has and b lacks.
func (w *world) surplus(a, b *actor) (entries []crdt.Entry) {
	for e := range a.store.All() {
		if f, known := b.store.Get(e.Key); known && f.Compare(e) >= 0 {
			continue
		}
		e.Key, e.Value = slices.Clone(e.Key), slices.Clone(e.Value)
		entries = append(entries, e)
	}
	return entries
}

// send merges entries of one member on another, which tells what was deleted.
func (w *world) send(from, to *actor, entries []crdt.Entry, cut bool) {
	for _, e := range entries {
		if cut && w.dice.IntN(2) == 0 {
			continue
		}
		if _, _, err := to.store.Merge(e); errors.Is(err, crdt.ErrDeleted) && w.dice.IntN(5) > 0 {
			_, _, _ = from.store.Merge(crdt.Entry{Key: e.Key, Deleted: true, Version: e.Version})
		}
	}
}

// tend is a Node's housekeeping.
func (w *world) tend(a *actor) {
	heard := make(map[string]int64)
	for _, b := range w.members {
		if a != b && w.reach(a, b) {
			heard[b.name] = w.now
		}
	}
	p := a.store.Progress()
	p.Tend(a.name, w.now, w.now-1e9, heard, w.forget, false)
	stable, told, _ := p.Stable(w.now, w.forget)
	if floor := min(stable, told-w.age); floor > p.Floor() {
		a.store.Raise(floor, idle)
	}
}

func (w *world) step() {
	w.now += w.dice.Int64N(3e9)
	switch w.dice.IntN(10) {
	case 0, 1, 2:
		if a := w.one(); a.up {
			w.change(a)
		}
	case 3:
		w.land()
	case 4, 5, 6:
		if a, b := w.one(), w.one(); a != b && w.reach(a, b) {
			w.exchange(a, b, w.dice.IntN(5) == 0)
		}
	case 7:
		for _, a := range w.members {
			if a.up {
				w.tend(a)
			}
		}
	case 8:
		if a := w.one(); w.dice.IntN(4) == 0 {
			a.group = w.dice.IntN(2)
			w.log("%s is in group %d", a.name, a.group)
		}
	case 9:
		if a := w.one(); w.dice.IntN(4) == 0 {
			a.up = !a.up
			w.log("%s is up: %v", a.name, a.up)
		}
	}
}

// settle heals everything and lets all members exchange.
func (w *world) settle() {
	for _, a := range w.members {
		a.group, a.up, a.removed = 0, true, 0
	}
	for range 2 * len(w.members) {
		w.now += 1e9
		for _, a := range w.members {
			w.tend(a)
			for _, b := range w.members {
				if a != b {
					w.exchange(a, b, false)
				}
			}
		}
	}
	w.flying = nil
}

// equal fails unless all stores are.
func (w *world) equal(t *testing.T, seed uint64) {
	t.Helper()
	first := w.members[0].store
	for _, a := range w.members {
		if a.store.Digest() != first.Digest() || a.store.Progress().Floor() != first.Progress().Floor() {
			t.Fatalf("seed %d: %s differs: %v, floor %d\n%s", seed, a.name, a.store.Digest(), a.store.Progress().Floor(), w.story)
		}
	}
}

// Without members that are given up on, collecting tombstones changes nothing:
// each key ends as its newest change says, on every member.
func TestCollectionIsInvisible(t *testing.T) {
	collected := uint64(0)
	for seed := range uint64(3000) {
		w := newWorld(seed, 2+int(seed%4))
		for range 150 {
			w.step()
		}
		w.settle()
		w.equal(t, seed)
		for key, ops := range w.made {
			last := slices.MaxFunc(ops, func(a, b op) int { return a.Compare(b.Entry) })
			got, known := w.members[0].store.Get([]byte{key})
			if known = known && !got.Deleted; known == last.Deleted || known && !sameEntry(got, last.Entry) {
				t.Fatalf("seed %d: key %d is %+v (%v), want %+v\n%s", seed, key, got, known, last.Entry, w.story)
			}
		}
		collected += w.members[0].store.Collected()
	}
	if collected < 1000 {
		t.Errorf("%d tombstones collected: too few to say anything", collected)
	}
}
