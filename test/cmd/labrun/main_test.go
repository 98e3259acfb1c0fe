package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/test/lab"
)

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestParse(t *testing.T) {
	script := write(t, "script", "#!/bin/sh\n")
	r, err := parse([]string{
		"-kernel", "6.1", "-preempt", "full", "-cpus", "1", "-timeout", "5s", "-env", "A=1", "-env", "B=2",
		"-file", "x=/etc/hostname", "-file", "/etc/hosts", "-tool", "bpftool", "--", script, "-v", "--",
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if want := (lab.HostConfig{Name: "guest", Kernel: "6.1", Arch: runtime.GOARCH, Preempt: "full", CPUs: 1, MemoryMB: 768}); r.host != want {
		t.Errorf("host: got %+v, want %+v", r.host, want)
	}
	if want := []string{"/lab/script", "-v", "--"}; !slices.Equal(r.argv, want) {
		t.Errorf("command: got %q, want %q", r.argv, want)
	}
	if want := []string{"MAPGOSSIP_NO_SKIP=1", "A=1", "B=2"}; !slices.Equal(r.env, want) {
		t.Errorf("environment: got %q, want %q", r.env, want)
	}
	if len(r.files) != 3 || r.files["/lab/script"] != script || r.files["/lab/x"] != "/etc/hostname" || r.files["/lab/hosts"] != "/etc/hosts" {
		t.Errorf("files: got %q", r.files)
	}
	if want := []string{"busybox", "bpftool"}; !slices.Equal(r.tools, want) || r.timeout != 5*time.Second {
		t.Errorf("got %q, %v", r.tools, r.timeout)
	}
	if r, err = parse([]string{"uname", "-r"}, io.Discard); err != nil || r.argv[0] != "uname" || len(r.files) != 0 {
		t.Errorf("of the guest: got %+v, %v", r, err)
	}
	for _, wrong := range [][]string{nil, {"-kernel", "6.1"}, {"-speed", "x"}, {"--", "./no-such-file"}} {
		if _, err := parse(wrong, io.Discard); err == nil {
			t.Errorf("%q was taken", wrong)
		}
	}
}

// A program is looked at before a guest boots in vain.
func TestArchitectureOf(t *testing.T) {
	program := func(machine byte, interpreter bool) string {
		header := make([]byte, 64+56)
		copy(header, "\x7fELF\x02\x01\x01")
		header[16], header[18], header[20] = 2, machine, 1 // executable
		header[32], header[52], header[54] = 64, 64, 56    // where program headers are, sizes
		if interpreter {
			header[56], header[64] = 1, 3 // one, PT_INTERP
		}
		return write(t, "program", string(header))
	}
	for path, want := range map[string]string{
		program(62, false):                "amd64",
		program(183, false):               "arm64",
		write(t, "script", "#!/bin/sh\n"): "",
		write(t, "empty", ""):             "",
	} {
		if got, err := architectureOf(path); got != want || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	if _, err := architectureOf(program(62, true)); !errors.Is(err, errShared) {
		t.Errorf("of a dynamic one: %v", err)
	}
	for _, path := range []string{program(40, false), write(t, "cut", "\x7fELF\x02"), "/no/such"} {
		if got, err := architectureOf(path); err == nil {
			t.Errorf("%s: got %q", path, got)
		}
	}
}

func TestStatus(t *testing.T) {
	for want, err := range map[int]error{
		0:   nil,
		3:   fmt.Errorf("run: %w", &lab.ExitError{Code: 3}),
		137: &lab.ExitError{Code: -1, Signal: syscall.SIGKILL},
		125: lab.ErrDown,
	} {
		if got := status(err); got != want {
			t.Errorf("%v: got %d, want %d", err, got, want)
		}
	}
}
