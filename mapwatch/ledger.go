//go:build linux

package mapwatch

import (
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf"
)

// ledgerMap is the name of the ledger among the maps of a capture.
const ledgerMap = "ledger"

// Words of a ledger, 8 bytes each. What they mean is part of setFormat.
const (
	// ledgerWatch is the number of the watch that reads the ring, or did so
	// last, counted from 1.
	ledgerWatch = iota
	// ledgerSettled is the number of the last watch that left nothing behind:
	// whoever had its batches was done with all of them.
	ledgerSettled
	// ledgerFirstMisses is what readMisses said before the first map was watched, a
	// word a hook.
	ledgerFirstMisses
	// ledgerMisses is up to how many misses were answered by a rescan, a word a hook.
	ledgerMisses = ledgerFirstMisses + hookCount
	// ledgerDropped is the same of dropped records, a word a slot.
	ledgerDropped = ledgerMisses + hookCount
)

// ledger is what the watches of one pinned capture, one after the other, tell
// each other: memory of the kernel, which outlives a process however it ends.
// Only the watch that holds the pins' lock writes, but for settle.
type ledger struct {
	memory *ebpf.Memory
}

func ledgerSpec(slots int) *ebpf.MapSpec {
	return &ebpf.MapSpec{
		Name: ledgerMap, Type: ebpf.Array, Flags: bpfMmapable,
		KeySize: 4, ValueSize: 8, MaxEntries: uint32(ledgerDropped + slots),
	}
}

// bpfMmapable is BPF_F_MMAPABLE (5.5).
const bpfMmapable = 1 << 10

// openLedger maps m, which is as ledgerSpec said. The memory stays after m is
// closed.
func openLedger(m *ebpf.Map) (*ledger, error) {
	memory, err := m.Memory()
	if err != nil {
		return nil, fmt.Errorf("map the ledger of the capture: %w: %w", err, ErrUnsupported)
	}
	return &ledger{memory}, nil
}

// get and set do not fail: the memory is as long as ledgerSpec made it.
func (l *ledger) get(word int) uint64 {
	var b [8]byte
	_, _ = l.memory.ReadAt(b[:], int64(word)*8)
	return binary.NativeEndian.Uint64(b[:])
}

func (l *ledger) set(word int, value uint64) {
	_, _ = l.memory.WriteAt(binary.NativeEndian.AppendUint64(nil, value), int64(word)*8)
}

// begin numbers the next watch. settled reports whether the one before left
// nothing behind.
func (l *ledger) begin() (watch uint64, settled bool) {
	before := l.get(ledgerWatch)
	l.set(ledgerWatch, before+1)
	return before + 1, before != 0 && l.get(ledgerSettled) == before
}

// settle says that the watch left nothing behind. It may come when another
// watch has begun: that one has decided already, and its successor at worst
// rescans for nothing.
func (l *ledger) settle(watch uint64) {
	if l.get(ledgerWatch) == watch {
		l.set(ledgerSettled, watch)
	}
}
