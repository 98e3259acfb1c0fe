package main

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/mapgossip/mapgossip"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// statusAnswer is the answer to /debug/status.
type statusAnswer struct {
	mapgossip.Status
	Advice []string `json:"advice"` // what to do, most urgent first
}

// advise tells, most urgent first, what someone can do about what is wrong.
func advise(s mapgossip.Status, now time.Time) (advice []string) {
	add := func(format string, args ...any) { advice = append(advice, fmt.Sprintf(format, args...)) }
	if len(s.Conflicts) > 0 {
		add("settle the conflict above: each member needs a --node of its own, and a map the same type and sizes everywhere")
	}
	for _, m := range s.Maps {
		switch {
		case absent(m):
			add("map %s: nothing is at %s: start the program that makes it, or mend the agent's --map; the agent takes it up within a second", m.Name, m.Target)
		case m.PendingApply > 0 && m.Error != "":
			add("map %s: mend what is told above; what is not in the kernel map is tried again each second", m.Name)
		case m.Error != "":
			add("map %s: mend what is told above, its other members go on without this one", m.Name)
		}
		for _, o := range s.Members {
			if m.Tombstones > 0 && o.Node == m.HeldBackBy && (o.State == "dead" || o.State == "suspect") {
				add("map %s: %s wait for %s: if it is gone for good, 'mapgossip remove %s'", m.Name, count(m.Tombstones, "delete"), o.Node, o.Node)
			}
		}
		if m.Counters.FutureTimes > 0 {
			add("map %s: %s refused because of times too far in the future: mend the clock of the member that sends them, or raise --max-clock-skew", m.Name, were(m.Counters.FutureTimes))
		}
	}
	// With two others it shows whose clock is wrong: a member's is compared with
	// most of them, this host's among them or not.
	own := milliseconds(s.ClockOffsetMS)
	if others := aliveOthers(s); others < 2 {
		own = 0
	} else if own.Abs() >= clockWorry {
		add("this host's clock is off by %s: mend it (NTP), else its changes win or lose wrongly", signed(s.ClockOffsetMS))
	}
	for _, m := range s.Members {
		for _, name := range m.Lacks {
			if !m.Self && m.State == "alive" {
				add("map %s: %s has none, or one of another shape: 'mapgossip status' there says which; start the program that makes it there", name, m.Node)
			}
		}
		for _, r := range m.Room {
			if r.Waiting > 0 && !m.Self && m.State == "alive" {
				add("map %s: %s has no room for %d of the entries, its max_entries is %d: load a larger map there", r.Map, m.Node, r.Waiting, r.MaxEntries)
			}
		}
		offset := milliseconds(m.ClockOffsetMS) + own
		switch {
		case m.Self:
		case m.State == "dead", m.State == "suspect":
			add("%s does not answer: is the host up, and does its agent's port pass by TCP and UDP, both ways (%s)?", m.Node, m.Addr)
		case m.State != "alive":
		case m.RTTMS > 0 && offset.Abs() >= clockWorry:
			add("the clock of %s is off by %s: mend it (NTP), else the one that is behind loses conflicts", m.Node, signed(float64(offset)/float64(time.Millisecond)))
		case !m.InSync && !m.LastSync.IsZero() && now.Sub(m.LastSync) > syncWorry:
			add("%s has exchanged nothing for more than %s: look at the log of both agents, and whether TCP passes to %s", m.Node, rounded(syncWorry), m.Addr)
		}
	}
	if !s.Ready && len(advice) == 0 {
		add("see above why it is not ready: a seed must be up, reachable by TCP and UDP, and have the same --cluster and --keyring")
	}
	if !s.InSync && len(advice) == 0 {
		add("nothing yet: the next exchange (--sync-interval) repairs differences; look again then")
	}
	if len(s.Members) > 0 && !s.Encrypted && reachable(s.Members[0]) {
		add("traffic is not encrypted, and whoever can send to this host can write into its maps: give all members one --keyring ('mapgossip keygen')")
	}
	return advice
}

// absent reports whether the agent waits for a map that is not there.
func absent(m mapgossip.MapStatus) bool {
	return !m.Bound && strings.Contains(m.Error, mapwatch.ErrNotFound.Error())
}

// reachable reports whether other hosts can send to a member's address.
func reachable(self mapgossip.Member) bool {
	addr, err := netip.ParseAddrPort(self.Addr)
	return err == nil && !addr.Addr().Unmap().IsLoopback()
}

func aliveOthers(s mapgossip.Status) (n int) {
	for _, m := range s.Members {
		if !m.Self && m.State == "alive" {
			n++
		}
	}
	return n
}
