package fake

import "slices"

// Loss is a way in which records of changes get lost.
type Loss int

const (
	Dropped Loss = iota // no room in the ring: counted for the map, which is rescanned
	Missed              // recursion guard: counted for all maps of a watch, which are rescanned
	Silent              // nobody notices; only a periodic scan finds the change
)

// faults are armed by tests and strike the next operations of a map; guarded by
// the Kernel's mutex.
type faults struct {
	frozen    bool
	lose      int
	loss      Loss
	reverse   int
	misread   int
	failApply int
	applyErr  error
}

// Lose loses the records of the next n writes (of this map, not of applies).
// The writes happen. n counts anew, it does not add up; so for all faults.
func (m *Map) Lose(n int, loss Loss) {
	m.k.mu.Lock()
	defer m.k.mu.Unlock()
	m.faults.lose, m.faults.loss = n, loss
}

// Reverse puts each of the next n records before those of them that wait in
// the ring already, as when writers on several CPUs reach the ring in another
// order than the map. The stamps tell the order of the writes.
func (m *Map) Reverse(n int) {
	m.k.mu.Lock()
	defer m.k.mu.Unlock()
	m.faults.reverse = n
	for _, c := range m.k.captures {
		for i, watched := range c.maps {
			if watched == m {
				c.reversed[i] = -1
			}
		}
	}
}

// Misread makes the next n Lookups that find their key return the value of
// another key, if the map has one: the race of which mapwatch.Map.Lookup warns.
func (m *Map) Misread(n int) {
	m.k.mu.Lock()
	defer m.k.mu.Unlock()
	m.faults.misread = n
}

// FailApply gives the next n ops of Apply this error and does not do them: an
// error for which mapwatch.Op.Err has a sentinel, such as mapwatch.ErrBusy.
func (m *Map) FailApply(n int, err error) {
	m.k.mu.Lock()
	defer m.k.mu.Unlock()
	m.faults.failApply, m.faults.applyErr = n, err
}

// Freeze makes every Apply fail with mapwatch.ErrFrozen, for ever. Programs
// write on.
func (m *Map) Freeze() {
	m.k.mu.Lock()
	defer m.k.mu.Unlock()
	m.faults.frozen = true
}

// strike uses up one of n.
func strike(n *int) bool {
	if *n == 0 {
		return false
	}
	*n--
	return true
}

// otherValueLocked is the value of the first key, in key order, that is not key.
func (m *Map) otherValueLocked(key string) ([]byte, bool) {
	keys := m.keysLocked()
	i := slices.IndexFunc(keys, func(k string) bool { return k != key })
	if i < 0 {
		return nil, false
	}
	return m.values[keys[i]], true
}
