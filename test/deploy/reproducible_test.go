//go:build reproducible

package deploy

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestReproducible: two clones in directories of different names, built with
// caches of their own, give one program, which knows its revision. Everything is
// compiled twice, which takes minutes.
func TestReproducible(t *testing.T) {
	dir := t.TempDir()
	var programs [2][]byte
	for i, name := range []string{"one", "another/place"} {
		source, target := filepath.Join(dir, name), filepath.Join(dir, strings.ReplaceAll(name, "/", "-")+".out")
		if out, err := exec.Command("git", "clone", "-q", "--no-hardlinks", root, source).CombinedOutput(); err != nil {
			t.Fatalf("clone: %v\n%s", err, out)
		}
		build(t, source, target, "GOCACHE="+filepath.Join(dir, "cache", name))
		program, err := os.ReadFile(target)
		if err != nil {
			t.Fatal(err)
		}
		programs[i] = program
		out, err := exec.Command(target, "version").Output()
		if err != nil || !strings.Contains(string(out), " revision ") || strings.Contains(string(out), "dirty") {
			t.Errorf("version: %v, %s", err, out)
		}
	}
	if !bytes.Equal(programs[0], programs[1]) {
		t.Errorf("%d and %d bytes, not the same", len(programs[0]), len(programs[1]))
	}
}
