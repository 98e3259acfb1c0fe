//go:build linux

package mapwatch

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// errNotSupp is the kernel's internal ENOTSUPP, which bpf(2) lets out.
const errNotSupp = unix.Errno(524)

// explain turns what bpf(2) answered to an operation on m into a sentence and a
// sentinel. m.mu must be held.
func (m *hostMap) explain(verb string, err error) error {
	s := m.shape
	switch {
	case errors.Is(err, unix.EBADF):
		return errClosed(verb, s)
	case errors.Is(err, unix.E2BIG) && s.Type == TypeArray:
		return fmt.Errorf("%s map %s: %w: an array of max_entries = %d has no element of that index; load it with a greater max_entries", verb, s.Target, ErrFull, s.MaxEntries)
	case errors.Is(err, unix.E2BIG), errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("%s map %s: %w: it holds max_entries = %d elements; delete some or load it with a greater max_entries", verb, s.Target, ErrFull, s.MaxEntries)
	case errors.Is(err, unix.EPERM):
		return m.explainPermission(verb)
	case errors.Is(err, errUnsettled):
		return fmt.Errorf("%s map %s: %w: others change it faster than it can be read; try again", verb, s.Target, ErrBusy)
	case transient(err):
		return fmt.Errorf("%s map %s: %w: other writers hold the bucket (%w); try again", verb, s.Target, ErrBusy, err)
	case errors.Is(err, unix.ENOMEM):
		return fmt.Errorf("%s map %s: %w: the kernel has no memory for the element at the moment (%w); try again", verb, s.Target, ErrBusy, err)
	default:
		return fmt.Errorf("%s map %s: %w", verb, s.Target, err)
	}
}

func (m *hostMap) explainPermission(verb string) error {
	s := m.shape
	if m.readOnly {
		return fmt.Errorf("%s map %s: %w: the file mode of the pin lets this process only read; change it with chmod or chown, or replicate with direction=send", verb, s.Target, ErrFrozen)
	}
	if info, err := m.m.Info(); err == nil && info.Frozen() {
		return fmt.Errorf("%s map %s: %w by BPF_MAP_FREEZE, which cannot be undone: load a new map", verb, s.Target, ErrFrozen)
	}
	return fmt.Errorf("%s map %s: %w", verb, s.Target, errNoBPF())
}

// errNoBPF explains that bpf(2) answers EPERM to whatever is asked.
func errNoBPF() error {
	missing, err := missingCapabilities()
	if err != nil || slices.Contains(missing, "CAP_BPF") {
		return fmt.Errorf("%w: run with CAP_BPF (kernel.unprivileged_bpf_disabled is set)", ErrPermission)
	}
	return fmt.Errorf("%w: this process has CAP_BPF, so a seccomp filter or a security module refuses bpf(2). "+
		"Without CAP_SYS_ADMIN the default profiles of Podman and CRI-O do, and those of Docker before 23 and containerd before 1.7: "+
		"run it with --security-opt seccomp=unconfined (Kubernetes: seccompProfile type Unconfined) or a profile that allows bpf", ErrPermission)
}

func errClosed(verb string, s Shape) error {
	return fmt.Errorf("%s map %s: %w: the handle was closed", verb, s.Target, ErrGone)
}

// transient tells errors that pass when other writers of the same bucket do: a
// nested access from the same CPU gives EBUSY up to 6.14, and EDEADLK or
// ETIMEDOUT since the bucket lock is an rqspinlock. EINTR is what a batch says
// that read a key thrice which was deleted before its value was read (generic_map_lookup_batch
// before 6.14).
func transient(err error) bool {
	return errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EDEADLK) ||
		errors.Is(err, unix.ETIMEDOUT) || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR)
}

// busyTries is how often a transient refusal is tried again before it is
// reported, some 2 ms in all: a bucket lock is held for microseconds.
const busyTries = 5

// pauseBusy waits before try number n, counted from 0.
func pauseBusy(n int) {
	time.Sleep(20 * time.Microsecond << (n * 3 / 2))
}
