//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// None is an argument or a reply that says nothing.
type None struct{}

// pipe makes one connection of a reader and a writer.
type pipe struct {
	io.Reader
	io.WriteCloser
}

// serve is a process that does what the table asks for over its standard input
// and output, until the table closes them.
func serve(in io.Reader, out io.WriteCloser) error {
	server := rpc.NewServer()
	p, a, w, r := new(Process), new(Agent), new(PipeWriter), new(PipeReader)
	if err := errors.Join(server.Register(p), server.Register(a), server.Register(w), server.Register(r)); err != nil {
		return err
	}
	server.ServeCodec(jsonrpc.NewServerCodec(pipe{in, out})) // a Status is meant for JSON
	return errors.Join(a.close(), w.close(), r.close(), p.StopProfile(None{}, nil))
}

// Process answers for the process itself.
type Process struct {
	profile *os.File
}

// Usage is what a process has used so far.
type Usage struct {
	CPU      time.Duration
	Resident int64 // bytes
}

// Usage tells what the process has used so far.
func (*Process) Usage(_ None, u *Usage) (err error) {
	u.CPU = processCPU()
	u.Resident, err = residentBytes()
	return err
}

// Quiet gives back what memory the process does not need.
func (*Process) Quiet(None, *None) error {
	runtime.GC()
	debug.FreeOSMemory()
	return nil
}

// StartProfile begins a CPU profile in a new file.
func (p *Process) StartProfile(path string, _ *None) (err error) {
	if p.profile, err = os.Create(path); err != nil {
		return err
	}
	return pprof.StartCPUProfile(p.profile)
}

// StopProfile ends it.
func (p *Process) StopProfile(None, *None) error {
	if p.profile == nil {
		return nil
	}
	pprof.StopCPUProfile()
	err := p.profile.Close()
	p.profile = nil
	return err
}

// process is one that serves this one.
type process struct {
	command *exec.Cmd
	client  *rpc.Client
}

func startProcess() (*process, error) {
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), role+"="+roleProcess)
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	in, err := c.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start a process: %w", err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start a process: %w", err)
	}
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("start a process: %w", err)
	}
	return &process{c, jsonrpc.NewClient(pipe{out, in})}, nil
}

// call asks the process for something and waits for the reply.
func (p *process) call(method string, args, reply any) error {
	if err := p.client.Call(method, args, reply); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}

func (p *process) usage() (u Usage, err error) {
	err = p.call("Process.Usage", None{}, &u)
	return u, err
}

// close ends the process and waits for it.
func (p *process) close() error {
	if p == nil {
		return nil
	}
	err := p.client.Close()
	if waited := p.command.Wait(); waited != nil {
		err = errors.Join(err, fmt.Errorf("process %s: %w", filepath.Base(p.command.Path), waited))
	}
	return err
}

// pair is two processes whose use is measured together.
type pair struct {
	writer, reader *process
}

func startPair() (pair, error) {
	var p pair
	var err error
	if p.writer, err = startProcess(); err == nil {
		p.reader, err = startProcess()
	}
	if err != nil {
		return pair{}, errors.Join(err, p.close())
	}
	return p, nil
}

func (p pair) close() error { return errors.Join(p.writer.close(), p.reader.close()) }

// cpu is what each of the two has used so far.
func (p pair) cpu() (writer, reader time.Duration, err error) {
	w, err := p.writer.usage()
	if err != nil {
		return 0, 0, err
	}
	r, err := p.reader.usage()
	return w.CPU, r.CPU, err
}
