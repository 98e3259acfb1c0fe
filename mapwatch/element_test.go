package mapwatch

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
)

// Any two keys that agree in the bits that count become the same, and stay as
// they are in maps of other types.
func TestCanonical(t *testing.T) {
	trie := Shape{Type: TypeLPMTrie, KeyBytes: 9}
	for bits := uint32(0); bits <= 40; bits++ {
		ones := append(binary.NativeEndian.AppendUint32(nil, bits), 0xff, 0xff, 0xff, 0xff, 0xff)
		want := bytes.Clone(ones)
		for i := bits; i < 40; i++ {
			want[prefixBytes+i/8] &^= 0x80 >> (i % 8)
		}
		same := bytes.Clone(ones)
		Shape{Type: TypeHash, KeyBytes: 9}.canonical(same)
		if !bytes.Equal(same, ones) {
			t.Fatalf("the key %x of a hash map became %x", ones, same)
		}
		trie.canonical(ones)
		if !bytes.Equal(ones, want) {
			t.Errorf("%d bits: key is %x, want %x", bits, ones, want)
		}
	}
	for _, odd := range [][]byte{nil, {1, 2, 3}, binary.NativeEndian.AppendUint32(nil, 0), append(binary.NativeEndian.AppendUint32(nil, 1<<32-1), 0xff)} {
		was := bytes.Clone(odd)
		trie.canonical(odd)
		if !bytes.Equal(was, odd) {
			t.Errorf("%x became %x", was, odd)
		}
	}
}

func TestAbsent(t *testing.T) {
	array, hash := Shape{Type: TypeArray}, Shape{Type: TypeHash}
	for _, value := range [][]byte{nil, {0}, make([]byte, 100)} {
		if !array.absent(value) || hash.absent(value) {
			t.Errorf("zeros of %d bytes: absent is %t in an array and %t in a hash map", len(value), array.absent(value), hash.absent(value))
		}
	}
	for i := range 20 {
		value := make([]byte, 20)
		value[i] = 1
		if array.absent(value) {
			t.Errorf("byte %d is set, and the element absent", i)
		}
	}
}

// comparePrefixes is a total order: bits first, what covers last.
func TestComparePrefixes(t *testing.T) {
	// As a walk of the kernel gives them (the comment in trie_get_next_key).
	want := [][]byte{
		{24, 192, 168, 0, 0}, {24, 192, 168, 1, 0}, {24, 192, 168, 128, 0}, {16, 192, 168, 0, 0}, {32, 193, 0, 0, 0}, {1, 128, 0, 0, 0}, {0, 0, 0, 0, 0},
	}
	var keys [][]byte
	for _, k := range want {
		keys = append(keys, append(binary.NativeEndian.AppendUint32(nil, uint32(k[0])), k[1:]...))
	}
	sorted := slices.Clone(keys)
	rand.Shuffle(len(sorted), func(i, j int) { sorted[i], sorted[j] = sorted[j], sorted[i] })
	slices.SortFunc(sorted, comparePrefixes)
	for i, key := range sorted {
		if !bytes.Equal(key, keys[i]) {
			t.Errorf("key %d is %x, want %x", i, key, keys[i])
		}
	}
	// What is beyond the prefix is no part of it.
	a := append(binary.NativeEndian.AppendUint32(nil, 9), 10, 0x80, 1, 2)
	b := append(binary.NativeEndian.AppendUint32(nil, 9), 10, 0xff, 3, 4)
	if comparePrefixes(a, b) != 0 {
		t.Error("one prefix differs from itself")
	}
}
