//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// errRows: a row could not be measured, and the table says which.
var errRows = errors.New("some rows could not be measured")

// line is one line of the table. goal is empty where there is none.
type line struct {
	what, result, yardstick, ratio, goal string
	met                                  bool
}

// row is what is measured at a time: one line or more.
type row struct {
	name    string
	measure func(*bench) ([]line, error)
}

// rows are in the order of the table; later ones use what earlier ones left.
func rows() []row {
	return []row{
		{"pipe", pipeRow},
		{"agents", agentsRow},
		{"hot", hotRow},
		{"latency", latencyRow},
		{"exchange", exchangeRow},
		{"join", joinRow},
		{"load", loadRow},
		{"differ", differRow},
		{"idle", idleRow},
		{"merge", mergeRow},
		{"members", membersRow},
		{"hooks", hooksRow},
	}
}

const format = "%-34s  %-50s  %-36s  %6s  %-34s  %s\n"

// measure prints the table. A missed goal is no error.
func measure(ctx context.Context, o options, out io.Writer) error {
	b := &bench{options: o}
	began := time.Now()
	fmt.Fprintf(out, "%s\n%s; %d entries of %d + %d bytes; CPU is writer + reader\n\n", machine(), began.UTC().Format(time.DateTime), o.entries, keyBytes, valueBytes)
	fmt.Fprintf(out, format, "what", "result", "yardstick", "ratio", "goal", "verdict")
	failed := false
	for _, r := range rows() {
		if !o.run.MatchString(r.name) || ctx.Err() != nil {
			continue
		}
		lines, err := r.measure(b)
		for _, l := range lines {
			fmt.Fprintf(out, format, l.what, l.result, dash(l.yardstick), dash(l.ratio), dash(l.goal), l.verdict())
		}
		if err != nil {
			failed = true
			fmt.Fprintf(out, "%-34s  FAILED: %v\n", r.name, err)
		}
	}
	err := b.close()
	if err != nil {
		failed = true
		fmt.Fprintf(out, "%-34s  FAILED: %v\n", "end", err)
	}
	fmt.Fprintf(out, "\ntook %v\n", time.Since(began).Round(time.Second))
	if failed || ctx.Err() != nil {
		return errRows
	}
	return nil
}

func (l line) verdict() string {
	switch {
	case l.goal == "":
		return "-"
	case l.met:
		return "OK"
	}
	return "MISSED"
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// rate prints entries a second.
func rate(entries uint64, took time.Duration) string {
	return fmt.Sprintf("%.0f k/s", float64(entries)/took.Seconds()/1e3)
}

// each prints how much of a time one of n takes, in µs.
func each(total time.Duration, n uint64) string {
	return fmt.Sprintf("%.2f", float64(total)/float64(n)/1e3)
}

// size prints bytes.
func size(bytes uint64) string {
	switch {
	case bytes >= 10<<20:
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	case bytes >= 10<<10:
		return fmt.Sprintf("%.1f KiB", float64(bytes)/(1<<10))
	}
	return fmt.Sprintf("%d B", bytes)
}

func ratio(a, b float64) string { return fmt.Sprintf("%.2f", a/b) }

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/1e6) }
