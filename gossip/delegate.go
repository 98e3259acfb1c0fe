package gossip

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/memberlist"
)

// delegate is what memberlist calls. Its methods run inside memberlist's loops
// and locks, some before Open returns: they never block, and never call
// memberlist back.
type delegate struct{ c *Cluster }

var (
	_ memberlist.Delegate      = (*delegate)(nil)
	_ memberlist.EventDelegate = (*delegate)(nil)
	_ memberlist.AliveDelegate = (*delegate)(nil)
	_ memberlist.MergeDelegate = (*delegate)(nil)
	_ memberlist.PingDelegate  = (*delegate)(nil)
)

// stateTimeout bounds how long memberlist waits for our digests: its whole
// push/pull has 10 s.
const stateTimeout = 2 * time.Second

func (d *delegate) NodeMeta(int) []byte { return d.c.self.encode() }

// maxPacketBytes is more than any packet holds.
const maxPacketBytes = 64 << 10

// NotifyMsg copies what may be a packet: memberlist uses their buffers again. A
// message of a stream has a buffer of its own (memberlist: readUserMsg).
func (d *delegate) NotifyMsg(frame []byte) {
	if len(frame) < maxPacketBytes {
		frame = bytes.Clone(frame)
	}
	d.c.deliver(frame)
}

// GetBroadcasts is empty: entries travel by messages of our own, because
// memberlist's queue is far too small for them.
func (d *delegate) GetBroadcasts(int, int) [][]byte { return nil }

func (d *delegate) LocalState(bool) []byte {
	ctx, cancel := context.WithTimeout(d.c.ctx, stateTimeout)
	defer cancel()
	return d.c.state(ctx).encode(d.c.name)
}

func (d *delegate) MergeRemoteState(frame []byte, _ bool) { d.c.deliver(bytes.Clone(frame)) }

// NotifyAlive refuses members that this one cannot talk to. The cluster's name
// is memberlist's label and was checked before.
func (d *delegate) NotifyAlive(node *memberlist.Node) error {
	if err := speaksWithUs(node); err != nil {
		return err
	}
	return d.c.roomFor(node.Name)
}

func speaksWithUs(node *memberlist.Node) error {
	if n := len(node.Addr); n != net.IPv4len && n != net.IPv6len {
		return fmt.Errorf("member has an address of %d bytes", n)
	}
	m, err := decodeMeta(node.Meta)
	if err != nil {
		return fmt.Errorf("not a member of mapgossip: %w", err)
	}
	if m.Protocol != protocol {
		return fmt.Errorf("member %s speaks protocol %d, this one %d", m.Node, m.Protocol, protocol)
	}
	if m.name() != node.Name {
		return fmt.Errorf("member %s calls itself %s", m.name(), node.Name)
	}
	return nil
}

// NotifyMerge refuses a whole other cluster when one of its living members is
// of another protocol.
func (d *delegate) NotifyMerge(nodes []*memberlist.Node) error {
	for _, n := range nodes {
		if n.State != memberlist.StateAlive {
			continue
		}
		if err := speaksWithUs(n); err != nil {
			d.c.log.Warn("refused to merge with other members", "addr", n.Address(), "error", err)
			return err
		}
	}
	return nil
}

func (d *delegate) NotifyJoin(node *memberlist.Node)   { d.c.arrive(node) }
func (d *delegate) NotifyLeave(node *memberlist.Node)  { d.c.depart(node.Name) }
func (d *delegate) NotifyUpdate(node *memberlist.Node) {}

// AckPayload is our wall clock, for the prober to compare with its own.
func (d *delegate) AckPayload() []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(d.c.cfg.Now().UnixNano()))
}

func (d *delegate) NotifyPingComplete(node *memberlist.Node, rtt time.Duration, payload []byte) {
	boot := d.c.cfg.Boot()
	d.c.suspect(node.Name, false)
	if len(payload) != 8 {
		return
	}
	theirs := int64(binary.BigEndian.Uint64(payload))
	if theirs < 0 { // no time of a clock, and far enough to overflow
		return
	}
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	if r := d.c.records[node.Name]; r != nil {
		r.heard = boot
		r.rtt, r.clock = max(rtt, 1), theirs-(boot-int64(rtt/2))
		if r.peer != nil {
			r.peer.rtt.Store(int64(rtt))
		}
	}
}
