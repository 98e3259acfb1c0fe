package gossip

import (
	"sync"
	"sync/atomic"
)

const (
	// What may wait to be merged from one member. Its credit is smaller, so
	// only a member that ignores it, or a flood of packets, gets here.
	maxInbox      = 4096
	maxInboxBytes = 24 << 20
	// What may wait from all members together: one may call itself by many names.
	// Up to freeInboxBytes of each inbox are not counted.
	maxWaitingBytes = 256 << 20
	freeInboxBytes  = 64 << 10
	parcelBytes     = 512 // what a parcel takes beside its frame
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
	wake    chan struct{} // holds one token when something waits
	waiting *atomic.Int64 // bytes past freeInboxBytes, all inboxes

	mu      sync.Mutex
	limit   int // bytes
	parcels []parcel
	bytes   int // with parcelBytes each
	closed  bool
}

func newInbox(limit int, waiting *atomic.Int64) *inbox {
	return &inbox{wake: make(chan struct{}, 1), waiting: waiting, limit: limit}
}

// charge changes what waits here.
func (i *inbox) charge(bytes int) (over bool) {
	before := max(0, i.bytes-freeInboxBytes)
	i.bytes += bytes
	more := int64(max(0, i.bytes-freeInboxBytes) - before)
	return i.waiting.Add(more) > maxWaitingBytes && more > 0
}

// discard drops what waits; nothing more is taken.
func (i *inbox) discard() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.charge(-i.bytes)
	i.parcels, i.closed = nil, true
}

// raise lets more bytes wait.
func (i *inbox) raise(limit int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.limit = max(i.limit, limit)
}

// put never blocks; false when this inbox is full, or all together are.
func (i *inbox) put(p parcel) bool {
	i.mu.Lock()
	if i.closed || len(i.parcels) >= maxInbox || len(i.parcels) > 0 && i.bytes+p.bytes > i.limit {
		i.mu.Unlock()
		return false
	}
	if i.charge(p.bytes + parcelBytes) {
		i.charge(-p.bytes - parcelBytes)
		i.mu.Unlock()
		return false
	}
	i.parcels = append(i.parcels, p)
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
	i.charge(-p.bytes - parcelBytes)
	return p, true
}
