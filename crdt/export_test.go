package crdt

import "iter"

// SipHash and LanesOf let the tests check the hash against its authors' vectors
// and compute digests the slow way.
var SipHash = sipHash

func LanesOf(encoded []byte) (a, b uint64) {
	l := lanesOf(encoded)
	return l.a, l.b
}

// FingerprintOf is what Store.Fingerprint says of an entry with this encoding.
var FingerprintOf = fingerprintOf

// NewStoreOf lets the tests choose where small values lie.
var NewStoreOf = newStore

// Members returns how many member IDs a store remembers.
func (s *Store) Members() int { return len(s.members.numbers) }

// Bucket yields the entries of a bucket.
func (s *Store) Bucket(i int) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for slot := range s.BucketSlots(i) {
			if e, _ := s.At(slot); !yield(e) {
				return
			}
		}
	}
}
