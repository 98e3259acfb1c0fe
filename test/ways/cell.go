//go:build linux

package ways

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Outcome is what becomes of a change.
type Outcome string

const (
	// Captured: a hook saw it, and it is on the other member at once.
	Captured Outcome = "captured"
	// Triggered: a hook saw that something changed and asked for a scan, which
	// found what.
	Triggered Outcome = "captured, by the scan that it triggers"
	// Scanned: no hook saw it, the next scan found it.
	Scanned Outcome = "found by scan"
	// Evicted: nobody saw the delete, and the scan takes what is not in an LRU map any
	// more for evicted, which is local.
	Evicted Outcome = "taken for an eviction"
	// Refused: the kernel or mapgossip does not allow it.
	Refused Outcome = "refused"
	// Filled: the new map was bound and filled from the cluster.
	Filled Outcome = "filled"
	// Kept: the map is gone; the others keep what was in it, and status tells.
	Kept Outcome = "kept by the others"
	// Unknown is a fault: something else came of it. Reason says what.
	Unknown Outcome = "unknown"
)

// Cell is what became of one way to change a map of one type.
type Cell struct {
	Type    string  `json:"type"`              // Type.Name, or what the kernel calls a type that is refused
	Way     string  `json:"way"`               // Way.Name; empty for a type that is refused
	Preempt string  `json:"preempt,omitempty"` // of the kernel, if that makes a difference
	Outcome Outcome `json:"outcome"`
	WithinS int     `json:"within_s,omitempty"` // Scanned: the interval of scans that such a map has by default
	Reason  string  `json:"reason,omitempty"`
	TookMS  int64   `json:"took_ms,omitempty"` // from the end of the way to the change on the other member
}

// Report is what was found on one kernel.
type Report struct {
	Series        string   `json:"series"`            // as it was asked for
	Release       string   `json:"release"`           // as uname -r prints it
	Preempt       []string `json:"preempt,omitempty"` // all that were tried; none: the kernel leaves no choice
	SlowestScanMS int64    `json:"slowest_scan_ms"`   // of what a scan each second found
	Cells         []Cell   `json:"cells"`
}

// label is how people call the kernel: the first two numbers of its version.
func (r Report) label() string {
	parts := strings.SplitN(r.Release, ".", 3)
	return strings.Join(parts[:min(len(parts), 2)], ".")
}

// short is the outcome, in the words of the table.
func (c Cell) short() string {
	if c.WithinS > 0 {
		return fmt.Sprintf("%s within %d s", c.Outcome, c.WithinS)
	}
	return string(c.Outcome)
}

// text is short and the reason.
func (c Cell) text() string {
	if c.Reason == "" {
		return c.short()
	}
	return c.short() + ": " + c.Reason
}

// NewReport makes a report of the cells that were found with each kind of
// preemption, in that order. What is the same with all is one cell. Times, which
// differ from run to run, are left out, but for the worst of scans.
func NewReport(series, release string, preempt []string, cells [][]Cell) Report {
	r := Report{Series: series, Release: release, Preempt: preempt}
	for i, run := range cells {
		for _, c := range run {
			if c.Outcome == Scanned {
				r.SlowestScanMS = max(r.SlowestScanMS, c.TookMS)
			}
			c.TookMS = 0
			same := 0
			for _, other := range cells {
				if slices.ContainsFunc(other, func(o Cell) bool { return o.Type == c.Type && o.Way == c.Way && o.text() == c.text() }) {
					same++
				}
			}
			switch {
			case same < len(cells):
				c.Preempt = preempt[i]
			case i > 0:
				continue // the first run's says it
			}
			r.Cells = append(r.Cells, c)
		}
	}
	slices.SortStableFunc(r.Cells, func(a, b Cell) int {
		return cmp.Or(cmp.Compare(order(a), order(b)), strings.Compare(a.Preempt, b.Preempt))
	})
	return r
}

// ReadCells reads the lines that command ways prints.
func ReadCells(r io.Reader) ([]Cell, error) {
	var cells []Cell
	for d := json.NewDecoder(r); ; {
		var c Cell
		switch err := d.Decode(&c); {
		case err == io.EOF:
			return cells, nil
		case err != nil:
			return cells, fmt.Errorf("read cell %d: %w", len(cells)+1, err)
		case cmp.Or(c.Type, c.Way) == "" || c.Outcome == "":
			return cells, fmt.Errorf("read cell %d: no type or no outcome", len(cells)+1)
		}
		cells = append(cells, c)
	}
}

// Unknowns returns the cells that are faults.
func Unknowns(cells []Cell) (unknown []Cell) {
	for _, c := range cells {
		if c.Outcome == Unknown {
			unknown = append(unknown, c)
		}
	}
	return unknown
}

// Compare says, a line a cell, in what got differs from want: other outcomes,
// other reasons, missing cells and new ones. Times may differ.
func Compare(want, got []Cell) (differences []string) {
	type place struct{ kind, way, preempt string }
	name := func(p place) string {
		return strings.TrimSpace(fmt.Sprintf("%s, %s %s", p.kind, cmp.Or(p.way, "opened"), p.preempt))
	}
	had := make(map[place]Cell)
	for _, c := range want {
		had[place{c.Type, c.Way, c.Preempt}] = c
	}
	for _, c := range got {
		p := place{c.Type, c.Way, c.Preempt}
		switch w, ok := had[p]; {
		case !ok:
			differences = append(differences, fmt.Sprintf("%s: new, %s", name(p), c.text()))
		case w.text() != c.text():
			differences = append(differences, fmt.Sprintf("%s: was %s; is %s", name(p), w.text(), c.text()))
		}
		delete(had, p)
	}
	for _, c := range want {
		p := place{c.Type, c.Way, c.Preempt}
		if _, left := had[p]; left {
			differences = append(differences, fmt.Sprintf("%s: was %s; is missing", name(p), c.text()))
		}
	}
	return differences
}
