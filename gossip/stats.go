package gossip

import (
	"sync/atomic"
	"time"
)

// Stats are counters since Open, and gauges where said. The JSON names are a
// contract.
type Stats struct {
	PacketFramesOut uint64            `json:"packet_frames_out"` // data frames handed to packets
	PacketBytesOut  uint64            `json:"packet_bytes_out"`
	StreamFramesOut uint64            `json:"stream_frames_out"` // and to streams
	StreamBytesOut  uint64            `json:"stream_bytes_out"`
	FramesIn        uint64            `json:"frames_in"` // all carriers
	BytesIn         uint64            `json:"bytes_in"`
	SendErrors      uint64            `json:"send_errors"`      // frames that could not be handed to the network
	Malformed       uint64            `json:"malformed"`        // frames that failed their checksum or their decoder
	UnknownFrames   uint64            `json:"unknown_frames"`   // of a kind or version that this member does not know
	UnknownMaps     uint64            `json:"unknown_maps"`     // batches of a map that is not replicated here
	StrangerFrames  uint64            `json:"stranger_frames"`  // dropped: the sender is no member
	InboxDropped    uint64            `json:"inbox_dropped"`    // frames dropped because their sender's inbox was full
	RumorsWaiting   int               `json:"rumors_waiting"`   // gauge: keys that wait to be sent, each member counted
	RumorsOldestMS  float64           `json:"rumors_oldest_ms"` // gauge: how long the key that waits longest has waited
	RumorsSent      uint64            `json:"rumors_sent"`      // entries, each member counted
	RumorsResent    uint64            `json:"rumors_resent"`    // entries of packets that were not acknowledged in time
	RumorsDropped   uint64            `json:"rumors_dropped"`   // entries that anti-entropy has to bring
	Stalls          uint64            `json:"stalls"`           // times that a member stopped acknowledging and was given up on
	EntriesIn       uint64            `json:"entries_in"`       // entries passed to Replica.Merge
	MergeErrors     uint64            `json:"merge_errors"`     // batches that Replica.Merge refused
	ShapeRefused    uint64            `json:"shape_refused"`    // batches left out because of a shape conflict
	SyncRounds      uint64            `json:"sync_rounds"`      // exchanges begun with one member
	SyncFailed      uint64            `json:"sync_failed"`
	SyncSessions    uint64            `json:"sync_sessions"` // sessions about one map, begun or served
	SyncEntriesOut  uint64            `json:"sync_entries_out"`
	SyncEntriesIn   uint64            `json:"sync_entries_in"`
	Differences     map[string]uint64 `json:"differences"` // by map name: comparisons of digests with a member that differed
	JoinAttempts    uint64            `json:"join_attempts"`
	JoinFailures    uint64            `json:"join_failures"`
	// Of the TCP and UDP transport; zero with Config.Transport.
	SessionsIn         int    `json:"sessions_in"` // gauges
	SessionsOut        int    `json:"sessions_out"`
	BadConnections     uint64 `json:"bad_connections"`     // inbound connections that did not speak the protocol
	RefusedConnections uint64 `json:"refused_connections"` // inbound connections over the bound
}

// counters is the live form of Stats.
type counters struct {
	packetFramesOut, packetBytesOut, streamFramesOut, streamBytesOut atomic.Uint64
	framesIn, bytesIn, sendErrors                                    atomic.Uint64
	malformed, unknownFrames, unknownMaps, strangerFrames            atomic.Uint64
	inboxDropped                                                     atomic.Uint64
	rumorsSent, rumorsResent, rumorsDropped, stalls                  atomic.Uint64
	entriesIn, mergeErrors, shapeRefused                             atomic.Uint64
	syncRounds, syncFailed, syncSessions                             atomic.Uint64
	syncEntriesOut, syncEntriesIn                                    atomic.Uint64
	joinAttempts, joinFailures                                       atomic.Uint64
}

// Stats returns the counters. Safe for concurrent use; does not block.
func (c *Cluster) Stats() Stats {
	n := &c.counters
	s := Stats{
		PacketFramesOut: n.packetFramesOut.Load(), PacketBytesOut: n.packetBytesOut.Load(),
		StreamFramesOut: n.streamFramesOut.Load(), StreamBytesOut: n.streamBytesOut.Load(),
		FramesIn: n.framesIn.Load(), BytesIn: n.bytesIn.Load(), SendErrors: n.sendErrors.Load(),
		Malformed: n.malformed.Load(), UnknownFrames: n.unknownFrames.Load(),
		UnknownMaps: n.unknownMaps.Load(), StrangerFrames: n.strangerFrames.Load(),
		InboxDropped: n.inboxDropped.Load(),
		RumorsSent:   n.rumorsSent.Load(), RumorsResent: n.rumorsResent.Load(),
		RumorsDropped: n.rumorsDropped.Load(), Stalls: n.stalls.Load(),
		EntriesIn: n.entriesIn.Load(), MergeErrors: n.mergeErrors.Load(), ShapeRefused: n.shapeRefused.Load(),
		SyncRounds: n.syncRounds.Load(), SyncFailed: n.syncFailed.Load(), SyncSessions: n.syncSessions.Load(),
		SyncEntriesOut: n.syncEntriesOut.Load(), SyncEntriesIn: n.syncEntriesIn.Load(),
		JoinAttempts: n.joinAttempts.Load(), JoinFailures: n.joinFailures.Load(),
	}
	var oldest time.Duration
	for _, p := range c.peers() {
		s.RumorsWaiting += p.out.len()
		oldest = max(oldest, p.out.age(time.Now()))
	}
	s.RumorsOldestMS = float64(oldest) / float64(time.Millisecond)
	c.mu.Lock()
	s.Differences = make(map[string]uint64, len(c.maps.Load().all))
	for _, m := range c.maps.Load().all {
		s.Differences[m.Name] = c.differed[m.Name]
	}
	c.mu.Unlock()
	if c.transport != nil {
		c.transport.addStats(&s)
	}
	return s
}
