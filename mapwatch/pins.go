//go:build linux

package mapwatch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/sys/unix"
)

// setPrefix begins the name of every directory that holds a pinned capture, a
// set; what follows tells what is captured and how (capturePlan.setName). A set
// that is not whole yet has the name setUnfinished. bpffs allows no dot in names.
const (
	setPrefix     = "capture_"
	setUnfinished = setPrefix + "unfinished"
)

// errNotPinned: the capture runs and the file system is in the way.
var errNotPinned = errors.New("capture cannot be pinned")

// pins is a directory of a BPF file system in which captures stay when nobody
// watches. It is locked while it is open: two readers of one ring would each
// get half. The kernel lets go of the lock with the process, however that ends.
type pins struct {
	dir  string
	lock *os.File // dir, open
}

// openPins makes the directory if it is not there, for this user only, and locks
// it. Errors: ErrInUse, ErrPermission.
func openPins(dir string) (*pins, error) {
	if err := makePins(dir); err != nil {
		return nil, fmt.Errorf("pin captures in %s: %w", dir, err)
	}
	lock, err := os.OpenFile(dir, unix.O_DIRECTORY|os.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("pin captures in %s: %w", dir, explainPins(err))
	}
	if err := lockPins(lock); err != nil {
		lock.Close()
		return nil, fmt.Errorf("pin captures in %s: %w", dir, err)
	}
	return &pins{dir, lock}, nil
}

func makePins(dir string) error {
	there := filepath.Clean(dir)
	for {
		_, err := os.Stat(there)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || there == filepath.Dir(there) {
			return explainPins(err)
		}
		there = filepath.Dir(there)
	}
	if !onBPFFS(there) {
		return fmt.Errorf("%s is not on a BPF file system; mount one there (mount -t bpf bpf %s) or choose a directory below /sys/fs/bpf", there, there)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return explainPins(err)
	}
	if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.R_OK|unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return explainPins(err)
	}
	return nil
}

func lockPins(lock *os.File) error {
	info, err := lock.Stat()
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return fmt.Errorf("%w: other users may write there (mode %s) and could put another ring in place; chmod go-w, or choose another directory", ErrPermission, info.Mode())
	}
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("%w: a running agent captures there; stop it first, or give each agent a directory of its own", ErrInUse)
	}
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	return nil
}

// explainPins says what to do about errors of the file system.
func explainPins(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: %w; change the directory's owner or mode, or run as its owner", ErrPermission, err)
	}
	if errors.Is(err, unix.EROFS) {
		return fmt.Errorf("%w: %w; where systemd or a container closes /sys, make the directory before the start and open it (ReadWritePaths=, a mount)", ErrPermission, err)
	}
	return err
}

// Close lets others have the directory. What is pinned stays.
func (p *pins) Close() error {
	if err := p.lock.Close(); err != nil {
		return fmt.Errorf("unlock %s: %w", p.dir, err)
	}
	return nil
}

// path of a set, or of what is in it.
func (p *pins) path(names ...string) string {
	return filepath.Join(append([]string{p.dir}, names...)...)
}

// sets names the sets in the directory, whole or not. Other names are not ours
// to touch.
func (p *pins) sets() ([]string, error) {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return nil, fmt.Errorf("find pinned captures: %w", explainPins(err))
	}
	name := regexp.MustCompile("^" + setPrefix + "([0-9a-f]{32}|unfinished)$")
	var sets []string
	for _, entry := range entries {
		if entry.IsDir() && name.MatchString(entry.Name()) {
			sets = append(sets, entry.Name())
		}
	}
	return sets, nil
}

// has reports whether there is a set of that name. One that another user made or
// may change is none.
func (p *pins) has(set string) bool {
	var stat unix.Stat_t
	return unix.Lstat(p.path(set), &stat) == nil &&
		stat.Mode&unix.S_IFMT == unix.S_IFDIR && stat.Mode&0o022 == 0 &&
		(stat.Uid == 0 || int(stat.Uid) == os.Geteuid())
}

// remove ends all sets but one; an empty name keeps none.
func (p *pins) remove(but string) error {
	sets, err := p.sets()
	if err != nil {
		return err
	}
	for _, set := range sets {
		if set == but {
			continue
		}
		if err := os.RemoveAll(p.path(set)); err != nil {
			return fmt.Errorf("remove the pinned capture %s: %w", set, explainPins(err))
		}
	}
	return nil
}
