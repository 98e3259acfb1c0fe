package control

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// pair is a client whose host is this process.
func pair(t *testing.T) *Client {
	t.Helper()
	a, b := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- Serve(b) }()
	c, err := NewClient(a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return c
}

func run(t *testing.T, c *Client, cmd Command) (stdout, stderr string, e Exit) {
	t.Helper()
	var o, r bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &r
	p, err := c.Start(t.Context(), cmd)
	if err != nil {
		t.Fatal(err)
	}
	if e, err = p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	return o.String(), r.String(), e
}

func TestHello(t *testing.T) {
	h, err := pair(t).Hello(t.Context())
	name, _ := os.Hostname()
	if err != nil || h.Name != name || h.Kernel == "" || h.Machine == "" {
		t.Fatalf("got %+v, %v", h, err)
	}
}

func TestCommand(t *testing.T) {
	c := pair(t)
	for _, test := range []struct {
		name           string
		cmd            Command
		stdout, stderr string
		exit           Exit
	}{
		{"output apart", Command{Argv: []string{"sh", "-c", "echo out; echo err >&2"}}, "out\n", "err\n", Exit{}},
		{"exit code", Command{Argv: []string{"sh", "-c", "exit 7"}}, "", "", Exit{Code: 7}},
		{"signal", Command{Argv: []string{"sh", "-c", "kill -TERM $$"}}, "", "", Exit{Code: -1, Signal: syscall.SIGTERM}},
		{"environment", Command{Argv: []string{"sh", "-c", "echo $A"}, Env: []string{"A=b c"}}, "b c\n", "", Exit{}},
		{"directory", Command{Argv: []string{"pwd"}, Dir: "/usr"}, "/usr\n", "", Exit{}},
		{"standard input", Command{Argv: []string{"cat"}, Stdin: strings.NewReader("hello")}, "hello", "", Exit{}},
		{"input that nobody reads", Command{Argv: []string{"true"}, Stdin: strings.NewReader(strings.Repeat("x", 5<<20))}, "", "", Exit{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			stdout, stderr, e := run(t, c, test.cmd)
			if stdout != test.stdout || stderr != test.stderr || e != test.exit {
				t.Fatalf("got %q %q %+v", stdout, stderr, e)
			}
		})
	}
}

func TestCommandNotFound(t *testing.T) {
	c := pair(t)
	for _, name := range []string{"no-such-program", "/no/such/program"} {
		if _, err := c.Start(t.Context(), Command{Argv: []string{name}}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestLargeOutput(t *testing.T) {
	stdout, _, e := run(t, pair(t), Command{Argv: []string{"head", "-c", "20000000", "/dev/zero"}})
	if len(stdout) != 20000000 || e.Code != 0 {
		t.Fatalf("got %d bytes, %+v", len(stdout), e)
	}
}

func TestSignal(t *testing.T) {
	c := pair(t)
	started := make(chan struct{}, 1)
	p, err := c.Start(t.Context(), Command{
		Argv:   []string{"sh", "-c", "trap 'echo asked; exit 3' TERM; echo ready; while :; do sleep 0.01; done"},
		Stdout: writerFunc(func(b []byte) { started <- struct{}{} }),
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan Exit, 1)
	go func() { e, _ := p.Wait(t.Context()); ended <- e }()
	<-started
	if err := c.Signal(t.Context(), p.PID, syscall.SIGTERM, false); err != nil {
		t.Fatal(err)
	}
	if e := <-ended; e.Code != 3 {
		t.Fatalf("got %+v", e)
	}
	if err := c.Signal(t.Context(), p.PID, syscall.SIGTERM, false); err == nil {
		t.Fatal("a signal to a process that has ended was taken")
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

// A context that ends takes the command and its children along.
func TestContextKills(t *testing.T) {
	c := pair(t)
	fifo := filepath.Join(t.TempDir(), "alive")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	// A grandchild holds the pipe open for writing as long as it lives.
	p, err := c.Start(ctx, Command{Argv: []string{"sh", "-c", "sleep 600 > " + fifo + " & wait"}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := os.Open(fifo) // blocks until the grandchild is there
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cancel()
	if _, err := p.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if b, err := io.ReadAll(r); err != nil || len(b) != 0 { // ends with the last writer
		t.Fatalf("got %q, %v", b, err)
	}
}

func TestFiles(t *testing.T) {
	c := pair(t)
	path := filepath.Join(t.TempDir(), "new", "folder", "file")
	want := bytes.Repeat([]byte("0123456789"), 300_000)
	if err := c.WriteFile(t.Context(), path, bytes.NewReader(want), 0o751); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o751 {
		t.Fatalf("got %v, %v", st, err)
	}
	got, err := c.ReadFile(t.Context(), path)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("got %d bytes, %v", len(got), err)
	}
	if b, err := c.ReadFile(t.Context(), "/proc/self/stat"); err != nil || len(b) == 0 {
		t.Fatalf("a file without a size: got %q, %v", b, err)
	}
	if _, err := c.ReadFile(t.Context(), path+"x"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
	if _, err := c.ReadFile(t.Context(), filepath.Dir(path)); err == nil {
		t.Fatal("a folder was read as a file")
	}
	if err := c.WriteFile(t.Context(), path+"/below-a-file", bytes.NewReader(want), 0o600); err == nil {
		t.Fatal("a file below a file was written")
	}
}

func TestDial(t *testing.T) {
	c := pair(t)
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello "+r.Host) })}
	go server.Serve(l)
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return c.DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	for range 3 {
		r, err := client.Get("http://agent/")
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if string(b) != "hello agent" {
			t.Fatalf("got %q", b)
		}
	}
	if _, err := c.DialContext(t.Context(), "unix", socket+"x"); err == nil {
		t.Fatal("dialed a socket that is not there")
	}
}

// When the channel ends, commands end, and callers are told.
func TestClose(t *testing.T) {
	c := pair(t)
	p, err := c.Start(t.Context(), Command{Argv: []string{"sleep", "600"}})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { _, err := p.Wait(t.Context()); ended <- err }()
	c.Close()
	if err := <-ended; err == nil {
		t.Fatal("no error")
	}
	if _, err := c.Hello(t.Context()); err == nil {
		t.Fatal("no error after Close")
	}
}
