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
	clockWorry = time.Second     // an offset that costs a member conflicts
	syncWorry  = 5 * time.Minute // without an exchange with an alive member
)

// writeStatus shows one member's view of the whole on one screen: the verdict
// first, then what it rests on, then what to do.
func writeStatus(w io.Writer, s statusAnswer, filling []string, now time.Time, p palette) {
	fmt.Fprintf(w, "%s of cluster %s, version %s, up %s\n\n", s.Node, s.Cluster, s.Version, rounded(max(0, now.Sub(s.Started)).Truncate(time.Second)))
	line := func(label, text string) { fmt.Fprintf(w, "%-8s  %s\n", label, text) }
	more := func(texts []string) {
		for _, text := range grouped(texts) {
			line("", "- "+text)
		}
	}
	verdict, lagging := syncVerdict(s.Status, now)
	if s.InSync {
		line("in sync", p.good(verdict))
	} else {
		line("in sync", p.bad(verdict))
	}
	more(lagging)
	line("ready", p.yesNo(s.Ready))
	more(s.NotReady)
	more(filling)
	if len(s.Conflicts) > 0 {
		line("conflict", p.bad(s.Conflicts[0]))
		for _, c := range s.Conflicts[1:] {
			line("", p.bad(c))
		}
	}
	told := without(without(s.Unhealthy, s.Conflicts), s.NotReady)
	if !s.Healthy && len(told) == 0 {
		line("healthy", p.bad("no")+", for what is told above")
	} else {
		line("healthy", p.yesNo(s.Healthy))
	}
	more(told)
	capture, others := captureWords(s.Status)
	line("capture", capture)
	if missed := missedRuns(s.Maps); missed > 0 {
		more([]string{fmt.Sprintf("the kernel skipped the hooks at %d changes since the start; scans found what changed", missed)})
	}
	more(others)
	if s.Encrypted {
		line("traffic", p.good("encrypted"))
	} else {
		line("traffic", p.doubt("not encrypted"))
	}

	if len(s.Refused) > 0 {
		line("refused", p.doubt("senders that are no members"))
		more(s.Refused)
	}

	fmt.Fprintln(w)
	writeMapStates(w, s.Maps, now, p)
	fmt.Fprintln(w)
	writeMembers(w, s.Members, now, p)

	if len(s.Advice) > 0 {
		fmt.Fprintf(w, "\n%s\n", p.head("what to do"))
		for _, text := range grouped(s.Advice) {
			fmt.Fprintf(w, "  - %s\n", text)
		}
	}
}

// captureWords say how changes are captured, and of which maps otherwise. A
// reason that the screen tells already is not told again.
func captureWords(s mapgossip.Status) (best string, others []string) {
	above := strings.Join(slices.Concat(s.NotReady, s.Unhealthy), "\n")
	why := func(reason string) string {
		if reason != "" && strings.Contains(above, reason) {
			return ", for what is told above"
		}
		return because(reason)
	}
	best = cmp.Or(s.Capture, "none") + why(s.CaptureReason)
	if s.Capture == "" && s.CaptureReason == "" {
		best = "none: no map is there"
	}
	above += "\n" + s.CaptureReason
	for _, m := range s.Maps {
		if m.Capture != "" && m.Capture != s.Capture {
			others = append(others, fmt.Sprintf("map %s: %s%s", m.Name, m.Capture, why(m.CaptureReason)))
		}
	}
	return best, others
}

// grouped tells what holds for several maps once: map a: why and map b: why are
// maps a, b: why.
func grouped(texts []string) (lines []string) {
	names, order := make(map[string][]string), []string(nil)
	for _, text := range texts {
		name, why := "", text
		if rest, isMap := strings.CutPrefix(text, "map "); isMap {
			if of, what, ok := strings.Cut(rest, ": "); ok {
				name, why = of, what
			}
		}
		if _, twice := names[why]; !twice {
			order = append(order, why)
		}
		names[why] = append(names[why], name)
	}
	for _, why := range order {
		switch list := names[why]; {
		case list[0] == "":
			lines = append(lines, why)
		case len(list) == 1:
			lines = append(lines, "map "+list[0]+": "+why)
		default:
			lines = append(lines, "maps "+strings.Join(list, ", ")+": "+why)
		}
	}
	return lines
}

func writeMapStates(w io.Writer, maps []mapgossip.MapStatus, now time.Time, p palette) {
	evicts := slices.ContainsFunc(maps, func(m mapgossip.MapStatus) bool { return m.Evict != "" })
	row := func(name, entries, tombstones, pending, evicted, unsettled, lost, scan, digest string) []string {
		if !evicts {
			return []string{name, entries, tombstones, pending, unsettled, lost, scan, digest}
		}
		return []string{name, entries, tombstones, pending, evicted, unsettled, lost, scan, digest}
	}
	t := table{p.heading(row("MAP", "ENTRIES", "TOMBSTONES", "PENDING", "EVICTED", "UNSETTLED", "LOST", "LAST SCAN", "DIGEST")...)}
	for _, m := range maps {
		pending := fmt.Sprint(m.PendingApply)
		if m.PendingApply > 0 {
			pending = p.bad(pending)
		}
		t = append(t, row(m.Name, fmt.Sprintf("%d of %d", m.Entries, m.MaxEntries), fmt.Sprint(m.Tombstones), pending,
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
			if !m.InSync || len(m.Lacks) > 0 {
				behind++
			}
			if m.LastSync.After(latest) {
				latest = m.LastSync
			}
		}
		switch {
		case m.State == "suspect", m.State == "dead":
			lagging = append(lagging, fmt.Sprintf("%s is %s, last exchange %s", m.Node, m.State, ago(m.LastSync, now)))
		case m.State == "alive" && len(m.Lacks) > 0:
			lagging = append(lagging, fmt.Sprintf("%s lacks %s", m.Node, strings.Join(m.Lacks, ", ")))
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
