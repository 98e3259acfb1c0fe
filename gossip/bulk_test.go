package gossip

import (
	"bytes"
	"testing"
	"time"
)

func TestBulkOverMemberlistsCap(t *testing.T) {
	big := Map{Name: "big", Type: "hash", KeyBytes: 8, ValueBytes: 16 << 10}
	virtual(t, lan, func(t *testing.T, w *world) {
		only := func(addrs ...string) func(*Config) {
			return func(c *Config) { c.Maps = []Map{big}; c.Seeds = addrs }
		}
		a := w.start("a", addrA, only())
		within(t, time.Second, "ready", ready(a))
		b, err := w.open("b", addrB, only(addrA))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 1500 { // 24 MiB each
			a.put("big", key(i), bytes.Repeat([]byte{byte(i)}, big.ValueBytes))
			b.put("big", key(5000+i), bytes.Repeat([]byte{byte(i)}, big.ValueBytes))
		}
		b.run()
		t.Log("ready in", within(t, 30*time.Second, "ready", ready(b)))
		if !same("big", a, b)() || a.len("big") != 3000 {
			t.Errorf("a has %d, b %d, want 3000", a.len("big"), b.len("big"))
		}
	})
}

func TestHugeEntry(t *testing.T) {
	huge := Map{Name: "huge", Type: "hash", KeyBytes: 8, ValueBytes: 5 << 20}
	virtual(t, lan, func(t *testing.T, w *world) {
		only := func(addrs ...string) func(*Config) {
			return func(c *Config) { c.Maps = []Map{huge}; c.Seeds = addrs }
		}
		a, b := w.start("a", addrA, only()), w.start("b", addrB, only(addrA))
		within(t, 3*time.Second, "ready", ready(a, b))
		a.put("huge", key(1), bytes.Repeat([]byte{1}, huge.ValueBytes))
		a.put("huge", key(2), bytes.Repeat([]byte{2}, huge.ValueBytes))
		within(t, time.Second, "spread", same("huge", a, b))
	})
}

func TestStalledMemberSlowsNobody(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, nil)
		b := w.start("b", addrB, seeds(addrA))
		c := w.start("c", addrC, seeds(addrA))
		within(t, 3*time.Second, "three members", w.sees(3))
		within(t, 3*time.Second, "ready", ready(a, b, c))
		gate := make(chan struct{})
		c.replica.mu.Lock()
		c.block = gate
		c.replica.mu.Unlock()
		for i := range 90_000 {
			a.put("flows", key(i), value(i))
			if i%1000 == 999 {
				<-time.After(10 * time.Millisecond)
			}
		}
		t.Log("b has all in", within(t, 100*time.Millisecond, "a and b equal", same("flows", a, b)))
		if n := a.Stats().RumorsWaiting; n > 90_000 {
			t.Errorf("%d rumors wait of 90000 keys", n)
		}
		within(t, 20*time.Second, "c given up on", func() bool { return a.Stats().Stalls > 0 && a.Stats().RumorsWaiting == 0 })
		close(gate)
		t.Log("c has all in", within(t, 2*time.Minute, "all equal", same("flows", a, b, c)))
		if a.Stats().RumorsDropped == 0 {
			t.Error("nothing was dropped: the test shows nothing")
		}
	})
}

// A member that stands still for a minute while all others write costs them
// nothing but the slots of the keys, and misses nothing in the end.
func TestStallUnderLoad(t *testing.T) {
	const keys = 200
	big := Map{Name: "big", Type: "hash", KeyBytes: 8, ValueBytes: 64 << 10}
	virtual(t, lan, func(t *testing.T, w *world) {
		only := func(addrs ...string) func(*Config) {
			return func(c *Config) { c.Maps, c.Seeds = []Map{big}, addrs }
		}
		a, b := w.start("a", addrA, only()), w.start("b", addrB, only(addrA))
		c := w.start("c", addrC, only(addrA))
		within(t, 3*time.Second, "three members", w.sees(3))
		within(t, 3*time.Second, "ready", ready(a, b, c))
		gate := make(chan struct{})
		c.replica.mu.Lock()
		c.block = gate
		c.replica.mu.Unlock()
		content := make([]byte, big.ValueBytes)
		most := 0
		const writes = 6000 * million / 1_000_000
		for i := range writes {
			content[0], content[1] = byte(i), byte(i>>8)
			w.members[i%2].put("big", key(i*7%keys), content)
			most = max(most, a.Stats().RumorsWaiting, b.Stats().RumorsWaiting)
			<-time.After(time.Minute / writes)
		}
		within(t, time.Second, "a and b equal", same("big", a, b))
		if most > 2*keys || a.Stats().Stalls == 0 || b.Stats().Stalls == 0 {
			t.Errorf("at most %d slots waited, %d and %d stalls", most, a.Stats().Stalls, b.Stats().Stalls)
		}
		close(gate)
		t.Logf("at most %d slots waited; all equal in %v", most, within(t, time.Minute, "all equal", same("big", a, b, c)))
	})
}
