//go:build linux

package mapwatch

import (
	"errors"

	"golang.org/x/sys/unix"
)

// What is particular about LPM tries: no call of the kernel looks a key up. The
// lookup gives the value of the longest prefix that covers the key, and only the
// walk from key to key tells which prefixes there are. Three things of it are
// relied on. It goes in the order of comparePrefixes; the key after one that is
// not there is the first of all; and nothing that it returns is not there.

// trieTries is how often a question is asked again when the trie changed in such
// a way that the answer may be wrong.
const trieTries = 100

// errUnsettled: the trie changed during each of trieTries tries.
var errUnsettled = errors.New("changed meanwhile")

// lookupPrefix is Lookup in an LPM trie. m.mu must be held.
func (m *hostMap) lookupPrefix(key, value []byte) error {
	if bits, data := prefixOf(key); bits > 8*uint64(len(data)) {
		return unix.ENOENT
	}
	if err := m.findPrefix(key); err != nil {
		return err
	}
	if err := bpfLookup(m.m.FD(), key, value, 0); err != nil {
		return err
	}
	// If the key went before the lookup, the value is that of a shorter prefix.
	return m.findPrefix(key)
}

// findPrefix gives ENOENT if the trie has not exactly key. m.mu must be held.
func (m *hostMap) findPrefix(key []byte) error {
	first, after, again := make([]byte, len(key)), make([]byte, len(key)), make([]byte, len(key))
	if err := m.nextKey(nil, first); err != nil {
		return err // ENOENT of an empty trie
	}
	for range trieTries {
		switch order := comparePrefixes(first, key); {
		case order > 0:
			return unix.ENOENT
		case order == 0:
			return nil
		}
		err := m.nextKey(key, after)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		if err == nil && comparePrefixes(after, key) <= 0 {
			return unix.ENOENT
		}
		// The key after it is a later one, or it is the last. So it is there,
		// unless all keys before it, and it, went meanwhile.
		if err := m.nextKey(nil, again); err != nil {
			return err
		}
		if comparePrefixes(first, again) == 0 {
			return nil
		}
		first, again = again, first
	}
	return errUnsettled
}

// nextKey gives the key after one, or the first after nil; ENOENT after the last.
// m.mu must be held.
func (m *hostMap) nextKey(key, next []byte) error {
	return bpfElement(unix.BPF_MAP_GET_NEXT_KEY, m.m.FD(), key, next, 0)
}

// walkPrefixes is bpfLookupBatch for LPM tries of kernels that have none for them
// (before 5.13). It reads at most n elements, fewer if some go meanwhile. m.mu
// must be held.
func (m *hostMap) walkPrefixes(in, out, keys, values []byte, n int) (int, error) {
	keyBytes, valueBytes := m.shape.KeyBytes, m.shape.ValueBytes
	next := make([]byte, keyBytes)
	got := 0
	for range n {
		if err := m.nextKey(in, next); err != nil {
			return got, err
		}
		in = append(out[:0], next...)
		err := bpfLookup(m.m.FD(), next, values[got*valueBytes:][:valueBytes], 0)
		switch {
		case errors.Is(err, unix.ENOENT):
			continue // deleted since
		case err != nil:
			return got, err
		}
		copy(keys[got*keyBytes:], next)
		got++
	}
	return got, nil
}
