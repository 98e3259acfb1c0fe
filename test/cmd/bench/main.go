//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// role is the variable that tells a process of this program what it is: nothing
// for the one that a user starts, roleTable for the one that it starts in a
// network namespace of its own, roleProcess for what that one starts.
const (
	role        = "MAPGOSSIP_BENCH_ROLE"
	roleTable   = "table"
	roleProcess = "process"
	roleHooks   = "hooks" // measures hooks and prints what it found
	roleBare    = "bare"  // the same without attaching any
)

// timeout bounds the whole run: something hangs.
const timeout = 10 * time.Minute

// options are what the flags say.
type options struct {
	run      *regexp.Regexp
	entries  uint64
	profiles string // folder, or none
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	pattern := flags.String("run", "", "measure only the rows whose name matches this `regexp`; -list names them")
	flags.Uint64Var(&o.entries, "entries", 1_000_000, "how many `entries` a million are; the goals hold for 1000000")
	flags.StringVar(&o.profiles, "cpuprofile", "", "write CPU profiles of the two agents of row agents to this `folder`")
	list := flags.Bool("list", false, "name the rows and exit")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if *list {
		for _, r := range rows() {
			fmt.Println(r.name)
		}
		return o, flag.ErrHelp
	}
	var err error
	if o.run, err = regexp.Compile(*pattern); err != nil {
		return o, fmt.Errorf("flag -run: %w", err)
	}
	if o.entries < 20_000 {
		return o, fmt.Errorf("flag -entries %d: want at least 20000, or there is nothing to measure", o.entries)
	}
	return o, nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	err := run(ctx, os.Args[1:], os.Stdout)
	cancel()
	stop()
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return
	case errors.Is(err, errRows):
	default:
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	os.Exit(1)
}

func run(ctx context.Context, args []string, out io.Writer) error {
	switch os.Getenv(role) {
	case roleProcess:
		return serve(os.Stdin, os.Stdout)
	case roleHooks, roleBare:
		return serveHooks(out, os.Getenv(role) == roleBare)
	}
	o, err := parse(args)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("needs root: for BPF programs and a network namespace")
	}
	if os.Getenv(role) != roleTable {
		return isolate(ctx, args)
	}
	if err := loopbackUp(); err != nil {
		return err
	}
	return measure(ctx, o, out)
}

// isolate runs this program again in a network namespace of its own.
func isolate(ctx context.Context, args []string) error {
	c := exec.CommandContext(ctx, "/proc/self/exe", args...)
	c.Env = append(os.Environ(), role+"="+roleTable)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGTERM}
	err := c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return errRows // it has said why
	}
	return err
}
