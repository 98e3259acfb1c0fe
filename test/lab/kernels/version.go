package kernels

import (
	"cmp"
	"strconv"
	"strings"
)

// compareVersions orders Debian version numbers as deb-version(7) says: -1, 0 or +1.
func compareVersions(a, b string) int {
	ea, ua, ra := splitVersion(a)
	eb, ub, rb := splitVersion(b)
	return cmp.Or(cmp.Compare(ea, eb), comparePart(ua, ub), comparePart(ra, rb))
}

func splitVersion(v string) (epoch int, upstream, revision string) {
	if e, rest, found := strings.Cut(v, ":"); found {
		epoch, _ = strconv.Atoi(e)
		v = rest
	}
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		return epoch, v[:i], v[i+1:]
	}
	return epoch, v, ""
}

// comparePart compares by turns a run of other characters and a number.
func comparePart(a, b string) int {
	for a != "" || b != "" {
		for a != "" && !isDigit(a[0]) || b != "" && !isDigit(b[0]) {
			if c := cmp.Compare(weight(a), weight(b)); c != 0 {
				return c
			}
			a, b = rest(a), rest(b)
		}
		na, nb := digits(a), digits(b)
		x, y := strings.TrimLeft(a[:na], "0"), strings.TrimLeft(b[:nb], "0")
		if c := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)); c != 0 {
			return c
		}
		a, b = a[na:], b[nb:]
	}
	return 0
}

// weight orders the first character: a tilde before the end, the end (and digits) before letters,
// letters before the rest.
func weight(s string) int {
	switch {
	case s == "" || isDigit(s[0]):
		return 0
	case s[0] == '~':
		return -1
	case s[0] >= 'A' && s[0] <= 'Z' || s[0] >= 'a' && s[0] <= 'z':
		return int(s[0])
	}
	return int(s[0]) + 256
}

func rest(s string) string {
	if s == "" || isDigit(s[0]) {
		return s
	}
	return s[1:]
}

func digits(s string) (n int) {
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return n
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
