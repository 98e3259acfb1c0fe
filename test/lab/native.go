package lab

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// NativeTrampolines tells whether fentry and fexit programs can be used on this machine itself, by
// really loading and attaching one of each, since some policies and kernels refuse only then. nil: they
// can. Takes some 50 ms.
func NativeTrampolines() error {
	if err := rlimit.RemoveMemlock(); err != nil { // before Linux 5.11
		return fmt.Errorf("trampolines on this machine: %w", err)
	}
	for _, kind := range []ebpf.AttachType{ebpf.AttachTraceFEntry, ebpf.AttachTraceFExit} {
		err := tryTrampoline(kind)
		if errors.Is(err, unix.EPERM) { // ebpf's own text blames RLIMIT_MEMLOCK
			err = fmt.Errorf("load program: %w (not root, or a policy of this machine)", unix.EPERM)
		}
		if err != nil {
			return fmt.Errorf("trampolines on this machine: %s: %w", kind, err)
		}
	}
	return nil
}

func tryTrampoline(kind ebpf.AttachType) error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "lab_probe", Type: ebpf.Tracing, AttachType: kind, AttachTo: "htab_map_update_elem",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		License:      "GPL",
	})
	if err != nil {
		return err
	}
	defer p.Close()
	l, err := link.AttachTracing(link.TracingOptions{Program: p})
	if err != nil {
		return err
	}
	return l.Close()
}

// choose settles the mode, and checks that this machine can do it.
func choose(c Config) (Mode, error) {
	switch c.Mode {
	case Native:
		return Native, nativePossible()
	case Guests:
		return Guests, guestsPossible(c)
	}
	if i := slices.IndexFunc(c.Hosts, HostConfig.wantsGuest); i >= 0 {
		fmt.Fprintf(c.Progress, "hosts are guests under emulation: host %s wants what this machine's kernel is not\n", c.Hosts[i].Name)
		return Guests, guestsPossible(c)
	}
	native := nativePossible()
	if native == nil {
		native = NativeTrampolines()
	}
	if native == nil {
		return Native, nil
	}
	fmt.Fprintf(c.Progress, "hosts are guests under emulation; not this machine itself: %v\n", native)
	return Guests, guestsPossible(c)
}

// wantsGuest: namespaces of this machine cannot be such a host.
func (h HostConfig) wantsGuest() bool {
	return h.Arch != runtime.GOARCH || h.Preempt != "" || h.Lockdown != ""
}

func nativePossible() error {
	if os.Geteuid() != 0 {
		return errors.New("namespaces need root")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return fmt.Errorf("namespaces need TAP devices: %w; load the module tun", err)
	}
	return nil
}

func guestsPossible(c Config) error {
	for _, h := range c.Hosts {
		e, found := emulatorOf(h.Arch)
		if !found {
			return fmt.Errorf("host %s: no guests of architecture %s", h.Name, h.Arch)
		}
		if findTool(e.program) == e.program {
			return fmt.Errorf("guests need %s: not found; lab.Install brings it (Debian package %s)", e.program, e.debian)
		}
	}
	return nil
}
