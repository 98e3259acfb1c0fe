package gossip

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
)

// A session of which a batch was not merged does not tell that all is here.
func TestSessionWithoutABatch(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a, b := w.start("a", addrA, unsynced()), w.start("b", addrB, unsynced(addrA))
		within(t, 3*time.Second, "ready", ready(a, b))
		<-time.After(5 * time.Second)
		a.fill("flows", 10, 1)
		_ = a.Read(t.Context(), "flows", func(s *crdt.Store) {
			now := time.Now().UnixNano()
			s.Progress().Tend("a", now, now, nil, time.Hour, false)
		})
		has := func() (at int64) {
			_ = b.Read(t.Context(), "flows", func(s *crdt.Store) { at = s.Progress().Has("a") })
			return at
		}
		fail := func(err error) {
			b.replica.mu.Lock()
			b.replica.failing = err
			b.replica.mu.Unlock()
		}
		fail(errors.New("no room"))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_ = a.Sync(ctx)
		if at := has(); at != 0 || b.len("flows") != 0 {
			t.Errorf("%d entries merged, and all is said to be here up to %d", b.len("flows"), at)
		}
		<-time.After(time.Minute)
		fail(nil)
		if err := a.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if at := has(); at == 0 || b.len("flows") != 10 {
			t.Errorf("%d entries merged, all is said to be here up to %d", b.len("flows"), at)
		}
	})
}
