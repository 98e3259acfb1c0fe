package fake

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/mapgossip/mapgossip/mapwatch"
)

// Errors of writes by programs, besides mapwatch's.
var (
	// ErrExists: Insert of a key that the map has; every element of an array does.
	ErrExists = errors.New("key exists")
	// ErrInvalid: the map's type has no such operation.
	ErrInvalid = errors.New("invalid operation on this type of map")
)

// Map is a map as the programs that own it see it; see Kernel.Open for the side
// of replication. cpu is on which CPU the write is made. Safe for concurrent use.
//
// It is of one of the types that can be replicated, and behaves so: an array has
// all its elements from the start (those that are zero are left out of Get, Len
// and Content, as they are in a mapwatch.Map), a trie masks its keys, and an LRU
// hash map that is full evicts the key that was written least recently.
type Map struct {
	k      *Kernel
	shape  mapwatch.Shape
	values map[string][]byte // values are replaced, never written into
	sorted []string          // the keys of values; nil: not known
	age    age               // of an LRU hash map
	limit  limit
	faults faults
	writer writer

	layouts layouts
}

// Shape of the map; Target is the path it was added under.
func (m *Map) Shape() mapwatch.Shape { return m.shape }

// Write sets key, whether the map has it or not (BPF_ANY). It fails with
// mapwatch.ErrFull, as it does for an index beyond an array.
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
	own, err := m.keyOf(key)
	if err != nil && !isOverrun(err) {
		return err
	}
	if err := m.checkValue(value); err != nil {
		return err
	}
	if err == nil {
		_, there := m.values[own]
		err = allow(there || m.shape.Type == mapwatch.TypeArray)
	}
	if err == nil {
		err = m.setLocked(own, value, cpu)
	}
	if err != nil {
		m.captureLocked(mapwatch.Updated, key, value, cpu, true)
		return err
	}
	if m.absent(value) {
		m.captureLocked(mapwatch.Deleted, []byte(own), nil, cpu, false)
	} else {
		m.captureLocked(mapwatch.Updated, []byte(own), value, cpu, false)
	}
	return nil
}

// Remove deletes key, or fails with mapwatch.ErrNotFound. Nothing can be deleted
// from an array: that is ErrInvalid; write zeros.
func (m *Map) Remove(key []byte, cpu uint32) error {
	m.k.mu.Lock()
	defer m.k.mu.Unlock()
	own, err := m.keyOf(key)
	switch {
	case m.shape.Type == mapwatch.TypeArray:
		return ErrInvalid
	case err != nil && !isOverrun(err):
		return err
	case err != nil:
		m.captureLocked(mapwatch.Deleted, key, nil, cpu, true)
		return err
	}
	if _, there := m.values[own]; !there {
		err = mapwatch.ErrNotFound
	}
	m.deleteLocked(own)
	m.captureLocked(mapwatch.Deleted, []byte(own), nil, cpu, err != nil)
	return err
}

// Poke writes the value through a pointer, as programs do with counters: no
// hook sees it, only a scan can find it. mapwatch.ErrNotFound if key is absent;
// an array has every key.
func (m *Map) Poke(key, value []byte) error {
	m.k.mu.Lock()
	defer m.k.mu.Unlock()
	own, err := m.keyOf(key)
	if isOverrun(err) {
		return mapwatch.ErrNotFound
	}
	if err := errors.Join(err, m.checkValue(value)); err != nil {
		return err
	}
	if _, there := m.values[own]; !there && m.shape.Type != mapwatch.TypeArray {
		return mapwatch.ErrNotFound
	}
	m.storeLocked(own, value)
	return nil
}

// Get copies the value of key.
func (m *Map) Get(key []byte) (value []byte, ok bool) {
	m.k.mu.Lock()
	defer m.k.mu.Unlock()
	own, err := m.keyOf(key)
	if err != nil {
		return nil, false
	}
	value, ok = m.values[own]
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

// setLocked is what an update does, of a program or an Apply. key is from keyOf.
func (m *Map) setLocked(key string, value []byte, cpu uint32) error {
	if _, there := m.values[key]; !there && len(m.values) >= m.shape.MaxEntries {
		if m.shape.Type != mapwatch.TypeLRUHash {
			return fmt.Errorf("update map %s: %w: max_entries is %d", m.shape.Target, mapwatch.ErrFull, m.shape.MaxEntries)
		}
		m.evictLocked(m.age.oldest(), cpu)
	}
	m.storeLocked(key, value)
	if m.shape.Type == mapwatch.TypeLRUHash {
		m.age.written(key)
	}
	return nil
}

// storeLocked sets the value, or leaves the key out if that counts as absent.
func (m *Map) storeLocked(key string, value []byte) {
	if m.absent(value) {
		m.deleteLocked(key)
		return
	}
	if _, there := m.values[key]; !there {
		m.sorted = nil
	}
	m.values[key] = bytes.Clone(value)
}

func (m *Map) deleteLocked(key string) {
	if _, there := m.values[key]; there {
		delete(m.values, key)
		m.age.forget(key)
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
