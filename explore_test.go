// The worlds, their steps and their fingerprints change together: one file.

package mapgossip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// The exploration runs the mirror's own code through every interleaving of
// local writers, their records (submitted later than the write, so in any
// order, and one of them lost), remote entries with old, present and future
// timestamps and their applies, looks, and a scan at any moment. Once all is
// quiet and a last scan has run, kernel and store must be equal, and at no
// moment may a remote value have been stamped as a local one.

// All worlds of an exploration share one mirror, in which each has a key of its
// own: that makes a copy cheap, and the store is the real one.

// story is what one exploration lets happen.
type story struct {
	name    string
	writes  []content // one writer, on a CPU of its own, each; they write in this order
	lost    int       // the writer whose record is lost; -1: none
	remotes []remoteWrite
	scans   int // scans that may happen in between
	step    time.Duration
	base    bool // a remote entry was applied long ago
	refusal bool // the kernel may refuse one write
	touched bool // records name the key without its value
	evicts  int  // the writer that is the map itself, making room; 0: none, so writer 0 never is; beyond writes: none, though it could
}

// shape is that of the story's map.
func (s *story) shape() mapwatch.Shape {
	shape := mapwatch.Shape{Type: mapwatch.TypeHash, KeyBytes: 8, ValueBytes: 2}
	if s.evicts != 0 {
		shape.Type = mapwatch.TypeLRUHash
	}
	return shape
}

type remoteWrite struct {
	content content
	time    string // "old", "now" or "ahead"
}

// world is one state of a story.
type world struct {
	story   *story
	now     int64
	kernel  content
	wrote   int     // writers that have written
	open    []int   // writers that wrote and have not submitted yet
	ring    []int   // writers whose record waits
	times   []int64 // when each record was captured
	remotes []int   // remotes that were not delivered yet
	scans   int
	ops     []mapwatch.Op // an apply under way
	start   int64
	written bool
	refused bool
	m       *mirror
	keys    *uint64 // how many keys of m are taken
	key     string  // this world's
	parent  *world
	by      string // the step that led here
}

func value(s string) content { return content{true, []byte(s)} }

func (s *story) begin() *world {
	w := &world{story: s, now: int64(time.Hour), times: make([]int64, len(s.writes)), scans: s.scans}
	for i := range s.remotes {
		w.remotes = append(w.remotes, i)
	}
	w.m = newMirror(s.shape(), MapOptions{}, "self", crdt.NewClock(time.Hour), maphash.MakeSeed())
	w.keys = new(uint64)
	w.key = w.newKey()
	if s.base {
		w.deliver(w.entry(value("b0"), w.now))
		for w.ops != nil {
			w.apply()
		}
		w.now += int64(time.Minute)
	}
	return w
}

func (w *world) newKey() string {
	*w.keys++
	return string(binary.BigEndian.AppendUint64(nil, *w.keys))
}

// entry is a version that another member made of this world's key.
func (w *world) entry(c content, wall int64) crdt.Entry {
	return crdt.Entry{Key: []byte(w.key), Value: c.value, Deleted: !c.present,
		Version: crdt.Version{Time: crdt.Timestamp{Wall: wall}, Member: "other"}}
}

// then copies the world and takes a step in the copy.
func (w *world) then(next step) (*world, error) {
	c := *w
	c.parent, c.by = w, next.name
	c.open, c.ring, c.times, c.remotes = slices.Clone(w.open), slices.Clone(w.ring), slices.Clone(w.times), slices.Clone(w.remotes)
	c.key = c.newKey()
	if e, ok := w.m.store.Get([]byte(w.key)); ok {
		e.Key = []byte(c.key)
		if _, _, err := w.m.store.Merge(e); err != nil {
			return nil, err
		}
	}
	if slot, ok := w.slot(); ok {
		own, _ := c.slot()
		w.m.keys.copy(slot, own)
	}
	if u, ok := w.m.unsettled[w.key]; ok {
		copied := *u
		w.m.unsettled[c.key] = &copied
	}
	if w.ops != nil {
		c.ops = slices.Clone(w.ops)
		c.ops[0].Key = []byte(c.key)
	}
	c.now += int64(w.story.step)
	if err := next.do(&c); err != nil {
		return nil, fmt.Errorf("%w after: %s", err, c.trace())
	}
	return &c, nil
}

// slot is that of this world's key, if the store knows it.
func (w *world) slot() (crdt.Slot, bool) { return w.m.store.Find([]byte(w.key)) }

// waits reports whether the world's entry waits to be applied.
func (w *world) waits() bool {
	slot, known := w.slot()
	return known && w.m.keys.pending(slot)
}

// evicted reports whether the mirror knows that the kernel let go of the key.
func (w *world) evicted() bool {
	slot, known := w.slot()
	return known && w.m.keys.is(slot, flagEvicted)
}

// copy gives one key what is remembered of another.
func (t *keyTable) copy(from, to crdt.Slot) {
	*t.remember(to, 0) = t.recent(from)
	if prior := t.prior(from); prior != 0 {
		t.wait(to, prior)
		for _, flag := range []waitCell{flagReady, flagStalled, flagFailed, flagEvicted} {
			if t.is(from, flag) {
				t.set(to, flag)
			}
		}
	}
}

// trace tells how the world came about.
func (w *world) trace() string {
	var steps []string
	for ; w.parent != nil; w = w.parent {
		steps = append(steps, w.by)
	}
	slices.Reverse(steps)
	return strings.Join(steps, ", ")
}

// deliver merges a remote entry and starts to apply it.
func (w *world) deliver(e crdt.Entry) {
	if err := w.m.clock.Observe(e.Version.Time, w.now); err != nil {
		panic(err)
	}
	if _, _, err := w.m.remote(e, w.now); err != nil {
		panic(err)
	}
	w.due()
}

// due starts the writes that a merge or a settling asked for.
func (w *world) due() {
	if ops, _ := w.m.takeWrites(1); len(ops) > 0 {
		op := ops[0]
		op.Key, op.Value = slices.Clone(op.Key), slices.Clone(op.Value)
		w.ops, w.start, w.written = []mapwatch.Op{op}, w.now, false
	}
}

// apply takes the apply under way one step further.
func (w *world) apply() {
	if !w.written {
		w.kernel = content{!w.ops[0].Delete, w.ops[0].Value}
		w.written = true
		return
	}
	ops := w.ops
	w.ops = nil
	w.ran(ops)
}

// refuse fails the apply under way, as a full map does.
func (w *world) refuse() {
	ops := w.ops
	ops[0].Err = mapwatch.ErrFull
	w.ops, w.refused = nil, true
	w.ran(ops)
}

// ran reports the end of an apply.
func (w *world) ran(ops []mapwatch.Op) {
	slot, _ := w.slot()
	w.m.applied(ops, []crdt.Slot{slot}, w.start, w.now)
	w.due()
}

// step is one thing that can happen next.
type step struct {
	name string
	do   func(*world) error
}

func (w *world) steps() []step {
	var steps []step
	if i := w.wrote; i < len(w.story.writes) {
		steps = append(steps, step{fmt.Sprintf("write %d", i), func(w *world) error {
			w.wrote++
			if i != 0 && i == w.story.evicts && !w.kernel.present {
				return nil // there is nothing to let go of
			}
			w.kernel = w.story.writes[i]
			w.open = append(w.open, i)
			return nil
		}})
	}
	for at, i := range w.open {
		steps = append(steps, step{fmt.Sprintf("record %d", i), func(w *world) error {
			w.open = slices.Delete(w.open, at, at+1)
			w.times[i] = w.now
			if i != w.story.lost {
				w.ring = append(w.ring, i)
			}
			return nil
		}})
	}
	if w.ops != nil { // the owner does one thing at a time
		if w.story.refusal && !w.refused && !w.written {
			steps = append(steps, step{"refuse", func(w *world) error { w.refuse(); return nil }})
		}
		return append(steps, step{"apply", func(w *world) error { w.apply(); return nil }})
	}
	if slot, _ := w.slot(); w.waits() && w.m.unsettled[w.key] == nil {
		steps = append(steps, step{"retry", func(w *world) error {
			if !w.m.keys.is(slot, flagStalled) {
				return errors.New("an entry waits that nothing will look at")
			}
			w.m.unsettle([]byte(w.key), w.now) // as retry does once it comes to this key
			return nil
		}})
	}
	if len(w.ring) > 0 {
		steps = append(steps, step{fmt.Sprintf("process %d", w.ring[0]), func(w *world) error {
			i := w.ring[0]
			w.ring = slices.Delete(w.ring, 0, 1)
			c := w.story.writes[i]
			change := mapwatch.Change{Kind: mapwatch.Updated, Key: []byte(w.key), Value: c.value, Captured: w.times[i], CPU: uint32(i)}
			if !c.present {
				change.Kind = mapwatch.Deleted
			}
			if w.story.touched {
				change.Kind, change.Value = mapwatch.Touched, nil
			}
			if i != 0 && i == w.story.evicts {
				change.Kind = mapwatch.Evicted
			}
			w.m.record(change, change.Captured, w.now)
			return nil
		}})
	}
	for at, i := range w.remotes {
		steps = append(steps, step{fmt.Sprintf("remote %d", i), func(w *world) error {
			w.remotes = slices.Delete(w.remotes, at, at+1)
			r := w.story.remotes[i]
			wall := map[string]int64{"old": 5, "now": w.now, "ahead": w.now + int64(time.Minute)}[r.time]
			w.deliver(w.entry(r.content, wall))
			return nil
		}})
	}
	if u := w.m.unsettled[w.key]; u != nil {
		if u.look == nil {
			steps = append(steps, step{"look", func(w *world) error {
				u := w.m.unsettled[w.key]
				w.now = max(w.now, u.due)
				w.m.looked(w.key, w.kernel.clone(), w.now)
				return nil
			}})
		} else if len(w.ring) == 0 {
			steps = append(steps, step{"settle", func(w *world) error { return w.settle() }})
		}
	}
	if w.scans > 0 {
		steps = append(steps, step{"scan", func(w *world) error { w.scans--; w.scan(); return nil }})
	}
	return steps
}

func (w *world) scan() {
	if w.kernel.present {
		w.m.scanned(&scan{began: w.now}, []byte(w.key), w.kernel.value, 1, false, w.now, w.now)
	} else if slot, ok := w.slot(); ok && w.m.missing(slot, w.now) {
		w.m.find([]byte(w.key), w.now)
	}
}

func (w *world) settle() error {
	w.now++
	slot, stamped := w.m.settleKey(w.key, w.m.unsettled[w.key], w.now, func(boot int64) int64 { return boot })
	w.due()
	if e, _ := w.m.store.At(slot); stamped && !w.story.wrote(contentOf(e)) {
		return fmt.Errorf("remote content %q (deleted: %t) was stamped as a local write", e.Value, e.Deleted)
	}
	return nil
}

// wrote reports whether a writer other than the map itself writes that.
func (s *story) wrote(c content) bool {
	for i, written := range s.writes {
		if written.equal(c) && (i == 0 || i != s.evicts) {
			return true
		}
	}
	return false
}

// finish lets the world come to rest, scans, and checks the end.
func (w *world) finish() (err error) {
	w.scans = 0
	for range 3 {
		w.now += int64(time.Second)
		w.scan()
		for rounds := 0; ; rounds++ {
			steps := w.steps()
			if len(steps) == 0 {
				break
			}
			if rounds > 100 {
				return fmt.Errorf("does not come to rest after: %s", w.trace())
			}
			if w, err = w.then(steps[0]); err != nil {
				return err
			}
		}
	}
	e, known := w.m.store.Get([]byte(w.key))
	entry := content{}
	if known {
		entry = contentOf(e)
	}
	couldEvict := w.story.evicts < len(w.story.writes) || w.story.lost >= 0
	if !w.kernel.equal(entry) && !(couldEvict && w.evicted() && !w.kernel.present) {
		return fmt.Errorf("kernel holds %q (%t), store %q (%t) of %v after: %s", w.kernel.value, w.kernel.present, entry.value, entry.present, e.Version, w.trace())
	}
	if w.waits() {
		return fmt.Errorf("the entry still waits to be applied after: %s", w.trace())
	}
	if w.evicted() && w.kernel.present {
		return fmt.Errorf("an entry that the kernel holds counts as evicted after: %s", w.trace())
	}
	return nil
}

// fingerprint names the state up to a shift of time: two worlds in which all
// times have the same order and the same nearness behave alike for ever.
func (w *world) fingerprint() string {
	e, known := w.m.store.Get([]byte(w.key))
	u := w.m.unsettled[w.key]
	var r recent
	var prior fingerprint
	failed := false
	if slot, ok := w.slot(); ok {
		r, prior, failed = w.m.keys.recent(slot), w.m.keys.prior(slot), w.m.keys.is(slot, flagFailed)
	}
	if w.evicted() {
		prior++ // no other fingerprint is one more than absence
	}
	times := []int64{w.now, w.start, e.Version.Time.Wall, r.applyStart, r.applyEnd, r.since, r.captured}
	for _, i := range w.ring {
		times = append(times, w.times[i])
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%t%s|%d%v%v%v%d%t%t|%s%t%t%d%s|%v%d|%v%t", w.kernel.present, w.kernel.value, w.wrote, w.open, w.ring, w.remotes, w.scans, w.written, w.refused,
		e.Value, e.Deleted, known, e.Version.Time.Logical, e.Version.Member, r.base, r.cpu, prior, failed)
	for _, op := range w.ops {
		fmt.Fprintf(&b, "|%s%t", op.Value, op.Delete)
	}
	if u != nil {
		fmt.Fprintf(&b, "|u%d%t%t%t%t", u.stamps, u.again, u.deleted, u.evicted, r.deleted)
		for _, c := range []*content{u.look, u.first} {
			if c != nil {
				fmt.Fprintf(&b, "%t%s", c.present, c.value)
			}
			b.WriteByte(';')
		}
		times = append(times, u.due, u.touched)
	}
	sorted := slices.Clone(times)
	slices.Sort(sorted)
	sorted = slices.Compact(sorted)
	for _, t := range times {
		rank, _ := slices.BinarySearch(sorted, t)
		b.WriteByte(byte('a' + rank))
	}
	for i, s := range sorted {
		for _, t := range sorted[i+1:] {
			if t-s < closeness {
				b.WriteByte('.')
			} else {
				b.WriteByte('-')
			}
		}
	}
	return b.String()
}

// explore visits every state that the story can reach.
func explore(s *story) (states int, err error) {
	seen := make(map[string]bool)
	stack := []*world{s.begin()}
	for len(stack) > 0 {
		w := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		steps := w.steps()
		busy := w.wrote < len(s.writes) || len(w.open)+len(w.ring)+len(w.remotes) > 0 || w.ops != nil ||
			w.m.unsettled[w.key] != nil || w.waits()
		if !busy {
			end, err := w.then(step{"end", func(*world) error { return nil }})
			if err == nil {
				err = end.finish()
			}
			if err != nil {
				return states, err
			}
		}
		for _, next := range steps {
			c, err := w.then(next)
			if err != nil {
				return states, err
			}
			if f := c.fingerprint(); !seen[f] {
				seen[f] = true
				states++
				stack = append(stack, c)
			}
		}
		w.drop()
	}
	return states, nil
}

// drop forgets what the mirror keeps of a world that is done with.
func (w *world) drop() {
	if slot, known := w.slot(); known {
		w.m.keys.held(slot)
	}
	delete(w.m.unsettled, w.key)
}
