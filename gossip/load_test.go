package gossip

import (
	"testing"
	"time"
)

// A member that merges slowly, and is sent rumors without end, still gets its
// answers, and is ready soon.
func TestReadyUnderLoad(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, nil)
		a.replica.fill("flows", 20000, 1)
		n := 0
		load := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); <-time.After(10 * time.Millisecond) {
				for range 50 {
					n++
					a.put("flows", key(n%5000), value(n))
				}
			}
		}
		load(time.Second)
		b := w.start("b", addrB, seeds(addrA))
		b.replica.mu.Lock()
		b.replica.slow = 300 * time.Millisecond // a frame
		b.replica.mu.Unlock()
		begin := time.Now()
		for ok := false; !ok; ok, _ = b.Ready() {
			if time.Since(begin) > time.Minute {
				t.Fatalf("not ready after %v: %d rounds, %d failed, %d sessions", time.Since(begin), b.Stats().SyncRounds, b.Stats().SyncFailed, b.Stats().SyncSessions)
			}
			load(100 * time.Millisecond)
		}
		t.Logf("ready after %v", time.Since(begin))
	})
}
