package lab

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLastWords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console")
	if got := lastWords(path); !strings.Contains(got, "no console") {
		t.Errorf("got %q", got)
	}
	var b bytes.Buffer
	for i := range 10_000 {
		fmt.Fprintf(&b, "line %d\r\n", i)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	got := strings.Split(lastWords(path), "\n")
	if len(got) != 30 || got[29] != "line 9999" || got[0] != "line 9970" {
		t.Errorf("got %d lines: %q", len(got), got)
	}
	b.WriteString("[1.0] Kernel panic - not syncing: why\r\n" + strings.Repeat("trace\r\n", 100))
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	got = strings.Split(lastWords(path), "\n")
	if len(got) != 32 || got[0] != "[1.0] Kernel panic - not syncing: why" || got[31] != "trace" {
		t.Errorf("got %d lines: %q", len(got), got)
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var a tail
	for i := range 20_000 {
		fmt.Fprintf(&a, "%d,", i)
	}
	if got := string(a.bytes()); len(got) != tailBytes || !strings.HasSuffix(got, "19998,19999,") {
		t.Errorf("got %d bytes, ending %q", len(got), got[len(got)-20:])
	}
	if cap(a.kept) > 8*tailBytes {
		t.Errorf("it holds %d bytes", cap(a.kept))
	}
}
