package main

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestParseEndpoint(t *testing.T) {
	for text, want := range map[string]string{
		"": "off", "127.0.0.1:1": "127.0.0.1:1", ":7947": ":7947", "localhost:0": "localhost:0", "[::1]:5": "[::1]:5", "unix:a/b": "unix:a/b",
	} {
		if e, err := parseEndpoint(text); err != nil || e.String() != want {
			t.Errorf("parseEndpoint(%q) = %s, %v, want %s", text, e, err, want)
		}
	}
	for _, text := range []string{"host", "host:", "host:http", "::1:5:", "unix:", "unix:/" + strings.Repeat("x", 107), "http://a:5"} {
		if e, err := parseEndpoint(text); err == nil {
			t.Errorf("parseEndpoint(%q) = %s, want an error", text, e)
		}
	}
}

// wantListenFault wants exit code 2 and that reason.
func wantListenFault(t *testing.T, e endpoint, reason string) {
	t.Helper()
	listener, err := e.listen()
	if err == nil {
		listener.Close()
		t.Fatalf("listen on %s: no error, want %s", e, reason)
	}
	if want := "listen on --http " + e.String() + ": " + reason; err.Error() != want || exitCode(err) != exitUsage {
		t.Errorf("exit code %d, error %v\nwant 2, %s", exitCode(err), err, want)
	}
}

func TestListenTCP(t *testing.T) {
	taken, err := endpoint{"tcp", "127.0.0.1:0"}.listen()
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	wantListenFault(t, endpoint{"tcp", taken.Addr().String()}, "another process has this address: give another, or --http '' to go without")
	wantListenFault(t, endpoint{"tcp", "192.0.2.1:1"}, "this host does not have this address: give another, or --http '' to go without")
}

func TestInnermost(t *testing.T) {
	name := &net.OpError{Op: "listen", Err: &net.DNSError{Name: "lb-1", Err: "no such host", Server: "192.0.2.53"}}
	path := &fs.PathError{Op: "open", Path: "x", Err: os.NewSyscallError("open", syscall.EACCES)}
	for err, want := range map[error]string{name: "the name lb-1 does not resolve (no such host)", path: "permission denied"} {
		if got := innermost(err).Error(); got != want {
			t.Errorf("innermost(%v) = %s, want %s", err, got, want)
		}
	}
}

func TestListenUnix(t *testing.T) {
	dir := t.TempDir()
	e := endpoint{"unix", filepath.Join(dir, "s")}

	first, err := e.listen()
	if err != nil {
		t.Fatal(err)
	}
	stat, err := os.Stat(e.address)
	if err != nil || stat.Mode() != fs.ModeSocket|socketMode {
		t.Errorf("mode %v, %v, want 0660", stat.Mode(), err)
	}
	wantListenFault(t, e, "another process answers there: stop it, or give another path")
	first.Close()
	if _, err := os.Stat(e.address); !os.IsNotExist(err) {
		t.Errorf("the socket is still there after Close: %v", err)
	}

	// What an agent that was killed leaves behind is no hindrance.
	killed, err := net.Listen("unix", e.address)
	if err != nil {
		t.Fatal(err)
	}
	killed.(*net.UnixListener).SetUnlinkOnClose(false)
	killed.Close()
	second, err := e.listen()
	if err != nil {
		t.Fatalf("listen where a dead agent left its socket: %v", err)
	}
	second.Close()

	file := endpoint{"unix", filepath.Join(dir, "f")}
	if err := os.WriteFile(file.address, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantListenFault(t, file, "the file is there and is no socket: remove it, or give another path")
	if _, err := os.Stat(file.address); err != nil {
		t.Errorf("a file that is no socket was touched: %v", err)
	}
	wantListenFault(t, endpoint{"unix", filepath.Join(dir, "no", "s")}, "no such file or directory: give another, or --http '' to go without")
}
