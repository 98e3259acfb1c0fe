package mapgossip

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/gossip/simnet"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// leaveLimit is how long Run may take once its context has ended.
const leaveLimit = 10 * time.Second

// TestLeaveInTime: Run returns within 10 s of its context's end whatever the
// others do, and with nobody there at once.
func TestLeaveInTime(t *testing.T) {
	for _, story := range []struct {
		name    string
		members int
		leavers int          // the last ones
		trouble func(r *rig) // before they leave
		limit   time.Duration
		handed  bool // the others have what the leavers wrote
		hang    int  // of the others, the first ones
		writes  int  // before they leave
	}{
		{"nobody left", 1, 1, nil, 100 * time.Millisecond, false, 0, 500},
		{"well", 3, 1, nil, 3 * time.Second, true, 0, 500},
		{"the first", 2, 1, nil, 3 * time.Second, true, 0, 500},
		{"two at once", 4, 2, nil, 3 * time.Second, true, 0, 500},
		{"both of two", 2, 2, nil, 3 * time.Second, false, 0, 500},
		{"all of eight", 8, 8, nil, 4 * time.Second, false, 0, 500},
		{"all but one of eight", 8, 7, nil, 4 * time.Second, true, 0, 500},
		{"the others hang", 4, 1, func(r *rig) { r.others(3, r.net.Stall) }, leaveLimit, false, 0, 500},
		{"the others hang, given up on", 4, 1, func(r *rig) { r.others(3, r.net.Stall); r.nodes[3].write(t, 9, 9); pass(16 * time.Second) }, leaveLimit, false, 0, 500},
		{"the others just died", 4, 1, func(r *rig) { r.others(3, r.net.Kill) }, leaveLimit, false, 0, 500},
		{"the others are suspect", 4, 1, func(r *rig) { r.others(3, r.net.Kill); pass(4 * time.Second) }, leaveLimit, false, 0, 500},
		{"the others are dead", 4, 1, func(r *rig) { r.others(3, r.net.Kill); pass(time.Minute) }, 100 * time.Millisecond, false, 0, 500},
		{"half hang", 5, 1, func(r *rig) { r.others(2, r.net.Stall) }, 5 * time.Second, true, 2, 500},
		{"cut off", 4, 1, func(r *rig) {
			r.net.Partition([]string{r.nodes[3].addr}, []string{r.nodes[0].addr, r.nodes[1].addr, r.nodes[2].addr})
		}, leaveLimit, false, 0, 500},
		{"cut off with nothing to tell", 4, 1, func(r *rig) {
			r.net.Partition([]string{r.nodes[3].addr}, []string{r.nodes[0].addr, r.nodes[1].addr, r.nodes[2].addr})
		}, leaveLimit, false, 0, 0},
		{"the others hang, nothing to tell", 4, 1, func(r *rig) { r.others(3, r.net.Stall) }, leaveLimit, false, 0, 0},
		{"loss of a half", 4, 1, func(r *rig) { r.net.SetLink(simnet.Link{Delay: time.Millisecond, Loss: 0.5}) }, leaveLimit, true, 0, 500},
		{"a slow network", 4, 1, func(r *rig) { r.net.SetLink(simnet.Link{Delay: 50 * time.Millisecond, Rate: 64 << 10}) }, leaveLimit, true, 0, 500},
	} {
		t.Run(story.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 1, lan)
				for range story.members {
					r.add()
				}
				pass(5 * time.Second)
				if story.trouble != nil {
					story.trouble(r)
				}
				stay, leave := r.nodes[:story.members-story.leavers], r.nodes[story.members-story.leavers:]
				for i := range story.writes {
					leave[i%len(leave)].write(t, i, i)
				}
				begin := time.Now()
				for _, n := range leave {
					n.stop()
				}
				for i, n := range leave {
					err := <-n.ended
					n.ended <- err
					if took := time.Since(begin); err != nil || took > story.limit {
						t.Errorf("ended with %v after %v, want at most %v", err, took, story.limit)
					} else if i == len(leave)-1 {
						t.Logf("all ended after %v", took)
					}
				}
				if !story.handed {
					return
				}
				pass(time.Minute) // where the news got lost, until memberlist gives up on who left
				for _, n := range stay {
					if slices.Contains(stay[:story.hang], n) {
						continue
					}
					if got := n.m.Len(); got != story.writes {
						t.Errorf("%s has %d of %d entries", n.config.Node, got, story.writes)
					}
					for _, m := range n.Members() {
						for _, l := range leave {
							if m.Node == l.config.Node && m.State != "left" {
								t.Errorf("for %s %s is %s, want left", n.config.Node, m.Node, m.State)
							}
						}
					}
				}
			})
		})
	}
}

// TestLeaveEarly: a Node told to stop before it has begun, or while it takes
// in what its map holds, ends too.
func TestLeaveEarly(t *testing.T) {
	for _, after := range []time.Duration{0, time.Microsecond, time.Millisecond, 300 * time.Millisecond} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 1, lan)
				r.add()
				r.add()
				pass(5 * time.Second)
				config, kernel, m := r.prepare(2, mapwatch.Shape{})
				for i := range 10_000 {
					if err := m.Write(number(i), number(i), 0); err != nil {
						t.Fatal(err)
					}
				}
				n := r.start(config, kernel, m)
				time.Sleep(after)
				begin := time.Now()
				n.stop()
				err := <-n.ended
				n.ended <- err
				if took := time.Since(begin); err != nil || took > leaveLimit {
					t.Errorf("ended with %v after %v", err, took)
				} else {
					t.Log(took)
				}
			})
		})
	}
}

// others does it to the first n nodes.
func (r *rig) others(n int, do func(addr string)) {
	for _, o := range r.nodes[:n] {
		do(o.addr)
	}
}
