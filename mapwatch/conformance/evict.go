package conformance

import (
	"slices"
	"testing"

	"github.com/mapgossip/mapgossip/mapwatch"
)

// evictionsAreCaptured: whoever makes a full LRU hash map let go of keys, each
// comes as Evicted. What was written and not evicted is there.
func evictionsAreCaptured(t *testing.T, s Subject) {
	const entries = 256
	p := s.Create(t, mapwatch.Shape{Type: s.mapType, KeyBytes: 4, ValueBytes: 4, MaxEntries: entries})
	m := s.open(t, p.Target())
	w := s.watch(t, mapwatch.Options{}, m)
	for i := range 4 * entries {
		if i%4 == 3 {
			apply(t, m, update(s.key(4, i), value(4, i)))
		} else {
			must(t, p.Update(s.key(4, i), value(4, i)))
		}
	}
	w.sync(t)
	counts := w.Counts(0)
	if counts.Own != entries {
		t.Errorf("counts are %+v, want %d own: evictions are none of ours", counts, entries)
	}
	if counts.Dropped+counts.Missed > 0 {
		if !slices.Contains(w.rescan, 0) {
			t.Errorf("records were lost and no rescan asked for, counts %+v", counts)
		}
		return
	}
	there := make(map[string]bool)
	for i := range 4 * entries {
		there[string(s.key(4, i))] = true
	}
	evicted := 0
	for _, change := range w.changes {
		if change.Kind == mapwatch.Updated {
			continue
		}
		if change.Kind == mapwatch.Touched && s.mode == mapwatch.ModeFentry {
			continue
		}
		if change.Value != nil || change.Kind != mapwatch.Evicted {
			t.Fatalf("change is %+v", change)
		}
		if there[string(change.Key)] {
			evicted++
		}
		there[string(change.Key)] = false
	}
	got := content(t, m)
	for key := range got {
		if !there[key] {
			t.Errorf("key %x was evicted and is there", key)
		}
	}
	if evicted+len(got) != 4*entries {
		t.Errorf("%d keys written, %d evicted and %d there", 4*entries, evicted, len(got))
	}
}

// drainAsksForRescan: a call that takes everything out at once names no key.
func drainAsksForRescan(t *testing.T, s Subject) {
	const entries = 64
	p, m := s.create(t, 4, 4, entries)
	_, quiet := s.create(t, 4, 4, entries)
	w := s.watch(t, mapwatch.Options{}, quiet, m)
	fill(t, s, m, entries)
	w.sync(t)
	if len(w.rescan)+len(w.drained) > 0 {
		t.Fatalf("rescan of %v, drained %v before", w.rescan, w.drained)
	}
	must(t, p.Drain())
	w.sync(t)
	if !slices.Equal(w.rescan, []int{1}) || !slices.Equal(w.drained, []int{1}) {
		t.Errorf("rescan of %v, drained %v, want map 1", w.rescan, w.drained)
	}
	wantContent(t, m, nil)
	// It goes on after that, and says it once.
	w.changes, w.drained, w.rescan = nil, nil, nil
	must(t, p.Update(s.key(4, 1), value(4, 1)))
	w.sync(t)
	if len(w.changes) != 1 || len(w.drained) > 0 {
		t.Errorf("%d changes, drained %v, want 1 and none", len(w.changes), w.drained)
	}
}
