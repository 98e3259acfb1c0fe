package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// loadModules loads what folder/order lists, one file name a line. No folder: nothing to load.
func loadModules(folder string) error {
	list, err := os.ReadFile(filepath.Join(folder, "order"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(string(list)) {
		f, err := os.Open(filepath.Join(folder, name))
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		_ = f.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load module %s: %w", name, err)
		}
	}
	return nil
}

// openPort opens the virtio-serial port of that name.
func openPort(name string) (*os.File, error) {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil, err
	}
	for _, path := range names {
		b, err := os.ReadFile(path)
		if err != nil || strings.TrimSpace(string(b)) != name {
			continue
		}
		device := "/dev/" + filepath.Base(filepath.Dir(path))
		// Non-blocking, because a blocking write spins with interrupts off until the
		// other side has read (drivers/char/virtio_console.c, __send_to_port).
		fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return nil, fmt.Errorf("open port %s: %w", device, err)
		}
		if err := awaitOther(fd); err != nil {
			return nil, fmt.Errorf("open port %s: %w", device, err)
		}
		return os.NewFile(uintptr(fd), device), nil
	}
	return nil, fmt.Errorf("open port %q: this machine has none (%d ports): %w", name, len(names), fs.ErrNotExist)
}

// awaitOther returns when the port says that its other side is there. Until then
// reads would end at once, as if that side had gone.
func awaitOther(fd int) error {
	for {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		if _, err := unix.Poll(p, 10); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if p[0].Revents&unix.POLLHUP == 0 && p[0].Revents&unix.POLLOUT != 0 {
			return nil
		}
		time.Sleep(time.Millisecond) // poll does not wait while the port is hung up
	}
}
