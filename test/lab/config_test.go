package lab

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mapgossip/mapgossip/test/lab/kernels"
)

func TestValidate(t *testing.T) {
	t.Setenv(modeVariable, "")
	folder := t.TempDir()
	program := filepath.Join(folder, "p")
	if err := os.WriteFile(program, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	good := Config{
		Hosts: []HostConfig{
			{Name: "a", Kernel: "6.1", Preempt: PreemptFull}, {Name: "b-2", Kernel: "6.12", CPUs: 1, MemoryMB: 512, Lockdown: LockdownIntegrity},
			{Name: "c", Kernel: kernels.Newest, Arch: "arm64"}, {Name: "d", Kernel: kernels.Newest, Arch: "amd64"},
		},
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
	boot := Config{Mode: Native, Programs: []string{"busybox"}, Hosts: []HostConfig{
		{Name: "a", Arch: "riscv64"}, {Name: "b", Preempt: "some"}, {Name: "c", Lockdown: "some"},
		{Name: "d", Lockdown: LockdownIntegrity, Preempt: PreemptFull},
	}}
	err = boot.Validate()
	if err == nil {
		t.Fatal("no fault found")
	}
	for _, want := range []string{
		`a: architecture "riscv64"`, "a: namespaces", "a: this machine's programs (busybox)", `b: preemption "some"`,
		`c: lockdown "some"`, "d: a kernel in lockdown", "d: namespaces have",
	} {
		if !strings.Contains(err.Error(), "host "+want) {
			t.Errorf("nothing about %s in:\n%v", want, err)
		}
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
