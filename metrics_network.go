package mapgossip

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mapgossip/mapgossip/gossip"
)

// networkFamilies say what went between this member and the others. They need no
// answer of the owner.
func networkFamilies() []family {
	plain := func(kind prometheus.ValueType, name, help string, value func(s gossip.Stats) float64) family {
		return newFamily(kind, name, help, nil, func(o *observed, one series) { one(value(o.network)) })
	}
	gauge := func(name, help string, value func(s gossip.Stats) float64) family {
		return plain(prometheus.GaugeValue, name, help, value)
	}
	counter := func(name, help string, count func(s gossip.Stats) uint64) family {
		return plain(prometheus.CounterValue, name, help, func(s gossip.Stats) float64 { return float64(count(s)) })
	}
	// by is a family with one label, whose values are these, in the order of what counts returns.
	by := func(kind prometheus.ValueType, name, help, label string, values []string, counts func(s gossip.Stats) []uint64) family {
		return newFamily(kind, name, help, []string{label}, func(o *observed, one series) {
			for i, count := range counts(o.network) {
				one(float64(count), values[i])
			}
		})
	}
	carriers, ways := []string{"packet", "stream"}, []string{"in", "out"}
	return []family{
		gauge("rumors_waiting", "Keys that wait to be sent, each member counted.",
			func(s gossip.Stats) float64 { return float64(s.RumorsWaiting) }),
		gauge("rumors_oldest_seconds", "How long the key that waits longest to be sent has waited.",
			func(s gossip.Stats) float64 { return s.RumorsOldestMS / 1000 }),
		counter("rumors_sent_total", "Entries sent as rumors, each member counted.",
			func(s gossip.Stats) uint64 { return s.RumorsSent }),
		counter("rumors_resent_total", "Entries sent again because a packet was not acknowledged in time.",
			func(s gossip.Stats) uint64 { return s.RumorsResent }),
		counter("rumors_dropped_total", "Entries that were given up as rumors and that anti-entropy has to bring.",
			func(s gossip.Stats) uint64 { return s.RumorsDropped }),
		counter("stalls_total", "Times that a member stopped acknowledging and was given up on until anti-entropy.",
			func(s gossip.Stats) uint64 { return s.Stalls }),
		by(prometheus.CounterValue, "sent_bytes_total", "Bytes of data frames handed to the network, before encryption.", labelCarrier, carriers,
			func(s gossip.Stats) []uint64 { return []uint64{s.PacketBytesOut, s.StreamBytesOut} }),
		by(prometheus.CounterValue, "sent_frames_total", "Data frames handed to the network.", labelCarrier, carriers,
			func(s gossip.Stats) []uint64 { return []uint64{s.PacketFramesOut, s.StreamFramesOut} }),
		counter("received_bytes_total", "Bytes of data frames received, all carriers.",
			func(s gossip.Stats) uint64 { return s.BytesIn }),
		counter("received_frames_total", "Data frames received, all carriers.",
			func(s gossip.Stats) uint64 { return s.FramesIn }),
		counter("received_entries_total", "Entries received, known ones and new ones.",
			func(s gossip.Stats) uint64 { return s.EntriesIn }),
		by(prometheus.CounterValue, "frames_refused_total", "Frames, or batches in them, that were not taken: malformed; of a kind unknown here; of a map unknown here; from a stranger; over a full inbox; of a map whose shape differs; refused by the maps.", labelReason,
			[]string{"malformed", "unknown_frame", "unknown_map", "stranger", "inbox_full", "shape", "merge"},
			func(s gossip.Stats) []uint64 {
				return []uint64{s.Malformed, s.UnknownFrames, s.UnknownMaps, s.StrangerFrames, s.InboxDropped, s.ShapeRefused, s.MergeErrors}
			}),
		counter("send_errors_total", "Frames that could not be handed to the network.",
			func(s gossip.Stats) uint64 { return s.SendErrors }),
		counter("sync_rounds_total", "Rounds of anti-entropy begun, each with one member.",
			func(s gossip.Stats) uint64 { return s.SyncRounds }),
		counter("sync_failed_total", "Of these: those that failed.",
			func(s gossip.Stats) uint64 { return s.SyncFailed }),
		counter("sync_sessions_total", "Exchanges about one map that differed, begun or served.",
			func(s gossip.Stats) uint64 { return s.SyncSessions }),
		by(prometheus.CounterValue, "sync_entries_total", "Entries that anti-entropy brought or gave.", labelDirection, ways,
			func(s gossip.Stats) []uint64 { return []uint64{s.SyncEntriesIn, s.SyncEntriesOut} }),
		counter("join_attempts_total", "Attempts to join by a seed or an address of before.",
			func(s gossip.Stats) uint64 { return s.JoinAttempts }),
		counter("join_failures_total", "Of these: those that failed.",
			func(s gossip.Stats) uint64 { return s.JoinFailures }),
		by(prometheus.GaugeValue, "connections", "Connections with other members, by who dialed.", labelDirection, ways,
			func(s gossip.Stats) []uint64 { return []uint64{uint64(s.SessionsIn), uint64(s.SessionsOut)} }),
		by(prometheus.CounterValue, "connections_refused_total", "Inbound connections that were closed: they did not speak the protocol; there were too many.", labelReason,
			[]string{"protocol", "limit"},
			func(s gossip.Stats) []uint64 { return []uint64{s.BadConnections, s.RefusedConnections} }),
	}
}
