package crdt

// chunkBytes is what a slab asks the runtime for at once, unless one piece is
// larger. Small enough that a store of ten entries is cheap, large enough that
// a million pieces are some thousand allocations; 16 KiB is a size class of the
// Go allocator, so that little is rounded up.
const chunkBytes = 16 << 10

// slab hands out pieces of `width` bytes each, named by a number. Pieces do not
// move, and memory is not given back. There are no pointers in it, so that the
// garbage collector has nothing to walk in a store of millions of entries.
type slab struct {
	width  int
	shift  uint // a chunk has 1<<shift pieces
	chunks [][]byte
	next   uint32   // number of the first piece that was never taken
	free   []uint32 // taken once, then given back; never longer than next
}

// newSlab returns a slab of pieces of width bytes.
func newSlab(width int) slab {
	s := slab{width: width}
	for max(1, width)<<(s.shift+1) <= chunkBytes {
		s.shift++
	}
	return s
}

// take returns the number of a piece whose content is undefined.
func (s *slab) take() uint32 {
	if n := len(s.free); n > 0 {
		i := s.free[n-1]
		s.free = s.free[:n-1]
		return i
	}
	i := s.next
	s.next++
	if int(i>>s.shift) == len(s.chunks) {
		s.chunks = append(s.chunks, make([]byte, s.width<<s.shift))
	}
	return i
}

// give returns piece i to the slab.
func (s *slab) give(i uint32) { s.free = append(s.free, i) }

// at returns piece i, with no room to append.
func (s *slab) at(i uint32) []byte {
	from := int(i&(1<<s.shift-1)) * s.width
	return s.chunks[i>>s.shift][from : from+s.width : from+s.width]
}
