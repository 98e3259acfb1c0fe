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

// ErrDeleted: the entry is of a key that was deleted, and the tombstone is gone
// because all members had it. Whoever has the entry still should delete it.
var ErrDeleted = errors.New("entry was deleted")

// Store holds the winning entry of each key of one map, tombstones included.
// It is not safe for concurrent use, not even for reading while another
// goroutine merges: one goroutine owns it.
//
// Beside some 200 KiB for the store itself an entry costs its key, its value, 32
// bytes and 11 to 16 bytes of index: 45 beside key and value in a store of a
// million. Where values have more than 64 bytes it costs 4 more, and a
// tombstone has no room for a value; where they have less it has. Memory follows
// the most keys held at once and is not given back. There is room for 2^32-1 keys.
type Store struct {
	keyBytes, valueBytes int
	inline               bool // values lie in the records

	records slab
	values  slab // of values that do not: tombstones have none, and live long
	members roster

	// The table inside a bucket is keyed by the process: who chooses keys can
	// at worst crowd one bucket, which costs bandwidth, and not make lookups
	// slow. What leaves the process never depends on seed.
	seed    maphash.Seed
	buckets []bucket

	sum        lanes
	tombstones int

	progress  Progress
	graves    []Slot // buried tombstones whose records are there
	unused    int    // records that belong to no key
	collected uint64
	refused   uint64

	scratch []byte // for encodings to hash
	touched byte   // what Touch read, so that the compiler lets it read
}

// NewStore returns an empty store for a map with these sizes.
func NewStore(keyBytes, valueBytes int) *Store {
	return newStore(keyBytes, valueBytes, valueBytes <= inlineBytes)
}

func newStore(keyBytes, valueBytes int, inline bool) *Store {
	s := &Store{
		keyBytes:   keyBytes,
		valueBytes: valueBytes,
		inline:     inline,
		records:    newSlab(recordHead + keyBytes + valuePieceBytes),
		values:     newSlab(valueBytes),
		seed:       maphash.MakeSeed(),
		buckets:    make([]bucket, Buckets),
	}
	if inline {
		s.records = newSlab(recordHead + keyBytes + valueBytes)
	}
	return s
}

// Slot is the place of a key in a Store, from 0 up: an index for whoever keeps
// something beside the store for each key. A key keeps its slot for as long as
// the store knows it, as a tombstone too; after that (Raise, Clear) another key
// may get it.
type Slot uint32

// Merge takes e in if it is greater (Entry.Compare) than what the store holds
// for its key, and reports whether it did, and the key's slot. Any entries
// merged in any order, any number of times, leave the same store, as long as the
// floor stays where it is: merging is commutative, associative and idempotent.
//
// What was deleted stays deleted: of an unknown key, a tombstone at or below the
// floor of Progress is not taken in, and neither is a value that Progress covers,
// with ErrDeleted.
//
// An entry that does not fit is refused with an error that wraps ErrShape, a
// timestamp before 1970 with one that wraps ErrMalformed; the store is as
// before. What is kept is copied: the caller may reuse Key and Value. Merging an
// entry that is not newer does not allocate, and neither does one that replaces
// a value by a value of a known member.
func (s *Store) Merge(e Entry) (slot Slot, changed bool, err error) {
	if !s.fits(&e) {
		return 0, false, s.misfit(e)
	}
	b, tag := &s.buckets[BucketOf(e.Key)], s.tag(e.Key)
	i, found := s.find(b, tag, e.Key)
	if !found {
		if s.progress.below(e.Version.Time.Wall) {
			switch {
			case e.Deleted:
				return 0, false, nil
			case s.progress.Covers(e.Version):
				s.refused++
				return 0, false, ErrDeleted
			}
		}
		i = s.add(&e)
		b.insert(tag, i)
	} else if e.Compare(s.entry(i)) <= 0 {
		return Slot(i), false, nil
	}
	r := s.record(i)
	is, was := lanes{}, r.lanes()
	if e.Deleted && s.progress.below(e.Version.Time.Wall) {
		s.graves = append(s.graves, Slot(i))
	} else {
		is = s.lanesOf(&e)
	}
	b.sum += is.a - was.a
	s.sum = lanes{s.sum.a + is.a - was.a, s.sum.b + is.b - was.b}
	s.write(r, &e, is)
	return Slot(i), true, nil
}

// Get returns the entry of key, which may be a tombstone; false if the key was
// never heard of. Key and Value are the store's own memory: read-only, and valid
// until the next Merge.
func (s *Store) Get(key []byte) (Entry, bool) {
	slot, ok := s.Find(key)
	if !ok {
		return Entry{}, false
	}
	return s.At(slot)
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
	if slot >= s.Slots() || s.record(uint32(slot)).unused() {
		return Entry{}, false
	}
	return s.entry(uint32(slot)), true
}

// Slots returns a number above every slot in use.
func (s *Store) Slots() Slot { return Slot(s.records.next) }

// Len returns the number of live entries and of tombstones, buried ones too.
func (s *Store) Len() (entries, tombstones int) {
	return int(s.records.next) - s.unused - s.tombstones, s.tombstones
}

// All yields every entry, tombstones included that are not buried, in no promised order. Key and
// Value are as from Get. The loop must not Merge into this store.
func (s *Store) All() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for i := range s.records.next {
			if r := s.record(i); !r.unused() && !s.buried(r) && !yield(s.entry(i)) {
				return
			}
		}
	}
}

// fits reports whether misfit has nothing to say.
func (s *Store) fits(e *Entry) bool {
	valueBytes := s.valueBytes
	if e.Deleted {
		valueBytes = 0
	}
	member := len(e.Version.Member)
	return len(e.Key) == s.keyBytes && len(e.Value) == valueBytes &&
		0 < member && member <= MaxMemberBytes && e.Version.Time.Wall >= 0
}

// misfit says what keeps e out of this store.
func (s *Store) misfit(e Entry) error {
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

// find returns the record of key, which belongs to b and has this tag.
func (s *Store) find(b *bucket, tag uint32, key []byte) (i uint32, ok bool) {
	for at := b.first(tag); ; at = b.next(at) {
		cell := b.cell(at)
		if cell == 0 {
			return 0, false
		}
		if uint32(cell>>32) == tag {
			i := uint32(cell) - 1
			if bytes.Equal(s.record(i).key(s.keyBytes), key) {
				return i, true
			}
		}
	}
}
