//go:build linux

package mapwatch_test

import (
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/mapgossip/mapgossip/test/need"
)

// Maps of every type tell their types, and one without BTF tells none.
func TestLayoutsOfMaps(t *testing.T) {
	u32 := &btf.Int{Name: "unsigned int", Size: 4}
	be32 := &btf.Typedef{Name: "__be32", Type: u32}
	pair := &btf.Struct{Name: "pair", Size: 8, Members: []btf.Member{{Name: "saddr", Type: be32}, {Name: "count", Type: u32, Offset: 32}}}
	prefix := &btf.Struct{Name: "prefix", Size: 8, Members: []btf.Member{{Name: "prefixlen", Type: u32}, {Name: "addr", Type: be32, Offset: 32}}}
	for _, test := range []struct {
		spec       ebpf.MapSpec
		key, value string
	}{
		{ebpf.MapSpec{Type: ebpf.Hash, KeySize: 8, Key: pair, Value: pair}, "struct pair", "struct pair"},
		{ebpf.MapSpec{Type: ebpf.LRUHash, KeySize: 8, Key: pair, Value: pair}, "struct pair", "struct pair"},
		{ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, Key: u32, Value: pair}, "unsigned int", "struct pair"},
		{ebpf.MapSpec{Type: ebpf.LPMTrie, KeySize: 8, Flags: 1, Key: prefix, Value: pair}, "struct prefix", "struct pair"},
		{ebpf.MapSpec{Type: ebpf.Hash, KeySize: 8}, "", ""},
	} {
		t.Run(test.spec.Type.String()+test.key, func(t *testing.T) {
			spec := test.spec
			spec.ValueSize, spec.MaxEntries = 8, 16
			m, err := openHost(t).Open(pinMap(t, filepath.Join(need.BPFFS(t), "typed"), &spec))
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			key, value := m.Layouts()
			if key.Type != test.key || value.Type != test.value {
				t.Fatalf("types are %q and %q, want %q and %q", key.Type, value.Type, test.key, test.value)
			}
			if test.value == "" {
				return
			}
			const want = "{saddr: 10.0.0.1, count: 0}"
			if got := value.Format([]byte{10, 0, 0, 1, 0, 0, 0, 0}); got != want {
				t.Errorf("a value is shown as %s, want %s", got, want)
			}
		})
	}
}
