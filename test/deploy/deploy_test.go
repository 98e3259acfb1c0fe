package deploy

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mapgossip/mapgossip/test/need"
)

const root = "../.."

// program builds mapgossip as deploy/ does, and returns its path.
func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mapgossip")
	build(t, root, path)
	return path
}

// build runs the command of the Dockerfile in a source tree.
func build(t *testing.T, source, target string, env ...string) {
	t.Helper()
	command := exec.Command("go", "build", "-trimpath", "-buildvcs=true", "-o", target, "./cmd/mapgossip")
	command.Dir = source
	command.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("build mapgossip: %v\n%s", err, out)
	}
}

// files returns what is below deploy/, by path, and SECURITY.md.
func files(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{"SECURITY.md": read(t, "SECURITY.md")}
	err := filepath.WalkDir(filepath.Join(root, "deploy"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, path)
		texts[name] = read(t, name)
		return err
	})
	if err != nil || len(texts) < 8 {
		t.Fatalf("files of deploy/: %d, %v", len(texts), err)
	}
	return texts
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// setting returns the values of all NAME=VALUE lines of that name.
func setting(text, name string) (values []string) {
	for _, found := range regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(name)+`=(.*)$`).FindAllStringSubmatch(text, -1) {
		values = append(values, found[1])
	}
	return values
}

func help(t *testing.T, mapgossip, command string) string {
	t.Helper()
	out, err := exec.Command(mapgossip, command, "--help").Output()
	if err != nil {
		t.Fatalf("mapgossip %s --help: %v", command, err)
	}
	return string(out)
}

// TestNames: every variable is a flag of the agent, every command there is, and
// every flag after a command is one of its own.
func TestNames(t *testing.T) {
	mapgossip := program(t)
	flags := make(map[string]bool)
	for _, found := range regexp.MustCompile(`(?m)^  --([a-z-]+)`).FindAllStringSubmatch(help(t, mapgossip, "agent"), -1) {
		flags[found[1]] = true
	}
	if len(flags) < 15 {
		t.Fatalf("%d flags of agent", len(flags))
	}
	variable := regexp.MustCompile(`\bMAPGOSSIP_([A-Z_]+)`)
	command := regexp.MustCompile(`\bmapgossip ([a-z]+) (--[a-z-]+)`)
	bare := regexp.MustCompile("(?m)(?:[`'/]|^|\\$ )mapgossip (status|keygen|members|maps|agent|remove|version|sync|keys)\\b")
	agent := regexp.MustCompile(`\((--[a-z-]+)\)`)
	seen := 0
	for name, text := range files(t) {
		for _, found := range variable.FindAllStringSubmatch(text, -1) {
			seen++
			if flag := strings.ReplaceAll(strings.ToLower(found[1]), "_", "-"); !flags[flag] {
				t.Errorf("%s: %s: the agent has no flag --%s", name, found[0], flag)
			}
		}
		for _, found := range agent.FindAllStringSubmatch(text, -1) {
			if !flags[found[1][2:]] {
				t.Errorf("%s: the agent has no flag %s", name, found[1])
			}
		}
		for _, found := range command.FindAllStringSubmatch(text, -1) {
			if !regexp.MustCompile(found[2] + `\b`).MatchString(help(t, mapgossip, found[1])) {
				t.Errorf("%s: mapgossip %s has no flag %s", name, found[1], found[2])
			}
		}
		for _, found := range bare.FindAllStringSubmatch(text, -1) {
			help(t, mapgossip, found[1])
		}
	}
	if seen < 15 {
		t.Errorf("%d variables found", seen)
	}
}

// TestExitCodes: what a change of the configuration or of the host would have
// to mend is not tried again.
func TestExitCodes(t *testing.T) {
	mapgossip := program(t)
	text := help(t, mapgossip, "agent")
	for _, line := range []string{"\n  2  usage or configuration", "\n  3  this kernel or these privileges"} {
		if !strings.Contains(text, line) {
			t.Errorf("agent --help does not say %q", line)
		}
	}
	unit := read(t, "deploy/systemd/mapgossip.service")
	if got := setting(unit, "RestartPreventExitStatus"); !slices.Equal(got, []string{"2 3"}) {
		t.Errorf("RestartPreventExitStatus=%q", got)
	}
	err := exec.Command(mapgossip, "agent").Run() // as the unit starts it, without mapgossip.env
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 2 {
		t.Errorf("an agent without a map: %v, want exit code 2", err)
	}
}

// TestUnit: the unit stands up to what systemd can say of it here, and its
// directories are where its variables point.
func TestUnit(t *testing.T) {
	unit := read(t, "deploy/systemd/mapgossip.service")
	for name, want := range map[string]string{
		"Type": "notify", "NoNewPrivileges": "yes", "CapabilityBoundingSet": "CAP_BPF CAP_PERFMON",
		"ExecStart": "/usr/local/bin/mapgossip agent", "EnvironmentFile": "-/etc/mapgossip/mapgossip.env",
		"StateDirectory": "mapgossip", "RuntimeDirectory": "mapgossip", "LimitMEMLOCK": "infinity",
	} {
		if got := setting(unit, name); !slices.Equal(got, []string{want}) {
			t.Errorf("%s=%q, want %q", name, got, want)
		}
	}
	if got, want := setting(unit, "Environment"), []string{"MAPGOSSIP_HTTP=unix:/run/mapgossip/http.sock", "MAPGOSSIP_STATE_DIR=/var/lib/mapgossip"}; !slices.Equal(got, want) {
		t.Errorf("Environment=%q, want %q", got, want)
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		need.Skip(t, "needs systemd-analyze, to verify the unit")
	}
	path := filepath.Join(t.TempDir(), "mapgossip.service")
	text := strings.ReplaceAll(unit, "/usr/local/bin/mapgossip", program(t))
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", path).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// TestManifests: ports, capabilities, probes and names are the program's and
// one another's.
func TestManifests(t *testing.T) {
	set := read(t, "deploy/kubernetes/daemonset.yaml")
	service := read(t, "deploy/kubernetes/service.yaml")
	config := read(t, "deploy/kubernetes/configmap.yaml")
	for _, line := range []string{
		"drop: [ALL]", "add: [BPF, PERFMON]", "allowPrivilegeEscalation: false", "readOnlyRootFilesystem: true",
		"hostNetwork: true", "dnsPolicy: ClusterFirstWithHostNet", "containerPort: 7946", "port: 7947", "path: /readyz",
		"path: /debug/status", "mountPropagation: HostToContainer", "fieldPath: spec.nodeName", "secretName: mapgossip-keyring",
	} {
		if !strings.Contains(set, line) {
			t.Errorf("daemonset.yaml lacks %q", line)
		}
	}
	for _, line := range []string{"clusterIP: None", "publishNotReadyAddresses: true", "port: 7946"} {
		if !strings.Contains(service, line) {
			t.Errorf("service.yaml lacks %q", line)
		}
	}
	for _, line := range []string{"MAPGOSSIP_JOIN: mapgossip.mapgossip.svc:7946", "MAPGOSSIP_HTTP: 127.0.0.1:7947", "MAPGOSSIP_KEYRING: /etc/mapgossip/keyring"} {
		if !strings.Contains(config, line) {
			t.Errorf("configmap.yaml lacks %q", line)
		}
	}
	agent := help(t, program(t), "agent")
	for _, words := range []string{"default 0.0.0.0:7946", "default 127.0.0.1:7947", "CAP_BPF and CAP_PERFMON"} {
		if !strings.Contains(agent, words) {
			t.Errorf("agent --help does not say %q, which deploy/ rests on", words)
		}
	}
}

// TestEnvironmentFile: systemd takes quotes off, docker run --env-file, which the
// Dockerfile names, does not.
func TestEnvironmentFile(t *testing.T) {
	for line := range strings.Lines(read(t, "deploy/systemd/mapgossip.env")) {
		if !strings.HasPrefix(line, "#") && strings.ContainsAny(line, "\"'") {
			t.Errorf("%q has quotes", line)
		}
	}
}
