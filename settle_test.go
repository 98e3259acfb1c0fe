package mapgossip

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func stories() []story {
	gone := content{}
	var all []story
	for _, step := range []time.Duration{time.Microsecond, 2 * time.Duration(closeness)} {
		for _, base := range []bool{false, true} {
			for lost := -1; lost < 3; lost++ {
				for _, first := range []string{"old", "now", "ahead"} {
					for _, second := range []string{"now", "ahead"} {
						for _, kind := range []string{"values", "local delete", "remote delete", "refusal", "touched", "repeat", "evict", "evict touched", "evict and delete", "evict never"} {
							if (kind == "refusal" || kind == "repeat") && lost >= 0 || kind == "touched" && lost > 0 ||
								strings.HasPrefix(kind, "evict") && (first != "now" || lost != -1 && lost != 1) ||
								kind != "evict" && strings.HasPrefix(kind, "evict") && lost >= 0 {
								continue
							}
							s := story{lost: lost, step: step, base: base, scans: 1,
								writes:  []content{value("w0"), value("w1"), value("w2")},
								remotes: []remoteWrite{{value("r0"), first}, {value("r1"), second}}}
							switch kind {
							case "local delete":
								s.writes[1] = gone
							case "remote delete":
								s.remotes[1].content = gone
							case "refusal":
								s.refusal = true
							case "touched":
								s.touched = true
							case "evict":
								s.writes[1], s.evicts = gone, 1
							case "evict touched":
								s.writes[1], s.evicts, s.touched = gone, 1, true
							case "evict and delete":
								s.writes[1], s.writes[2], s.evicts = gone, gone, 1
							case "evict never": // on a map that could
								s.writes[1], s.evicts = gone, len(s.writes)
							case "repeat": // what a remote entry says as well
								s.writes[1] = value("r0")
							}
							s.name = fmt.Sprintf("step %v base %t lost %d remotes %s %s %s", step, base, lost, first, second, kind)
							all = append(all, s)
						}
					}
				}
			}
		}
	}
	return all
}

// exhaustive is the variable that lets TestExplore visit every story; make
// test sets it.
const exhaustive = "MAPGOSSIP_EXHAUSTIVE"

// TestExplore holds the promise that the kernel's map and the store end equal
// and that nothing remote is stamped as local, over every interleaving of three
// local writers, two remote entries, late records, one lost record, one refused
// write and a scan. Without the variable it takes one story in 40 or, with the race detector, 120.
func TestExplore(t *testing.T) {
	all, every := stories(), 40*fewer
	if os.Getenv(exhaustive) != "" {
		every = 1
	}
	total, told := 0, 0
	for i := 0; i < len(all); i += every {
		states, err := explore(&all[i])
		if err != nil {
			t.Errorf("%s: %v", all[i].name, err)
			break
		}
		total += states
		told++
	}
	t.Logf("%d of %d stories, %d states", told, len(all), total)
}
