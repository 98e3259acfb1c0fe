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
	array := filepath.Join(dir, "array")
	pinSpec(t, array, &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 4})
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
		"unknown pin":   {[]string{"--map", dir + "/none"}, []string{`map none: open map \S+/none: .*`}},
		"unknown ID":    {[]string{"--map", "a=id:4294967295"}, []string{`map a: open map id:4294967295: .*`}},
		"unknown name":  {[]string{"--map", "a=name:nosuchmap"}, []string{`map a: open map name:nosuchmap: .*`}},
		"program":       {[]string{"--map", program}, []string{`map program: open map \S+/program: .*not a BPF map.*`}},
		"array":         {[]string{"--map", array}, []string{`map array: open map \S+/array: .*array.*`}},
		"target":        {[]string{"--map", "a=flows"}, []string{`map a: .*flows.*`}},
		"two at once":   {[]string{"--map", program, "--map", array}, []string{"map program: .*", "map array: .*"}},
		"one map twice": {[]string{"--map", good, "--map", "b=" + dir + "/../bpf/good"}, []string{"maps good and b are one and the same kernel map [0-9]+: .*"}},
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

	// With hooks asked for, the answer is this machine's: attached or refused.
	r := invoke(t, nil, append(args, "--capture", "fexit")...)
	switch {
	case r.code == exitOK && strings.Contains(r.stdout, "\ncapture  fexit\n"):
	case r.code == exitKernel && strings.HasPrefix(r.stderr, "mapgossip: capture map changes: ") && strings.Contains(r.stdout, "the agent would not start"):
	default:
		t.Errorf("--capture fexit: %+v", r)
	}
}
