package conformance

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/mapgossip/mapgossip/mapwatch"
)

func (s Subject) open(t *testing.T, target string) mapwatch.Map {
	t.Helper()
	m, err := s.Kernel.Open(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("close map: %v", err)
		}
	})
	return m
}

// numbered is a key or value of that many bytes, which differs for every n that
// fits into them.
func numbered(bytes, n int) []byte {
	b := make([]byte, bytes)
	if bytes < 4 {
		b[0] = byte(n)
		return b
	}
	binary.BigEndian.PutUint32(b, uint32(n))
	for i := 4; i < bytes; i++ {
		b[i] = byte(n + i)
	}
	return b
}

func update(key, value []byte) mapwatch.Op { return mapwatch.Op{Key: key, Value: value} }
func remove(key []byte) mapwatch.Op        { return mapwatch.Op{Key: key, Delete: true} }

// apply wants every op to succeed.
func apply(t *testing.T, m mapwatch.Map, ops ...mapwatch.Op) {
	t.Helper()
	m.Apply(ops)
	for i, op := range ops {
		if op.Err != nil {
			t.Fatalf("op %d: %v", i, op.Err)
		}
	}
}

// content reads a map by a scan, and wants no key twice.
func content(t *testing.T, m mapwatch.Map) map[string]string {
	t.Helper()
	got := make(map[string]string)
	s := m.Shape()
	err := m.Scan(t.Context(), func(keys, values []byte, n int) error {
		if n < 1 || len(keys) != n*s.KeyBytes || len(values) != n*s.ValueBytes {
			t.Errorf("chunk of %d elements has %d bytes of keys and %d of values, sizes are %d and %d", n, len(keys), len(values), s.KeyBytes, s.ValueBytes)
		}
		for i := range n {
			key := string(keys[i*s.KeyBytes:][:s.KeyBytes])
			if _, twice := got[key]; twice {
				t.Errorf("key %x passed twice", key)
			}
			got[key] = string(values[i*s.ValueBytes:][:s.ValueBytes])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func wantContent(t *testing.T, m mapwatch.Map, want map[string]string) {
	t.Helper()
	got := content(t, m)
	for key, value := range want {
		if v, ok := got[key]; !ok {
			t.Errorf("key %x is missing", key)
		} else if v != value {
			t.Errorf("key %x has another value than was written", key)
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			t.Errorf("key %x was never written, or deleted", key)
		}
	}
}

func wantError(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: error is %v, want one that wraps %q", what, got, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
