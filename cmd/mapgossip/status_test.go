package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// TestStatusOfTroubles: one screen of each; a reason that holds for many maps is
// told once.
func TestStatusOfTroubles(t *testing.T) {
	const refused = "attach fexit: operation not permitted: this host refuses trampolines"
	three := func(change func(*mapgossip.MapStatus)) mapgossip.Status {
		s := healthyFixture()
		s.Encrypted = true
		for _, name := range []string{"acl", "nat"} {
			m := s.Maps[0]
			m.Name, m.Target, m.HeldBackBy = name, "/sys/fs/bpf/"+name, ""
			s.Maps = append(s.Maps, m)
		}
		for i := range s.Maps {
			change(&s.Maps[i])
		}
		return s
	}
	blind := three(func(m *mapgossip.MapStatus) { m.Capture, m.CaptureReason, m.Error = "", "", refused })
	blind.Capture, blind.CaptureReason, blind.Ready, blind.Healthy, blind.InSync = "", refused, false, false, false
	for _, m := range blind.Maps {
		blind.NotReady = append(blind.NotReady, "map "+m.Name+": "+refused)
	}
	blind.Unhealthy = blind.NotReady
	mixed := three(func(m *mapgossip.MapStatus) {
		if m.Name != "flows" {
			m.Capture, m.CaptureReason = "scan", "this kernel has no function to hook for array"
		}
	})
	absent := three(func(m *mapgossip.MapStatus) {
		if m.Name == "nat" {
			*m = mapgossip.MapStatus{Name: m.Name, Target: m.Target, Error: fmt.Sprintf("open map %s: %v; waiting for the map; it is bound as soon as it is there", m.Target, mapwatch.ErrNotFound)}
		}
	})
	absent.Ready, absent.Healthy, absent.InSync = false, false, false
	absent.NotReady = []string{"map nat: " + absent.Maps[2].Error}
	absent.Unhealthy = absent.NotReady
	open := three(func(*mapgossip.MapStatus) {})
	open.Encrypted = false
	local := open
	local.Members = append([]mapgossip.Member{}, open.Members...)
	local.Members[0].Addr = "127.0.0.1:7946"
	filling := three(func(m *mapgossip.MapStatus) {})
	filling.Ready, filling.InSync, filling.NotReady = false, false, []string{"no full exchange with any member yet"}
	filling.Maps[0].Entries = 2500
	for name, s := range map[string]mapgossip.Status{"blind": blind, "mixed": mixed, "absent": absent, "open": open, "local": local, "filling": filling} {
		at := agentAt(t, answers{
			"GET /debug/status":      text(t, statusAnswer{s, advise(s, present())}),
			"GET /debug/convergence": text(t, viewsReply{[]mapgossip.View{{Node: "lb-1", Self: true, Maps: []mapgossip.MapView{{Name: "flows", Entries: 1 << 30}}}, {Node: "lb-2", Maps: []mapgossip.MapView{{Name: "flows", Entries: 10000}, {Name: "acl", Entries: 3}}}}}),
		})
		r := invoke(t, nil, "status", "--http", at)
		golden(t, "status-"+name+".txt", r.stdout)
		wantResult(t, r, result{0, r.stdout, ""})
		if n := strings.Count(r.stdout, refused); n > 1 {
			t.Errorf("%s: the reason is told %d times", name, n)
		}
	}
}

// TestStatusWithoutConvergence: an agent that can't tell how far it is.
func TestStatusWithoutConvergence(t *testing.T) {
	s := fixture()
	at := agentAt(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/debug/status" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		fmt.Fprint(w, text(t, statusAnswer{s, advise(s, present())}))
	}))
	if r := invoke(t, nil, "status", "--http", at); r.code != 0 || strings.Contains(r.stdout, "filling") {
		t.Errorf("%+v", r)
	}
}

// TestAdviseOfClocks: whose clock is wrong is what most members say, and with
// one other member nobody can tell.
func TestAdviseOfClocks(t *testing.T) {
	other := func(node string, offsetMS float64) mapgossip.Member {
		return mapgossip.Member{Node: node, State: "alive", InSync: true, LastSync: present(), ClockOffsetMS: offsetMS, RTTMS: 1}
	}
	for _, test := range []struct {
		name   string
		own    float64
		others []mapgossip.Member
		want   []string
	}{
		{"all agree", 0, []mapgossip.Member{other("b", 2), other("c", -3)}, nil},
		{"this one", 60000, []mapgossip.Member{other("b", -60000), other("c", -60100)}, []string{"this host's clock is off by +1m: mend it (NTP), else its changes win or lose wrongly"}},
		{"one of the others", -10, []mapgossip.Member{other("b", 0), other("c", 60000), other("d", 10)}, []string{"the clock of c is off by +1m: mend it (NTP), else the one that is behind loses conflicts"}},
		{"one of two", 2000, []mapgossip.Member{other("b", -2000)}, []string{"the clock of b is off by -2s: mend it (NTP), else the one that is behind loses conflicts"}},
	} {
		s := mapgossip.Status{Ready: true, Healthy: true, InSync: true, Encrypted: true, ClockOffsetMS: test.own, Members: test.others}
		if got := advise(s, present()); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// TestAdviseNothingHeldBack: a member that is gone is to be removed only for a map
// in which deletes wait for it.
func TestAdviseNothingHeldBack(t *testing.T) {
	s := mapgossip.Status{Ready: true, Encrypted: true,
		Members: []mapgossip.Member{{Node: "lb-2", State: "dead", Addr: "127.0.0.2:7946"}},
		Maps:    []mapgossip.MapStatus{{Name: "flows", Bound: true, HeldBackBy: "lb-2"}},
	}
	if advice := strings.Join(advise(s, time.Time{}), "\n"); strings.Contains(advice, "mapgossip remove") {
		t.Errorf("no delete waits for lb-2, and the advice is: %s", advice)
	}
	s.Maps[0].Tombstones = 1
	if advice := strings.Join(advise(s, time.Time{}), "\n"); !strings.Contains(advice, "1 delete wait") {
		t.Errorf("a delete waits for lb-2, and the advice is: %s", advice)
	}
}
