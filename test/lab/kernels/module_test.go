package kernels

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/ulikunitz/xz"
)

// module is the smallest file that moduleDepends reads: an ELF header, two section headers
// besides the null one, and .modinfo.
func module(depends string) []byte {
	modinfo := "license=GPL\x00depends=" + depends + "\x00name=x\x00"
	names := "\x00.modinfo\x00.shstrtab\x00"
	const header, section = 64, 64
	at := uint64(header)
	var b bytes.Buffer
	put := func(v any) { binary.Write(&b, binary.LittleEndian, v) }
	b.WriteString("\x7fELF\x02\x01\x01" + string(make([]byte, 9)))
	put([]uint16{1, 62})
	put(uint32(1))
	put([]uint64{0, 0, at + uint64(len(modinfo)+len(names))})
	put(uint32(0))
	put([]uint16{header, 0, 0, section, 3, 2})
	b.WriteString(modinfo + names)
	put(make([]byte, section))
	for _, s := range []struct {
		name, kind uint32
		text       string
	}{{1, 1, modinfo}, {10, 3, names}} {
		put([]uint32{s.name, s.kind})
		put([]uint64{0, 0, at, uint64(len(s.text))})
		put([]uint32{0, 0})
		put([]uint64{1, 0})
		at += uint64(len(s.text))
	}
	return b.Bytes()
}

func writeTree(t *testing.T, builtin string, modules map[string]string) string {
	t.Helper()
	tree := t.TempDir()
	if err := os.WriteFile(filepath.Join(tree, "modules.builtin"), []byte(builtin), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, depends := range modules {
		content := module(depends)
		if filepath.Ext(name) == ".xz" {
			var b bytes.Buffer
			w, err := xz.NewWriter(&b)
			if err != nil {
				t.Fatal(err)
			}
			w.Write(content)
			w.Close()
			content = b.Bytes()
		}
		path := filepath.Join(tree, "kernel", "some", "where", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

func TestTakeModules(t *testing.T) {
	tree := writeTree(t, "kernel/drivers/virtio/virtio_ring.ko\nkernel/drivers/char/virtio_console.ko\n", map[string]string{
		"virtio-pci.ko":    "virtio,virtio-pci-modern,virtio_ring",
		"virtio.ko.xz":     "virtio_ring",
		"virtio_net.ko.xz": "net_failover,virtio",
		"net_failover.ko":  "failover",
		"failover.ko":      "",
		"veth.ko":          "",
		"unrelated.ko":     "",

		"virtio_pci_modern.ko": "virtio",
	})
	to := t.TempDir()
	got, err := takeModules(tree, to)
	want := []string{"virtio.ko", "virtio_pci_modern.ko", "virtio_pci.ko", "failover.ko", "net_failover.ko", "virtio_net.ko", "veth.ko"}
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("got %q, %v", got, err)
	}
	for _, name := range got {
		b, err := os.ReadFile(filepath.Join(to, name))
		if err != nil || !bytes.HasPrefix(b, []byte("\x7fELF")) {
			t.Errorf("%s is not an uncompressed module: %v", name, err)
		}
	}
}

func TestTakeModulesMissing(t *testing.T) {
	for name, modules := range map[string]map[string]string{
		"required":   {"virtio_pci.ko": "", "virtio_console.ko": ""},
		"dependency": {"virtio_pci.ko": "", "virtio_console.ko": "", "virtio_net.ko": "gone"},
	} {
		if _, err := takeModules(writeTree(t, "", modules), t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestModuleMalformed(t *testing.T) {
	good := module("a,b-c")
	if got, err := moduleDepends(good); err != nil || !slices.Equal(got, []string{"a", "b_c"}) {
		t.Fatalf("got %q, %v", got, err)
	}
	for n := range len(good) { // no panic, whatever is cut off
		_, _ = moduleDepends(good[:n])
	}
	if _, err := moduleDepends([]byte("not a module")); err == nil {
		t.Error("text was taken as a module")
	}
}
