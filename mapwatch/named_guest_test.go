//go:build guest

package mapwatch

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/mapgossip/mapgossip/test/need"
)

// writerName is the file that another process runs from, and so its name.
const writerName = "mg-writer"

// TestNamedWriter is no test but that other process: it has the map as file 3. For
// each byte from its standard input it does what tracers wait for, and writes.
func TestNamedWriter(t *testing.T) {
	if filepath.Base(os.Args[0]) != writerName {
		return
	}
	m, err := ebpf.NewMapFromFD(3)
	must(t, err)
	for b := make([]byte, 1); ; {
		if _, err := os.Stdin.Read(b); err != nil {
			return
		}
		switch b[0] {
		case 'p':
			unix.Getppid()
		case 'w':
			must(t, m.Put(nativeKey(writerApply, 1), make([]byte, 8)))
		}
		_, err := os.Stdout.Write(b)
		must(t, err)
	}
}

// startNamedWriter starts that process; ask makes it do something, and returns
// when it is done.
func startNamedWriter(t *testing.T, m *ebpf.Map) (pid uint32, ask func(what byte)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), writerName)
	must(t, os.Symlink(must1(os.Executable())(t), path))
	fd, err := unix.Dup(m.FD())
	must(t, err)
	file := os.NewFile(uintptr(fd), "map")
	defer file.Close()
	c := exec.Command(path, "-test.run=^TestNamedWriter$")
	c.ExtraFiles = []*os.File{file}
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	must(t, err)
	out, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	t.Cleanup(func() {
		in.Close()
		io.Copy(io.Discard, out)
		must(t, c.Wait())
	})
	return uint32(c.Process.Pid), func(what byte) {
		t.Helper()
		_, err := in.Write([]byte{what})
		must(t, err)
		_, err = io.ReadFull(out, []byte{0})
		must(t, err)
	}
}

func must1[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		must(t, err)
		return v
	}
}

// wrote is what a Change says of who wrote.
func wrote(pid uint32, source Source, comm string) string {
	return fmt.Sprintf("pid %d, %q, comm %q", pid, source, comm)
}

func whoWrote(c Change) string {
	return wrote(c.PID, c.Source, strings.TrimRight(string(c.Comm[:]), "\x00"))
}

// wantWriters checks who made each change of one writer since the last call, and
// that there was one.
func (w *testWatch) wantWriters(writer uint32, want string) {
	w.t.Helper()
	w.sync()
	found := 0
	for _, c := range w.changes {
		if uint32(binary.NativeEndian.Uint64(c.Key)>>32) != writer {
			continue
		}
		found++
		if got := whoWrote(c); got != want {
			w.t.Errorf("writer %d: %s, want %s", writer, got, want)
		}
	}
	if found == 0 {
		w.t.Errorf("no change of writer %d", writer)
	}
	w.changes = nil
}

func TestWhoWrote(t *testing.T) {
	for _, mode := range []Mode{ModeFexit, ModeFentry} {
		t.Run(string(mode), func(t *testing.T) { testWhoWrote(t, mode) })
	}
}

func testWhoWrote(t *testing.T, mode Mode) {
	h := openTestHost(t)
	objects := newWriters(t)
	w := startTestWatch(t, h, Options{Mode: mode}, openTestMap(t, h, objects.Target))
	self := uint32(os.Getpid())
	name := strings.TrimSpace(string(must1(os.ReadFile("/proc/self/comm"))(t)))
	other, ask := startNamedWriter(t, objects.Target)

	// Names are off at first, and cost nothing.
	ask('w')
	w.wantWriters(writerApply, wrote(other, SourceUnknown, ""))
	w.NameWriters(true)
	ask('w')
	w.wantWriters(writerApply, wrote(other, SourceSyscall, writerName))
	must(t, objects.Target.Delete(nativeKey(writerApply, 1)))
	w.wantWriters(writerApply, wrote(self, SourceSyscall, name))

	// In this process, by BPF_PROG_RUN; as a bpf(2) call, but no map's.
	runProgram(t, objects.RunWrite)
	w.wantWriters(writerRun, wrote(self, SourceProgram, name))

	// On behalf of the other process. A kprobe raises the counter that a map's
	// system call raises, too.
	must(t, objects.TraceTgid.Set(other))
	probe, err := link.Kprobe("__x64_sys_getppid", objects.KprobeWrite, nil)
	must(t, err)
	ask('p')
	must(t, probe.Close())
	source := SourceProgram
	if !tellsPrograms(t) {
		source = SourceSyscall
	}
	w.wantWriters(writerKprobe, wrote(other, source, writerName))

	w.NameWriters(false)
	ask('w')
	w.wantWriters(writerApply, wrote(other, SourceUnknown, ""))
}

// tellsPrograms reports whether this kernel says in a task which program it runs,
// and which one before that (6.0).
func tellsPrograms(t *testing.T) bool {
	t.Helper()
	kernel, err := kernelTypes(btf.NewCache())
	must(t, err)
	var task, context *btf.Struct
	return kernel.TypeByName("task_struct", &task) == nil && hasMember(task, "bpf_ctx") &&
		kernel.TypeByName("bpf_tramp_run_ctx", &context) == nil && hasMember(context, "saved_run_ctx")
}

// An interrupt has no process of its own: whoever was interrupted is named.
func TestWhoWroteInInterrupts(t *testing.T) {
	h := openTestHost(t)
	objects := newWriters(t)
	w := startTestWatch(t, h, Options{Mode: ModeFexit}, openTestMap(t, h, objects.Target))
	w.NameWriters(true)

	// A packet on the loopback can wait for ksoftirqd.
	wait := func(writer uint32, writes uint64) {
		t.Helper()
		for counters(t, objects.Written)[writer] < writes {
			w.Barrier()
			w.next()
		}
	}
	interrupts := func(what string, writer uint32) {
		t.Helper()
		w.sync()
		found := 0
		for _, c := range w.changes {
			if uint32(binary.NativeEndian.Uint64(c.Key)>>32) == writer {
				found++
				if c.Source != SourceInterrupt || c.Comm == [16]byte{} {
					t.Errorf("%s: %s", what, whoWrote(c))
				}
			}
		}
		if found == 0 {
			t.Errorf("%s: no change", what)
		}
		w.changes = nil
	}

	receiver, sender := filteredSockets(t, objects.SocketWrite)
	defer receiver.Close()
	defer sender.Close()
	_, err := sender.Write([]byte("x"))
	must(t, err)
	wait(writerSocket, 1)
	interrupts("socket filter", writerSocket)

	loopback, err := net.InterfaceByName("lo")
	must(t, err)
	xdp, err := link.AttachXDP(link.XDPOptions{Program: objects.RunWrite, Interface: loopback.Index, Flags: link.XDPGenericMode})
	must(t, err)
	_, err = sender.Write([]byte("x"))
	must(t, err)
	wait(writerRun, 1)
	must(t, xdp.Close())
	interrupts("XDP", writerRun)

	// cgroup egress: in the sender's task, bottom halves disabled or not.
	egress, err := link.AttachCgroup(link.CgroupOptions{Path: cgroupRoot(t), Attach: ebpf.AttachCGroupInetEgress, Program: objects.EgressWrite})
	must(t, err)
	_, err = sender.Write([]byte("x"))
	must(t, err)
	must(t, egress.Close())
	w.sync()
	if !slices.ContainsFunc(w.changes, func(c Change) bool {
		return uint32(binary.NativeEndian.Uint64(c.Key)>>32) == writerEgress && c.Source == SourceProgram && c.PID == uint32(os.Getpid())
	}) {
		t.Errorf("egress: no change by a program in this process: %v", w.changes)
	}
	w.changes = nil

	if objects.TimerWrite == nil {
		t.Log("this kernel has no timers in maps (before 5.15)")
		return
	}
	must(t, objects.TimerWrites.Set(uint32(3)))
	must(t, objects.TimerIntervalNs.Set(uint64(1_000_000)))
	const drop, pass = 1, 2 // XDP_DROP: no timers to be had; XDP_PASS
	result, err := objects.TimerWrite.Run(&ebpf.RunOptions{Data: make([]byte, 64)})
	must(t, err)
	if result == drop {
		t.Log("this machine can have no timers in maps (no cmpxchg16b)")
		return
	}
	if result != pass {
		t.Fatalf("the timer's program returned %d", result)
	}
	wait(writerTimer, 3)
	interrupts("timer", writerTimer)
}

// A capture that is pinned names nobody when its watch has ended, or was killed.
func TestPinsNameNobody(t *testing.T) {
	h := openTestHost(t)
	m, opened := newTestMap(t, h, 4, 4, 4)
	options := Options{Mode: ModeFexit, Pins: filepath.Join(need.BPFFS(t), "pins")}
	for _, end := range []func(w *testWatch){
		func(w *testWatch) { must(t, w.Close()) },
		func(w *testWatch) { AbandonWatch(w.Watch) },
		func(w *testWatch) {},
	} {
		w := startPinnedWatch(t, h, options, opened)
		w.sync()
		w.changes = nil
		must(t, m.Put(key32(1), key32(2)))
		w.sync()
		if len(w.changes) != 1 || w.changes[0].Comm != [16]byte{} || w.changes[0].PID != uint32(os.Getpid()) {
			t.Errorf("changes %+v, want one of this process, without a name", w.changes)
		}
		w.changes = nil
		w.NameWriters(true)
		must(t, m.Put(key32(1), key32(3)))
		w.sync()
		if len(w.changes) != 1 || w.changes[0].Comm == [16]byte{} {
			t.Errorf("changes %+v, want one with a name", w.changes)
		}
		end(w)
	}
}
