//go:build linux

package mapwatch

import (
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/mapgossip/mapgossip/mapwatch/layout"
)

// convertAlone is the layout of a type that is in no object.
func convertAlone(t btf.Type) layout.Layout {
	b := layoutBuilder{left: mostLayouts}
	return b.convert(t)
}

func TestLayoutsOfTypes(t *testing.T) {
	u8 := &btf.Int{Name: "unsigned char", Size: 1}
	u32 := &btf.Int{Name: "unsigned int", Size: 4}
	char := &btf.Int{Name: "char", Size: 1, Encoding: btf.Signed}
	be32 := &btf.Typedef{Name: "__be32", Type: &btf.Typedef{Name: "__u32", Type: u32}}
	inAddr := &btf.Struct{Name: "in_addr", Size: 4, Members: []btf.Member{{Name: "s_addr", Type: be32}}}
	lock := &btf.Struct{Name: "bpf_spin_lock", Size: 4, Members: []btf.Member{{Name: "val", Type: u32}}}
	kptr := &btf.Pointer{Target: &btf.TypeTag{Value: "kptr_untrusted", Type: &btf.Struct{Name: "task_struct", Size: 8}}}
	proto := &btf.Enum{Name: "proto", Size: 4, Signed: true, Values: []btf.EnumValue{{Name: "NONE", Value: ^uint64(0)}, {Name: "TCP", Value: 6}}}
	outer := &btf.Struct{Name: "outer", Size: 48, Members: []btf.Member{
		{Name: "lock", Type: lock},
		{Name: "peer", Type: &btf.Const{Type: &btf.Typedef{Name: "addr_t", Type: inAddr}}, Offset: 32},
		{Name: "port", Type: be32, Offset: 64},
		{Name: "low", Type: u32, Offset: 96, BitfieldSize: 3},
		{Name: "on", Type: &btf.Int{Name: "_Bool", Size: 1, Encoding: btf.Bool}, Offset: 128},
		{Name: "name", Type: &btf.Array{Type: char, Index: u32, Nelems: 7}, Offset: 136},
		{Name: "task", Type: kptr, Offset: 192},
		{Name: "next", Type: &btf.Pointer{Target: &btf.Void{}}, Offset: 256},
		{Name: "proto", Type: proto, Offset: 320},
		{Type: &btf.Union{Size: 4, Members: []btf.Member{{Name: "a", Type: u32}, {Name: "b", Type: &btf.Array{Type: u8, Index: u32, Nelems: 4}}}}, Offset: 352},
		{Name: "rest", Type: &btf.Array{Type: u8, Index: u32}, Offset: 384},
	}}
	b := make([]byte, 48)
	copy(b[4:], []byte{10, 0, 0, 1, 0, 0, 1, 0xbb})
	b[16] = 1
	copy(b[17:], "eth0")
	for i := range 4 {
		b[40+i] = 0xff
	}
	const want = `{lock: -, peer: 10.0.0.1, port: 443, low: 0, on: true, name: "eth0", task: -, next: 0000000000000000, proto: NONE, a: 0, b: 00000000}`
	if got := convertAlone(outer).Format(b); got != want {
		t.Errorf("shown as\n%s, want\n%s", got, want)
	}
	for _, test := range []struct {
		t    btf.Type
		want string
	}{
		{outer, "struct outer"}, {be32, "__be32"}, {kptr, "struct task_struct *"}, {u32, "unsigned int"},
		{&btf.Typedef{Name: "addr_t", Type: inAddr}, "struct in_addr"}, {&btf.Array{Type: be32, Index: u32, Nelems: 2}, "__be32[2]"},
	} {
		if got := convertAlone(test.t).Type; got != test.want {
			t.Errorf("type is called %q, want %q", got, test.want)
		}
	}
}

// What a small BTF can blow up to is bounded.
func TestLayoutsAreBounded(t *testing.T) {
	u32 := &btf.Int{Name: "unsigned int", Size: 4}
	var nested btf.Type = &btf.Union{Size: 4, Members: []btf.Member{{Name: "x", Type: u32}, {Name: "y", Type: u32}}}
	for range 30 {
		nested = &btf.Union{Size: 4, Members: []btf.Member{{Name: "x", Type: nested}, {Name: "y", Type: nested}}}
	}
	l := convertAlone(nested)
	if n := countLayouts(l); n > 2*mostLayouts {
		t.Errorf("%d layouts", n)
	}
	if shown := l.Format(make([]byte, 4)); len(shown) > 1<<20 {
		t.Errorf("shown in %d bytes", len(shown))
	}
}

func countLayouts(l layout.Layout) int {
	n := 1
	for _, f := range l.Fields {
		n += countLayouts(f.Layout)
	}
	if l.Element != nil {
		n += countLayouts(*l.Element)
	}
	return n
}
