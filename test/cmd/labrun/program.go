package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
)

var errShared = errors.New("it wants shared libraries, and a guest has none")

// architectureOf is what a program of this machine runs on, as Go names it, or "" for one that is no ELF
// file, such as a script. A program that asks for shared libraries is an error: a guest has none.
func architectureOf(path string) (string, error) {
	b, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer b.Close()
	magic := make([]byte, len(elf.ELFMAG))
	if _, err := io.ReadFull(b, magic); err != nil || string(magic) != elf.ELFMAG {
		return "", nil // the guest's kernel judges
	}
	f, err := elf.NewFile(b)
	if err != nil {
		return "", fmt.Errorf("read program %s: %w", path, err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return "", fmt.Errorf("run %s: %w; build it with CGO_ENABLED=0", path, errShared)
		}
	}
	switch f.Machine {
	case elf.EM_X86_64:
		return "amd64", nil
	case elf.EM_AARCH64:
		return "arm64", nil
	}
	return "", fmt.Errorf("run %s: no guest runs programs for %s", path, f.Machine)
}
