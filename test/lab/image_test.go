package lab

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/cavaliergopher/cpio"
)

func TestWriteArchive(t *testing.T) {
	local := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(local, []byte("\x7fELF"), 0o751); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	err := writeArchive(&b, []file{
		{path: "/init", local: local},
		{path: "/etc/hosts"},
		{path: "/lab/deep/er", content: []byte("text")},
		{path: "/lab/deep/er", content: []byte("second: does not count")},
		{path: "/bin/sh", link: "/bin/busybox"},
	})
	if err != nil {
		t.Fatal(err)
	}
	type entry struct {
		name string
		mode cpio.FileMode
		body string
	}
	want := []entry{
		{"init", cpio.TypeReg | 0o751, "\x7fELF"},
		{"etc", cpio.TypeDir | 0o755, ""},
		{"etc/hosts", cpio.TypeReg | 0o644, ""},
		{"lab", cpio.TypeDir | 0o755, ""},
		{"lab/deep", cpio.TypeDir | 0o755, ""},
		{"lab/deep/er", cpio.TypeReg | 0o644, "text"},
		{"bin", cpio.TypeDir | 0o755, ""},
		{"bin/sh", cpio.TypeSymlink | 0o777, "/bin/busybox"},
	}
	r := cpio.NewReader(&b)
	for _, w := range want {
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if h.Linkname != "" { // the reader has taken it
			body = []byte(h.Linkname)
		}
		if err != nil || h.Name != w.name || h.Mode != w.mode || string(body) != w.body {
			t.Errorf("got %s %o %q, want %+v: %v", h.Name, h.Mode, body, w, err)
		}
	}
	if h, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("more than that: %v, %v", h, err)
	}
}

func TestWriteArchiveMissingFile(t *testing.T) {
	if err := writeArchive(io.Discard, []file{{path: "/x", local: "/no/such/file"}}); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
}
