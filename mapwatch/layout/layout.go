// Package layout shows the bytes of keys and values as the types that a map has
// in its BTF, and reads them back. It is pure: no kernel, no file.
//
// Text is one line: {saddr: 10.0.0.1, dport: 443, flags: [SYN, 0], name: "eth0"}.
// Parse reads whatever Format writes, and what people type: braces can be left
// out, and = stands for the colon.
//
// What BTF does not say is guessed by names, as people read them: see notation.
package layout

import "encoding/binary"

// Layout is a type as far as showing needs it. The zero Layout is of no known
// type: bytes. A Layout is not changed after it was made; copies share what is
// below, and all methods are safe for concurrent use.
type Layout struct {
	Kind     string  `json:"kind"`               // int, bool, char, enum, struct, union, array, bytes, kernel; empty: unknown
	Type     string  `json:"type"`               // its name in C, such as __be32 or struct flow_key; may be empty
	Bytes    int     `json:"bytes"`              // its size
	Signed   bool    `json:"signed,omitempty"`   // int, char, enum
	Fields   []Field `json:"fields,omitempty"`   // struct, union
	Element  *Layout `json:"element,omitempty"`  // array
	Count    int     `json:"count,omitempty"`    // array
	Names    []Name  `json:"names,omitempty"`    // enum
	Reversed bool    `json:"reversed,omitempty"` // int: the other byte order than this host's (__be32)
}

// Kinds of a Layout.
const (
	Int    = "int"    // of 1, 2, 4 or 8 bytes
	Bool   = "bool"   // of one byte
	Char   = "char"   // of one byte
	Enum   = "enum"   // of 1, 2, 4 or 8 bytes
	Struct = "struct" // has Fields
	Union  = "union"  // has Fields
	Array  = "array"  // Count of Element
	Bytes  = "bytes"  // of no type that means something outside the kernel
	Kernel = "kernel" // the kernel's own, such as struct bpf_spin_lock: reads as zero, is shown as -
)

// Field of a struct or union.
type Field struct {
	Name   string `json:"name"`           // empty: anonymous
	Offset int    `json:"offset"`         // in bits
	Bits   int    `json:"bits,omitempty"` // of a bit field; 0: it is none
	Layout Layout `json:"layout"`
}

// Name of a value of an enum.
type Name struct {
	Name  string `json:"name"`
	Value int64  `json:"value"` // of an unsigned one of 8 bytes: its bits
}

// Known reports whether there is a type.
func (l Layout) Known() bool { return l.Kind != "" }

func (l *Layout) isAggregate() bool { return l.Kind == Struct || l.Kind == Union }

// isLittleEndian reports the byte order of this host.
func isLittleEndian() bool { return binary.NativeEndian.Uint16([]byte{1, 0}) == 1 }

// order of the bytes of an int.
func (l *Layout) order() binary.ByteOrder {
	if isLittleEndian() != l.Reversed {
		return binary.LittleEndian
	}
	return binary.BigEndian
}

// member is a field of a struct or union by the name that C has for it: those of
// anonymous structs and unions in it are its own.
type member struct {
	name   string
	offset int // in bits
	bits   int // of a bit field; 0: it is none
	layout *Layout
}

// appendMembers lists what has a name, base bits further on. With shown it leaves
// out those members of unions that say nothing that one before them does not.
func (l *Layout) appendMembers(to []member, base int, shown bool) []member {
	largest := -1
	var said []notation
	var types []string
	for i := range l.Fields {
		f := &l.Fields[i]
		if l.Kind == Union && shown {
			n, kind := f.Layout.notation(f.Name), f.Layout.Kind
			if f.Layout.isAggregate() {
				kind = f.Layout.Type
			}
			repeats := false
			for j := range said {
				repeats = repeats || said[j] == n && types[j] == kind
			}
			size := member{bits: f.Bits, layout: &f.Layout}.size()
			if repeats && size <= largest {
				continue
			}
			said, types = append(said, n), append(types, kind)
			largest = max(largest, size)
		}
		switch {
		case f.Name != "":
			to = append(to, member{f.Name, base + f.Offset, f.Bits, &f.Layout})
		case f.Layout.isAggregate():
			to = f.Layout.appendMembers(to, base+f.Offset, shown)
		}
	}
	return to
}
