package main

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/mapgossip/mapgossip"
	"github.com/mapgossip/mapgossip/test/need"
)

// leaveLimit is how long a SIGTERM may take.
const leaveLimit = 10 * time.Second

// TestAgentsReplicate: three agents, three kernel maps, one content.
func TestAgentsReplicate(t *testing.T) {
	t.Parallel()
	dir := need.BPFFS(t)
	names := []string{"a", "b", "c"}
	maps := make(map[string]*ebpf.Map)
	agents := make(map[string]*process)
	key := invoke(t, nil, "keygen").stdout
	keyring := writeFile(t, key, 0o600)
	flags := func(name string) []string {
		return []string{"--map", "flows=" + filepath.Join(dir, name), "--keyring", keyring, "--cluster", "test"}
	}
	for _, name := range names {
		maps[name] = pinMap(t, filepath.Join(dir, name), 8)
	}
	want := map[uint32]uint64{1: 100}
	if err := maps["a"].Put(uint32(1), uint64(100)); err != nil { // before any agent runs
		t.Fatal(err)
	}
	agents["a"] = startAgent(t, "a", flags("a")...)
	agents["a"].wantStatus(t, "runs", func(s mapgossip.Status) bool { return s.Ready })
	agents["b"] = startAgent(t, "b", append(flags("b"), "--join", agents["a"].bind)...)
	wantContent(t, "what a had from before is in b", maps["b"], want)

	for k := uint32(10); k < 100; k++ {
		want[k] = uint64(k) * 3
		if err := maps["b"].Put(k, want[k]); err != nil {
			t.Fatal(err)
		}
	}
	wantContent(t, "what b's programs wrote is in a", maps["a"], want)
	agents["c"] = startAgent(t, "c", append(flags("c"), "--join", agents["b"].bind)...)
	wantContent(t, "c, which came late, has it all", maps["c"], want)

	if err := maps["c"].Delete(uint32(1)); err != nil {
		t.Fatal(err)
	}
	if err := maps["a"].Put(uint32(10), uint64(7)); err != nil {
		t.Fatal(err)
	}
	delete(want, 1)
	want[10] = 7
	for _, name := range names {
		wantContent(t, "a delete of c and an update of a are in "+name, maps[name], want)
	}

	for _, name := range names {
		agents[name].wantStatus(t, "ready, healthy and in sync with both others", func(s mapgossip.Status) bool {
			alive := 0
			for _, state := range states(s) {
				if state == "alive" {
					alive++
				}
			}
			return s.Ready && s.Healthy && s.InSync && alive == 3 && s.Cluster == "test" && s.Maps[0].Entries == len(want)
		})
		at := "--http=" + agents[name].http.String()
		if r := invoke(t, nil, "members", at); r.code != 0 || strings.Count(r.stdout, "alive") != 3 || !strings.Contains(r.stdout, name+" (self)") {
			t.Errorf("members: %+v", r)
		}
		if r := invoke(t, nil, "status", at); r.code != 0 || !strings.Contains(r.stdout, "in sync   yes, with 2 alive members") {
			t.Errorf("status: %+v", r)
		}
		if r := invoke(t, nil, "maps", at); r.code != 0 || !strings.Contains(r.stdout, filepath.Join(dir, name)) {
			t.Errorf("maps: %+v", r)
		}
	}
	if n := strings.Count(agents["a"].log.String(), "msg=\"capture by "); n != 1 {
		t.Errorf("the log says %d times how changes are captured, want once", n)
	}

	// What is written right before a SIGTERM is handed over.
	want[5] = 55
	if err := maps["c"].Put(uint32(5), uint64(55)); err != nil {
		t.Fatal(err)
	}
	wantContent(t, "c's last write is in a", maps["a"], want)
	// A keyring is put in force by SIGHUP; one with a fault changes nothing.
	rewriteFile(t, keyring, "no key\n")
	agents["c"].signal(t, syscall.SIGHUP)
	agents["c"].wantLog(t, "the old keyring stays in force")
	rewriteFile(t, keyring, invoke(t, nil, "keygen").stdout+key)
	for _, name := range names {
		agents[name].signal(t, syscall.SIGHUP)
		agents[name].wantLog(t, "keyring read again")
	}
	want[6] = 66
	if err := maps["b"].Put(uint32(6), uint64(66)); err != nil {
		t.Fatal(err)
	}
	wantContent(t, "a write after the change of keys is in c", maps["c"], want)

	agents["c"].signal(t, syscall.SIGTERM)
	agents["c"].wantExit(t, exitOK, leaveLimit)
	agents["a"].wantStatus(t, "c has left", func(s mapgossip.Status) bool { return states(s)["c"] == "left" })

	// A second signal is not waited for.
	agents["b"].signal(t, syscall.SIGINT)
	eventually(t, "b says that it leaves", func() error { return wantLog(agents["b"], "a second signal exits at once") })
	agents["b"].signal(t, syscall.SIGTERM)
	agents["b"].wantExit(t, exitFailed, leaveLimit)

	agents["a"].signal(t, syscall.SIGTERM)
	agents["a"].wantExit(t, exitOK, leaveLimit)
}

func TestSeedThatDoesNotResolve(t *testing.T) {
	t.Parallel()
	dir := need.BPFFS(t)
	pinMap(t, filepath.Join(dir, "flows"), 8)
	p := startAgent(t, "a", "--map", filepath.Join(dir, "flows"), "--join", "seed.invalid")
	p.wantStatus(t, "the map is bound, the cluster is not joined, and the reason says so", func(s mapgossip.Status) bool {
		return s.Maps[0].Bound && !s.Ready && strings.Contains(strings.Join(s.NotReady, "\n"), "seed.invalid")
	})
	p.signal(t, syscall.SIGTERM)
	p.wantExit(t, exitOK, leaveLimit)
}

func TestSecondMemberWithOneID(t *testing.T) {
	t.Parallel()
	dir := need.BPFFS(t)
	pinMap(t, filepath.Join(dir, "1"), 8)
	pinMap(t, filepath.Join(dir, "2"), 8)
	first := startAgent(t, "a", "--map", "flows="+filepath.Join(dir, "1"))
	first.wantStatus(t, "runs", func(s mapgossip.Status) bool { return s.Ready })
	second := startAgent(t, "a", "--map", "flows="+filepath.Join(dir, "2"), "--join", first.bind)
	second.wantExit(t, exitUsage, patience)
	if said := lastLine(second.log.String()); !strings.HasPrefix(said, "mapgossip: ") || !strings.Contains(said, first.bind) {
		t.Errorf("the second says %q, want a sentence with %s in it", said, first.bind)
	}
	first.wantStatus(t, "goes on", func(s mapgossip.Status) bool { return s.Maps[0].Bound })
	first.signal(t, syscall.SIGTERM)
	first.wantExit(t, exitOK, leaveLimit)
}

// TestShapeThatDiffersFromTheClusters: a member all of whose maps are refused
// ends; one that has another map goes on with that.
func TestShapeThatDiffersFromTheClusters(t *testing.T) {
	t.Parallel()
	dir := need.BPFFS(t)
	pin := func(name string, valueBytes uint32) string {
		pinMap(t, filepath.Join(dir, name), valueBytes)
		return filepath.Join(dir, name)
	}
	acl := pinMap(t, filepath.Join(dir, "acl1"), 8)
	first := startAgent(t, "a", "--map", "flows="+pin("flows1", 8), "--map", "acl="+filepath.Join(dir, "acl1"))
	first.wantStatus(t, "runs", func(s mapgossip.Status) bool { return s.Ready })

	only := startAgent(t, "b", "--map", "flows="+pin("flows2", 16), "--join", first.bind)
	only.wantExit(t, exitUsage, patience)
	if said := lastLine(only.log.String()); !strings.Contains(said, "flows") || !strings.Contains(said, "16 bytes") || !strings.Contains(said, "8 bytes") {
		t.Errorf("last words %q: want the map and both shapes", said)
	}

	other := pinMap(t, filepath.Join(dir, "acl2"), 8)
	both := startAgent(t, "c", "--map", "flows="+pin("flows3", 16), "--map", "acl="+filepath.Join(dir, "acl2"), "--join", first.bind)
	if err := acl.Put(uint32(1), uint64(2)); err != nil {
		t.Fatal(err)
	}
	wantContent(t, "the other map is replicated", other, map[uint32]uint64{1: 2})
	both.wantStatus(t, "tells of the refused map only", func(s mapgossip.Status) bool {
		return strings.Contains(s.Maps[0].Error, "16 bytes") && s.Maps[1].Error == ""
	})
	for _, p := range []*process{both, first} {
		p.signal(t, syscall.SIGTERM)
		p.wantExit(t, exitOK, leaveLimit)
	}
}

func wantLog(p *process, words string) error {
	if !strings.Contains(p.log.String(), words) {
		return errors.New("the log does not have it")
	}
	return nil
}
