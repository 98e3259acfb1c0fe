package mapgossip

import (
	"hash/maphash"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// closeness is how near to each other an apply and a record, or records from
// two CPUs, must be for their order to be in doubt. A record's time is read in
// the hook, after the write: on a preemptible kernel a hook can be held up for
// a time slice in between.
const closeness = int64(20 * time.Millisecond)

// mirror relates one kernel map to its store: it turns records into versions,
// remote entries into writes, and decides what a key needs when the two differ.
// It is pure: it waits for nothing, reads no clock and calls no kernel. Times
// named boot are mapwatch.Kernel.Now, times named wall are nanoseconds since
// 1970. The Node's owner goroutine is its only user.
type mirror struct {
	store    *crdt.Store
	clock    *crdt.Clock    // shared by the maps of a Node
	above    crdt.Timestamp // below and at which nothing is stamped any more
	found    crdt.Timestamp // of what the map held before its first agent
	restored *restored      // nil: no earlier run, or it is all settled
	member   string
	seed     maphash.Seed

	sends    bool // local changes become versions
	applies  bool // entries are written to the kernel
	updates  bool // local updates count as changes
	deletes  bool // local deletes count as changes
	unbound  bool // there is no kernel map
	touches  bool // records of updates have no values: deletes are not to be believed before later updates are
	evicts   bool // the kernel's map lets go of keys to make room (LRU), which is a local matter
	counters counters

	keys    keyTable
	ready   slotQueue // keys that wait for a write, due in takeWrites
	stalled slotQueue // keys that wait for a write and are to be looked at first
	aging   slotQueue // evicted keys with an entry of this member's, the longest ago first
	refusal error     // why the kernel refused a write, the latest reason
	ops     []mapwatch.Op
	writing []crdt.Slot // of ops
	stamps  []int64     // of ops: lagStamp
	turned  []crdt.Slot // of entries that the kernel refused, or has after all
	imports []crdt.Slot // memory for scanned
	next    [][]byte    // memory for ahead

	lags    lagHistogram // of entries stamped after lagFrom
	lagFrom int64        // wall; lagUntold: of none

	// Keys in doubt are rare, and the store need not know them.
	unsettled map[string]*unsettled
	looks     lookQueue // unsettled keys that wait for a look
	lookedAt  []string  // unsettled keys whose look waits for the records before it
}

// counters of a mirror; they never decrease.
type counters struct {
	Local        uint64 `json:"local"`         // local changes that became versions
	Remote       uint64 `json:"remote"`        // remote entries that won
	Applied      uint64 `json:"applied"`       // writes that the kernel took
	ApplyErrors  uint64 `json:"apply_errors"`  // writes that it refused
	Echoes       uint64 `json:"echoes"`        // own applies that came back as records and were recognised by content
	Settled      uint64 `json:"settled"`       // keys that were looked at because their order was in doubt
	SettleWrites uint64 `json:"settle_writes"` // of these: older applies written over
	SettleStamps uint64 `json:"settle_stamps"` // of these: local changes that no record told of
	Scans        uint64 `json:"scans"`         // whole-map comparisons
	ScanFound    uint64 `json:"scan_found"`    // keys that a scan found to differ, and a second look too
	Evicted      uint64 `json:"evictions"`     // keys that the kernel let go of to make room
	FutureTimes  uint64 `json:"future_times"`  // remote entries refused because their time is too far ahead
}

func newMirror(shape mapwatch.Shape, options MapOptions, member string, clock *crdt.Clock, seed maphash.Seed) *mirror {
	return &mirror{
		store:     crdt.NewStore(shape.KeyBytes, shape.ValueBytes),
		clock:     clock,
		member:    member,
		seed:      seed,
		sends:     options.Direction != DirectionReceive,
		applies:   options.Direction != DirectionSend,
		updates:   options.Events != EventsDelete,
		deletes:   options.Events != EventsUpdate,
		evicts:    shape.Type == mapwatch.TypeLRUHash && options.Evict != EvictDelete,
		lagFrom:   lagUntold,
		unsettled: make(map[string]*unsettled),
	}
}

// aheadKeys is how many keys are looked up together.
const aheadKeys = 128

// ahead waits for the memory that the store needs for n keys, key(0) and on, all
// at once: in a large store each would else wait for its own.
func (m *mirror) ahead(n int, key func(i int) []byte) {
	m.next = m.next[:0]
	for i := range min(n, aheadKeys) {
		m.next = append(m.next, key(i))
	}
	m.store.Touch(m.next)
	clear(m.next)
}

// counts reports whether a local change to c is to become a version.
func (m *mirror) counts(c content) bool {
	return m.sends && (c.present && m.updates || !c.present && m.deletes)
}

// record takes one captured change; wall is its Captured as wall time. It
// returns the slot of the entry that it became, if that won. Nothing of c is kept.
func (m *mirror) record(c mapwatch.Change, wall, now int64) (crdt.Slot, bool) {
	switch {
	case c.Kind == mapwatch.Touched:
		m.touch(c.Key, c.Captured, now)
		return 0, false
	case c.Kind == mapwatch.Deleted && m.touches:
		m.touch(c.Key, c.Captured, now).deleted = true
		return 0, false
	case c.Kind == mapwatch.Evicted:
		m.counters.Evicted++
		if m.evicts {
			m.evicted(c, now)
			return 0, false
		}
	}
	got := content{c.Kind == mapwatch.Updated, c.Value}
	if !m.counts(got) {
		if !m.sends {
			m.unsettle(c.Key, now)
		}
		return 0, false
	}
	slot, known := m.store.Find(c.Key)
	waiting := false
	var after crdt.Timestamp
	if known {
		r := m.keys.recent(slot)
		if r.base != 0 && r.applyStart <= c.Captured && c.Captured <= r.applyEnd && got.fingerprint(m.seed) == r.base {
			m.counters.Echoes++
			m.unsettle(c.Key, now)
			return 0, false
		}
		// A write that followed what the store says is newer than it, whatever
		// clock stamped that. One that did not is concurrent: it keeps its own time.
		waiting = m.keys.pending(slot)
		if (!waiting || !m.applies) && c.Captured >= r.since {
			cur, _ := m.store.At(slot)
			after = cur.Version.Time
		}
	}
	slot, won, err := m.store.Merge(crdt.Entry{Key: c.Key, Value: c.Value, Deleted: !got.present,
		Version: crdt.Version{Time: m.stamp(wall, after), Member: m.member}})
	if err != nil { // a shape that the capture vouches for: only a scan can tell what happened
		m.unsettle(c.Key, now)
		return 0, false
	}

	// The first record after an apply is not enough to say that the base is
	// gone: it may be late. A look is.
	r := m.keys.remember(slot, now)
	doubt := !won ||
		r.base != 0 && r.base != got.fingerprint(m.seed) ||
		r.applyEnd != 0 && c.Captured <= r.applyEnd+closeness ||
		r.captured != 0 && r.cpu != c.CPU && c.Captured-r.captured < closeness
	deleted := !got.present || r.deleted && c.Captured-r.captured < closeness
	if won {
		m.counters.Local++
		r.since = c.Captured
	}
	if c.Captured >= r.captured {
		r.captured, r.cpu, r.deleted = c.Captured, c.CPU, !got.present
	}
	if won {
		m.keys.held(slot)
	} else if m.keys.waits(slot) {
		m.keys.unset(slot, flagEvicted)
		m.keys.wait(slot, got.fingerprint(m.seed))
	}
	m.restart(c.Key, now)
	if doubt {
		m.unsettle(c.Key, now).deleted = deleted
	}
	return slot, won
}

// remote merges an entry of another member, of which nothing is kept, and
// reports whether it won, and its slot. What must be written to the kernel for
// it is then due in takeWrites.
func (m *mirror) remote(e crdt.Entry, now int64) (slot crdt.Slot, won bool, err error) {
	slot, known := m.store.Find(e.Key)
	waiting, same, prior := false, e.Deleted, absence
	if known {
		cur, _ := m.store.At(slot)
		waiting, same = m.keys.waits(slot), cur.SameContent(e)
		if !waiting && e.Compare(cur) > 0 { // else nothing asks for it
			prior = contentOf(cur).fingerprint(m.seed)
		}
	}
	slot, won, err = m.store.Merge(e)
	if err != nil || !won {
		return slot, false, err
	}
	m.counters.Remote++
	if same && !waiting && m.sends && m.updates && m.deletes { // else the kernel may hold what stayed local
		return slot, true, nil
	}
	if !waiting {
		m.keys.wait(slot, prior)
	}
	m.keys.unset(slot, flagEvicted)
	m.keys.set(slot, flagFresh)
	if !m.applies { // nothing will tell when this host's programs knew of it
		m.keys.remember(slot, now).since = now
	}
	m.queue(slot)
	m.restart(e.Key, now)
	return slot, true, nil
}

// queue makes a key that waits due in takeWrites.
func (m *mirror) queue(slot crdt.Slot) {
	if m.applies && m.keys.set(slot, flagReady) {
		m.ready.push(slot)
	}
}

// stall leaves a key, if it waits and is not due in takeWrites, to retry.
func (m *mirror) stall(slot crdt.Slot) {
	if m.applies && m.keys.waits(slot) && !m.keys.is(slot, flagReady|flagEvicted) && m.keys.set(slot, flagStalled) {
		m.stalled.push(slot)
	}
}

// takeWrites returns the writes that are due, at most limit (each key once), and
// their slots, and forgets that they were. Every one must be given to applied,
// before anything is merged: keys and values are the store's memory. Both slices
// are valid until the next call.
func (m *mirror) takeWrites(limit int) ([]mapwatch.Op, []crdt.Slot) {
	m.ops, m.writing, m.stamps = m.ops[:0], m.writing[:0], m.stamps[:0]
	for range min(limit, m.ready.len()) {
		slot := m.ready.pop()
		if !m.keys.unset(slot, flagReady) {
			continue // a local change won meanwhile
		}
		if e, known := m.store.At(slot); known {
			m.ops = append(m.ops, mapwatch.Op{Key: e.Key, Value: e.Value, Delete: e.Deleted})
			m.writing = append(m.writing, slot)
			m.stamps = append(m.stamps, m.lagStamp(slot, e))
		}
	}
	return m.ops, m.writing
}

// applied takes what became of the writes of these slots, which ran from start
// to end (boot). Nothing may have been merged since takeWrites.
func (m *mirror) applied(ops []mapwatch.Op, slots []crdt.Slot, start, end int64) {
	for i := range ops {
		op, slot := &ops[i], slots[i]
		if op.Err != nil {
			m.counters.ApplyErrors++
			m.refusal = op.Err
			if m.keys.set(slot, flagFailed) {
				m.turned = append(m.turned, slot)
			}
			m.stall(slot)
			continue
		}
		m.counters.Applied++
		if m.keys.is(slot, flagFailed) {
			m.turned = append(m.turned, slot)
		}
		m.keys.held(slot)
		r := m.keys.remember(slot, end)
		close := r.captured != 0 && start-r.captured < closeness
		r.base = content{!op.Delete, op.Value}.fingerprint(m.seed)
		r.applyStart, r.applyEnd, r.since = start, end, start
		m.restart(op.Key, end)
		if close {
			m.unsettle(op.Key, end)
		}
	}
}

// takeTurned returns the entries that the kernel refused, or took after having
// refused them, or will not get at all, once. The slice is valid until the next call of applied.
func (m *mirror) takeTurned() []crdt.Slot {
	turned := m.turned
	m.turned = m.turned[:0]
	return turned
}

// retry asks for a look at, at most, limit entries that could not be applied:
// something may have been written there meanwhile. The look makes them due again.
// Each has its turn; keys that need none are passed over, at most retryWalk.
func (m *mirror) retry(limit int, now int64) {
	for range min(m.stalled.len(), retryWalk) {
		if limit == 0 {
			return
		}
		slot := m.stalled.pop()
		m.keys.unset(slot, flagStalled)
		if !m.keys.waits(slot) || m.keys.is(slot, flagReady|flagEvicted) {
			continue
		}
		m.stall(slot)
		e, _ := m.store.At(slot)
		if m.unsettled[string(e.Key)] == nil {
			m.unsettle(e.Key, now)
			limit--
		}
	}
}

// pendingApply counts the entries that the kernel should hold and does not,
// and gives the latest reason if it refused one of them.
func (m *mirror) pendingApply() (n int, reason error) {
	if !m.applies {
		return 0, nil
	}
	if m.keys.failed > 0 {
		reason = m.refusal
	}
	return m.keys.waiting - m.keys.evicted, reason
}
