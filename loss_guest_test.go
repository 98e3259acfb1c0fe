//go:build guest

package mapgossip

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/mapgossip/mapgossip/mapwatch"
)

// Writers of these tests, beside writerThere.
const (
	writerCall   = writerA // by system call
	writerPacket = writerB // a socket filter, in the softirq that delivers a packet
)

const (
	lossKeys       = 256
	lossPacketKeys = 8192
	lossWrites     = 20_000 // of a writer at least, until something was lost
	lossPatience   = 90 * time.Second
)

// operations are those that a test counted itself, to be found again in the
// counters of the agent.
type operations struct{ written, refused uint64 }

// adds up: every operation on the map is in exactly one counter.
func (p *kernelPair) addsUp(by operations) Counters {
	p.t.Helper()
	c := p.status(p.here).Counters
	sum := c.Captured + c.Own + c.Failed + c.Missed + c.Dropped
	if want := by.written + by.refused + c.Applied + c.ApplyErrors; sum != want {
		p.t.Errorf("captured %d, own %d, failed %d, missed %d and dropped %d are %d; there were %d operations and %d applies", c.Captured, c.Own, c.Failed, c.Missed, c.Dropped, sum, by.written+by.refused, c.Applied+c.ApplyErrors)
	}
	return c
}

// TestKernelLossMissed lets packets interrupt a writer on the CPU that the whole
// agent is on too, until the kernel has skipped a hook that was interrupted. What
// was lost is counted, the scan that this asks for finds it, and everything is
// equal in the end.
func TestKernelLossMissed(t *testing.T) {
	p := newKernelPair(t, kernelMaps()[0], mapwatch.ModeFexit)
	filter := p.packetWriter()
	onCPU(t, 1)
	deliverOn(t, 1)
	stop := make(chan struct{})
	var writers sync.WaitGroup
	var calls atomic.Uint64
	failures := make(chan error, 2)
	run := func(cpu int, do func(n uint64) error) {
		writers.Go(func() {
			err := pinThread(cpu)
			for n := uint64(0); err == nil; n++ {
				select {
				case <-stop:
					return
				default:
				}
				err = do(n)
			}
			failures <- err
		})
	}
	run(0, func(n uint64) error {
		// Keys that are not soon written again: what is lost stays so.
		return filter.send(lossKeys+uint32(n%lossPacketKeys), n)
	})
	run(1, func(n uint64) error {
		key := uint32(n % lossKeys)
		_, err := p.write(p.of.key(key), written{key, writerCall, n}.value())
		calls.Add(1)
		return err
	})
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		lost := p.status(p.here).Counters.Missed
		if lost > 0 && calls.Load() >= lossWrites {
			break
		}
		if time.Since(begin) > lossPatience {
			t.Errorf("no miss in %v, %d writes and %d packets", lossPatience, calls.Load(), filter.written())
			break
		}
		select {
		case err := <-failures:
			t.Fatal(err)
		default:
		}
	}
	close(stop)
	writers.Wait()
	filter.quiet()
	for begin := time.Now(); p.status(p.here).Counters.Scans < 2 && time.Since(begin) < kernelPatience; {
		time.Sleep(settleTick) // the first scan is the import
	}
	p.equal()
	c := p.addsUp(operations{written: calls.Load() + filter.written(), refused: filter.refused()})
	t.Logf("%d writes, %d packets: %+v", calls.Load(), filter.written(), c)
	if c.Scans < 2 {
		t.Errorf("%d scans after %d misses", c.Scans, c.Missed)
	}
}

// TestKernelLossDropped holds the agent up until its ring is full. What found no
// room is counted, and found by the scan that this asks for.
func TestKernelLossDropped(t *testing.T) {
	p := newKernelPair(t, kernelMaps()[0], mapwatch.ModeFexit)
	release := make(chan struct{})
	held := make(chan error, 1)
	go func() { held <- p.here.call(t.Context(), func() { <-release }) }()
	writes := uint64(0)
	for ; writes%1000 != 0 || p.records.watch.Counts(0).Dropped == 0; writes++ {
		if writes == 20_000_000 {
			t.Fatalf("ring and queue took %d writes", writes)
		}
		key := uint32(writes % lossKeys)
		_, err := p.write(p.of.key(key), written{key, writerCall, writes}.value())
		must(t, err)
	}
	close(release)
	must(t, <-held)
	content := p.equal()
	c := p.addsUp(operations{written: writes})
	t.Logf("%d writes: %+v", writes, c)
	if c.Dropped == 0 || c.Scans < 2 {
		t.Errorf("%d dropped, %d scans", c.Dropped, c.Scans)
	}
	for n := range uint32(lossKeys) {
		last := writes - 1 - (writes-1-uint64(n))%lossKeys
		if got := content[string(p.of.key(n))]; got != string(written{n, writerCall, last}.value()) {
			t.Fatalf("key %d: %+v, want the last write %d", n, parseWritten([]byte(got)), last)
		}
	}
}

// packetWriter is a socket filter that writes each packet that it sees to the
// map, and drops it.
type packetWriter struct {
	p        *kernelPair
	outcomes *ebpf.Map // by 0 for written and 1 for refused, a count
	sender   net.Conn
}

func (p *kernelPair) packetWriter() *packetWriter {
	p.t.Helper()
	outcomes, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 2})
	must(p.t, err)
	p.t.Cleanup(func() { outcomes.Close() })
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, License: "GPL", Instructions: packetInstructions(p.m, outcomes)})
	must(p.t, err)
	p.t.Cleanup(func() { program.Close() })
	receiver, err := net.ListenPacket("udp4", "127.0.0.1:0")
	must(p.t, err)
	p.t.Cleanup(func() { receiver.Close() })
	raw, err := receiver.(*net.UDPConn).SyscallConn()
	must(p.t, err)
	var attached error
	must(p.t, raw.Control(func(fd uintptr) {
		attached = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_BPF, program.FD())
	}))
	must(p.t, attached)
	sender, err := net.Dial("udp4", receiver.LocalAddr().String())
	must(p.t, err)
	p.t.Cleanup(func() { sender.Close() })
	return &packetWriter{p, outcomes, sender}
}

// packetInstructions take key and value from the payload, which follows the 8
// bytes of the UDP header, write them, and count what became of it.
func packetInstructions(m, outcomes *ebpf.Map) asm.Instructions {
	const payload, keyAt, valueAt, outcomeAt = 8, -24, -16, -32
	keyBytes := int32(m.KeySize())
	load := func(from int32, to int32, size int32) asm.Instructions {
		return asm.Instructions{
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Mov.Imm(asm.R2, from),
			asm.Mov.Reg(asm.R3, asm.RFP),
			asm.Add.Imm(asm.R3, to),
			asm.Mov.Imm(asm.R4, size),
			asm.FnSkbLoadBytes.Call(),
			asm.JNE.Imm(asm.R0, 0, "drop"),
		}
	}
	program := asm.Instructions{asm.Mov.Reg(asm.R6, asm.R1)}
	program = append(program, load(payload, keyAt, keyBytes)...)
	program = append(program, load(payload+keyBytes, valueAt, kernelValueBytes)...)
	return append(program,
		asm.LoadMapPtr(asm.R1, m.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, keyAt),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, valueAt),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnMapUpdateElem.Call(),
		asm.Mov.Imm(asm.R1, 0),
		asm.JEq.Imm(asm.R0, 0, "count"),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreMem(asm.RFP, outcomeAt, asm.R1, asm.Word).WithSymbol("count"),
		asm.LoadMapPtr(asm.R1, outcomes.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, outcomeAt),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "drop"),
		asm.Mov.Imm(asm.R1, 1),
		asm.AddAtomic.Mem(asm.R0, asm.R1, asm.DWord, 0),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("drop"),
		asm.Return(),
	)
}

// send makes the filter write the key, if the packet arrives.
func (w *packetWriter) send(key uint32, seq uint64) error {
	_, err := w.sender.Write(append(w.p.of.key(key), written{key, writerPacket, seq}.value()...))
	return err
}

func (w *packetWriter) count(outcome uint32) (n uint64) {
	w.p.t.Helper()
	must(w.p.t, w.outcomes.Lookup(outcome, &n))
	return n
}

func (w *packetWriter) written() uint64 { return w.count(0) }
func (w *packetWriter) refused() uint64 { return w.count(1) }

// quiet returns when the packets that are under way have arrived.
func (w *packetWriter) quiet() {
	w.p.t.Helper()
	for before := ^uint64(0); before != w.written(); {
		before = w.written()
		if !w.p.covered(w.p.here) {
			time.Sleep(settleTick)
		}
	}
}

// onCPU keeps every thread that this process has on one CPU, and those that they
// start, until the test ends.
func onCPU(t *testing.T, cpu int) {
	t.Helper()
	var before unix.CPUSet
	must(t, unix.SchedGetaffinity(0, &before))
	threads := func(set *unix.CPUSet) {
		paths, err := filepath.Glob("/proc/self/task/*")
		must(t, err)
		for _, path := range paths {
			id, err := strconv.Atoi(filepath.Base(path))
			must(t, err)
			if err := unix.SchedSetaffinity(id, set); err != nil && err != unix.ESRCH {
				t.Fatal(err)
			}
		}
	}
	var one unix.CPUSet
	one.Set(cpu)
	threads(&one)
	t.Cleanup(func() { threads(&before) })
}

// deliverOn makes one CPU process the packets of the loopback device (receive
// packet steering), whoever sends them.
func deliverOn(t *testing.T, cpu int) {
	t.Helper()
	const steering = "/sys/class/net/lo/queues/rx-0/rps_cpus"
	before, err := os.ReadFile(steering)
	must(t, err)
	must(t, os.WriteFile(steering, fmt.Appendf(nil, "%x", 1<<cpu), 0))
	t.Cleanup(func() { must(t, os.WriteFile(steering, before, 0)) })
}
