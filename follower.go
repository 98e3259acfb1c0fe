package mapgossip

import (
	"sync"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// What waits for a follower at most. A larger change waits alone.
const (
	followQueue = 4096    // changes
	followBytes = 4 << 20 // of their keys and values
)

// notice is a change that won, on its way from the owner to the followers, who
// share its memory.
type notice struct {
	copied
	slot   crdt.Slot
	kernel mapwatch.Map // of that moment
	merged int64        // wall: when
	from   string       // the member that told; empty: it is local
	hooked bool         // a hook saw the writer
	writer writer
}

func (x *notice) bytes() int { return len(x.Key) + len(x.Value) }

// follower is the queue of one who follows a map. The owner puts in and never
// waits; what is too much for the bounds pushes out the oldest.
type follower struct {
	wake chan struct{} // holds a token while something may be in the queue

	mu    sync.Mutex
	queue []notice
	head  int    // of queue: what was before it is taken
	bytes int    // of the keys and values in queue
	lost  uint64 // pushed out since the last take
}

// put adds notices, in order.
func (f *follower) put(notices []notice) {
	f.mu.Lock()
	for i := range notices {
		x := &notices[i]
		for n := len(f.queue) - f.head; n > 0 && (n == followQueue || f.bytes+x.bytes() > followBytes); n-- {
			f.popLocked()
			f.lost++
		}
		if len(f.queue) == cap(f.queue) && f.head > len(f.queue)/2 {
			n := copy(f.queue, f.queue[f.head:])
			clear(f.queue[n:])
			f.queue, f.head = f.queue[:n], 0
		}
		f.queue = append(f.queue, *x)
		f.bytes += x.bytes()
	}
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// take returns the oldest notice, if there is one, and how many were pushed out
// before it.
func (f *follower) take() (x notice, lost uint64, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.head == len(f.queue) {
		return notice{}, 0, false
	}
	lost, f.lost = f.lost, 0
	return f.popLocked(), lost, true
}

// popLocked takes the oldest notice; there must be one.
func (f *follower) popLocked() notice {
	x := f.queue[f.head]
	f.queue[f.head] = notice{}
	f.bytes -= x.bytes()
	if f.head++; f.head == len(f.queue) {
		f.queue, f.head = f.queue[:0], 0
	}
	return x
}

func (f *follower) empty() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.head == len(f.queue)
}
