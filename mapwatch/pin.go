//go:build linux

package mapwatch

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

func openPin(path string) (fd int, readOnly bool, err error) {
	fd, err = bpfObjectGet(path, 0)
	if errors.Is(err, unix.EACCES) {
		if fd, err = bpfObjectGet(path, unix.BPF_F_RDONLY); err == nil {
			readOnly = true
		}
	}
	if err != nil {
		return -1, false, explainPin(path, err)
	}
	if what, err := kindOf(fd); what != "map" {
		unix.Close(fd)
		if err != nil {
			return -1, false, fmt.Errorf("find out what the pin is: %w", err)
		}
		return -1, false, fmt.Errorf("%w: a BPF %s is pinned there", ErrNotMap, what)
	}
	return fd, readOnly, nil
}

// kindOf says what a BPF descriptor is: "map", "program", "link"…
func kindOf(fd int) (string, error) {
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return "", err
	}
	switch name = strings.TrimPrefix(name, "anon_inode:"); name {
	case "bpf-map":
		return "map", nil
	case "bpf-prog":
		return "program", nil
	case "bpf_link", "bpf-link":
		return "link", nil
	}
	return "object (" + name + ")", nil
}

// explainPin turns the answer of BPF_OBJ_GET into a sentence and a sentinel.
// The kernel says EACCES both for a forbidden pin and for a file that is none.
func explainPin(path string, err error) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%w: nothing is pinned there; has the program that owns the map been loaded?%s", ErrNotFound, hintMount(path))
	case errors.Is(err, unix.EPERM):
		return errNoBPF()
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("%w: it has no bpf(2) (CONFIG_BPF_SYSCALL)", ErrUnsupported)
	case !errors.Is(err, unix.EACCES):
		return err
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Errorf("%w: a directory of the path is closed to this user; open it with chmod or chown, or run as its owner", ErrPermission)
	case info.IsDir():
		return fmt.Errorf("%w: it is a directory", ErrNotMap)
	case !onBPFFS(path):
		return fmt.Errorf("%w: it is a file outside the BPF file system, where pins are (usually under /sys/fs/bpf)", ErrNotMap)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: it is no pin (mode %s)", ErrNotMap, info.Mode())
	}
	return fmt.Errorf("%w: the pin's file mode is %s, this user may not read it; change it with chmod or chown, or run as its owner", ErrPermission, info.Mode())
}

// hintMount is a half sentence if the nearest directory of path that exists is
// on another file system than bpffs.
func hintMount(path string) string {
	for dir := path; dir != "/"; {
		dir = dir[:max(1, strings.LastIndexByte(dir, '/'))]
		if _, err := os.Stat(dir); err == nil {
			if onBPFFS(dir) {
				return ""
			}
			return fmt.Sprintf(" (%s is not on a BPF file system; is it mounted: mount -t bpf bpf /sys/fs/bpf?)", dir)
		}
	}
	return ""
}

func onBPFFS(path string) bool {
	var fs unix.Statfs_t
	// A path that cannot be asked is given the benefit of the doubt.
	return unix.Statfs(path, &fs) != nil || uint32(fs.Type) == unix.BPF_FS_MAGIC
}
