//go:build linux

package mapwatch_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"

	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/test/need"
)

// A timer is no part of the value, but of the element: what we write over it ends
// it, as any update does, and leaves its bytes alone.
func TestApplyEndsATimer(t *testing.T) {
	if errors.Is(features.HaveProgramHelper(ebpf.SchedCLS, asm.FnTimerInit), ebpf.ErrNotSupported) {
		t.Log("this kernel has no timers in maps (before 5.15), so there is nothing to end")
		return
	}
	for _, kind := range []ebpf.MapType{ebpf.Hash, ebpf.LRUHash, ebpf.Array} {
		t.Run(kind.String(), func(t *testing.T) {
			for _, applied := range []bool{false, true} {
				m, start := newTimerMap(t, kind)
				key := make([]byte, 4)
				value := append(bytes.Repeat([]byte{0xff}, 16), 0, 0, 0, 0, 7, 0, 0, 0)
				write := func() {
					ops := []mapwatch.Op{{Key: key, Value: value}}
					m.Apply(ops)
					if ops[0].Err != nil {
						t.Fatal(ops[0].Err)
					}
				}
				write()
				start()
				if applied {
					write()
				}
				fired := func() bool {
					got, err := m.Lookup(key)
					if err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(got[:16], make([]byte, 16)) {
						t.Fatalf("the timer reads as %x, want zeros", got[:16])
					}
					return got[16] != 0
				}
				// A timer that was not ended fires after timerDelay; one more is
				// patience for a busy machine.
				for deadline := time.Now().Add(10 * timerDelay); !fired() && time.Now().Before(deadline); {
				}
				if fired() == applied {
					t.Errorf("applied over it is %t, and that it fired is %t", applied, fired())
				}
			}
		})
	}
}

const timerDelay = 50 * time.Millisecond

// newTimerMap makes a map whose values are a timer, a word that it sets when it
// fires, and a word of the test's. start sets the timer of key 0.
func newTimerMap(t *testing.T, kind ebpf.MapType) (m mapwatch.Map, start func()) {
	t.Helper()
	u32 := &btf.Int{Name: "unsigned int", Size: 4}
	u64 := &btf.Int{Name: "unsigned long long", Size: 8}
	timer := &btf.Struct{Name: "bpf_timer", Size: 16, Members: []btf.Member{{Name: "a", Type: u64}, {Name: "b", Type: u64, Offset: 64}}}
	path := pinMap(t, filepath.Join(need.BPFFS(t), "timers"), &ebpf.MapSpec{
		Type: kind, KeySize: 4, ValueSize: 24, MaxEntries: 1024,
		Key: u32,
		Value: &btf.Struct{Name: "timed", Size: 24, Members: []btf.Member{
			{Name: "timer", Type: timer}, {Name: "fired", Type: u32, Offset: 128}, {Name: "n", Type: u32, Offset: 160},
		}},
	})
	m, err := openHost(t).Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	raw, err := ebpf.LoadPinnedMap(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })

	i32 := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	pointer := &btf.Pointer{Target: &btf.Void{}}
	main := &btf.Func{Name: "start", Linkage: btf.GlobalFunc, Type: &btf.FuncProto{Return: i32, Params: []btf.FuncParam{{Name: "ctx", Type: pointer}}}}
	fire := &btf.Func{Name: "fire", Linkage: btf.StaticFunc, Type: &btf.FuncProto{Return: i32, Params: []btf.FuncParam{
		{Name: "map", Type: pointer}, {Name: "key", Type: pointer}, {Name: "value", Type: pointer},
	}}}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS,
		Instructions: asm.Instructions{
			btf.WithFuncMetadata(asm.StoreImm(asm.RFP, -4, 0, asm.Word).WithSymbol("start"), main),
			asm.LoadMapPtr(asm.R1, raw.FD()),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -4),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "out"),
			asm.Mov.Reg(asm.R6, asm.R0),
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.LoadMapPtr(asm.R2, raw.FD()),
			asm.Mov.Imm(asm.R3, 1), // CLOCK_MONOTONIC
			asm.FnTimerInit.Call(),
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Instruction{OpCode: asm.LoadImmOp(asm.DWord), Dst: asm.R2, Src: asm.PseudoFunc, Constant: -1}.WithReference("fire"),
			asm.FnTimerSetCallback.Call(),
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Mov.Imm(asm.R2, int32(timerDelay)),
			asm.Mov.Imm(asm.R3, 0),
			asm.FnTimerStart.Call(),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
			asm.Return(),
			btf.WithFuncMetadata(asm.StoreImm(asm.R3, 16, 1, asm.Word).WithSymbol("fire"), fire),
			asm.Mov.Imm(asm.R0, 0),
			asm.Return(),
		},
		License: "GPL",
	})
	if err != nil {
		t.Fatalf("load a program that sets a timer: %+v", err)
	}
	// Timers live as long as somebody holds the map and the program.
	t.Cleanup(func() { prog.Close() })
	return m, func() {
		if _, err := prog.Run(&ebpf.RunOptions{Data: make([]byte, 64)}); err != nil {
			t.Fatal(err)
		}
	}
}
