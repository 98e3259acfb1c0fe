// Command labrun boots one guest (package test/lab), runs one program of this machine in it, and goes
// down again:
//
//	go run ./test/cmd/labrun -kernel 6.1 -preempt full -- ./mapwatch.test -test.v -test.run Burst
//
// The program is put into the guest as /lab/NAME. It must be static (a Go program: built with CGO_ENABLED=0);
// its architecture is the guest's. It runs as root in /, with MAPGOSSIP_NO_SKIP=1 and nothing to read, beside
// busybox's shell and tools in guests of this machine's architecture. A name without a slash that is no file
// here is a program of the guest ("sh", "dmesg"). What the guest itself needs is built: run labrun inside the
// module.
//
// Standard output and error are the program's; what the lab says goes to standard error, too. The exit status
// is the program's, 128 plus the number of the signal that ended it, 125 when the guest did not come to run it or
// went down, 2 for a command line that makes no sense. "go run" makes 1 of them all, and prints the status.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/mapgossip/mapgossip/test/lab"
)

const (
	statusUsage = 2
	statusLab   = 125 // as env(1) and timeout(1) say that they failed themselves
	statusBase  = 128 // plus a signal's number
)

func main() {
	r, err := parse(os.Args[1:], os.Stderr)
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "labrun:", err)
		}
		os.Exit(statusUsage)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	_ = os.Unsetenv("MAPGOSSIP_LAB") // it must not choose namespaces of this machine
	err = r.run(ctx, os.Stdout, os.Stderr)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "labrun:", err)
	}
	os.Exit(status(err))
}

// runs is one run of one program.
type runs struct {
	host    lab.HostConfig
	files   map[string]string // as lab.Config.Files
	tools   []string          // as lab.Config.Programs
	argv    []string
	env     []string
	timeout time.Duration
	console bool
}

// list is a flag that may be given more than once.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func parse(arguments []string, stderr io.Writer) (runs, error) {
	r := runs{host: lab.HostConfig{Name: "guest"}, files: make(map[string]string)}
	var files, env, tools list
	f := flag.NewFlagSet("labrun", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		fmt.Fprint(stderr, "usage: labrun [flags] -- PROGRAM [ARGUMENT…]\n\nBoots a guest of PROGRAM's architecture, runs PROGRAM in it, and exits as PROGRAM did.\n\n")
		f.PrintDefaults()
	}
	f.StringVar(&r.host.Kernel, "kernel", "6.12", "`series` of Debian's kernel: 5.10, 6.1, 6.12, 6.18, … or newest")
	f.StringVar((*string)(&r.host.Preempt), "preempt", "", "none, voluntary, full or lazy (default: the kernel's own)")
	f.StringVar((*string)(&r.host.Lockdown), "lockdown", "", "integrity or confidentiality (default: none)")
	f.IntVar(&r.host.CPUs, "cpus", 2, "`number` of CPUs")
	f.IntVar(&r.host.MemoryMB, "memory", 768, "memory in `MB`")
	f.DurationVar(&r.timeout, "timeout", 10*time.Minute, "limit on all of it, from boot to end")
	f.BoolVar(&r.console, "console", false, "print the guest's console at the end")
	f.Var(&env, "env", "`KEY=value` for the program; may be repeated")
	f.Var(&files, "file", "`FILE` of this machine, or NAME=FILE, to put into /lab; may be repeated")
	f.Var(&tools, "tool", "`program` of this machine to have in the guest, with its libraries (bpftool); may be repeated")
	if err := f.Parse(arguments); err != nil {
		return r, err
	}
	if f.NArg() == 0 {
		f.Usage()
		return r, errors.New("no program given")
	}
	r.argv, r.env, r.tools = f.Args(), append([]string{"MAPGOSSIP_NO_SKIP=1"}, env...), tools
	r.host.Arch = runtime.GOARCH
	program := r.argv[0]
	if _, err := os.Stat(program); err == nil {
		r.argv[0] = "/lab/" + filepath.Base(program)
		r.files[r.argv[0]] = program
		arch, err := architectureOf(program)
		if err != nil {
			return r, err
		}
		if arch != "" {
			r.host.Arch = arch
		}
	} else if strings.Contains(program, "/") {
		return r, err
	}
	if r.host.Arch == runtime.GOARCH { // where this machine's programs run
		r.tools = append([]string{"busybox"}, r.tools...)
	}
	for _, word := range files {
		name, local, found := strings.Cut(word, "=")
		if !found {
			name, local = filepath.Base(word), word
		}
		r.files[path.Join("/lab", name)] = local
	}
	return r, nil
}

// run returns nil or what went wrong: the program's own end is a *lab.ExitError.
func (r runs) run(ctx context.Context, stdout, stderr io.Writer) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.timeout, fmt.Errorf("not done within %v", r.timeout))
	defer cancel()
	if err := lab.Install(ctx, stderr, append([]string{lab.Emulator(r.host.Arch)}, r.tools...)...); err != nil {
		return err
	}
	l, err := lab.New(ctx, lab.Config{
		Hosts: []lab.HostConfig{r.host}, Mode: lab.Guests, Files: r.files, Programs: r.tools, Progress: stderr,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	h := l.Host(r.host.Name)
	if r.console {
		defer func() {
			b, readErr := os.ReadFile(h.ConsolePath())
			fmt.Fprintf(stderr, "console:\n%s\n", b)
			err = errors.Join(err, readErr)
		}()
	}
	c := h.Command(ctx, r.argv...)
	c.Env, c.Stdout, c.Stderr = r.env, stdout, stderr
	begin := time.Now()
	err = c.Run()
	fmt.Fprintf(stderr, "ran %.1f s\n", time.Since(begin).Seconds())
	return err
}

func status(err error) int {
	var exit *lab.ExitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &exit):
		return statusLab
	case exit.Signal != 0:
		return statusBase + int(exit.Signal)
	}
	return exit.Code
}
