package conformance

import (
	"fmt"
	"maps"
	"testing"

	"github.com/mapgossip/mapgossip/mapwatch"
)

func sizesUpToTheLimits(t *testing.T, s Subject) {
	for _, size := range []struct{ key, value, entries int }{
		{1, 1, 256},
		{1, 64 << 10, 16},
		{256, 8, 64},
		{512, 8, 64},
		{3, 5, 100},
		{512, 64 << 10, 40},
	} {
		switch {
		case s.mapType == mapwatch.TypeLPMTrie && size.key > 256: // bytes of a prefix
			continue
		case s.mapType == mapwatch.TypeLRUHash && size.value > 1<<10: // takes memory for what CPUs keep in reserve
			size.value = 1 << 10
		}
		t.Run(fmt.Sprintf("key=%d,value=%d", size.key, size.value), func(t *testing.T) {
			p, m := s.create(t, size.key, size.value, size.entries+1) // room for one: see applyToFullMap
			want := make(map[string]string)
			var ops []mapwatch.Op
			for i := range size.entries {
				op := update(s.key(size.key, i), value(size.value, i))
				ops = append(ops, op)
				want[string(op.Key)] = string(op.Value)
			}
			apply(t, m, ops...)
			must(t, p.Overwrite(s.key(size.key, 1), value(size.value, 77)))
			want[string(s.key(size.key, 1))] = string(value(size.value, 77))
			wantContent(t, m, want)
			for key, value := range want {
				got, err := m.Lookup([]byte(key))
				must(t, err)
				if string(got) != value {
					t.Errorf("value of key %x differs", key[:1])
				}
			}
			ops = ops[:0]
			for key := range maps.Keys(want) {
				ops = append(ops, remove([]byte(key)))
			}
			apply(t, m, ops...)
			wantContent(t, m, nil)
		})
	}
}
