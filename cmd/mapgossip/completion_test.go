package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mapgossip/mapgossip"
)

func TestComplete(t *testing.T) {
	at := agentAt(t, answers{
		"GET /debug/maps":    text(t, mapsAnswer{[]mapgossip.MapStatus{{Name: "flows"}, {Name: "acl"}}}),
		"GET /debug/members": text(t, membersAnswer{[]mapgossip.Member{{Node: "lb-1", Self: true}, {Node: "lb-2"}, {Node: "lb-3"}}}),
		"GET /debug/keys":    text(t, keysReply{[]mapgossip.MemberKeys{{Keys: []string{"bb", "aa"}}, {Keys: []string{"aa"}}}}),
	})
	for _, test := range []struct{ words, want string }{
		{"st|", "status"},
		{"s|", "status scan sync"},
		{"-|", "--help --version"},
		{"help ke|", "keys keygen"},
		{"frobnicate |", ""},
		{"get |", "flows acl"},
		{"get f|", "flows"},
		{"get flows |", ""},
		{"get flows --m|", "--members"},
		{"dump -o |", "table json"},
		{"dump --output j|", "json"},
		{"dump --output=j|", "--output=json"},
		{"dump --output = j|", "json"},
		{"dump --output =|", "table json"},
		{"dump --tombstones a|", "acl"},
		{"diff flows |", "lb-2 lb-3"},
		{"remove |", "lb-2 lb-3"},
		{"watch |", "flows acl :files"},
		{"keys |", "list install use remove"},
		{"keys use |", "aa bb"},
		{"keys install |", ":files"},
		{"completion |", "bash zsh fish"},
		{"agent --keyring |", ":files"},
		{"agent --capture s|", "scan"},
		{"agent --node |", ""},
		{"scan --http nowhere |", ""},
		{"scan --http 127.0.0.1:1 |", ""},
		{"agent |", ""},
		{"keygen |", ""},
	} {
		words := strings.Split(strings.TrimSuffix(test.words, "|"), " ")
		r := invoke(t, []string{"MAPGOSSIP_HTTP=" + at}, append([]string{completeWord}, words...)...)
		wantResult(t, r, result{0, strings.Join(append(strings.Fields(test.want), ""), "\n"), ""})
		if t.Failed() {
			t.Fatalf("after %q", test.words)
		}
	}
	wantResult(t, invoke(t, nil, "completion", "bash"), result{0, script(t, "bash"), ""})
}

func script(t *testing.T, shell string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("completion", shell))
	must(t, err)
	return string(b)
}

// TestCompletionInShells runs the scripts in the shells that this host has; bash
// is everywhere. The program is the test binary under its name.
func TestCompletionInShells(t *testing.T) {
	at := agentAt(t, answers{"GET /debug/maps": text(t, mapsAnswer{[]mapgossip.MapStatus{{Name: "flows"}, {Name: "flaws"}, {Name: "acl"}}})})
	self, err := os.Executable()
	must(t, err)
	folder := t.TempDir()
	must(t, os.Symlink(self, filepath.Join(folder, "mapgossip")))
	must(t, os.WriteFile(filepath.Join(folder, "new key"), nil, 0o600))
	for shell, drive := range map[string]string{
		// As readline does: words, which of them the cursor is in, then the function.
		"bash": `source <(mapgossip completion bash)
try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _mapgossip; echo "${COMPREPLY[*]}"; }
try mapgossip get fl; try mapgossip get flows -o ""; try mapgossip dump --output = j; try mapgossip keys install new`,
		"fish": `mapgossip completion fish | source
for line in "mapgossip get fl" "mapgossip get flows -o " "mapgossip dump --output=j" "mapgossip keys install new"
	complete -C "$line" | cut -f 1 | sort -r | string join " "
end; true`,
		"zsh": `autoload -Uz compinit && compinit -u -d /dev/null; source <(mapgossip completion zsh)
compadd() { shift; while [[ $1 == -* ]]; do shift; done; print -r -- ${found[*]}; }; _files() { print -r -- "new key"; }; compset() { : }
try() { words=("$@"); CURRENT=$#; _mapgossip; }
try mapgossip get fl; try mapgossip get flows -o ""; try mapgossip dump --output=j; try mapgossip keys install new`,
	} {
		path, err := exec.LookPath(shell)
		if err != nil && shell != "bash" {
			t.Logf("%s is not here: not tried", shell)
			continue
		}
		must(t, err)
		command := exec.CommandContext(t.Context(), path, "-c", drive)
		command.Dir = folder
		command.Env = append(os.Environ(), "PATH="+folder+":"+os.Getenv("PATH"), asProgram+"=1", "MAPGOSSIP_HTTP="+at, "HOME="+folder)
		var stderr bytes.Buffer
		command.Stderr = &stderr
		out, err := command.Output()
		if err != nil {
			t.Errorf("%s: %v %s", shell, err, &stderr)
		}
		json := map[string]string{"bash": "json", "fish": "--output=json", "zsh": "--output=json"}[shell]
		want := "flows flaws\ntable json\n" + json + "\nnew key\n"
		if got := strings.ReplaceAll(string(out), "new\\ key", "new key"); got != want || stderr.Len() > 0 {
			t.Errorf("%s: %q, want %q; stderr %s", shell, got, want, &stderr)
		}
	}
}
