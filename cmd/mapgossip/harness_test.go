package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	_ "github.com/mapgossip/mapgossip/test/raceproc"
)

// asProgram makes the test binary be the program: so agents of tests run as
// processes of their own, with the race detector, and nothing has to be built.
const asProgram = "MAPGOSSIP_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) == "1" {
		main()
	}
	os.Exit(m.Run())
}

// result is what a run of the program left behind.
type result struct {
	code           int
	stdout, stderr string
}

// invoke runs the program in this process, without an environment but env.
func invoke(t *testing.T, env []string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), args, env, &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// wantResult compares exit code and both outputs.
func wantResult(t *testing.T, got, want result) {
	t.Helper()
	if got.code != want.code {
		t.Errorf("exit code %d, want %d", got.code, want.code)
	}
	if got.stdout != want.stdout {
		t.Errorf("stdout:\n%s\nwant:\n%s", got.stdout, want.stdout)
	}
	if got.stderr != want.stderr {
		t.Errorf("stderr:\n%s\nwant:\n%s", got.stderr, want.stderr)
	}
}

// golden compares text with testdata/name. UPDATE_GOLDEN=1 writes it instead:
// then read the difference before it is committed.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE_GOLDEN") == "1" {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s differs (UPDATE_GOLDEN=1 writes it anew); got:\n%s\nwant:\n%s", path, text, want)
	}
}

// writeFile makes a file of that mode for one test.
func writeFile(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// rewriteFile replaces what a file says, and keeps its mode.
func rewriteFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0); err != nil {
		t.Fatal(err)
	}
}

func cancelled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
