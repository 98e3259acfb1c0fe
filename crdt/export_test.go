package crdt

// SipHash and LanesOf let the tests check the hash against its authors' vectors
// and compute digests the slow way.
var SipHash = sipHash

func LanesOf(encoded []byte) (a, b uint64) {
	l := lanesOf(encoded)
	return l.a, l.b
}

// Members returns how many member IDs a store remembers.
func (s *Store) Members() int { return len(s.members.numbers) }
