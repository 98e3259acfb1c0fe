package fakefs

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/mapgossip/mapgossip/state"
)

// ErrKilled: the process that calls was killed.
var ErrKilled = errors.New("killed")

// Mount is the Disk as one process sees it. It is a state.FS.
type Mount struct {
	disk *Disk
	dead bool // Disk.mu guards it
}

var _ state.FS = (*Mount)(nil)

// enterLocked counts an operation. It returns an error if the operation must
// not happen.
func (m *Mount) enterLocked(op Op) error {
	d := m.disk
	if m.dead {
		return ErrKilled
	}
	d.ops++
	if d.killAt > 0 && d.ops >= d.killAt {
		d.killLocked()
		return ErrKilled
	}
	return d.fails[op]
}

// Lock implements state.FS.
func (m *Mount) Lock() (func() error, error) {
	d := m.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := m.enterLocked(Lock); err != nil {
		return nil, err
	}
	if d.holder != nil {
		return nil, fmt.Errorf("lock disk: %w", state.ErrLocked)
	}
	d.holder = m
	return func() error {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.holder == m {
			d.holder = nil
		}
		return nil
	}, nil
}

// Create implements state.FS.
func (m *Mount) Create(name string) (state.File, error) {
	d := m.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := m.enterLocked(Create); err != nil {
		return nil, err
	}
	d.changeLocked()
	f := &inode{}
	d.names[name] = f
	return &file{mount: m, inode: f}, nil
}

// Append implements state.FS.
func (m *Mount) Append(name string) (state.File, error) {
	d := m.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := m.enterLocked(Append); err != nil {
		return nil, err
	}
	f := d.names[name]
	if f == nil {
		return nil, notExist(Append, name)
	}
	return &file{mount: m, inode: f}, nil
}

// ReadFile implements state.FS.
func (m *Mount) ReadFile(name string) ([]byte, error) {
	d := m.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := m.enterLocked(Read); err != nil {
		return nil, err
	}
	f := d.names[name]
	if f == nil {
		return nil, notExist(Read, name)
	}
	return slices.Clone(f.data), nil
}

// Rename implements state.FS.
func (m *Mount) Rename(from, to string) error {
	d := m.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := m.enterLocked(Rename); err != nil {
		return err
	}
	f := d.names[from]
	if f == nil {
		return notExist(Rename, from)
	}
	d.changeLocked()
	delete(d.names, from)
	d.names[to] = f
	return nil
}

// Remove implements state.FS.
func (m *Mount) Remove(name string) error {
	d := m.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := m.enterLocked(Remove); err != nil {
		return err
	}
	if d.names[name] == nil {
		return notExist(Remove, name)
	}
	d.changeLocked()
	delete(d.names, name)
	return nil
}

// List implements state.FS.
func (m *Mount) List() ([]string, error) {
	d := m.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := m.enterLocked(List); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(d.names)), nil
}

// SyncDir implements state.FS.
func (m *Mount) SyncDir() error {
	d := m.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := m.enterLocked(SyncDir); err != nil {
		return err
	}
	d.past = nil
	return nil
}

// file is open for writing.
type file struct {
	mount  *Mount
	inode  *inode
	closed bool // Disk.mu guards it
}

func (f *file) Write(b []byte) (int, error) {
	d := f.mount.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if f.closed {
		return 0, fs.ErrClosed
	}
	wasDead := f.mount.dead
	if err := f.mount.enterLocked(Write); err != nil {
		if !wasDead && f.mount.dead { // killed in the middle of it
			d.writeLocked(f.inode, b[:len(b)/2])
		}
		return 0, err
	}
	return d.writeLocked(f.inode, b)
}

func (f *file) Sync() error {
	d := f.mount.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if f.closed {
		return fs.ErrClosed
	}
	if err := f.mount.enterLocked(Sync); err != nil {
		return err
	}
	f.inode.synced = len(f.inode.data)
	return nil
}

// Close takes no operation: it changes nothing on the disk.
func (f *file) Close() error {
	d := f.mount.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if f.closed {
		return fs.ErrClosed
	}
	f.closed = true
	return nil
}
