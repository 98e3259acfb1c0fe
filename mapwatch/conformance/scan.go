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
func fill(t *testing.T, m mapwatch.Map, n int) {
	t.Helper()
	ops := make([]mapwatch.Op, n)
	for i := range ops {
		ops[i] = update(numbered(m.Shape().KeyBytes, i), numbered(m.Shape().ValueBytes, i))
	}
	apply(t, m, ops...)
}

func scanPassesEachOnce(t *testing.T, s Subject) {
	const entries = 100_000
	_, m := s.create(t, 13, 77, entries)
	fill(t, m, entries)
	got := content(t, m)
	if len(got) != entries {
		t.Errorf("%d elements, want %d", len(got), entries)
	}
	for i := range entries {
		if got[string(numbered(13, i))] != string(numbered(77, i)) {
			t.Fatalf("element %d is missing or has a wrong value", i)
		}
	}
}

// scanUnderChurn deletes, inserts and overwrites during scans. Elements that
// stay must be passed once, and every value must be one that its key had.
func scanUnderChurn(t *testing.T, s Subject) {
	const stay, come, scans = 6_000, 6_000, 10
	p, m := s.create(t, 4, 16, stay+come)
	fill(t, m, stay)
	stop := make(chan struct{})
	var churn sync.WaitGroup
	churn.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			key := numbered(4, stay+i%come)
			if err := p.Update(key, numbered(16, stay+i%come)); err != nil {
				t.Error(err)
				return
			}
			if err := p.Overwrite(numbered(4, i%stay), numbered(16, i%stay)); err != nil {
				t.Error(err)
				return
			}
			if i%3 != 0 {
				if err := p.Delete(key); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for range scans {
		got := content(t, m)
		for i := range stay {
			if _, ok := got[string(numbered(4, i))]; !ok {
				t.Errorf("element %d was there all the time and was not passed", i)
			}
		}
		for key, value := range got {
			if key != value[:4] {
				t.Errorf("key %x came with the value of key %x", key, value[:4])
			}
		}
	}
	close(stop)
	churn.Wait()
}

func scanEnds(t *testing.T, s Subject) {
	_, m := s.create(t, 4, 4, 20_000)
	fill(t, m, 20_000)

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
	_, m := s.create(t, 4, 4, 20_000)
	fill(t, m, 20_000)
	err := m.Scan(t.Context(), func(keys, _ []byte, _ int) error {
		if _, err := m.Lookup(keys[:4]); err != nil {
			t.Error(err)
		}
		apply(t, m, update(keys[:4], numbered(4, 1)))
		return m.Close()
	})
	wantError(t, "scan of a map that was closed meanwhile", err, mapwatch.ErrGone)
}
