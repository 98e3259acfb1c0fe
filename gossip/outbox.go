package gossip

import (
	"container/list"
	"sync"

	"github.com/mapgossip/mapgossip/crdt"
)

const (
	// What may wait for one member. More than this is dropped, the oldest
	// first, forwarded before local; anti-entropy brings it.
	maxWaiting      = 64 << 10
	maxWaitingBytes = 32 << 20
	// rumorCost is charged for a rumor on top of its key and value.
	rumorCost = 128
)

// rumor is an entry on its way to the members that were chosen for it. It is
// shared by their queues and does not change.
type rumor struct {
	spec  *Map
	id    rumorID
	entry crdt.Entry
	local bool // a change of this member, not one passed on
}

type rumorID struct{ mapName, key string }

func (r *rumor) cost() int { return rumorCost + len(r.entry.Key) + len(r.entry.Value) }

// waiting is a rumor in one member's queue.
type waiting struct {
	*rumor
	resend bool // its packet was not acknowledged: take a stream
}

// outbox is the rumors that wait for one member: one an entry's key, the
// newest; local ones leave first. Safe for concurrent use.
type outbox struct {
	wake chan struct{} // holds one token when something waits

	mu    sync.Mutex
	index map[rumorID]*list.Element // of waiting
	lanes [2]map[string]*list.List  // local and forwarded, by map name
	bytes int
}

func newOutbox() *outbox {
	return &outbox{
		wake:  make(chan struct{}, 1),
		index: make(map[rumorID]*list.Element),
		lanes: [2]map[string]*list.List{{}, {}},
	}
}

func (o *outbox) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.index)
}

// put queues rumors and returns how many older ones had to go for them.
func (o *outbox) put(rumors []*rumor, resend bool) (dropped int) {
	o.mu.Lock()
	for _, r := range rumors {
		o.putLocked(waiting{r, resend})
	}
	for len(o.index) > maxWaiting || o.bytes > maxWaitingBytes && len(o.index) > 1 {
		o.dropLocked()
		dropped++
	}
	o.mu.Unlock()
	o.rouse()
	return dropped
}

func (o *outbox) rouse() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *outbox) putLocked(w waiting) {
	if at, ok := o.index[w.id]; ok {
		old := at.Value.(waiting)
		if w.entry.Compare(old.entry) <= 0 {
			return
		}
		if old.local == w.local {
			o.bytes += w.cost() - old.cost()
			w.resend = w.resend || old.resend
			at.Value = w
			return
		}
		o.removeLocked(at)
	}
	lane := o.lanes[laneOf(w)]
	if lane[w.id.mapName] == nil {
		lane[w.id.mapName] = list.New()
	}
	o.index[w.id] = lane[w.id.mapName].PushBack(w)
	o.bytes += w.cost()
}

func laneOf(w waiting) int {
	if w.local {
		return 0
	}
	return 1
}

func (o *outbox) removeLocked(at *list.Element) {
	w := at.Value.(waiting)
	lane := o.lanes[laneOf(w)]
	lane[w.id.mapName].Remove(at)
	if lane[w.id.mapName].Len() == 0 {
		delete(lane, w.id.mapName)
	}
	delete(o.index, w.id)
	o.bytes -= w.cost()
}

// dropLocked drops the oldest rumor of some map, a forwarded one if there is.
func (o *outbox) dropLocked() {
	for lane := len(o.lanes) - 1; lane >= 0; lane-- {
		for _, l := range o.lanes[lane] {
			o.removeLocked(l.Front())
			return
		}
	}
}

// take removes and returns rumors of one map that fit a stream frame, and
// whether one of them has to go by stream. Nil when nothing waits.
func (o *outbox) take(sender string) (rumors []*rumor, resend bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, lane := range o.lanes {
		for name, l := range lane { // random, so that no map starves another
			size := batchOverhead(sender, name)
			for at := l.Front(); at != nil; at = l.Front() {
				w := at.Value.(waiting)
				size += timestampBytes + 6 + len(w.entry.Version.Member) + len(w.entry.Key) + len(w.entry.Value)
				if len(rumors) > 0 && (size > bulkBytes || len(rumors) >= maxOrigins) {
					break
				}
				rumors = append(rumors, w.rumor)
				resend = resend || w.resend
				o.removeLocked(at)
			}
			return rumors, resend
		}
	}
	return nil, false
}

// clear drops everything and returns how many rumors that were.
func (o *outbox) clear() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(o.index)
	clear(o.index)
	o.lanes = [2]map[string]*list.List{{}, {}}
	o.bytes = 0
	return n
}
