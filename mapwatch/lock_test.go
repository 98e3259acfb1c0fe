//go:build linux

package mapwatch_test

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/test/need"
)

// lockedBytes is the size of values that begin with a bpf_spin_lock: so large that
// a copy takes a while.
const lockedBytes = 4 + 60<<10

// newLockedMap makes a map of such values.
func newLockedMap(t *testing.T, kind ebpf.MapType) (mapwatch.Map, *ebpf.Map) {
	t.Helper()
	u32 := &btf.Int{Name: "unsigned int", Size: 4}
	lock := &btf.Struct{Name: "bpf_spin_lock", Size: 4, Members: []btf.Member{{Name: "val", Type: u32}}}
	path := pinMap(t, filepath.Join(need.BPFFS(t), "locked"), &ebpf.MapSpec{
		Type: kind, KeySize: 4, ValueSize: lockedBytes, MaxEntries: 4,
		Key: u32,
		Value: &btf.Struct{Name: "guarded", Size: lockedBytes, Members: []btf.Member{
			{Name: "lock", Type: lock},
			{Name: "n", Type: &btf.Array{Type: u32, Index: u32, Nelems: lockedBytes/4 - 1}, Offset: 32},
		}},
	})
	m, err := openHost(t).Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	raw, err := ebpf.LoadPinnedMap(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	return m, raw
}

// guarded is a value with n in all bytes but the lock's, which have lock.
func guarded(lock, n byte) []byte {
	return append(bytes.Repeat([]byte{lock}, 4), bytes.Repeat([]byte{n}, lockedBytes-4)...)
}

func scanOne(t *testing.T, m mapwatch.Map) (value []byte) {
	t.Helper()
	if err := m.Scan(t.Context(), func(_, values []byte, n int) error {
		value = bytes.Clone(values[:lockedBytes])
		return nil
	}); err != nil {
		t.Error(err)
	}
	return value
}

// The lock's bytes are the kernel's: they read as zero, and what we write to them
// is ignored.
func TestLockIsNoPartOfTheValue(t *testing.T) {
	for _, kind := range []ebpf.MapType{ebpf.Hash, ebpf.Array} {
		t.Run(kind.String(), func(t *testing.T) {
			m, raw := newLockedMap(t, kind)
			key := make([]byte, 4)
			for _, n := range []byte{1, 2} { // new, and over another
				ops := []mapwatch.Op{{Key: key, Value: guarded(0xff, n)}}
				m.Apply(ops)
				if ops[0].Err != nil {
					t.Fatal(ops[0].Err)
				}
				looked, err := m.Lookup(key)
				if err != nil || !bytes.Equal(looked, guarded(0, n)) {
					t.Errorf("value begins with %x, want %x: %v", looked[:8], guarded(0, n)[:8], err)
				}
				if scanned := scanOne(t, m); !bytes.Equal(scanned, looked) {
					t.Errorf("scanned value begins with %x", scanned[:8])
				}
				// The lock was not taken for good: others get it.
				if err := raw.LookupWithFlags(key, make([]byte, lockedBytes), ebpf.LookupLock); err != nil {
					t.Error(err)
				}
			}
			ops := []mapwatch.Op{{Key: key, Delete: true}}
			m.Apply(ops)
			if _, err := m.Lookup(key); ops[0].Err != nil || err == nil {
				t.Errorf("delete: %v, and lookup: %v", ops[0].Err, err)
			}
		})
	}
}

// Whoever writes in place under the lock is never seen half, nor is what we write
// by others who take the lock.
func TestLockKeepsValuesWhole(t *testing.T) {
	const rounds = 300
	for _, kind := range []ebpf.MapType{ebpf.Hash, ebpf.Array} {
		t.Run(kind.String(), func(t *testing.T) {
			m, raw := newLockedMap(t, kind)
			key := make([]byte, 4)
			if err := raw.Put(key, guarded(0, 1)); err != nil {
				t.Fatal(err)
			}
			whole := func(what string, value []byte) {
				if len(value) != lockedBytes || !bytes.Equal(value, guarded(0, value[4])) {
					t.Errorf("%s: value is half of one and half of another", what)
				}
			}
			written := make(chan struct{})
			go func() {
				defer close(written)
				for i := range rounds {
					if err := raw.Update(key, guarded(0, byte(1+i%100)), ebpf.UpdateLock); err != nil {
						t.Error(err)
						return
					}
				}
			}()
			for done := false; !done; {
				select {
				case <-written:
					done = true
				default:
				}
				value, err := m.Lookup(key)
				if err != nil {
					t.Fatal(err)
				}
				whole("Lookup", value)
				whole("Scan", scanOne(t, m))
			}
			applied := make(chan struct{})
			go func() {
				defer close(applied)
				for i := range rounds {
					ops := []mapwatch.Op{{Key: key, Value: guarded(0, byte(1+i%100))}, {Key: key, Value: guarded(0, byte(101+i%100))}}
					if i%2 == 0 {
						ops = ops[:1] // without a batch
					}
					m.Apply(ops)
					if ops[0].Err != nil {
						t.Error(ops[0].Err)
						return
					}
				}
			}()
			value := make([]byte, lockedBytes)
			for done := false; !done; {
				select {
				case <-applied:
					done = true
				default:
				}
				if err := raw.LookupWithFlags(key, value, ebpf.LookupLock); err != nil {
					t.Fatal(err)
				}
				whole("Apply", value)
			}
		})
	}
}
