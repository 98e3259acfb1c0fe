package mapgossip

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestOperatingGuide: the operator's guide has each alert and each metric, in the
// words of the rules and of /metrics.
func TestOperatingGuide(t *testing.T) {
	guide, err := os.ReadFile("deploy/OPERATING.md")
	if err != nil {
		t.Fatal(err)
	}
	want := func(row string) {
		if !strings.Contains(string(guide), "\n"+row+"\n") {
			t.Errorf("deploy/OPERATING.md lacks this row:\n%s", row)
		}
	}
	for _, a := range readAlerts(t) {
		want(fmt.Sprintf("| `%s` | %s | %s |", a.name, a.fields["severity"], a.fields["description"]))
	}
	metrics, err := os.ReadFile(filepath.Join("testdata", "metrics.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^mapgossip_(\w+) (\w+) (\{.*\})\n\t(.*)$`).FindAllStringSubmatch(string(metrics), -1) {
		want(fmt.Sprintf("| `%s` | %s | %s |", m[1]+strings.TrimSuffix(m[3], "{}"), m[2], m[4]))
	}
}
