package lab

import (
	"slices"
	"testing"
)

func TestParseLDD(t *testing.T) {
	got, err := parseLDD(`	linux-vdso.so.1 (0x00007ffd0a5f2000)
	libelf.so.1 => /lib/x86_64-linux-gnu/libelf.so.1 (0x00007f3c7a2b1000)
	/lib64/ld-linux-x86-64.so.2 (0x00007f3c7a4d5000)

`)
	if want := []string{"/lib/x86_64-linux-gnu/libelf.so.1", "/lib64/ld-linux-x86-64.so.2"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := parseLDD("\tlibnone.so.7 => not found\n"); err == nil {
		t.Error("a missing library was not noticed")
	}
}
