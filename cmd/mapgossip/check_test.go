package main

import (
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/mapgossip/mapgossip/test/need"
)

// pinProgram pins something that is no map.
func pinProgram(t *testing.T, path string) {
	t.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SocketFilter, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	if err := program.Pin(path); err != nil {
		t.Fatal(err)
	}
}

// TestBadMaps: what cannot be replicated is told in one line, by the agent and
// by --check alike, and ends with code 2.
func TestBadMaps(t *testing.T) {
	t.Parallel()
	dir := need.BPFFS(t)
	good := filepath.Join(dir, "good")
	pinMap(t, good, 8)
	perCPU := filepath.Join(dir, "percpu")
	pinSpec(t, perCPU, &ebpf.MapSpec{Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 8, MaxEntries: 4})
	program := filepath.Join(dir, "program")
	pinProgram(t, program)
	port := freePort(t)
	taken, err := net.Listen("tcp", freePort(t))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	busy := taken.Addr().String()

	for name, test := range map[string]struct {
		args []string
		want []string // a pattern a line
	}{
		"unknown ID":    {[]string{"--map", "a=id:4294967295"}, []string{`map a: open map id:4294967295: .*`}},
		"program":       {[]string{"--map", program}, []string{`map program: open map \S+/program: .*not a BPF map.*`}},
		"per CPU":       {[]string{"--map", perCPU}, []string{`map percpu: open map \S+/percpu: .*percpu_array.*CPU.*`}},
		"evict":         {[]string{"--map", good + ",evict=delete"}, []string{`map good: .*evict=delete is for maps of type lru_hash; this one is hash.*`}},
		"target":        {[]string{"--map", "a=flows"}, []string{`map a: .*flows.*`}},
		"two at once":   {[]string{"--map", program, "--map", perCPU}, []string{"map program: .*", "map percpu: .*"}},
		"one map twice": {[]string{"--map", good, "--map", "b=" + dir + "/../bpf/good"}, []string{"map b: configuration: maps good and b are one and the same kernel map [0-9]+: .*"}},
		"port taken":    {[]string{"--map", good, "--bind", busy}, []string{".*" + regexp.QuoteMeta(busy) + ".*another process has this port.*"}},
		"not our IP":    {[]string{"--map", good, "--bind", "192.0.2.1:1"}, []string{".*192.0.2.1:1.*no interface of this host.*"}},
		"HTTP taken":    {[]string{"--map", good, "--http", busy}, []string{"listen on --http " + regexp.QuoteMeta(busy) + ": another process has this address: .*"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, more := range [][]string{{}, {"--check"}} {
				// The last of a flag that is no list counts.
				args := append([]string{"agent", "--node", "n", "--log-level", "error", "--bind", port, "--http", ""}, append(test.args, more...)...)
				r := invoke(t, nil, args...)
				pattern := "^mapgossip: " + strings.Join(test.want, "\nmapgossip: ") + "\n$"
				if r.code != exitUsage || !regexp.MustCompile(pattern).MatchString(r.stderr) {
					t.Errorf("%v: code %d, stderr:\n%s\nwant 2, %s", more, r.code, r.stderr, pattern)
				}
			}
		})
	}
}

// TestCheckMissingMap: a map that is not there is no fault, the agent waits for it.
func TestCheckMissingMap(t *testing.T) {
	t.Parallel()
	dir := need.BPFFS(t)
	pinMap(t, filepath.Join(dir, "good"), 8)
	args := []string{"agent", "--check", "--node", "n", "--bind", freePort(t), "--http", "", "--capture", "scan"}
	missing := `(?m)^map +none: the agent would wait for it: open map \S+/none: not found: nothing is pinned there.*$`
	for _, test := range []struct {
		maps []string
		want []string
	}{
		{[]string{"--map", dir + "/none"}, []string{missing, `(?m)^capture +not tried: there is no map yet$`}},
		{[]string{"--map", dir + "/none", "--map", dir + "/good"}, []string{missing, `(?m)^map +good: `, `(?m)^capture +scan, because `}},
		{[]string{"--map", "none=name:nosuchmap"}, []string{`(?m)^map +none: the agent would wait for it: open map name:nosuchmap: not found: .*$`}},
	} {
		r := invoke(t, nil, append(args, test.maps...)...)
		if r.code != exitOK || r.stderr != "" {
			t.Errorf("%v: code %d, stderr %s", test.maps, r.code, r.stderr)
		}
		for _, want := range test.want {
			if !regexp.MustCompile(want).MatchString(r.stdout) {
				t.Errorf("%v:\n%s\nwant %s", test.maps, r.stdout, want)
			}
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	dir := need.BPFFS(t)
	flows := pinMap(t, filepath.Join(dir, "flows"), 8)
	info, err := flows.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	port := freePort(t)
	args := []string{"agent", "--check", "--node", "lb-1", "--bind", port, "--advertise", port, "--http", "unix:" + dir + "/../s",
		"--map", "flows=" + dir + "/flows", "--join", "127.0.0.1:1", "--join", "seed.invalid", "--keyring", writeFile(t, invoke(t, nil, "keygen").stdout, 0o600), "--log-level", "error"}
	for range 2 { // what it bound it has released
		r := invoke(t, nil, append(args, "--capture", "scan")...)
		if r.code != 0 || r.stderr != "" {
			t.Fatalf("code %d, stderr %s", r.code, r.stderr)
		}
		text := regexp.MustCompile(`\(.*\) at present`).ReplaceAllString(r.stdout, "(WHY) at present")
		text = regexp.MustCompile(`because .*`).ReplaceAllString(text, "because WHY")
		text = strings.NewReplacer(dir, "DIR", port, "PORT", fmt.Sprintf("id %d", id), "id N").Replace(text)
		golden(t, "check.txt", text)
	}

	// With hooks asked for, the answer is this machine's: attached, or refused by
	// its policy or for want of trampolines.
	r := invoke(t, nil, append(args, "--capture", "fexit")...)
	refused := regexp.MustCompile(`^mapgossip: capture map changes: capture by fexit: (load the capture programs|attach to kernel function \w+): .*(this host's policy refuses trampolines .*; change the policy or|this kernel has no trampolines for BPF programs .*;) use capture mode scan: .*\n$`)
	switch {
	case r.code == exitOK && strings.Contains(r.stdout, "\ncapture  fexit\n"):
	case r.code == exitKernel && refused.MatchString(r.stderr) && strings.Contains(r.stdout, "the agent would not start"):
	default:
		t.Errorf("--capture fexit: %+v", r)
	}
}
