package crdt

// bucket finds the records of the keys that belong to one of a store's Buckets.
// It is an open hash table: growing one bucket at a time spreads the cost of
// growth over merges, where one table for the whole store would stop its owner
// for tens of milliseconds at each doubling of a large map.
type bucket struct {
	// cells holds 0 for an empty cell, else the tag of a key (upper half) and
	// the number of its record plus one (lower half). Its length is 0 or a
	// power of two; at most 3/4 are in use. A tag says where to look first, so
	// growing touches neither records nor keys.
	cells []uint64
	used  uint32
	sum   uint64 // of the entries' first lanes: the bucket's digest
}

// find returns the record for which same returns true among those with this tag.
func (b *bucket) find(tag uint32, same func(record uint32) bool) (record uint32, ok bool) {
	if len(b.cells) == 0 {
		return 0, false
	}
	mask := uint32(len(b.cells) - 1)
	for i := tag & mask; ; i = (i + 1) & mask {
		cell := b.cells[i]
		if cell == 0 {
			return 0, false
		}
		if record := uint32(cell) - 1; uint32(cell>>32) == tag && same(record) {
			return record, true
		}
	}
}

// insert adds a record that find does not find.
func (b *bucket) insert(tag, record uint32) {
	if int(b.used)*4 >= len(b.cells)*3 {
		old := b.cells
		b.cells = make([]uint64, max(4, 2*len(old)))
		for _, cell := range old {
			if cell != 0 {
				b.put(cell)
			}
		}
	}
	b.put(uint64(tag)<<32 | uint64(record+1))
	b.used++
}

func (b *bucket) put(cell uint64) {
	mask := uint32(len(b.cells) - 1)
	i := uint32(cell>>32) & mask
	for b.cells[i] != 0 {
		i = (i + 1) & mask
	}
	b.cells[i] = cell
}
