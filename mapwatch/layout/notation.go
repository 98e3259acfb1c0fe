package layout

import (
	"slices"
	"strings"
)

// notation is how bytes are written where their kind alone does not tell.
type notation uint8

const (
	plain  notation = iota
	ipv4            // 4 bytes, in the order of memory, which is that of the network
	ipv6            // 16 bytes
	mac             // 6 bytes
	text            // quoted, without the zeros at its end
	digits          // hexadecimal
)

// notation of a value in a field of that name. Addresses are mostly plain
// integers in C, so the name tells; a host that keeps them in its own byte order
// sees them backwards.
func (l *Layout) notation(name string) notation {
	if name == "" {
		name = l.Type
	}
	switch l.Kind {
	case Int:
		if l.Bytes == 4 && !l.Signed && isAddress(name) {
			return ipv4
		}
	case Struct, Union:
		switch {
		case l.Type == "struct in_addr" && l.Bytes == 4:
			return ipv4
		case (l.Type == "struct in6_addr" || l.Type == "union v6addr") && l.Bytes == 16:
			return ipv6
		case l.Type == "union macaddr" && l.Bytes == 6:
			return mac
		}
	case Array:
		return l.arrayNotation(name)
	case Bytes:
		return digits
	}
	return plain
}

func (l *Layout) arrayNotation(name string) notation {
	e := l.Element
	switch {
	case e.Kind == Char:
		return text
	case e.Kind != Int || e.Signed:
		return plain
	case l.Bytes == 16 && isAddress(name):
		return ipv6
	case l.Bytes == 4 && e.Bytes == 1 && isAddress(name):
		return ipv4
	case l.Bytes == 6 && (e.Bytes == 1 || isMAC(name)):
		return mac
	case e.Bytes == 1:
		return digits
	}
	return plain
}

// isAddress goes by the last word of a name that is no qualifier: saddr, dst_ip,
// ip4, addr_src, but not addr_len or skip.
func isAddress(name string) bool {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return r == '_' || r == ' ' })
	for _, word := range slices.Backward(words) {
		word = strings.TrimSuffix(strings.TrimRight(word, "0123456789"), "v")
		switch word {
		case "", "be", "n", "net", "src", "dst", "source", "dest", "local", "remote", "peer":
			continue
		case "address":
			return true
		}
		if before, is := strings.CutSuffix(word, "ip"); is {
			return isSide(before)
		}
		return strings.HasSuffix(word, "addr")
	}
	return false
}

// isSide reports whether that is what people write before ip: not ch, sk or fl.
func isSide(word string) bool {
	switch word {
	case "", "s", "d", "v", "r", "l", "p", "c", "src", "dst", "source", "dest", "client", "server", "local", "remote",
		"peer", "node", "pod", "host", "nat", "snat", "dnat", "lb", "gw", "gateway", "service", "svc", "backend", "public",
		"private", "ext", "int", "inner", "outer", "tunnel", "my", "own", "virtual", "real", "router", "floating":
		return true
	}
	return false
}

func isMAC(name string) bool {
	name = strings.ToLower(name)
	return strings.Contains(name, "mac") || name == "h_dest" || name == "h_source"
}

// isPadding reports whether a field of that name is left out while it is zero.
func isPadding(name string) bool {
	name = strings.TrimRight(strings.Trim(strings.ToLower(name), "_"), "0123456789")
	return name == "pad" || name == "padding"
}
