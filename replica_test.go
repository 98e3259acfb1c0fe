package mapgossip

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/gossip"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// TestMergeLargeBatch: a batch that is merged in parts is merged whole, and
// nothing of it is used after the call.
func TestMergeLargeBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, lan)
		const count = 2*mergeLimit + 10
		config, kernel, m := r.prepare(0, mapwatch.Shape{MaxEntries: count})
		n := r.start(config, kernel, m)
		pass(3 * time.Second)
		entries := make([]crdt.Entry, count)
		for i := range entries {
			entries[i] = remoteEntry(i, time.Now().UnixNano())
		}
		if _, err := (replica{n.Node}).Merge(t.Context(), "flows", gossip.Sender{Node: "other"}, entries); err != nil {
			t.Fatal(err)
		}
		for i := range entries {
			clear(entries[i].Key)
			clear(entries[i].Value)
		}
		if s := n.state(t); s.Entries != count || s.PendingApply != 0 || n.m.Len() != count {
			t.Errorf("%d entries, %d of them pending, %d elements; want %d", s.Entries, s.PendingApply, n.m.Len(), count)
		}
		pass(time.Minute)
		for i := range count {
			if n.at(i) != i&0xffff {
				t.Fatalf("key %d has %d", i, n.at(i))
			}
		}
	})
}
