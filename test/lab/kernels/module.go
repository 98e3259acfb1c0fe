package kernels

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ulikunitz/xz"
)

// required are the modules without which a guest is deaf; wanted are those that tests of
// networks use. What the kernel has built in is neither looked for nor loaded.
var (
	required = []string{"virtio_pci", "virtio_console", "virtio_net"}
	wanted   = []string{"tun", "veth", "bridge", "sch_netem", "sch_ingress", "cls_bpf"}
)

// takeModules copies the modules, uncompressed, with what they depend on, from a module tree
// (lib/modules/<release>) to a folder, and returns their file names in the order to load them.
func takeModules(tree, to string) ([]string, error) {
	t := moduleTree{files: make(map[string]string), builtin: make(map[string]bool), taken: make(map[string]bool), to: to}
	err := filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if name, found := moduleName(path); found {
				t.files[name] = path
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list modules: %w", err)
	}
	list, err := os.ReadFile(filepath.Join(tree, "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("list modules: %w", err)
	}
	for line := range strings.Lines(string(list)) {
		if name, found := moduleName(strings.TrimSpace(line)); found {
			t.builtin[name] = true
		}
	}
	for _, name := range required {
		if err := t.take(name); err != nil {
			return nil, err
		}
	}
	for _, name := range wanted {
		if err := t.take(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return t.order, nil
}

// moduleName turns a path into the name that the kernel uses, in which dashes are underscores.
func moduleName(path string) (string, bool) {
	base := strings.TrimSuffix(filepath.Base(path), ".xz")
	name, found := strings.CutSuffix(base, ".ko")
	return strings.ReplaceAll(name, "-", "_"), found
}

type moduleTree struct {
	files   map[string]string // name to path
	builtin map[string]bool
	taken   map[string]bool
	to      string
	order   []string
}

// take copies a module after those that it depends on. fs.ErrNotExist when the kernel has it neither
// built in nor as a file.
func (t *moduleTree) take(name string) error {
	if t.taken[name] || t.builtin[name] {
		return nil
	}
	path, found := t.files[name]
	if !found {
		return fmt.Errorf("take module %s: %w", name, fs.ErrNotExist)
	}
	t.taken[name] = true // before its dependencies: a circle ends
	content, err := readModule(path)
	if err != nil {
		return err
	}
	depends, err := moduleDepends(content)
	if err != nil {
		return fmt.Errorf("read module %s: %w", path, err)
	}
	for _, d := range depends {
		if err := t.take(d); err != nil {
			return err
		}
	}
	t.order = append(t.order, name+".ko")
	return os.WriteFile(filepath.Join(t.to, name+".ko"), content, 0o644)
}

func readModule(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var b bytes.Buffer
	if filepath.Ext(path) != ".xz" {
		_, err = b.ReadFrom(f)
		return b.Bytes(), err
	}
	r, err := xz.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", path, err)
	}
	if _, err := b.ReadFrom(r); err != nil {
		return nil, fmt.Errorf("unpack %s: %w", path, err)
	}
	return b.Bytes(), nil
}

// moduleDepends reads the names in a module's own words (section .modinfo, as modinfo(8) shows it).
func moduleDepends(module []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil, err
	}
	s := f.Section(".modinfo")
	if s == nil {
		return nil, errors.New("it has no .modinfo")
	}
	b, err := s.Data()
	if err != nil {
		return nil, err
	}
	return dependsOf(b), nil
}

func dependsOf(modinfo []byte) (names []string) {
	for word := range strings.SplitSeq(string(modinfo), "\x00") {
		list, found := strings.CutPrefix(word, "depends=")
		if !found {
			continue
		}
		for name := range strings.SplitSeq(list, ",") {
			if name != "" {
				names = append(names, strings.ReplaceAll(name, "-", "_"))
			}
		}
	}
	return names
}
