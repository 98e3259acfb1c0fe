package gossip

import "sync"

const (
	// What may wait to be merged from one member. Its credit is smaller, so
	// only a member that ignores it, or a flood of packets, gets here.
	maxInbox      = 4096
	maxInboxBytes = 24 << 20
)

// parcel is a verified frame of a known sender.
type parcel struct {
	kind   kind
	fields *fieldReader
	bytes  int
}

// inbox is the frames of one member that wait to be handled, in order of
// arrival. Safe for concurrent use.
type inbox struct {
	wake chan struct{} // holds one token when something waits

	mu      sync.Mutex
	limit   int // bytes
	parcels []parcel
	bytes   int
}

func newInbox(limit int) *inbox {
	return &inbox{wake: make(chan struct{}, 1), limit: limit}
}

// raise lets more bytes wait.
func (i *inbox) raise(limit int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.limit = max(i.limit, limit)
}

// put never blocks; false when full.
func (i *inbox) put(p parcel) bool {
	i.mu.Lock()
	if len(i.parcels) >= maxInbox || len(i.parcels) > 0 && i.bytes+p.bytes > i.limit {
		i.mu.Unlock()
		return false
	}
	i.parcels = append(i.parcels, p)
	i.bytes += p.bytes
	i.mu.Unlock()
	select {
	case i.wake <- struct{}{}:
	default:
	}
	return true
}

// take removes the oldest parcel.
func (i *inbox) take() (parcel, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.parcels) == 0 {
		i.parcels = nil
		return parcel{}, false
	}
	p := i.parcels[0]
	i.parcels[0] = parcel{}
	i.parcels = i.parcels[1:]
	i.bytes -= p.bytes
	return p, true
}
