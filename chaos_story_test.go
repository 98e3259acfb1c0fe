package mapgossip

import (
	"bufio"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mapgossip/mapgossip/gossip/simnet"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// chaosStory is what befalls a cluster: data, so that it can be printed, written
// to a file, read again and shortened. Goroutines are not in it: a story that is
// told twice has the same faults and writes at the same (virtual) times, and the
// nodes' own dice fall differently.
type chaosStory struct {
	seed    uint64 // of what is not a step: the network's dice
	members int
	keys    int           // the programs use keys 0 to keys-1
	room    int           // max_entries of each map, fillers included
	scan    time.Duration // Config.ScanInterval
	sync    time.Duration // Config.SyncInterval
	minAge  time.Duration // Config.TombstoneMinAge
	forget  time.Duration // Config.ForgetAfter
	link    simnet.Link   // when no step says otherwise
	capture []mapwatch.Mode
	absent  []int // members that no step of the beginning starts
	disks   bool  // members have state directories
	steps   []chaosStep
}

// chaosStep is one line of a story: at some time after the cluster has formed
// something is done. What the arguments are called is in chaosVerbs.
type chaosStep struct {
	at   time.Duration
	verb string
	args []int
}

// chaosVerbs are the steps there are, and their arguments; member is one's
// index, times are milliseconds, shares are percent.
var chaosVerbs = map[string][]string{
	// Programs, which don't care whether an agent runs.
	"write":  {"member", "key"},
	"delete": {"member", "key"},
	"poke":   {"member", "key"},                                      // write in place, which no hook sees
	"burst":  {"member", "ops", "every_ms", "first", "keys", "dice"}, // of all three
	"fill":   {"member", "elements"},                                 // writes keys of its own, as far as there is room

	// The network.
	"link":   {"loss", "duplicate", "reorder", "hold_ms", "delay_ms", "jitter_ms"},
	"cut":    {"from", "to"}, // one way
	"part":   {"mask"},       // both ways, between the members whose bit is set and the others
	"heal":   {},
	"stall":  {"member"}, // a process that is stopped, as others see it
	"resume": {"member"},
	"poison": {"member", "count", "dice"},       // garbage from a stranger, in packets and streams
	"alien":  {"member", "as", "count", "dice"}, // well-formed frames that no member of this version sends

	// Agents.
	"kill":    {"member"}, // -9
	"leave":   {"member"},
	"start":   {"member"}, // at its address
	"move":    {"member"}, // at a new one
	"remove":  {"member", "by"},
	"clock":   {"member", "step_ms"},
	"drift":   {"member", "ppm"},
	"badDisk": {"member", "kind"},

	// Kernels.
	"lose":    {"member", "records", "loss"}, // a fake.Loss
	"reverse": {"member", "records"},
	"misread": {"member", "lookups"},
	"refuse":  {"member", "writes", "why"}, // 0: busy, 1: full
	"slow":    {"member", "apply_ms"},
	"replace": {"member"}, // a loader pins a new, empty map
}

func (s chaosStep) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-9s %s", s.at, s.verb)
	for i, name := range chaosVerbs[s.verb] {
		fmt.Fprintf(&b, " %s=%d", name, s.args[i])
	}
	return b.String()
}

// String is what parseChaosStory reads.
func (s chaosStory) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d\nmembers %d\nkeys %d\nroom %d\nscan %s\nsync %s\nminAge %s\nforget %s\n",
		s.seed, s.members, s.keys, s.room, s.scan, s.sync, s.minAge, s.forget)
	fmt.Fprintf(&b, "link %s %s %g %g %g %s\ncapture", s.link.Delay, s.link.Jitter, s.link.Loss, s.link.Duplicate, s.link.Reorder, s.link.Hold)
	for _, mode := range s.capture {
		fmt.Fprintf(&b, " %s", mode)
	}
	b.WriteString("\nabsent")
	for _, i := range s.absent {
		fmt.Fprintf(&b, " %d", i)
	}
	fmt.Fprintf(&b, "\ndisks %t\n---\n", s.disks)
	for _, step := range s.steps {
		fmt.Fprintln(&b, step)
	}
	return b.String()
}

// parseChaosStory reads a transcript. Lines that begin with # are for people.
func parseChaosStory(text string) (s chaosStory, err error) {
	head := true
	lines := bufio.NewScanner(strings.NewReader(text))
	for number := 1; lines.Scan(); number++ {
		words := strings.Fields(lines.Text())
		switch {
		case len(words) == 0 || strings.HasPrefix(words[0], "#"):
			continue
		case words[0] == "---":
			head = false
			continue
		case head:
			err = s.parseHead(words[0], words[1:])
		default:
			err = s.parseStep(words)
		}
		if err != nil {
			return s, fmt.Errorf("line %d: %w", number, err)
		}
	}
	if s.members < 1 || len(s.capture) != s.members {
		return s, fmt.Errorf("%d members with %d kinds of capture", s.members, len(s.capture))
	}
	return s, nil
}

func (s *chaosStory) parseHead(name string, words []string) (err error) {
	fields := map[string][]any{
		"seed": {&s.seed}, "members": {&s.members}, "keys": {&s.keys}, "room": {&s.room},
		"scan": {&s.scan}, "sync": {&s.sync}, "minAge": {&s.minAge}, "forget": {&s.forget}, "disks": {&s.disks},
		"link": {&s.link.Delay, &s.link.Jitter, &s.link.Loss, &s.link.Duplicate, &s.link.Reorder, &s.link.Hold},
	}
	switch name {
	case "capture":
		for _, word := range words {
			s.capture = append(s.capture, mapwatch.Mode(word))
		}
		return nil
	case "absent":
		for _, word := range words {
			i, err := strconv.Atoi(word)
			if err != nil {
				return err
			}
			s.absent = append(s.absent, i)
		}
		return nil
	}
	targets := fields[name]
	if len(targets) == 0 || len(targets) != len(words) {
		return fmt.Errorf("%s with %d words", name, len(words))
	}
	for i, target := range targets {
		switch target := target.(type) {
		case *time.Duration:
			*target, err = time.ParseDuration(words[i])
		default:
			_, err = fmt.Sscan(words[i], target)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (s *chaosStory) parseStep(words []string) error {
	if len(words) < 2 {
		return fmt.Errorf("step %q", words)
	}
	at, err := time.ParseDuration(words[0])
	if err != nil {
		return err
	}
	step := chaosStep{at: at, verb: words[1]}
	names, known := chaosVerbs[step.verb]
	if !known || len(names) != len(words)-2 {
		return fmt.Errorf("step %q: want %s and %q", words, step.verb, names)
	}
	for i, name := range names {
		text, ok := strings.CutPrefix(words[2+i], name+"=")
		n, err := strconv.Atoi(text)
		if !ok || err != nil {
			return fmt.Errorf("step %q: want %s=NUMBER, not %s", words, name, words[2+i])
		}
		if name == "member" || name == "from" || name == "to" || name == "by" || name == "as" {
			if n < 0 || n >= s.members {
				return fmt.Errorf("step %q: there are %d members", words, s.members)
			}
		}
		step.args = append(step.args, n)
	}
	s.steps = append(s.steps, step)
	return nil
}

// add puts a step at its time, after those of the same time.
func (s *chaosStory) add(at time.Duration, verb string, args ...int) {
	if len(args) != len(chaosVerbs[verb]) {
		panic(fmt.Sprintf("%s wants %q", verb, chaosVerbs[verb]))
	}
	s.steps = append(s.steps, chaosStep{at.Round(time.Millisecond), verb, args})
}

func (s *chaosStory) sort() {
	slices.SortStableFunc(s.steps, func(a, b chaosStep) int { return int(a.at - b.at) })
}
