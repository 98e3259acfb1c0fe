//go:build lab

package lab_test

import (
	"bytes"
	"testing"

	"github.com/mapgossip/mapgossip/test/lab"
)

// The control channel of a guest: files in, files out, one short command.
func BenchmarkControl(b *testing.B) {
	l := start(b, lab.Guests, lab.HostConfig{Name: "a", Kernel: "6.12"})
	a := l.Host("a")
	content := bytes.Repeat([]byte("0123456789abcdef"), 2<<20)
	b.Run("write", func(b *testing.B) {
		b.SetBytes(int64(len(content)))
		for b.Loop() {
			if err := a.WriteFile(b.Context(), "/tmp/f", content, 0o600); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		b.SetBytes(int64(len(content)))
		for b.Loop() {
			if got, err := a.ReadFile(b.Context(), "/tmp/f"); err != nil || len(got) != len(content) {
				b.Fatalf("got %d bytes, %v", len(got), err)
			}
		}
	})
	b.Run("command", func(b *testing.B) {
		for b.Loop() {
			if err := a.Command(b.Context(), "true").Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkBoot(b *testing.B) {
	for b.Loop() {
		if err := start(b, lab.Guests, three...).Close(); err != nil {
			b.Fatal(err)
		}
	}
}
