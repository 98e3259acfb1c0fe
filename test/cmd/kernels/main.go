//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mapgossip/mapgossip/test/lab"
	"github.com/mapgossip/mapgossip/test/ways"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "kernels:", err)
		stop()
		os.Exit(1)
	}
}

const (
	module = "github.com/mapgossip/mapgossip"
	root   = "." // of the module
)

// together is how many guests run at a time: each keeps a core busy, now and then two.
const together = 2

// series that the tables have, and kinds of preemption that are tried.
const (
	allSeries  = "5.10 6.1 6.12 6.18 newest"
	allPreempt = "none full"
)

func run(ctx context.Context) error {
	began := time.Now()
	series := flag.String("kernels", allSeries, "`series` of kernels, divided by spaces")
	preempt := flag.String("preempt", allPreempt, "`kinds` of preemption to try on each, divided by spaces")
	check := flag.Bool("check", false, "compare with what was found before, and write nothing")
	tests := flag.Bool("tests", true, "run mapwatch's tests too")
	flag.Parse()
	if err := lab.Install(ctx, os.Stderr, programs...); err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "mapgossip-kernels-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	b := &bench{preempt: strings.Fields(*preempt), folder: folder, tests: *tests}
	if err := b.build(ctx); err != nil {
		return err
	}
	all := strings.Fields(*series)
	faults := make([]error, len(all))
	var group sync.WaitGroup
	slots := make(chan struct{}, together)
	for i, s := range all {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			report, err := b.kernel(ctx, s)
			switch {
			case len(report.Cells) == 0:
			case *check:
				err = errors.Join(err, compare(report))
			default:
				err = errors.Join(err, report.Write(root))
			}
			if err != nil {
				faults[i] = fmt.Errorf("kernel %s: %w", s, err)
			}
		})
	}
	group.Wait()
	if !*check {
		faults = append(faults, ways.WriteTables(root))
	} else if outdated, err := ways.Outdated(root); err != nil || len(outdated) > 0 {
		faults = append(faults, err, fmt.Errorf("tables that are not those of %s: %q; run make test-kernels", ways.Folder, outdated))
	}
	fmt.Fprintf(os.Stderr, "done in %.0f s\n", time.Since(began).Seconds())
	return errors.Join(faults...)
}

// compare says in what a report differs from the committed one.
func compare(report ways.Report) error {
	was, err := ways.ReadReport(root, report.Series)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no report of it in %s: run make test-kernels", ways.Folder)
	}
	if err != nil {
		return err
	}
	if differences := ways.Compare(was.Cells, report.Cells); len(differences) > 0 {
		return fmt.Errorf("%d cells differ from %s (Linux %s there, %s here); if that is right, run make test-kernels:\n  %s",
			len(differences), filepath.Join(ways.Folder, report.Series+".json"), was.Release, report.Release, strings.Join(differences, "\n  "))
	}
	return nil
}
