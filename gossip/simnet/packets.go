package simnet

import (
	"container/heap"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// arrivals are the packets on their way to one host, the next one first; of
// those that arrive at one moment, the one sent first. The link holds any
// number of them. Safe for concurrent use.
type arrivals struct {
	wake chan struct{} // holds a token when the next one is another

	mu   sync.Mutex
	heap arrivalHeap
	sent uint64
}

type arrival struct {
	packet *memberlist.Packet
	from   *Transport
	at     time.Time
	order  uint64
}

type arrivalHeap []arrival

func (h arrivalHeap) Len() int { return len(h) }
func (h arrivalHeap) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].order < h[j].order
	}
	return h[i].at.Before(h[j].at)
}
func (h arrivalHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *arrivalHeap) Push(x any)   { *h = append(*h, x.(arrival)) }
func (h *arrivalHeap) Pop() any {
	last := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = arrival{}
	*h = (*h)[:len(*h)-1]
	return last
}

func (a *arrivals) put(from *Transport, p *memberlist.Packet, at time.Time) {
	a.mu.Lock()
	a.sent++
	order := a.sent
	heap.Push(&a.heap, arrival{p, from, at, order})
	next := a.heap[0].order == order
	a.mu.Unlock()
	if next {
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
}

// take removes and returns the packet that is due, or how long until one is;
// a negative wait: none is on its way.
func (a *arrivals) take(now time.Time) (next arrival, wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.heap) == 0 {
		return arrival{}, -1
	}
	if wait = a.heap[0].at.Sub(now); wait > 0 {
		return arrival{}, wait
	}
	return heap.Pop(&a.heap).(arrival), 0
}

// receive hands over the packets for this host as they arrive, until Shutdown.
// One goroutine and one timer a host, whatever is on its way.
func (t *Transport) receive() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		next, wait := t.arriving.take(time.Now())
		if next.packet == nil {
			var due <-chan time.Time
			if wait > 0 {
				timer.Reset(wait)
				due = timer.C
			} else {
				timer.Stop() // an idle host costs virtual time no step
			}
			select {
			case <-due:
			case <-t.arriving.wake:
			case <-t.ctx.Done():
				return
			}
			continue
		}
		if blocked, _ := t.net.blocked(next.from, t); blocked {
			continue // cut while it was on its way
		}
		next.packet.Timestamp = time.Now()
		t.count.packetsIn.Add(1)
		t.count.packetBytesIn.Add(uint64(len(next.packet.Buf)))
		select {
		case t.packets <- next.packet:
		case <-t.ctx.Done():
			return
		}
	}
}
