package mapgossip

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxFutures bounds how many members one map remembers to have refused entries
// of: their IDs come from the network.
const maxFutures = 16

// futures are the members of which a map refused entries because their time is
// too far ahead, by ID.
type futures map[string]future

// future is what was refused of one member.
type future struct {
	refused int64 // boot: the last time
	wall    int64 // the latest time of an entry
}

// note remembers a refusal. One member too many is not named.
func (f *futures) note(member string, refused, wall int64) {
	if *f == nil {
		*f = make(futures)
	}
	if last, known := (*f)[member]; known || len(*f) < maxFutures {
		(*f)[member] = future{refused, max(wall, last.wall)}
	}
}

// forget drops what was not refused since (boot), and what is not later than
// latest (wall): its time has come, and it is taken when it is next offered, by
// anti-entropy at the latest.
func (f futures) forget(since, latest int64) {
	for member, last := range f {
		if last.refused < since || last.wall <= latest {
			delete(f, member)
		}
	}
}

// sentence says whose entries wait; empty if there are none. wall is the present.
func (f futures) sentence(wall int64, skew time.Duration) string {
	if len(f) == 0 {
		return ""
	}
	var members []string
	var ahead int64
	for member, last := range f {
		members = append(members, member)
		ahead = max(ahead, last.wall-wall)
	}
	slices.Sort(members)
	noun := "member"
	if len(members) > 1 {
		noun = "members"
	}
	return fmt.Sprintf("entries of %s %s are not taken yet: their time is %v ahead of this host's clock, more than the %v of --max-clock-skew; mend whichever clock is wrong",
		noun, strings.Join(members, ", "), time.Duration(ahead).Round(time.Millisecond), skew)
}
