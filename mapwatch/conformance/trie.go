package conformance

import (
	"bytes"
	"testing"

	"github.com/mapgossip/mapgossip/mapwatch"
)

// keysAreCanonical: bits beyond the prefix are no part of a key, and zero in
// those that come from the map.
func keysAreCanonical(t *testing.T, s Subject) {
	p, m := s.create(t, 4, 4, 16)
	want := make(map[string]string)
	for length := range 33 {
		if length%3 == 1 {
			continue
		}
		dirty := prefix(4, length, 1<<64-1)
		key := prefix(4, length, ^uint64(0)<<(64-length))
		if length == 0 {
			key = prefix(4, 0, 0)
		}
		if len(want) == 16 {
			break
		}
		must(t, p.Update(dirty, value(4, length)))
		want[string(key)] = string(value(4, length))
		for _, same := range [][]byte{dirty, key} {
			got, err := m.Lookup(same)
			must(t, err)
			if !bytes.Equal(got, value(4, length)) {
				t.Errorf("value of %x is %x, want %x", same, got, value(4, length))
			}
		}
	}
	wantContent(t, m, want)
}

// prefixesCoverOthers: of 10.0.0.0/8 and what is in it, each is a key of its own.
func prefixesCoverOthers(t *testing.T, s Subject) {
	p, m := s.create(t, 4, 4, 16)
	address := func(a, b, c, d uint64) uint64 { return a<<56 | b<<48 | c<<40 | d<<32 }
	eight := prefix(4, 8, address(10, 0, 0, 0))
	sixteen := prefix(4, 16, address(10, 0, 0, 0))
	host := prefix(4, 32, address(10, 0, 0, 1))
	sibling := prefix(4, 32, address(10, 0, 0, 2))
	all := prefix(4, 0, 0)
	absent := func(what string, keys ...[]byte) {
		t.Helper()
		for _, key := range keys {
			_, err := m.Lookup(key)
			wantError(t, what, err, mapwatch.ErrNotFound)
		}
	}
	absent("in an empty trie", all, eight, host)
	must(t, p.Update(eight, value(4, 8)))
	absent("with one shorter or longer", all, sixteen, host)
	must(t, p.Update(host, value(4, 32)))
	absent("between two others", sixteen, sibling)
	must(t, p.Update(all, value(4, 0)))
	absent("with 0/0", sixteen, sibling, prefix(4, 1, 0))
	apply(t, m, update(sibling, value(4, 33)), remove(host), remove(sixteen))
	// As long as one that is next to where it was.
	absent("deleted", host, sixteen)
	wantContent(t, m, map[string]string{string(eight): string(value(4, 8)), string(all): string(value(4, 0)), string(sibling): string(value(4, 33))})
	_, err := m.Lookup(prefix(4, 33, 0))
	wantError(t, "longer than keys are", err, mapwatch.ErrNotFound)
	ops := []mapwatch.Op{update(prefix(4, 33, 0), value(4, 1)), update(host, value(4, 1))}
	m.Apply(ops)
	if ops[0].Err == nil || ops[1].Err != nil {
		t.Errorf("errors are %v and %v, want one for the prefix that is longer than keys are", ops[0].Err, ops[1].Err)
	}
}
