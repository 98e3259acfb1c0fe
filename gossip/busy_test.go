package gossip

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/gossip/simnet"
)

// unsynced is for members that compare no digests unless something asks for it.
func unsynced(addrs ...string) func(*Config) {
	return func(c *Config) { c.SyncInterval, c.Seeds = 24*time.Hour, addrs }
}

// Both begin a session; the one that goes on is refused, the other one's start
// is ignored: neither waits long.
func TestCrossedSessionsRefused(t *testing.T) {
	virtual(t, simnet.Link{Delay: 10 * time.Millisecond}, func(t *testing.T, w *world) {
		a, b := w.start("a", addrA, unsynced()), w.start("b", addrB, unsynced(addrA))
		within(t, 3*time.Second, "ready", ready(a, b))
		<-time.After(5 * time.Second)
		a.fill("flows", 10, 1)
		b.serving.Store(maxServing)
		var wg sync.WaitGroup
		for _, m := range []*member{a, b} {
			wg.Go(func() {
				begin := time.Now()
				err := m.Sync(context.Background())
				if took := time.Since(begin); err == nil || took > 5*time.Second {
					t.Errorf("%s: %v after %v", m.node, err, took)
				}
			})
		}
		wg.Wait()
	})
}

// A member that refuses sessions for a while is not asked after each flush.
func TestRefusedExchangesAreSpaced(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a, b := w.start("a", addrA, unsynced()), w.start("b", addrB, unsynced(addrA))
		within(t, 3*time.Second, "ready", ready(a, b))
		<-time.After(5 * time.Second)
		a.fill("flows", 10, 1) // a difference, as after dropped rumors
		b.serving.Store(maxServing)
		a.peers()[0].setMissed(true)
		rounds := a.Stats().SyncRounds
		for i := range 5000 {
			a.put("flows", key(i%10), value(i))
			<-time.After(2 * time.Millisecond)
		}
		if rounds = a.Stats().SyncRounds - rounds; rounds > 20 {
			t.Errorf("%d exchanges in 10 s", rounds)
		}
	})
}

// A newcomer of a large cluster does not tell its successors what it is filled with.
func TestNewcomerPassesNothingOn(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		const n = million / 50
		for i := range 36 {
			w.start(fmt.Sprintf("a%02d", i), fmt.Sprintf("10.0.1.%d:7946", i+1), quiet("10.0.1.1:7946"))
		}
		within(t, 2*time.Minute, "members", w.sees(36))
		within(t, 30*time.Second, "ready", ready(w.members...))
		<-time.After(10 * time.Second)
		for _, m := range w.members {
			m.write(0, n, 1)
		}
		b := w.start("b", addrB, quiet("10.0.1.1:7946"))
		within(t, time.Minute, "ready", ready(b))
		<-time.After(time.Minute)
		if sent := b.Stats().RumorsSent; sent > n/10 {
			t.Errorf("the newcomer told %d of %d entries on", sent, n)
		}
	})
}

// Changes that are passed on leave though local ones never end.
func TestForwardedLeave(t *testing.T) {
	o, spec := newOutbox(), &Map{Name: "x"}
	o.put(laneForwarded, spec, []crdt.Slot{1}, false)
	for i := range 2 * forwardedTurn {
		o.put(laneLocal, spec, []crdt.Slot{crdt.Slot(2 + i)}, false)
		at, s, _, _ := o.next()
		once := true
		o.take(at, s, func(crdt.Slot) bool { was := once; once = false; return was })
		o.put(laneLocal, spec, []crdt.Slot{crdt.Slot(1000 + i)}, false)
		if at == laneForwarded {
			return
		}
	}
	t.Error("what is passed on never left")
}

// While rumors come and go anti-entropy is put off, but not for ever.
func TestSyncIsPutOff(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a, b := w.start("a", addrA, unsynced()), w.start("b", addrB, unsynced(addrA))
		within(t, 3*time.Second, "ready", ready(a, b))
		<-time.After(5 * time.Second)
		a.fill("flows", 10, 1) // what no rumor brings
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for i := 0; ; i++ {
				a.put("flows", key(i%10), value(i))
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
		}()
		before := a.Stats().SyncSessions
		for i := range maxDeferred + 1 {
			if err := a.exchange(t.Context(), a.peers()[0], true); err != nil {
				t.Error(err)
			}
			if sessions := a.Stats().SyncSessions - before; sessions > 0 != (i == maxDeferred) {
				t.Errorf("%d sessions after %d exchanges", sessions, i+1)
			}
		}
		close(stop)
		<-stopped
		within(t, time.Second, "equal", same("flows", a, b))
	})
}
