//go:build linux

package mapwatch_test

import (
	"encoding/binary"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/test/need"
)

// What we read of an LRU map does not make an element look used: the same ones
// are evicted as if nobody had read. What a program reads does, and shows that
// the test sees it.
func TestReadsLeaveTheLRUOrderAlone(t *testing.T) {
	need.Root(t)
	for _, lists := range []struct {
		name  string
		flags uint32
	}{{"common", 0}, {"per CPU", unix.BPF_F_NO_COMMON_LRU}} {
		t.Run(lists.name, func(t *testing.T) {
			untouched := evicted(t, lists.flags, func(mapwatch.Map, *ebpf.Map) {})
			if len(untouched) < lruEntries/4 {
				t.Fatalf("%d of the %d old elements were evicted, want most", len(untouched), lruEntries/2)
			}
			for name, read := range map[string]func(mapwatch.Map, *ebpf.Map){
				"Lookup": func(m mapwatch.Map, _ *ebpf.Map) {
					for i := range uint32(lruEntries / 2) {
						if _, err := m.Lookup(lruKey(i)); err != nil {
							t.Error(err)
						}
					}
				},
				"Scan": func(m mapwatch.Map, _ *ebpf.Map) {
					total := 0
					if err := m.Scan(t.Context(), func(_, _ []byte, n int) error { total += n; return nil }); err != nil {
						t.Error(err)
					}
					if total < lruEntries/2 {
						t.Errorf("%d elements", total)
					}
				},
			} {
				if got := evicted(t, lists.flags, read); !slices.Equal(got, untouched) {
					t.Errorf("%s: %d old elements were evicted, without it %d; or others", name, len(got), len(untouched))
				}
			}
			control := evicted(t, lists.flags, func(_ mapwatch.Map, m *ebpf.Map) {
				for i := range uint32(lruEntries / 2) {
					lookUpInProgram(t, m, lruKey(i))
				}
			})
			t.Logf("%d of %d old elements were evicted, %d if a program had read them", len(untouched), lruEntries/2, len(control))
			if len(control) >= len(untouched)/2 {
				t.Errorf("%d old elements were evicted though a program had read them, %d else", len(control), len(untouched))
			}
		})
	}
}

const lruEntries = 4096

func lruKey(i uint32) []byte { return binary.NativeEndian.AppendUint32(nil, i) }

// evicted fills half of a new LRU map, lets somebody read that, and then writes
// three quarters as many as the map can hold: it returns which of the first ones went.
func evicted(t *testing.T, flags uint32, read func(m mapwatch.Map, raw *ebpf.Map)) []uint32 {
	t.Helper()
	path := filepath.Join(need.BPFFS(t), "lru")
	entries := uint32(lruEntries)
	if flags&unix.BPF_F_NO_COMMON_LRU != 0 { // each CPU has its share
		entries *= uint32(ebpf.MustPossibleCPU())
	}
	pinMap(t, path, &ebpf.MapSpec{Type: ebpf.LRUHash, KeySize: 4, ValueSize: 4, MaxEntries: entries, Flags: flags})
	m, err := openHost(t).Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	raw, err := ebpf.LoadPinnedMap(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	write := func(from, to uint32) {
		onOneCPU(t, func() { // each CPU has lists of its own
			for i := from; i < to; i++ {
				if err := raw.Put(lruKey(i), lruKey(i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	write(0, lruEntries/2)
	read(m, raw)
	write(lruEntries/2, lruEntries*5/4)
	var gone []uint32
	for i := range uint32(lruEntries / 2) {
		var value uint32
		if err := raw.Lookup(lruKey(i), &value); err != nil {
			gone = append(gone, i)
		}
	}
	return gone
}

// onOneCPU runs fn on a thread of its own, on the first CPU that we may use.
func onOneCPU(t *testing.T, fn func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		done <- func() error {
			var may, one unix.CPUSet
			if err := unix.SchedGetaffinity(0, &may); err != nil {
				return err
			}
			cpu := 0
			for !may.IsSet(cpu) {
				cpu++
			}
			one.Set(cpu)
			if err := unix.SchedSetaffinity(0, &one); err != nil {
				return err
			}
			fn()
			return nil
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// lookUpInProgram runs a program that looks key up in m.
func lookUpInProgram(t *testing.T, m *ebpf.Map, key []byte) {
	t.Helper()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SocketFilter,
		Instructions: asm.Instructions{
			asm.StoreImm(asm.RFP, -4, int64(int32(binary.NativeEndian.Uint32(key))), asm.Word),
			asm.LoadMapPtr(asm.R1, m.FD()),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -4),
			asm.FnMapLookupElem.Call(),
			asm.Mov.Imm(asm.R0, 0),
			asm.Return(),
		},
		License: "GPL",
	})
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	if _, err := prog.Run(&ebpf.RunOptions{Data: make([]byte, 64)}); err != nil {
		t.Fatal(err)
	}
}
