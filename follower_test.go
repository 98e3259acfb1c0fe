package mapgossip

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/mapgossip/mapgossip/crdt"
)

func numbered(i, valueBytes int) notice {
	return notice{copied: copied{Entry: crdt.Entry{Key: number(i), Value: make([]byte, valueBytes)}}}
}

// TestFollowerQueue: what waits for a follower is bounded in number and bytes, the
// oldest go first, and what was lost is told where it is missing.
func TestFollowerQueue(t *testing.T) {
	dice := rand.New(rand.NewPCG(6, 6))
	for range 15 {
		f := &follower{wake: make(chan struct{}, 1)}
		put, next := 0, 0
		largest := []int{0, 8, 2000, followBytes / 3}[dice.IntN(4)]
		for range 50 {
			for range dice.IntN(4) {
				var some []notice
				for range 1 + dice.IntN(min(followQueue, 1+50_000_000/max(1, 50*largest))) {
					some = append(some, numbered(put, dice.IntN(largest+1)))
					put++
				}
				f.put(some)
			}
			bytes := 0
			for _, x := range f.queue[f.head:] {
				bytes += x.bytes()
			}
			if n := len(f.queue) - f.head; n > followQueue || bytes != f.bytes || bytes > followBytes && n > 1 {
				t.Fatalf("%d notices of %d bytes wait, counted as %d", n, bytes, f.bytes)
			}
			if cap(f.queue) > 4*followQueue {
				t.Fatalf("room for %d notices", cap(f.queue))
			}
			for range dice.IntN(3 * followQueue) {
				x, lost, ok := f.take()
				if !ok {
					break
				}
				if got := int(binary.BigEndian.Uint64(x.Key)); got != next+int(lost) {
					t.Fatalf("notice %d with %d lost after notice %d", got, lost, next-1)
				} else {
					next = got + 1
				}
			}
			if f.empty() && next != put {
				t.Fatalf("the last of %d notices never came: %d", put, next)
			}
		}
	}
}

// TestFollowerHugeChange: a change that is larger than the bound comes, alone.
func TestFollowerHugeChange(t *testing.T) {
	f := &follower{wake: make(chan struct{}, 1)}
	f.put([]notice{numbered(0, 8), numbered(1, 2*followBytes)})
	if x, lost, ok := f.take(); !ok || lost != 1 || len(x.Value) != 2*followBytes {
		t.Errorf("%d bytes, %d lost", len(x.Value), lost)
	}
	if _, _, ok := f.take(); ok || f.bytes != 0 {
		t.Errorf("%d bytes are left", f.bytes)
	}
	f.put([]notice{numbered(2, 2*followBytes)})
	f.put([]notice{numbered(3, 8)})
	if x, lost, _ := f.take(); lost != 1 || len(x.Value) != 8 {
		t.Errorf("%d bytes, %d lost", len(x.Value), lost)
	}
}
