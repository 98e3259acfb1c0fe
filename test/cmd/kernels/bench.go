//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mapgossip/mapgossip/test/lab"
	"github.com/mapgossip/mapgossip/test/ways"
)

// programs of this machine that guests have.
var programs = []string{"busybox"}

const (
	// boots is how often a guest is started that goes down while it boots: emulated
	// kernels do, now and then.
	boots = 3
	// waysLimit is some times what it takes on two busy cores.
	waysLimit = 10 * time.Minute
)

// bench runs programs in guests.
type bench struct {
	preempt []string
	folder  string
	tests   bool
	files   map[string]string // as lab.Config.Files
}

// build builds what runs in guests.
func (b *bench) build(ctx context.Context) error {
	b.files = make(map[string]string)
	wanted := map[string][]string{"ways": {"/test/cmd/ways"}}
	if b.tests {
		wanted["mapwatch.test"] = []string{"/mapwatch", "test", "-tags", "guest"}
		wanted["node.test"] = []string{"", "test", "-tags", "guest"}
	}
	for name, build := range wanted {
		binary := filepath.Join(b.folder, name)
		if err := lab.Build(ctx, binary, module+build[0], build[1:]...); err != nil {
			return err
		}
		b.files["/lab/"+name] = binary
	}
	return nil
}

// kernel measures one kernel, with each kind of preemption that it has. A report
// with cells can come with an error.
func (b *bench) kernel(ctx context.Context, series string) (ways.Report, error) {
	var (
		release string
		preempt []string
		cells   [][]ways.Cell
		faults  []error
	)
	for _, p := range b.preempt {
		r, found, err := b.guest(ctx, series, p)
		if errors.Is(err, lab.ErrPreempt) {
			fmt.Fprintf(os.Stderr, "%s: %v\n", series, err)
			continue
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("preempt=%s: %w", p, err))
		}
		if len(found) > 0 {
			release, preempt, cells = r, append(preempt, p), append(cells, found)
		}
	}
	if len(preempt) == 0 && len(faults) == 0 { // there is nothing to choose
		r, found, err := b.guest(ctx, series, "")
		release, cells = r, [][]ways.Cell{found}
		faults = append(faults, err)
	}
	return ways.NewReport(series, release, preempt, cells), errors.Join(faults...)
}

// words are on the command lines of kernels that need them: without cx16, which
// guests lack, Linux 6.18 and later allocate what a bpf_timer needs from a slab
// that is debugged only (kmalloc_nolock in mm/slub.c). That makes everything
// slower, and guests hung with it.
func words(series string) string {
	switch series {
	case "5.10", "6.1", "6.12":
		return ""
	}
	return "slub_debug=F,kmalloc-*"
}

// guest boots one and runs the programs in it.
func (b *bench) guest(ctx context.Context, series, preempt string) (release string, cells []ways.Cell, err error) {
	var l *lab.Lab
	for boot := 1; ; boot++ {
		l, err = lab.New(ctx, lab.Config{
			Hosts: []lab.HostConfig{{Name: "guest", Kernel: series, Preempt: lab.Preempt(preempt), Words: words(series)}}, Mode: lab.Guests,
			Files: b.files, Programs: programs, Progress: os.Stderr,
		})
		if err == nil {
			break
		}
		if boot == boots || !errors.Is(err, lab.ErrDown) {
			return "", nil, err
		}
		fmt.Fprintf(os.Stderr, "%s: it went down while it booted, once more: %v\n", series, err)
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	h := l.Hosts()[0]
	release = h.Kernel()

	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, waysLimit)
	defer cancel()
	var out, talk bytes.Buffer
	c := h.Command(limited, "ways")
	c.Stdout, c.Stderr = &out, &talk
	failed := c.Run()
	cells, err = ways.ReadCells(&out)
	if failed = errors.Join(failed, err); failed != nil {
		failed = fmt.Errorf("%w\n%s", failed, &talk)
	}
	for _, c := range ways.Unknowns(cells) {
		failed = errors.Join(failed, fmt.Errorf("%s, %s: %s", c.Type, c.Way, c.Reason))
	}
	fmt.Fprintf(os.Stderr, "%s preempt=%s: %d cells in %.0f s\n", release, preempt, len(cells), time.Since(began).Seconds())
	if b.tests {
		failed = errors.Join(failed,
			test(ctx, h, 50, "mapwatch.test", "-test.skip=WithoutBatches$"), // which no hook is in
			test(ctx, h, 10, "node.test", "-test.run=^TestKernel"))
	}
	return release, cells, failed
}

// test runs a test binary, of which at least so many tests must pass: mapwatch's
// own tests, or the Node's races, losses and echoes, whose counts it prints.
func test(ctx context.Context, h *lab.Host, least int, binary string, arguments ...string) error {
	began := time.Now()
	// Before 5.11 what programs and maps take counts against a limit that tests do not raise.
	line := append([]string{"sh", "-c", `ulimit -l unlimited; exec "$0" "$@"`, binary, "-test.v", "-test.timeout=20m"}, arguments...)
	c := h.Command(ctx, line...)
	c.Env = []string{"MAPGOSSIP_NO_SKIP=1"}
	out, err := c.CombinedOutput()
	passed := strings.Count(string(out), "--- PASS")
	if err != nil || strings.Contains(string(out), "--- SKIP") || passed < least {
		return fmt.Errorf("%s: %d tests passed: %w\n%s", binary, passed, err, out)
	}
	fmt.Fprintf(os.Stderr, "%s %s: %d tests passed in %.0f s\n", h.Kernel(), binary, passed, time.Since(began).Seconds())
	for _, line := range strings.Split(string(out), "\n") {
		if strings.Contains(line, "guest_test.go:") {
			fmt.Fprintln(os.Stderr, strings.TrimRight(line, "\r"))
		}
	}
	return nil
}
