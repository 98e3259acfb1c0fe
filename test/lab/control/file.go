package control

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

func readFile(stream net.Conn, q request) error {
	f, err := os.Open(q.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := writeJSON(stream, kindReply, reply{}); err != nil {
		return nil
	}
	var mu sync.Mutex
	// WriteTo of os.File would hand small pieces on; files below /proc have no size to go by.
	_, err = io.CopyBuffer(frameWriter{&mu, stream, kindData}, struct{ io.Reader }{f}, make([]byte, chunkBytes))
	if err != nil {
		return err
	}
	_ = writeFrame(stream, kindEnd, nil)
	return nil
}

// writeFile writes beside the file and renames, so that a program that runs can be replaced.
func writeFile(stream net.Conn, q request) (err error) {
	if err := os.MkdirAll(filepath.Dir(q.Path), 0o755); err != nil {
		return err
	}
	mode := os.FileMode(q.Mode)
	var f *os.File
	special := false
	if st, e := os.Stat(q.Path); e == nil && !st.Mode().IsRegular() || onKernelFS(q.Path) {
		special = true // a device, or a file that the kernel answers for: write in place
		f, err = os.OpenFile(q.Path, os.O_WRONLY, 0)
	} else {
		f, err = os.CreateTemp(filepath.Dir(q.Path), ".incoming-*")
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if !special {
		defer func() {
			if err != nil {
				_ = os.Remove(f.Name())
			}
		}()
	}
	var buffer []byte
	for {
		k, p, err := readFrame(stream, &buffer)
		if err != nil {
			return err
		}
		if k == kindEnd {
			break
		}
		if _, err := f.Write(p); err != nil {
			return err
		}
	}
	if !special {
		if err := f.Chmod(mode); err != nil {
			return err
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	if !special {
		if err := os.Rename(f.Name(), q.Path); err != nil {
			return err
		}
	}
	return writeJSON(stream, kindReply, reply{})
}

func onKernelFS(path string) bool {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return false
	}
	switch st.Type {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.SECURITYFS_MAGIC:
		return true
	}
	return false
}
