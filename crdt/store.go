package crdt

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
)

// ErrShape: an entry does not fit the store: another key or value size, a
// tombstone that has a value, a member ID that is empty or too long.
var ErrShape = errors.New("entry does not fit the map")

// Store holds the winning entry of each key of one map, tombstones included.
// It is not safe for concurrent use, not even for reading while another
// goroutine merges: one goroutine owns it.
//
// Beside some 170 KiB for the store itself an entry costs 24 bytes, its key, its
// value (a tombstone: none) and 11 to 21 bytes of index. Memory follows the most
// keys ever held and is not given back. There is room for 2^32-1 keys.
type Store struct {
	keyBytes, valueBytes int

	// The key of records piece i is keys piece i. Values have pieces of their
	// own, because tombstones have none and live long.
	records slab[record]
	keys    slab[byte]
	values  slab[byte]
	members roster

	// The table inside a bucket is keyed by the process: who chooses keys can
	// at worst crowd one bucket, which costs bandwidth, and not make lookups
	// slow. What leaves the process never depends on seed.
	seed    maphash.Seed
	buckets []bucket

	sum        lanes
	tombstones int
	scratch    []byte // for encodings to hash
}

// record is an Entry without its bytes and strings.
type record struct {
	wall    int64
	logical uint32
	member  uint32 // number in the roster
	value   uint32 // piece of the values slab, noValue for a tombstone
}

const (
	recordBytes = 24 // of a record in memory
	noValue     = 1<<32 - 1
)

// NewStore returns an empty store for a map with these sizes.
func NewStore(keyBytes, valueBytes int) *Store {
	return &Store{
		keyBytes:   keyBytes,
		valueBytes: valueBytes,
		records:    newSlab[record](1, recordBytes),
		keys:       newSlab[byte](keyBytes, 1),
		values:     newSlab[byte](valueBytes, 1),
		seed:       maphash.MakeSeed(),
		buckets:    make([]bucket, Buckets),
	}
}

// Slot is the place of a key in a Store, from 0 up: an index for whoever keeps
// something beside the store for each key. A key keeps its slot for as long as
// the store knows it, as a tombstone too.
type Slot uint32

// Merge takes e in if it is greater (Entry.Compare) than what the store holds
// for its key, and reports whether it did, and the key's slot. Any entries merged in any order, any
// number of times, leave the same store: merging is commutative, associative
// and idempotent.
//
// An entry that does not fit is refused with an error that wraps ErrShape, a
// timestamp before 1970 with one that wraps ErrMalformed; the store is as
// before. What is kept is copied: the caller may reuse Key and Value. Merging an
// entry that is not newer does not allocate, and neither does one that replaces
// a value by a value of a known member.
func (s *Store) Merge(e Entry) (slot Slot, changed bool, err error) {
	if err := s.check(e); err != nil {
		return 0, false, err
	}
	b, tag := &s.buckets[BucketOf(e.Key)], s.tag(e.Key)
	i, found := s.find(b, tag, e.Key)
	if found {
		old := s.entry(i)
		if e.Compare(old) <= 0 {
			return Slot(i), false, nil
		}
		l := s.lanesOf(old)
		b.sum -= l.a
		s.sum = lanes{s.sum.a - l.a, s.sum.b - l.b}
		s.replace(i, e)
	} else {
		i = s.add(e)
		b.insert(tag, i)
	}
	l := s.lanesOf(s.entry(i))
	b.sum += l.a
	s.sum = lanes{s.sum.a + l.a, s.sum.b + l.b}
	return Slot(i), true, nil
}

// Get returns the entry of key, which may be a tombstone; false if the key was
// never heard of. Key and Value are the store's own memory: read-only, and valid
// until the next Merge.
func (s *Store) Get(key []byte) (Entry, bool) {
	if len(key) != s.keyBytes {
		return Entry{}, false
	}
	i, ok := s.find(&s.buckets[BucketOf(key)], s.tag(key), key)
	if !ok {
		return Entry{}, false
	}
	return s.entry(i), true
}

// Find returns the slot of key; false if the key was never heard of.
func (s *Store) Find(key []byte) (Slot, bool) {
	if len(key) != s.keyBytes {
		return 0, false
	}
	i, ok := s.find(&s.buckets[BucketOf(key)], s.tag(key), key)
	return Slot(i), ok
}

// At returns the entry in a slot, as Get does; false if the slot holds none.
func (s *Store) At(slot Slot) (Entry, bool) {
	if slot >= s.Slots() {
		return Entry{}, false
	}
	return s.entry(uint32(slot)), true
}

// Slots returns a number above every slot in use.
func (s *Store) Slots() Slot { return Slot(s.records.next) }

// Len returns the number of live entries and of tombstones.
func (s *Store) Len() (entries, tombstones int) {
	return int(s.records.next) - s.tombstones, s.tombstones
}

// All yields every entry, tombstones included, in no promised order. Key and
// Value are as from Get. The loop must not Merge into this store.
func (s *Store) All() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for i := range s.records.next {
			if !yield(s.entry(i)) {
				return
			}
		}
	}
}

// Digest stands for all entries of the store. It is kept up to date by Merge:
// reading it costs nothing.
func (s *Store) Digest() Digest { return s.sum.digest() }

// BucketDigests returns a digest of each bucket, Buckets of them; the caller
// owns the slice. Two members hold the same entries in bucket i if the numbers
// at i are equal, but for a collision of 64 bits.
func (s *Store) BucketDigests() []uint64 {
	sums := make([]uint64, len(s.buckets))
	for i := range s.buckets {
		sums[i] = s.buckets[i].sum
	}
	return sums
}

// Bucket yields the entries whose BucketOf is i, like All. It yields nothing if
// there is no bucket i.
func (s *Store) Bucket(i int) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		if i < 0 || i >= len(s.buckets) {
			return
		}
		for _, cell := range s.buckets[i].cells {
			if cell != 0 && !yield(s.entry(uint32(cell)-1)) {
				return
			}
		}
	}
}

// BucketParts adds to sums, for each part of bucket i, the fingerprints of its
// entries: two stores hold the same entries in a part if the sums at its place
// are equal, but for a collision. There are len(sums) parts (see PartOf). It
// costs a hash of each entry in the bucket.
func (s *Store) BucketParts(i int, salt uint64, sums []uint64) {
	for e := range s.Bucket(i) {
		s.scratch = e.AppendBinary(s.scratch[:0])
		at := PartOf(e.Key, len(sums))
		sums[at] = (sums[at] + fingerprintOf(s.scratch, salt)) & fingerprintMask
	}
}

// Fingerprint stands for the entry in a slot, among the entries of one part,
// in one comparison of two stores: the lower 48 bits of a hash that salt makes
// another one in each comparison, so that a collision does not last. 0 for a
// slot that holds no entry.
func (s *Store) Fingerprint(slot Slot, salt uint64) uint64 {
	e, ok := s.At(slot)
	if !ok {
		return 0
	}
	s.scratch = e.AppendBinary(s.scratch[:0])
	return fingerprintOf(s.scratch, salt)
}

// BucketSlots yields the slots of the keys whose BucketOf is i, like Bucket.
func (s *Store) BucketSlots(i int) iter.Seq[Slot] {
	return func(yield func(Slot) bool) {
		if i < 0 || i >= len(s.buckets) {
			return
		}
		for _, cell := range s.buckets[i].cells {
			if cell != 0 && !yield(Slot(uint32(cell)-1)) {
				return
			}
		}
	}
}

// check says what keeps e out of this store.
func (s *Store) check(e Entry) error {
	member := e.Version.Member
	switch {
	case len(e.Key) != s.keyBytes:
		return fmt.Errorf("merge entry: key of %d bytes, the map's keys have %d: %w", len(e.Key), s.keyBytes, ErrShape)
	case e.Deleted && len(e.Value) != 0:
		return fmt.Errorf("merge entry: tombstone with a value of %d bytes: %w", len(e.Value), ErrShape)
	case !e.Deleted && len(e.Value) != s.valueBytes:
		return fmt.Errorf("merge entry: value of %d bytes, the map's values have %d: %w", len(e.Value), s.valueBytes, ErrShape)
	case len(member) == 0 || len(member) > MaxMemberBytes:
		return fmt.Errorf("merge entry: member of %d bytes, 1 to %d are allowed: %w", len(member), MaxMemberBytes, ErrShape)
	case e.Version.Time.Wall < 0:
		return fmt.Errorf("merge entry: %v is before 1970: %w", e.Version.Time, ErrMalformed)
	}
	return nil
}

// tag is 32 bits of the in-process hash of key.
func (s *Store) tag(key []byte) uint32 { return uint32(maphash.Bytes(s.seed, key)) }

func (s *Store) find(b *bucket, tag uint32, key []byte) (record uint32, ok bool) {
	return b.find(tag, func(i uint32) bool { return bytes.Equal(s.keys.at(i), key) })
}

// entry returns record i as an Entry, without copying.
func (s *Store) entry(i uint32) Entry {
	r := &s.records.at(i)[0]
	e := Entry{
		Key: s.keys.at(i),
		Version: Version{
			Time:   Timestamp{Wall: r.wall, Logical: r.logical},
			Member: s.members.names[r.member],
		},
		Deleted: r.value == noValue,
	}
	if !e.Deleted {
		e.Value = s.values.at(r.value)
	}
	return e
}

// add makes a record for the first entry of a key.
func (s *Store) add(e Entry) uint32 {
	i := s.records.take()
	copy(s.keys.at(s.keys.take()), e.Key) // taken in step with records, so it is piece i
	s.records.at(i)[0] = record{member: s.members.take(e.Version.Member), value: noValue}
	s.tombstones++
	s.write(i, e)
	return i
}

// replace puts e over the entry in record i.
func (s *Store) replace(i uint32, e Entry) {
	// The old one is given back last: it may be the same.
	old := s.records.at(i)[0].member
	if s.members.names[old] != e.Version.Member {
		s.records.at(i)[0].member = s.members.take(e.Version.Member)
		s.members.give(old)
	}
	s.write(i, e)
}

// write sets time and content of record i. e may lie in this store.
func (s *Store) write(i uint32, e Entry) {
	r := &s.records.at(i)[0]
	r.wall, r.logical = e.Version.Time.Wall, e.Version.Time.Logical
	switch {
	case e.Deleted && r.value != noValue:
		s.values.give(r.value)
		r.value = noValue
		s.tombstones++
	case !e.Deleted && r.value == noValue:
		r.value = s.values.take()
		s.tombstones--
	}
	if !e.Deleted {
		copy(s.values.at(r.value), e.Value)
	}
}

func (s *Store) lanesOf(e Entry) lanes {
	s.scratch = e.AppendBinary(s.scratch[:0])
	return lanesOf(s.scratch)
}
