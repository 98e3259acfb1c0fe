package simnet

import "sync/atomic"

// Traffic is what went over one host's port since Listen: payload, without
// the headers of IP, UDP or TCP.
type Traffic struct {
	PacketsOut, PacketBytesOut uint64 // lost ones included
	PacketsIn, PacketBytesIn   uint64 // that arrived, doubled ones twice
	StreamBytesOut             uint64 // written to streams
	StreamBytesIn              uint64 // read from streams
	Dials                      uint64 // streams opened by this host
}

// BytesOut is all that the host sent.
func (t Traffic) BytesOut() uint64 { return t.PacketBytesOut + t.StreamBytesOut }

// BytesIn is all that the host received.
func (t Traffic) BytesIn() uint64 { return t.PacketBytesIn + t.StreamBytesIn }

// traffic is the live form of Traffic.
type traffic struct {
	packetsOut, packetBytesOut, packetsIn, packetBytesIn atomic.Uint64
	streamBytesOut, streamBytesIn, dials                 atomic.Uint64
}

// Traffic returns the counters of this host. They never decrease.
func (t *Transport) Traffic() Traffic {
	c := &t.count
	return Traffic{
		PacketsOut: c.packetsOut.Load(), PacketBytesOut: c.packetBytesOut.Load(),
		PacketsIn: c.packetsIn.Load(), PacketBytesIn: c.packetBytesIn.Load(),
		StreamBytesOut: c.streamBytesOut.Load(), StreamBytesIn: c.streamBytesIn.Load(),
		Dials: c.dials.Load(),
	}
}

// Traffic returns the counters of the host at addr; zero if there is none.
func (n *Network) Traffic(addr string) Traffic {
	n.mu.Lock()
	t := n.hosts[addr]
	n.mu.Unlock()
	if t == nil {
		return Traffic{}
	}
	return t.Traffic()
}
