package gossip

import (
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
)

// The age of an outbox is that of the slot that waits longest, or a little more.
func TestOutboxAge(t *testing.T) {
	o := newOutbox()
	begin := time.Now()
	now := begin
	if o.age(now) != 0 {
		t.Error("an empty one has an age")
	}
	q := &slotQueue{}
	var came []time.Time // of all slots
	left := 0
	longest := time.Duration(0)
	check := func(now time.Time) {
		t.Helper()
		if q.len() == 0 {
			if len(q.marks) != 0 {
				t.Fatalf("%d marks of nothing", len(q.marks))
			}
			return
		}
		age, told := now.Sub(came[left]), now.Sub(q.marks[0].at)
		longest = max(longest, age)
		if told < age || told > age+2*markEvery+longest/16 {
			t.Fatalf("slot %d: %v old, told %v", left, age, told)
		}
		if len(q.marks) > maxAgeMarks {
			t.Fatalf("%d marks", len(q.marks))
		}
	}
	next := crdt.Slot(0)
	for i := range 3000 {
		now = now.Add(7 * time.Millisecond)
		for range 1 + i%3 {
			q.push(next)
			next++
			came = append(came, now)
		}
		q.mark(1+i%3, now)
		for range i % 2 {
			q.pop()
			left++
		}
		check(now)
	}
	for q.len() > 0 {
		q.pop()
		left++
		now = now.Add(time.Millisecond)
		check(now)
	}
}

// What waits for a member that takes nothing grows old, and differences count by map.
func TestStatsTellAgeAndDifferences(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, nil)
		if s := a.Stats(); len(s.Differences) != 1 || s.Differences["flows"] != 0 || s.RumorsOldestMS != 0 {
			t.Errorf("%+v", s)
		}
		a.fill("flows", 100, 1)
		b := w.start("b", addrB, seeds(addrA))
		within(t, 3*time.Second, "two members", w.sees(2))
		within(t, 3*time.Second, "equal", same("flows", a, b))
		within(t, 3*time.Second, "ready", ready(a, b))
		if a.Stats().Differences["flows"]+b.Stats().Differences["flows"] == 0 {
			t.Error("no difference was counted")
		}
		w.net.Stall(addrB)
		oldest := 0.0
		for i := range 80 {
			for j := range 2000 {
				a.put("flows", key(i*2000+j), value(i))
			}
			<-time.After(100 * time.Millisecond)
			oldest = max(oldest, a.Stats().RumorsOldestMS)
		}
		if oldest < 1000 || oldest > 9000 {
			t.Errorf("the oldest rumor is told to have waited %v ms", oldest)
		}
		w.net.Resume(addrB)
		within(t, time.Minute, "equal", same("flows", a, b))
		within(t, time.Second, "nothing waits", func() bool { return a.Stats().RumorsOldestMS == 0 })
	})
}
