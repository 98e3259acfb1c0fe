package mapgossip

import (
	"container/heap"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
)

const (
	// settleDelay lets a write that is under way, and its record, arrive
	// before the key is looked at.
	settleDelay = int64(2 * time.Millisecond)
	// confirmDelay lies between the two equal looks that it takes to believe
	// in a local write of which no record told.
	confirmDelay = int64(10 * time.Millisecond)
	// confirmLooks bounds that wait for a key that is written in place all the
	// time, so that no two looks are equal: then the latest look counts.
	confirmLooks = 3
	// vainLooks is after how many looks without two equal reads a scan's word
	// is taken instead.
	vainLooks = 10
)

// unsettled is a key whose kernel content must be looked at, because records
// and applies came too close to tell their order, or a record said just that
// the key changed, or a scan found it different.
type unsettled struct {
	due      int64    // boot: not to be looked at before
	look     *content // what was there
	lookedAt int64    // boot: when the look began
	first    *content // what an earlier look found, if that asked for a stamp
	stamps   int      // how often a look asked for a stamp
	vain     int      // how often no two reads of a look agreed
	touched  int64    // boot: the latest record that named the key without its value; 0 if none
	again    bool     // touched since the look
	queued   bool     // in mirror.looks
	scan     bool     // a scan asked for the look
	drained  bool     // and many keys had been deleted at once before that
	deleted  bool     // a record said so, which others came close to
	evicted  bool     // a record said so

	findings *findings // of the latest scan that somebody asked for and that found the key; nil: none
}

// lookQueue has the unsettled keys that wait for a look, the earliest first
// (container/heap). A key is in it once; when its time has been put off since,
// it goes back.
type lookQueue []dueLook

type dueLook struct {
	due int64
	key string
}

func (q lookQueue) Len() int           { return len(q) }
func (q lookQueue) Less(i, j int) bool { return q[i].due < q[j].due }
func (q lookQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *lookQueue) Push(x any)        { *q = append(*q, x.(dueLook)) }
func (q *lookQueue) Pop() any {
	last := len(*q) - 1
	x := (*q)[last]
	(*q)[last] = dueLook{}
	*q = (*q)[:last]
	return x
}

// lookAfter makes a look at key due after some time.
func (m *mirror) lookAfter(key string, u *unsettled, due int64) {
	u.look, u.due = nil, due
	if !u.queued {
		u.queued = true
		heap.Push(&m.looks, dueLook{due, key})
	}
}

// restart forgets what looks at an unsettled key found: something happened to
// it since.
func (m *mirror) restart(key []byte, now int64) {
	if len(m.unsettled) == 0 {
		return
	}
	if u := m.unsettled[string(key)]; u != nil {
		u.first, u.stamps, u.vain = nil, 0, 0
		u.deleted, u.evicted = false, false
		m.lookAfter(string(key), u, now+settleDelay)
	}
}

// unsettle asks for a look at key.
func (m *mirror) unsettle(key []byte, now int64) *unsettled {
	u := m.unsettled[string(key)]
	if u == nil {
		u = &unsettled{}
		kept := string(key)
		m.unsettled[kept] = u
		m.lookAfter(kept, u, now+settleDelay)
	}
	return u
}

// touch asks for a look at key because a record without a value named it.
// Unlike a record with a value it does not restart the looks: a key that is
// touched without end would never be read.
func (m *mirror) touch(key []byte, captured, now int64) *unsettled {
	u := m.unsettle(key, now)
	u.touched = max(u.touched, captured)
	u.again = u.look != nil
	return u
}

// dueLooks returns at most limit keys that are to be looked at now. Each must
// be given to looked or unreadable.
func (m *mirror) dueLooks(limit int, now int64) []string {
	var keys []string
	for len(m.looks) > 0 && m.looks[0].due <= now && len(keys) < limit {
		key := heap.Pop(&m.looks).(dueLook).key
		u := m.unsettled[key]
		if u == nil {
			continue // settled by what a scan read
		}
		u.queued = false
		if u.look != nil {
			continue // a scan has looked
		}
		if u.due > now { // put off since
			m.lookAfter(key, u, u.due)
			continue
		}
		keys = append(keys, key)
	}
	return keys
}

// looked takes what a look that began at the given time (boot) found. The
// content is kept.
func (m *mirror) looked(key string, found content, at int64) {
	u := m.unsettled[key]
	u.look, u.lookedAt = &found, at
	m.lookedAt = append(m.lookedAt, key)
}

// unreadable postpones a key of which no two reads agreed.
func (m *mirror) unreadable(key string, now int64) {
	u := m.unsettled[key]
	u.vain++
	m.lookAfter(key, u, now+confirmDelay)
}

// restless takes what a scan that began at the given time (boot) read of an
// unsettled key that is written in place so often that no look can tell its
// value. A scan reads under the bucket's lock, so what it says of such a key is
// believed, unless something happened to the key since.
func (m *mirror) restless(key []byte, found content, at int64) {
	u := m.unsettled[string(key)]
	if u.vain < vainLooks {
		return
	}
	if slot, known := m.store.Find(key); known {
		if r := m.keys.recent(slot); max(r.since, r.captured) >= at {
			return
		}
	}
	u.vain, u.stamps = 0, confirmLooks
	m.looked(string(key), found.clone(), at)
}

// settleLooked decides every key whose look is covered: upto says that all
// records submitted before it have been processed. wall maps a boot time to
// wall time. It returns the slots of the entries that missed local writes became;
// writes that became due are in takeWrites.
func (m *mirror) settleLooked(upto, now int64, wall func(boot int64) int64) []crdt.Slot {
	var stamped []crdt.Slot
	waiting := m.lookedAt[:0]
	for _, key := range m.lookedAt {
		u := m.unsettled[key]
		if u == nil || u.look == nil {
			continue // something happened to the key: it will be looked at again
		}
		if u.lookedAt >= upto {
			waiting = append(waiting, key)
			continue
		}
		if slot, ok := m.settleKey(key, u, now, wall); ok {
			stamped = append(stamped, slot)
		}
	}
	m.lookedAt = waiting
	return stamped
}

// settleKey carries out what settle decides of one key. It returns the slot of
// the entry that a missed local write became, if it did.
func (m *mirror) settleKey(key string, u *unsettled, now int64, wall func(int64) int64) (crdt.Slot, bool) {
	look := *u.look
	slot, known := m.store.Find([]byte(key))
	entry := content{}
	var base, prior fingerprint
	if known {
		cur, _ := m.store.At(slot)
		entry = contentOf(cur)
		base, prior = m.keys.recent(slot).base, m.keys.prior(slot)
	}
	waiting := prior != 0
	v := settle(look, entry, known, m.seed, base, prior)
	if m.evicts && entry.present && !look.present {
		v = m.explainAbsence(slot, u, v)
	}
	if base != 0 && base != look.fingerprint(m.seed) {
		// Only we write the base: it was overwritten, and should the value be
		// seen again, somebody else wrote it.
		m.keys.remember(slot, now).base = 0
	}
	if v == verdictStamp && !m.counts(look) {
		// Not ours to send. A receiver repairs its map; an entry that could not
		// be applied is newer than this; else it stays as a local matter.
		v = verdictInSync
		if known && (!m.sends || waiting) {
			v = verdictWrite
		}
	}
	if u.stamps++; v == verdictStamp && u.touched == 0 && u.stamps < confirmLooks && (u.first == nil || !u.first.equal(look)) {
		u.first = &look
		m.lookAfter(key, u, now+confirmDelay)
		return 0, false
	}

	m.counters.Settled++
	if u.scan && v != verdictInSync {
		m.counters.ScanFound++
	}
	delete(m.unsettled, key)
	u.findings.settled(v)
	if u.again {
		m.touch([]byte(key), u.touched, now).deleted = u.deleted
	}
	switch v {
	case verdictWrite:
		m.counters.SettleWrites++
		if !waiting {
			m.keys.wait(slot, look.fingerprint(m.seed))
		}
		m.keys.unset(slot, flagEvicted)
		m.queue(slot)
		u.findings.due(slot)
	case verdictEvict:
		m.evict(slot)
	case verdictStamp:
		stamped, won := m.stampMissed([]byte(key), u, now, wall)
		if won {
			u.findings.stamp()
			return stamped, true
		}
	case verdictInSync:
		if waiting && look.equal(entry) {
			m.keys.held(slot) // somebody else wrote the very same
		}
	}
	if known {
		m.stall(slot)
	}
	return 0, false
}

// stampMissed makes a version of a local write whose value was found by a look.
func (m *mirror) stampMissed(key []byte, u *unsettled, now int64, wall func(int64) int64) (crdt.Slot, bool) {
	slot, known := m.store.Find(key)
	var after crdt.Timestamp
	var since int64
	if known {
		since = m.keys.recent(slot).since
		if !m.keys.pending(slot) { // the kernel held the entry, so the write came after it
			cur, _ := m.store.At(slot)
			after = cur.Version.Time
		}
	}
	captured := u.lookedAt
	if u.touched > since {
		captured = u.touched // a record gave the time, though not the value
	}
	slot, won, err := m.store.Merge(crdt.Entry{Key: key, Value: u.look.value, Deleted: !u.look.present,
		Version: crdt.Version{Time: m.stamp(wall(captured), after), Member: m.member}})
	if err != nil || !won {
		return 0, false
	}
	m.counters.Local++
	if u.touched == 0 {
		m.counters.SettleStamps++
	}
	m.keys.held(slot)
	r := m.keys.remember(slot, now)
	r.since, r.captured, r.deleted = captured, captured, !u.look.present
	return slot, true
}
