package mapgossip

import "github.com/mapgossip/mapgossip/crdt"

// pageKeys is how many neighbouring slots share a page of a keyTable.
const pageKeys = 256

// keyTable has what a mirror remembers of the keys of its store beside their
// entries, by slot. Its pages are made when a key needs one and dropped whole,
// so a key costs 48 bytes if it or a neighbour was written or applied of late, 8
// more if the entry of one of them waits to be applied or did of late, and else a
// fraction of a byte. Nothing in a page has a pointer. The zero table is empty.
type keyTable struct {
	pages   []keyPage
	waiting int // keys whose entry the kernel does not hold yet
	failed  int // of these: keys whose last write the kernel refused
	evicted int // of these: keys that the kernel let go of to make room
	aging   int // of these: keys in mirror.aging
}

// keyPage has pageKeys slots. Both arrays may be absent: then all is zero.
type keyPage struct {
	recent  *[pageKeys]recent
	used    int64 // boot: when recent was last of use
	waits   *[pageKeys]waitCell
	waiting int // keys in waits that wait
}

// recent is what is remembered of a key for as long as a record of it may
// still be on its way. Times are boot.
type recent struct {
	base                 fingerprint // what we last wrote, if anything
	applyStart, applyEnd int64       // around that write
	since                int64       // from when on the kernel held the store's entry
	captured             int64       // the latest record
	cpu                  uint32      // of that record
	deleted              bool        // that record was a delete
}

// active is when something last happened to the key; 0 if that is long ago.
func (r *recent) active() int64 { return max(r.applyEnd, r.since, r.captured) }

// waitCell says of a key whose entry the kernel does not hold yet what it held
// before that entry came, a fingerprint, with flags in the bits that it spares.
type waitCell uint64

const (
	flagReady   waitCell = 1 << (iota + 2) // in mirror.ready, to be written
	flagStalled                            // in mirror.stalled, to be looked at before it is written again
	flagFailed                             // the last write was refused
	flagEvicted                            // the kernel held the entry and let go of it: not to be written
	flagAging                              // in mirror.aging
	flagAgain                              // evicted once more since it came there
	flagFresh                              // another member's entry that the kernel never held

	allFlags = flagReady | flagStalled | flagFailed | flagEvicted | flagAging | flagAgain | flagFresh
	// stayingFlags stay when the key waits no more, until it is taken from a queue.
	stayingFlags = flagStalled | flagAging
)

func (t *keyTable) page(slot crdt.Slot) *keyPage {
	if i := int(slot / pageKeys); i < len(t.pages) {
		return &t.pages[i]
	}
	return nil
}

func (t *keyTable) makePage(slot crdt.Slot) *keyPage {
	i := int(slot / pageKeys)
	for i >= len(t.pages) {
		t.pages = append(t.pages, keyPage{})
	}
	return &t.pages[i]
}

// recent returns what is remembered of a key, zero if nothing is.
func (t *keyTable) recent(slot crdt.Slot) recent {
	if p := t.page(slot); p != nil && p.recent != nil {
		return p.recent[slot%pageKeys]
	}
	return recent{}
}

// remember returns the place of what is remembered of a key, to be read and
// written until the next call of a method.
func (t *keyTable) remember(slot crdt.Slot, now int64) *recent {
	p := t.makePage(slot)
	if p.recent == nil {
		p.recent = new([pageKeys]recent)
	}
	p.used = max(p.used, now)
	return &p.recent[slot%pageKeys]
}

// cell returns what is known of a key's wait; 0 if nothing is.
func (t *keyTable) cell(slot crdt.Slot) waitCell {
	if p := t.page(slot); p != nil && p.waits != nil {
		return p.waits[slot%pageKeys]
	}
	return 0
}

// prior returns what the kernel held before the entry came that waits to be
// applied; 0 if none waits.
func (t *keyTable) prior(slot crdt.Slot) fingerprint {
	if p := t.page(slot); p != nil && p.waiting > 0 {
		return fingerprint(p.waits[slot%pageKeys] &^ allFlags)
	}
	return 0
}

// waits reports whether the key's entry waits to be applied.
func (t *keyTable) waits(slot crdt.Slot) bool { return t.prior(slot) != 0 }

// pending is waits, but for a key whose entry the kernel held and let go of.
func (t *keyTable) pending(slot crdt.Slot) bool { return t.waits(slot) && !t.is(slot, flagEvicted) }

// is reports whether flag is set for the key. Only a key that waits has flags,
// but for stayingFlags.
func (t *keyTable) is(slot crdt.Slot, flag waitCell) bool { return t.cell(slot)&flag != 0 }

// wait notes that the kernel does not hold the key's entry, but prior.
func (t *keyTable) wait(slot crdt.Slot, prior fingerprint) {
	p := t.makePage(slot)
	if p.waits == nil {
		p.waits = new([pageKeys]waitCell)
	}
	cell := &p.waits[slot%pageKeys]
	if *cell&^allFlags == 0 {
		p.waiting++
		t.waiting++
	}
	*cell = waitCell(prior) | *cell&allFlags
}

// held notes that the kernel holds the key's entry.
func (t *keyTable) held(slot crdt.Slot) {
	if !t.waits(slot) {
		return
	}
	t.unset(slot, flagFailed)
	t.unset(slot, flagEvicted)
	p := t.page(slot)
	p.waits[slot%pageKeys] &= stayingFlags
	p.waiting--
	t.waiting--
}

// clear forgets what is remembered of a key that does not wait: its slot will
// be another key's.
func (t *keyTable) clear(slot crdt.Slot) {
	if p := t.page(slot); p != nil && p.recent != nil {
		p.recent[slot%pageKeys] = recent{}
	}
}

// set sets a flag of a key that waits, and reports whether it was not set before.
func (t *keyTable) set(slot crdt.Slot, flag waitCell) bool {
	cell := &t.page(slot).waits[slot%pageKeys]
	if *cell&flag != 0 {
		return false
	}
	*cell |= flag
	t.count(flag, *cell, 1)
	return true
}

// count keeps up the totals when flag comes to cell, or is about to go.
func (t *keyTable) count(flag, cell waitCell, by int) {
	switch flag {
	case flagFailed:
		t.failed += by
	case flagEvicted:
		t.evicted += by
	}
	if aging := flagEvicted | flagAging; flag&aging != 0 && cell&aging == aging {
		t.aging += by
	}
}

// unset is the reverse of set, for any key. It reports whether the flag was set.
func (t *keyTable) unset(slot crdt.Slot, flag waitCell) bool {
	if !t.is(slot, flag) {
		return false
	}
	cell := &t.page(slot).waits[slot%pageKeys]
	t.count(flag, *cell, -1)
	*cell &^= flag
	return true
}

// forget drops pages in which all keys were quiet since the given time (boot),
// and those in which nothing waits.
func (t *keyTable) forget(before int64) {
	for i := range t.pages {
		p := &t.pages[i]
		if p.recent != nil && p.used < before {
			p.recent = nil
		}
		if p.waits != nil && p.waiting == 0 && *p.waits == [pageKeys]waitCell{} {
			p.waits = nil
		}
	}
}

// slotQueue is a queue of slots, first in, first out.
type slotQueue struct {
	slots []crdt.Slot
	head  int // slots before it were taken
}

func (q *slotQueue) len() int { return len(q.slots) - q.head }

func (q *slotQueue) push(slot crdt.Slot) {
	if len(q.slots) == cap(q.slots) && q.head > len(q.slots)/2 {
		q.slots, q.head = append(q.slots[:0], q.slots[q.head:]...), 0
	}
	q.slots = append(q.slots, slot)
}

// pop takes the first slot; the queue must not be empty.
func (q *slotQueue) pop() crdt.Slot {
	slot := q.slots[q.head]
	if q.head++; q.head == len(q.slots) {
		q.slots, q.head = q.slots[:0], 0
		if cap(q.slots) > 4*applyLimit { // a burst is over
			q.slots = nil
		}
	}
	return slot
}
