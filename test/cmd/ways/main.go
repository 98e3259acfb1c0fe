//go:build linux

// Command ways does every way to change a map on every map type, on the kernel
// that it runs on, and prints what became of each, a line of JSON a cell; see
// package ways. It needs root and a BPF file system at /sys/fs/bpf. It exits
// with 1 if the outcome of any is unknown.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/cilium/ebpf/rlimit"

	"github.com/mapgossip/mapgossip/test/ways"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "ways:", err)
		stop()
		os.Exit(1)
	}
}

// separator of names, which have commas.
const separator = ";"

func run(ctx context.Context) error {
	folder := flag.String("pins", "/sys/fs/bpf/ways", "directory of a bpffs for maps")
	types := flag.String("types", "", "names of types, divided by "+separator+" (default: all)")
	limit := flag.Duration("limit", 8*time.Minute, "`time` after which it gives up, and prints what every goroutine does")
	names := flag.String("ways", "", "names of ways, divided by "+separator+" (default: all)")
	level := slog.LevelError
	flag.TextVar(&level, "log", level, "level of what the members log to standard error")
	flag.Parse()
	debug.SetTraceback("all")
	time.AfterFunc(*limit, func() { panic(fmt.Sprintf("not done after %v", *limit)) })
	options := ways.Options{
		Folder: *folder,
		Log:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
	}
	if *types != "" {
		options.Types = strings.Split(*types, separator)
	}
	if *names != "" {
		options.Ways = strings.Split(*names, separator)
	}
	if err := rlimit.RemoveMemlock(); err != nil { // before Linux 5.11
		return err
	}
	out := json.NewEncoder(os.Stdout)
	unknown := 0
	var writing error
	err := ways.Run(ctx, options, func(c ways.Cell) {
		writing = errors.Join(writing, out.Encode(c))
		if c.Outcome == ways.Unknown {
			unknown++
		}
	})
	if unknown > 0 {
		err = errors.Join(err, fmt.Errorf("the outcome of %d cells is unknown", unknown))
	}
	return errors.Join(err, writing)
}
