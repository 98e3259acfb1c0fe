package test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/mapgossip/mapgossip"

// bans are the arrows that must not be, each with its reason. A package is
// named by its path below the module ("" is the root), an import by a prefix
// of its path.
var bans = []struct {
	in      string
	imports string
	except  []string
	why     string
}{
	{"crdt", module, []string{module + "/crdt"}, "crdt is pure meaning: it imports nothing of ours"},
	{"crdt", "net", nil, "crdt has no socket"},
	{"crdt", "os", nil, "crdt has no file, no process"},
	{"crdt", "log", nil, "crdt has no log"},
	{"crdt", "sync", nil, "crdt has no goroutine: one owner calls it"},
	{"crdt", "context", nil, "crdt never waits"},
	{"state", module, []string{module + "/crdt", module + "/state"}, "state owns a directory and knows entries, nothing else of ours"},
	{"state", "net", nil, "state has no network"},
	{"state", "time", nil, "state has no clock: the caller says when"},
	{"mapwatch", module + "/crdt", nil, "mapwatch owns the kernel and knows nothing of entries"},
	{"mapwatch", module + "/gossip", nil, "mapwatch knows nothing of members"},
	{"mapwatch", "net", []string{"net/netip"}, "mapwatch has no network; it shows addresses"},
	{"gossip", module + "/mapwatch", nil, "gossip owns the network and knows nothing of maps in a kernel"},
	{"mapwatch", module + "/state", nil, "mapwatch has no file of the agent's"},
	{"gossip", module + "/state", nil, "gossip has no file"},
	{"cmd/mapgossip", module + "/state", nil, "the program asks the Node, not the directory"},
	{"gossip", "github.com/cilium/ebpf", nil, "only mapwatch makes bpf(2) calls"},
	{"", "github.com/cilium/ebpf", nil, "only mapwatch makes bpf(2) calls"},
	{"", "github.com/hashicorp", nil, "only gossip imports memberlist"},
	{"", "github.com/vmihailenco/msgpack", nil, "only gossip encodes frames"},
	{"", "net/http", nil, "HTTP is the program's, not the library's"},
	{"", "github.com/spf13/pflag", nil, "flags are the program's, not the library's"},
	{"cmd/mapgossip", "github.com/cilium/ebpf", nil, "only mapwatch makes bpf(2) calls"},
	{"cmd/mapgossip", "github.com/hashicorp", nil, "only gossip imports memberlist"},
	{"cmd/mapgossip", module + "/crdt", nil, "the program asks the Node, not the store"},
}

// TestArrows holds who may import whom. Tests of a package are free.
func TestArrows(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	packages := 0
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		path := strings.TrimPrefix(strings.TrimPrefix(fields[0], module), "/")
		packages++
		if strings.HasPrefix(path, "test/") {
			continue
		}
		for _, imported := range fields[1:] {
			if strings.HasPrefix(imported, module+"/test") || strings.HasPrefix(imported, module+"/cmd") {
				t.Errorf("%s imports %s: nothing depends on tests or programs", fields[0], imported)
			}
			for _, ban := range bans {
				below := path == ban.in || ban.in != "" && strings.HasPrefix(path, ban.in+"/")
				if below && within(imported, ban.imports) && !slices.ContainsFunc(ban.except, func(e string) bool { return within(imported, e) }) {
					t.Errorf("%s imports %s: %s", fields[0], imported, ban.why)
				}
			}
		}
		if path == "crdt" {
			for _, imported := range fields[1:] {
				if strings.Contains(strings.SplitN(imported, "/", 2)[0], ".") {
					t.Errorf("crdt imports %s: it has the standard library only", imported)
				}
			}
		}
	}
	if packages < 8 {
		t.Errorf("go list found %d packages", packages)
	}
}

// within reports whether path is prefix or below it.
func within(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}
