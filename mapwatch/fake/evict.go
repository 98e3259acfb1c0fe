package fake

import (
	"container/list"

	"github.com/mapgossip/mapgossip/mapwatch"
)

// age is the order in which the keys of an LRU hash map were written, the least
// recent first. The kernel's is coarser. The zero value is empty.
type age struct {
	keys  *list.List // of string
	where map[string]*list.Element
}

func (a *age) written(key string) {
	if a.keys == nil {
		a.keys, a.where = list.New(), make(map[string]*list.Element)
	}
	if e, ok := a.where[key]; ok {
		a.keys.MoveToBack(e)
		return
	}
	a.where[key] = a.keys.PushBack(key)
}

func (a *age) forget(key string) {
	if e, ok := a.where[key]; ok {
		a.keys.Remove(e)
		delete(a.where, key)
	}
}

// oldest is for an age that is not empty.
func (a *age) oldest() string { return a.keys.Front().Value.(string) }

// Evict makes an LRU hash map let go of key, as it does by itself when room is
// wanted. mapwatch.ErrNotFound if the map has no such key, ErrInvalid for maps of
// other types.
func (m *Map) Evict(key []byte, cpu uint32) error {
	m.k.mu.Lock()
	defer m.k.mu.Unlock()
	if m.shape.Type != mapwatch.TypeLRUHash {
		return ErrInvalid
	}
	own, err := m.keyOf(key)
	if err != nil {
		return err
	}
	if _, there := m.values[own]; !there {
		return mapwatch.ErrNotFound
	}
	m.evictLocked(own, cpu)
	return nil
}

// evictLocked is captured whoever wanted the room, an Apply too.
func (m *Map) evictLocked(key string, cpu uint32) {
	m.deleteLocked(key)
	m.captureLocked(mapwatch.Evicted, []byte(key), nil, cpu, false)
}

// Drain deletes everything as lookup_and_delete_batch does: a capture hears that
// it happened, and of no key. ErrInvalid for maps of types that have no such call.
func (m *Map) Drain() error {
	m.k.mu.Lock()
	defer m.k.mu.Unlock()
	if m.shape.Type != mapwatch.TypeHash && m.shape.Type != mapwatch.TypeLRUHash {
		return ErrInvalid
	}
	m.values, m.sorted, m.age = make(map[string][]byte), nil, age{}
	for c, slot := range m.hookedLocked() {
		c.rescan[slot], c.drained[slot] = true, true
		c.wakeLocked()
	}
	return nil
}
