package state

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrLocked: another agent uses the state directory.
var ErrLocked = errors.New("another agent uses it")

// FS is one directory of files, without directories below it. A name that is
// not there gives an error that wraps fs.ErrNotExist. All methods are safe for
// concurrent use. OS is the real one; fakefs has one in memory that fails on
// command.
type FS interface {
	// Lock takes the directory for this process, and makes it if it is not
	// there. It does not wait: held by another, the error wraps ErrLocked. The
	// lock ends with unlock or with the process.
	Lock() (unlock func() error, err error)
	// Create makes an empty file to be written, in place of one of that name.
	Create(name string) (File, error)
	// Append opens a file to be written at its end.
	Append(name string) (File, error)
	// ReadFile returns what the file holds; it is the caller's.
	ReadFile(name string) ([]byte, error)
	// Rename gives a file another name, in place of one that has it.
	Rename(from, to string) error
	Remove(name string) error
	// List returns all names, in any order.
	List() ([]string, error)
	// SyncDir makes all creates, renames and removes survive a power cut.
	SyncDir() error
}

// File is being written, at its end. What Write took survives the end of the
// process, what was there when Sync was called survives a power cut. Sync may
// run while another goroutine writes or closes.
type File interface {
	io.WriteCloser
	Sync() error
}

// OS returns the directory dir of this host. It touches nothing before Lock,
// which makes the directory for its owner alone (mode 0700) and locks the file
// "lock" in it with flock(2). Files are made with mode 0600.
func OS(dir string) FS { return osFS(dir) }

type osFS string

func (d osFS) path(name string) string { return filepath.Join(string(d), name) }

func (d osFS) Lock() (func() error, error) {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	f, err := os.OpenFile(d.path("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock state directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("%w; end it, or give each agent a directory of its own", ErrLocked)
		}
		return nil, fmt.Errorf("lock state directory %s: %w", string(d), err)
	}
	return f.Close, nil
}

func (d osFS) Create(name string) (File, error) { return d.open(name, os.O_CREATE|os.O_TRUNC) }
func (d osFS) Append(name string) (File, error) { return d.open(name, 0) }

func (d osFS) open(name string, flags int) (File, error) {
	f, err := os.OpenFile(d.path(name), os.O_WRONLY|os.O_APPEND|flags, 0o600)
	if err != nil {
		return nil, err // not f, which would be a File that is not nil
	}
	return f, nil
}

func (d osFS) ReadFile(name string) ([]byte, error) { return os.ReadFile(d.path(name)) }
func (d osFS) Rename(from, to string) error         { return os.Rename(d.path(from), d.path(to)) }
func (d osFS) Remove(name string) error             { return os.Remove(d.path(name)) }

func (d osFS) List() ([]string, error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (d osFS) SyncDir() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// removed returns err unless it says that the file was not there.
func removed(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
