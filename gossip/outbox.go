package gossip

import (
	"slices"
	"sync"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
)

// Lanes of an outbox: what this member changed leaves before what it passes on.
const (
	laneLocal = iota
	laneForwarded
	lanes
)

// outbox is the keys that wait for one member, by their slots: the entry is
// read from the store when it leaves, so of one key the newest waits and the
// map's keys bound the memory, whatever the rate. Safe for concurrent use.
type outbox struct {
	wake chan struct{} // holds one token when something waits

	mu    sync.Mutex
	lanes [lanes]lane
	count int // slots, all lanes
	turn  int // frames so far
}

// forwardedTurn is how often what is passed on leaves before local changes, one
// frame in so many, so that it does leave.
const forwardedTurn = 8

// lane is a queue for each map; the maps with anything waiting take turns.
type lane struct {
	queues map[*Map]*slotQueue
	turns  []*Map // whose queues are not empty
}

func newOutbox() *outbox { return &outbox{wake: make(chan struct{}, 1)} }

func (o *outbox) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.count
}

// put queues slots of a map behind what waits in the lane; one that waits
// there keeps its place. resend: they have to go by stream.
func (o *outbox) put(at int, spec *Map, slots []crdt.Slot, resend bool) {
	o.mu.Lock()
	l := &o.lanes[at]
	q := l.queues[spec]
	if q == nil {
		if l.queues == nil {
			l.queues = make(map[*Map]*slotQueue)
		}
		q = &slotQueue{}
		l.queues[spec] = q
	}
	before := q.len()
	for _, slot := range slots {
		q.push(slot)
	}
	if q.len() > before {
		q.mark(q.len()-before, time.Now())
	}
	o.count += q.len() - before
	q.resend = q.resend || resend
	if before == 0 && q.len() > 0 {
		l.turns = append(l.turns, spec)
	}
	o.mu.Unlock()
	o.rouse()
}

func (o *outbox) rouse() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// next says from which queue to take: its lane, its map, how many wait there,
// and whether they have to go by stream. A nil map when nothing waits.
func (o *outbox) next() (at int, spec *Map, count int, resend bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	order := [lanes]int{laneLocal, laneForwarded}
	if o.turn++; o.turn%forwardedTurn == 0 {
		order = [lanes]int{laneForwarded, laneLocal}
	}
	for _, at := range order {
		if l := &o.lanes[at]; len(l.turns) > 0 {
			q := l.queues[l.turns[0]]
			return at, l.turns[0], q.len(), q.resend
		}
	}
	return 0, nil, 0, false
}

// take removes slots of a queue in order for as long as use returns true; the
// one for which it returns false stays. It may have been emptied since next.
// The map goes to the end of the turns. use runs under the outbox's lock.
func (o *outbox) take(at int, spec *Map, use func(crdt.Slot) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := &o.lanes[at]
	q := l.queues[spec]
	if q == nil || q.len() == 0 {
		return
	}
	for q.len() > 0 && use(q.front()) {
		q.pop()
		o.count--
	}
	for i, m := range l.turns {
		if m == spec {
			l.turns = append(l.turns[:i], l.turns[i+1:]...)
			break
		}
	}
	if q.len() > 0 {
		l.turns = append(l.turns, spec)
	}
}

// age is how long the slot that waits longest has waited; 0 when none waits.
func (o *outbox) age(now time.Time) (age time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.lanes {
		for _, m := range o.lanes[i].turns {
			age = max(age, now.Sub(o.lanes[i].queues[m].marks[0].at))
		}
	}
	return age
}

// clear drops everything and returns how many slots that were.
func (o *outbox) clear() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.count
	o.lanes, o.count = [lanes]lane{}, 0
	return n
}

// keepSlots bounds the memory, in slots, that an empty slotQueue keeps.
const keepSlots = 64 << 10

// slotQueue is slots in order of arrival, each at most once.
type slotQueue struct {
	slots  []crdt.Slot
	head   int      // of slots: those before it have left
	waits  []uint64 // a bit for each slot: it is in the queue
	resend bool     // some were sent by a packet that was not acknowledged
	pushed uint64   // slots ever
	marks  []mark   // in order; the first is at or before the front; none when empty
}

func (q *slotQueue) len() int { return len(q.slots) - q.head }

func (q *slotQueue) push(slot crdt.Slot) {
	word, bit := int(slot>>6), uint64(1)<<(slot&63)
	if word >= len(q.waits) {
		q.waits = append(q.waits, make([]uint64, word+1-len(q.waits))...)
	}
	if q.waits[word]&bit != 0 {
		return
	}
	q.waits[word] |= bit
	if q.head > len(q.slots)/2 && len(q.slots) == cap(q.slots) {
		n := copy(q.slots, q.slots[q.head:])
		q.slots, q.head = q.slots[:n], 0
	}
	q.slots = append(q.slots, slot)
}

// Ages are known of some slots only: the longer the wait, the fewer. A slot is told
// to be as old as the one before it that has a mark: too old by markEvery, or by a
// sixteenth of the longest wait since the queue was empty.
const (
	markEvery   = 10 * time.Millisecond
	maxAgeMarks = 64
)

// mark says when a slot began to wait.
type mark struct {
	pushed uint64 // as slotQueue.pushed was before
	at     time.Time
}

// mark notes that the last n slots came now.
func (q *slotQueue) mark(n int, now time.Time) {
	q.pushed += uint64(n)
	if last := len(q.marks) - 1; last >= 0 && now.Sub(q.marks[last].at) < max(markEvery, now.Sub(q.marks[0].at)/(maxAgeMarks/2)) {
		return
	}
	if len(q.marks) == maxAgeMarks {
		for i := range maxAgeMarks / 2 {
			q.marks[i] = q.marks[2*i]
		}
		q.marks = q.marks[:maxAgeMarks/2]
	}
	q.marks = append(q.marks, mark{q.pushed - uint64(n), now})
}

// front returns the oldest slot; the queue must not be empty.
func (q *slotQueue) front() crdt.Slot { return q.slots[q.head] }

func (q *slotQueue) pop() {
	slot := q.slots[q.head]
	q.waits[slot>>6] &^= 1 << (slot & 63)
	q.head++
	if q.head < len(q.slots) {
		front := q.pushed - uint64(q.len())
		for len(q.marks) > 1 && q.marks[1].pushed <= front {
			q.marks = slices.Delete(q.marks, 0, 1)
		}
		return
	}
	q.slots, q.head, q.resend, q.marks = q.slots[:0], 0, false, q.marks[:0]
	if cap(q.slots) > keepSlots {
		q.slots, q.waits = nil, nil
	}
}
