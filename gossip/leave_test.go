package gossip

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

// TestLeaveInTime: whatever the others do, leaving and closing end within 10 s,
// and what can be handed over is.
func TestLeaveInTime(t *testing.T) {
	for _, story := range []struct {
		name    string
		members int
		trouble func(w *world) // before n0 leaves
		leavers int            // n0 and so many less one leave at once
		limit   time.Duration
		clean   string // whether those that stay have all: yes, no, or it depends
	}{
		{"well", 3, nil, 1, 2 * time.Second, "yes"},
		{"two of two", 2, nil, 2, 3 * time.Second, "yes"},
		{"two of three", 3, nil, 2, 3 * time.Second, "yes"},
		{"two of five", 5, nil, 2, 3 * time.Second, "yes"},
		{"all of ten", 10, nil, 10, 4 * time.Second, "yes"},
		{"all hang", 4, func(w *world) { w.each(w.net.Stall) }, 1, 10 * time.Second, "no"},
		{"one of two hangs", 3, func(w *world) { w.net.Stall(w.members[1].addr) }, 1, 10 * time.Second, "it depends"}, // the other may be dead by then
		{"one of five hangs", 6, func(w *world) { w.net.Stall(w.members[1].addr) }, 1, 5 * time.Second, "yes"},
		{"all dead and nobody knows", 4, func(w *world) { w.each(w.net.Kill) }, 1, 10 * time.Second, "no"},
		{"all suspect", 4, func(w *world) { w.each(w.net.Kill); <-time.After(4 * time.Second) }, 1, 10 * time.Second, "no"},
		{"all dead", 4, func(w *world) { w.each(w.net.Kill); <-time.After(time.Minute) }, 1, time.Second, "yes"},
		{"given up on", 4, func(w *world) {
			w.each(w.net.Stall)
			w.members[0].put("flows", key(1), value(1))
			within(w.t, 20*time.Second, "given up on", func() bool { return len(w.members[0].heirs()) == 0 })
		}, 1, 4 * time.Second, "no"},
		{"cut off", 4, func(w *world) { w.net.Partition([]string{addrA}, []string{addrB, addrC, addrD}) }, 1, 10 * time.Second, "no"},
	} {
		t.Run(story.name, func(t *testing.T) {
			virtual(t, lan, func(t *testing.T, w *world) {
				for i := range story.members {
					w.start(fmt.Sprint("n", i), fmt.Sprintf("10.0.0.%d:7946", i+1), patient(addrA))
				}
				all := w.members
				within(t, 5*time.Second, "formed", w.sees(story.members))
				within(t, 5*time.Second, "ready", ready(all...))
				if story.trouble != nil {
					story.trouble(w)
				}
				for i := range 1000 {
					all[i%story.leavers].put("flows", key(i), value(i))
				}
				var leaving sync.WaitGroup
				for _, m := range all[:story.leavers] {
					leaving.Go(func() {
						m.stop()
						begin := time.Now()
						err := m.Leave(context.Background())
						left := time.Since(begin)
						if err := m.Close(); err != nil {
							t.Error(err)
						}
						if closed := time.Since(begin); closed > story.limit {
							t.Errorf("left after %v, closed after %v, want at most %v", left, closed, story.limit)
						} else {
							t.Logf("left after %v, closed after %v: %v", left, closed, err)
						}
						if err == nil && story.clean == "no" || err != nil && story.clean == "yes" {
							t.Errorf("leaving: %v", err)
						}
					})
				}
				leaving.Wait()
				if story.trouble == nil {
					<-time.After(5 * time.Second)
					for _, m := range all[story.leavers:] {
						for i := range story.leavers {
							if s := stateOf(m, fmt.Sprint("n", i)); s != StateLeft {
								t.Errorf("n%d is %s, want left", i, s)
							}
						}
						if n := m.len("flows"); n != 1000 {
							t.Errorf("%d of 1000 entries were handed over", n)
						}
					}
				}
			})
		})
	}
}

// each does it to all but the first.
func (w *world) each(do func(addr string)) {
	for _, m := range w.members[1:] {
		do(m.addr)
	}
}
