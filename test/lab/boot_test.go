//go:build lab

package lab_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mapgossip/mapgossip/test/lab"
	"github.com/mapgossip/mapgossip/test/lab/kernels"
)

// Each series boots, and does what is asked of it on its command line. The lab has seen to the
// latter; this looks at the words again.
func TestBoot(t *testing.T) {
	hosts := []lab.HostConfig{
		{Name: "a", Kernel: "5.10", Lockdown: lab.LockdownIntegrity},
		{Name: "b", Kernel: "6.1", Preempt: lab.PreemptNone},
		{Name: "c", Kernel: "6.12", Preempt: lab.PreemptFull},
		{Name: "d", Kernel: "6.18", Lockdown: lab.LockdownConfidentiality},
		{Name: "e", Kernel: kernels.Newest, Preempt: lab.PreemptFull},
	}
	l := start(t, lab.Auto, hosts...)
	if m := l.Mode(); m != lab.Guests {
		t.Errorf("mode is %s: this machine is no such host", m)
	}
	for i, h := range l.Hosts() {
		c := hosts[i]
		if c.Kernel != kernels.Newest && !strings.HasPrefix(h.Kernel(), c.Kernel+".") {
			t.Errorf("host %s asked for kernel %s, has %s", h.Name(), c.Kernel, h.Kernel())
		}
		for _, check := range []struct{ asked, path, want string }{
			{string(c.Preempt), "/sys/kernel/debug/sched/preempt", "(" + string(c.Preempt) + ")"},
			{string(c.Lockdown), "/sys/kernel/security/lockdown", "[" + string(c.Lockdown) + "]"},
		} {
			if check.asked == "" {
				continue
			}
			out, err := h.Do(deadline(t), "cat", check.path, "/proc/cmdline")
			if err != nil || !strings.Contains(out, check.want) || !strings.Contains(out, "="+check.asked+" ") {
				t.Errorf("kernel %s: got %q, %v, want %s", h.Kernel(), out, err, check.want)
			}
		}
	}
}

// What a kernel passes over on its command line is an error.
func TestBootRefused(t *testing.T) {
	t.Setenv("MAPGOSSIP_LAB", "")
	for _, h := range []lab.HostConfig{
		{Name: "no-choice", Kernel: "5.10", Preempt: lab.PreemptFull},
		{Name: "no-such", Kernel: "6.12", Preempt: lab.PreemptLazy},
	} {
		l, err := lab.New(deadline(t), lab.Config{Hosts: []lab.HostConfig{h}, Progress: t.Output()})
		if !errors.Is(err, lab.ErrPreempt) || l != nil {
			t.Errorf("%s: got %v", h.Name, err)
		}
		t.Log(err)
	}
}

// A guest of each architecture runs Go programs made for it; both are on one network.
func TestArchitectures(t *testing.T) {
	t.Setenv("MAPGOSSIP_LAB", "")
	if err := lab.Install(t.Context(), t.Output(), lab.Emulator("amd64"), lab.Emulator("arm64")); err != nil {
		t.Fatal(err)
	}
	hosts := []lab.HostConfig{{Name: "a", Kernel: "6.12", Arch: "amd64"}, {Name: "b", Kernel: "6.12", Arch: "arm64"}}
	files := make(map[string]string)
	for _, h := range hosts {
		program := filepath.Join(t.TempDir(), "kernels.test")
		if err := lab.BuildFor(t.Context(), h.Arch, program, "./kernels", "test"); err != nil {
			t.Fatal(err)
		}
		files["/lab/kernels.test-"+h.Arch] = program
	}
	l, err := lab.New(deadline(t), lab.Config{Hosts: hosts, Files: files, Mode: lab.Guests, Progress: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for i, h := range l.Hosts() {
		if arch := hosts[i].Arch; !strings.HasSuffix(h.Kernel(), "-"+arch) {
			t.Errorf("host %s asked for %s, has %s", h.Name(), arch, h.Kernel())
		}
		out, err := h.Do(deadline(t), "kernels.test-"+hosts[i].Arch, "-test.v")
		if err != nil || !strings.Contains(out, "--- PASS: TestTakeModules ") || !strings.HasSuffix(out, "\nPASS\n") {
			t.Errorf("%s: %v\n%s", hosts[i].Arch, err, out)
		}
		other := l.Hosts()[1-i]
		_, err = h.DialContext(deadline(t), "tcp", other.Addr().String()+":9")
		if err == nil || !strings.Contains(err.Error(), "connection refused") { // said by the other's kernel
			t.Errorf("%s to %s: %v", h.Name(), other.Name(), err)
		}
	}
}
