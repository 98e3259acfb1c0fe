package mapwatch

import (
	"context"
	"errors"
	"time"

	"github.com/mapgossip/mapgossip/mapwatch/layout"
)

// Sentinel errors. Every one comes wrapped in a sentence that says what was
// tried and what to do about it.
var (
	// ErrNotFound: the map has no such key, or the host has no such map.
	ErrNotFound = errors.New("not found")
	// ErrNotMap: the pin path names something else than a map.
	ErrNotMap = errors.New("not a BPF map")
	// ErrType: values of this map type are not bytes that another host could
	// use, or the type is not supported yet.
	ErrType = errors.New("map type cannot be replicated")
	// ErrFull: the map has max_entries elements (E2BIG, ENOSPC), or is an array
	// without this index.
	ErrFull = errors.New("map is full")
	// ErrFrozen: the map refuses writes from user space (EPERM after
	// BPF_MAP_FREEZE, or a BPF_F_RDONLY map).
	ErrFrozen = errors.New("map is frozen")
	// ErrGone: the handle no longer leads to a map.
	ErrGone = errors.New("map is gone")
	// ErrBusy: the kernel refused for the moment (EBUSY, EDEADLK, ETIMEDOUT,
	// EAGAIN); trying again is right.
	ErrBusy = errors.New("map is busy")
	// ErrPermission: a capability or the lockdown policy is in the way.
	ErrPermission = errors.New("not permitted")
	// ErrUnsupported: this kernel cannot do what was asked.
	ErrUnsupported = errors.New("not supported by this kernel")
	// ErrInUse: another Watch, here or in another process, has those Options.Pins.
	ErrInUse = errors.New("in use")
	// ErrTarget: the target's text does not follow the syntax.
	ErrTarget = errors.New("malformed target")
)

// Kernel is one host's kernel, as far as replication needs it: Host is the real
// one, package fake has one for tests. All methods are safe for concurrent use.
type Kernel interface {
	// Open finds a map and holds it open. Errors: ErrNotFound, ErrNotMap,
	// ErrType, ErrPermission, ErrTarget.
	Open(target string) (Map, error)

	// Reopen opens what the target of m, which this Kernel opened, leads to now,
	// to follow a map that was replaced. Errors as for Open, and ErrNotFound while
	// it still leads to m. m may be closed. Among maps of one name m does not
	// count, and exactly one other must have it.
	Reopen(m Map) (Map, error)

	// Watch starts to capture the changes of maps opened by this Kernel; a
	// Change names a map by its index in maps. Blocks for the start-up
	// self-test (under a second, some seconds under emulation).
	// Errors: ErrPermission or ErrUnsupported where a mode other than
	// ModeAuto and ModeScan was asked for and this host does not allow it;
	// ErrInUse, ErrPermission and others about Options.Pins, in every mode.
	Watch(maps []Map, options Options) (Watch, error)

	// Now is CLOCK_BOOTTIME in nanoseconds: the clock of Change.Captured and
	// Batch.Upto. It never steps back.
	Now() int64

	// Boot identifies this run of the kernel (/proc/sys/kernel/random/boot_id):
	// map IDs of another run mean nothing. Empty if it is not to be had.
	Boot() string

	Close() error
}

// Map is an open map. It keeps the kernel's map alive until Close. Safe for
// concurrent use.
type Map interface {
	Shape() Shape

	// Layouts are the types of key and value that the map has in its BTF; zero
	// where it has none.
	Layouts() (key, value layout.Layout)

	// Lookup copies the value of key, of exactly that key in an LPM trie, too.
	// ErrNotFound if there is none. ErrBusy for a trie that changes faster than
	// it can be read.
	//
	// HAZARD: on a preallocated hash map a lookup that races an overwrite can
	// return the bytes of another key's value, because the replaced element
	// is reused at once (kernel/bpf/hashtab.c). Whoever acts on a lookup that
	// disagrees with expectation looks twice. The value of an array's element
	// can be half of one write and half of another if it is longer than a word.
	Lookup(key []byte) ([]byte, error)

	// Apply writes ops in order, by batch where the kernel offers it, and sets
	// each Op.Err. Deleting an absent key succeeds. Transient refusals
	// (ErrBusy) are tried again a few times first. The writes are recognised
	// as ours and never come back as a Change. Blocks until all are done.
	// What an LRU hash map evicts to make room comes back, as Evicted.
	Apply(ops []Op)

	// Scan calls fn with chunks of the map's content until all of it was
	// passed or fn or ctx ends it. keys and values lie end to end, n of each;
	// they are valid during the call only. An element that is in the map for
	// the whole scan is passed exactly once, with a value that it had during
	// the call; no element is passed twice. ErrBusy for a trie that changes
	// faster than it can be read.
	//
	// HAZARD: of an LPM trie that is not sure but next to sure: where keys are
	// overwritten or deleted in the very moment in which the kernel is at them,
	// twice in one place, an element can be left out, or come with the value of
	// a shorter prefix. Whoever acts on an absence looks the key up.
	Scan(ctx context.Context, fn func(keys, values []byte, n int) error) error

	// Current reports whether the target still leads to this map: a loader
	// that restarts often pins a new map under the old path. ErrGone if the
	// target leads to another map or to none.
	Current() error

	Close() error
}

// Shape says what a map is; it does not change while the map is open.
type Shape struct {
	Target     string // as given to Open
	ID         uint32 // the kernel's number for this map
	Name       string // the kernel's name, at most 15 bytes
	Type       string // as bpftool prints it: "hash"
	KeyBytes   int
	ValueBytes int
	MaxEntries int
}

// Types that can be replicated, as Shape.Type names them.
const (
	TypeHash = "hash"
	// TypeLRUHash: never full, because it evicts. Lookup and Scan do not count as
	// use of an element.
	TypeLRUHash = "lru_hash"
	// TypeArray: keys are 4 bytes, an index in the host's byte order. An element
	// that is all zero counts as absent, to Lookup, Scan and Watch alike, and to
	// delete one is to write zeros.
	TypeArray = "array"
	// TypeLPMTrie: keys are a length in bits, 4 bytes in the host's byte order,
	// and the bytes of the prefix. In keys that come from here, bits beyond the
	// length are zero.
	TypeLPMTrie = "lpm_trie"
)

// Op is one write of an Apply. Exactly KeyBytes and, unless Delete, ValueBytes long.
type Op struct {
	Key    []byte // canonical, as those from Scan and in a Change
	Value  []byte
	Delete bool
	Err    error // set by Apply: nil, or wraps ErrFull, ErrFrozen, ErrGone, ErrBusy, ErrPermission
}

// Mode is a way to capture changes.
type Mode string

const (
	ModeAuto   Mode = "auto"   // the best that this host allows
	ModeFexit  Mode = "fexit"  // trampolines that see the result of each operation (5.10, BTF)
	ModeFentry Mode = "fentry" // trampolines before each update, which a look confirms; deletes as with fexit
	ModeScan   Mode = "scan"   // no hooks: the caller compares the whole map now and then
)

// Options of a Watch. The zero value of a field means its default.
//
// With Pins the capture outlives the Watch and the process, and the next Watch
// with the same Pins takes it over: it goes on where the last one stopped, with
// the records that came meanwhile first. Nothing was lost in between unless a
// Batch says so by Rescan. It does, for every map, if
//   - nothing was there to take over, or it captured otherwise: other maps, or in
//     another order, another mode or ring size, other programs (a version of
//     mapgossip can bring new ones). It is ended then, after the new one began.
//   - the last Watch was not closed (kill -9), or a Batch of it was not released.
//
// and for the maps concerned if the ring was full or hooks were skipped meanwhile.
//
// After Close, batches that were read from the ring may still wait in Batches:
// read it to its end, and release them. What Map.Apply writes while no Watch is
// there counts as written by others.
//
// Pins is made, for this user only, if it is not there. One Watch at a time has
// it, the next gets ErrInUse. Of what else is in the directory only captures are
// touched, "capture_" and 32 hexadecimal digits. While nobody takes a capture over
// it costs what it costs otherwise, in time of every writer and in memory; to end
// it, remove the directory. ModeScan pins nothing, says so in Reason, and ends
// what is pinned.
type Options struct {
	Mode      Mode          // default ModeAuto
	RingBytes int           // default 8 MiB; a power of two, at least one page
	Poll      time.Duration // how long a record may wait for company: default 1 ms
	Queue     int           // batches that may wait in Batches: default 64
	Pins      string        // directory of a bpffs in which capture stays after Close; empty: it ends there
}

// Watch is a running capture. Batches must be read until it is closed: a reader
// that stops fills the queue, then the ring, and what no longer fits is counted
// as dropped and answered by Batch.Rescan.
type Watch interface {
	// Batches carries the changes; closed after Close.
	Batches() <-chan Batch
	// Barrier asks for a Batch whose Upto is not before the moment of the
	// call, even if it has no change. It does not wait.
	Barrier()
	// Mode is what is in force, never ModeAuto; Reason says in words why a
	// better one is not, and is empty otherwise. Of several maps they tell what
	// holds for the best one.
	Mode() Mode
	Reason() string
	// Capture is Mode and Reason of one map: with ModeAuto, a map whose type this
	// kernel cannot hook is left to the scan, and the others are not.
	Capture(mapIndex int) (Mode, string)
	// Replace makes the Watch follow m in place of the map that had this index.
	// What the old one still had in the ring comes, or does not; then m asks for
	// a rescan. ErrUnsupported if m is of another type, or of other sizes: that
	// takes a new Watch.
	Replace(mapIndex int, m Map) error
	// NameWriters says whether Changes come with Source and Comm from now on,
	// which costs each write some 100 ns. A Watch begins without. What was captured
	// before comes as it was captured.
	NameWriters(on bool)
	// Counts returns the counters of one map of the watch.
	Counts(mapIndex int) Counts
	Close() error
}

// Batch is what was captured since the last one.
type Batch struct {
	Changes []Change
	// Upto: every record that was submitted before this time (Kernel.Now) is
	// in this batch or an earlier one.
	Upto int64
	// Rescan lists maps (by index, no duplicates) that lost records: only a
	// scan tells what changed.
	Rescan []int
	// Drained lists those of Rescan from which many keys were deleted at once, by
	// lookup_and_delete_batch, and no record says which.
	Drained []int

	memory   *batchMemory // of Changes; nil if it is not used again
	released func()       // called by Release; may be nil
}

// Release gives Changes with all keys and values back to the Watch, to be used
// again: memory that is touched for the first time costs more than a record. It
// is for a receiver that keeps nothing of them; others leave it out. At most
// once a batch.
//
// With Options.Pins it also says that the batch was handled: its changes are
// where they survive this process, and its Rescan was done or will be done
// whatever happens. It may be called after Watch.Close.
func (b *Batch) Release() {
	if m := b.memory; m != nil {
		b.Changes, b.memory = nil, nil
		m.pool.Put(m)
	}
	if released := b.released; released != nil {
		b.released = nil
		released()
	}
}

// OnRelease makes Release call fn. It is for those who implement Watch.
func (b *Batch) OnRelease(fn func()) { b.released = fn }

// Kind of a Change.
type Kind uint8

const (
	Updated Kind = iota + 1 // Value is what was written
	Deleted                 // Value is nil
	Touched                 // the key may have been updated: look it up (fentry, or a value too large for the ring)
	Evicted                 // an LRU map let go of the key to make room; Value is nil
)

// Change is one captured change. Key and Value are owned by the receiver.
type Change struct {
	Map      int
	Kind     Kind
	Key      []byte
	Value    []byte
	Captured int64    // when the kernel saw it, Kernel.Now
	CPU      uint32   // where; the order of records of one key from different CPUs is not the order of writes
	PID      uint32   // of the process on the CPU then, in the initial PID namespace; 0: not known, or an idle CPU was interrupted
	Source   Source   // SourceUnknown unless Watch.NameWriters asked for it
	Comm     [16]byte // the name of the process, and zeros; all zero unless Watch.NameWriters asked for it
}

// Source is where a change came from. SourceUnknown where no hook saw it happen.
//
// It is told from what the CPU did in that moment. Wrong is SourceSyscall for a
// program that runs in the middle of a map's system call: one on the functions
// that the call goes through (fentry), before Linux 6.0 one of a kprobe,
// tracepoint or perf event, and any at all on a CPU where a task was preempted
// inside such a call. On PREEMPT_RT softirqs count as their threads' programs.
type Source uint8

const (
	SourceUnknown   Source = iota
	SourceSyscall          // bpf(2) by process PID
	SourceProgram          // a BPF program that ran in process PID, or on its behalf
	SourceInterrupt        // a BPF program that ran in an interrupt (XDP, TC on receive, timers): PID is who was interrupted
)

// String is the word for it: syscall, program, interrupt, or "" for SourceUnknown.
func (s Source) String() string {
	return [...]string{"", "syscall", "program", "interrupt"}[s]
}

// Counts of one map since Watch began, or since the capture did that it took
// over. They never decrease.
type Counts struct {
	Captured uint64 // records submitted
	Own      uint64 // our applies, recognised and left out
	Failed   uint64 // operations that failed and changed nothing (fexit only)
	Dropped  uint64 // records that found the ring full
	Missed   uint64 // changes that no hook saw because the kernel's recursion guard skipped it, all maps of that type on the host together
	Caught   uint64 // of Captured: by a second program, because the first one was skipped
}
