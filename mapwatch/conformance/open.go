package conformance

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mapgossip/mapgossip/mapwatch"
)

func openReportsShape(t *testing.T, s Subject) {
	p, m := s.create(t, 13, 77, 100)
	got := m.Shape()
	if got.ID == 0 || got.Name == "" || len(got.Name) > mapwatch.NameBytes {
		t.Errorf("ID %d, name %q", got.ID, got.Name)
	}
	want := s.shape(13, 77, 100)
	want.Target, want.ID, want.Name = p.Target(), got.ID, got.Name
	if got != want {
		t.Errorf("shape is %+v, want %+v", got, want)
	}
}

func openRefuses(t *testing.T, s Subject) {
	p, _ := s.create(t, 4, 4, 4)
	refused := map[string]error{
		"":                       mapwatch.ErrTarget,
		"flows":                  mapwatch.ErrTarget,
		"id:":                    mapwatch.ErrTarget,
		"id:0":                   mapwatch.ErrTarget,
		"id:flows":               mapwatch.ErrTarget,
		"name:":                  mapwatch.ErrTarget,
		"name:0123456789abcdef":  mapwatch.ErrTarget,
		p.Target() + "/":         mapwatch.ErrTarget,
		p.Target() + "_missing":  mapwatch.ErrNotFound,
		p.Target() + "_no/where": mapwatch.ErrNotFound,
		"id:4294967295":          mapwatch.ErrNotFound,
		"name:no_such_map_123":   mapwatch.ErrNotFound,
	}
	for target, want := range s.Refused {
		refused[target] = want
	}
	for target, want := range refused {
		m, err := s.Kernel.Open(target)
		if err == nil {
			m.Close()
		}
		wantError(t, fmt.Sprintf("open %q", target), err, want)
		if err != nil && !strings.Contains(err.Error(), target) {
			t.Errorf("open %q: the error does not name the target: %v", target, err)
		}
	}
}

func openByIDAndName(t *testing.T, s Subject) {
	_, m := s.create(t, 4, 4, 4)
	for _, target := range []string{
		fmt.Sprintf("id:%d", m.Shape().ID),
		"name:" + m.Shape().Name,
	} {
		other := s.open(t, target)
		want := m.Shape()
		want.Target = target
		if other.Shape() != want {
			t.Errorf("shape is %+v, want %+v", other.Shape(), want)
		}
		if err := other.Current(); err != nil {
			t.Error(err)
		}
	}
}

func nameMustBeTheOnlyOne(t *testing.T, s Subject) {
	p, m := s.create(t, 4, 4, 4)
	byName := s.open(t, "name:"+m.Shape().Name)
	byID := s.open(t, fmt.Sprintf("id:%d", m.Shape().ID))
	successor := s.open(t, p.Replace(t).Target())
	if successor.Shape().Name != m.Shape().Name {
		t.Fatalf("successor has the name %q, want %q", successor.Shape().Name, m.Shape().Name)
	}
	wantError(t, "current of a name that another map has", byName.Current(), mapwatch.ErrGone)
	if err := byID.Current(); err != nil {
		t.Errorf("a map that is open keeps its ID: %v", err)
	}
}

func closeIsIdempotentAndFinal(t *testing.T, s Subject) {
	p, m := s.create(t, 4, 4, 4)
	must(t, p.Update(numbered(4, 1), numbered(4, 1)))
	must(t, m.Close())
	must(t, m.Close())
	_, err := m.Lookup(numbered(4, 1))
	wantError(t, "lookup", err, mapwatch.ErrGone)
	ops := []mapwatch.Op{update(numbered(4, 1), numbered(4, 2)), remove(numbered(4, 1))}
	m.Apply(ops)
	for _, op := range ops {
		wantError(t, "apply", op.Err, mapwatch.ErrGone)
	}
	wantError(t, "scan", m.Scan(t.Context(), func(_, _ []byte, _ int) error { return nil }), mapwatch.ErrGone)
	wantError(t, "current", m.Current(), mapwatch.ErrGone)
	if m.Shape().KeyBytes != 4 {
		t.Error("a closed map forgot its shape")
	}
}

func closeKeepsOtherHandles(t *testing.T, s Subject) {
	p, m := s.create(t, 4, 4, 4)
	other := s.open(t, p.Target())
	must(t, m.Close())
	apply(t, other, update(numbered(4, 1), numbered(4, 2)))
	wantContent(t, other, map[string]string{string(numbered(4, 1)): string(numbered(4, 2))})
}

func kernelCloseEndsApply(t *testing.T, s Subject) {
	_, m := s.create(t, 4, 4, 4)
	must(t, s.Kernel.Close())
	must(t, s.Kernel.Close())
	ops := []mapwatch.Op{update(numbered(4, 1), numbered(4, 2))}
	m.Apply(ops)
	wantError(t, "apply", ops[0].Err, mapwatch.ErrGone)
	wantContent(t, m, nil)
}

func nowNeverStepsBack(t *testing.T, s Subject) {
	last := s.Kernel.Now()
	for range 1000 {
		now := s.Kernel.Now()
		if now < last {
			t.Fatalf("%d after %d", now, last)
		}
		last = now
	}
}

func currentUntilUnpinned(t *testing.T, s Subject) {
	p, m := s.create(t, 4, 4, 4)
	must(t, m.Current())
	p.Unpin(t)
	wantError(t, "current", m.Current(), mapwatch.ErrGone)
	if err := m.Current(); errors.Is(err, mapwatch.ErrNotFound) {
		t.Errorf("ErrGone is mixed with ErrNotFound, which callers take for an absent key: %v", err)
	}
	// The handle keeps the map alive.
	apply(t, m, update(numbered(4, 1), numbered(4, 2)))
	wantContent(t, m, map[string]string{string(numbered(4, 1)): string(numbered(4, 2))})
}

func currentUntilReplaced(t *testing.T, s Subject) {
	p, m := s.create(t, 4, 4, 4)
	successor := s.open(t, p.Replace(t).Target())
	err := m.Current()
	wantError(t, "current", err, mapwatch.ErrGone)
	for _, id := range []uint32{m.Shape().ID, successor.Shape().ID} {
		if !strings.Contains(err.Error(), fmt.Sprintf("map %d", id)) {
			t.Errorf("the error does not name map %d: %v", id, err)
		}
	}
	must(t, successor.Current())
	apply(t, m, update(numbered(4, 1), numbered(4, 2)))
	wantContent(t, successor, nil)
}
