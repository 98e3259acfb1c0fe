package conformance

import (
	"fmt"
	"testing"

	"github.com/mapgossip/mapgossip/mapwatch"
)

// reopen wants what m's target leads to now, which is the map of want.
func (s Subject) reopen(t *testing.T, m mapwatch.Map, want mapwatch.Shape) mapwatch.Map {
	t.Helper()
	again, err := s.Kernel.Reopen(m)
	must(t, err)
	t.Cleanup(func() { again.Close() })
	want.Target = m.Shape().Target
	if again.Shape() != want {
		t.Errorf("shape is %+v, want %+v", again.Shape(), want)
	}
	return again
}

func (s Subject) refuseReopen(t *testing.T, what string, m mapwatch.Map) {
	t.Helper()
	again, err := s.Kernel.Reopen(m)
	if err == nil {
		again.Close()
	}
	wantError(t, what, err, mapwatch.ErrNotFound)
}

func reopenFollowsThePath(t *testing.T, s Subject) {
	p, m := s.create(t, 4, 4, 4)
	s.refuseReopen(t, "a path that leads to the map still", m)
	p = p.Replace(t)
	successor := s.open(t, p.Target())
	s.reopen(t, m, successor.Shape())
	must(t, m.Close())
	s.reopen(t, m, successor.Shape())
	p.Unpin(t)
	s.refuseReopen(t, "a path that leads nowhere", m)
	if _, err := s.Kernel.Reopen(stranger{}); err == nil {
		t.Error("a map of another kernel was opened again")
	}
}

// reopenFollowsTheName: a map that is open has its name still, and does not count.
func reopenFollowsTheName(t *testing.T, s Subject) {
	p, m := s.create(t, 4, 4, 4)
	byName := s.open(t, "name:"+m.Shape().Name)
	s.refuseReopen(t, "a name that no other map has", byName)
	p = p.Replace(t)
	second := s.open(t, p.Target())
	if second.Shape().ID == m.Shape().ID {
		t.Fatal("the map was not replaced")
	}
	_, err := s.Kernel.Open("name:" + m.Shape().Name)
	wantError(t, "open of a name that two maps have", err, mapwatch.ErrNotFound)
	s.reopen(t, byName, second.Shape())
	s.open(t, p.Replace(t).Target())
	s.refuseReopen(t, "a name that two other maps have", byName)
}

func reopenOfAnID(t *testing.T, s Subject) {
	p, m := s.create(t, 4, 4, 4)
	byID := s.open(t, fmt.Sprintf("id:%d", m.Shape().ID))
	s.refuseReopen(t, "an ID", byID)
	p.Replace(t)
	s.refuseReopen(t, "the ID of a map that was replaced", byID)
}
