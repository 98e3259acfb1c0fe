package conformance

import (
	"encoding/binary"
	"math/bits"
	"runtime"
	"testing"

	"github.com/mapgossip/mapgossip/mapwatch"
)

// mapTypes are the types of maps that can be replicated; a test with several runs on
// each, and on a kernel of its own each time.
func mapTypes() []string {
	return []string{mapwatch.TypeHash, mapwatch.TypeLRUHash, mapwatch.TypeArray, mapwatch.TypeLPMTrie}
}

// create makes a map of the type under test, and opens it. What keyBytes means
// is told at key. An LRU hash map has room to spare, so that it evicts nothing
// until it has entries elements: CPUs keep elements in reserve.
func (s Subject) create(t *testing.T, keyBytes, valueBytes, entries int) (Program, mapwatch.Map) {
	t.Helper()
	p := s.Create(t, s.shape(keyBytes, valueBytes, entries))
	return p, s.open(t, p.Target())
}

func (s Subject) shape(keyBytes, valueBytes, entries int) mapwatch.Shape {
	shape := mapwatch.Shape{Type: s.mapType, KeyBytes: keyBytes, ValueBytes: valueBytes, MaxEntries: entries}
	switch s.mapType {
	case mapwatch.TypeLRUHash:
		shape.MaxEntries = 2*entries + 512*runtime.NumCPU()
	case mapwatch.TypeArray:
		shape.KeyBytes = 4
	case mapwatch.TypeLPMTrie:
		shape.KeyBytes = 4 + keyBytes
	}
	return shape
}

// keyBytes is what create was told.
func (s Subject) keyBytes(m mapwatch.Map) int {
	if s.mapType == mapwatch.TypeLPMTrie {
		return m.Shape().KeyBytes - 4
	}
	return m.Shape().KeyBytes
}

// key is one that differs for every n that fits. Those of a hash map have
// keyBytes bytes; those of an array are its indices; those of a trie are all
// prefixes of keyBytes bytes, the shortest first: n+1 has a leading 1 bit, and
// then come the bits of the prefix. So each key that is not in a trie is covered
// by others that are.
func (s Subject) key(keyBytes, n int) []byte {
	switch s.mapType {
	case mapwatch.TypeArray:
		return binary.NativeEndian.AppendUint32(nil, uint32(n))
	case mapwatch.TypeLPMTrie:
		length := bits.Len(uint(n+1)) - 1
		return prefix(keyBytes, length, uint64(n+1)<<(64-length))
	}
	return numbered(keyBytes, n)
}

// prefix is a key of a trie: the first length of data's bits.
func prefix(keyBytes, length int, data uint64) []byte {
	key := binary.NativeEndian.AppendUint32(nil, uint32(length))
	all := binary.BigEndian.AppendUint64(nil, data)
	return append(key, append(all, make([]byte, max(0, keyBytes-len(all)))...)[:keyBytes]...)
}

// value differs for every n that fits, and is never zero.
func value(bytes, n int) []byte {
	b := numbered(bytes, n+1)
	if bytes < 4 {
		b[0] = byte(n%255) + 1
	}
	return b
}

// clear is how a program gets rid of a key.
func (s Subject) clear(p Program, key []byte, valueBytes int) error {
	if s.mapType == mapwatch.TypeArray {
		return p.Update(key, make([]byte, valueBytes))
	}
	return p.Delete(key)
}

// insert is Program.Insert where the map may lack a key.
func (s Subject) insert(p Program, key, value []byte) error {
	if s.mapType == mapwatch.TypeArray {
		return p.Update(key, value)
	}
	return p.Insert(key, value)
}
