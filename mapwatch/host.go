//go:build linux

package mapwatch

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Host is the kernel that this process runs on. Safe for concurrent use.
//
// All bpf(2) calls that write to a map which is replicated are made on one OS
// thread, so that the capture programs can tell our writes from those of other
// code in the same process: the thread is theirs to compare, see onApplyThread.
type Host struct {
	applies chan func()
	quit    chan struct{} // closed by Close
	ended   chan struct{} // closed when the apply thread is gone
	close   sync.Once

	// Scratch of Apply; only the apply thread touches it.
	batch applyBatch
}

var _ Kernel = (*Host)(nil)

// OpenHost starts the apply thread and asks the kernel for nothing: what it
// allows shows in Open and Watch. Close frees the thread.
func OpenHost() (*Host, error) {
	h := &Host{
		applies: make(chan func()),
		quit:    make(chan struct{}),
		ended:   make(chan struct{}),
	}
	go h.runApplyThread()
	return h, nil
}

func (h *Host) runApplyThread() {
	defer close(h.ended)
	// Never unlocked, so that the thread ends with the goroutine: nobody else's
	// writes can come from it.
	runtime.LockOSThread()
	for {
		select {
		case fn := <-h.applies:
			fn()
		case <-h.quit:
			return
		}
	}
}

// onApplyThread runs fn on the apply thread and returns when fn has returned.
// It is the only place where a replicated map is written. After Close, fn does
// not run. fn must not call onApplyThread.
func (h *Host) onApplyThread(fn func()) {
	done := make(chan struct{})
	select {
	case h.applies <- func() { defer close(done); fn() }:
		<-done
	case <-h.quit:
	}
}

// Now is CLOCK_BOOTTIME in nanoseconds, the clock of bpf_ktime_get_boot_ns.
func (h *Host) Now() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// Linux has this clock since 2.6.39; only a seccomp filter that
		// forbids clock_gettime gets us here, and nothing can go on then.
		panic(fmt.Sprintf("clock_gettime(CLOCK_BOOTTIME): %v", err))
	}
	return ts.Nano()
}

// Boot is the kernel's boot_id.
func (h *Host) Boot() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// Close ends the apply thread, after an Apply that is under way. Maps stay open
// for reading; an Apply after Close gives ErrGone. Idempotent.
func (h *Host) Close() error {
	h.close.Do(func() { close(h.quit) })
	<-h.ended
	return nil
}
