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
	store  *crdt.Store
	clock  *crdt.Clock // shared by the maps of a Node
	member string
	seed   maphash.Seed

	sends    bool // local changes become versions
	applies  bool // entries are written to the kernel
	updates  bool // local updates count as changes
	deletes  bool // local deletes count as changes
	counters counters

	recent    map[string]recent
	pending   map[string]pending
	ready     []string // pending keys to be written at the next takeWrites
	unsettled map[string]*unsettled
	looks     lookQueue // unsettled keys that wait for a look
	lookedAt  []string  // unsettled keys whose look waits for the records before it
}

// recent is what is remembered of a key for as long as a record of it may
// still be on its way.
type recent struct {
	base                 fingerprint // what we last wrote, if anything
	applyStart, applyEnd int64       // boot: around that write
	since                int64       // boot: from when on the kernel held the store's entry
	captured             int64       // boot: the latest record
	cpu                  uint32      // of that record
	used                 int64       // boot: when this was last of use
}

// pending is an entry that the kernel does not hold yet.
type pending struct {
	prior  fingerprint // what the kernel held before the entry came
	queued bool        // in ready
	err    error       // why the last try failed
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
		recent:    make(map[string]recent),
		pending:   make(map[string]pending),
		unsettled: make(map[string]*unsettled),
	}
}

// counts reports whether a local change to c is to become a version.
func (m *mirror) counts(c content) bool {
	return m.sends && (c.present && m.updates || !c.present && m.deletes)
}

// record takes one captured change; wall is its Captured as wall time. It
// returns the entry that it became, if that won.
func (m *mirror) record(c mapwatch.Change, wall, now int64) (crdt.Entry, bool) {
	key := string(c.Key)
	r := m.recent[key]
	if c.Kind == mapwatch.Touched {
		m.touch(key, c.Captured, now)
		return crdt.Entry{}, false
	}
	got := content{c.Kind == mapwatch.Updated, c.Value}
	if !m.counts(got) {
		if !m.sends {
			m.unsettle(key, now)
		}
		return crdt.Entry{}, false
	}
	if r.base.set && r.applyStart <= c.Captured && c.Captured <= r.applyEnd && got.fingerprint(m.seed) == r.base {
		m.counters.Echoes++
		m.unsettle(key, now)
		return crdt.Entry{}, false
	}

	cur, known := m.store.Get(c.Key)
	p, waiting := m.pending[key]
	// A write that followed what the store says is newer than it, whatever
	// clock stamped that. One that did not is concurrent: it keeps its own time.
	var after crdt.Timestamp
	if known && (!waiting || !m.applies) && c.Captured >= r.since {
		after = cur.Version.Time
	}
	e := crdt.Entry{Key: c.Key, Value: c.Value, Deleted: !got.present,
		Version: crdt.Version{Time: m.clock.Stamp(wall, after), Member: m.member}}
	_, won, err := m.store.Merge(e)
	if err != nil { // a shape that the capture vouches for: only a scan can tell what happened
		m.unsettle(key, now)
		return crdt.Entry{}, false
	}

	// The first record after an apply is not enough to say that the base is
	// gone: it may be late. A look is.
	doubt := !won ||
		r.base.set && r.base != got.fingerprint(m.seed) ||
		r.applyEnd != 0 && c.Captured <= r.applyEnd+closeness ||
		r.captured != 0 && r.cpu != c.CPU && c.Captured-r.captured < closeness
	if won {
		m.counters.Local++
		r.since = c.Captured
		delete(m.pending, key)
	} else if waiting {
		p.prior = got.fingerprint(m.seed)
		m.pending[key] = p
	}
	if c.Captured >= r.captured {
		r.captured, r.cpu = c.Captured, c.CPU
	}
	r.used = now
	m.recent[key] = r
	m.restart(key, now)
	if doubt {
		m.unsettle(key, now)
	}
	return e, won
}

// remote merges an entry of another member and reports whether it won. What
// must be written to the kernel for it is then due in takeWrites.
func (m *mirror) remote(e crdt.Entry, now int64) (bool, error) {
	key := string(e.Key)
	cur, known := m.store.Get(e.Key)
	before := content{}
	if known {
		before = contentOf(cur)
	}
	prior := before.fingerprint(m.seed)
	same := known && cur.SameContent(e) || !known && e.Deleted
	_, won, err := m.store.Merge(e)
	if err != nil || !won {
		return false, err
	}
	m.counters.Remote++
	p, waiting := m.pending[key]
	if same && !waiting && m.sends && m.updates && m.deletes { // else the kernel may hold what stayed local
		return true, nil
	}
	if !waiting {
		p.prior = prior
	}
	if !m.applies { // nothing will tell when this host's programs knew of it
		r := m.recent[key]
		r.since, r.used = now, now
		m.recent[key] = r
	}
	m.queue(key, p)
	m.restart(key, now)
	return true, nil
}

// queue makes key due in takeWrites.
func (m *mirror) queue(key string, p pending) {
	if !p.queued && m.applies {
		p.queued = true
		m.ready = append(m.ready, key)
	}
	m.pending[key] = p
}

// takeWrites returns the writes that are due, at most limit (each key once),
// and forgets that they were. Every one must be given to applied.
func (m *mirror) takeWrites(limit int) []mapwatch.Op {
	n := min(limit, len(m.ready))
	ops := make([]mapwatch.Op, 0, n)
	for _, key := range m.ready[:n] {
		p, waiting := m.pending[key]
		if !waiting || !p.queued {
			continue // a local change won meanwhile
		}
		p.queued = false
		m.pending[key] = p
		if e, known := m.store.Get([]byte(key)); known {
			ops = append(ops, mapwatch.Op{Key: e.Key, Value: e.Value, Delete: e.Deleted})
		}
	}
	if m.ready = m.ready[n:]; len(m.ready) == 0 {
		m.ready = nil
	}
	return ops
}

// applied takes what became of the writes that ran from start to end (boot).
// Nothing may have been merged since takeWrites.
func (m *mirror) applied(ops []mapwatch.Op, start, end int64) {
	for _, op := range ops {
		key := string(op.Key)
		if op.Err != nil {
			m.counters.ApplyErrors++
			p := m.pending[key]
			p.err = op.Err
			m.pending[key] = p
			continue
		}
		m.counters.Applied++
		delete(m.pending, key)
		r := m.recent[key]
		close := r.captured != 0 && start-r.captured < closeness
		r.base = content{!op.Delete, op.Value}.fingerprint(m.seed)
		r.applyStart, r.applyEnd, r.since, r.used = start, end, start, end
		m.recent[key] = r
		m.restart(key, end)
		if close {
			m.unsettle(key, end)
		}
	}
}

// retry makes at most limit entries that could not be applied due again. The
// key is looked at first: something may have been written there meanwhile.
func (m *mirror) retry(limit int, now int64) {
	if !m.applies {
		return
	}
	for key, p := range m.pending {
		if limit == 0 {
			return
		}
		if !p.queued && m.unsettled[key] == nil {
			m.unsettle(key, now)
			limit--
		}
	}
}

// forget drops what is remembered of keys that were quiet since the given time.
func (m *mirror) forget(before int64) {
	for key, r := range m.recent {
		if r.used < before {
			delete(m.recent, key)
		}
	}
}

// pendingApply counts the entries that the kernel should hold and does not,
// and gives one reason.
func (m *mirror) pendingApply() (n int, reason error) {
	if !m.applies {
		return 0, nil
	}
	for _, p := range m.pending {
		if p.err != nil {
			return len(m.pending), p.err
		}
	}
	return len(m.pending), nil
}
