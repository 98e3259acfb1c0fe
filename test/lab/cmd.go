package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"github.com/mapgossip/mapgossip/test/lab/control"
)

// Cmd is a command of a host, used like exec.Cmd: set fields, then Run, Output, CombinedOutput, or
// Start and Wait. A Cmd is used once.
type Cmd struct {
	Args   []string  // the first is looked up in the host's PATH, which begins with /lab
	Env    []string  // KEY=value, added to the host's
	Dir    string    // default: /
	Stdin  io.Reader // default: nothing to read
	Stdout io.Writer // default: discarded
	Stderr io.Writer // default: discarded, but the end of it is in ExitError

	host    *Host
	ctx     context.Context
	last    tail // of standard error, if Stderr is nil
	process *control.Process
	done    chan struct{}
	exit    control.Exit
	err     error
}

// ExitError: the command ran and failed.
type ExitError struct {
	Host    string
	Command string
	Code    int            // -1 when a signal ended it
	Signal  syscall.Signal // 0 when none did
	Stderr  []byte         // the last 8 KiB, unless Cmd.Stderr was set
}

func (e *ExitError) Error() string {
	how := fmt.Sprintf("exit status %d", e.Code)
	if e.Signal != 0 {
		how = "signal: " + e.Signal.String()
	}
	text := fmt.Sprintf("%s: %s: %s", e.Host, e.Command, how)
	if s := bytes.TrimSpace(e.Stderr); len(s) > 0 {
		text += ": " + string(s)
	}
	return text
}

// Command prepares a command. When ctx ends, the command and its process group are killed.
func (h *Host) Command(ctx context.Context, argv ...string) *Cmd {
	return &Cmd{Args: argv, host: h, ctx: ctx}
}

// String is the command line, for people.
func (c *Cmd) String() string { return strings.Join(c.Args, " ") }

// Start returns when the host has started the command. Errors: fs.ErrNotExist, ErrDown.
func (c *Cmd) Start() error {
	if c.done != nil {
		return errors.New("lab: command used twice")
	}
	c.done = make(chan struct{})
	stderr := c.Stderr
	if stderr == nil {
		stderr = &c.last
	}
	p, err := c.host.control.Start(c.ctx, control.Command{
		Argv: c.Args, Env: c.Env, Dir: c.Dir, Stdin: c.Stdin, Stdout: c.Stdout, Stderr: stderr,
	})
	if err != nil {
		c.err = fmt.Errorf("%s: start %s: %w", c.host.name, c, c.host.explain(err))
		close(c.done)
		return c.err
	}
	c.process = p
	go func() {
		defer close(c.done)
		c.exit, c.err = p.Wait(c.ctx)
		switch {
		case c.err != nil:
			c.err = fmt.Errorf("%s: %s: %w", c.host.name, c, c.host.explain(c.err))
		case c.exit != (control.Exit{}):
			c.err = &ExitError{Host: c.host.name, Command: c.String(), Code: c.exit.Code, Signal: c.exit.Signal, Stderr: c.last.bytes()}
		}
	}()
	return nil
}

// Wait returns when the command has ended and its output is written. Errors: *ExitError, ErrDown, or the
// reason why ctx ended. May be called more than once.
func (c *Cmd) Wait() error {
	if c.done == nil {
		return errors.New("lab: command was not started")
	}
	<-c.done
	return c.err
}

// Done is closed when Wait would return at once. Start first.
func (c *Cmd) Done() <-chan struct{} { return c.done }

// Run starts the command and waits.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the command and returns its standard output.
func (c *Cmd) Output() ([]byte, error) {
	var b bytes.Buffer
	c.Stdout = &b
	err := c.Run()
	return b.Bytes(), err
}

// CombinedOutput runs the command and returns standard output and error, in the order written.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	var b bytes.Buffer
	c.Stdout, c.Stderr = &b, &b
	err := c.Run()
	return b.Bytes(), err
}

// PID is the process ID on the host. Valid after Start.
func (c *Cmd) PID() int { return c.process.PID }

// Signal sends a signal to the command alone. An error when it has ended.
func (c *Cmd) Signal(s syscall.Signal) error {
	return c.host.explain(c.host.control.Signal(c.ctx, c.process.PID, s, false))
}

// Kill kills the command with its process group. An error when it has ended.
func (c *Cmd) Kill() error {
	return c.host.explain(c.host.control.Signal(c.ctx, c.process.PID, syscall.SIGKILL, true))
}

// tail keeps the last bytes written to it.
type tail struct{ kept []byte }

const tailBytes = 8 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if len(t.kept) > 2*tailBytes {
		t.kept = append(t.kept[:0], t.kept[len(t.kept)-tailBytes:]...)
	}
	return len(p), nil
}

func (t *tail) bytes() []byte { return t.kept[max(0, len(t.kept)-tailBytes):] }
