//go:build linux

package mapwatch

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// scanTrie is Scan of an LPM trie. The kernel reads it from key to key without a
// lock, one call of trie_get_next_key each, and three things can happen to it:
//
//   - The key that it is at is deleted. Then the walk starts over. What was passed
//     before is told by the order of the keys (comparePrefixes).
//   - A key is deleted between its name and its value being read. Then the value
//     is that of a shorter prefix.
//   - The key that it is at, or one above, is overwritten while the kernel looks
//     for the next one: it does not find the way back in the new node, and leaves
//     out the other half of what is below. So once in a thousand steps from a key
//     that another CPU does nothing but overwrite (6.18), for half of the trie in
//     the worst case.
//
// Against the last two, every piece is read twice. What both readings have comes
// with the value of the first, what one has is looked up. To leave out a key or
// to invent a value, the kernel would have to do so twice in the same place.
func (m *hostMap) scanTrie(ctx context.Context, fn func(keys, values []byte, n int) error) error {
	s := m.shape
	size := m.chunkSize()
	first, second := newTrieChunk(s, size), newTrieChunk(s, size)
	budget := 16 * (s.MaxEntries + size)
	keys, values := make([]byte, 0, 2*size*s.KeyBytes), make([]byte, 0, 2*size*s.ValueBytes)
	var last []byte // the latest key that was passed; nil: none
	for {
		for _, chunk := range []*trieChunk{first, second} {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("scan map %s: %w", s.Target, err)
			}
			if err := m.readTrie(chunk, last, &budget); err != nil {
				return m.explainLocking("scan", err)
			}
		}
		keys, values = keys[:0], values[:0]
		for first.more() && second.more() && (first.at < first.n || second.at < second.n) {
			a, b := first.key(), second.key()
			order := 0
			switch {
			case a == nil:
				order = 1
			case b == nil:
				order = -1
			default:
				order = comparePrefixes(a, b)
			}
			key, value := a, first.value()
			if order > 0 {
				key = b
			}
			if order <= 0 {
				first.at++
			}
			if order >= 0 {
				second.at++
			}
			last = append(last[:0], key...)
			if order != 0 {
				var err error
				switch value, err = m.Lookup(key); {
				case errors.Is(err, ErrNotFound):
					continue
				case err != nil:
					return err
				}
			}
			keys, values = append(keys, key...), append(values, value...)
			s.canonical(keys[len(keys)-s.KeyBytes:])
		}
		if n := len(keys) / s.KeyBytes; n > 0 {
			if err := fn(keys, values, n); err != nil {
				return err
			}
		}
		if first.ended && second.ended && first.at == first.n && second.at == second.n {
			return nil
		}
	}
}

// trieChunk is a piece of a trie, in the order of comparePrefixes.
type trieChunk struct {
	shape        Shape
	keys, values []byte
	in, out      []byte // cursors
	n            int    // elements
	at           int    // those before were merged
	ended        bool   // nothing comes after them
}

func newTrieChunk(s Shape, size int) *trieChunk {
	return &trieChunk{
		shape: s,
		keys:  make([]byte, size*s.KeyBytes), values: make([]byte, size*s.ValueBytes),
		out: make([]byte, s.KeyBytes),
	}
}

// more reports whether it is known what comes next, an element or the end.
func (c *trieChunk) more() bool { return c.ended || c.at < c.n }

// key is the next to be merged, nil at the end; value belongs to it.
func (c *trieChunk) key() []byte {
	if c.at == c.n {
		return nil
	}
	return c.keys[c.at*c.shape.KeyBytes:][:c.shape.KeyBytes]
}

func (c *trieChunk) value() []byte {
	if c.at == c.n {
		return nil
	}
	return c.values[c.at*c.shape.ValueBytes:][:c.shape.ValueBytes]
}

// keep leaves those of the first n elements that come after last and after each
// other.
func (c *trieChunk) keep(n int, last []byte) {
	kb, vb := c.shape.KeyBytes, c.shape.ValueBytes
	c.n, c.at = 0, 0
	for i := range n {
		key := c.keys[i*kb:][:kb]
		if last != nil && comparePrefixes(key, last) <= 0 {
			continue
		}
		if c.n < i {
			copy(c.keys[c.n*kb:], key)
			copy(c.values[c.n*vb:], c.values[i*vb:][:vb])
		}
		last = c.keys[c.n*kb:][:kb]
		c.n++
	}
}

// readTrie fills c with what comes after last, at least one element or the end.
// Each element that is read costs one of the budget.
func (m *hostMap) readTrie(c *trieChunk, last []byte, budget *int) error {
	size := len(c.keys) / m.shape.KeyBytes
	in := last
	c.n, c.at, c.ended = 0, 0, false
	for tries := 0; c.n == 0 && !c.ended; {
		n, err := m.lookupBatch(in, c.out, c.keys, c.values, size)
		if n > 0 || err == nil {
			c.in = append(c.in[:0], c.out...)
			in = c.in
		}
		if *budget -= max(n, 1); *budget < 0 {
			return errUnsettled
		}
		c.keep(n, last)
		switch {
		case err == nil:
		case errors.Is(err, unix.ENOENT):
			c.ended = true
		case errors.Is(err, errNotSupp) && !m.noTrieBatch.Swap(true):
		case transient(err) && tries < busyTries:
			pauseBusy(tries)
			tries++
		default:
			return err
		}
	}
	return nil
}
