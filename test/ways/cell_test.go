//go:build linux

package ways

import (
	"slices"
	"strings"
	"testing"
)

func TestReadCells(t *testing.T) {
	cells, err := ReadCells(strings.NewReader(`{"type":"hash","way":"for each","outcome":"found by scan","within_s":30,"took_ms":7}
{"type":"queue","outcome":"refused","reason":"its elements have no keys"}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Cell{
		{Type: "hash", Way: "for each", Outcome: Scanned, WithinS: 30, TookMS: 7},
		{Type: "queue", Outcome: Refused, Reason: "its elements have no keys"},
	}
	if !slices.Equal(cells, want) {
		t.Errorf("got %+v", cells)
	}
	for _, text := range []string{`{"type":"hash"`, `{"type":"hash","way":"for each"}`, `{"outcome":"refused"}`, `what?`} {
		if cells, err := ReadCells(strings.NewReader(text)); err == nil {
			t.Errorf("%s: %+v", text, cells)
		}
	}
}

func TestCompare(t *testing.T) {
	was := []Cell{
		{Type: "hash", Way: "for each", Outcome: Scanned, WithinS: 30},
		{Type: "hash", Way: "syscall update", Outcome: Captured},
		{Type: "array", Way: "syscall delete", Outcome: Refused, Reason: "EINVAL"},
		{Type: "queue", Outcome: Refused, Reason: "its elements have no keys"},
	}
	same := slices.Clone(was)
	slices.Reverse(same)
	same[0].TookMS = 5
	if d := Compare(was, same); d != nil {
		t.Errorf("the same, in another order and time: %q", d)
	}
	got := []Cell{
		{Type: "hash", Way: "for each", Outcome: Scanned, WithinS: 30},
		{Type: "hash", Way: "syscall update", Outcome: Captured, Preempt: "full"},
		{Type: "array", Way: "syscall delete", Outcome: Refused, Reason: "EPERM"},
	}
	want := []string{
		"hash, syscall update full: new, captured",
		"array, syscall delete: was refused: EINVAL; is refused: EPERM",
		"hash, syscall update: was captured; is missing",
		"queue, opened: was refused: its elements have no keys; is missing",
	}
	if d := Compare(was, got); !slices.Equal(d, want) {
		t.Errorf("got %q", d)
	}
}

// What does not depend on preemption is one cell, in the order of the table.
func TestNewReport(t *testing.T) {
	none := []Cell{
		{Type: "array", Way: "for each", Outcome: Scanned, WithinS: 30, TookMS: 1700},
		{Type: "hash", Way: "syscall delete", Outcome: Captured, TookMS: 3},
		{Type: "hash", Way: "syscall update", Outcome: Captured, TookMS: 3},
	}
	full := []Cell{
		{Type: "hash", Way: "syscall update", Outcome: Captured, TookMS: 4},
		{Type: "hash", Way: "syscall delete", Outcome: Scanned, WithinS: 1, TookMS: 900},
		{Type: "array", Way: "for each", Outcome: Scanned, WithinS: 30, TookMS: 1900},
	}
	r := NewReport("6.1", "6.1.0-50-cloud-amd64", []string{"none", "full"}, [][]Cell{none, full})
	want := []Cell{
		{Type: "hash", Way: "syscall update", Outcome: Captured},
		{Type: "hash", Way: "syscall delete", Outcome: Scanned, WithinS: 1, Preempt: "full"},
		{Type: "hash", Way: "syscall delete", Outcome: Captured, Preempt: "none"},
		{Type: "array", Way: "for each", Outcome: Scanned, WithinS: 30},
	}
	if !slices.Equal(r.Cells, want) || r.SlowestScanMS != 1900 || r.label() != "6.1" {
		t.Errorf("got %+v", r)
	}
}
