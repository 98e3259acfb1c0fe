//go:build e2e

package test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/mapgossip/mapgossip/test/lab"
)

// stateDir is where agents keep their state, on a disk of its own.
const stateDir = "/tmp/state"

// disk gives a host an empty disk of that size at stateDir until t ends. Call it
// before the agents start, so that it goes after they have ended.
func disk(t *testing.T, h *lab.Host, size string) {
	t.Helper()
	do(t, h, "busybox mkdir -p %s", stateDir)
	do(t, h, "busybox mount -t tmpfs -o size=%s tmpfs %s", size, stateDir)
	t.Cleanup(func() {
		if _, err := h.Do(context.Background(), "busybox", "umount", stateDir); err != nil {
			t.Error(err)
		}
	})
}

// assembled waits until every agent that runs says that all that run are alive.
func (c *cluster) assembled() {
	c.t.Helper()
	running := 0
	for _, a := range c.agents {
		if !a.killed {
			running++
		}
	}
	eventually(c.t, "assembled", func() (bool, string) {
		for _, a := range c.agents {
			if a.killed {
				continue
			}
			states, err := a.members()
			if err != nil {
				return false, err.Error()
			}
			alive := 0
			for _, state := range states {
				if state == "alive" {
					alive++
				}
			}
			if alive != running {
				return false, fmt.Sprintf("%s sees %v", a.host.Name(), states)
			}
		}
		return true, ""
	})
}

// members returns the state of each member by its node ID, as the agent sees it.
func (a *agent) members() (map[string]string, error) {
	var answer struct {
		Members []struct{ Node, State string }
	}
	if _, err := a.get("/debug/members", &answer); err != nil {
		return nil, fmt.Errorf("ask the agent on %s for its members: %w", a.host.Name(), err)
	}
	states := make(map[string]string)
	for _, m := range answer.Members {
		if states[m.Node] != "alive" { // an earlier run of the agent may be listed too
			states[m.Node] = m.State
		}
	}
	return states, nil
}

// collected waits until no agent that runs has a tombstone left.
func (c *cluster) collected() {
	c.t.Helper()
	eventually(c.t, "rid of tombstones", func() (bool, string) {
		var told []string
		left := 0
		for _, a := range c.agents {
			if a.killed {
				continue
			}
			s := a.state(c.t)
			left += s.Tombstones
			told = append(told, fmt.Sprintf("%s has %d, floor %v, held back by %q", a.host.Name(), s.Tombstones, s.Floor, s.HeldBackBy))
		}
		return left == 0, strings.Join(told, "; ")
	})
}
