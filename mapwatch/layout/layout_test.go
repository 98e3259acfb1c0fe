package layout

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"
)

func intOf(name string, bytes int) Layout { return Layout{Kind: Int, Type: name, Bytes: bytes} }

func signedOf(name string, bytes int) Layout {
	return Layout{Kind: Int, Type: name, Bytes: bytes, Signed: true}
}

// networkOf is __be16 and so on.
func networkOf(name string, bytes int) Layout {
	return Layout{Kind: Int, Type: name, Bytes: bytes, Reversed: isLittleEndian()}
}

func arrayOf(element Layout, count int) Layout {
	return Layout{Kind: Array, Type: element.Type + "[]", Bytes: element.Bytes * count, Element: &element, Count: count}
}

// structOf lays fields out one behind the other, without gaps.
func structOf(name string, fields ...Field) Layout {
	l := Layout{Kind: Struct, Type: "struct " + name}
	for _, f := range fields {
		f.Offset = 8 * l.Bytes
		l.Bytes += f.Layout.Bytes
		l.Fields = append(l.Fields, f)
	}
	return l
}

func unionOf(name string, fields ...Field) Layout {
	l := Layout{Kind: Union, Type: "union " + name, Fields: fields}
	for _, f := range fields {
		l.Bytes = max(l.Bytes, f.Layout.Bytes)
	}
	return l
}

func flowKey() Layout {
	return structOf("flow_key",
		Field{Name: "saddr", Layout: networkOf("__be32", 4)}, Field{Name: "daddr", Layout: intOf("__u32", 4)},
		Field{Name: "sport", Layout: networkOf("__be16", 2)}, Field{Name: "dport", Layout: networkOf("__be16", 2)},
		Field{Name: "proto", Layout: Layout{Kind: Enum, Type: "enum proto", Bytes: 1, Names: []Name{{"TCP", 6}, {"UDP", 17}}}},
		Field{Name: "pad", Layout: arrayOf(intOf("__u8", 1), 3)})
}

func in6() Layout {
	return structOf("in6_addr", Field{Name: "in6_u", Layout: unionOf("",
		Field{Name: "u6_addr8", Layout: arrayOf(intOf("__u8", 1), 16)},
		Field{Name: "u6_addr32", Layout: arrayOf(networkOf("__be32", 4), 4)})})
}

func native(bytes int, n uint64) []byte {
	b := binary.NativeEndian.AppendUint64(nil, n)
	if isLittleEndian() {
		return b[:bytes]
	}
	return b[8-bytes:]
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFormat(t *testing.T) {
	u8, u32, char := intOf("__u8", 1), intOf("__u32", 4), Layout{Kind: Char, Type: "char", Bytes: 1, Signed: true}
	bits := structOf("bits", Field{Name: "all", Layout: intOf("__u16", 2)})
	bits.Fields = []Field{
		{Name: "low", Offset: 0, Bits: 3, Layout: intOf("__u16", 2)},
		{Name: "minus", Offset: 3, Bits: 5, Layout: signedOf("__s16", 2)},
		{Name: "on", Offset: 8, Bits: 1, Layout: Layout{Kind: Bool, Type: "bool", Bytes: 1}},
	}
	gap := structOf("gap", Field{Name: "a", Layout: u8}, Field{Name: "b", Layout: u8})
	gap.Fields[1].Offset, gap.Bytes = 24, 4
	either := unionOf("", Field{Name: "v4", Layout: networkOf("__be32", 4)}, Field{Name: "v6", Layout: in6()},
		Field{Name: "words", Layout: arrayOf(networkOf("__be32", 4), 4)}, Field{Name: "raw", Layout: arrayOf(u8, 16)})

	bitBytes := make([]byte, 2)
	storeBits(bitBytes, 0, 3, 5)
	storeBits(bitBytes, 3, 5, 31)
	storeBits(bitBytes, 8, 1, 1)

	tests := []struct {
		name   string
		layout Layout
		bytes  []byte
		want   string
	}{
		{"unknown", Layout{}, []byte{1, 2, 0xff}, "0102ff"},
		{"nothing", Layout{}, nil, ""},
		{"of another size", u32, []byte{1}, "01"},
		{"flow", flowKey(), unhex(t, "0a000001 c0a80102 01bb 1f90 06 000000"), "{saddr: 10.0.0.1, daddr: 192.168.1.2, sport: 443, dport: 8080, proto: TCP}"},
		{"padding that is not zero", flowKey(), unhex(t, "0a000001 c0a80102 01bb 1f90 07 000001"), "{saddr: 10.0.0.1, daddr: 192.168.1.2, sport: 443, dport: 8080, proto: 7, pad: 000001}"},
		{"gap", gap, []byte{1, 0, 0, 2}, "{a: 1, b: 2}"},
		{"gap that is not zero", gap, []byte{1, 0, 9, 2}, "{a: 1, b: 2, (padding): 00000900}"},
		{"number", u32, native(4, 70000), "70000"},
		{"negative", signedOf("int", 4), native(4, 1<<32-2), "-2"},
		{"network order", networkOf("__be64", 8), []byte{0, 0, 0, 0, 0, 0, 1, 2}, "258"},
		{"bool", Layout{Kind: Bool, Bytes: 1}, []byte{1}, "true"},
		{"no bool", Layout{Kind: Bool, Bytes: 1}, []byte{2}, "2"},
		{"char", char, []byte{'x'}, "'x'"},
		{"char below 0", char, []byte{0xff}, "-1"},
		{"text", arrayOf(char, 8), []byte("eth0\x00\x00\x00\x00"), `"eth0"`},
		{"text to harm", arrayOf(char, 10), []byte("\x1b[2J\n\"\x00\xffa\x00"), `"\x1b[2J\n\"\x00\xffa"`},
		{"bytes", arrayOf(u8, 3), []byte{1, 2, 0xab}, "0102ab"},
		{"numbers", arrayOf(u32, 2), append(native(4, 1), native(4, 2)...), "[1, 2]"},
		{"many numbers", arrayOf(u32, 20), append(native(4, 1), make([]byte, 76)...), "[1, ..]"},
		{"MAC", structOf("", Field{Name: "x", Layout: arrayOf(u8, 6)}), []byte{2, 0, 0, 0, 0xab, 1}, "{x: 02:00:00:00:ab:01}"},
		{"IPv6", structOf("", Field{Name: "saddr", Layout: arrayOf(u32, 4)}), unhex(t, "fd000000000000000000000000000001"), "{saddr: fd00::1}"},
		{"in6_addr", in6(), unhex(t, "fd000000000000000000000000000001"), "fd00::1"},
		{"addresses", structOf("", Field{Name: "vips", Layout: arrayOf(networkOf("__be32", 4), 2)}), unhex(t, "0a0000010a000002"), "{vips: [10.0.0.1, 10.0.0.2]}"},
		{"union", structOf("", Field{Layout: either}), unhex(t, "0a000001000000000000000000000000"),
			"{v4: 167772161, v6: a00:1::, words: [167772161, 0, 0, 0], raw: 0a000001000000000000000000000000}"},
		{"bit fields", bits, bitBytes, "{low: 5, minus: -1, on: true}"},
		{"kernel's own", structOf("", Field{Name: "lock", Layout: Layout{Kind: Kernel, Type: "struct bpf_spin_lock", Bytes: 4}}, Field{Name: "n", Layout: u8}), []byte{0, 0, 0, 0, 7}, "{lock: -, n: 7}"},
		{"nested", structOf("", Field{Name: "a", Layout: u8}, Field{Name: "b", Layout: structOf("b", Field{Name: "c", Layout: u8})}), []byte{1, 2}, "{a: 1, b: {c: 2}}"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := test.layout.Format(test.bytes)
			if got != test.want {
				t.Errorf("Format(%x) = %s, want %s", test.bytes, got, test.want)
			}
			if len(test.bytes) != test.layout.Bytes && test.layout.Known() {
				return
			}
			back, err := test.layout.Parse(got)
			if err != nil || string(back) != string(test.bytes) {
				t.Errorf("Parse(%s) = %x, %v, want %x", got, back, err, test.bytes)
			}
		})
	}
}

func TestParse(t *testing.T) {
	u8 := intOf("__u8", 1)
	nested := structOf("outer", Field{Name: "id", Layout: u8}, Field{Name: "in", Layout: structOf("inner", Field{Name: "x", Layout: u8}, Field{Name: "y", Layout: u8})})
	either := structOf("", Field{Layout: unionOf("", Field{Name: "v4", Layout: networkOf("__be32", 4)}, Field{Name: "raw", Layout: arrayOf(u8, 4)})})
	tests := []struct {
		layout Layout
		text   string
		want   string // hex
	}{
		{flowKey(), "saddr=10.0.0.1,dport=443,proto=UDP", "0a000001 00000000 0000 01bb 11 000000"},
		{flowKey(), " saddr = 10.0.0.1 , dport=0x1bb , proto=17", "0a000001 00000000 0000 01bb 11 000000"},
		{flowKey(), "{saddr: 10.0.0.1, dport: 443}", "0a000001 00000000 0000 01bb 00 000000"},
		{flowKey(), "saddr=167772161,dport=0443", "0a000001 00000000 0000 01bb 00 000000"},
		{flowKey(), "", "00000000 00000000 0000 0000 00 000000"},
		{nested, "id=1,in.x=2,in.y=3", "010203"},
		{nested, "in={y=3},id=1", "010003"},
		{either, "v4=10.0.0.1", "0a000001"},
		{either, "v4=10.0.0.1,raw=0a:00:00:01", "0a000001"},
		{arrayOf(u8, 4), "0x0a0b0c0d", "0a0b0c0d"},
		{arrayOf(u8, 4), "[10, 0xb, ..]", "0a0b0000"},
		{arrayOf(u8, 4), "10.0.0.1", "0a000001"},
		{arrayOf(u8, 4), `"ab"`, "61620000"},
		{in6(), "fd00::1", "fd000000000000000000000000000001"},
		{networkOf("__be16", 2), "443", "01bb"},
		{Layout{}, "0x01 02:ff", "0102ff"},
	}
	for _, test := range tests {
		got, err := test.layout.Parse(test.text)
		if want := unhex(t, test.want); err != nil || string(got) != string(want) {
			t.Errorf("Parse(%s) = %x, %v, want %x", test.text, got, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	u8 := intOf("__u8", 1)
	either := structOf("either", Field{Layout: unionOf("", Field{Name: "a", Layout: u8}, Field{Name: "b", Layout: u8})})
	tests := []struct {
		layout Layout
		text   string
		want   string // in the error
	}{
		{flowKey(), "port=1", `read "port=1" as struct flow_key: port: there is no such field (there are saddr, daddr, sport, dport, proto, pad)`},
		{flowKey(), "dport=65536", `dport: "65536" is not within 0 and 65535; its fields are saddr, daddr, sport, dport, proto, pad`},
		{flowKey(), "dport=-1", "not within 0 and 65535"},
		{flowKey(), "dport=99999999999999999999", "not within 0 and 65535"},
		{flowKey(), "proto=SCTP", "none of TCP, UDP"},
		{flowKey(), "saddr=10.0.0", "no IPv4 address and no number"},
		{flowKey(), "saddr=::1", "does not fit 4 bytes"},
		{flowKey(), "saddr", `"saddr" is no field=value`},
		{flowKey(), "0a000001", "is no field=value"},
		{flowKey(), "{saddr=1", "} is missing"},
		{flowKey(), "{saddr=1} x", `unexpected "x"`},
		{flowKey(), "saddr=1,saddr=2", "another value already"},
		{flowKey(), "saddr.x=1", "saddr has no fields"},
		{flowKey(), "pad=0102", "2 bytes, want 3"},
		{flowKey(), "(padding)=ff000000000000000000000000000000", "bits of fields"},
		{either, "a=1,b=2", "another value already"},
		{signedOf("__s8", 1), "-129", "not within -128 and 127"},
		{signedOf("__s8", 1), "128", "not within -128 and 127"},
		{arrayOf(u8, 2), "[1, 2, 3]", "it has 2 elements"},
		{arrayOf(u8, 2), "[1", "want a comma or ]"},
		{arrayOf(Layout{Kind: Char, Bytes: 1}, 2), `"abc"`, "has 3 bytes, it takes 2"},
		{in6(), "10.0.0.1", "does not fit 16 bytes"},
		{in6(), "fe80::1%eth0", "does not fit 16 bytes"},
		{Layout{}, "xyz", "is not hex"},
		{Layout{Kind: Kernel, Type: "struct bpf_timer", Bytes: 2}, "1", "kernel's own"},
	}
	for _, test := range tests {
		got, err := test.layout.Parse(test.text)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("Parse(%s) = %x, error %v, want one with %q", test.text, got, err, test.want)
		}
	}
}

func TestAddressNames(t *testing.T) {
	for name, want := range map[string]bool{
		"saddr": true, "daddr": true, "addr": true, "ip": true, "vip": true, "src_ip": true, "ip4": true, "ip_dst": true,
		"remote_ip4": true, "addr_v4": true, "real_server_addr": true, "podIP": true, "address": true, "be32": false,
		"addr_len": false, "skip": false, "chip": false, "count": false, "": false, "naddrs": false, "zip": false, "ip_count": false,
	} {
		if got := isAddress(name); got != want {
			t.Errorf("isAddress(%q) = %v, want %v", name, got, want)
		}
	}
}
