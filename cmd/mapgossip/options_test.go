package main

import (
	"log/slog"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip"
	"github.com/mapgossip/mapgossip/mapwatch"
)

func parsed(t *testing.T, env []string, args ...string) agentOptions {
	t.Helper()
	o, err := parseAgent(args, environmentOf(env))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestAgentDefaults(t *testing.T) {
	got := parsed(t, nil, "--map", "/sys/fs/bpf/flows")
	want := agentOptions{config: mapgossip.DefaultConfig(), http: endpoint{"tcp", "127.0.0.1:7947"}, level: slog.LevelInfo, logFormat: "text"}
	want.config.Maps = []mapgossip.MapConfig{{Name: "flows", Target: "/sys/fs/bpf/flows"}}
	want.config.Version = readBuild().short()
	want.config.Node, _ = os.Hostname()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestAgentFlags(t *testing.T) {
	key := strings.Repeat("A", 22) + "=="
	keyring := writeFile(t, "# ours\n\n"+key+"\n  "+key+"  \n", 0o600)
	got := parsed(t, nil,
		"--map", "flows=name:flows,direction=send,events=update", "--map", "acl=id:7",
		"--join", "lb-0", "--join", "[2001:db8::1]:99", "--join=2001:db8::2",
		"--bind", "192.0.2.1:8000", "--advertise", "198.51.100.1", "--node", "lb-1", "--cluster", "edge",
		"--keyring", keyring, "--http", "unix:/run/mg.sock", "--capture", "scan", "--scan-interval", "500ms",
		"--sync-interval", "1m", "--max-clock-skew", "2s",
		"--tombstone-min-age", "10m", "--forget-after", "2h", "--state-dir", "/var/lib/mapgossip", "--capture-pins", "/sys/fs/bpf/mapgossip",
		"--log-level", "debug", "--log-format", "json", "--check")
	want := agentOptions{
		config: mapgossip.Config{
			Maps: []mapgossip.MapConfig{
				{Name: "flows", Target: "name:flows", MapOptions: mapgossip.MapOptions{Direction: mapgossip.DirectionSend, Events: mapgossip.EventsUpdate}},
				{Name: "acl", Target: "id:7"},
			},
			Node: "lb-1", Cluster: "edge", Version: readBuild().short(),
			Bind: netip.MustParseAddrPort("192.0.2.1:8000"), Advertise: netip.MustParseAddrPort("198.51.100.1:8000"),
			Join: []string{"lb-0", "[2001:db8::1]:99", "2001:db8::2"}, Keyring: [][]byte{make([]byte, 16), make([]byte, 16)},
			Capture: mapwatch.ModeScan, ScanInterval: 500 * time.Millisecond, SyncInterval: time.Minute, MaxClockSkew: 2 * time.Second,
			TombstoneMinAge: 10 * time.Minute, ForgetAfter: 2 * time.Hour, StateDir: "/var/lib/mapgossip", CapturePins: "/sys/fs/bpf/mapgossip",
		},
		http: endpoint{"unix", "/run/mg.sock"}, keyring: keyring, check: true, level: slog.LevelDebug, logFormat: "json",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestAgentEnvironment(t *testing.T) {
	got := parsed(t, []string{
		"MAPGOSSIP_MAP=/sys/fs/bpf/a \t b=id:2", "MAPGOSSIP_JOIN=lb-0\nlb-1:99", "MAPGOSSIP_BIND=192.0.2.1", "MAPGOSSIP_NODE=from-env",
		"MAPGOSSIP_SCAN_INTERVAL=7s", "MAPGOSSIP_MAX_CLOCK_SKEW=", "MAPGOSSIP_CAPTURE=fexit", "MAPGOSSIP_HTTP=",
		"MAPGOSSIP_CHECK=true", "MAPGOSSIP_LOG_LEVEL=warn", "MAPGOSSIP_PORT=tcp://10.0.0.1:80",
	}, "--node", "from-flag", "--join", "seed")
	c := got.config
	if len(c.Maps) != 2 || c.Maps[0].Name != "a" || c.Maps[1].Target != "id:2" {
		t.Errorf("maps %v: want the two of MAPGOSSIP_MAP", c.Maps)
	}
	if len(c.Join) != 1 || c.Join[0] != "seed" || c.Node != "from-flag" {
		t.Errorf("join %v, node %s: want those of the command line", c.Join, c.Node)
	}
	if c.Bind != netip.MustParseAddrPort("192.0.2.1:7946") || c.ScanInterval != 7*time.Second || c.Capture != mapwatch.ModeFexit || !got.check || got.level != slog.LevelWarn {
		t.Errorf("%+v: want what the environment says", got)
	}
	if c.MaxClockSkew != mapgossip.DefaultMaxClockSkew {
		t.Errorf("max clock skew %s: an empty variable counts as not set", c.MaxClockSkew)
	}
	if !got.http.off() {
		t.Errorf("http %s: an empty MAPGOSSIP_HTTP turns it off", got.http)
	}
}

func TestHTTPOff(t *testing.T) {
	if o := parsed(t, []string{"MAPGOSSIP_HTTP=127.0.0.1:1"}, "--map", "a=id:1", "--http="); !o.http.off() {
		t.Errorf("http %s, want off", o.http)
	}
}

// TestBadUsage: each fault has its sentence, exit code 2, and nothing on stdout.
func TestBadUsage(t *testing.T) {
	const address = "want IP or IP:PORT, such as 192.0.2.1, 192.0.2.1:7946 or [2001:db8::1]:7946"
	const duration = "want a duration above zero with its unit, such as 500ms, 10s or 2m"
	ok := []string{"agent", "--node", "n", "--map", "a=id:1"}
	with := func(more ...string) []string { return append(append([]string{}, ok...), more...) }
	for _, test := range []struct {
		args   []string
		env    []string
		stderr []string // lines, without "mapgossip: "
	}{
		{args: []string{"agent", "--node", "n"}, stderr: []string{"no map to replicate: give --map NAME=TARGET at least once"}},
		{args: []string{"agent", "--map", "flows", "--node", "n"}, stderr: []string{`map "flows": want NAME=TARGET, or an absolute pin path`}},
		{args: with("--map", "b=id:2,colour=red"), stderr: []string{`map b: unknown option "colour=red": there are direction=both|send|receive, events=all|update|delete and evict=local|delete`}},
		{args: with("--map", "b=id:2,direction=up"), stderr: []string{`map b: direction "up": want both, send or receive`}},
		{args: with("--map", "a=id:2"), stderr: []string{"map a is configured twice: each map needs a NAME of its own"}},
		{args: with("--map", "b=id:1"), stderr: []string{"maps a and b are one and the same target id:1: replicate it under one name"}},
		{args: with("--bind", "lb-1:7946"), stderr: []string{`--bind "lb-1:7946": ` + address}},
		{args: with("--bind", "10.0.0.1:70000"), stderr: []string{`--bind "10.0.0.1:70000": ` + address}},
		{args: with("--advertise", "10.0.0"), stderr: []string{`--advertise "10.0.0": ` + address}},
		{args: with("--advertise", "0.0.0.0"), stderr: []string{`--advertise "0.0.0.0": other members cannot dial it; give an address of this host`}},
		{args: with("--join", ":7946"), stderr: []string{`--join ":7946": want HOST or HOST:PORT`}},
		{args: with("--join", "lb-1:http"), stderr: []string{`--join "lb-1:http": port "http": want a number from 1 to 65535`}},
		{args: with("--join", "http://lb-1/"), stderr: []string{`--join "http://lb-1/": port "//lb-1/": want a number from 1 to 65535`}},
		{args: with("--http", "7947"), stderr: []string{`--http "7947": want HOST:PORT or unix:PATH`}},
		{args: with("--http", "unix:"), stderr: []string{`--http "unix:": want a path after unix:`}},
		{args: with("--capture", "kprobe"), stderr: []string{`--capture "kprobe": want auto, fexit, fentry or scan`}},
		{args: with("--scan-interval", "5"), stderr: []string{`--scan-interval "5": ` + duration}},
		{args: with("--scan-interval", "0s"), stderr: []string{`--scan-interval "0s": ` + duration}},
		{args: with("--sync-interval", "-1s"), stderr: []string{`--sync-interval "-1s": ` + duration}},
		{args: with("--max-clock-skew", "soon"), stderr: []string{`--max-clock-skew "soon": ` + duration}},
		{args: with("--log-level", "loud"), stderr: []string{`--log-level "loud": want debug, info, warn or error`}},
		{args: with("--log-format", "xml"), stderr: []string{`--log-format "xml": want text or json`}},
		{args: with("--check=perhaps"), stderr: []string{`--check "perhaps": want true or false`}},
		{args: with("--node", "a b"), stderr: []string{`node ID "a b" has the character ' ': use letters, digits and . _ : -`}},
		{args: with("--cluster", ""), stderr: []string{"cluster name is empty"}},
		{args: with("--keyring", "/nonexistent/keys"), stderr: []string{"read keyring /nonexistent/keys: no such file or directory; 'mapgossip keygen > FILE' makes one"}},
		{args: with("--jion", "lb-1"), stderr: []string{"unknown flag --jion: did you mean --join?"}},
		{args: with("--frobnicate"), stderr: []string{"unknown flag --frobnicate: 'mapgossip agent --help' lists all"}},
		{args: with("-map", "b=id:2"), stderr: []string{"unknown flag -map: long flags have two dashes: --map"}},
		{args: with("-x"), stderr: []string{"unknown flag -x: 'mapgossip agent --help' lists all"}},
		{args: with("--join"), stderr: []string{"--join: needs a value; 'mapgossip agent --help' says which"}},
		{args: with("lb-1"), stderr: []string{`unexpected argument "lb-1": agent takes flags only; 'mapgossip agent --help' lists them`}},
		{args: ok, env: []string{"MAPGOSSIP_SCAN_INTERVAL=5", "MAPGOSSIP_CHECK=perhaps", "MAPGOSSIP_JOIN=a :1"}, stderr: []string{
			`MAPGOSSIP_CHECK "perhaps": want true or false`, `MAPGOSSIP_SCAN_INTERVAL "5": ` + duration, `MAPGOSSIP_JOIN ":1": want HOST or HOST:PORT`}},
		{args: []string{"agent", "--node", "", "--cluster", "a/b", "--bind", "x", "--sync-interval", "x"}, stderr: []string{
			`--sync-interval "x": ` + duration, "no map to replicate: give --map NAME=TARGET at least once", `--bind "x": ` + address,
			`cluster name "a/b" has the character '/': use letters, digits and . _ : -`}},

		{args: []string{"members", "--http", ""}, stderr: []string{`--http "": want the address of an agent: HOST:PORT or unix:PATH`}},
		{args: []string{"maps", "-o", "yaml"}, stderr: []string{`--output "yaml": want table or json`}},
		{args: []string{"maps", "-o"}, stderr: []string{"--output: needs a value; 'mapgossip maps --help' says which"}},
		{args: []string{"version", "-o", "yaml"}, stderr: []string{`--output "yaml": want table or json`}},
		{args: []string{"status"}, env: []string{"MAPGOSSIP_OUTPUT=yaml"}, stderr: []string{`MAPGOSSIP_OUTPUT "yaml": want table or json`}},
		{args: []string{"status", "now"}, stderr: []string{`unexpected argument "now": status takes flags only; 'mapgossip status --help' lists them`}},
		{args: []string{"keygen", "3"}, stderr: []string{`unexpected argument "3": keygen takes flags only; 'mapgossip keygen --help' lists them`}},
	} {
		t.Run(strings.Join(append(test.env, test.args...), " "), func(t *testing.T) {
			var want strings.Builder
			for _, line := range test.stderr {
				want.WriteString("mapgossip: " + line + "\n")
			}
			wantResult(t, invoke(t, test.env, test.args...), result{2, "", want.String()})
		})
	}
}

func TestParseAddress(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"192.0.2.1", "192.0.2.1:1"}, {"192.0.2.1:5", "192.0.2.1:5"}, {"2001:db8::1", "[2001:db8::1]:1"},
		{"[2001:db8::1]", "[2001:db8::1]:1"}, {"[2001:db8::1]:5", "[2001:db8::1]:5"}, {"[fe80::1%eth0]:5", "[fe80::1%eth0]:5"}, {"::", "[::]:1"},
	} {
		got, err := parseAddress(test.text, 1)
		if err != nil || got.String() != test.want {
			t.Errorf("parseAddress(%q) = %v, %v, want %s", test.text, got, err, test.want)
		}
	}
	for _, text := range []string{"", "host", "192.0.2.1:", ":5", "[192.0.2.1", "192.0.2.1:5:5"} {
		if got, err := parseAddress(text, 1); err == nil {
			t.Errorf("parseAddress(%q) = %v, want an error", text, got)
		}
	}
}
