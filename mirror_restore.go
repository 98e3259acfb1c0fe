package mapgossip

import (
	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/state"
)

// restored is what a mirror must know, until the kernel's map was read for the
// first time, of the run before.
type restored struct {
	floor int64 // of the map
	same  bool  // it is the kernel map of that run; else it holds what nobody knows of
	keys  map[crdt.Slot]restoredKey
}

// restoredKey is of a key whose entry the kernel may not hold, because an apply
// was under way, or not possible, when the run ended.
type restoredKey struct {
	waited bool            // the kernel refused the entry
	priors []state.Content // what it may hold instead
}

// beginRestore says that entries of an earlier run follow. same: the kernel's
// map is the one of that run. floor is that of its Progress.
func (m *mirror) beginRestore(same bool, floor int64) {
	m.restored = &restored{same: same, floor: floor, keys: make(map[crdt.Slot]restoredKey)}
}

// restore merges one entry of an earlier run.
func (m *mirror) restore(e state.SavedEntry) error {
	slot, won, err := m.store.Merge(e.Entry)
	if err != nil || !won {
		return err
	}
	// What this member stamped, the kernel had already; a tombstone as old as the
	// floor is what others told of an entry that this member had stamped.
	told := e.Deleted && e.Version.Time.Wall <= m.restored.floor
	if m.restored.same && (e.Waiting || len(e.Priors) > 0 && (told || e.Version.Member != m.member)) {
		priors := make([]state.Content, len(e.Priors))
		for i, p := range e.Priors {
			priors[i] = state.Content{Value: append([]byte(nil), p.Value...), Absent: p.Absent}
		}
		m.restored.keys[slot] = restoredKey{e.Waiting, priors}
	}
	return nil
}

// assumeEmpty says that the kernel's map holds none of the store's values, until
// the first scan finds some. Of one that is not there yet, that it may hold
// them: their tombstones stay until it is.
func (m *mirror) assumeEmpty() {
	prior := absence
	for slot := range m.store.Slots() {
		if e, known := m.store.At(slot); known && !e.Deleted {
			if m.unbound {
				prior = contentOf(e).fingerprint(m.seed)
			}
			m.keys.wait(slot, prior)
		}
	}
}

// refill makes due what the first scan of another kernel map than before did not
// find there. It reports whether the key needs it.
func (m *mirror) refill(slot crdt.Slot) bool {
	if !m.keys.waits(slot) {
		return false // written since
	}
	m.queue(slot)
	if !m.applies { // it stays so: the next run must know
		m.turned = append(m.turned, slot)
	}
	return true
}

// stuck reports whether the kernel does not hold a key's entry and will not soon.
func (m *mirror) stuck(slot crdt.Slot) bool {
	return m.keys.is(slot, flagFailed) || !m.applies && m.keys.waits(slot)
}

// outdated takes what the first scan found at a key that an earlier run left an
// entry of. It reports whether the kernel just does not have that entry yet,
// which is then due to be written; else somebody wrote the key meanwhile.
func (m *mirror) outdated(slot crdt.Slot, found content) bool {
	r := m.restored
	if r.same {
		key := r.keys[slot]
		ours := key.waited
		for _, p := range key.priors {
			ours = ours || found.equal(content{!p.Absent, p.Value})
		}
		if !ours {
			return false
		}
	}
	m.keys.wait(slot, found.fingerprint(m.seed))
	m.queue(slot)
	if !m.applies { // it stays so: the next run must know
		m.turned = append(m.turned, slot)
	}
	return true
}
