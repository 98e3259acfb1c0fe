//go:build linux

package mapwatch_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/conformance"
	"github.com/mapgossip/mapgossip/test/need"
)

// subject is this machine's kernel for the conformance suite.
func subject(t *testing.T) conformance.Subject {
	t.Helper()
	need.Root(t) // for id: and name: targets
	dir := need.BPFFS(t)
	h := openHost(t)
	maps, pins := 0, 0
	s := conformance.Subject{
		Kernel: h,
		Create: func(t *testing.T, shape mapwatch.Shape) conformance.Program {
			maps++
			return newProgram(t, filepath.Join(dir, fmt.Sprintf("map%d", maps)), shape)
		},
		Pins: func(*testing.T) string {
			pins++
			return filepath.Join(dir, fmt.Sprintf("pins%d", pins))
		},
		Kill: func(_ *testing.T, w mapwatch.Watch) { mapwatch.AbandonWatch(w) },
		Refused: map[string]error{
			dir:                              mapwatch.ErrNotMap,
			pinProgram(t, dir):               mapwatch.ErrNotMap,
			ordinaryFile(t):                  mapwatch.ErrNotMap,
			filepath.Join(t.TempDir(), "no"): mapwatch.ErrNotFound,
			"/dev/null":                      mapwatch.ErrNotMap,
		},
	}
	for kind, spec := range refusedTypes() {
		s.Refused[pinMap(t, filepath.Join(dir, kind), spec)] = mapwatch.ErrType
	}
	return s
}

func openHost(t testing.TB) *mapwatch.Host {
	t.Helper()
	h, err := mapwatch.OpenHost()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func refusedTypes() map[string]*ebpf.MapSpec {
	inner := &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	return map[string]*ebpf.MapSpec{
		"percpu_hash":   {Type: ebpf.PerCPUHash, KeySize: 4, ValueSize: 4, MaxEntries: 4},
		"percpu_array":  {Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 4, MaxEntries: 4},
		"queue":         {Type: ebpf.Queue, ValueSize: 4, MaxEntries: 4},
		"ringbuf":       {Type: ebpf.RingBuf, MaxEntries: uint32(os.Getpagesize())},
		"prog_array":    {Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 4},
		"hash_of_maps":  {Type: ebpf.HashOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 4, InnerMap: inner},
		"array_of_maps": {Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 4, InnerMap: inner},
	}
}

func pinMap(t *testing.T, path string, spec *ebpf.MapSpec) string {
	t.Helper()
	m, err := ebpf.NewMap(spec)
	if err != nil {
		t.Fatalf("create map %s: %v", path, err)
	}
	defer m.Close()
	if err := m.Pin(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func pinProgram(t *testing.T, dir string) string {
	t.Helper()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:         ebpf.SocketFilter,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		License:      "GPL",
	})
	if err != nil {
		t.Fatalf("load a socket filter: %v", err)
	}
	defer prog.Close()
	path := filepath.Join(dir, "prog")
	if err := prog.Pin(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func ordinaryFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("not a map"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// program owns a pinned map of this machine's kernel.
type program struct {
	m     *ebpf.Map
	path  string
	shape mapwatch.Shape
}

func newProgram(t testing.TB, path string, shape mapwatch.Shape) *program {
	t.Helper()
	spec := &ebpf.MapSpec{
		Name:       fmt.Sprintf("c%d_%s", os.Getpid(), filepath.Base(path)),
		Type:       ebpf.Hash,
		KeySize:    uint32(shape.KeyBytes),
		ValueSize:  uint32(shape.ValueBytes),
		MaxEntries: uint32(shape.MaxEntries),
	}
	switch shape.Type {
	case mapwatch.TypeLRUHash:
		spec.Type = ebpf.LRUHash
	case mapwatch.TypeArray:
		spec.Type = ebpf.Array
	case mapwatch.TypeLPMTrie:
		spec.Type, spec.Flags = ebpf.LPMTrie, unix.BPF_F_NO_PREALLOC // which the kernel wants of tries
	}
	m, err := ebpf.NewMap(spec)
	if err != nil {
		t.Fatalf("create map: %v", err)
	}
	t.Cleanup(func() { m.Close() })
	if err := m.Pin(path); err != nil {
		t.Fatal(err)
	}
	return &program{m, path, shape}
}

func (p *program) Target() string                    { return p.path }
func (p *program) Update(key, value []byte) error    { return p.m.Put(key, value) }
func (p *program) Insert(key, value []byte) error    { return p.m.Update(key, value, ebpf.UpdateNoExist) }
func (p *program) Overwrite(key, value []byte) error { return p.m.Update(key, value, ebpf.UpdateExist) }
func (p *program) Delete(key []byte) error           { return p.m.Delete(key) }

// Drain takes out all that there is, in one call: one bucket can be as large.
func (p *program) Drain() error {
	n := p.shape.MaxEntries
	array := func(size int) any {
		element := reflect.ArrayOf(size, reflect.TypeFor[byte]())
		return reflect.MakeSlice(reflect.SliceOf(element), n, n).Interface()
	}
	_, err := p.m.BatchLookupAndDelete(new(ebpf.MapBatchCursor), array(p.shape.KeyBytes), array(p.shape.ValueBytes), nil)
	if errors.Is(err, ebpf.ErrKeyNotExist) { // that was the end
		return nil
	}
	return err
}

func (p *program) Freeze(t *testing.T) {
	t.Helper()
	if err := p.m.Freeze(); err != nil {
		t.Fatal(err)
	}
}

func (p *program) Unpin(t *testing.T) {
	t.Helper()
	if err := os.Remove(p.path); err != nil {
		t.Fatal(err)
	}
}

func (p *program) Replace(t *testing.T) conformance.Program {
	t.Helper()
	p.Unpin(t)
	return newProgram(t, p.path, p.shape)
}
