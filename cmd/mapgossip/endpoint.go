package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	maxSocketPath = 107 // sun_path of Linux, without the closing zero
	socketMode    = 0o660
	probeTimeout  = time.Second // for an agent to accept on its unix socket
)

// endpoint is where an agent answers: TCP HOST:PORT, or unix:PATH. The zero
// value is none.
type endpoint struct {
	network string // tcp, unix or ""
	address string
}

// parseEndpoint reads HOST:PORT, :PORT (all addresses), unix:PATH or "".
func parseEndpoint(text string) (endpoint, error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		switch {
		case path == "":
			return endpoint{}, errors.New("want a path after unix:")
		case len(path) > maxSocketPath:
			return endpoint{}, fmt.Errorf("the path has %d bytes: a unix socket allows %d", len(path), maxSocketPath)
		}
		return endpoint{"unix", path}, nil
	}
	if text == "" {
		return endpoint{}, nil
	}
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		return endpoint{}, errors.New("want HOST:PORT or unix:PATH")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return endpoint{}, fmt.Errorf("port %q: want a number from 0 to 65535", port)
	}
	return endpoint{"tcp", text}, nil
}

func (e endpoint) off() bool { return e.network == "" }

func (e endpoint) String() string {
	switch e.network {
	case "":
		return "off"
	case "unix":
		return "unix:" + e.address
	}
	return e.address
}

// listen binds the endpoint. A unix socket gets mode 0660, and never more on
// the way there. All errors are faults of configuration.
func (e endpoint) listen() (net.Listener, error) {
	if e.network == "unix" {
		if err := removeStale(e.address); err != nil {
			return nil, usage(fmt.Errorf("listen on --http %s: %w", e, err))
		}
	}
	config := net.ListenConfig{Control: func(network, _ string, c syscall.RawConn) error {
		if network != "unix" {
			return nil
		}
		var err error // the file inherits the socket's mode, less the umask
		if e := c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), socketMode) }); e != nil {
			return e
		}
		return err
	}}
	listener, err := config.Listen(context.Background(), e.network, e.address)
	if err == nil && e.network == "unix" {
		if err = os.Chmod(e.address, socketMode); err != nil {
			listener.Close()
		}
	}
	if err == nil {
		return listener, nil
	}
	way := "give another, or --http '' to go without"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, usage(fmt.Errorf("listen on --http %s: another process has this address: %s", e, way))
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, usage(fmt.Errorf("listen on --http %s: this host does not have this address: %s", e, way))
	case errors.Is(err, syscall.EACCES):
		return nil, usage(fmt.Errorf("listen on --http %s: this user may not listen there: %s", e, way))
	}
	return nil, usage(fmt.Errorf("listen on --http %s: %w: %s", e, innermost(err), way))
}

// removeStale removes a unix socket on which nobody answers. An error means
// that path is in the way.
func removeStale(path string) error {
	stat, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return innermost(err)
	}
	if stat.Mode().Type() != fs.ModeSocket {
		return errors.New("the file is there and is no socket: remove it, or give another path")
	}
	conn, err := net.DialTimeout("unix", path, probeTimeout)
	if err == nil {
		conn.Close()
		return errors.New("another process answers there: stop it, or give another path")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("cannot tell whether another process answers there: %w", innermost(err))
	}
	return os.Remove(path)
}

// innermost strips what net and os wrap around the kernel's or the resolver's
// answer: the caller says better what was tried.
func innermost(err error) error {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return fmt.Errorf("the name %s does not resolve (%s)", dns.Name, dns.Err)
	}
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}
