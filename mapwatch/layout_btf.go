//go:build linux

package mapwatch

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/mapgossip/mapgossip/mapwatch/layout"
)

// readLayouts reads the types of a map's key and value from its BTF, which the
// kernel hands out for CAP_SYS_ADMIN only. One that is not there, or that is not
// as long as the map's, stays zero.
func readLayouts(info mapInfo) (key, value layout.Layout, err error) {
	if info.btfID == 0 {
		return key, value, nil
	}
	handle, err := btf.NewHandleFromID(btf.ID(info.btfID))
	if err != nil {
		return key, value, fmt.Errorf("open its types: %w", err)
	}
	defer handle.Close()
	types, err := handle.Spec(nil)
	if err != nil {
		return key, value, fmt.Errorf("read its types: %w", err)
	}
	return layoutOf(types, info.keyType, int(info.keyBytes)), layoutOf(types, info.valueType, int(info.valueBytes)), nil
}

// layoutOf converts one type. A map without a type has number 0, void.
func layoutOf(types *btf.Spec, id uint32, bytes int) layout.Layout {
	t, err := types.TypeByID(btf.TypeID(id))
	if err != nil || id == 0 {
		return layout.Layout{}
	}
	b := layoutBuilder{left: mostLayouts}
	if l := b.convert(t); l.Bytes == bytes {
		return l
	}
	return layout.Layout{}
}

// mostLayouts bounds what one type becomes: unions of unions can say the same
// bytes over and over, and what is beyond it is plain bytes.
const mostLayouts = 4096

type layoutBuilder struct{ left int }

// convert returns the layout of t, of no bytes if t has none.
func (b *layoutBuilder) convert(t btf.Type) layout.Layout {
	size, err := btf.Sizeof(t)
	if err != nil || size < 0 {
		return layout.Layout{}
	}
	name, bigEndian, littleEndian := "", false, false
	for {
		t = unqualified(t)
		alias, is := t.(*btf.Typedef)
		if !is {
			break
		}
		if name == "" {
			name = alias.Name
		}
		bigEndian = bigEndian || isOrdered(alias.Name, "be")
		littleEndian = littleEndian || isOrdered(alias.Name, "le")
		t = alias.Type
	}
	l := layout.Layout{Kind: layout.Bytes, Type: name, Bytes: size}
	if l.Type == "" {
		l.Type = nameOfType(t)
	}
	if b.left--; b.left < 0 {
		return l
	}
	switch t := t.(type) {
	case *btf.Int:
		l.Kind, l.Signed = kindOfInt(t), t.Encoding == btf.Signed
		isLittle := binary.NativeEndian.Uint16([]byte{1, 0}) == 1
		l.Reversed = l.Kind == layout.Int && size > 1 && (bigEndian && isLittle || littleEndian && !isLittle)
	case *btf.Enum:
		if isWord(size) {
			l.Kind, l.Signed = layout.Enum, t.Signed
			for _, value := range t.Values {
				l.Names = append(l.Names, layout.Name{Name: value.Name, Value: int64(value.Value)})
			}
		}
	case *btf.Pointer:
		if isKernelPointer(t) {
			l.Kind = layout.Kernel
		}
	case *btf.Struct:
		b.fields(&l, layout.Struct, t.Name, t.Members)
	case *btf.Union:
		b.fields(&l, layout.Union, t.Name, t.Members)
	case *btf.Datasec:
		l.Kind = layout.Struct
		for _, v := range t.Vars {
			b.field(&l, layout.Field{Name: v.Type.TypeName(), Offset: int(v.Offset) * 8}, v.Type)
		}
	case *btf.Array:
		element := b.convert(t.Type)
		if element.Bytes > 0 && element.Bytes*int(t.Nelems) == size {
			l.Kind, l.Element, l.Count = layout.Array, &element, int(t.Nelems)
		}
	}
	return l
}

func isWord(bytes int) bool { return bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8 }

func kindOfInt(t *btf.Int) string {
	switch {
	case t.Size == 1 && t.Encoding == btf.Bool:
		return layout.Bool
	case t.Size == 1 && (t.Encoding == btf.Char || t.Name == "char"):
		return layout.Char
	case isWord(int(t.Size)):
		return layout.Int
	}
	return layout.Bytes
}

func (b *layoutBuilder) fields(l *layout.Layout, kind, name string, members []btf.Member) {
	if isKernelStruct(name) {
		l.Kind = layout.Kernel
		return
	}
	if isAddressStruct(name) {
		l.Type = kind + " " + name // whatever it was renamed
	}
	l.Kind = kind
	for _, m := range members {
		b.field(l, layout.Field{Name: m.Name, Offset: int(m.Offset), Bits: int(m.BitfieldSize)}, m.Type)
	}
}

// field adds one that has bytes, and that lies within l.
func (b *layoutBuilder) field(l *layout.Layout, f layout.Field, t btf.Type) {
	f.Layout = b.convert(t)
	bits := f.Bits
	if bits == 0 {
		bits = 8 * f.Layout.Bytes
	}
	if bits > 0 && f.Offset+bits <= 8*l.Bytes && f.Bits <= 64 {
		l.Fields = append(l.Fields, f)
	}
}

// isOrdered reports whether a typedef is __be32 and the like; order is be or le.
func isOrdered(name, order string) bool {
	bits, is := strings.CutPrefix(strings.TrimLeft(name, "_"), order)
	return is && (bits == "16" || bits == "32" || bits == "64")
}

// isKernelStruct reports whether the kernel keeps something of its own in it:
// btf_get_field_type, kernel/bpf/btf.c.
func isKernelStruct(name string) bool {
	switch name {
	case "bpf_spin_lock", "bpf_res_spin_lock", "bpf_timer", "bpf_wq", "bpf_task_work",
		"bpf_list_head", "bpf_list_node", "bpf_rb_root", "bpf_rb_node", "bpf_refcount":
		return true
	}
	return false
}

// isAddressStruct reports whether package layout knows what is in it by its name.
func isAddressStruct(name string) bool {
	return name == "in_addr" || name == "in6_addr" || name == "v6addr" || name == "macaddr"
}

// isKernelPointer: the kernel keeps a reference in it, which nobody else reads.
func isKernelPointer(p *btf.Pointer) bool {
	for t := p.Target; ; {
		switch under := t.(type) {
		case *btf.TypeTag:
			if strings.Contains(under.Value, "kptr") || under.Value == "uptr" {
				return true
			}
			t = under.Type
		case *btf.Const:
			t = under.Type
		case *btf.Volatile:
			t = under.Type
		default:
			return false
		}
	}
}

// nameOfType is the name in C of a type that has no typedef.
func nameOfType(t btf.Type) string {
	switch t := t.(type) {
	case *btf.Struct:
		return strings.TrimRight("struct "+t.Name, " ")
	case *btf.Union:
		return strings.TrimRight("union "+t.Name, " ")
	case *btf.Enum:
		return strings.TrimRight("enum "+t.Name, " ")
	case *btf.Pointer:
		return nameOfType(unqualified(t.Target)) + " *"
	case *btf.Array:
		return fmt.Sprintf("%s[%d]", nameOfType(unqualified(t.Type)), t.Nelems)
	case *btf.Void:
		return "void"
	}
	return t.TypeName()
}

// unqualified is t without const and the like; typedefs stay. Of a variable it is
// the type.
func unqualified(t btf.Type) btf.Type {
	for {
		switch under := t.(type) {
		case *btf.Const:
			t = under.Type
		case *btf.Volatile:
			t = under.Type
		case *btf.Restrict:
			t = under.Type
		case *btf.TypeTag:
			t = under.Type
		case *btf.Var:
			t = under.Type
		default:
			return t
		}
	}
}
