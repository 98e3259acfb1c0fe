package mapgossip

import (
	"math"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mapgossip/mapgossip/gossip"
)

// stateFamilies say how this member is as a whole.
func stateFamilies() []family {
	gauge := func(name, help string, value func(o *observed) float64) family {
		return newFamily(prometheus.GaugeValue, name, help, nil, func(o *observed, one series) { one(value(o)) })
	}
	return []family{
		newFamily(prometheus.GaugeValue, "build_info", "1; the version of the agent and of the Go that built it are in the labels.", []string{"version", "go"},
			func(o *observed, one series) { one(1, o.version, runtime.Version()) }),
		gauge("up", "1 if the agent answered this scrape within 5 s; 0 if it is stuck or stopping, and what its maps hold is left out.",
			func(o *observed) float64 { return truth(o.status != nil) }),
		gauge("encrypted", "1 if members encrypt what they say to each other (--keyring).",
			func(o *observed) float64 { return truth(o.encrypted) }),
		gauge("start_time_seconds", "When the agent started, in seconds since 1970.",
			func(o *observed) float64 { return float64(o.started.UnixMilli()) / 1000 }),
		ofOwner(gauge("ready", "1 if the maps are bound, the cluster joined and the first full exchange done (/readyz says why not).",
			func(o *observed) float64 { return truth(o.status.Ready) })),
		ofOwner(gauge("healthy", "1 if nothing needs a human (/healthz says what does).",
			func(o *observed) float64 { return truth(o.status.Healthy) })),
		ofOwner(gauge("in_sync", "1 if this member is ready, every member that did not leave is alive, and was equal at the last exchange with it.",
			func(o *observed) float64 { return truth(o.status.InSync) })),
		ofOwner(gauge("conflicts", "Duplicate node IDs and maps whose shape differs between members.",
			func(o *observed) float64 { return float64(len(o.status.Conflicts)) })),
		ofOwner(gauge("state_error", "1 if there is a state directory and nothing is kept in it at present.",
			func(o *observed) float64 { return truth(o.status.StateError != "") })),
		ofOwner(gauge("clock_offset_seconds", "This host's clock minus the median of the other living members' clocks.",
			func(o *observed) float64 { return o.status.ClockOffsetMS / 1000 })),
	}
}

// memberFamilies say how this member sees the others. Those that left are in the
// count of states only.
func memberFamilies() []family {
	gauge := func(name, help string, value func(o *observed, m Member) float64) family {
		return newFamily(prometheus.GaugeValue, name, help, []string{labelMember}, func(o *observed, one series) {
			for _, m := range o.members {
				one(value(o, m), m.Node)
			}
		})
	}
	return []family{
		newFamily(prometheus.GaugeValue, "members", "Members by state as this one sees them, itself included; those that are gone for an hour.", []string{labelState},
			func(o *observed, one series) {
				for _, state := range []string{gossip.StateAlive, gossip.StateSuspect, gossip.StateDead, gossip.StateLeft} {
					one(float64(o.states[state]), state)
				}
			}),
		gauge("member_in_sync", "1 if all maps were equal at the last exchange with the member.",
			func(_ *observed, m Member) float64 { return truth(m.InSync) }),
		gauge("member_last_sync_seconds", "Time since the last comparison or complete exchange with the member; +Inf: none yet.",
			func(o *observed, m Member) float64 { return age(m.LastSync, o.now) }),
		gauge("member_clock_offset_seconds", "The member's clock minus this host's, by the last probe; 0 before the first.",
			func(_ *observed, m Member) float64 { return m.ClockOffsetMS / 1000 }),
		gauge("member_rtt_seconds", "Round-trip time of the last probe of the member; 0 before the first.",
			func(_ *observed, m Member) float64 { return m.RTTMS / 1000 }),
	}
}

// age is the time since at in seconds; infinite if there is no at.
func age(at, now time.Time) float64 {
	if at.IsZero() {
		return math.Inf(1)
	}
	return max(now.Sub(at).Seconds(), 0)
}
