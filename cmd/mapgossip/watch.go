package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/mapgossip/mapgossip"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// runWatch prints changes as they happen: what an agent tells of a map, or, given
// a target, what this host's kernel does, without an agent.
func runWatch(ctx context.Context, args []string, env environment, stdout, stderr io.Writer) error {
	s := settingsOf("watch")
	if err := s.parse(args, env); err != nil {
		return err
	}
	at, format, err := s.asked()
	if err != nil {
		return err
	}
	print := newChangePrinter(stdout, stderr, format, paletteFor(stdout, env))
	if isTarget(s.Arg(0)) {
		kernel, err := mapwatch.OpenHost()
		if err != nil {
			return err
		}
		defer kernel.Close()
		return watchHost(ctx, kernel, s.Arg(0), print)
	}
	return watchAgent(ctx, at, s.Arg(0), print)
}

// isTarget tells a target from the name of a map in the cluster.
func isTarget(text string) bool {
	return strings.HasPrefix(text, "/") || strings.HasPrefix(text, "id:") || strings.HasPrefix(text, "name:")
}

// watchAgent prints what the agent tells, until ctx ends: that is no failure.
func watchAgent(ctx context.Context, at endpoint, name string, print *changePrinter) error {
	events, err := follow(ctx, at, mapPath(name, "watch"), eventStall)
	if ctx.Err() != nil {
		if err == nil {
			events.Close()
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer events.Close()
	for {
		data, err := events.nextEvent("change")
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		var c mapgossip.Change
		if err := decode(data, &c); err != nil {
			return misread(at, err)
		}
		if err := print.change(c, data); err != nil {
			return err
		}
	}
}

// changePrinter prints changes, a line each. One goroutine uses it.
type changePrinter struct {
	stdout, stderr io.Writer
	json           bool
	table          columns
	palette
}

func newChangePrinter(stdout, stderr io.Writer, format string, p palette) *changePrinter {
	return &changePrinter{stdout, stderr, format == "json", columns{w: stdout, flowing: true}, p}
}

// talk says on stderr what is no change.
func (c *changePrinter) talk(format string, args ...any) {
	fmt.Fprintf(c.stderr, "mapgossip: "+format+"\n", args...)
}

// change prints a change, of which data is the JSON.
func (c *changePrinter) change(change mapgossip.Change, data []byte) error {
	if change.Lost > 0 {
		c.talk("%s left out here: they came faster than they could be told", wereChanges(change.Lost))
	}
	if c.json {
		return copyLine(c.stdout)(data)
	}
	if c.table.widths == nil { // as wide as rows mostly are, so that they stand in line from the first on
		c.table.widths = []int{len(rowTime), len("local"), len("update"), len("interrupt"), 15, 7, len("CPU"), 0, 0}
		if err := c.table.row(c.heading("TIME", "FROM", "WHAT", "SOURCE", "PROCESS", "PID", "CPU", "KEY", "VALUE")...); err != nil {
			return err
		}
	}
	from := "local"
	source, process, pid, cpu := writerWords(change.Writer)
	if change.Origin == mapgossip.OriginRemote {
		from, source = change.Node, rounded(milliseconds(max(0, change.LagMS)))+" ago"
		if change.From != change.Node {
			process = "told by " + change.From
		}
	}
	return c.table.row(change.Time.UTC().Format(rowTime), from, c.whatWord(change.Entry), source, process, pid, cpu,
		shownKey(change.Entry), abridged(shownValue(change.Entry)))
}

func (c *changePrinter) whatWord(e mapgossip.Entry) string {
	switch {
	case e.Evicted && e.Deleted:
		return c.doubt("evict")
	case e.Deleted:
		return c.bad("delete")
	}
	return c.good("update")
}

// writerWords are the cells that say who made a change.
func writerWords(w *mapgossip.Writer) (source, process, pid, cpu string) {
	if w == nil {
		return "-", "-", "-", "-"
	}
	source, process, pid, cpu = cmp.Or(w.Source, "-"), cmp.Or(w.Process, "-"), "-", fmt.Sprint(w.CPU)
	if w.PID != 0 {
		pid = fmt.Sprint(w.PID)
	}
	if w.Source == mapwatch.SourceInterrupt.String() { // who is on the CPU has no part in it
		process = "(" + process + ")"
	}
	return source, process, pid, cpu
}

func wereChanges(n uint64) string {
	if n == 1 {
		return "1 change was"
	}
	return fmt.Sprintf("%d changes were", n)
}
