package layout

// load reads a number of 1, 2, 4 or 8 bytes.
func (l *Layout) load(b []byte) uint64 {
	order := l.order()
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(order.Uint16(b))
	case 4:
		return uint64(order.Uint32(b))
	case 8:
		return order.Uint64(b)
	}
	return 0
}

// store is the other way.
func (l *Layout) store(b []byte, n uint64) {
	order := l.order()
	switch len(b) {
	case 1:
		b[0] = byte(n)
	case 2:
		order.PutUint16(b, uint16(n))
	case 4:
		order.PutUint32(b, uint32(n))
	case 8:
		order.PutUint64(b, n)
	}
}

// place of the i-th bit of a bit field at an offset, the least significant one
// being the 0th: BTF counts bits from the low end of the first byte on a
// little-endian machine, and from the high end on a big-endian one.
func place(offset, bits, i int) (at int, mask byte) {
	if isLittleEndian() {
		bit := offset + i
		return bit / 8, 1 << (bit % 8)
	}
	bit := offset + bits - 1 - i
	return bit / 8, 0x80 >> (bit % 8)
}

func loadBits(b []byte, offset, bits int) (n uint64) {
	for i := range bits {
		if at, mask := place(offset, bits, i); b[at]&mask != 0 {
			n |= 1 << i
		}
	}
	return n
}

func storeBits(b []byte, offset, bits int, n uint64) {
	for i := range bits {
		at, mask := place(offset, bits, i)
		b[at] &^= mask
		if n>>i&1 == 1 {
			b[at] |= mask
		}
	}
}

// size of the member in bits.
func (m member) size() int {
	if m.bits > 0 {
		return m.bits
	}
	return 8 * m.layout.Bytes
}

// within reports whether b has all bits of the member.
func (m member) within(b []byte) bool {
	return m.offset >= 0 && m.offset+m.size() <= 8*len(b) && (m.bits > 0 || m.offset%8 == 0)
}

// bytes of a member that is no bit field.
func (m member) bytes(b []byte) []byte { return b[m.offset/8:][:m.layout.Bytes] }

// clear sets the member's bits to zero.
func (m member) clear(b []byte) {
	if m.bits > 0 {
		storeBits(b, m.offset, m.bits, 0)
	} else {
		clear(m.bytes(b))
	}
}

func (m member) isZero(b []byte) bool {
	if m.bits > 0 {
		return loadBits(b, m.offset, m.bits) == 0
	}
	return isZero(m.bytes(b))
}

func isZero(b []byte) bool {
	for _, one := range b {
		if one != 0 {
			return false
		}
	}
	return true
}
