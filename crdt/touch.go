package crdt

// touchTogether is how many places Touch reads at once: enough to keep a
// processor's memory busy, few enough to lie in its first cache together.
const touchTogether = 64

// Touch reads the memory that Merge, Get or Find will need for these keys, known
// or not, and changes nothing: a large store does not fit the processor's
// caches, and what these three wait for one key after the other, Touch waits
// for together. Some 64 to 256 keys just before they are merged or looked up
// are right; with many more the first are out of the caches again. Values of
// more than 64 bytes are not read.
func (s *Store) Touch(keys [][]byte) {
	var buckets [touchTogether]*bucket
	var tags [touchTogether]uint32
	var read byte
	for len(keys) > 0 {
		n := min(len(keys), touchTogether)
		// Three loops, because a processor looks ahead over few instructions:
		// hashing must not come between two reads.
		for i, key := range keys[:n] {
			buckets[i], tags[i] = &s.buckets[BucketOf(key)], s.tag(key)
		}
		for i, b := range buckets[:n] {
			read += byte(b.cell(b.first(tags[i])))
		}
		for i, b := range buckets[:n] {
			read += s.readTagged(b, tags[i])
		}
		keys = keys[n:]
	}
	s.touched = read
}

// readTagged reads the first record in b whose key has this tag, if there is
// one: the record of the key, all but always.
func (s *Store) readTagged(b *bucket, tag uint32) byte {
	for at := b.first(tag); ; at = b.next(at) {
		switch cell := b.cell(at); {
		case cell == 0:
			return 0
		case uint32(cell>>32) == tag:
			return s.record(uint32(cell) - 1).read()
		}
	}
}

// touchCells reads the records of cells, as Touch does.
func (s *Store) touchCells(cells []uint64) {
	var read byte
	for _, cell := range cells {
		if cell != 0 {
			read += s.record(uint32(cell) - 1).read()
		}
	}
	s.touched = read
}
