package crdt

import (
	"iter"
	"slices"
)

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

// BucketParts adds to sums, for each part of bucket i, the fingerprints of its
// entries: two stores hold the same entries in a part if the sums at its place
// are equal, but for a collision. There are len(sums) parts (see PartOf). It
// costs a hash of each entry in the bucket, and does nothing if there is no
// bucket i.
func (s *Store) BucketParts(i int, salt uint64, sums []uint64) {
	if i < 0 || i >= len(s.buckets) {
		return
	}
	for cells := range slices.Chunk(s.buckets[i].cells, touchTogether) {
		s.touchCells(cells)
		for _, cell := range cells {
			if cell == 0 {
				continue
			}
			if s.buried(s.record(uint32(cell) - 1)) {
				continue
			}
			e := s.entry(uint32(cell) - 1)
			at := PartOf(e.Key, len(sums))
			sums[at] = (sums[at] + s.fingerprintOf(&e, salt)) & fingerprintMask
		}
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
	return s.fingerprintOf(&e, salt)
}

// BucketSlots yields the slots of the keys whose BucketOf is i, buried ones left out, in no promised
// order; nothing if there is no bucket i. The loop must not Merge into this store.
func (s *Store) BucketSlots(i int) iter.Seq[Slot] {
	return func(yield func(Slot) bool) {
		if i < 0 || i >= len(s.buckets) {
			return
		}
		for _, cell := range s.buckets[i].cells {
			if cell != 0 && !s.buried(s.record(uint32(cell)-1)) && !yield(Slot(uint32(cell)-1)) {
				return
			}
		}
	}
}

func (s *Store) fingerprintOf(e *Entry, salt uint64) uint64 {
	s.scratch = e.AppendBinary(s.scratch[:0])
	return fingerprintOf(s.scratch, salt)
}
