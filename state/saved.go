package state

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"iter"
	"maps"
	"slices"

	"github.com/mapgossip/mapgossip/crdt"
)

// MaxPriors is how many priors of a key are told at most: the last ones.
const MaxPriors = 4

// Saved is what a state directory held when it was opened. It is not safe for
// concurrent use. It keeps the files it was read from in memory, which is
// some 30 bytes an entry more than keys and values, and 12 to 24 bytes a key and
// 16 a prior beside: drop it after use.
type Saved struct {
	Meta []byte // the latest blob; nil if there is none

	maps    map[string]*savedMap
	files   [][]byte
	members map[string]string // one string a member, however many entries
	seed    maphash.Seed
}

// SavedEntry is the greatest entry of a key that was written. Key, Value and
// Priors lie in the Saved and must not be written to.
type SavedEntry struct {
	crdt.Entry
	Waiting bool      // the kernel did not hold it when it was written
	Priors  []Content // what else the kernel may hold, oldest first
}

// Content is what a map holds at a key. A prior of a key is a content that
// entries in the journals replaced since Dir.Settled was last called, or since
// the snapshot, other than that of the greatest entry; an apply that was under
// way at the end left one of them in the kernel. Priors of a key are distinct.
type Content struct {
	Value  []byte
	Absent bool
}

func newSaved() *Saved {
	return &Saved{maps: map[string]*savedMap{}, members: map[string]string{}, seed: maphash.MakeSeed()}
}

// Maps returns the names of the maps that there are entries of, sorted.
func (s *Saved) Maps() []string { return slices.Sorted(maps.Keys(s.maps)) }

// Len returns how many keys there are entries of in a map.
func (s *Saved) Len(mapName string) int {
	if m := s.maps[mapName]; m != nil {
		return len(m.keys)
	}
	return 0
}

// Entries yields one entry a key of a map, in no order that means anything.
func (s *Saved) Entries(mapName string) iter.Seq[SavedEntry] {
	return func(yield func(SavedEntry) bool) {
		m := s.maps[mapName]
		if m == nil {
			return
		}
		for i, k := range m.keys {
			e := SavedEntry{Entry: s.at(k), Waiting: k&flagWaiting != 0}
			e.Priors = s.contents(m, i, e.Entry)
			if !yield(e) {
				return
			}
		}
	}
}

// place is where the encoding of an entry lies: from the top, 20 bits are the
// file, 42 the offset in it, 2 are for flags.
type place uint64

const flagWaiting place = 1 // of a key: the kernel did not hold the entry

func placeOf(file, offset int) place { return place(file)<<44 | place(offset)<<2 }

func (s *Saved) encoded(p place) []byte { return s.files[p>>44][p<<20>>22:] }

// at returns the entry at a place, which was parsed before.
func (s *Saved) at(p place) crdt.Entry {
	e, _, _ := crdt.ParseEntry(s.encoded(p))
	member, ok := s.members[e.Version.Member]
	if !ok {
		member = e.Version.Member
		s.members[member] = member
	}
	e.Version.Member = member
	return e
}

// keyAt is the Key of at, without decoding the rest.
func (s *Saved) keyAt(p place) []byte {
	b := s.encoded(p)[crdt.TimestampBytes+1:]
	n, k := binary.Uvarint(b)
	b = b[k+int(n):]
	n, k = binary.Uvarint(b)
	return b[k : k+int(n)]
}

// savedMap is an open hash table with linear probing: index has 1 + the number
// of a key in keys, 0 where there is none, and twice as many cells as keys.
type savedMap struct {
	index   []uint32
	keys    []place
	settled int             // of keys: these had an entry when all was last in the kernel
	priors  map[int][]place // by number of the key, oldest first: what was replaced since
}

// settle notes that the kernel held all that was written so far.
func (m *savedMap) settle() {
	m.settled = len(m.keys)
	clear(m.priors)
}

// find returns the number of a key, or the cell where it is to go.
func (s *Saved) find(m *savedMap, key []byte) (number int, cell uint64, ok bool) {
	mask := uint64(len(m.index) - 1)
	for cell = maphash.Bytes(s.seed, key) & mask; ; cell = (cell + 1) & mask {
		n := m.index[cell]
		if n == 0 {
			return 0, cell, false
		}
		if bytes.Equal(s.keyAt(m.keys[n-1]), key) {
			return int(n - 1), cell, true
		}
	}
}

// add merges the entry e, which lies at p. Entries of the snapshot come first.
func (s *Saved) add(mapName string, e crdt.Entry, p place, journaled bool) {
	m := s.maps[mapName]
	if m == nil {
		m = &savedMap{index: make([]uint32, 16), priors: make(map[int][]place)}
		s.maps[mapName] = m
	}
	number, cell, known := s.find(m, e.Key)
	if !known {
		m.keys = append(m.keys, p)
		m.index[cell] = uint32(len(m.keys))
		if 2*len(m.keys) > len(m.index) {
			s.grow(m)
		}
		return
	}
	old := m.keys[number]
	loser := old &^ flagWaiting
	switch e.Compare(s.at(old)) {
	case 0: // the later word on whether the kernel holds it
		m.keys[number] = p
		return
	case 1:
		m.keys[number] = p
	default:
		loser = p &^ flagWaiting
	}
	if journaled {
		s.replaced(m, number, loser)
	}
}

// replaced notes that an entry is not the greatest one of a key.
func (s *Saved) replaced(m *savedMap, number int, loser place) {
	content := s.at(loser)
	others := slices.DeleteFunc(m.priors[number], func(p place) bool { return s.at(p).SameContent(content) })
	// One more than is told: one of them may be what the greatest entry says.
	m.priors[number] = append(others[max(0, len(others)-MaxPriors):], loser)
}

func (s *Saved) grow(m *savedMap) {
	m.index = make([]uint32, 2*len(m.index))
	for i, p := range m.keys {
		_, cell, _ := s.find(m, s.keyAt(p))
		m.index[cell] = uint32(i + 1)
	}
}

// contents returns the priors to tell of a key.
func (s *Saved) contents(m *savedMap, number int, winner crdt.Entry) (all []Content) {
	places := m.priors[number]
	absent := func(p place) bool { return s.at(p).Deleted }
	if number >= m.settled && !winner.Deleted && !slices.ContainsFunc(places, absent) {
		all = append(all, Content{Absent: true})
	}
	for _, p := range places {
		if e := s.at(p); !e.SameContent(winner) {
			all = append(all, Content{Value: e.Value, Absent: e.Deleted})
		}
	}
	return all[max(0, len(all)-MaxPriors):]
}

// settle notes that the kernel held all that was written so far.
func (s *Saved) settle() {
	for _, m := range s.maps {
		m.settle()
	}
}
