//go:build guest

package mapgossip

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/fake"
)

// Tests of files with this build tag need root, a BPF file system and
// trampolines: they run in an emulated machine, or on any host that allows
// them, and never skip.

// kernelPatience bounds the wait for what comes within milliseconds, but for
// emulation; what a loss has hidden comes with the scan that answers it.
const kernelPatience = 60 * time.Second

// kernelMap is a kind of map that replicates, as these tests use it.
type kernelMap struct {
	name    string // Shape.Type
	kind    ebpf.MapType
	flags   uint32
	key     func(n uint32) []byte
	deletes bool // programs can delete; else a value of zeros is a delete
}

// kernelMaps are the kinds that a Node can be bound to.
func kernelMaps() []kernelMap {
	plain := func(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }
	return []kernelMap{
		{mapwatch.TypeHash, ebpf.Hash, 0, plain, true},
		{mapwatch.TypeLRUHash, ebpf.LRUHash, 0, plain, true},
		{mapwatch.TypeArray, ebpf.Array, 0, plain, false},
	}
}

const (
	kernelValueBytes = 16
	kernelEntries    = 1 << 14

	aheadThere = 500 * time.Millisecond // of the other member's clock
)

// written is the value that a writer wrote to a key as its seq-th operation. It
// is never all zero.
type written struct {
	key, writer uint32
	seq         uint64
}

func (w written) value() []byte {
	b := binary.NativeEndian.AppendUint32(nil, w.key)
	b = binary.NativeEndian.AppendUint32(b, w.writer+1)
	return binary.NativeEndian.AppendUint64(b, w.seq)
}

func parseWritten(value []byte) written {
	return written{binary.NativeEndian.Uint32(value), binary.NativeEndian.Uint32(value[4:]) - 1, binary.NativeEndian.Uint64(value[8:])}
}

// kernelPair is a Node on this host's kernel, here, and one on a kernel in
// memory, there, joined over loopback.
type kernelPair struct {
	t           *testing.T
	of          kernelMap
	m           *ebpf.Map // here, as the programs of this host have it
	far         *fake.Map // there
	records     *tappedKernel
	here, there *Node
}

// newKernelPair starts both and waits until they are equal. Nothing is scanned
// unless a loss asks for it.
func newKernelPair(t *testing.T, of kernelMap, mode mapwatch.Mode) *kernelPair {
	t.Helper()
	pin := filepath.Join("/sys/fs/bpf", fmt.Sprintf("mapgossip_%d", os.Getpid()))
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: "race", Type: of.kind, Flags: of.flags,
		KeySize: uint32(len(of.key(0))), ValueSize: kernelValueBytes, MaxEntries: kernelEntries,
	})
	must(t, err)
	t.Cleanup(func() { m.Close() })
	must(t, m.Pin(pin))
	t.Cleanup(func() { must(t, os.Remove(pin)) })
	host, err := mapwatch.OpenHost()
	must(t, err)
	t.Cleanup(func() { must(t, host.Close()) })
	memory := fake.NewKernel(nil)
	t.Cleanup(func() { must(t, memory.Close()) })

	p := &kernelPair{t: t, of: of, m: m, records: &tappedKernel{Kernel: host}}
	p.far = memory.AddMap(mapwatch.Shape{Target: rigPin, Type: of.name, KeyBytes: len(of.key(0)), ValueBytes: kernelValueBytes, MaxEntries: kernelEntries})
	config := func(node, target string, kernel mapwatch.Kernel) Config {
		c := DefaultConfig()
		c.Node, c.Kernel = node, kernel
		c.Maps = []MapConfig{{Name: "race", Target: target}}
		c.Bind = netip.MustParseAddrPort("127.0.0.1:0")
		c.ScanInterval, c.SyncInterval = time.Hour, 500*time.Millisecond
		c.Logger = slog.New(slog.DiscardHandler)
		return c
	}
	c := config("here", pin, p.records)
	c.Capture = mode
	p.here = p.start(c)
	c = config("there", rigPin, memory)
	c.Join = []string{p.here.Members()[0].Addr}
	// What it writes is newer than what is written here meanwhile, and so is applied.
	c.Now = func() time.Time { return time.Now().Add(aheadThere) }
	p.there = p.start(c)
	if s := p.status(p.here); s.Capture != string(mode) {
		t.Fatalf("capture by %s, want %s", s.Capture, mode)
	}
	p.equal()
	return p
}

func (p *kernelPair) start(c Config) *Node {
	p.t.Helper()
	n, err := New(c)
	must(p.t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	p.t.Cleanup(func() {
		stop()
		must(p.t, <-ended)
	})
	return n
}

func (p *kernelPair) status(n *Node) MapStatus {
	p.t.Helper()
	maps, err := n.Maps(p.t.Context())
	must(p.t, err)
	return maps[0]
}

// content is what the kernel's map holds, by key.
func (p *kernelPair) content() map[string]string {
	p.t.Helper()
	content := make(map[string]string)
	var key, value []byte
	it := p.m.Iterate()
	for it.Next(&key, &value) {
		if p.of.deletes || parseWritten(value) != parseWritten(make([]byte, kernelValueBytes)) {
			content[string(key)] = string(value)
		}
	}
	must(p.t, it.Err())
	return content
}

// covered reports whether a Node has processed all that happened up to now, and
// doubts nothing.
func (p *kernelPair) covered(n *Node) bool {
	p.t.Helper()
	target := n.kernel.Now()
	for begin := time.Now(); time.Since(begin) < kernelPatience; time.Sleep(time.Millisecond) {
		covered, settled := false, false
		must(p.t, n.call(p.t.Context(), func() {
			n.watch.Barrier()
			covered, settled = n.upto >= target, !n.unsettled() && !n.maps[0].rescan && !n.maps[0].scanning
		}))
		if covered {
			return settled
		}
	}
	return false
}

// equal waits until both maps and both stores are the same and nothing is in
// doubt, and returns what the maps hold. Nobody may write meanwhile.
func (p *kernelPair) equal() map[string]string {
	p.t.Helper()
	why := ""
	for begin := time.Now(); time.Since(begin) < kernelPatience; time.Sleep(2 * time.Millisecond) {
		if !p.covered(p.here) || !p.covered(p.there) {
			why = "not settled"
			continue
		}
		a, b := p.status(p.here), p.status(p.there)
		if a.Digest != b.Digest || a.PendingApply+b.PendingApply+a.Unsettled+b.Unsettled > 0 {
			why = "different stores"
			continue
		}
		here, there := p.content(), p.far.Content()
		if !maps.Equal(here, there) {
			why = "different maps: " + difference(here, there)
			continue
		}
		if a.Entries != len(here) {
			why = fmt.Sprintf("%d entries in the store, %d elements in the map", a.Entries, len(here))
			continue
		}
		return here
	}
	p.t.Fatalf("after %v: %s\nhere: %+v\nthere: %+v", kernelPatience, why, p.status(p.here), p.status(p.there))
	return nil
}

// difference names a key that two maps do not have in common.
func difference(a, b map[string]string) string {
	for key, value := range a {
		if b[key] != value {
			return fmt.Sprintf("key %x: %x here, %x there", key, value, b[key])
		}
	}
	for key, value := range b {
		if a[key] != value {
			return fmt.Sprintf("key %x: %x here, %x there", key, a[key], value)
		}
	}
	return "none"
}

// echoes are entries that say "here" wrote them and hold what was written there.
func (p *kernelPair) echoes(there uint32) (echoes []crdtEntry) {
	p.t.Helper()
	must(p.t, p.here.call(p.t.Context(), func() {
		for e := range p.here.maps[0].store.All() {
			if !e.Deleted && e.Version.Member == "here" && parseWritten(e.Value).writer == there {
				echoes = append(echoes, crdtEntry{string(e.Key), string(e.Value)})
			}
		}
	}))
	return echoes
}

type crdtEntry struct{ key, value string }

// tappedKernel keeps the last record of each key.
type tappedKernel struct {
	mapwatch.Kernel

	watch mapwatch.Watch // set when a Node was made

	mu   sync.Mutex
	last map[string]string // value by key; "" for a delete or a mere touch
}

func (k *tappedKernel) Watch(maps []mapwatch.Map, options mapwatch.Options) (mapwatch.Watch, error) {
	w, err := k.Kernel.Watch(maps, options)
	if err != nil {
		return nil, err
	}
	k.take()
	tapped := &tappedWatch{Watch: w, passed: make(chan mapwatch.Batch), quit: make(chan struct{})}
	go func() {
		defer close(tapped.passed)
		for batch := range w.Batches() {
			k.note(batch.Changes)
			select {
			case tapped.passed <- batch:
			case <-tapped.quit:
			}
		}
	}()
	k.watch = tapped
	return tapped, nil
}

func (k *tappedKernel) note(changes []mapwatch.Change) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range changes {
		k.last[string(c.Key)] = string(c.Value)
	}
}

// take returns the last records since the last call.
func (k *tappedKernel) take() map[string]string {
	k.mu.Lock()
	defer k.mu.Unlock()
	last := k.last
	k.last = make(map[string]string)
	return last
}

type tappedWatch struct {
	mapwatch.Watch
	passed chan mapwatch.Batch
	quit   chan struct{}
	close  sync.Once
}

func (w *tappedWatch) Batches() <-chan mapwatch.Batch { return w.passed }

func (w *tappedWatch) Close() error {
	w.close.Do(func() { close(w.quit) })
	return w.Watch.Close()
}

// pinThread keeps the calling goroutine on a thread of its own and that on one
// CPU; both end together.
func pinThread(cpu int) error {
	runtime.LockOSThread() // not unlocked
	var set unix.CPUSet
	set.Set(cpu)
	return unix.SchedSetaffinity(0, &set)
}

// element is an operation on one element by system call, as short as it can be.
type element struct {
	fd    uint32
	_     uint32
	key   unsafe.Pointer
	value unsafe.Pointer
	flags uint64
}

func (e *element) do(command uintptr) error {
	for {
		switch _, _, errno := unix.RawSyscall(unix.SYS_BPF, command, uintptr(unsafe.Pointer(e)), unsafe.Sizeof(*e)); errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}

// write sets a key, or deletes it if value is nil; false if it was not there.
func (p *kernelPair) write(key, value []byte) (bool, error) {
	e := &element{fd: uint32(p.m.FD()), key: unsafe.Pointer(unsafe.SliceData(key)), value: unsafe.Pointer(unsafe.SliceData(value))}
	command := uintptr(unix.BPF_MAP_UPDATE_ELEM)
	if value == nil {
		if command = unix.BPF_MAP_DELETE_ELEM; !p.of.deletes {
			command, e.value = unix.BPF_MAP_UPDATE_ELEM, unsafe.Pointer(unsafe.SliceData(make([]byte, kernelValueBytes)))
		}
	}
	err := e.do(command)
	runtime.KeepAlive(key)
	runtime.KeepAlive(value)
	if value == nil && errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil, err
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
