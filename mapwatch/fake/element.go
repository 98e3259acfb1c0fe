package fake

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mapgossip/mapgossip/mapwatch"
)

// Here is what the types of maps make of keys and values, one bit or byte at a
// time, so that it is another program than mapwatch's own for the same rules.

// prefixBytes is the length in front of an LPM trie's key, in bits.
const prefixBytes = 4

// keyOf checks a key that a program or an Apply names, and returns the one that
// the map has for it. The error of an index or a prefix length that is too great
// is overrun of it.
func (m *Map) keyOf(key []byte) (string, error) {
	if len(key) != m.shape.KeyBytes {
		return "", fmt.Errorf("map %s: key has %d bytes, keys of this map have %d", m.shape.Target, len(key), m.shape.KeyBytes)
	}
	switch m.shape.Type {
	case mapwatch.TypeArray:
		if index := binary.NativeEndian.Uint32(key); index >= uint32(m.shape.MaxEntries) {
			return "", overrun{fmt.Errorf("map %s: %w: it has no element %d, max_entries is %d", m.shape.Target, mapwatch.ErrFull, index, m.shape.MaxEntries)}
		}
	case mapwatch.TypeLPMTrie:
		data := key[prefixBytes:]
		bits := int(binary.NativeEndian.Uint32(key))
		if bits > 8*len(data) {
			return "", overrun{fmt.Errorf("map %s: a prefix of %d bits, its keys have %d", m.shape.Target, bits, 8*len(data))}
		}
		canonical := append([]byte(nil), key...)
		for bit := bits; bit < 8*len(data); bit++ {
			canonical[prefixBytes+bit/8] &^= 0x80 >> (bit % 8)
		}
		return string(canonical), nil
	}
	return string(key), nil
}

// overrun is a key that the map can never have; a lookup just does not find it.
type overrun struct{ error }

func (o overrun) Unwrap() error { return o.error }

func isOverrun(err error) bool {
	var o overrun
	return errors.As(err, &o)
}

// absent reports whether an element with that value counts as none.
func (m *Map) absent(value []byte) bool {
	if m.shape.Type != mapwatch.TypeArray {
		return false
	}
	for _, b := range value {
		if b != 0 {
			return false
		}
	}
	return true
}

func (m *Map) checkValue(value []byte) error {
	if len(value) != m.shape.ValueBytes {
		return fmt.Errorf("map %s: value has %d bytes, values of this map have %d", m.shape.Target, len(value), m.shape.ValueBytes)
	}
	return nil
}
