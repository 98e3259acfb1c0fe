//go:build guest

package mapwatch

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// withCapabilities runs fn on a thread of its own that has only these.
func withCapabilities(t testing.TB, fn func() error, capabilities ...int) error {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		defer close(done)      // also after t.FailNow
		runtime.LockOSThread() // not unlocked: the thread ends with the goroutine
		var sets [2]unix.CapUserData
		for _, c := range capabilities {
			sets[c/32].Effective |= 1 << (c % 32)
			sets[c/32].Permitted |= 1 << (c % 32)
		}
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		if err := unix.Capset(&header, &sets[0]); err != nil {
			done <- err
			return
		}
		done <- fn()
	}()
	return <-done
}

// olderKernels are the capabilities that kernels before 5.12 ask for besides: to
// see addresses of the kernel's variables, and for memory.
func olderKernels(t testing.TB) []int {
	t.Helper()
	version, err := features.LinuxVersionCode()
	must(t, err)
	if version >= 5<<16|12<<8 {
		return nil
	}
	return []int{unix.CAP_SYSLOG, unix.CAP_SYS_RESOURCE}
}

func TestWatchPrivileges(t *testing.T) {
	h := openTestHost(t)
	m, opened := newTestMap(t, h, 4, 4, 4)
	watch := func() error {
		w, err := h.Watch([]Map{opened}, Options{Mode: ModeFexit})
		if err != nil {
			return err
		}
		tw := &testWatch{Watch: w, t: t, h: h}
		if err := m.Put(key32(1), key32(1)); err != nil {
			return err
		}
		tw.want("with few capabilities", "0 update 00000001=00000001")
		return w.Close()
	}
	more := olderKernels(t)
	if err := withCapabilities(t, watch, append(more, unix.CAP_BPF, unix.CAP_PERFMON)...); err != nil {
		t.Errorf("with CAP_BPF and CAP_PERFMON: %v", err)
	}
	if err := withCapabilities(t, watch, append(more, unix.CAP_SYS_ADMIN)...); err != nil {
		t.Errorf("with CAP_SYS_ADMIN: %v", err)
	}
	for _, test := range []struct {
		capabilities []int
		says         string
	}{
		{nil, "lacks CAP_BPF and CAP_PERFMON;"},
		{[]int{unix.CAP_BPF}, "lacks CAP_PERFMON;"},
		{[]int{unix.CAP_PERFMON}, "lacks CAP_BPF;"},
	} {
		err := withCapabilities(t, watch, append(more, test.capabilities...)...)
		if !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("capabilities %v: %v", test.capabilities, err)
		}
	}
	if len(more) > 0 {
		err := withCapabilities(t, watch, unix.CAP_BPF, unix.CAP_PERFMON)
		if !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), "CAP_SYS") {
			t.Errorf("without what an older kernel asks for: %v", err)
		}
	}
	err := withCapabilities(t, func() error {
		w, err := h.Watch([]Map{opened}, Options{})
		if err != nil {
			return err
		}
		if w.Mode() != ModeScan || !strings.Contains(w.Reason(), "CAP_PERFMON") {
			t.Errorf("auto without capabilities: mode %s, reason %q", w.Mode(), w.Reason())
		}
		return w.Close()
	}, more...)
	must(t, err)
}
