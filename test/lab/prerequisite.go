package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Prerequisite is a program of this machine that labs use.
type Prerequisite struct {
	Program string
	Package string // of Debian
	Why     string
}

// Emulator is the program that runs guests of that architecture, "" if there is none. Name it to
// Missing and Install where that is not this machine's.
func Emulator(arch string) string {
	e, _ := emulatorOf(arch)
	return e.program
}

// packages has the programs that a lab, or a Config.Programs, may name.
func packages() []Prerequisite {
	all := []Prerequisite{
		{"bpftool", "bpftool", "reads maps back on the hosts"},
		{"busybox", "busybox-static", "gives the hosts a shell"},
		{"setpriv", "util-linux", "takes capabilities away on the hosts"},
	}
	for _, e := range emulators() {
		all = append(all, Prerequisite{e.program, e.debian, "runs " + e.arch + " hosts with kernels of their own"})
	}
	return all
}

// Missing returns what this machine lacks of what a lab with these programs
// needs: the emulator too, unless the hosts are namespaces of this machine.
func Missing(programs ...string) (missing []Prerequisite) {
	if mode, _ := choose(Config{Mode: Mode(os.Getenv(modeVariable)), Progress: io.Discard}); mode != Native {
		programs = append([]string{Emulator(runtime.GOARCH)}, programs...)
	}
	for _, p := range packages() {
		if slices.Contains(programs, p.Program) && findTool(p.Program) == p.Program {
			missing = append(missing, p)
		}
	}
	return missing
}

// Install installs what is Missing, from Debian's archive, as root. It says
// what and why on w first; nothing is said or done when nothing is missing.
func Install(ctx context.Context, w io.Writer, programs ...string) error {
	missing := Missing(programs...)
	if len(missing) == 0 {
		return nil
	}
	var packages []string
	for _, p := range missing {
		fmt.Fprintf(w, "missing: %s, which %s (package %s)\n", p.Program, p.Why, p.Package)
		packages = append(packages, p.Package)
	}
	line := "apt-get install --no-install-recommends " + strings.Join(packages, " ")
	if os.Geteuid() != 0 {
		return fmt.Errorf("install what is missing: not root; run: sudo %s", line)
	}
	fmt.Fprintf(w, "running: %s\n", line)
	install := append([]string{"install", "-q", "-y", "--no-install-recommends"}, packages...)
	if err := apt(ctx, install...); err == nil {
		return nil
	}
	// The package lists may be old, or, in a fresh container, absent.
	if err := apt(ctx, "update", "-q"); err != nil {
		return err
	}
	return apt(ctx, install...)
}

// apt runs apt-get; what it prints is in the error.
func apt(ctx context.Context, arguments ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", arguments...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return fmt.Errorf("install what is missing: %w; install it by this machine's own means", err)
		}
		return fmt.Errorf("apt-get %s: %w\n%s", arguments[0], err, out)
	}
	return nil
}

// findTool looks where root's tools are, too. Not found: the name itself.
func findTool(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		if abs, err := filepath.Abs(path); err == nil {
			return abs
		}
	}
	for _, folder := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(folder, name)); err == nil {
			return path
		}
	}
	return name
}
