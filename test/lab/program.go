package lab

import (
	"context"
	"debug/elf"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// programFiles are a program of this machine, by name, and all that it needs to run.
func programFiles(ctx context.Context, name string) ([]file, error) {
	at := findTool(name)
	if at == name {
		return nil, fmt.Errorf("put program %s into guests: this machine has none; lab.Install may bring it", name)
	}
	files := []file{{path: at, local: at}}
	dynamic, err := isDynamic(at)
	if err != nil {
		return nil, fmt.Errorf("put program %s into guests: %w", at, err)
	}
	if dynamic {
		out, err := exec.CommandContext(ctx, "ldd", at).Output()
		if err != nil {
			return nil, fmt.Errorf("find the libraries of %s with ldd: %w", at, err)
		}
		libraries, err := parseLDD(string(out))
		if err != nil {
			return nil, fmt.Errorf("find the libraries of %s: %w", at, err)
		}
		for _, l := range libraries {
			files = append(files, file{path: l, local: l})
		}
	}
	if name == "busybox" {
		out, err := exec.CommandContext(ctx, at, "--list").Output()
		if err != nil {
			return nil, fmt.Errorf("list the applets of busybox: %w", err)
		}
		for applet := range strings.FieldsSeq(string(out)) {
			files = append(files, file{path: "/bin/" + applet, link: at})
		}
	}
	return files, nil
}

// isDynamic: the program asks for a loader.
func isDynamic(path string) (bool, error) {
	f, err := elf.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return true, nil
		}
	}
	return false, nil
}

// parseLDD returns the paths in what ldd prints: "libz.so.1 => /lib/…/libz.so.1 (0x…)" or, for the
// loader, "/lib64/ld-linux-x86-64.so.2 (0x…)".
func parseLDD(out string) (paths []string, err error) {
	for line := range strings.Lines(out) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if len(words) >= 3 && words[1] == "=>" {
			words = words[2:]
		}
		switch {
		case filepath.IsAbs(words[0]):
			paths = append(paths, words[0])
		case words[0] == "not":
			return nil, fmt.Errorf("library missing: %s", strings.TrimSpace(line))
		}
	}
	return paths, nil
}
