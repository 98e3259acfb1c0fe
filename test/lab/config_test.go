package lab

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	t.Setenv(modeVariable, "")
	folder := t.TempDir()
	program := filepath.Join(folder, "p")
	if err := os.WriteFile(program, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	good := Config{
		Hosts: []HostConfig{{Name: "a", Kernel: "6.1"}, {Name: "b-2", Kernel: "6.12", CPUs: 1, MemoryMB: 512}},
		Files: map[string]string{"/lab/p": program},
	}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	bad := Config{
		Hosts:   []HostConfig{{Name: "a b"}, {Name: "a", Kernel: "6.1", MemoryMB: 1}, {Name: "a", Kernel: "6.1"}},
		Files:   map[string]string{"/bin/p": program, "/lab/../etc/p": program, "/lab/x": filepath.Join(folder, "none"), "/lab/y": folder},
		Mode:    "both",
		Network: netip.MustParsePrefix("fd00::/64"),
	}
	err := bad.Validate()
	if err == nil {
		t.Fatal("no fault found")
	}
	for _, want := range []string{
		`host name "a b"`, "host a b: no kernel", "256 MB", `"a": given twice`, `"/bin/p"`, `"/lab/../etc/p"`,
		"/lab/x: stat", "not a regular file", `mode "both"`, "fd00::/64",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing about %s in:\n%v", want, err)
		}
	}
	if err := (Config{}).Validate(); err == nil {
		t.Error("a lab without hosts")
	}
	many := Config{Network: netip.MustParsePrefix("10.0.0.0/30"), Hosts: []HostConfig{{Name: "a", Kernel: "6.1"}, {Name: "b", Kernel: "6.1"}, {Name: "c", Kernel: "6.1"}}}
	if err := many.Validate(); err == nil {
		t.Error("three hosts in a network for two")
	}
}

func TestEnvironmentChoosesMode(t *testing.T) {
	t.Setenv(modeVariable, "native")
	if c := (Config{Mode: Guests}).withDefaults(); c.Mode != Native {
		t.Errorf("got %q", c.Mode)
	}
	t.Setenv(modeVariable, "neither")
	if err := (Config{Hosts: []HostConfig{{Name: "a", Kernel: "6.1"}}}).Validate(); err == nil {
		t.Error("a mode that does not exist")
	}
}
