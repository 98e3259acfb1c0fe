package layout

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// token takes a word: what is in quotes, or all to the next comma or bracket.
func (p *parser) token() string {
	if c := p.peek(); c == '"' || c == '\'' {
		if quoted, err := strconv.QuotedPrefix(p.left); err == nil {
			p.left = p.left[len(quoted):]
			return quoted
		}
	}
	end := strings.IndexAny(p.left, ",}]")
	if end < 0 {
		end = len(p.left)
	}
	token := strings.TrimSpace(p.left[:end])
	p.left = p.left[end:]
	return token
}

// number reads an int, bool, char or enum of whole bytes.
func (p *parser) number(l *Layout, s span) error {
	token := p.token()
	b := make([]byte, l.Bytes)
	if address, err := netip.ParseAddr(token); err == nil && address.Is4() && l.Kind == Int && !l.Signed && l.Bytes == 4 {
		return s.put(address.AsSlice())
	}
	n, err := l.parseNumber(token, 8*l.Bytes)
	if err != nil {
		return err
	}
	l.store(b, n)
	return s.put(b)
}

// data reads what is not written as a number alone: addresses, text, bytes.
func (p *parser) data(l *Layout, name string, s span) error {
	n, token := l.notation(name), p.token()
	if n == ipv4 && l.Kind == Int {
		if _, err := netip.ParseAddr(token); err != nil {
			number, err := l.parseNumber(token, 8*l.Bytes)
			if err != nil {
				return fmt.Errorf("%s is no IPv4 address and no number", cut(token))
			}
			b := make([]byte, l.Bytes)
			l.store(b, number)
			return s.put(b)
		}
	}
	if strings.HasPrefix(token, `"`) {
		return s.putText(l, token)
	}
	if address, err := netip.ParseAddr(token); err == nil && (l.Bytes == 4 || l.Bytes == 16) {
		if b := address.AsSlice(); len(b) == l.Bytes && address.Zone() == "" {
			return s.put(b)
		}
		return fmt.Errorf("%s does not fit %d bytes of an IP address", cut(token), l.Bytes)
	}
	b, err := parseHex(token, l.Bytes)
	if err != nil {
		return fmt.Errorf("%w; want %s", err, l.wanted(n))
	}
	return s.put(b)
}

func (l *Layout) wanted(n notation) string {
	switch n {
	case ipv4:
		return "an IPv4 address"
	case ipv6:
		return "an IPv6 address"
	case mac:
		return "an address such as 02:00:00:00:00:01"
	case text:
		return fmt.Sprintf("text in quotes, up to %d bytes", l.Bytes)
	case plain:
		return fmt.Sprintf("[value, …], or %d bytes in hex", l.Bytes)
	}
	return fmt.Sprintf("%d bytes in hex", l.Bytes)
}

// putText writes what is in quotes, and zeros behind.
func (s span) putText(l *Layout, token string) error {
	content, err := strconv.Unquote(token)
	if err != nil {
		return fmt.Errorf("%s is not closed", cut(token))
	}
	if l.Kind != Array || l.Element.Kind != Char && l.Element.Kind != Int || l.Element.Bytes != 1 {
		return fmt.Errorf("%s is text, which it is not", cut(token))
	}
	if len(content) > l.Bytes {
		return fmt.Errorf("%s has %d bytes, it takes %d", cut(token), len(content), l.Bytes)
	}
	b := make([]byte, l.Bytes)
	copy(b, content)
	return s.put(b)
}

// parseNumber reads a number of that many bits; what is above them is zero.
func (l *Layout) parseNumber(token string, bits int) (uint64, error) {
	switch l.Kind {
	case Bool:
		switch token {
		case "true":
			return 1, nil
		case "false":
			return 0, nil
		}
	case Char:
		if r, err := strconv.Unquote(token); err == nil && len(r) == 1 {
			return uint64(r[0]), nil
		}
	case Enum:
		for _, name := range l.Names {
			if name.Name == token {
				return uint64(name.Value) << (64 - bits) >> (64 - bits), nil
			}
		}
	}
	plain, negative := strings.CutPrefix(token, "-")
	base := 10
	if after, is := strings.CutPrefix(plain, "0x"); is {
		plain, base = after, 16
	}
	n, err := strconv.ParseUint(plain, base, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("%s is %s", cut(token), l.notNumber())
	}
	if err == nil && l.fits(n, negative, bits) {
		if negative {
			n = -n
		}
		return n << (64 - bits) >> (64 - bits), nil
	}
	if l.Signed {
		return 0, fmt.Errorf("%s is not within %d and %d", cut(token), int64(-1)<<(bits-1), ^(int64(-1) << (bits - 1)))
	}
	return 0, fmt.Errorf("%s is not within 0 and %d", cut(token), ^uint64(0)>>(64-bits))
}

// fits reports whether n, or -n, has that many bits.
func (l *Layout) fits(n uint64, negative bool, bits int) bool {
	switch {
	case l.Signed && negative:
		return n <= 1<<(bits-1)
	case l.Signed:
		return n < 1<<(bits-1)
	case negative:
		return n == 0
	}
	return n<<(64-bits)>>(64-bits) == n
}

// notNumber says what l wants instead.
func (l *Layout) notNumber() string {
	switch l.Kind {
	case Bool:
		return "neither true nor false"
	case Enum:
		const most = 20
		var names []string
		for _, name := range l.Names[:min(len(l.Names), most)] {
			names = append(names, name.Name)
		}
		if len(l.Names) > most {
			names = append(names, "…")
		}
		return "no number and none of " + strings.Join(names, ", ")
	case Char:
		return "no character in quotes, and no number"
	}
	return "no number"
}
