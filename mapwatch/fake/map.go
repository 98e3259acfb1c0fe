package fake

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/mapgossip/mapgossip/mapwatch"
)

// ErrExists: Insert of a key that the map has.
var ErrExists = errors.New("key exists")

// Map is a map as the programs that own it see it; see Kernel.Open for the side
// of replication. cpu is on which CPU the write is made. Safe for concurrent use.
type Map struct {
	k      *Kernel
	shape  mapwatch.Shape
	values map[string][]byte // values are replaced, never written into
	sorted []string          // the keys of values; nil: not known
	faults faults
}

// Shape of the map; Target is the path it was added under.
func (m *Map) Shape() mapwatch.Shape { return m.shape }

// Write sets key, whether the map has it or not (BPF_ANY). It fails with
// mapwatch.ErrFull.
func (m *Map) Write(key, value []byte, cpu uint32) error {
	return m.write(key, value, cpu, func(bool) error { return nil })
}

// Insert is Write for a key that the map has not (BPF_NOEXIST), or ErrExists.
func (m *Map) Insert(key, value []byte, cpu uint32) error {
	return m.write(key, value, cpu, func(there bool) error {
		if there {
			return ErrExists
		}
		return nil
	})
}

// Overwrite is Write for a key that the map has (BPF_EXIST), or
// mapwatch.ErrNotFound.
func (m *Map) Overwrite(key, value []byte, cpu uint32) error {
	return m.write(key, value, cpu, func(there bool) error {
		if !there {
			return mapwatch.ErrNotFound
		}
		return nil
	})
}

func (m *Map) write(key, value []byte, cpu uint32, allow func(there bool) error) error {
	m.k.mu.Lock()
	defer m.k.mu.Unlock()
	if err := errors.Join(m.checkKey(key), m.checkValue(value)); err != nil {
		return err
	}
	_, there := m.values[string(key)]
	err := allow(there)
	if err == nil {
		err = m.setLocked(key, value)
	}
	m.captureLocked(mapwatch.Updated, key, value, cpu, err != nil)
	return err
}

// Remove deletes key, or fails with mapwatch.ErrNotFound.
func (m *Map) Remove(key []byte, cpu uint32) error {
	m.k.mu.Lock()
	defer m.k.mu.Unlock()
	if err := m.checkKey(key); err != nil {
		return err
	}
	var err error
	if _, there := m.values[string(key)]; !there {
		err = mapwatch.ErrNotFound
	}
	m.deleteLocked(key)
	m.captureLocked(mapwatch.Deleted, key, nil, cpu, err != nil)
	return err
}

// Poke writes the value through a pointer, as programs do with counters: no
// hook sees it, only a scan can find it. mapwatch.ErrNotFound if key is absent.
func (m *Map) Poke(key, value []byte) error {
	m.k.mu.Lock()
	defer m.k.mu.Unlock()
	if err := errors.Join(m.checkKey(key), m.checkValue(value)); err != nil {
		return err
	}
	if _, there := m.values[string(key)]; !there {
		return mapwatch.ErrNotFound
	}
	return m.setLocked(key, value)
}

// Get copies the value of key.
func (m *Map) Get(key []byte) (value []byte, ok bool) {
	m.k.mu.Lock()
	defer m.k.mu.Unlock()
	value, ok = m.values[string(key)]
	return bytes.Clone(value), ok
}

// Len is the number of elements.
func (m *Map) Len() int {
	m.k.mu.Lock()
	defer m.k.mu.Unlock()
	return len(m.values)
}

// Content copies the map: value by key.
func (m *Map) Content() map[string]string {
	m.k.mu.Lock()
	defer m.k.mu.Unlock()
	content := make(map[string]string, len(m.values))
	for key, value := range m.values {
		content[key] = string(value)
	}
	return content
}

func (m *Map) setLocked(key, value []byte) error {
	if _, there := m.values[string(key)]; !there {
		if len(m.values) >= m.shape.MaxEntries {
			return fmt.Errorf("update map %s: %w: max_entries is %d", m.shape.Target, mapwatch.ErrFull, m.shape.MaxEntries)
		}
		m.sorted = nil
	}
	m.values[string(key)] = bytes.Clone(value)
	return nil
}

func (m *Map) deleteLocked(key []byte) {
	if _, there := m.values[string(key)]; there {
		delete(m.values, string(key))
		m.sorted = nil
	}
}

// keysLocked are in order; the slice is shared and read-only.
func (m *Map) keysLocked() []string {
	if m.sorted == nil {
		m.sorted = slices.Sorted(maps.Keys(m.values))
	}
	return m.sorted
}

// checkKey and checkValue hold for writes of programs and applies alike.
func (m *Map) checkKey(key []byte) error {
	if len(key) != m.shape.KeyBytes {
		return fmt.Errorf("map %s: key has %d bytes, keys of this map have %d", m.shape.Target, len(key), m.shape.KeyBytes)
	}
	return nil
}

func (m *Map) checkValue(value []byte) error {
	if len(value) != m.shape.ValueBytes {
		return fmt.Errorf("map %s: value has %d bytes, values of this map have %d", m.shape.Target, len(value), m.shape.ValueBytes)
	}
	return nil
}
