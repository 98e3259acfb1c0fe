package layout

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
)

// padding stands for the bits of a struct that belong to no field. They are part
// of a key, so they are shown where they are not zero. No field of C has that name.
const padding = "(padding)"

// restZero stands for elements to the end of an array that are all zero, where
// there are more than fewZeros.
const (
	restZero = ".."
	fewZeros = 8
)

// Format shows b, for example {saddr: 10.0.0.1, dport: 443}; hex where the layout is not known or does not fit b.
//
// One line, of characters that do nothing to a terminal. Fields that are padding
// by their name and zero are left out; of a union it shows the first member, and
// those others that are of another kind or longer. What differs is shown as
// different, but for what is the kernel's own: that is a dash.
func (l Layout) Format(b []byte) string { return string(l.Append(nil, b)) }

// Append is Format to the end of dst.
func (l Layout) Append(dst, b []byte) []byte {
	if !l.Known() || l.Bytes != len(b) {
		return hex.AppendEncode(dst, b)
	}
	return l.append(dst, b, "")
}

// append shows a value in a field of that name; b has l.Bytes bytes.
func (l *Layout) append(dst, b []byte, name string) []byte {
	switch l.notation(name) {
	case ipv4, ipv6:
		address, _ := netip.AddrFromSlice(b)
		return address.AppendTo(dst)
	case mac:
		for i, octet := range b {
			if i > 0 {
				dst = append(dst, ':')
			}
			dst = hex.AppendEncode(dst, []byte{octet})
		}
		return dst
	case text:
		return strconv.AppendQuote(dst, strings.TrimRight(string(b), "\x00"))
	case digits:
		return hex.AppendEncode(dst, b)
	}
	switch l.Kind {
	case Int, Bool, Char, Enum:
		return l.appendNumber(dst, l.load(b), 8*l.Bytes)
	case Struct, Union:
		return l.appendFields(dst, b)
	case Array:
		return l.appendElements(dst, b, name)
	case Kernel:
		return append(dst, '-')
	}
	return hex.AppendEncode(dst, b)
}

func (l *Layout) appendFields(dst, b []byte) []byte {
	var room [128]byte
	left := append(room[:0], b...) // what no field has shown
	dst = append(dst, '{')
	empty := len(dst)
	for _, m := range l.appendMembers(nil, 0, true) {
		if !m.within(b) {
			continue // its bits come as padding
		}
		m.clear(left)
		if isPadding(m.name) && m.isZero(b) {
			continue
		}
		if len(dst) > empty {
			dst = append(dst, ", "...)
		}
		dst = append(append(dst, m.name...), ": "...)
		if m.bits > 0 {
			dst = m.layout.appendNumber(dst, loadBits(b, m.offset, m.bits), m.bits)
		} else {
			dst = m.layout.append(dst, m.bytes(b), m.name)
		}
	}
	if !isZero(left) {
		if len(dst) > empty {
			dst = append(dst, ", "...)
		}
		dst = hex.AppendEncode(append(dst, padding+": "...), left)
	}
	return append(dst, '}')
}

func (l *Layout) appendElements(dst, b []byte, name string) []byte {
	name = strings.TrimSuffix(name, "s")
	size := l.Element.Bytes
	shown := l.Count
	for shown > 0 && isZero(b[(shown-1)*size:shown*size]) {
		shown--
	}
	if l.Count-shown <= fewZeros {
		shown = l.Count
	}
	dst = append(dst, '[')
	for i := range shown {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = l.Element.append(dst, b[i*size:(i+1)*size], name)
	}
	if shown < l.Count {
		if shown > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(dst, restZero...)
	}
	return append(dst, ']')
}

// appendNumber shows a number of that many bits.
func (l *Layout) appendNumber(dst []byte, n uint64, bits int) []byte {
	switch {
	case l.Kind == Bool && n <= 1:
		return strconv.AppendBool(dst, n == 1)
	case l.Kind == Char && n > ' ' && n < 0x7f:
		return strconv.AppendQuoteRune(dst, rune(n))
	}
	signed := int64(n)
	if l.Signed {
		signed = signed << (64 - bits) >> (64 - bits)
	}
	if l.Kind == Enum {
		for _, name := range l.Names {
			if name.Value == signed {
				return append(dst, name.Name...)
			}
		}
	}
	if l.Signed {
		return strconv.AppendInt(dst, signed, 10)
	}
	return strconv.AppendUint(dst, n, 10)
}
