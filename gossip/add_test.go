package gossip

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// While all write, maps come one by one to all members in another order each.
func TestLateMapsUnderLoad(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a, b, c := w.start("a", addrA, nil), w.start("b", addrB, seeds(addrA)), w.start("c", addrC, seeds(addrA))
		within(t, 3*time.Second, "three members", w.sees(3))
		within(t, 3*time.Second, "ready", ready(a, b, c))
		const more = 8
		names := []string{"flows"}
		for i := range more {
			names = append(names, fmt.Sprint("m", i))
		}
		var load sync.WaitGroup
		ctx, stop := context.WithCancel(t.Context())
		for n, m := range w.members {
			var mu sync.Mutex
			present := []string{"flows"}
			load.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					mu.Lock()
					name := present[i%len(present)]
					mu.Unlock()
					m.put(name, key(i%700), value(i))
					m.SetRoom(name, Room{1000, i})
					<-time.After(300 * time.Microsecond)
				}
			})
			load.Go(func() { // who only looks on
				for ctx.Err() == nil {
					m.Members()
					m.Conflicts()
					m.Taking("m1")
					<-time.After(time.Millisecond)
				}
			})
			load.Go(func() {
				for i := range more {
					<-time.After(50 * time.Millisecond)
					spec := late
					spec.Name = names[1+(i+3*n)%more]
					m.replica.create(spec)
					m.replica.fill(spec.Name, 300, n)
					if err := m.Add(spec); err != nil {
						t.Error(err)
					}
					mu.Lock()
					present = append(present, spec.Name)
					mu.Unlock()
				}
			})
		}
		<-time.After(time.Second)
		for _, name := range names {
			within(t, 10*time.Second, "filled", filled(name, a, b, c))
		}
		stop()
		load.Wait()
		for _, name := range names {
			within(t, 30*time.Second, name+" equal", same(name, a, b, c))
		}
		for _, name := range names[1:] {
			if n := a.len(name); n < 900 {
				t.Errorf("map %s has %d entries, want 900 and more", name, n)
			}
		}
		for _, m := range w.members {
			if s := m.Stats(); s.MergeErrors+s.Malformed > 0 {
				t.Errorf("%+v", s)
			}
		}
	})
}

func TestAddErrors(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, nil)
		for want, m := range map[string]Map{
			"given twice":         flows,
			"want 1 to 255 bytes": {KeyBytes: 1},
			"want at least 1":     {Name: "m"},
			"is longer than 64":   {Name: "m", Type: strings.Repeat("t", 65), KeyBytes: 1},
			"can be replicated":   {Name: "m", KeyBytes: 1, ValueBytes: MaxEntryBytes},
		} {
			if err := a.Add(m); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "add map ") {
				t.Errorf("%+v: %v, want %q", m, err, want)
			}
		}
		b := w.start("b", addrB, seeds(addrA))
		within(t, 3*time.Second, "ready", ready(a, b))
		huge := Map{Name: "huge", Type: "hash", KeyBytes: 8, ValueBytes: MaxEntryBytes - 8}
		for _, m := range w.members {
			m.replica.create(huge)
			if err := m.Add(huge); err != nil {
				t.Fatal(err)
			}
			if p := m.peers()[0]; p.in.limit != inboxFor(&huge) || p.asked.limit != inboxFor(&huge) {
				t.Errorf("%d and %d bytes may wait", p.in.limit, p.asked.limit)
			}
		}
		for i := 2; i < maxMaps; i++ {
			m := Map{Name: fmt.Sprint(i), KeyBytes: 1}
			a.replica.create(m)
			if err := a.Add(m); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.Add(Map{Name: "one more", KeyBytes: 1}); err == nil || !strings.Contains(err.Error(), "at most 1024") {
			t.Errorf("one map too many: %v", err)
		}
		within(t, 3*time.Second, "b knows all", func() bool { return a.knowsAll(a.peers()[0]) })
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		if err := a.Add(late); err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("after Close: %v", err)
		}
	})
}

// What the smallest maps of a state cost in memory is bounded by its bytes.
func TestStateOfManyMaps(t *testing.T) {
	s := state{Order: 1, Maps: make([]mapState, maxMaps)}
	frame := s.encode("s")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _, err := decodeAny(frame)
	runtime.ReadMemStats(&after)
	if spent := after.TotalAlloc - before.TotalAlloc; err != nil || spent > 64<<10+16*uint64(len(frame)) {
		t.Errorf("%d bytes of input cost %d bytes of memory: %v", len(frame), spent, err)
	}
}
