package layout

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Parse reads field=value,field=value (nested: a.b=1; arrays in hex or [1,2]), or, for a type that is no struct,
// the value alone. Fields that are not named are zero; an unknown field, a value out of range, are errors that
// name the fields there are.
//
// What Format shows is read back, braces, colons and all. Numbers are decimal, or
// hexadecimal after 0x; addresses as they are written elsewhere; enums by name or
// number; text in quotes. A layout that is not known takes hex of any length.
func (l Layout) Parse(input string) ([]byte, error) {
	p := &parser{left: input}
	b := make([]byte, l.Bytes)
	var err error
	switch {
	case !l.Known():
		b, err = parseHex(p.rest(), -1)
	case l.isAggregate() && l.notation("") == plain:
		err = p.fields(&l, span{b, make([]byte, len(b))})
	default:
		err = p.value(&l, "", span{b, make([]byte, len(b))})
	}
	if err == nil && p.peek() != 0 {
		err = fmt.Errorf("unexpected %s", cut(p.left))
	}
	if err == nil {
		return b, nil
	}
	if names := l.fieldNames(); len(names) > 0 {
		err = fmt.Errorf("%w; its fields are %s", err, strings.Join(names, ", "))
	}
	kind := l.Type
	if kind == "" {
		kind = l.Kind
	}
	if kind == "" {
		kind = "bytes"
	}
	return nil, fmt.Errorf("read %s as %s: %w", cut(input), kind, err)
}

// fieldNames are those that Parse takes, without what is in them.
func (l *Layout) fieldNames() []string {
	var names []string
	for _, m := range l.appendMembers(nil, 0, false) {
		names = append(names, m.name)
	}
	return names
}

// cut quotes some of a text for an error.
func cut(text string) string {
	const most = 64
	if len(text) > most {
		return fmt.Sprintf("%q…", text[:most])
	}
	return fmt.Sprintf("%q", text)
}

// span is where a value goes: its bytes, and which bits of them were written.
type span struct{ bytes, written []byte }

var errContradiction = errors.New("it has another value already")

func (s span) of(m member) span { return span{m.bytes(s.bytes), m.bytes(s.written)} }

// contradicts reports whether b has other bits than were written.
func (s span) contradicts(b []byte) bool {
	for i, mask := range s.written {
		if (s.bytes[i]^b[i])&mask != 0 {
			return true
		}
	}
	return false
}

// put writes b, all of s.
func (s span) put(b []byte) error {
	if s.contradicts(b) {
		return errContradiction
	}
	copy(s.bytes, b)
	for i := range s.written {
		s.written[i] = 0xff
	}
	return nil
}

// parser reads from the front of left.
type parser struct{ left string }

// peek skips blanks and returns the next byte, 0 at the end.
func (p *parser) peek() byte {
	p.left = strings.TrimLeft(p.left, " \t\n")
	if p.left == "" {
		return 0
	}
	return p.left[0]
}

// eat takes the next byte if it is c.
func (p *parser) eat(c byte) bool {
	if p.peek() != c {
		return false
	}
	p.left = p.left[1:]
	return true
}

// rest takes all that is left.
func (p *parser) rest() string {
	rest := p.left
	p.left = ""
	return strings.TrimSpace(rest)
}

// fields reads fields into s, in braces or to the end.
func (p *parser) fields(l *Layout, s span) error {
	closing := byte(0)
	if p.eat('{') {
		closing = '}'
	}
	for first := true; ; first = false {
		switch next := p.peek(); {
		case closing != 0 && p.eat(closing), next == 0 && closing == 0:
			return nil
		case next == 0:
			return errors.New("} is missing")
		case !first && !p.eat(','):
			return fmt.Errorf("unexpected %s, want a comma", cut(p.left))
		}
		if err := p.field(l, s); err != nil {
			return err
		}
	}
}

// field reads name=value or name: value.
func (p *parser) field(l *Layout, s span) error {
	p.peek()
	end := strings.IndexAny(p.left, "=:,{}[]\"")
	if end < 0 || p.left[end] != '=' && p.left[end] != ':' {
		return fmt.Errorf("%s is no field=value", cut(p.left))
	}
	path := strings.TrimSpace(p.left[:end])
	p.left = p.left[end+1:]
	if err := p.member(l, s, path); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// member reads the value of what path leads to.
func (p *parser) member(l *Layout, s span, path string) error {
	name, below, nested := strings.Cut(path, ".")
	if path == padding {
		return p.padding(l, s)
	}
	for _, m := range l.appendMembers(nil, 0, false) {
		if m.name == path { // a static variable of a function has a dot in its name
			name, nested = path, false
		}
		switch {
		case m.name != name || !m.within(s.bytes):
			continue
		case nested && !m.layout.isAggregate():
			return fmt.Errorf("%s has no fields", name)
		case nested:
			return p.member(m.layout, s.of(m), below)
		case m.bits > 0:
			return p.bitField(m, s)
		}
		return p.value(m.layout, m.name, s.of(m))
	}
	return fmt.Errorf("there is no such field (there are %s)", strings.Join(l.fieldNames(), ", "))
}

// padding reads the bits that no field has.
func (p *parser) padding(l *Layout, s span) error {
	b, err := parseHex(p.token(), l.Bytes)
	if err != nil {
		return err
	}
	left := append([]byte(nil), b...)
	for _, m := range l.appendMembers(nil, 0, true) {
		if m.within(left) {
			m.clear(left)
		}
	}
	if string(left) != string(b) {
		return errors.New("these are bits of fields")
	}
	for i := range b {
		s.bytes[i] |= b[i]
	}
	return nil
}

// bitField reads the value of one.
func (p *parser) bitField(m member, s span) error {
	n, err := m.layout.parseNumber(p.token(), m.bits)
	if err != nil {
		return err
	}
	b := append([]byte(nil), s.bytes...)
	storeBits(b, m.offset, m.bits, n)
	if s.contradicts(b) {
		return errContradiction
	}
	copy(s.bytes, b)
	storeBits(s.written, m.offset, m.bits, ^uint64(0))
	return nil
}

// value reads one value of a field of that name.
func (p *parser) value(l *Layout, name string, s span) error {
	next := p.peek()
	switch n := l.notation(name); {
	case n == plain && l.isAggregate() && next != '{':
		return fmt.Errorf("want {field: value, …}, or name a field after a dot (%s)", strings.Join(l.fieldNames(), ", "))
	case l.isAggregate() && next == '{':
		return p.fields(l, s)
	case l.Kind == Array && next == '[':
		return p.elements(l, name, s)
	case l.Kind == Kernel:
		if token := p.token(); token != "-" {
			return fmt.Errorf("%s is the kernel's own: write -, or leave it out", l.Type)
		}
		return nil
	case n == plain && l.Kind != Array && l.Kind != Bytes:
		return p.number(l, s)
	}
	return p.data(l, name, s)
}

// elements reads [1, 2]; those that are not there are zero.
func (p *parser) elements(l *Layout, name string, s span) error {
	p.eat('[')
	name = strings.TrimSuffix(name, "s")
	size := l.Element.Bytes
	for i := 0; ; i++ {
		if p.eat(']') {
			return nil
		}
		if i > 0 && !p.eat(',') {
			return fmt.Errorf("unexpected %s in an array, want a comma or ]", cut(p.left))
		}
		if p.peek(); strings.HasPrefix(p.left, restZero) {
			p.left = p.left[len(restZero):]
			if !p.eat(']') {
				return fmt.Errorf("unexpected %s after .., want ]", cut(p.left))
			}
			return nil
		}
		if i >= l.Count {
			return fmt.Errorf("it has %d elements", l.Count)
		}
		element := span{s.bytes[i*size:][:size], s.written[i*size:][:size]}
		if err := p.value(l.Element, name, element); err != nil {
			return fmt.Errorf("element %d: %w", i, err)
		}
	}
}

// parseHex reads bytes, of that number or, below 0, of any. 0x, blanks and colons
// are allowed.
func parseHex(token string, bytes int) ([]byte, error) {
	plain := strings.NewReplacer(" ", "", ":", "").Replace(strings.TrimPrefix(token, "0x"))
	b, err := hex.DecodeString(plain)
	if err != nil {
		return nil, fmt.Errorf("%s is not hex", cut(token))
	}
	if bytes >= 0 && len(b) != bytes {
		return nil, fmt.Errorf("%d bytes, want %d", len(b), bytes)
	}
	return b, nil
}
