package mapgossip

import (
	"math/bits"

	"github.com/mapgossip/mapgossip/crdt"
)

// unseenWords bounds one call of unseen: so many words of 64 slots are walked
// and at most so many keys (and a word more) are unsettled. Either takes the
// owner some milliseconds at most.
const (
	unseenWords = 2048
	unseenKeys  = 4096
)

// scan is one comparison of the whole kernel map with the store: scanned takes
// what the kernel holds, then unseen finds what it does not. It costs a bit for
// each slot.
type scan struct {
	began int64     // boot: no element was read before
	slots crdt.Slot // only keys below were in the store at that moment
	seen  []uint64  // bit i%64 of word i/64: the key of slot i was read
	next  int       // the word at which unseen goes on

	findings *findings // of whoever asked for it; nil: nobody did

	drained bool // many keys were deleted at once before it began
}

// beginScan starts a comparison; now is before the kernel's map is read. Scans
// do not know of each other: several may be under way.
func (m *mirror) beginScan(now int64) *scan {
	slots := m.store.Slots()
	return &scan{began: now, slots: slots, seen: make([]uint64, (int(slots)+63)/64)}
}

// scanned compares n elements that a scan read with the store; keys and values
// lie end to end. Differing keys are unsettled, none is believed from the scan
// alone, unless it can't be had otherwise (restless). at is when the scan began
// to read them (boot). With importing set, keys that the store does not know
// become entries of the oldest version there is: what a map held before its
// first agent started loses to anything that the cluster knows.
//
// With importing set and entries of an earlier run at hand, they are compared
// with these: in the same kernel map, what differs was written since; in another
// one, nobody knows how old it is. It returns the slots of the entries that were
// made, valid until the next call.
func (m *mirror) scanned(s *scan, keys, values []byte, n int, importing bool, at, now int64) []crdt.Slot {
	m.imports = m.imports[:0]
	if n == 0 {
		return nil
	}
	oldest := importing && (m.restored == nil || !m.restored.same)
	kb, vb := len(keys)/n, len(values)/n
	for i := range n {
		if i%aheadKeys == 0 {
			m.ahead(n-i, func(j int) []byte { return keys[(i+j)*kb : (i+j+1)*kb] })
		}
		key, found := keys[i*kb:(i+1)*kb], content{true, values[i*vb : (i+1)*vb]}
		slot, known := m.store.Find(key)
		if !known {
			if counts := m.counts(found); counts && oldest {
				// The error is a wrong size, which the scan's contract rules out.
				slot, won, _ := m.store.Merge(crdt.Entry{Key: key, Value: found.value, Version: crdt.Version{Time: m.foundTime(), Member: m.member}})
				if won {
					m.imports = append(m.imports, slot)
				}
			} else if counts {
				m.differs(s, key, found, at, now)
			}
			continue
		}
		if slot < s.slots {
			s.seen[slot/64] |= 1 << (slot % 64)
		}
		if importing && m.restored != nil && !m.restored.same {
			e, _ := m.store.At(slot)
			switch r := m.keys.recent(slot); {
			case found.equal(contentOf(e)):
				m.keys.held(slot)
			case !m.keys.waits(slot) && r.active() != 0: // applied there, or written, since
				m.differs(s, key, found, at, now)
			default:
				m.outdated(slot, found)
			}
			continue
		}
		if prior := m.keys.prior(slot); prior != 0 {
			if prior != found.fingerprint(m.seed) {
				m.differs(s, key, found, at, now)
			}
			continue
		}
		e, _ := m.store.At(slot)
		if found.equal(contentOf(e)) || importing && m.restored != nil && m.outdated(slot, found) {
			continue
		}
		if !e.Deleted || m.counts(found) || m.applies {
			m.differs(s, key, found, at, now)
		}
	}
	return m.imports
}

// foundTime is the version of what the first scan finds and the store does not know.
func (m *mirror) foundTime() crdt.Timestamp {
	if m.found.Wall == 0 {
		return m.found
	}
	return m.stamp(m.found.Wall, crdt.Timestamp{}) // more may have been promised since
}

// differs takes a key of which a scan read something else than the store says.
func (m *mirror) differs(s *scan, key []byte, found content, at, now int64) {
	s.findings.add(m.find(key, now))
	m.restless(key, found, at)
}

// unseen unsettles the live, applied entries whose keys a whole scan did not
// read, though it should have. It does a part of the work at a time and reports
// whether it is done; other things may happen to the mirror between the calls.
func (m *mirror) unseen(s *scan, now int64) (done bool) {
	found := 0
	for end := min(s.next+unseenWords, len(s.seen)); s.next < end && found < unseenKeys; s.next++ {
		for missing := ^s.seen[s.next]; missing != 0; missing &= missing - 1 {
			slot := crdt.Slot(64*s.next + bits.TrailingZeros64(missing))
			if slot >= s.slots {
				break
			}
			if m.restored != nil && !m.restored.same {
				if m.refill(slot) {
					found++
				}
				continue
			}
			if !m.missing(slot, s.began) || m.restored != nil && m.outdated(slot, content{}) {
				continue
			}
			e, _ := m.store.At(slot)
			u := m.find(e.Key, now)
			u.drained = s.drained
			s.findings.add(u)
			found++
		}
	}
	return s.next == len(s.seen)
}

// missing reports whether a key that a scan did not read should have been in
// the kernel's map ever since the scan began. A key that changed since may have
// come, or gone and come, behind the scan's back: its records tell, or the next scan.
func (m *mirror) missing(slot crdt.Slot, began int64) bool {
	if e, known := m.store.At(slot); !known || e.Deleted || m.keys.waits(slot) {
		return false
	}
	r := m.keys.recent(slot)
	return r.active() < began
}

// find asks for a look at a key that differed in a scan. What the scan read may
// just be older than what was merged and applied since.
func (m *mirror) find(key []byte, now int64) *unsettled {
	u := m.unsettle(key, now)
	u.scan = true
	return u
}
