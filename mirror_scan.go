package mapgossip

import (
	"github.com/mapgossip/mapgossip/crdt"
)

// scanned compares n elements that a scan read with the store; keys and values
// lie end to end. Differing keys are unsettled, none is believed from the scan
// alone, unless it can't be had otherwise (restless). at is when the scan began
// to read them (boot). With importing set, keys that the store does not know become entries
// of the oldest version there is: what a map held before its first agent
// started loses to anything that the cluster knows. It returns how many
// elements are live, applied entries.
func (m *mirror) scanned(keys, values []byte, n int, importing bool, at, now int64) (matched int) {
	if n == 0 {
		return 0
	}
	kb, vb := len(keys)/n, len(values)/n
	for i := range n {
		key, value := keys[i*kb:(i+1)*kb], values[i*vb:(i+1)*vb]
		e, known := m.store.Get(key)
		if !known && importing && m.counts(content{true, value}) {
			// The error is a wrong size, which the scan's contract rules out.
			_, _, _ = m.store.Merge(crdt.Entry{Key: key, Value: value, Version: crdt.Version{Member: m.member}})
			matched++
			continue
		}
		found := content{true, value}
		p, waiting := m.pending[string(key)]
		switch {
		case waiting:
			if p.prior != found.fingerprint(m.seed) {
				m.differs(key, found, at, now)
			}
		case known && !e.Deleted:
			matched++
			if !found.equal(contentOf(e)) {
				m.differs(key, found, at, now)
			}
		case m.counts(found) || known && m.applies:
			m.differs(key, found, at, now)
		}
	}
	return matched
}

// differs takes a key of which a scan read something else than the store says.
func (m *mirror) differs(key []byte, found content, at, now int64) {
	m.find(key, now)
	m.restless(string(key), found, at)
}

// expected counts the live entries that the kernel should hold.
func (m *mirror) expected() int {
	live, _ := m.store.Len()
	for key := range m.pending {
		if e, known := m.store.Get([]byte(key)); known && !e.Deleted {
			live--
		}
	}
	return live
}

// absent unsettles every live, applied entry whose key a whole scan did not see.
func (m *mirror) absent(seen map[string]struct{}, now int64) {
	for e := range m.store.All() {
		if _, ok := seen[string(e.Key)]; !ok {
			m.unseen(e, now)
		}
	}
}

// unseen takes an entry whose key a whole scan did not see.
func (m *mirror) unseen(e crdt.Entry, now int64) {
	if _, waiting := m.pending[string(e.Key)]; !waiting && !e.Deleted {
		m.find(e.Key, now)
	}
}

// find asks for a look at a key that differed in a scan. What the scan read may
// just be older than what was merged and applied since.
func (m *mirror) find(key []byte, now int64) {
	m.unsettle(string(key), now).scan = true
}
