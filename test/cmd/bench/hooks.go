//go:build linux

package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/mapgossip/mapgossip/mapwatch"
)

const (
	hookRounds  = 5    // in which every state has its turn
	hookSamples = 100  // of each way a turn, the median of all counts
	hookUpdates = 64   // of a sample: so short that a busy machine disturbs few; and by one batch call
	hookKeys    = 1024 // that are written in turn; a power of two
)

// hookState is what is attached while updates are timed.
type hookState struct {
	mode    mapwatch.Mode // none: bare
	watched bool          // the map that is written; else another one
}

func hookStates() []hookState {
	return []hookState{
		{},
		{mapwatch.ModeFexit, false}, {mapwatch.ModeFexit, true},
		{mapwatch.ModeFentry, false}, {mapwatch.ModeFentry, true},
	}
}

// hookWay is a way to update a map.
type hookWay string

const (
	wayCall    hookWay = "system call"
	wayBatch   hookWay = "batch call, an entry"
	wayProgram hookWay = "BPF program"
)

func hookWays() []hookWay { return []hookWay{wayCall, wayBatch, wayProgram} }

// hookCosts are medians of what one update takes.
type hookCosts struct {
	Machine string
	NS      map[string]float64 // by name of a way and a state
	Dropped uint64             // records that found the ring full
}

func (c hookCosts) of(way hookWay, s hookState) float64 { return c.NS[costName(way, s)] }

func costName(way hookWay, s hookState) string {
	return fmt.Sprintf("%s, %s, watched %v", way, s.mode, s.watched)
}

// serveHooks measures and prints hookCosts. With bareOnly nothing is attached.
func serveHooks(out io.Writer, bareOnly bool) error {
	costs, err := measureHooks(bareOnly)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(costs)
}

func measureHooks(bareOnly bool) (_ hookCosts, err error) {
	host, err := mapwatch.OpenHost()
	if err != nil {
		return hookCosts{}, err
	}
	defer func() { err = errors.Join(err, host.Close()) }()
	var maps [2]*kernelMap // the first one is watched
	var opened [2]mapwatch.Map
	var writers [2]*hookWriter
	for i := range maps {
		if maps[i], err = newKernelMap(hookKeys); err != nil {
			return hookCosts{}, err
		}
		defer maps[i].close()
		if opened[i], err = host.Open(maps[i].target()); err != nil {
			return hookCosts{}, err
		}
		defer opened[i].Close()
		if writers[i], err = newHookWriter(maps[i]); err != nil {
			return hookCosts{}, err
		}
		defer writers[i].program.Close()
	}
	samples := make(map[string][]float64)
	var dropped uint64
	for range hookRounds {
		var watch mapwatch.Watch
		for _, s := range hookStates() {
			if bareOnly && s.mode != "" {
				break
			}
			if !s.watched && s.mode != "" { // the first of its mode
				if watch, err = host.Watch(opened[:1], mapwatch.Options{Mode: s.mode}); err != nil {
					return hookCosts{}, err
				}
				go func() {
					for batch := range watch.Batches() {
						batch.Release()
					}
				}()
			}
			w := writers[1]
			if s.watched {
				w = writers[0]
			}
			for _, way := range hookWays() {
				all, err := w.time(way)
				if err != nil {
					return hookCosts{}, errors.Join(err, watch.Close())
				}
				samples[costName(way, s)] = append(samples[costName(way, s)], all...)
			}
			if s.watched {
				dropped += watch.Counts(0).Dropped
				if err := watch.Close(); err != nil {
					return hookCosts{}, err
				}
			}
		}
	}
	costs := hookCosts{Machine: machine(), NS: make(map[string]float64), Dropped: dropped}
	for name, all := range samples {
		slices.Sort(all)
		costs.NS[name] = all[len(all)/2]
	}
	return costs, nil
}

// hookWriter updates a map as fast as each way allows.
type hookWriter struct {
	m       *kernelMap
	program *ebpf.Program
	keys    []key
	values  []value
}

func newHookWriter(m *kernelMap) (*hookWriter, error) {
	w := &hookWriter{m: m, keys: make([]key, hookKeys), values: make([]value, hookKeys)}
	for i := range w.keys {
		w.keys[i], w.values[i] = driven(uint64(i), hookKeys)
	}
	// Not XDP: there the kernel waits for all CPUs before it runs one repeatedly.
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, License: "GPL", Instructions: updateInstructions(m.m)})
	if err != nil {
		return nil, fmt.Errorf("load a program that updates a map: %w", err)
	}
	w.program = program
	return w, nil
}

// updateInstructions write one key, picked by chance, of the map.
func updateInstructions(m *ebpf.Map) asm.Instructions {
	const keyAt, valueAt = -keyBytes, -keyBytes - valueBytes
	program := asm.Instructions{
		asm.FnGetPrandomU32.Call(),
		asm.And.Imm(asm.R0, hookKeys-1),
		asm.StoreMem(asm.RFP, keyAt, asm.R0, asm.DWord),
		asm.Mov.Imm(asm.R1, 0),
		asm.StoreMem(asm.RFP, keyAt+8, asm.R1, asm.DWord),
	}
	for at := int16(valueAt); at < keyAt; at += 8 {
		program = append(program, asm.StoreMem(asm.RFP, at, asm.R0, asm.DWord))
	}
	return append(program,
		asm.LoadMapPtr(asm.R1, m.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, keyAt),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, valueAt),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnMapUpdateElem.Call(),
		asm.Return(),
	)
}

// time takes samples of one way, in ns an update.
func (w *hookWriter) time(way hookWay) ([]float64, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	samples := make([]float64, hookSamples)
	for i := range samples {
		began := now()
		took := time.Duration(0)
		var err error
		switch way {
		case wayCall:
			err = w.call()
		case wayBatch:
			err = w.batch()
		case wayProgram:
			took, err = w.run()
		}
		if err != nil {
			return nil, fmt.Errorf("update a map by %s: %w", way, err)
		}
		if took == 0 {
			took = (now() - began) / hookUpdates
		}
		samples[i] = float64(took)
	}
	return samples, nil
}

// The calls are made here because a library's share would hide what hooks add.

type elementAttr struct {
	fd         uint32
	_          uint32
	key, value unsafe.Pointer
	flags      uint64
}

func (w *hookWriter) call() error {
	attr := elementAttr{fd: uint32(w.m.m.FD())}
	for i := range hookUpdates {
		attr.key, attr.value = unsafe.Pointer(&w.keys[i%hookKeys]), unsafe.Pointer(&w.values[i%hookKeys])
		if err := bpf(unix.BPF_MAP_UPDATE_ELEM, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
			return err
		}
	}
	return nil
}

type batchAttr struct {
	in, out, keys, values unsafe.Pointer
	count, fd             uint32
	elementFlags, flags   uint64
}

func (w *hookWriter) batch() error {
	attr := batchAttr{fd: uint32(w.m.m.FD()), count: hookUpdates, keys: unsafe.Pointer(&w.keys[0]), values: unsafe.Pointer(&w.values[0])}
	return bpf(unix.BPF_MAP_UPDATE_BATCH, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
}

func bpf(command uintptr, attr unsafe.Pointer, size uintptr) error {
	for {
		switch _, _, errno := unix.RawSyscall(unix.SYS_BPF, command, uintptr(attr), size); errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}

// run lets the kernel run the program so often; it says itself how long one took.
func (w *hookWriter) run() (time.Duration, error) {
	packet := make([]byte, 64)
	binary.NativeEndian.PutUint64(packet, 1)
	_, took, err := w.program.Benchmark(packet, hookUpdates, nil)
	return took, err
}
