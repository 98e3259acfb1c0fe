package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

type mount struct {
	kind, at string
	options  string
	optional bool // this kernel may not have it
}

// ofHost are the file systems that each host has for itself, wherever it lives.
var ofHost = []mount{
	{kind: "proc", at: "/proc"},
	{kind: "sysfs", at: "/sys"},
	{kind: "tmpfs", at: "/run", options: "mode=0755"},
	{kind: "tmpfs", at: "/tmp", options: "mode=1777"},
	{kind: "bpf", at: "/sys/fs/bpf", options: "mode=0700"},
	{kind: "cgroup2", at: "/sys/fs/cgroup", optional: true},
	{kind: "tracefs", at: "/sys/kernel/tracing", optional: true},
	{kind: "debugfs", at: "/sys/kernel/debug", optional: true},
	{kind: "securityfs", at: "/sys/kernel/security", optional: true},
}

func mountAll(root string, all []mount) error {
	for _, m := range all {
		at := filepath.Join(root, m.at)
		err := os.MkdirAll(at, 0o755)
		if err == nil {
			err = unix.Mount(m.kind, at, m.kind, unix.MS_NOSUID, m.options)
		}
		if err != nil && !m.optional {
			return fmt.Errorf("mount %s at %s: %w", m.kind, at, err)
		}
	}
	return nil
}

func mountGuest() error {
	err := mountAll("/", []mount{
		{kind: "devtmpfs", at: "/dev", options: "mode=0755"},
		{kind: "devpts", at: "/dev/pts", optional: true},
		{kind: "tmpfs", at: "/dev/shm", options: "mode=1777", optional: true},
	})
	if err != nil {
		return err
	}
	return mountAll("/", ofHost)
}

// setRoot gives the host, in a mount namespace of its own, a new root: its own
// file systems, and everything else of the machine read-only.
func setRoot() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	const root = "/tmp"
	if err := unix.Mount("lab", root, "tmpfs", unix.MS_NOSUID, "mode=0755"); err != nil {
		return fmt.Errorf("mount the root: %w", err)
	}
	own := map[string]bool{"/lab": true, "/dev": true}
	for _, m := range ofHost {
		own["/"+strings.Split(m.at, "/")[1]] = true
	}
	entries, err := os.ReadDir("/")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if own["/"+e.Name()] {
			continue
		}
		if err := showReadOnly(root, e); err != nil {
			return err
		}
	}
	if err := bind("/dev", root+"/dev"); err != nil {
		return err
	}
	if err := os.Mkdir(root+"/lab", 0o755); err != nil {
		return err
	}
	// Before the root's own /tmp is mounted the machine's mounts below it are still seen
	// at their places; after the move they are out of sight.
	if err := mountAll(root, ofHost); err != nil {
		return err
	}
	if err := os.Chdir(root); err != nil {
		return err
	}
	// pivot_root is refused where the root is an initramfs; moving works everywhere.
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	return os.Chdir("/")
}

// showReadOnly makes one entry of the machine's root appear in the host's.
func showReadOnly(root string, e os.DirEntry) error {
	from, to := "/"+e.Name(), filepath.Join(root, e.Name())
	switch {
	case e.Type() == os.ModeSymlink:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	case e.IsDir() || e.Type().IsRegular():
		if err := bind(from, to); err != nil {
			return err
		}
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
		if err := unix.MountSetattr(unix.AT_FDCWD, to, unix.AT_RECURSIVE, &attr); err != nil {
			return fmt.Errorf("make %s read-only: %w (needs Linux 5.12)", from, err)
		}
	}
	return nil // sockets and the like stay out
}

func bind(from, to string) error {
	st, err := os.Stat(from)
	if err != nil {
		return err
	}
	if st.IsDir() {
		err = os.Mkdir(to, 0o755)
	} else {
		err = os.WriteFile(to, nil, 0o644)
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s: %w", from, err)
	}
	return nil
}
