package conformance

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/mapgossip/mapgossip/mapwatch"
)

func scanOfEmptyMap(t *testing.T, s Subject) {
	_, m := s.create(t, 4, 4, 1000)
	err := m.Scan(t.Context(), func(_, _ []byte, n int) error {
		t.Errorf("a chunk of %d elements", n)
		return nil
	})
	must(t, err)
}

// fill applies n numbered elements.
func fill(t *testing.T, s Subject, m mapwatch.Map, n int) {
	t.Helper()
	ops := make([]mapwatch.Op, n)
	for i := range ops {
		ops[i] = update(s.key(s.keyBytes(m), i), value(m.Shape().ValueBytes, i))
	}
	apply(t, m, ops...)
}

func scanPassesEachOnce(t *testing.T, s Subject) {
	entries := 100_000
	if s.mapType != mapwatch.TypeHash {
		entries = 10_000
	}
	_, m := s.create(t, 13, 77, entries)
	fill(t, s, m, entries)
	got := content(t, m)
	if len(got) != entries {
		t.Errorf("%d elements, want %d", len(got), entries)
	}
	for i := range entries {
		if got[string(s.key(13, i))] != string(value(77, i)) {
			t.Fatalf("element %d is missing or has a wrong value", i)
		}
	}
}

// scanUnderChurn deletes, inserts and overwrites during scans. Elements that
// stay must be passed once, and every value must be one that its key had; in an
// array, into which the kernel copies without a lock, it can be half of one and half
// of the zeros around it.
func scanUnderChurn(t *testing.T, s Subject) {
	const scans = 10
	keys := 12_000
	if s.mapType == mapwatch.TypeLPMTrie {
		keys = 3_000
	}
	stays := func(i int) bool { return i%2 == 0 }
	p, m := s.create(t, 4, 8, keys)
	numbers := make(map[string]int)
	for i := range keys {
		numbers[string(s.key(4, i))] = i
		if stays(i) {
			apply(t, m, update(s.key(4, i), value(8, i)))
		}
	}
	stop := make(chan struct{})
	var churn sync.WaitGroup
	churn.Go(func() {
		for i := 0; ; i += 2 {
			select {
			case <-stop:
				return
			default:
			}
			stay, come := i%keys, i%keys+1
			if err := p.Update(s.key(4, come), value(8, come)); err != nil {
				t.Error(err)
				return
			}
			if err := p.Overwrite(s.key(4, stay), value(8, stay)); err != nil {
				t.Error(err)
				return
			}
			if i%3 != 0 {
				if err := s.clear(p, s.key(4, come), 8); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for range scans {
		got := content(t, m)
		for i := range keys {
			if _, ok := got[string(s.key(4, i))]; !ok && stays(i) {
				t.Errorf("element %d was there all the time and was not passed", i)
			}
		}
		for key, v := range got {
			i := numbers[key]
			want := value(8, i)
			if s.mapType == mapwatch.TypeArray && !stays(i) {
				for at := range want {
					if v[at] == 0 {
						want[at] = 0
					}
				}
			}
			if v != string(want) {
				t.Errorf("element %d came with the value %x, want %x", i, v, want)
			}
		}
	}
	close(stop)
	churn.Wait()
}

func scanEnds(t *testing.T, s Subject) {
	_, m := s.create(t, 4, 4, 20_000)
	fill(t, s, m, 20_000)

	enough := errors.New("enough")
	calls := 0
	err := m.Scan(t.Context(), func(_, _ []byte, _ int) error { calls++; return enough })
	wantError(t, "scan that fn ended", err, enough)
	if calls != 1 {
		t.Errorf("fn was called %d times", calls)
	}

	ctx, cancel := context.WithCancel(t.Context())
	calls = 0
	err = m.Scan(ctx, func(_, _ []byte, _ int) error { calls++; cancel(); return nil })
	wantError(t, "scan that ctx ended", err, context.Canceled)
	if calls != 1 {
		t.Errorf("fn was called %d times", calls)
	}
	err = m.Scan(ctx, func(_, _ []byte, _ int) error { t.Error("fn was called"); return nil })
	wantError(t, "scan after ctx ended", err, context.Canceled)
}

// scanMayUseTheMap calls everything from within fn, Close too.
func scanMayUseTheMap(t *testing.T, s Subject) {
	_, m := s.create(t, 4, 4, 20_001) // room for one: see applyToFullMap
	fill(t, s, m, 20_000)
	err := m.Scan(t.Context(), func(keys, _ []byte, _ int) error {
		key := keys[:m.Shape().KeyBytes]
		if _, err := m.Lookup(key); err != nil {
			t.Error(err)
		}
		apply(t, m, update(key, value(4, 1)))
		return m.Close()
	})
	wantError(t, "scan of a map that was closed meanwhile", err, mapwatch.ErrGone)
}
