package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/mapgossip/mapgossip/test/lab/control"
	"github.com/mapgossip/mapgossip/test/lab/ether"
)

// Both kinds of host are one process of this machine that is given its control channel
// as descriptor 3 and its network as descriptor 4.
const (
	controlFD = 3
	networkFD = 4
)

// plan is all that starting a host takes.
type plan struct {
	HostConfig
	prefix   netip.Prefix
	console  string
	settings []string // for labinit
	command  *exec.Cmd
}

// startHost returns when the process runs; the host is not up yet.
func startHost(p plan, network *ether.Switch) (_ *Host, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("start host %s: %w", p.Name, err)
		}
	}()
	console, err := os.OpenFile(p.console, os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, err
	}
	defer console.Close()
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	ourNet, theirNet, err := socketPair()
	if err != nil {
		_ = ours.Close()
		return nil, err
	}
	defer theirNet.Close()
	client, err := control.NewClient(ours)
	if err != nil {
		_ = ours.Close()
		_ = ourNet.Close()
		return nil, err
	}
	h := &Host{
		name: p.Name, addr: p.prefix.Addr(), console: p.console, control: client,
		port: network.Attach(ourNet), stopping: make(chan struct{}), down: make(chan struct{}),
		kill: func() { _ = p.command.Process.Kill() },
	}
	p.command.ExtraFiles = []*os.File{theirs, theirNet} // descriptors 3 and 4
	p.command.Stdout, p.command.Stderr = console, console
	started := make(chan error)
	go h.run(p.command, started)
	if err := <-started; err != nil {
		_ = client.Close()
		h.port.Close()
		return nil, err
	}
	return h, nil
}

// again is the plan of a host that is to be started once more.
func (p plan) again() plan {
	first := p.command
	p.command = exec.Command(first.Path)
	p.command.Args, p.command.Env, p.command.Dir = first.Args, first.Env, first.Dir
	return p
}

// run lives as long as the process. It keeps its thread, because the kernel kills the process
// with the thread that started it (Pdeathsig): then nothing is left when this program is killed.
func (h *Host) run(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &unix.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
	if err := cmd.Start(); err != nil {
		started <- err
		return
	}
	started <- nil
	err := cmd.Wait()
	select {
	case <-h.stopping:
		h.err = fmt.Errorf("host %s: %w: stopped", h.name, ErrDown)
	default:
		reason := "its process ended"
		if err != nil {
			reason += ": " + err.Error()
		}
		h.err = fmt.Errorf("host %s: %w: %s; the last lines of its console:\n%s", h.name, ErrDown, reason, lastWords(h.console))
	}
	_ = h.control.Close()
	h.port.Close()
	close(h.down)
}

// awaitUp returns when the host answers, or has gone, or ctx has ended.
func (h *Host) awaitUp(ctx context.Context) error {
	hello, err := h.control.Hello(ctx)
	if err == nil {
		h.kernel = hello.Kernel
		return nil
	}
	if err := h.explain(err); h.Err() != nil {
		return err
	}
	return fmt.Errorf("host %s does not answer: %w; the last lines of its console:\n%s", h.name, err, lastWords(h.console))
}

// stop does not wait.
func (h *Host) stop() {
	select {
	case <-h.stopping:
	default:
		close(h.stopping)
	}
	h.kill()
}

// socketPair returns one end for this process and one to hand down.
func socketPair() (ours net.Conn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make socket pair: %w", err)
	}
	for _, fd := range fds {
		// Frames come in bursts; the default of 208 KiB holds some 90 of them. More than
		// the system allows is cut to that without an error.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20)
	}
	mine, theirs := os.NewFile(uintptr(fds[0]), "lab"), os.NewFile(uintptr(fds[1]), "host")
	defer mine.Close()
	if ours, err = net.FileConn(mine); err != nil {
		_ = theirs.Close()
		return nil, nil, fmt.Errorf("make socket pair: %w", err)
	}
	return ours, theirs, nil
}
