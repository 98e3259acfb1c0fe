//go:build e2e

package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/test/lab"
	"github.com/mapgossip/mapgossip/test/lab/ether"
)

// Places in c.agents and shared.hosts.
const (
	alpha = iota
	beta
	gamma
)

// collectedWithin is ten times the age of tombstones in TestHealing.
const collectedWithin = time.Minute

// TestHealing lets one cluster live through what befalls members, one trouble
// after the other. Gamma's disk is small.
func TestHealing(t *testing.T) {
	disk(t, shared.hosts[alpha], "64m")
	disk(t, shared.hosts[beta], "64m")
	disk(t, shared.hosts[gamma], "4m")
	c := newCluster(t, 8, 8, 8192, "--tombstone-min-age 6s --state-dir "+stateDir)
	t.Cleanup(shared.HealAll)
	for _, trouble := range []struct {
		what   string
		befall func(*cluster)
	}{
		{"links lose frames, and one is cut one way", lossyLinks},
		{"a disk is full", fullDisk},
		{"an agent is killed, its map changed meanwhile", killedAgent},
		{"a host is gone for good, and comes back all the same", removedMember},
		{"the disk has room again", roomAgain},
	} {
		begin := time.Now()
		trouble.befall(c)
		t.Logf("%s: %v", trouble.what, time.Since(begin).Round(time.Millisecond))
	}
}

// lossyLinks: what beta writes reaches gamma by way of alpha.
func lossyLinks(c *cluster) {
	h := shared.hosts
	for _, pair := range [][2]int{{alpha, beta}, {beta, gamma}, {alpha, gamma}} {
		shared.Drop(h[pair[0]], h[pair[1]], 0.2)
	}
	shared.SetLink(h[beta], h[gamma], ether.Link{Cut: true})
	together(c.t, map[*lab.Host]string{
		h[alpha]: "labmap burst " + c.pin + " 0 500 1",
		h[beta]:  "labmap burst " + c.pin + " 1000 500 2",
		h[gamma]: "labmap burst " + c.pin + " 2000 500 3",
	})
	c.equal(1500)
	shared.HealAll()
	do(c.t, h[gamma], "labmap drain %s 1000 200", c.pin)
	c.equal(1300)
}

// fullDisk: replication goes on without what gamma cannot keep, gamma says so,
// and does not believe what it kept before when it starts again.
func fullDisk(c *cluster) {
	t, h := c.t, shared.hosts[gamma]
	fill(t, h, "filler")
	rounds := 0
	eventually(t, "told that nothing is kept", func() (bool, string) {
		rounds++ // the last page may have room for some
		do(t, h, "labmap burst %s 2000 500 %d", c.pin, 3+rounds)
		reasons := c.agents[gamma].unhealthy(t)
		return strings.Contains(reasons, "no space left"), reasons
	})
	if out, err := h.Do(t.Context(), "mapgossip", "status"); !strings.Contains(out, "no space left") {
		t.Errorf("mapgossip status does not say that the disk is full (%v):\n%s", err, out)
	}
	if !strings.Contains(c.agents[gamma].log.String(), "no space left") {
		t.Error("the log does not say that the disk is full")
	}
	do(t, shared.hosts[alpha], "labmap burst %s 0 100 9", c.pin)
	c.equal(1300)

	c.agents[gamma].kill(t)
	fill(t, h, "more-filler") // what the agent gave up had left room
	do(t, shared.hosts[alpha], "labmap burst %s 0 100 10", c.pin)
	do(t, shared.hosts[alpha], "labmap drain %s 0 50", c.pin)
	c.start(gamma)
	c.agents[gamma].ready(t)
	now := c.equal(1250)
	// What it gave up had left room: it may have kept all again before it was killed.
	if local := now[gamma].Counters.Local; local != 0 {
		t.Errorf("gamma believed an outdated state: %d keys that others changed were stamped", local)
	}
	if reasons := c.agents[gamma].unhealthy(t); !strings.Contains(reasons, "no space left") {
		t.Errorf("started with a full disk, gamma's agent says only %q", reasons)
	}
	do(t, h, "busybox rm %s/filler %s/more-filler", stateDir, stateDir)
}

// roomAgain: gamma keeps its state again, without having been told.
func roomAgain(c *cluster) {
	t := c.t
	eventually(t, "kept again", func() (bool, string) { reasons := c.agents[gamma].unhealthy(t); return reasons == "", reasons })
	if out := do(t, shared.hosts[gamma], "mapgossip status"); strings.Contains(out, "no space left") {
		t.Errorf("mapgossip status still says that the disk is full:\n%s", out)
	}
	before := c.equal(-1)
	c.agents[gamma].kill(t)
	c.start(gamma)
	c.agents[gamma].ready(t)
	if !strings.Contains(c.agents[gamma].log.String(), "state restored") {
		t.Error("no state was restored")
	}
	after := c.equal(before[gamma].Entries)
	if local := after[gamma].Counters.Local; local != 0 || after[gamma].Digest != before[gamma].Digest {
		t.Errorf("of an unchanged map %d keys were stamped again", local)
	}
}

// killedAgent: what nobody changed while the agent was down keeps its version.
func killedAgent(c *cluster) {
	t := c.t
	h := shared.hosts[beta]
	entries := c.equal(-1)[beta].Entries
	do(t, h, "labmap burst %s 3001 1 50", c.pin) // what the kernel had last is what it has when this is gone again
	before := c.equal(entries + 1)
	c.agents[beta].kill(t)
	do(t, h, "labmap burst %s 2000 1 50", c.pin) // an update
	do(t, h, "labmap burst %s 3000 1 50", c.pin) // an insert
	do(t, h, "labmap drain %s 2001 1", c.pin)
	do(t, h, "labmap drain %s 3001 1", c.pin)
	c.start(beta)
	c.agents[beta].ready(t)
	if !strings.Contains(c.agents[beta].log.String(), "state restored") {
		t.Error("no state was restored")
	}
	after := c.equal(-1)
	if local := after[beta].Counters.Local; local != 4 {
		t.Errorf("4 keys were changed while the agent was down, %d were stamped", local)
	}
	if won := after[alpha].Counters.Remote - before[alpha].Counters.Remote; won != 4 {
		t.Errorf("4 keys were changed while the agent was down, %d new entries came to alpha", won)
	}
	for key, there := range map[string]bool{"b80b000000000000": true, "d107000000000000": false, "b90b000000000000": false} {
		if found := c.dump(alpha)[key]; (found != "") != there {
			t.Errorf("key %s of the map holds %q; beta had it: %t", key, found, there)
		}
	}
}

// removedMember: deletes wait for a host that is gone, until an operator says
// for how long enough is. Back, it has what the cluster has, and its own writes.
func removedMember(c *cluster) {
	t := c.t
	begin := time.Now()
	c.collected()
	t.Logf("no tombstone is left %v later", time.Since(begin).Round(time.Millisecond))
	if took := time.Since(begin); took > collectedWithin {
		t.Errorf("tombstones that are kept for 6 s went only after %v", took)
	}
	for i, s := range c.equal(-1) {
		if s.Floor.IsZero() || s.Counters.Collected == 0 {
			t.Errorf("%s has no tombstones left, floor %v, after %d collected", shared.hosts[i].Name(), s.Floor, s.Counters.Collected)
		}
	}
	entries := c.agents[alpha].state(t).Entries
	c.agents[beta].kill(t)
	do(t, shared.hosts[alpha], "labmap drain %s 100 50", c.pin)
	begin = time.Now()
	for _, i := range []int{alpha, gamma} {
		eventually(t, "held back by beta", func() (bool, string) {
			s := c.agents[i].state(t)
			return s.HeldBackBy == "beta" && s.Tombstones == 50, fmt.Sprintf("%+v", s)
		})
	}
	eventually(t, "known to be dead", func() (bool, string) {
		states, err := c.agents[alpha].members()
		return err == nil && states["beta"] == "dead", fmt.Sprint(states, err)
	})
	t.Logf("beta holds tombstones back and is dead %v later", time.Since(begin).Round(time.Millisecond))
	t.Log(strings.TrimSpace(do(t, shared.hosts[alpha], "mapgossip remove beta")))
	begin = time.Now()
	c.collected()
	t.Logf("no tombstone is left %v later", time.Since(begin).Round(time.Millisecond))
	do(t, shared.hosts[beta], "labmap burst %s 100 1 60", c.pin)
	c.start(beta)
	c.agents[beta].ready(t)
	begin = time.Now()
	states := c.equal(entries - 49)
	t.Logf("beta is back, and equal %v later", time.Since(begin).Round(time.Millisecond))
	for i, s := range states {
		if i == beta && s.Counters.Local != 1 {
			t.Errorf("beta changed one key while away and stamped %d", s.Counters.Local)
		}
	}
}

// fill leaves no room on a host's disk.
func fill(t *testing.T, h *lab.Host, name string) {
	t.Helper()
	_, err := h.Do(t.Context(), "busybox", "dd", "if=/dev/zero", "of="+stateDir+"/"+name, "bs=4k")
	if err == nil || !strings.Contains(err.Error(), "No space left") {
		t.Fatalf("fill the disk: %v", err)
	}
}

// unhealthy returns what needs a human, as the agent says; empty: nothing.
func (a *agent) unhealthy(t *testing.T) string {
	t.Helper()
	var answer struct{ Reasons []string }
	code, err := a.get("/healthz", &answer)
	if err != nil || (code == http.StatusOK) != (len(answer.Reasons) == 0) {
		t.Fatalf("ask the agent on %s for its health: %d %q %v", a.host.Name(), code, answer.Reasons, err)
	}
	return strings.Join(answer.Reasons, "\n")
}

// dump returns what a host's map holds, in hexadecimal.
func (c *cluster) dump(i int) (elements map[string]string) {
	c.t.Helper()
	if err := json.Unmarshal([]byte(do(c.t, shared.hosts[i], "labmap dump %s", c.pin)), &elements); err != nil {
		c.t.Fatal(err)
	}
	return elements
}
