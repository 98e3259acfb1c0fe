package mapgossip

import (
	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// An LRU map lets go of keys to make room for others. That says nothing of the
// entry: the host that inserted it may need it, so it stays in the store and on
// the other members, and it is not written here again, which would cost another
// key its place. It is, once a newer entry comes.
//
// Nobody would ever delete what all members let go of. So a member remembers
// which of its own entries it let go of last, as many as the map has room for,
// and deletes what comes before these.

// evicted takes a record that the kernel let go of a key.
func (m *mirror) evicted(c mapwatch.Change, now int64) {
	slot, known := m.store.Find(c.Key)
	if !known {
		return // its insertion did not count
	}
	e, _ := m.store.At(slot)
	r := m.keys.recent(slot)
	near := r.captured != 0 && r.cpu != c.CPU && c.Captured-r.captured < closeness ||
		r.applyEnd != 0 && c.Captured <= r.applyEnd+closeness
	if e.Deleted || m.keys.waits(slot) || c.Captured < r.since || near {
		m.unsettle(c.Key, now).evicted = true
		return
	}
	m.evict(slot)
	m.restart(c.Key, now)
}

// evict notes that the kernel let go of a key's entry.
func (m *mirror) evict(slot crdt.Slot) {
	m.keys.wait(slot, absence)
	if !m.keys.set(slot, flagEvicted) {
		return
	}
	if e, _ := m.store.At(slot); e.Version.Member != m.member {
		return
	}
	if m.keys.set(slot, flagAging) {
		m.aging.push(slot)
	} else { // its place is that of an earlier time
		m.keys.set(slot, flagAgain)
	}
}

// explainAbsence decides why the kernel's map does not have a key whose entry is
// a value; v is what it would mean for a map that lets go of nothing. A delete
// has a record that says so, in all modes that have records (mapwatch.Touched
// is of updates only, for such a map). If that is lost, it passes for an
// eviction: rather a delete too few than one too many.
func (m *mirror) explainAbsence(slot crdt.Slot, u *unsettled, v verdict) verdict {
	switch {
	case m.keys.is(slot, flagEvicted):
		return verdictInSync
	case v == verdictWrite, u.drained, u.deleted && !u.evicted:
		return v
	case m.keys.waits(slot):
		return verdictWrite
	}
	return verdictEvict
}

// expire deletes entries of this member's that the kernel let go of before the
// latest ones, which are limit. It returns their slots, that they be spread. The
// deletes are stamped as early as may be: what another member wrote a moment ago
// and is still on its way is newer. They are no local deletes, which EventsUpdate
// would keep here: without them the store grows for ever.
func (m *mirror) expire(limit int) (expired []crdt.Slot) {
	if m.aging.len() > 2*limit { // most are back in the kernel's map
		for range m.aging.len() {
			if slot := m.aging.pop(); m.keys.is(slot, flagEvicted) {
				m.aging.push(slot)
			} else {
				m.keys.unset(slot, flagAging)
			}
		}
	}
	for m.keys.aging > limit {
		slot := m.aging.pop()
		m.keys.unset(slot, flagAging)
		if m.keys.unset(slot, flagAgain) {
			m.keys.set(slot, flagAging)
			m.aging.push(slot)
			continue
		}
		e, known := m.store.At(slot)
		if !known || e.Deleted || e.Version.Member != m.member || !m.keys.is(slot, flagEvicted) || !m.sends {
			continue
		}
		deleted := crdt.Entry{Key: e.Key, Deleted: true,
			Version: crdt.Version{Time: m.stamp(0, e.Version.Time), Member: m.member}}
		if slot, won, err := m.store.Merge(deleted); err == nil && won {
			m.keys.held(slot)
			expired = append(expired, slot)
		}
	}
	return expired
}
