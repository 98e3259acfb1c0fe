package kernels

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestLoad(t *testing.T) {
	folder := t.TempDir()
	if _, err := load(folder, wish{"6.1", "amd64"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("empty: got %v", err)
	}
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(folder, manifestName), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"Format": 1, "Release": "6.1.0-50-cloud-amd64", "Package": "p 1 (s)", "Modules": ["b.ko", "a.ko"]}`)
	k, err := load(folder, wish{"6.1", "amd64"})
	if err != nil || k.Release != "6.1.0-50-cloud-amd64" || k.Series != "6.1" || k.Arch != "amd64" || k.Image != filepath.Join(folder, "vmlinuz") ||
		!slices.Equal(k.Modules, []string{filepath.Join(folder, "b.ko"), filepath.Join(folder, "a.ko")}) {
		t.Errorf("got %+v, %v", k, err)
	}
	// A cached kernel needs no network and no apt.
	root := filepath.Dir(folder)
	if err := os.Rename(folder, filepath.Join(root, "6.1")); err != nil {
		t.Fatal(err)
	}
	if k, err = fetch(t.Context(), root, wish{"6.1", "amd64"}, nil); err != nil || k.Package != "p 1 (s)" {
		t.Errorf("got %+v, %v", k, err)
	}
	// Another architecture has a place of its own.
	folder = filepath.Join(root, "6.1-arm64")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	write(`{"Format": 1, "Release": "6.1.0-50-cloud-arm64"}`)
	if k, err = fetch(t.Context(), root, wish{"6.1", "arm64"}, nil); err != nil || k.Release != "6.1.0-50-cloud-arm64" || k.Arch != "arm64" {
		t.Errorf("got %+v, %v", k, err)
	}
	folder = filepath.Join(root, "6.1")
	write(`{"Format": 0}`)
	if _, err := load(folder, wish{"6.1", "amd64"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of an older format: got %v", err)
	}
	write(`{`)
	if _, err := load(folder, wish{"6.1", "amd64"}); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("damaged: got %v", err)
	}
}
