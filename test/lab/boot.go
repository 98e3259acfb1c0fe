package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// Preempt is how a guest's kernel may interrupt itself (preempt= on its command line).
//
// Not every kernel lets itself be told. Debian's cloud kernels know on amd64:
//
//	5.10   nothing: they are voluntary (built without PREEMPT_DYNAMIC)
//	6.1    none, voluntary, full; their own is voluntary
//	6.12   none, voluntary, full; their own is voluntary
//	6.18   none, voluntary, full, lazy; their own is lazy
//	7.x    full, lazy; their own is lazy
//
// and nothing on arm64. Under lockdown a kernel does not tell how it preempts, so a host has one or
// the other.
type Preempt string

const (
	PreemptOwn       Preempt = "" // the kernel's own
	PreemptNone      Preempt = "none"
	PreemptVoluntary Preempt = "voluntary"
	PreemptFull      Preempt = "full"
	PreemptLazy      Preempt = "lazy"
)

func (p Preempt) valid() bool {
	return slices.Contains([]Preempt{PreemptOwn, PreemptNone, PreemptVoluntary, PreemptFull, PreemptLazy}, p)
}

// Lockdown is what a guest's kernel keeps even from root (lockdown= on its command line, see
// kernel_lockdown(7)).
type Lockdown string

const (
	LockdownNone            Lockdown = ""
	LockdownIntegrity       Lockdown = "integrity"
	LockdownConfidentiality Lockdown = "confidentiality" // among others: no bpf_probe_read_kernel
)

func (l Lockdown) valid() bool {
	return slices.Contains([]Lockdown{LockdownNone, LockdownIntegrity, LockdownConfidentiality}, l)
}

var (
	// ErrPreempt: the kernel does not know that preemption, or does not let it be chosen. The text has
	// what it knows.
	ErrPreempt = errors.New("preemption cannot be chosen")

	// ErrLockdown: the kernel does not know lockdown.
	ErrLockdown = errors.New("no such lockdown")
)

// bootLine are the words for the kernel's command line.
func (c HostConfig) bootLine() (words []string) {
	if c.Preempt != PreemptOwn {
		words = append(words, "preempt="+string(c.Preempt))
	}
	if c.Lockdown != LockdownNone {
		words = append(words, "lockdown="+string(c.Lockdown))
	}
	return words
}

// checkBoot holds that the kernel did what its command line says: kernels pass over what they do not know.
func (h *Host) checkBoot(ctx context.Context, c HostConfig) error {
	if c.Preempt != PreemptOwn {
		// Linux 5.13, with PREEMPT_DYNAMIC.
		if err := h.checkChosen(ctx, "/sys/kernel/debug/sched/preempt", "("+string(c.Preempt)+")", ErrPreempt); err != nil {
			return err
		}
	}
	if c.Lockdown != LockdownNone {
		return h.checkChosen(ctx, "/sys/kernel/security/lockdown", "["+string(c.Lockdown)+"]", ErrLockdown)
	}
	return nil
}

// checkChosen wants the word among those that the file lists.
func (h *Host) checkChosen(ctx context.Context, path, word string, sentinel error) error {
	b, err := h.ReadFile(ctx, path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("host %s: kernel %s: want %s: %w: it has no %s", h.name, h.kernel, word, sentinel, path)
	case err != nil:
		return fmt.Errorf("host %s: check for %s: %w", h.name, word, err)
	}
	if words := strings.Fields(string(b)); !slices.Contains(words, word) {
		return fmt.Errorf("host %s: kernel %s: want %s: %w: it has %s", h.name, h.kernel, word, sentinel, strings.Join(words, " "))
	}
	return nil
}
