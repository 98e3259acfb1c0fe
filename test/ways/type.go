//go:build linux

package ways

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/mapgossip/mapgossip/mapwatch"
)

// Type is a map type that can be replicated, in one of the forms that might
// make a difference: a column of the table.
type Type struct {
	Name   string
	Column string // of the README's table, as people call it
	Form   string // what tells it from the others of its column; empty: nothing

	kind  ebpf.MapType
	flags uint32
	from  string // a map of bpf/ways.bpf.c that has the type of the values
}

// Types that are replicated, those of one column next to each other.
func Types() []Type {
	const hash, array = "HASH", "ARRAY"
	return []Type{
		{Name: "hash", Column: hash, Form: "plain values", kind: ebpf.Hash},
		{Name: "hash_no_prealloc", Column: hash, Form: "`BPF_F_NO_PREALLOC`", kind: ebpf.Hash, flags: unix.BPF_F_NO_PREALLOC},
		{Name: "hash_lock", Column: hash, Form: "a spin lock in the value", kind: ebpf.Hash, from: waysMapHashLock},
		{Name: "hash_timer", Column: hash, Form: "a timer in the value", kind: ebpf.Hash, from: waysMapHashTimer},
		{Name: "hash_kptr", Column: hash, Form: "a kptr in the value", kind: ebpf.Hash, from: waysMapHashKptr},
		{Name: "lru_hash", Column: "LRU_HASH", kind: ebpf.LRUHash},
		{Name: "array", Column: array, Form: "not mappable", kind: ebpf.Array},
		{Name: "array_mmap", Column: array, Form: "`BPF_F_MMAPABLE`", kind: ebpf.Array, flags: unix.BPF_F_MMAPABLE},
		{Name: "lpm_trie", Column: "LPM_TRIE", kind: ebpf.LPMTrie, flags: unix.BPF_F_NO_PREALLOC},
	}
}

// entries is the max_entries of a map: there is room for the blocks of all ways, in
// an LRU map so much that it lets go of nothing before it has to, which it does as
// soon as one CPU's share is used up.
func (t Type) entries() int {
	if t.kind == ebpf.LRUHash {
		return 512
	}
	return 256
}

// spec of a map of the type. The kernel allows names of 15 bytes.
func (t Type) spec(name string) (*ebpf.MapSpec, error) {
	spec := &ebpf.MapSpec{Type: t.kind, KeySize: 8, ValueSize: 8, Flags: t.flags}
	if t.from != "" {
		collection, err := loadWays()
		if err != nil {
			return nil, err
		}
		spec = collection.Maps[t.from]
	}
	if t.kind == ebpf.Array {
		spec.KeySize = 4
	}
	spec.Name, spec.MaxEntries = name, uint32(t.entries())
	return spec, nil
}

// create makes an empty map.
func (t Type) create(name string) (*ebpf.Map, error) {
	spec, err := t.spec(name)
	if err != nil {
		return nil, err
	}
	return ebpf.NewMap(spec)
}

// shape for the map in memory, which has so much more room that it gives up
// nothing when the other one does.
func (t Type) shape(m *ebpf.Map, target string) mapwatch.Shape {
	name := map[ebpf.MapType]string{
		ebpf.Hash: mapwatch.TypeHash, ebpf.LRUHash: mapwatch.TypeLRUHash,
		ebpf.Array: mapwatch.TypeArray, ebpf.LPMTrie: mapwatch.TypeLPMTrie,
	}[t.kind]
	return mapwatch.Shape{
		Target: target, Type: name, KeyBytes: int(m.KeySize()), ValueBytes: int(m.ValueSize()), MaxEntries: 16 * t.entries(),
	}
}

// key is the i-th one.
func (t Type) key(i int) []byte {
	switch t.kind {
	case ebpf.Array:
		return binary.NativeEndian.AppendUint32(nil, uint32(i))
	case ebpf.LPMTrie: // all of one length
		return binary.BigEndian.AppendUint32(binary.NativeEndian.AppendUint32(nil, 32), uint32(i))
	}
	return binary.NativeEndian.AppendUint64(nil, uint64(i))
}

// programKey is the i-th key as the variable of bpf/ways.bpf.c wants it.
func (t Type) programKey(i int) uint64 {
	key := make([]byte, 8)
	copy(key, t.key(i))
	return binary.NativeEndian.Uint64(key)
}

// value is one with the number in front, and zeros behind.
func value(m *ebpf.Map, number int) []byte {
	v := make([]byte, m.ValueSize())
	binary.NativeEndian.PutUint64(v, uint64(number))
	return v
}

// read returns what the map holds, as replication sees it.
func (t Type) read(m *ebpf.Map) (map[string]string, error) {
	content := make(map[string]string)
	var k, v []byte
	it := m.Iterate()
	for it.Next(&k, &v) {
		if t.holds(v) {
			content[string(k)] = string(v)
		}
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("read the map: %w", err)
	}
	return content, nil
}

// holds: an element of an array that is zero counts as absent.
func (t Type) holds(value []byte) bool {
	return t.kind != ebpf.Array || slices.ContainsFunc(value, func(b byte) bool { return b != 0 })
}
