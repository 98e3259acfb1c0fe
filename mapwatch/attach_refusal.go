//go:build linux

package mapwatch

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

const (
	lockdownPath = "/sys/kernel/security/lockdown"
	btfPath      = "/sys/kernel/btf/vmlinux"
)

const (
	// kernelFloor is the first kernel that lets programs read its variables
	// (LINUX_VERSION_CODE of 5.10); before, own writes could not be told.
	kernelFloor = 5<<16 | 10<<8
	// memlockEnd is the first kernel on which maps and programs count as memory of
	// the control group and not against RLIMIT_MEMLOCK (5.11).
	memlockEnd = 5<<16 | 11<<8
)

// checkHost finds the reasons against trampolines that can be told without
// trying, and returns the kernel's LINUX_VERSION_CODE. Before 5.11 it makes room
// for the programs in this process's RLIMIT_MEMLOCK.
// Errors: ErrPermission, ErrUnsupported.
func checkHost() (uint32, error) {
	version, err := features.LinuxVersionCode()
	if err != nil {
		return 0, fmt.Errorf("read the kernel's version: %w: %w", err, ErrUnsupported)
	}
	if version < memlockEnd {
		if err := raiseMemlock(); err != nil {
			return 0, fmt.Errorf("hook the kernel's map functions: kernel %d.%d counts maps and programs against RLIMIT_MEMLOCK, which cannot be raised (%w); run with CAP_SYS_RESOURCE, or use capture mode scan: %w",
				version>>16, version>>8&0xff, err, ErrPermission)
		}
	}
	lockdown, err := os.ReadFile(lockdownPath)
	if err != nil {
		// Without securityfs nobody can tell; loading will.
		lockdown = nil
	}
	return version, checkKernel(version, string(lockdown))
}

// raiseMemlock does nothing where there is no limit.
func raiseMemlock() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return err
	}
	if limit.Cur == unix.RLIM_INFINITY {
		return nil
	}
	return unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
}

// checkKernel is checkHost on given facts: LINUX_VERSION_CODE and the content
// of /sys/kernel/security/lockdown.
func checkKernel(version uint32, lockdown string) error {
	if version < kernelFloor {
		return fmt.Errorf("hook the kernel's map functions: kernel %d.%d does not let programs read its variables (5.10 does), so that our own writes cannot be told from those of others; use capture mode scan or a newer kernel: %w",
			version>>16, version>>8&0xff, ErrUnsupported)
	}
	if strings.Contains(lockdown, "[confidentiality]") {
		return fmt.Errorf("hook the kernel's map functions: the kernel is locked down for confidentiality (%s) and lets no BPF program read its memory; use capture mode scan, or boot with lockdown=integrity or none: %w", lockdownPath, ErrPermission)
	}
	return nil
}

// hasRecursionGuard reports whether the kernel skips a program that runs already
// on the CPU, and counts that (5.12, struct bpf_prog_stats in include/linux/filter.h).
func hasRecursionGuard(kernel *btf.Spec) bool {
	var stats *btf.Struct
	return kernel.TypeByName("bpf_prog_stats", &stats) == nil && hasMember(stats, "misses")
}

// kernelTypes reads the kernel's BTF. ErrUnsupported if there is none.
func kernelTypes(types *btf.Cache) (*btf.Spec, error) {
	if _, err := os.Stat(btfPath); errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read the kernel's type information: %s is not there: the kernel was built without CONFIG_DEBUG_INFO_BTF, or this container has no /sys; use capture mode scan or another kernel: %w", btfPath, ErrUnsupported)
	}
	kernel, err := types.Kernel()
	if err != nil {
		return nil, fmt.Errorf("read the kernel's type information from %s: %w: %w", btfPath, err, ErrUnsupported)
	}
	return kernel, nil
}

// explainRefusal makes a sentence of an error of bpf(2). The loader's own text
// is left out for EPERM: it guesses at RLIMIT_MEMLOCK, which newer kernels do not
// look at and checkHost has raised for the older ones.
func explainRefusal(action string, err error) error {
	var verifier *ebpf.VerifierError
	switch {
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) && !errors.As(err, &verifier):
		missing, capErr := missingCapabilities()
		return explainEPERM(action, missing, capErr)
	case errors.As(err, &verifier):
		return fmt.Errorf("%s: the kernel's verifier refused them, which is a fault of mapgossip on this kernel: %w; use capture mode scan and report it: %w", action, err, ErrUnsupported)
	case errors.Is(err, unix.EBUSY) || errors.Is(err, unix.E2BIG):
		return fmt.Errorf("%s: %w: other tools hold it, or have attached all the programs that it takes (38), or this kernel has no room for a hook there; use capture mode scan, or stop the other tools: %w", action, err, ErrUnsupported)
	case errors.Is(err, unix.ENOMEM):
		return fmt.Errorf("%s: %w: the kernel has no memory for the ring or the programs; choose a smaller ring or raise the memory limit of the control group: %w", action, err, ErrUnsupported)
	default:
		return fmt.Errorf("%s: %w: this kernel has no trampolines for BPF programs (CONFIG_BPF_JIT and CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS give them); use capture mode scan: %w", action, err, ErrUnsupported)
	}
}

// explainEPERM makes a sentence of an EPERM, given the capabilities that the
// process lacks.
func explainEPERM(action string, missing []string, capErr error) error {
	switch {
	case capErr != nil:
		return fmt.Errorf("%s: the kernel answered EPERM; CAP_BPF and CAP_PERFMON are needed (reading our own: %w): %w", action, capErr, ErrPermission)
	case len(missing) > 0:
		return fmt.Errorf("%s: the kernel answered EPERM and this process lacks %s; grant what it lacks (or CAP_SYS_ADMIN), or use capture mode scan: %w", action, strings.Join(missing, " and "), ErrPermission)
	default:
		return fmt.Errorf("%s: the kernel answered EPERM although this process has CAP_BPF and CAP_PERFMON: this host's policy refuses trampolines (seccomp, an LSM, a user namespace or a hypervisor's policy); change the policy or use capture mode scan: %w", action, ErrPermission)
	}
}

// missingCapabilities names which of CAP_BPF and CAP_PERFMON are not effective.
// CAP_SYS_ADMIN stands for both.
func missingCapabilities() ([]string, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return nil, fmt.Errorf("capget: %w", err)
	}
	effective := uint64(sets[1].Effective)<<32 | uint64(sets[0].Effective)
	return lackingCapabilities(effective), nil
}

func lackingCapabilities(effective uint64) []string {
	if effective>>unix.CAP_SYS_ADMIN&1 == 1 {
		return nil
	}
	var missing []string
	if effective>>unix.CAP_BPF&1 == 0 {
		missing = append(missing, "CAP_BPF")
	}
	if effective>>unix.CAP_PERFMON&1 == 0 {
		missing = append(missing, "CAP_PERFMON")
	}
	return missing
}
