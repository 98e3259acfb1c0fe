package need

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// BPF needs a kernel that lets this process create a BPF hash map: CAP_BPF, and
// before 5.11 room under RLIMIT_MEMLOCK.
func BPF(t testing.TB) {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 1, ValueSize: 1, MaxEntries: 1})
	switch {
	case err == nil:
		m.Close()
	case missing(err):
		Skip(t, "needs to create BPF maps: "+err.Error())
	default:
		t.Fatalf("create a BPF map: %v", err)
	}
}

// BPFFS needs the right to mount a BPF file system, and returns the path of a
// new one, which is unmounted at the end of the test with all that is pinned
// there.
func BPFFS(t testing.TB) string {
	t.Helper()
	BPF(t)
	dir := filepath.Join(t.TempDir(), "bpf")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	err := unix.Mount("bpf", dir, "bpf", 0, "")
	if missing(err) || err == unix.ENODEV {
		Skip(t, "needs to mount a BPF file system: "+err.Error())
	}
	if err != nil {
		t.Fatalf("mount a BPF file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// Kernel needs that version of Linux or a later one. An older one is no fault of
// the machine: it skips the test whatever MAPGOSSIP_NO_SKIP says.
func Kernel(t testing.TB, major, minor int) {
	t.Helper()
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatalf("read the kernel's version: %v", err)
	}
	release := unix.ByteSliceToString(name.Release[:])
	var have [2]int
	if _, err := fmt.Sscanf(release, "%d.%d", &have[0], &have[1]); err != nil {
		t.Fatalf("read the kernel's version %q: %v", release, err)
	}
	if have[0] < major || have[0] == major && have[1] < minor {
		t.Skipf("needs Linux %d.%d, this is %s", major, minor, release)
	}
}
