package gossip

import "sync/atomic"

// Stats are counters since Open, and gauges where said.
type Stats struct {
	PacketFramesOut, PacketBytesOut uint64 // data frames handed to packets
	StreamFramesOut, StreamBytesOut uint64 // and to streams
	FramesIn, BytesIn               uint64 // all carriers
	SendErrors                      uint64 // frames that could not be handed to the network
	Malformed                       uint64 // frames that failed their checksum or their decoder
	UnknownFrames                   uint64 // of a kind or version that this member does not know
	UnknownMaps                     uint64 // batches of a map that is not replicated here
	StrangerFrames                  uint64 // dropped: the sender is no member
	InboxDropped                    uint64 // frames dropped because their sender's inbox was full
	RumorsWaiting                   int    // gauge, all members
	RumorsSent                      uint64 // entries, each member counted
	RumorsResent                    uint64 // entries of packets that were not acknowledged in time
	RumorsDropped                   uint64 // entries that anti-entropy has to bring
	Stalls                          uint64 // times that a member stopped acknowledging and was given up on
	EntriesIn                       uint64 // entries passed to Replica.Merge
	MergeErrors                     uint64 // batches that Replica.Merge refused
	ShapeRefused                    uint64 // batches left out because of a shape conflict
	SyncRounds                      uint64 // exchanges begun with one member
	SyncFailed                      uint64
	SyncSessions                    uint64 // sessions about one map, begun or served
	SyncEntriesOut                  uint64
	SyncEntriesIn                   uint64
	JoinAttempts, JoinFailures      uint64
	// Of the TCP and UDP transport; zero with Config.Transport.
	SessionsIn, SessionsOut int    // gauges
	BadConnections          uint64 // inbound connections that did not speak the protocol
	RefusedConnections      uint64 // inbound connections over the bound
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
	for _, p := range c.peers() {
		s.RumorsWaiting += p.out.len()
	}
	if c.transport != nil {
		c.transport.addStats(&s)
	}
	return s
}
