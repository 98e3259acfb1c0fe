package conformance

import (
	"strings"
	"testing"

	"github.com/mapgossip/mapgossip/mapwatch"
)

// zeroIsAbsent: an array has all its elements for ever, and those that are zero
// count as none.
func zeroIsAbsent(t *testing.T, s Subject) {
	const entries = 5000
	p, m := s.create(t, 4, 8, entries)
	wantContent(t, m, nil)
	zeros := make([]byte, 8)
	must(t, p.Update(s.key(4, 0), zeros))
	must(t, p.Update(s.key(4, 1), value(8, 1)))
	must(t, p.Update(s.key(4, entries-1), value(8, 2)))
	apply(t, m, update(s.key(4, 2), zeros), update(s.key(4, 3), value(8, 3)), update(s.key(4, 4), value(8, 4)))
	wantContent(t, m, map[string]string{
		string(s.key(4, 1)):         string(value(8, 1)),
		string(s.key(4, 3)):         string(value(8, 3)),
		string(s.key(4, 4)):         string(value(8, 4)),
		string(s.key(4, entries-1)): string(value(8, 2)),
	})
	for _, i := range []int{0, 2, 5} {
		_, err := m.Lookup(s.key(4, i))
		wantError(t, "lookup of a zero element", err, mapwatch.ErrNotFound)
	}
	must(t, p.Update(s.key(4, 1), zeros))
	apply(t, m, remove(s.key(4, 3)), remove(s.key(4, 4)), remove(s.key(4, entries-1)), update(s.key(4, 4), value(8, 5)))
	wantContent(t, m, map[string]string{string(s.key(4, 4)): string(value(8, 5))})
}

func applyBeyondTheArray(t *testing.T, s Subject) {
	const entries = 10
	_, m := s.create(t, 4, 4, entries)
	ops := []mapwatch.Op{
		update(s.key(4, 0), value(4, 0)),
		update(s.key(4, entries), value(4, 0)),
		update(s.key(4, entries-1), value(4, 1)),
		remove(s.key(4, entries+1)),
		update(s.key(4, 1<<32-1), value(4, 0)),
		remove(s.key(4, 0)),
	}
	m.Apply(ops)
	for i, op := range ops {
		if i != 1 && i != 3 && i != 4 {
			must(t, op.Err)
			continue
		}
		wantError(t, "apply beyond the end", op.Err, mapwatch.ErrFull)
		if op.Err != nil && !strings.Contains(op.Err.Error(), "max_entries") {
			t.Errorf("the error does not name max_entries: %v", op.Err)
		}
	}
	wantContent(t, m, map[string]string{string(s.key(4, entries-1)): string(value(4, 1))})
	_, err := m.Lookup(s.key(4, entries))
	wantError(t, "lookup beyond the end", err, mapwatch.ErrNotFound)
}
