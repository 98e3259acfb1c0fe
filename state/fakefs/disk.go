// Package fakefs is a state.FS in memory that a test can kill, cut off from
// power, fill up, make fail and corrupt. A Disk is what stays; a Mount is the
// view of one process.
package fakefs

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"syscall"
)

// Op is a kind of operation on a Disk.
type Op string

const (
	Lock    Op = "lock"
	Create  Op = "create"
	Append  Op = "append"
	Write   Op = "write"
	Sync    Op = "sync"
	Read    Op = "read"
	Rename  Op = "rename"
	Remove  Op = "remove"
	List    Op = "list"
	SyncDir Op = "sync directory"
)

// Disk holds files in memory. It is safe for concurrent use.
type Disk struct {
	mu     sync.Mutex
	names  map[string]*inode
	past   []map[string]*inode // names before each create, rename and remove that is not synced
	holder *Mount              // of the lock
	mounts []*Mount            // that are alive
	limit  int                 // bytes in all files, -1: no limit
	fails  map[Op]error
	ops    int
	killAt int // ops at which all mounts die; 0: never
}

type inode struct {
	data   []byte
	synced int
}

// New returns an empty Disk.
func New() *Disk {
	return &Disk{names: map[string]*inode{}, limit: -1, fails: map[Op]error{}}
}

// Mount returns the disk as one process sees it.
func (d *Disk) Mount() *Mount {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := &Mount{disk: d}
	d.mounts = append(d.mounts, m)
	return m
}

// Kill ends the processes of all mounts: the lock is free, what was written
// stays, and every call through a Mount or a file of it fails with ErrKilled.
func (d *Disk) Kill() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.killLocked()
}

func (d *Disk) killLocked() {
	for _, m := range d.mounts {
		m.dead = true
	}
	d.mounts, d.holder, d.killAt = nil, nil, 0
}

// KillAfter kills when n more operations were done, in the middle of the next
// one if that is a write, else before it.
func (d *Disk) KillAfter(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.killAt = d.ops + n + 1
}

// Ops returns how many operations there were.
func (d *Disk) Ops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ops
}

// Dice is a source of numbers in [0, n), such as *rand.Rand.
type Dice interface{ IntN(n int) int }

// PowerCut kills and loses in part what was not synced: the last creates,
// renames and removes are undone, in order as a journaling file system does it,
// and each file ends anywhere after its synced part, or has zeros there.
func (d *Disk) PowerCut(dice Dice) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.killLocked()
	if i := dice.IntN(len(d.past) + 1); i < len(d.past) {
		d.names = d.past[i]
	}
	d.past = nil
	for _, name := range slices.Sorted(maps.Keys(d.names)) { // the same dice, the same cut
		f := d.names[name]
		keep := f.synced + dice.IntN(len(f.data)-f.synced+1)
		lost := f.data[keep:]
		f.data = slices.Clip(f.data[:keep])
		if dice.IntN(4) == 0 {
			f.data = append(f.data, make([]byte, len(lost))...)
		}
		f.synced = len(f.data)
	}
}

// Limit makes writes fail with ENOSPC when all files together would have more
// than so many bytes; what fits is written. A negative one is no limit.
func (d *Disk) Limit(bytes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.limit = bytes
}

// Used returns how many bytes all files have.
func (d *Disk) Used() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.usedLocked()
}

func (d *Disk) usedLocked() (n int) {
	for _, f := range d.names {
		n += len(f.data)
	}
	return n
}

// Fail makes the operations fail with err, or work again if err is nil. Without
// operations named, these are all that read, write or sync.
func (d *Disk) Fail(err error, ops ...Op) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(ops) == 0 {
		ops = []Op{Create, Append, Write, Sync, SyncDir, Read}
	}
	for _, op := range ops {
		d.fails[op] = err
	}
}

// Flip inverts one bit of a file. It reports whether there is such a byte.
func (d *Disk) Flip(name string, offset int, bit uint) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.names[name]
	if f == nil || offset >= len(f.data) {
		return false
	}
	f.data[offset] ^= 1 << (bit % 8)
	return true
}

// Put makes a file with this content, synced.
func (d *Disk) Put(name string, content []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.names[name] = &inode{data: slices.Clone(content), synced: len(content)}
}

// Files returns a copy of all files by name.
func (d *Disk) Files() map[string][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	files := map[string][]byte{}
	for name, f := range d.names {
		files[name] = slices.Clone(f.data)
	}
	return files
}

// changeLocked notes that names are about to change.
func (d *Disk) changeLocked() { d.past = append(d.past, maps.Clone(d.names)) }

func (d *Disk) writeLocked(f *inode, b []byte) (int, error) {
	n := len(b)
	if d.limit >= 0 {
		n = max(0, min(n, d.limit-d.usedLocked()))
	}
	f.data = append(f.data, b[:n]...)
	if n < len(b) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func notExist(op Op, name string) error {
	return fmt.Errorf("%s %s: %w", op, name, fs.ErrNotExist)
}
