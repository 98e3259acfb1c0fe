//go:build e2e

package test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/test/lab"
)

// TestBurst writes 10,000 distinct keys as fast as the syscall allows. All
// arrive, none is invented, and none comes back as a local change, not even
// after a scan has compared everything.
func TestBurst(t *testing.T) {
	for _, mode := range []string{"fexit", "fentry", "scan"} {
		t.Run(mode, func(t *testing.T) {
			c := newCluster(t, 16, 64, 20000, "--scan-interval 2s --capture "+mode)
			if got := c.agents[0].state(t).Capture; got != mode {
				t.Fatalf("capture is %s", got)
			}
			t.Log(strings.TrimSpace(do(t, c.agents[0].host, "labmap burst %s 0 10000 1", c.pin)))
			begin := time.Now()
			c.equal(10000)
			t.Logf("equal %v later", time.Since(begin).Round(time.Millisecond))
			waitForScans(t, c)
			states := c.equal(10000)
			if mode == "fexit" && states[0].Counters.Missed+states[0].Counters.Dropped == 0 && states[0].Counters.Captured != 10000 {
				t.Errorf("captured %d records of 10000 writes with none lost", states[0].Counters.Captured)
			}
			for i, s := range states {
				t.Logf("%s: %+v", shared.hosts[i].Name(), s.Counters)
				if i == 0 && s.Counters.Local != 10000 || i > 0 && s.Counters.Local != 0 {
					t.Errorf("%s made %d local versions of 10000 writes on alpha", shared.hosts[i].Name(), s.Counters.Local)
				}
			}
			deletes := "labmap drain"
			do(t, c.agents[1].host, deletes+" %s 0 4000", c.pin) // lookup_and_delete, on another host
			states = c.equal(6000)
			if states[2].Tombstones != 4000 {
				t.Errorf("%d tombstones after 4000 deletes", states[2].Tombstones)
			}
		})
	}
}

// waitForScans returns when every agent has compared its whole map twice more.
func waitForScans(t *testing.T, c *cluster) {
	t.Helper()
	for _, a := range c.agents {
		scans := func() uint64 {
			var answer struct {
				Maps []struct{ Counters struct{ Scans uint64 } }
			}
			if _, err := a.get("/debug/maps", &answer); err != nil {
				t.Fatal(err)
			}
			return answer.Maps[0].Counters.Scans
		}
		before := scans()
		eventually(t, "scanned twice", func() (bool, string) { n := scans(); return n >= before+2, fmt.Sprint(n) })
	}
}

// TestFailedOperations holds that an operation that fails changes nothing anywhere.
func TestFailedOperations(t *testing.T) {
	for _, mode := range []string{"fexit", "fentry"} {
		t.Run(mode, func(t *testing.T) {
			c := newCluster(t, 8, 8, 64, "--scan-interval 2s --capture "+mode)
			do(t, c.agents[0].host, "labmap fail %s", c.pin)
			c.equal(64)
			waitForScans(t, c)
			states := c.equal(64)
			for i, s := range states {
				if want := uint64(64); i == 0 && s.Counters.Local != want || i > 0 && s.Counters.Local != 0 || s.Tombstones != 0 {
					t.Errorf("%s: %d local versions, %d tombstones after 64 writes on alpha and 4 failed operations", shared.hosts[i].Name(), s.Counters.Local, s.Tombstones)
				}
			}
			if mode == "fexit" && states[0].Counters.Failed != 4 {
				t.Errorf("%d failed operations were seen, want 4", states[0].Counters.Failed)
			}
		})
	}
}

// TestSoftirq lets packets insert flows on a host with one CPU whose agent is
// busy applying what two others write. Every flow that the program inserted
// must arrive everywhere.
func TestSoftirq(t *testing.T) {
	c := newCluster(t, 8, 8, 65536, "--scan-interval 5s")
	beta := c.agents[1].host
	if shared.Mode() == lab.Guests {
		oneCPU(t, beta)
	}
	do(t, beta, "bpftool prog load /lab/flows.bpf.o /sys/fs/bpf/track_flows map name flows pinned %s", c.pin)
	do(t, beta, "bpftool net attach xdpgeneric pinned /sys/fs/bpf/track_flows dev eth0")
	t.Cleanup(func() {
		do := func(argv ...string) {
			if _, err := beta.Do(context.Background(), argv...); err != nil {
				t.Error(err)
			}
		}
		do("bpftool", "net", "detach", "xdpgeneric", "dev", "eth0")
		do("labmap", "remove", "/sys/fs/bpf/track_flows")
	})
	together(t, map[*lab.Host]string{
		c.agents[0].host: "labmap contend " + c.pin + " 5000 4 1",
		c.agents[2].host: fmt.Sprintf("labmap send %s 4000 1000 8", beta.Addr()),
	})
	// The last packets may still be on their way when their sender has ended.
	eventually(t, "the flows that the program inserted are on all hosts", func() (bool, string) {
		inserted := do(t, beta, "bpftool map lookup name outcomes key hex 00 00 00 00")
		states := c.equal(-1)
		flows := states[0].Entries - 5000
		state := fmt.Sprintf("%d flows on all hosts, %+v; the program says %s", flows, states, strings.TrimSpace(inserted))
		ok := flows > 0 && (strings.Contains(inserted, fmt.Sprintf("%02x %02x 00 00 00 00 00 00", flows&0xff, flows>>8)) ||
			strings.Contains(inserted, fmt.Sprintf("\"value\": %d\n", flows)))
		if ok {
			t.Log(state)
		}
		return ok, state
	})
}

// oneCPU leaves a guest its first CPU alone until t ends, so that packets
// interrupt whatever runs.
func oneCPU(t *testing.T, h *lab.Host) {
	const online = "/sys/devices/system/cpu/cpu1/online"
	if err := h.WriteFile(t.Context(), online, []byte("0"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.WriteFile(context.Background(), online, []byte("1"), 0o644); err != nil {
			t.Error(err)
		}
	})
}

// TestContention lets all hosts overwrite the same keys at once. They end
// equal, with values that someone wrote for that key.
func TestContention(t *testing.T) {
	for _, mode := range []string{"fexit", "fentry"} {
		t.Run(mode, func(t *testing.T) {
			c := newCluster(t, 8, 32, 1000, "--scan-interval 5s --capture "+mode)
			commands := map[*lab.Host]string{}
			for i, a := range c.agents {
				commands[a.host] = fmt.Sprintf("labmap contend %s 300 20 %d", c.pin, i+1)
			}
			together(t, commands)
			states := c.equal(300)
			for i, a := range c.agents {
				do(t, a.host, "labmap check %s 300 20 1 2 3", c.pin)
				t.Logf("%s: %+v", a.host.Name(), states[i].Counters)
			}
		})
	}
}

// TestSizes replicates the smallest and the largest keys and values, whole.
func TestSizes(t *testing.T) {
	for _, shape := range []struct{ key, value, entries, writes int }{
		{1, 1, 256, 200},
		{512, 8, 1000, 300},
		{4, 65536, 64, 40},
	} {
		t.Run(fmt.Sprintf("key%dvalue%d", shape.key, shape.value), func(t *testing.T) {
			c := newCluster(t, shape.key, shape.value, shape.entries, "")
			do(t, c.agents[1].host, "labmap burst %s 0 %d 1", c.pin, shape.writes)
			c.equal(shape.writes)
			do(t, c.agents[2].host, "labmap burst %s 0 %d 2", c.pin, shape.writes/2)
			// Clocks of hosts differ: a delete is newer only once what it deletes is there.
			c.equal(shape.writes)
			do(t, c.agents[0].host, "labmap drain %s 0 10", c.pin)
			c.equal(shape.writes - 10)
		})
	}
}

// TestPartition writes on both sides of a cut, and on lossy links.
func TestPartition(t *testing.T) {
	c := newCluster(t, 8, 8, 10000, "")
	alpha, beta, gamma := shared.hosts[0], shared.hosts[1], shared.hosts[2]
	t.Cleanup(shared.HealAll)
	shared.Isolate(gamma)
	together(t, map[*lab.Host]string{
		alpha: "labmap burst " + c.pin + " 0 500 1",
		gamma: "labmap burst " + c.pin + " 400 500 2",
	})
	do(t, beta, "labmap await %s 500 %v", c.pin, patience)
	shared.HealAll()
	c.equal(900)
	for _, h := range []*lab.Host{alpha, beta} {
		shared.Drop(h, gamma, 0.2)
	}
	do(t, gamma, "labmap burst %s 2000 1000 3", c.pin)
	c.equal(1900)
}

// TestFullMap: what does not fit stays known, is named, and goes in when room comes.
func TestFullMap(t *testing.T) {
	c := newCluster(t, 4, 4, 100, "")
	small := c.agents[2]
	small.stop(t)
	do(t, small.host, "labmap remove %s", c.pin)
	do(t, small.host, "labmap create %s 4 4 60", c.pin)
	do(t, c.agents[0].host, "labmap burst %s 0 100 1", c.pin)
	c.agents[2] = startAgent(t, small.host, "--map "+c.pin+" --sync-interval 1s --join alpha --cluster "+clusterName(t))
	eventually(t, "told to be full", func() (bool, string) {
		var answer struct{ Maps []mapState }
		_, err := c.agents[2].get("/debug/maps", &answer)
		if err != nil || len(answer.Maps) == 0 {
			return false, fmt.Sprint(err)
		}
		s := answer.Maps[0]
		return s.PendingApply == 40 && s.Entries == 100 && strings.Contains(s.Error, "max_entries"), fmt.Sprintf("%+v", s)
	})
	do(t, c.agents[1].host, "labmap drain %s 0 50", c.pin)
	c.equal(50)
}

// TestCapabilities: an agent that opens its map by pin path needs CAP_BPF and
// CAP_PERFMON, no more.
func TestCapabilities(t *testing.T) {
	h := shared.hosts[2]
	pin := "/sys/fs/bpf/capabilities"
	do(t, h, "labmap create %s 4 4 10", pin)
	t.Cleanup(func() {
		if _, err := h.Do(context.Background(), "labmap", "remove", pin); err != nil {
			t.Error(err)
		}
	})
	with := func(caps string) []string {
		return []string{"setpriv", "--inh-caps=-all", "--bounding-set=-all" + caps}
	}
	a := startAgent(t, h, "--map "+pin+" --capture fexit", with(",+bpf,+perfmon")...)
	a.ready(t)
	do(t, h, "labmap put %s 01020304 05060708", pin)
	eventually(t, "captured", func() (bool, string) { s := a.state(t); return s.Counters.Captured == 1, fmt.Sprint(s) })
	a.stop(t)

	for caps, want := range map[string]string{
		",+bpf": "CAP_PERFMON",
		"":      "CAP_BPF",
	} {
		argv := append(with(caps), "mapgossip", "agent", "--map", pin, "--capture", "fexit")
		out, err := h.Command(t.Context(), argv...).CombinedOutput()
		if code := exitCode(err); code != 3 || !strings.Contains(string(out), want) {
			t.Errorf("with capabilities %q: exit code %d, want 3, and %s in:\n%s", caps, code, want, out)
		}
	}
}
