package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/yamux"
	"golang.org/x/sys/unix"
)

// pipesAfterExit is how long a command's output is still collected when the command
// has ended but a process it left behind holds the pipes open.
const pipesAfterExit = 2 * time.Second

// Serve answers operations that arrive on c until c ends, then kills the commands that
// still run, waits for all operations, closes c and returns why it ended; nil for an orderly end.
// Commands run with the environment and rights of the calling process.
//
// The caller must not reap children by itself (wait4 on any process): Serve waits for its own.
func Serve(c io.ReadWriteCloser) error {
	session, err := yamux.Server(newBuffered(c), configuration())
	if err != nil {
		return fmt.Errorf("serve control channel: %w", err)
	}
	defer session.Close()
	s := &server{running: make(map[int]*exec.Cmd)}
	defer s.operations.Wait()
	defer s.killAll()
	for {
		stream, err := session.AcceptStream()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, yamux.ErrSessionShutdown) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("serve control channel: %w", err)
		}
		s.operations.Go(func() {
			defer stream.Close()
			s.serve(stream)
		})
	}
}

type server struct {
	operations sync.WaitGroup

	mu      sync.Mutex
	running map[int]*exec.Cmd // by process ID; present means not yet waited for
}

func (s *server) serve(stream net.Conn) {
	var q request
	if err := readJSON(stream, kindRequest, &q); err != nil {
		return // nobody is there to be told
	}
	var err error
	switch q.Op {
	case "hello":
		var h Hello
		if h, err = hello(); err == nil {
			_ = writeJSON(stream, kindReply, reply{Hello: h})
			return
		}
	case "exec":
		err = s.exec(stream, q)
	case "signal":
		if err = s.signal(q); err == nil {
			err = writeJSON(stream, kindReply, reply{})
		}
	case "read":
		err = readFile(stream, q)
	case "write":
		err = writeFile(stream, q)
	case "dial":
		err = dial(stream, q)
	default:
		err = fmt.Errorf("unknown operation %q", q.Op)
	}
	if err != nil {
		_ = writeJSON(stream, kindReply, failure(err))
	}
}

func hello() (Hello, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Hello{}, fmt.Errorf("uname: %w", err)
	}
	return Hello{
		Name:    unix.ByteSliceToString(u.Nodename[:]),
		Kernel:  unix.ByteSliceToString(u.Release[:]),
		Machine: unix.ByteSliceToString(u.Machine[:]),
	}, nil
}

// exec returns an error only when the command did not start; what happens later is in the exit
// frame.
func (s *server) exec(stream net.Conn, q request) error {
	if len(q.Argv) == 0 {
		return errors.New("run command: no program given")
	}
	var mu sync.Mutex
	cmd := exec.Command(q.Argv[0], q.Argv[1:]...)
	cmd.Env = append(os.Environ(), q.Env...)
	cmd.Dir = q.Dir
	cmd.Stdout = frameWriter{&mu, stream, kindStdout}
	cmd.Stderr = frameWriter{&mu, stream, kindStderr}
	cmd.WaitDelay = pipesAfterExit
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var stdin io.WriteCloser
	var err error
	if q.Stdin {
		if stdin, err = cmd.StdinPipe(); err != nil {
			return err
		}
	}
	// The client must learn the process ID before the first byte of output.
	mu.Lock()
	if err := s.start(cmd); err != nil {
		mu.Unlock()
		return err
	}
	err = writeJSON(stream, kindReply, reply{PID: cmd.Process.Pid})
	mu.Unlock()
	if err != nil {
		s.kill(cmd.Process.Pid)
	}
	var feeding sync.WaitGroup
	feeding.Go(func() { s.feed(stream, stdin, cmd.Process.Pid) })
	err = cmd.Wait()
	s.mu.Lock()
	delete(s.running, cmd.Process.Pid)
	s.mu.Unlock()
	mu.Lock()
	_ = writeJSON(stream, kindExit, exitOf(cmd, err))
	mu.Unlock()
	_ = stream.SetReadDeadline(aLongTimeAgo) // ends feed
	feeding.Wait()
	return nil
}

// start holds the mutex over the fork, so that killAll sees every command or stops it from
// starting.
func (s *server) start(cmd *exec.Cmd) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		return errors.New("the host is going down")
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.running[cmd.Process.Pid] = cmd
	return nil
}

// feed hands kindData to the command's standard input (nil: it has none) and kills the command when
// the client goes away before it ends.
func (s *server) feed(stream net.Conn, stdin io.WriteCloser, pid int) {
	var buffer []byte
	for {
		k, p, err := readFrame(stream, &buffer)
		if errors.Is(err, yamux.ErrTimeout) {
			return // the command has ended
		}
		if err != nil {
			s.kill(pid)
			return
		}
		switch {
		case stdin == nil:
		case k == kindData:
			_, _ = stdin.Write(p) // an error means that the command reads no more: its own affair
		case k == kindEnd:
			_ = stdin.Close()
		}
	}
}

func exitOf(cmd *exec.Cmd, err error) Exit {
	if cmd.ProcessState == nil {
		return Exit{Code: -1}
	}
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	e := Exit{Code: cmd.ProcessState.ExitCode()}
	if status.Signaled() {
		e.Signal = status.Signal()
	}
	return e
}

func (s *server) signal(q request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running[q.PID] == nil {
		return fmt.Errorf("signal process %d: %w", q.PID, os.ErrProcessDone)
	}
	pid := q.PID
	if q.Group {
		pid = -pid
	}
	return syscall.Kill(pid, syscall.Signal(q.Signal))
}

func (s *server) kill(pid int) {
	_ = s.signal(request{PID: pid, Signal: int(syscall.SIGKILL), Group: true})
}

func (s *server) killAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for pid := range s.running {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
	s.running = nil
}

func dial(stream net.Conn, q request) error {
	var d net.Dialer
	c, err := d.DialContext(context.Background(), q.Network, q.Address)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := writeJSON(stream, kindReply, reply{}); err != nil {
		return nil
	}
	var up sync.WaitGroup
	up.Go(func() {
		_, _ = io.Copy(c, stream)
		_ = c.Close() // the test closed its end, and has no half-close
	})
	_, _ = io.Copy(stream, c)
	_ = stream.SetReadDeadline(aLongTimeAgo)
	_ = stream.Close()
	up.Wait()
	return nil
}
