package mapgossip

import (
	"hash/maphash"
	"slices"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// TestLookAfterRestless: a key whose look a scan gave is looked at again when
// something happens to it before it is settled.
func TestLookAfterRestless(t *testing.T) {
	m := newMirror(mapwatch.Shape{KeyBytes: 8, ValueBytes: 8}, MapOptions{}, "self", crdt.NewClock(time.Hour), maphash.MakeSeed())
	now, key := int64(time.Hour), string(number(1))
	m.unsettle(number(1), now)
	for range vainLooks {
		now += int64(time.Second)
		if !slices.Contains(m.dueLooks(1, now), key) {
			t.Fatal("the key is not due")
		}
		m.unreadable(key, now)
	}
	m.restless(number(1), content{true, number(5)}, now)
	now += int64(time.Second)
	if m.dueLooks(1, now) != nil {
		t.Error("due although a scan has looked")
	}
	m.record(mapwatch.Change{Kind: mapwatch.Updated, Key: number(1), Value: number(6), Captured: now}, now, now)
	if !slices.Contains(m.dueLooks(1, now+int64(time.Second)), key) {
		t.Error("the key is never looked at again")
	}
}
