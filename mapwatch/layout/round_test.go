package layout

import (
	"fmt"
	"testing"
	"unicode"

	"pgregory.net/rapid"
)

// drawLayout draws a type as BTF could have it. fields counts those that it has.
func drawLayout(t *rapid.T, depth int, fields *int) Layout {
	kinds := []string{Int, Int, Bool, Char, Enum, Bytes, Kernel}
	if depth > 0 {
		kinds = append(kinds, Struct, Struct, Union, Array, Array)
	}
	size := rapid.SampledFrom([]int{1, 2, 4, 8})
	l := Layout{Kind: rapid.SampledFrom(kinds).Draw(t, "kind")}
	switch l.Kind {
	case Int:
		l.Bytes, l.Signed, l.Reversed = size.Draw(t, "bytes"), rapid.Bool().Draw(t, "signed"), rapid.Bool().Draw(t, "reversed")
	case Bool:
		l.Bytes = 1
	case Char:
		l.Bytes, l.Signed = 1, rapid.Bool().Draw(t, "signed")
	case Enum:
		l.Bytes, l.Signed = size.Draw(t, "bytes"), rapid.Bool().Draw(t, "signed")
		l.Names = []Name{{"ZERO", 0}, {"ONE", 1}, {"MORE", 100}}
		if l.Signed {
			l.Names = append(l.Names, Name{"MINUS", -1})
		}
	case Bytes, Kernel:
		l.Bytes = rapid.IntRange(1, 20).Draw(t, "bytes")
	case Array:
		element := drawLayout(t, depth-1, fields)
		l.Element, l.Count = &element, rapid.SampledFrom([]int{1, 2, 4, 6, 16, 20}).Draw(t, "count")
		l.Bytes = element.Bytes * l.Count
	case Struct, Union:
		drawFields(t, &l, depth, fields)
	}
	return l
}

// drawFields gives a struct or union fields, gaps, bit fields and a name that
// says something, all of them under names of their own.
func drawFields(t *rapid.T, l *Layout, depth int, fields *int) {
	l.Type = rapid.SampledFrom([]string{"", "struct flow", "struct in_addr", "struct in6_addr", "union v6addr"}).Draw(t, "type")
	at := 0
	for range rapid.IntRange(1, 4).Draw(t, "fields") {
		*fields++
		f := Field{Name: rapid.SampledFrom([]string{"saddr", "ip", "mac", "pad", "x", "vips", "daddr"}).Draw(t, "name")}
		f.Name += fmt.Sprint(*fields)
		f.Layout = drawLayout(t, depth-1, fields)
		if f.Layout.isAggregate() && rapid.Bool().Draw(t, "anonymous") {
			f.Name = ""
		}
		size := f.Layout.Bytes
		if f.Layout.Kind == Int && rapid.Bool().Draw(t, "bit field") {
			f.Bits = rapid.IntRange(1, 8*size).Draw(t, "bits")
		}
		gap := rapid.IntRange(0, 3).Draw(t, "gap")
		if l.Kind == Union {
			at, gap = 0, 0
		}
		f.Offset = 8 * (at + gap)
		at += gap + size
		l.Bytes = max(l.Bytes, at)
		l.Fields = append(l.Fields, f)
	}
	l.Bytes += rapid.IntRange(0, 2).Draw(t, "rest")
}

// clearKernel clears what is the kernel's own, which is not shown.
func clearKernel(l *Layout, b []byte) {
	switch l.Kind {
	case Kernel:
		clear(b)
	case Array:
		for i := range l.Count {
			clearKernel(l.Element, b[i*l.Element.Bytes:][:l.Element.Bytes])
		}
	case Struct, Union:
		for i := range l.Fields {
			f := &l.Fields[i]
			if f.Bits == 0 {
				clearKernel(&f.Layout, b[f.Offset/8:][:f.Layout.Bytes])
			}
		}
	}
}

// What Format shows is one line, Parse reads it back, and so two values that
// differ never look the same.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLayout(t, 3, new(int))
		b := make([]byte, l.Bytes)
		some := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 0, 0, 1, 2, 'a', '"', '\n', 0x7f, 0x80, 0xff}), 0, 64).Draw(t, "bytes")
		copy(b, some)
		clearKernel(&l, b)
		shown := l.Format(b)
		for _, r := range shown {
			if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
				t.Fatalf("Format(%x) = %q has %q in it", b, shown, r)
			}
		}
		back, err := l.Parse(shown)
		if err != nil || string(back) != string(b) {
			t.Fatalf("Parse(%s) = %x, %v, want %x\n%+v", shown, back, err, b, l)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"saddr=10.0.0.1,dport=443,proto=UDP", "{saddr: 10.0.0.1, in: {v6: fd00::1, text: \"a\\x00b\"}}", "list=[1,2,..],mac=02:00:00:00:00:01",
		"(padding)=00", "in.v6=::,low=3,c='x'", "low=-1", "{", "[", "in={", "\"", "'", "=", "list=[[", "in.in.in=1",
	} {
		f.Add(seed)
	}
	key := flowKey()
	key.Fields = append(key.Fields,
		Field{Name: "in", Offset: 128, Layout: structOf("inner", Field{Layout: unionOf("", Field{Name: "v4", Layout: networkOf("__be32", 4)}, Field{Name: "v6", Layout: in6()})},
			Field{Name: "text", Layout: arrayOf(Layout{Kind: Char, Type: "char", Bytes: 1, Signed: true}, 5)})},
		Field{Name: "list", Offset: 128 + 21*8, Layout: arrayOf(signedOf("__s32", 4), 20)},
		Field{Name: "mac", Offset: 128 + 101*8, Layout: arrayOf(intOf("__u8", 1), 6)},
		Field{Name: "low", Offset: 128 + 107*8, Bits: 3, Layout: intOf("__u32", 4)},
		Field{Name: "c", Offset: 128 + 108*8, Layout: Layout{Kind: Char, Type: "char", Bytes: 1}})
	key.Bytes = 16 + 110
	f.Fuzz(func(t *testing.T, text string) {
		b, err := key.Parse(text)
		if err != nil {
			return
		}
		if len(b) != key.Bytes {
			t.Fatalf("Parse(%q) gave %d bytes, want %d", text, len(b), key.Bytes)
		}
		again, err := key.Parse(key.Format(b))
		if err != nil || string(again) != string(b) {
			t.Fatalf("Parse(%q) = %x, shown as %s and read back as %x, %v", text, b, key.Format(b), again, err)
		}
	})
}
