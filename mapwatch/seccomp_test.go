//go:build linux

package mapwatch

import (
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestSeccomp: a container's filter that refuses bpf(2) to who has the capability is
// told from a capability that is missing.
func TestSeccomp(t *testing.T) {
	refused := make(chan error)
	go func() {
		runtime.LockOSThread() // and not unlocked: the thread ends with its filter
		if err := refuseBPF(); err != nil {
			t.Errorf("set the filter: %v", err)
		}
		_, _, err := openPin("/sys/fs/bpf/anything")
		refused <- err
	}()
	err := <-refused
	missing, capErr := missingCapabilities()
	if capErr != nil {
		t.Fatal(capErr)
	}
	want := "seccomp=unconfined"
	if slices.Contains(missing, "CAP_BPF") {
		want = "run with CAP_BPF"
	}
	if !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v; want %q", err, want)
	}
}

// refuseBPF makes bpf(2) answer EPERM to this thread.
func refuseBPF() error {
	const number = 0 // where struct seccomp_data has it
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: number},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_BPF, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
}
