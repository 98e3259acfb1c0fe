package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
)

func main() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	os.Exit(interruptible(signals, func(ctx context.Context) int {
		return run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	}))
}

// interruptible runs f until it returns, and returns its code. The first signal
// ends f's context; the second is not waited for: 1, while f still runs.
func interruptible(signals <-chan os.Signal, f func(context.Context) int) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan int, 1)
	go func() { ended <- f(ctx) }()
	for {
		select {
		case code := <-ended:
			return code
		case <-signals:
			if ctx.Err() != nil {
				return exitFailed
			}
			cancel()
		}
	}
}

// command is one word after "mapgossip". Its run returns nil, pflag.ErrHelp
// when help was asked for, or what report prints.
type command struct {
	name string
	run  func(ctx context.Context, args []string, env environment, stdout, stderr io.Writer) error
}

func commands() []command {
	return []command{
		{"agent", runAgent},
		{"status", askCommand("status")},
		{"members", askCommand("members")},
		{"maps", askCommand("maps")},
		{"get", runGet},
		{"dump", runDump},
		{"watch", runWatch},
		{"diff", runDiff},
		{"scan", runScan},
		{"sync", runSync},
		{"remove", runRemove},
		{"leave", runLeave},
		{"keys", runKeys},
		{"keygen", runKeygen},
		{"completion", runCompletion},
		{"version", runVersion},
	}
}

// run is the program without its process: args are without the program's name,
// env is as os.Environ gives it. It returns the exit code, and returns soon
// after ctx ends.
func run(ctx context.Context, args, env []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, helpPage(""))
		return exitUsage
	}
	name, rest := args[0], args[1:]
	switch name {
	case "help", "--help", "-h":
		return runHelp(rest, stdout, stderr)
	case "--version":
		name = "version"
	case completeWord: // of the scripts that completion prints: no word for people
		return report(stderr, complete(ctx, rest, environmentOf(env), stdout))
	}
	for _, c := range commands() {
		if c.name != name {
			continue
		}
		err := c.run(ctx, rest, environmentOf(env), stdout, stderr)
		if errors.Is(err, pflag.ErrHelp) {
			fmt.Fprint(stdout, helpPage(c.name))
			return exitOK
		}
		return report(stderr, err)
	}
	return report(stderr, unknownCommand(name))
}

func runHelp(args []string, stdout, stderr io.Writer) int {
	topic := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		topic = args[0]
	}
	page := helpPage(topic)
	if page == "" {
		return report(stderr, unknownCommand(topic))
	}
	fmt.Fprint(stdout, page)
	return exitOK
}

func unknownCommand(name string) error {
	var known []string
	for _, c := range commands() {
		known = append(known, c.name)
	}
	if strings.HasPrefix(name, "-") {
		return usage(fmt.Errorf("flag %s comes before any command: write mapgossip COMMAND [flags]; 'mapgossip help' lists the commands", name))
	}
	if guess := closest(name, append(known, "help")); guess != "" {
		return usage(fmt.Errorf("unknown command %q: did you mean %s?", name, guess))
	}
	return usage(fmt.Errorf("unknown command %q: there are %s; 'mapgossip help' says what they do", name, strings.Join(known, ", ")))
}

// closest returns the candidate that text was probably meant to be: at most
// two letters off, and never most of the word; or "".
func closest(text string, candidates []string) string {
	best, found := min(2, (len(text)+1)/3), ""
	for _, c := range candidates {
		if d := distance(text, c); d <= best && (found == "" || d < best) {
			best, found = d, c
		}
	}
	return found
}

// distance counts the letters to insert, delete, replace or swap with their
// neighbour to turn a into b (optimal string alignment).
func distance(a, b string) int {
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
