package crdt

// bucket finds the records of the keys that belong to one of a store's Buckets.
// It is an open hash table: growing one bucket at a time spreads the cost of
// growth over merges, where one table for the whole store would stop its owner
// for tens of milliseconds at each doubling of a large map.
type bucket struct {
	// cells holds 0 for an empty cell, else the tag of a key (upper half) and
	// the number of its record plus one (lower half). At most 3/4 are in use.
	// A tag says where to look first, so growing touches neither
	// records nor keys.
	cells []uint64
	used  uint32
	sum   uint64 // of the entries' first lanes: the bucket's digest
}

// first returns the place where a search for tag begins.
func (b *bucket) first(tag uint32) int { return int(uint64(tag) * uint64(len(b.cells)) >> 32) }

// next returns the place after one where the search did not end.
func (b *bucket) next(at int) int {
	if at++; at < len(b.cells) {
		return at
	}
	return 0
}

// cell returns the cell at a place, which is empty if the bucket is.
func (b *bucket) cell(at int) uint64 {
	if at >= len(b.cells) {
		return 0
	}
	return b.cells[at]
}

// insert adds a record whose key is in no cell.
func (b *bucket) insert(tag, record uint32) {
	if int(b.used)*4 >= len(b.cells)*3 {
		old := b.cells
		b.cells = make([]uint64, grown(len(old)))
		for _, cell := range old {
			if cell != 0 {
				b.put(cell)
			}
		}
	}
	b.put(uint64(tag)<<32 | uint64(record+1))
	b.used++
}

// delete takes out the cell of a record whose key has this tag, and closes the
// gap: a search ends at an empty cell.
func (b *bucket) delete(tag, record uint32) {
	gap := b.first(tag)
	for b.cells[gap] != uint64(tag)<<32|uint64(record+1) {
		gap = b.next(gap)
	}
	for at := b.next(gap); b.cells[at] != 0; at = b.next(at) {
		// A cell may move into the gap unless its search begins after that.
		if first := b.first(uint32(b.cells[at] >> 32)); b.distance(first, at) >= b.distance(gap, at) {
			b.cells[gap], gap = b.cells[at], at
		}
	}
	b.cells[gap] = 0
	b.used--
}

// distance is how many steps of next lead from one place to another.
func (b *bucket) distance(from, to int) int {
	if to < from {
		to += len(b.cells)
	}
	return to - from
}

// grown returns how many cells follow after n: 4, 6, 8, 12, 16, 24 and so on.
// As bytes these are size classes of the Go allocator up to its largest.
func grown(n int) int {
	switch {
	case n == 0:
		return 4
	case n&(n-1) == 0:
		return n / 2 * 3
	}
	return n / 3 * 4
}

func (b *bucket) put(cell uint64) {
	at := b.first(uint32(cell >> 32))
	for b.cells[at] != 0 {
		at = b.next(at)
	}
	b.cells[at] = cell
}
