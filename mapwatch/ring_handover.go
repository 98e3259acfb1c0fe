//go:build linux

package mapwatch

import "time"

// resume is called before run for a pinned capture: it goes on from what the
// ledger says was answered. Unless the last watch left all settled, its records
// may have been lost on their way, or a rescan that it asked for.
func (l *ringLoop) resume(settled bool) {
	ledger := l.watch.capture.ledger
	for hook := range l.misses {
		l.misses[hook] = ledger.get(ledgerMisses + hook)
	}
	for slot := range l.dropped {
		l.dropped[slot] = ledger.get(ledgerDropped + slot)
	}
	l.lossesAt = 0 // look at once
	if !settled {
		l.batch.addRescanAll()
	}
}

// take returns what was collected. Of a pinned capture it counts as not handled
// from here on, whether it is sent or not.
func (l *ringLoop) take() Batch {
	empty := l.batch.empty()
	batch := l.batch.take(l.upto)
	if l.watch.pins != nil && !empty {
		l.watch.unhandled.Add(1)
		batch.OnRelease(l.watch.released)
	}
	return batch
}

// handOver passes on the records of a pinned capture that were read last: they
// are in the ring no more.
func (l *ringLoop) handOver() {
	if l.watch.pins == nil || l.batch.empty() {
		return
	}
	if l.watch.capture.mode == ModeFentry {
		time.Sleep(fentrySettle - time.Duration(l.watch.now()-l.newest))
	}
	l.offer(l.take())
}

// offer sends a last batch if there is room. Nobody need read any more.
func (l *ringLoop) offer(batch Batch) {
	select {
	case l.watch.batches <- batch:
	default:
	}
}
