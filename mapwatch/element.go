package mapwatch

import (
	"bytes"
	"encoding/binary"
)

// prefixBytes is the length in front of an LPM trie's key, in bits: struct
// bpf_lpm_trie_key begins with a u32 in the host's byte order.
const prefixBytes = 4

// Canonical returns a copy of key as Map.Scan and Change give it: of an LPM trie,
// with the bits beyond the prefix cleared. Keys of other types are as they are.
func (s Shape) Canonical(key []byte) []byte {
	own := bytes.Clone(key)
	s.canonical(own)
	return own
}

// canonical makes equal, in place, what is the same key to the kernel: in the key
// of an LPM trie it clears the bits beyond the prefix, which the kernel keeps and
// ignores. Keys of other types stay as they are.
func (s Shape) canonical(key []byte) {
	if s.Type != TypeLPMTrie || len(key) < prefixBytes {
		return
	}
	bits, data := prefixOf(key)
	if bits >= 8*uint64(len(data)) {
		return
	}
	data[bits/8] &^= 0xff >> (bits % 8)
	clear(data[bits/8+1:])
}

// absent reports whether an element with that value counts as none: one that is
// all zero in an array, where no element can be deleted.
func (s Shape) absent(value []byte) bool {
	if s.Type != TypeArray {
		return false
	}
	for _, b := range value {
		if b != 0 {
			return false
		}
	}
	return true
}

// prefixOf splits the key of an LPM trie into the number of bits that count and
// the bytes that hold them.
func prefixOf(key []byte) (bits uint64, data []byte) {
	return uint64(binary.NativeEndian.Uint32(key)), key[prefixBytes:]
}

// comparePrefixes orders keys of an LPM trie as BPF_MAP_GET_NEXT_KEY gives them
// (trie_get_next_key in kernel/bpf/lpm_trie.c, the same since it is there): by
// their bits, and a prefix after all that it covers. Neither is longer than its
// data.
func comparePrefixes(a, b []byte) int {
	aBits, aData := prefixOf(a)
	bBits, bData := prefixOf(b)
	common := min(aBits, bBits)
	for i := range common / 8 {
		if aData[i] != bData[i] {
			return int(aData[i]) - int(bData[i])
		}
	}
	if rest := common % 8; rest > 0 {
		mask := ^byte(0xff >> rest)
		if x, y := aData[common/8]&mask, bData[common/8]&mask; x != y {
			return int(x) - int(y)
		}
	}
	switch {
	case aBits > bBits:
		return -1
	case aBits < bBits:
		return 1
	}
	return 0
}
