package gossip

import (
	"context"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/gossip/simnet"
)

// What comes while the owner is busy leaves in the frame that was asked for
// before: the credit is that of the frame all the same.
func TestCreditFollowsFrames(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a, b := w.start("a", addrA, quiet()), w.start("b", addrB, quiet(addrA))
		within(t, 3*time.Second, "two members", w.sees(2))
		within(t, 3*time.Second, "ready", ready(a, b))
		gate := make(chan struct{})
		b.replica.mu.Lock()
		b.block = gate
		b.replica.mu.Unlock()
		before, n := a.Stats().StreamBytesOut, 0
		put := func(count int) { // as the owner would
			var slots []crdt.Slot
			for range count {
				var key [16]byte
				copy(key[:], value(n))
				a.replica.mu.Lock()
				slot, _, err := a.stores["wide"].Merge(crdt.Entry{Key: key[:], Value: make([]byte, 64),
					Version: crdt.Version{Time: a.clock.Now(time.Now().UnixNano()), Member: "a"}})
				a.replica.mu.Unlock()
				if err != nil {
					t.Fatal(err)
				}
				slots = append(slots, slot)
				n++
			}
			a.Spread("wide", slots, "")
		}
		for range 110 {
			free := make(chan struct{})
			a.busy.Store(&free)
			put(30) // wakes the sender, which takes credit and waits in Read
			<-time.After(5 * time.Millisecond)
			put(2600) // the owner's batch goes on
			a.busy.Store(nil)
			close(free)
			<-time.After(10 * time.Millisecond)
		}
		if out := a.Stats().StreamBytesOut - before; out > rumorWindow+sessionWindow+3*bulkBytes { // anti-entropy goes on beside
			t.Errorf("%d bytes unacknowledged", out)
		}
		close(gate)
		within(t, 10*time.Second, "equal", same("wide", a, b))
		if dropped := b.Stats().InboxDropped; dropped > 0 {
			t.Errorf("%d frames were more than the inbox holds", dropped)
		}
	})
}

// Stream frames that get lost with their connection give their credit back
// though others are acknowledged, and hold up nobody who leaves.
func TestLostStreamFrame(t *testing.T) {
	virtual(t, simnet.Link{Delay: 20 * time.Millisecond}, func(t *testing.T, w *world) {
		a := w.start("a", addrA, unsynced())
		b := w.start("b", addrB, unsynced(addrA))
		c := w.start("c", addrC, unsynced(addrA))
		within(t, 3*time.Second, "three members", w.sees(3))
		within(t, 3*time.Second, "ready", ready(a, b, c))
		<-time.After(5 * time.Second)
		for i := range 30_000 { // 1 MiB: some frames
			a.put("flows", key(i), value(i))
		}
		<-time.After(3 * time.Millisecond) // on their way
		w.net.Partition([]string{addrA}, []string{addrB})
		<-time.After(11 * time.Second) // c's probes keep b alive
		w.net.Heal()
		for i := range 600 { // a minute of changes, all acknowledged
			a.put("flows", key(i%100), value(i))
			<-time.After(100 * time.Millisecond)
		}
		for _, p := range a.peers() {
			if !p.window.TryAcquire(rumorWindow) {
				t.Errorf("frames to %s still hold credit", p.Node)
			}
		}
		within(t, time.Minute, "equal", same("flows", a, b, c))
		if err := a.Leave(context.Background()); err != nil {
			t.Error(err)
		}
	})
}
