package mapgossip

import (
	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// noticeRecord makes a notice of an entry that a captured change has just become.
func (n *Node) noticeRecord(b *boundMap, slot crdt.Slot, c *mapwatch.Change) {
	if x := n.noticeOne(b, slot); x != nil {
		x.hooked = true
		x.writer = writer{c.Source, c.PID, c.CPU, c.Comm}
	}
}

// noticeRemote makes a notice of an entry of another member that has just won.
func (n *Node) noticeRemote(b *boundMap, slot crdt.Slot, from string) {
	if x := n.noticeOne(b, slot); x != nil {
		x.from = from
	}
}

// notice makes notices of entries of this member's that no hook saw. Nothing was
// merged since they were made. slots is the caller's.
func (n *Node) notice(b *boundMap, slots []crdt.Slot) {
	if n.followed == 0 {
		return
	}
	for _, slot := range slots {
		n.noticeOne(b, slot)
	}
}

// noticeOne makes a notice of what a slot holds, to be completed at once; nil if
// nobody follows the map. It is given to the followers at the end of the owner's
// turn, when the kernel has it, or sooner if there are many.
func (n *Node) noticeOne(b *boundMap, slot crdt.Slot) *notice {
	if len(b.followers) == 0 {
		return nil
	}
	if len(b.notices) >= followQueue || b.noticeBytes >= followBytes {
		b.passOn()
	}
	b.notices = append(b.notices, notice{copied: b.copyOf(slot), slot: slot, kernel: b.kernel, merged: n.wall(n.kernel.Now())})
	x := &b.notices[len(b.notices)-1]
	b.noticeBytes += x.bytes()
	return x
}

// passOn gives the notices of this turn to the followers. No apply is due any more.
func (n *Node) passOn() {
	if n.followed == 0 {
		return
	}
	for _, b := range n.maps {
		b.passOn()
	}
}

func (b *boundMap) passOn() {
	if len(b.notices) == 0 {
		return
	}
	for i := range b.notices {
		x := &b.notices[i]
		x.pending, x.evicted = b.lacks(x.slot)
	}
	for _, f := range b.followers {
		f.put(b.notices)
	}
	clear(b.notices)
	b.notices, b.noticeBytes = b.notices[:0], 0
}
