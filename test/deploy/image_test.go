package deploy

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/mapgossip/mapgossip/test/need"
)

// TestDockerfile: the image is built the way that this package builds, and holds
// one file.
func TestDockerfile(t *testing.T) {
	text := read(t, "deploy/Dockerfile")
	for _, line := range []string{
		"RUN CGO_ENABLED=0 go build -trimpath -buildvcs=true -o /mapgossip ./cmd/mapgossip",
		"FROM scratch\nCOPY --from=build /mapgossip /mapgossip\n",
		"EXPOSE 7946/tcp 7946/udp", "ENTRYPOINT [\"/mapgossip\"]", "CMD [\"agent\"]",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("the Dockerfile lacks %q", line)
		}
	}
	_, image, _ := strings.Cut(text, "FROM scratch")
	if n := strings.Count(image, "COPY "); n != 1 {
		t.Errorf("%d files in the image, want one", n)
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))
	if version == nil || !strings.Contains(text, "ARG GO_VERSION="+version[1]+"\n") {
		t.Errorf("the Dockerfile builds with another Go than go.mod asks for, %q", version)
	}
	// A file that is committed and left out of the context makes the version dirty.
	if read(t, ".dockerignore") != read(t, ".gitignore") {
		t.Error(".dockerignore and .gitignore differ")
	}
}

// TestImageRoot runs the program in a root directory with what the image has,
// which is itself.
func TestImageRoot(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	build(t, root, filepath.Join(dir, "mapgossip"))
	run := func(args ...string) (string, int) {
		t.Helper()
		var out bytes.Buffer
		command := exec.Command("/mapgossip", args...)
		command.Dir, command.Env = "/", []string{}
		command.Stdout, command.Stderr = &out, &out
		command.SysProcAttr = &syscall.SysProcAttr{Chroot: dir}
		if err := command.Run(); command.ProcessState == nil {
			t.Fatalf("run %q: %v", args, err)
		}
		return out.String(), command.ProcessState.ExitCode()
	}
	if out, code := run("version"); code != 0 || !strings.HasPrefix(out, "mapgossip ") {
		t.Errorf("version: code %d, %s", code, out)
	}
	if out, code := run("keygen"); code != 0 || len(out) != 45 {
		t.Errorf("keygen: code %d", code)
	}
	if out, code := run("agent"); code != 2 || !strings.Contains(out, "no map to replicate") {
		t.Errorf("agent: code %d, %s", code, out)
	}
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	out, code := run("agent", "--map", "/flows", "--state-dir", "/state", "--bind", "127.0.0.1:0", "--http", "", "--check")
	if code != 0 || !strings.Contains(out, "the agent would start, and wait for 1 of 1 maps") {
		t.Errorf("agent --check: code %d, %s", code, out)
	}
}
