package crdt_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
)

var update = flag.Bool("update", false, "rewrite the expectations in testdata")

// TestClockTranscripts replays testdata/clock/*.txt: a line is a call on one
// clock, "=>" and what came back. Timestamps are WALL/LOGICAL.
//
//	clock SKEW_NS
//	now PHYSICAL
//	stamp CAPTURED after WALL/LOGICAL
//	observe WALL/LOGICAL at PHYSICAL
//	resume WALL/LOGICAL at PHYSICAL
//	last
func TestClockTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/clock/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("find transcripts: %v, %d files", err, len(files))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			clock := crdt.NewClock(0)
			for line := range strings.Lines(string(text)) {
				line = strings.TrimSuffix(line, "\n")
				call, _, _ := strings.Cut(line, "=>")
				call = strings.TrimSpace(call)
				if call == "" || strings.HasPrefix(call, "#") {
					fmt.Fprintln(&out, line)
					continue
				}
				answer, err := replay(&clock, call)
				if err != nil {
					t.Fatalf("%q: %v", call, err)
				}
				fmt.Fprintf(&out, "%-32s => %s\n", call, answer)
			}
			if out.String() == string(text) {
				return
			}
			if *update {
				if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			t.Errorf("%s should read (go test -update writes it):\n%s", file, out.String())
		})
	}
}

func replay(clock **crdt.Clock, call string) (string, error) {
	verb, rest, _ := strings.Cut(call, " ")
	var n int64
	var ts crdt.Timestamp
	show := func(ts crdt.Timestamp) string { return fmt.Sprintf("%d/%d", ts.Wall, ts.Logical) }
	switch verb {
	case "clock":
		if _, err := fmt.Sscanf(rest, "%d", &n); err != nil {
			return "", err
		}
		*clock = crdt.NewClock(time.Duration(n))
		return "ok", nil
	case "now":
		if _, err := fmt.Sscanf(rest, "%d", &n); err != nil {
			return "", err
		}
		return show((*clock).Now(n)), nil
	case "stamp":
		if _, err := fmt.Sscanf(rest, "%d after %d/%d", &n, &ts.Wall, &ts.Logical); err != nil {
			return "", err
		}
		return show((*clock).Stamp(n, ts)), nil
	case "observe":
		if _, err := fmt.Sscanf(rest, "%d/%d at %d", &ts.Wall, &ts.Logical, &n); err != nil {
			return "", err
		}
		if err := (*clock).Observe(ts, n); err != nil {
			return err.Error(), nil
		}
		return "ok", nil
	case "resume":
		if _, err := fmt.Sscanf(rest, "%d/%d at %d", &ts.Wall, &ts.Logical, &n); err != nil {
			return "", err
		}
		if err := (*clock).Resume(ts, n); err != nil {
			return err.Error(), nil
		}
		return "ok", nil
	case "last":
		return show((*clock).Last()), nil
	}
	return "", fmt.Errorf("no such call")
}
