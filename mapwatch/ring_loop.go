//go:build linux

package mapwatch

import (
	"errors"
	"os"
	"time"

	"github.com/cilium/ebpf/ringbuf"
)

const (
	// idleAfter is how long the ring must be without a record before the reader
	// stops polling and asks to be woken; settleIdle how long it still polls
	// after it asked, and idleWait the longest that it then blocks.
	//
	// A program that saw the reader poll, and so wakes nobody, may be held up
	// before it submits its record. If it is held up for longer than
	// settleIdle, idleWait bounds how late its record is seen.
	idleAfter  = 10 * time.Millisecond
	settleIdle = 10 * time.Millisecond
	idleWait   = 100 * time.Millisecond

	// lossInterval is how often misses and drops are looked for.
	lossInterval = time.Second

	// fentrySettle is how old a fentry record is before it is passed on: it
	// precedes the write, and whoever looks at once finds the old value. A
	// writer that is held up for longer between the two is left to the scan.
	fentrySettle = time.Millisecond

	ringHeadBytes = 8 // struct bpf_ringbuf_hdr; records are padded to 8 as well
)

// ringLoop reads the ring of one hookWatch. Its fields belong to the goroutine
// that run is called on.
type ringLoop struct {
	watch  *hookWatch
	shapes []Shape
	reader *ringbuf.Reader
	poll   time.Duration
	batch  *batchBuilder
	sample ringbuf.Record

	upto     int64 // every record submitted before this time was read
	sentUpto int64 // the Upto of the last batch sent
	newest   int64 // the time of the latest record in batch

	active int64 // when a record was last read
	idle   bool  // the programs were told to wake us

	lossesAt int64      // when losses were last looked for
	misses   hookMisses // that were answered
	dropped  []uint64
}

func newRingLoop(w *hookWatch, shapes []Shape, options Options) *ringLoop {
	return &ringLoop{
		watch:    w,
		shapes:   shapes,
		reader:   w.capture.reader,
		poll:     options.Poll,
		batch:    newBatchBuilder(shapes),
		misses:   w.capture.firstMisses,
		dropped:  make([]uint64, len(shapes)),
		active:   w.now(),
		idle:     true, // as the self-test left it
		lossesAt: w.now(),
	}
}

// run returns after quit was closed and the reader flushed.
func (l *ringLoop) run() {
	defer close(l.watch.ended)
	defer close(l.watch.batches)
	defer l.handOver()
	for {
		if !l.drain() {
			return
		}
		l.lookForReplaced()
		l.lookForLosses()
		if !l.sendDue() {
			return
		}
		if l.watch.barrier.Load() > l.sentUpto {
			continue // asked for while we drained
		}
		if !l.wait() {
			return
		}
	}
}

// drain reads all that is in the ring now. Records that come meanwhile are left
// to the next call, so that it ends however fast they come. Like all steps it
// returns false when the watch is closing.
func (l *ringLoop) drain() bool {
	started := l.watch.now()
	left := l.reader.AvailableBytes()
	if left > 0 {
		l.active = started
		l.setIdle(false)
		l.batch.expect(left)
	}
	l.reader.SetDeadline(time.Unix(1, 0)) // long past: read, never wait
	for left > 0 {
		got, err := l.read()
		if err != nil {
			return l.broken()
		}
		if got == 0 && l.reader.AvailableBytes() == 0 {
			break
		}
		left -= got
		if l.batch.full() {
			if !l.send() {
				return false
			}
			l.batch.expect(left)
		}
	}
	l.upto = started
	return !l.closing()
}

// wait blocks until there is a record, somebody wants something, or a short time
// has passed. A record that is the first after idle is read at once.
func (l *ringLoop) wait() bool {
	quiet := time.Duration(l.watch.now() - l.active)
	deadline := l.poll
	if quiet >= idleAfter {
		l.setIdle(true)
	}
	if quiet >= idleAfter+settleIdle {
		deadline = max(l.poll, idleWait)
	}
	// The reader cuts what is left of the deadline down to milliseconds.
	deadline = (deadline + time.Millisecond - 1).Truncate(time.Millisecond)
	l.reader.SetDeadline(time.Now().Add(deadline + 900*time.Microsecond))
	got, err := l.read()
	if err != nil {
		return l.broken()
	}
	if got > 0 {
		l.active = l.watch.now()
		l.setIdle(false)
	}
	return !l.closing()
}

// read takes one record from the ring and returns how many bytes of it the
// record took, 0 if there was none until the deadline or flush.
func (l *ringLoop) read() (int, error) {
	err := l.reader.ReadInto(&l.sample)
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, ringbuf.ErrFlushed) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	l.decode()
	return ringHeadBytes + (len(l.sample.RawSample)+7)&^7, nil
}

// decode puts the sample in the batch.
func (l *ringLoop) decode() {
	r, err := decodeRecord(l.sample.RawSample) // aliases the sample, which is ours to change
	if err == nil && int(r.slot) == len(l.shapes) {
		return // the self-test's
	}
	if err != nil || !l.fits(r) {
		// Not a record of our programs: nobody knows what was lost.
		l.batch.addRescanAll()
		return
	}
	shape := l.shapes[r.slot]
	shape.canonical(r.key)
	if r.kind == recordUpdated && shape.absent(r.value) {
		r.kind, r.value = recordDeleted, nil
	}
	l.newest = max(l.newest, r.captured)
	l.batch.add(r)
}

// fits reports whether the record is one of a watched map.
func (l *ringLoop) fits(r record) bool {
	if int64(r.slot) >= int64(len(l.shapes)) {
		return false
	}
	shape := l.shapes[r.slot]
	return (r.kind == recordDrained || len(r.key) == shape.KeyBytes) &&
		(r.kind != recordUpdated || len(r.value) == shape.ValueBytes)
}

// lookForReplaced asks for a scan of the maps that Replace put in the place of
// others.
func (l *ringLoop) lookForReplaced() {
	for i := range l.watch.replaced {
		if l.watch.replaced[i].Swap(false) {
			l.batch.addRescan(i)
		}
	}
}

// lookForLosses asks for a scan of the maps that lost records since it last
// looked. The kernel does not say for which map it skipped a hook: all of its
// types are scanned.
func (l *ringLoop) lookForLosses() {
	now := l.watch.now()
	if time.Duration(now-l.lossesAt) < lossInterval {
		return
	}
	l.lossesAt = now
	misses, err := l.watch.capture.readMisses()
	for i, shape := range l.shapes {
		if err != nil || misses.of(shape.Type, l.misses) > 0 {
			l.batch.addRescan(i)
		}
	}
	for hook := range l.misses {
		l.misses[hook] = max(l.misses[hook], misses[hook])
	}
	for slot := range l.dropped {
		counts, err := l.watch.capture.readCounts(uint32(slot))
		if err != nil || counts.Dropped > l.dropped[slot] {
			l.batch.addRescan(slot)
		}
		l.dropped[slot] = max(l.dropped[slot], counts.Dropped)
	}
	if ledger := l.watch.capture.ledger; ledger != nil {
		for hook, missed := range l.misses {
			ledger.set(ledgerMisses+hook, missed)
		}
		for slot, dropped := range l.dropped {
			ledger.set(ledgerDropped+slot, dropped)
		}
	}
}

// sendDue sends what was read, or an empty batch if a Barrier waits for one.
func (l *ringLoop) sendDue() bool {
	barrier := l.watch.barrier.Load()
	due := barrier > l.sentUpto && barrier <= l.upto
	if l.batch.empty() && !due {
		return true
	}
	return l.send()
}

// send blocks while the queue is full; the ring then takes what comes.
func (l *ringLoop) send() bool {
	if l.watch.capture.mode == ModeFentry && !l.settle() {
		return false
	}
	batch := l.take()
	select {
	case l.watch.batches <- batch:
		l.sentUpto = batch.Upto
		return true
	case <-l.watch.quit:
		l.offer(batch)
		return false
	}
}

// settle waits until the youngest record in the batch is old enough.
func (l *ringLoop) settle() bool {
	left := fentrySettle - time.Duration(l.watch.now()-l.newest)
	if left <= 0 {
		return true
	}
	return l.pause(left)
}

func (l *ringLoop) setIdle(idle bool) {
	if l.idle == idle {
		return
	}
	l.idle = idle
	// The variable is memory that we share with the programs; it fails only
	// when its size is not what the programs were compiled with.
	if err := l.watch.capture.setReaderIdle(idle); err != nil {
		l.batch.addRescanAll()
	}
}

// broken is for errors that the ring's reader never gives while it is open. What
// was in the ring may be lost, so it asks for a scan and goes on, slowly.
func (l *ringLoop) broken() bool {
	l.batch.addRescanAll()
	return l.pause(idleWait)
}

func (l *ringLoop) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.watch.quit:
		return false
	}
}

func (l *ringLoop) closing() bool {
	select {
	case <-l.watch.quit:
		return true
	default:
		return false
	}
}
