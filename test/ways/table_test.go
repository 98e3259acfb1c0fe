//go:build linux

package ways

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/golden.md")

// What most kernels and types do is in the cell, the rest in notes.
func TestMarkdown(t *testing.T) {
	cell := func(kind, way string, outcome Outcome, reason string) Cell {
		c := Cell{Type: kind, Way: way, Outcome: outcome, Reason: reason}
		if outcome == Scanned {
			c.WithinS = 30
		}
		return c
	}
	var old, young []Cell
	for _, kind := range Types() {
		for _, w := range rows() {
			c := cell(kind.Name, w.Name, Captured, "")
			switch {
			case w.Name == "for each":
				c = cell(kind.Name, w.Name, Scanned, "")
			case kind.Name == "hash_timer" && w.Name == "program update, tracing":
				c = cell(kind.Name, w.Name, Refused, "the verifier allows no timer to tracing programs")
			case kind.Column == "ARRAY" && w.Name == "syscall delete":
				c = cell(kind.Name, w.Name, Refused, "EINVAL")
			case kind.Name == "array" && w.Name == "mmap store":
				c = cell(kind.Name, w.Name, Refused, "EINVAL: made without it")
			}
			old = append(old, c)
			if kind.Name == "lpm_trie" && c.Outcome == Captured {
				c.Outcome, c.WithinS = Scanned, 1
			}
			young = append(young, c)
		}
	}
	old = append(old, cell("queue", "", Refused, "no keys"), cell("arena", "", Refused, "none before Linux 6.9"))
	young = append(young, cell("queue", "", Refused, "no keys"), cell("arena", "", Refused, "memory"))
	reports := []Report{
		NewReport("newest", "7.3.4+deb13-cloud-amd64", []string{"full"}, [][]Cell{young}),
		NewReport("6.1", "6.1.0-50-cloud-amd64", nil, [][]Cell{old}),
	}
	got := Markdown(reports, "KERNELS.md") + "\n---\n\n" + Matrix(reports)
	golden := filepath.Join("testdata", "golden.md")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("not as in %s (-update makes it anew):\n%s", golden, got)
	}
}

// The tables in the README and beside this file are those of testdata, on all kernels that
// are tested, and nothing in them is unknown or missing.
func TestTablesAreCurrent(t *testing.T) {
	root := filepath.Join("..", "..")
	outdated, err := Outdated(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(outdated) > 0 {
		t.Errorf("%q are not what the reports say; run make test-kernels", outdated)
	}
	reports, err := ReadReports(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(reports) == 0 {
		t.Error("there are no reports; run make test-kernels")
	}
	for _, r := range reports {
		for _, c := range Unknowns(r.Cells) {
			t.Errorf("Linux %s: %s, %s: %s", r.Release, c.Type, c.Way, c.Reason)
		}
		have := make(map[[2]string]bool)
		for _, c := range r.Cells {
			have[[2]string{c.Type, c.Way}] = true
		}
		for _, kind := range Types() {
			for _, w := range rows() {
				if !have[[2]string{kind.Name, w.Name}] {
					t.Errorf("Linux %s: %s, %s is missing", r.Release, kind.Name, w.Name)
				}
			}
		}
		for _, k := range refusedKinds() {
			if !have[[2]string{k.name, ""}] {
				t.Errorf("Linux %s: %s is missing", r.Release, k.name)
			}
		}
	}
}
