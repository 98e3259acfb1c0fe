package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/mapgossip/mapgossip"
)

const (
	clockWorry = 500 * time.Millisecond // an offset that costs a member conflicts
	syncWorry  = 5 * time.Minute        // without an exchange with an alive member
)

// writeStatus shows one member's view of the whole on one screen: the verdict
// first, then what it rests on, then what to do.
func writeStatus(w io.Writer, s mapgossip.Status, now time.Time) {
	fmt.Fprintf(w, "%s of cluster %s, version %s, up %s\n\n", s.Node, s.Cluster, s.Version, rounded(max(0, now.Sub(s.Started)).Truncate(time.Second)))
	line := func(label, text string) { fmt.Fprintf(w, "%-8s  %s\n", label, text) }
	more := func(texts []string) {
		for _, text := range texts {
			line("", "- "+text)
		}
	}
	verdict, lagging := syncVerdict(s, now)
	line("in sync", verdict)
	more(lagging)
	line("ready", yesNo(s.Ready))
	more(s.NotReady)
	if len(s.Conflicts) > 0 {
		line("conflict", s.Conflicts[0])
		for _, c := range s.Conflicts[1:] {
			line("", c)
		}
	}
	told := without(without(s.Unhealthy, s.Conflicts), s.NotReady)
	if !s.Healthy && len(told) == 0 {
		line("healthy", "no, for what is told above")
	} else {
		line("healthy", yesNo(s.Healthy))
	}
	more(told)
	line("capture", cmp.Or(s.Capture, "none: no map is there")+because(s.CaptureReason))
	if missed := missedRuns(s.Maps); missed > 0 {
		more([]string{fmt.Sprintf("the kernel skipped the hooks at %d changes since the start; scans found what changed", missed)})
	}
	more(otherCapture(s))

	fmt.Fprintln(w)
	writeMapStates(w, s.Maps, now)
	fmt.Fprintln(w)
	writeMembers(w, s.Members, now)

	if advice := advise(s, now); len(advice) > 0 {
		fmt.Fprintln(w, "\nwhat to do")
		for _, text := range advice {
			fmt.Fprintf(w, "  - %s\n", text)
		}
	}
}

// otherCapture names the maps that are not captured in the way that holds for
// the best one.
func otherCapture(s mapgossip.Status) (texts []string) {
	for _, m := range s.Maps {
		if m.Capture != "" && m.Capture != s.Capture {
			texts = append(texts, fmt.Sprintf("map %s: %s%s", m.Name, m.Capture, because(m.CaptureReason)))
		}
	}
	return texts
}

func writeMapStates(w io.Writer, maps []mapgossip.MapStatus, now time.Time) {
	evicts := slices.ContainsFunc(maps, func(m mapgossip.MapStatus) bool { return m.Evict != "" })
	row := func(name, entries, tombstones, pending, evicted, unsettled, lost, scan, digest string) []string {
		if !evicts {
			return []string{name, entries, tombstones, pending, unsettled, lost, scan, digest}
		}
		return []string{name, entries, tombstones, pending, evicted, unsettled, lost, scan, digest}
	}
	t := table{row("MAP", "ENTRIES", "TOMBSTONES", "PENDING", "EVICTED", "UNSETTLED", "LOST", "LAST SCAN", "DIGEST")}
	for _, m := range maps {
		t = append(t, row(m.Name, fmt.Sprintf("%d of %d", m.Entries, m.MaxEntries), fmt.Sprint(m.Tombstones), fmt.Sprint(m.PendingApply),
			fmt.Sprint(m.Evicted), fmt.Sprint(m.Unsettled), fmt.Sprint(m.Counters.Dropped), ago(m.LastScan, now), m.Digest[:min(12, len(m.Digest))]))
	}
	t.write(w, "")
}

// syncVerdict says whether all alive members hold the same, and of those that
// don't, which, in what, and how long ago that was found.
func syncVerdict(s mapgossip.Status, now time.Time) (verdict string, lagging []string) {
	alive, behind, latest := 0, 0, time.Time{}
	for _, m := range s.Members {
		if m.Self {
			continue
		}
		if m.State == "alive" {
			alive++
			if !m.InSync {
				behind++
			}
			if m.LastSync.After(latest) {
				latest = m.LastSync
			}
		}
		switch {
		case m.State == "suspect", m.State == "dead":
			lagging = append(lagging, fmt.Sprintf("%s is %s, last exchange %s", m.Node, m.State, ago(m.LastSync, now)))
		case m.State != "alive", m.InSync:
		case m.LastSync.IsZero():
			lagging = append(lagging, m.Node+": no exchange yet")
		case len(m.Differ) > 0:
			lagging = append(lagging, fmt.Sprintf("%s differs in %s, found %s", m.Node, strings.Join(m.Differ, ", "), ago(m.LastSync, now)))
		default:
			lagging = append(lagging, fmt.Sprintf("%s: last exchange %s", m.Node, ago(m.LastSync, now)))
		}
	}
	switch {
	case alive == 0:
		verdict = "alone: no other member is alive"
	case s.InSync:
		verdict = fmt.Sprintf("yes, with %s, last exchange %s", count(alive, "alive member"), ago(latest, now))
	case behind > 0:
		verdict = fmt.Sprintf("not with %d of %s", behind, count(alive, "alive member"))
	case !s.Ready:
		verdict = "no: this member is not ready"
	default:
		verdict = fmt.Sprintf("with %s, not with those that do not answer", count(alive, "alive member"))
	}
	return verdict, lagging
}

// advise tells, most urgent first, what someone can do about what is wrong.
func advise(s mapgossip.Status, now time.Time) (advice []string) {
	add := func(format string, args ...any) { advice = append(advice, fmt.Sprintf(format, args...)) }
	if len(s.Conflicts) > 0 {
		add("settle the conflict above: each member needs a --node of its own, and a map the same type and sizes everywhere")
	}
	for _, m := range s.Maps {
		switch {
		case m.PendingApply > 0 && m.Error != "":
			add("map %s: mend what is told above; what is not in the kernel map is tried again each second", m.Name)
		case m.Error != "":
			add("map %s: mend what is told above, its other members go on without this one", m.Name)
		}
		for _, o := range s.Members {
			if o.Node == m.HeldBackBy && (o.State == "dead" || o.State == "suspect") {
				add("map %s: %s wait for %s: if it is gone for good, 'mapgossip remove %s'", m.Name, count(m.Tombstones, "delete"), o.Node, o.Node)
			}
		}
		if m.Counters.FutureTimes > 0 {
			add("map %s: %s refused because of times too far in the future: mend the clock of the member that sends them, or raise --max-clock-skew", m.Name, were(m.Counters.FutureTimes))
		}
	}
	for _, m := range s.Members {
		for _, r := range m.Room {
			if r.Waiting > 0 && !m.Self && m.State == "alive" {
				add("map %s: %s has no room for %d of the entries, its max_entries is %d: load a larger map there", r.Map, m.Node, r.Waiting, r.MaxEntries)
			}
		}
		offset := milliseconds(m.ClockOffsetMS).Abs()
		switch {
		case m.Self:
		case m.State == "dead", m.State == "suspect":
			add("%s does not answer: is the host up, and does its agent's port pass by TCP and UDP, both ways (%s)?", m.Node, m.Addr)
		case m.State != "alive":
		case offset >= clockWorry:
			add("the clock of %s is off by %s: mend it (NTP), else the one that is behind loses conflicts", m.Node, signed(m.ClockOffsetMS))
		case !m.InSync && !m.LastSync.IsZero() && now.Sub(m.LastSync) > syncWorry:
			add("%s has exchanged nothing for %s: look at the log of both agents, and whether TCP passes to %s", m.Node, rounded(now.Sub(m.LastSync)), m.Addr)
		}
	}
	if !s.Ready && len(advice) == 0 {
		add("see above why it is not ready: a seed must be up, reachable by TCP and UDP, and have the same --cluster and --keyring")
	}
	if !s.InSync && len(advice) == 0 {
		add("nothing yet: the next exchange (--sync-interval) repairs differences; look again then")
	}
	return advice
}

func without(texts, others []string) (rest []string) {
	known := make(map[string]bool)
	for _, o := range others {
		known[o] = true
	}
	for _, t := range texts {
		if !known[t] {
			rest = append(rest, t)
		}
	}
	return rest
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func were(n uint64) string {
	if n == 1 {
		return "1 entry was"
	}
	return fmt.Sprintf("%d entries were", n)
}

// missedRuns is a count of the host, which each map repeats.
func missedRuns(maps []mapgossip.MapStatus) (missed uint64) {
	for _, m := range maps {
		missed = max(missed, m.Counters.Missed)
	}
	return missed
}
