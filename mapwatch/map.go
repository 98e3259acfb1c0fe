//go:build linux

package mapwatch

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// hostMap is an open map of the Host.
type hostMap struct {
	host     *Host
	target   Target
	shape    Shape
	readOnly bool // the pin's file mode let us open it for reading only

	// What Apply writes with: bpfWriteBatch and bpfWrite, but in tests of what
	// it does when the kernel refuses.
	writeBatch func(fd int, keys, values []byte, n int) (int, error)
	write      func(fd int, op Op) error

	// noBatch is set when the kernel turned out to have no batch operations
	// (before 5.6) to write with; from then on Apply goes element by element.
	noBatch atomic.Bool

	// mu is held for reading during every bpf(2) call on m, so that Close
	// cannot hand its file descriptor number to somebody else meanwhile.
	mu     sync.RWMutex
	closed bool
	m      *ebpf.Map
}

var _ Map = (*hostMap)(nil)

// Shape implements Map.
func (m *hostMap) Shape() Shape { return m.shape }

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
	err := bpfLookup(m.m.FD(), key, value, 0)
	switch {
	case err == nil:
		return value, nil
	case errors.Is(err, unix.ENOENT):
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
