//go:build linux

package mapwatch

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/mapgossip/mapgossip/mapwatch/layout"
)

// hostMap is an open map of the Host.
type hostMap struct {
	host     *Host
	target   Target
	shape    Shape
	readOnly bool   // the pin's file mode let us open it for reading only
	lock     uint64 // BPF_F_LOCK if the values hold a bpf_spin_lock, else 0
	zeros    []byte // what a delete writes into an array; nil for other types

	key, value layout.Layout
	hidden     bool // there are types, but this process may not read them

	// What Apply writes with: bpfWriteBatch and bpfWrite, but in tests of what
	// it does when the kernel refuses.
	writeBatch func(fd int, keys, values []byte, n int, flags uint64) (int, error)
	write      func(fd int, op Op, flags uint64) error

	// noBatch is set when the kernel turned out to have no batch operations to
	// write this map with (before 5.6, LPM tries before 5.13); from then on Apply
	// goes element by element. noTrieBatch: none to read this trie with.
	noBatch     atomic.Bool
	noTrieBatch atomic.Bool

	// mu is held for reading during every bpf(2) call on m, so that Close
	// cannot hand its file descriptor number to somebody else meanwhile.
	mu     sync.RWMutex
	closed bool
	m      *ebpf.Map
}

var _ Map = (*hostMap)(nil)

// Shape implements Map.
func (m *hostMap) Shape() Shape { return m.shape }

// Layouts implements Map. They were read when the map was opened.
func (m *hostMap) Layouts() (key, value layout.Layout) { return m.key, m.value }

// Lookup implements Map.
func (m *hostMap) Lookup(key []byte) ([]byte, error) {
	if len(key) != m.shape.KeyBytes {
		return nil, fmt.Errorf("look up key in map %s: key has %d bytes, keys of this map have %d", m.shape.Target, len(key), m.shape.KeyBytes)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return nil, errClosed("look up key in", m.shape)
	}
	value := make([]byte, m.shape.ValueBytes)
	var err error
	if m.shape.Type == TypeLPMTrie {
		err = m.lookupPrefix(key, value)
	} else {
		err = bpfLookup(m.m.FD(), key, value, m.lock)
	}
	switch {
	case err == nil && !m.shape.absent(value):
		return value, nil
	case err == nil, errors.Is(err, unix.ENOENT):
		return nil, fmt.Errorf("look up key %x in map %s: %w", cut(key), m.shape.Target, ErrNotFound)
	default:
		return nil, m.explain("look up key in", err)
	}
}

// Close implements Map. The kernel's map lives on if someone else holds it.
func (m *hostMap) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	if err := m.m.Close(); err != nil {
		return fmt.Errorf("close map %s: %w", m.shape.Target, err)
	}
	return nil
}

// cut shortens a key for an error message.
func cut(key []byte) []byte {
	const most = 32
	return key[:min(len(key), most)]
}
