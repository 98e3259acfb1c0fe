//go:build linux

package mapwatch

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// A chunk of a scan is bounded by elements and by bytes; chunks of 1024 to 4096
// small elements are the fastest (BenchmarkScan).
const (
	chunkElements = 4096
	chunkBytes    = 1 << 20
)

// Scan implements Map, since Linux 5.6; ErrUnsupported before.
//
// Of hash maps the kernel copies bucket by bucket under the bucket's lock
// (__htab_map_lookup_and_delete_batch in kernel/bpf/hashtab.c), and a key never
// changes its bucket: that is what "exactly once" rests on. There is no falling
// back to BPF_MAP_GET_NEXT_KEY: an overwrite moves an element to the head of its
// bucket, where a walk from key to key has been already, so that elements which
// were there all the time are missed.
//
// Arrays are read by index, and each element is there all the time. For tries,
// see scanTrie. No lock is held while fn runs.
func (m *hostMap) Scan(ctx context.Context, fn func(keys, values []byte, n int) error) error {
	if m.shape.Type == TypeLPMTrie {
		return m.scanTrie(ctx, fn)
	}
	keyBytes, valueBytes := m.shape.KeyBytes, m.shape.ValueBytes
	size := m.chunkSize()
	keys, values := make([]byte, size*keyBytes), make([]byte, size*valueBytes)

	// A hash map's cursor is the number of the next bucket, an array's an index.
	var in []byte
	out := make([]byte, max(4, keyBytes))
	for tries := 0; ; {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("scan map %s: %w", m.shape.Target, err)
		}
		n, err := m.lookupBatch(in, out, keys, values, size)
		if n > 0 || err == nil {
			// The call moved the cursor even if it ended in an error.
			in = append(in[:0], out...)
		}
		if n > 0 {
			tries = 0
		}
		if m.shape.Type == TypeArray {
			n = m.keepPresent(keys, values, n)
		}
		if n > 0 {
			if err := fn(keys[:n*keyBytes], values[:n*valueBytes], n); err != nil {
				return err
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, unix.ENOENT):
			return nil
		case errors.Is(err, unix.ENOSPC):
			// One bucket has more elements than the chunk.
			size *= 2
			keys, values = make([]byte, size*keyBytes), make([]byte, size*valueBytes)
		case transient(err) && tries < busyTries:
			pauseBusy(tries)
			tries++
		case in == nil && (errors.Is(err, unix.EINVAL) || errors.Is(err, errNotSupp)):
			return fmt.Errorf("scan map %s: %w: it has no BPF_MAP_LOOKUP_BATCH, which is in Linux 5.6 and later", m.shape.Target, ErrUnsupported)
		default:
			return m.explainLocking("scan", err)
		}
	}
}

// chunkSize is how many elements are read at once.
func (m *hostMap) chunkSize() int {
	s := m.shape
	return max(1, min(chunkElements, s.MaxEntries, chunkBytes/(s.KeyBytes+s.ValueBytes)))
}

// keepPresent moves the elements of an array that count to the front.
func (m *hostMap) keepPresent(keys, values []byte, n int) int {
	keyBytes, valueBytes := m.shape.KeyBytes, m.shape.ValueBytes
	kept := 0
	for i := range n {
		value := values[i*valueBytes:][:valueBytes]
		if m.shape.absent(value) {
			continue
		}
		if kept < i {
			copy(keys[kept*keyBytes:], keys[i*keyBytes:][:keyBytes])
			copy(values[kept*valueBytes:], value)
		}
		kept++
	}
	return kept
}

func (m *hostMap) lookupBatch(in, out, keys, values []byte, n int) (int, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	switch {
	case m.closed:
		return 0, unix.EBADF
	case m.noTrieBatch.Load():
		return m.walkPrefixes(in, out, keys, values, n)
	}
	return bpfLookupBatch(m.m.FD(), in, out, keys, values, n, m.lock)
}

func (m *hostMap) explainLocking(verb string, err error) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.explain(verb, err)
}
