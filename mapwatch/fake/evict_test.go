package fake_test

import (
	"errors"
	"testing"

	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/fake"
)

func newLRU(t *testing.T, entries int) (*fake.Kernel, *fake.Map, mapwatch.Map) {
	t.Helper()
	k := fake.NewKernel(nil)
	t.Cleanup(func() { k.Close() })
	m := k.AddMap(mapwatch.Shape{Target: "/lru", Type: mapwatch.TypeLRUHash, KeyBytes: 1, ValueBytes: 1, MaxEntries: entries})
	opened, err := k.Open("/lru")
	if err != nil {
		t.Fatal(err)
	}
	return k, m, opened
}

// Who was written least recently goes, by a program's write or an apply; reads
// do not count.
func TestEvictsTheOldest(t *testing.T) {
	t.Parallel()
	_, m, opened := newLRU(t, 3)
	for _, key := range []byte{1, 2, 3, 1} {
		if err := m.Write([]byte{key}, []byte{key}, 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := opened.Lookup([]byte{2}); err != nil {
		t.Error(err)
	}
	if err := m.Poke([]byte{2}, []byte{9}); err != nil {
		t.Error(err)
	}
	ops := []mapwatch.Op{{Key: []byte{4}, Value: []byte{4}}}
	opened.Apply(ops)
	if ops[0].Err != nil {
		t.Error(ops[0].Err)
	}
	if _, there := m.Get([]byte{2}); there || m.Len() != 3 {
		t.Errorf("content is %q, want all but 2", m.Content())
	}
	if err := m.Remove([]byte{3}, 0); err != nil {
		t.Error(err)
	}
	for _, key := range []byte{5, 6} {
		if err := m.Write([]byte{key}, []byte{key}, 0); err != nil {
			t.Error(err)
		}
	}
	if _, there := m.Get([]byte{1}); there || m.Len() != 3 {
		t.Errorf("content is %q, want 4, 5, 6", m.Content())
	}
}

func TestEvictByHand(t *testing.T) {
	t.Parallel()
	k, m, opened := newLRU(t, 3)
	w, err := k.Watch([]mapwatch.Map{opened}, mapwatch.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := m.Write([]byte{1}, []byte{1}, 0); err != nil {
		t.Fatal(err)
	}
	if err := m.Evict([]byte{2}, 0); !errors.Is(err, mapwatch.ErrNotFound) {
		t.Errorf("evict of an absent key: %v", err)
	}
	if err := m.Evict([]byte{1}, 3); err != nil {
		t.Error(err)
	}
	batch := <-w.Batches()
	if n := len(batch.Changes); n != 2 || batch.Changes[1].Kind != mapwatch.Evicted || batch.Changes[1].Key[0] != 1 || batch.Changes[1].CPU != 3 {
		t.Errorf("changes are %+v", batch.Changes)
	}
	hash := k.AddMap(mapwatch.Shape{Target: "/hash"})
	if err := hash.Evict(make([]byte, 8), 0); !errors.Is(err, fake.ErrInvalid) {
		t.Errorf("evict from a hash map: %v", err)
	}
}

// What a type has no operation for is an error, and changes nothing.
func TestInvalidOperations(t *testing.T) {
	t.Parallel()
	k := fake.NewKernel(nil)
	defer k.Close()
	array := k.AddMap(mapwatch.Shape{Target: "/array", Type: mapwatch.TypeArray, MaxEntries: 4})
	key, value := make([]byte, 4), make([]byte, 8)
	value[0] = 1
	if err := array.Write(key, value, 0); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{"drain": array.Drain(), "remove": array.Remove(key, 0)} {
		if !errors.Is(err, fake.ErrInvalid) {
			t.Errorf("%s of an array: %v", what, err)
		}
	}
	if err := array.Insert([]byte{1, 0, 0, 0}, value, 0); !errors.Is(err, fake.ErrExists) {
		t.Errorf("insert into an array: %v", err)
	}
	if array.Len() != 1 {
		t.Errorf("%d elements, want 1", array.Len())
	}
	// Through a pointer every element of an array is there.
	if err := array.Poke([]byte{2, 0, 0, 0}, value); err != nil || array.Len() != 2 {
		t.Errorf("%d elements, want 2: %v", array.Len(), err)
	}
	if err := array.Poke(key, make([]byte, 8)); err != nil || array.Len() != 1 {
		t.Errorf("%d elements, want 1: %v", array.Len(), err)
	}
}
