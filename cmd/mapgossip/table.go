package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// table is rows of equally many cells; the first row is the heading.
type table [][]string

// write aligns the columns, two blanks apart, and indents each line. It is the
// same on a terminal and in a file.
func (t table) write(w io.Writer, indent string) {
	var widths []int
	for _, row := range t {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], visible(cell))
		}
	}
	for _, row := range t {
		line := indent
		for i, cell := range row {
			line += cell + strings.Repeat(" ", widths[i]-visible(cell)+2)
		}
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
}

// rounded shows a duration to the precision that people want of it: 850µs,
// 1.2ms, 12ms, 3.4s, 12s, 2m5s, 3h2m, 4d3h.
func rounded(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + rounded(-d)
	case d < 10*time.Millisecond:
		return d.Round(max(time.Microsecond, round10(d))).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Minute:
		return trimZero(d.Round(time.Second).String(), "m0s")
	case d < time.Hour:
		return trimZero(d.Round(time.Second).String(), "m0s")
	case d < 24*time.Hour:
		return trimZero(strings.TrimSuffix(d.Round(time.Minute).String(), "0s"), "h0m")
	}
	hours := int(d.Round(time.Hour) / time.Hour)
	return fmt.Sprintf("%dd%dh", hours/24, hours%24)
}

// trimZero takes the empty smaller unit off: 10m0s is 10m.
func trimZero(text, suffix string) string {
	if whole, ok := strings.CutSuffix(text, suffix); ok {
		return whole + suffix[:1]
	}
	return text
}

// round10 keeps one digit after the point of milliseconds.
func round10(d time.Duration) time.Duration {
	if d < time.Millisecond {
		return time.Microsecond
	}
	return 100 * time.Microsecond
}

// ago shows how long ago t was at now; a zero t is "never".
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := now.Sub(t)
	if d < time.Second { // now is known to the second only
		return "just now"
	}
	return rounded(d.Truncate(time.Second)) + " ago"
}

// milliseconds turns the unit of the JSON into a duration.
func milliseconds(ms float64) time.Duration {
	return time.Duration(ms * float64(time.Millisecond))
}

// signed shows an offset in milliseconds with its sign: +12ms, -3s.
func signed(ms float64) string {
	d := milliseconds(ms)
	if d > -time.Microsecond && d < time.Microsecond {
		return "0s"
	}
	if d > 0 {
		return "+" + rounded(d)
	}
	return rounded(d)
}

func bytesOf(n int) string { return fmt.Sprintf("%d B", n) }
