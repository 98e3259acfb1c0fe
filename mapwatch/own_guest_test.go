//go:build guest

// Every test here asks whose write it was, with the same writers in every context
// and one account of all writes: it stays in one file.

package mapwatch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// enum writer in bpf/writers.bpf.c.
const (
	writerRun    = 1
	writerSocket = 2
	writerEgress = 3
	writerTimer  = 4
	writerTrace  = 5
	writerKprobe = 6
	writers      = 7
	writerApply  = 7 // keys of Map.Apply in these tests
)

func newWriters(t testing.TB) *writersObjects {
	t.Helper()
	must(t, rlimit.RemoveMemlock()) // before Linux 5.11
	spec, err := loadWriters()
	must(t, err)
	collection, err := ebpf.NewCollection(withoutTimers(t, spec))
	must(t, err)
	t.Cleanup(collection.Close)
	objects := &writersObjects{
		writersPrograms: writersPrograms{
			EgressWrite: collection.Programs[writersProgEgressWrite], KprobeWrite: collection.Programs[writersProgKprobeWrite],
			RunDelete: collection.Programs[writersProgRunDelete],
			RunWrite:  collection.Programs[writersProgRunWrite], SocketWrite: collection.Programs[writersProgSocketWrite],
			TimerWrite: collection.Programs[writersProgTimerWrite], TraceWrite: collection.Programs[writersProgTraceWrite],
		},
	}
	must(t, collection.Assign(&objects.writersMaps))
	must(t, collection.Assign(&objects.writersVariables))
	return objects
}

// withoutTimers leaves out what kernels before 5.15 cannot load.
func withoutTimers(t testing.TB, spec *ebpf.CollectionSpec) *ebpf.CollectionSpec {
	t.Helper()
	err := features.HaveProgramHelper(ebpf.XDP, asm.FnTimerInit)
	if errors.Is(err, ebpf.ErrNotSupported) {
		delete(spec.Programs, writersProgTimerWrite)
		return spec
	}
	must(t, err)
	return spec
}

func runProgram(t testing.TB, program *ebpf.Program) {
	t.Helper()
	const pass = 2 // XDP_PASS
	result, err := program.Run(&ebpf.RunOptions{Data: make([]byte, 64)})
	must(t, err)
	if result != pass {
		t.Fatalf("program %v returned %d", program, result)
	}
}

// counters reads written or refused, by writer.
func counters(t testing.TB, v *ebpf.Variable) (counts [writers]uint64) {
	t.Helper()
	must(t, v.Get(&counts))
	return counts
}

// nativeKey is a key as bpf/writers.bpf.c makes it.
func nativeKey(writer uint32, n int) []byte {
	return binary.NativeEndian.AppendUint64(nil, uint64(writer)<<32|uint64(n))
}

// byWriter counts changes, and checks that each is what a writer wrote.
func byWriter(t testing.TB, changes []Change) map[uint32]int {
	t.Helper()
	counts := make(map[uint32]int)
	for _, c := range changes {
		key := binary.NativeEndian.Uint64(c.Key)
		switch {
		case c.Kind == Deleted:
		case c.Kind == Updated && binary.NativeEndian.Uint64(c.Value) == ^key:
		default:
			t.Fatalf("nobody wrote %s", describe(c))
		}
		counts[uint32(key>>32)]++
	}
	return counts
}

// pinThread keeps the calling goroutine's thread on one CPU until the test ends.
func pinThread(t testing.TB, cpu int) {
	t.Helper()
	var set unix.CPUSet
	set.Set(cpu)
	must(t, unix.SchedSetaffinity(0, &set))
}

func TestOwnAppliesLeaveNoRecord(t *testing.T) {
	h := openTestHost(t)
	objects := newWriters(t)
	opened := openTestMap(t, h, objects.Target)
	w := startTestWatch(t, h, Options{Mode: ModeFexit}, opened)

	ops := make([]Op, 0, 3000)
	for i := range 1000 {
		key := nativeKey(writerApply, i)
		ops = append(ops, Op{Key: key, Value: make([]byte, 8)})
		if i%2 == 0 {
			ops = append(ops, Op{Key: key, Value: make([]byte, 8)}, Op{Key: key, Delete: true})
		}
	}
	opened.Apply(ops)
	for _, op := range ops {
		must(t, op.Err)
	}
	w.want("own applies")
	counts := w.Counts(0)
	if got := counts.Own + counts.Missed; got != uint64(len(ops)) {
		t.Errorf("counts %+v, want %d own", counts, len(ops))
	}

	// The same process, another thread: a change.
	must(t, objects.Target.Put(nativeKey(writerApply, 1), make([]byte, 8)))
	if got := w.take(); len(got) != 1 {
		t.Errorf("write of another thread of this process: %q", got)
	}
}

func TestProgramWritesAreChanges(t *testing.T) {
	h := openTestHost(t)
	objects := newWriters(t)
	opened := openTestMap(t, h, objects.Target)
	w := startTestWatch(t, h, Options{Mode: ModeFexit}, opened)

	// On the apply thread, whose ID the record then carries: not a map
	// system call, so not ours.
	h.onApplyThread(func() {
		runProgram(t, objects.RunWrite)
		runProgram(t, objects.RunDelete)
	})
	w.sync()
	if len(w.changes) != 2 || w.changes[0].Kind != Updated || w.changes[1].Kind != Deleted {
		t.Errorf("program run: %d changes: %v", len(w.changes), w.changes)
	}
	if got := byWriter(t, w.changes); got[writerRun] != 2 {
		t.Errorf("program run: %v", got)
	}
	if got := w.Counts(0); got.Captured != 2 || got.Own != 0 || got.Failed != 1 {
		t.Errorf("program run: counts %+v", got)
	}
	w.changes = nil

	// Softirq on behalf of a sender: a socket filter on the loopback device.
	// Cgroup egress: in the sender's plain task context. Both on the apply
	// thread too.
	const packets = 200
	receiver, sender := filteredSockets(t, objects.SocketWrite)
	defer receiver.Close()
	defer sender.Close()
	egress, err := link.AttachCgroup(link.CgroupOptions{
		Path: cgroupRoot(t), Attach: ebpf.AttachCGroupInetEgress, Program: objects.EgressWrite,
	})
	must(t, err)
	defer egress.Close()
	h.onApplyThread(func() {
		for range packets {
			if _, err := sender.Write([]byte("x")); err != nil {
				t.Error(err)
			}
		}
	})
	must(t, egress.Close())
	w.sync()
	written, refused := counters(t, objects.Written), counters(t, objects.Refused)
	if written[writerSocket] == 0 || written[writerEgress] < packets || refused != [writers]uint64{} {
		t.Fatalf("written %v, refused %v", written, refused)
	}
	counts := w.Counts(0)
	got := byWriter(t, w.changes)
	t.Logf("written %v, changes %v, counts %+v", written, got, counts)
	all := written[writerSocket] + written[writerEgress]
	if uint64(got[writerSocket]+got[writerEgress])+counts.Missed != all || counts.Own != 0 || counts.Dropped != 0 {
		t.Errorf("%d of %d writes captured, counts %+v", got[writerSocket]+got[writerEgress], all, counts)
	}
}

// Packets are delivered, and so a socket filter runs, in a softirq on the CPU
// where the apply thread is busy, all the time with the apply thread's ID: each
// write of the filter is captured or counted as missed, and no apply comes back.
func TestSoftirqWritesDuringApply(t *testing.T) {
	const wanted = 3000
	h := openTestHost(t)
	objects := newWriters(t)
	opened := openTestMap(t, h, objects.Target)
	w := startTestWatch(t, h, Options{Mode: ModeFexit}, opened)
	receiver, sender := filteredSockets(t, objects.SocketWrite)
	defer receiver.Close()
	defer sender.Close()
	deliverOn(t, 1)
	h.onApplyThread(func() { pinThread(t, 1) })

	stop, stopped := make(chan struct{}), make(chan error)
	go func() {
		runtime.LockOSThread() // not unlocked: the pinned thread ends with the goroutine
		pinThread(t, 0)
		for {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			if _, err := sender.Write([]byte("x")); err != nil {
				stopped <- err
				return
			}
		}
	}()
	applied := 0
	for counters(t, objects.Written)[writerSocket] < wanted {
		ops := make([]Op, 256)
		for i := range ops {
			ops[i] = Op{Key: nativeKey(writerApply, i), Value: make([]byte, 8)}
		}
		opened.Apply(ops)
		for _, op := range ops {
			must(t, op.Err)
		}
		applied += len(ops)
	}
	close(stop)
	must(t, <-stopped)
	// Until the packets under way have arrived.
	written := counters(t, objects.Written)
	for before := [writers]uint64{}; before != written; written = counters(t, objects.Written) {
		before = written
		w.sync()
	}
	w.sync()

	refused := counters(t, objects.Refused)
	counts := w.Counts(0)
	got := byWriter(t, w.changes)
	t.Logf("applied %d, softirq wrote %d (refused %d), changes %v, counts %+v", applied, written[writerSocket], refused[writerSocket], got, counts)
	if got[writerApply] != 0 {
		t.Errorf("%d applies came back as changes", got[writerApply])
	}
	captured := uint64(got[writerSocket])
	if counts.Captured != captured || counts.Dropped != 0 {
		t.Errorf("%d changes, counts %+v", captured, counts)
	}
	if want := written[writerSocket] + refused[writerSocket] + uint64(applied); counts.Captured+counts.Own+counts.Failed+counts.Missed != want {
		t.Errorf("counts %+v do not add up to %d", counts, want)
	}
	if captured+counts.Missed < written[writerSocket] {
		t.Errorf("%d of %d softirq writes captured, %d missed", captured, written[writerSocket], counts.Missed)
	}
	if counts.Missed > 0 {
		w.untilRescan(0)
	}
}

// Two threads of this process take turns on one CPU, one of them the apply
// thread: the other's writes are changes, also when it was preempted inside of
// its map system call.
func TestWritesOfAnotherThreadDuringApply(t *testing.T) {
	const writes = 5000
	h := openTestHost(t)
	objects := newWriters(t)
	opened := openTestMap(t, h, objects.Target)
	w := startTestWatch(t, h, Options{Mode: ModeFexit}, opened)
	h.onApplyThread(func() { pinThread(t, 1) })
	written := make(chan error)
	go func() {
		runtime.LockOSThread() // not unlocked: the pinned thread ends with the goroutine
		pinThread(t, 1)
		for i := range writes {
			key := nativeKey(writerRun, i)
			value := binary.NativeEndian.AppendUint64(nil, ^binary.NativeEndian.Uint64(key))
			if err := objects.Target.Put(key, value); err != nil {
				written <- err
				return
			}
		}
		written <- nil
	}()
	applied := 0
	for done := false; !done; applied++ {
		select {
		case err := <-written:
			must(t, err)
			done = true
		default:
		}
		ops := []Op{{Key: nativeKey(writerApply, applied%1000), Value: make([]byte, 8)}}
		opened.Apply(ops)
		must(t, ops[0].Err)
	}
	w.sync()
	counts := w.Counts(0)
	got := byWriter(t, w.changes)
	t.Logf("applied %d, changes %v, counts %+v", applied, got, counts)
	if got[writerApply] != 0 || got[writerRun] != int(counts.Captured) || counts.Own > uint64(applied) || counts.Dropped != 0 ||
		counts.Captured+counts.Own+counts.Missed != uint64(applied+writes) {
		t.Errorf("applied %d, written %d, changes %v, counts %+v", applied, writes, got, counts)
	}
}

// A softirq that interrupts a hook on its CPU finds it running, and the kernel
// skips it: that is seen within a second, and every watched map is to be scanned.
func TestMissesAskForRescan(t *testing.T) {
	h := openTestHost(t)
	objects := newWriters(t)
	_, quiet := newTestMap(t, h, 4, 4, 4)
	w := startTestWatch(t, h, Options{Mode: ModeFexit}, openTestMap(t, h, objects.Target), quiet)
	receiver, sender := filteredSockets(t, objects.SocketWrite)
	defer receiver.Close()
	defer sender.Close()
	deliverOn(t, 1)

	// One thread sends on CPU 0, another writes on CPU 1, where the packets
	// arrive, until there was a miss.
	stop := make(chan struct{})
	var busy sync.WaitGroup
	defer busy.Wait()
	pinned := func(cpu int, do func() error) {
		busy.Go(func() {
			runtime.LockOSThread() // not unlocked: the pinned thread ends with the goroutine
			pinThread(t, cpu)
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := do(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	pinned(0, func() error {
		_, err := sender.Write([]byte("x"))
		return err
	})
	pinned(1, func() error { return objects.Target.Put(nativeKey(writerApply, 1), make([]byte, 8)) })
	func() {
		defer close(stop)
		for started := h.Now(); w.Counts(0).Missed == 0; {
			if time.Duration(h.Now()-started) > guestPatience {
				t.Fatalf("no miss within %v", guestPatience)
			}
			w.next()
			w.changes = nil
		}
	}()
	w.untilRescan(0)
	w.untilRescan(1)
	if a, b := w.Counts(0).Missed, w.Counts(1).Missed; a == 0 || b == 0 {
		t.Errorf("missed %d and %d", a, b)
	}
}

// filteredSockets are two ends of a loopback connection whose packets program
// looks at, in the softirq that delivers them.
func filteredSockets(t testing.TB, program *ebpf.Program) (receiver net.PacketConn, sender net.Conn) {
	t.Helper()
	receiver, err := net.ListenPacket("udp4", "127.0.0.1:0")
	must(t, err)
	raw, err := receiver.(*net.UDPConn).SyscallConn()
	must(t, err)
	var attachErr error
	must(t, raw.Control(func(fd uintptr) {
		attachErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_BPF, program.FD())
	}))
	must(t, attachErr)
	sender, err = net.Dial("udp4", receiver.LocalAddr().String())
	must(t, err)
	return receiver, sender
}

// deliverOn makes one CPU process the packets of the loopback device (receive
// packet steering), whoever sends them.
func deliverOn(t testing.TB, cpu int) {
	t.Helper()
	const steering = "/sys/class/net/lo/queues/rx-0/rps_cpus"
	before, err := os.ReadFile(steering)
	must(t, err)
	must(t, os.WriteFile(steering, fmt.Appendf(nil, "%x", 1<<cpu), 0))
	t.Cleanup(func() { must(t, os.WriteFile(steering, before, 0)) })
}

func cgroupRoot(t testing.TB) string {
	t.Helper()
	for _, path := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/run/cgroup"} {
		if _, err := os.Stat(path + "/cgroup.controllers"); err == nil {
			return path
		}
	}
	t.Fatal("no cgroup v2 is mounted; mount one at /run/cgroup")
	return ""
}
