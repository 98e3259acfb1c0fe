package mapgossip

import (
	"context"
	"fmt"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
)

// settleWait is how long Scan waits for the next of the keys that it found to be
// settled, before it reports without the rest.
const settleWait = 3 * time.Second

// askedScan is a scan that somebody waits for, or several do. Methods take nil,
// for a scan that nobody asked for.
type askedScan struct {
	findings findings
	done     chan struct{} // closed once the whole map was read; its keys may be unsettled still
	err      error         // why it was not; set before done is closed
}

// report returns where the scan counts.
func (a *askedScan) report() *findings {
	if a == nil {
		return nil
	}
	return &a.findings
}

// end tells those who wait what became of the scan.
func (a *askedScan) end(err error) {
	if a != nil {
		a.err = err
		close(a.done)
	}
}

// findings are what came of the keys that an asked scan found. The owner is their
// only user; methods take nil, to count nothing.
type findings struct {
	elements int // that the kernel map has
	open     int // keys that are still unsettled
	differed uint64
	stamped  uint64
	wrote    uint64
	writing  []crdt.Slot // entries that became due to be written, of which it is not known whether they were
}

func (f *findings) read(elements int) {
	if f != nil {
		f.elements += elements
	}
}

// add counts a key that the scan found, from now on, until it is settled. An
// earlier scan waits for it no more.
func (f *findings) add(u *unsettled) {
	if f == nil || u.findings == f {
		return
	}
	if u.findings != nil {
		u.findings.open--
	}
	u.findings = f
	f.open++
}

// settled counts what was decided of one of the keys.
func (f *findings) settled(v verdict) {
	if f == nil {
		return
	}
	f.open--
	if v != verdictInSync {
		f.differed++
	}
}

// stamp counts a local change that nothing had told of.
func (f *findings) stamp() {
	if f != nil {
		f.stamped++
	}
}

// due notes an entry that is to be written into the kernel map.
func (f *findings) due(slot crdt.Slot) {
	if f != nil {
		f.writing = append(f.writing, slot)
	}
}

// tally counts those entries of due that the kernel has. To be called when no
// apply is due: what is not there then was refused.
func (m *mirror) tally(f *findings) {
	for _, slot := range f.writing {
		if !m.keys.waits(slot) {
			f.wrote++
		}
	}
	f.writing = f.writing[:0]
}

// Scan compares a whole kernel map with the store, without the rests that other
// scans make, and waits until it is done and what it found is settled. One that is
// under way ends first; those who ask meanwhile share the next one. When ctx ends
// Scan returns, and the scan goes on.
//
// A key that somebody overwrites all the time may stay in doubt: when no key was
// settled for settleWait, Scan reports without those that are left.
//
// ErrUnknownMap, ErrStopped, and errors of the map: it is not bound, or was
// replaced or could not be read meanwhile.
func (n *Node) Scan(ctx context.Context, mapName string) (ScanReport, error) {
	began := n.kernel.Now()
	var b *boundMap
	var asked *askedScan
	err := n.with(ctx, mapName, func(its *boundMap) error {
		if b = its; b.kernel == nil {
			return fmt.Errorf("scan map %s: it is not bound: %w", mapName, b.gone)
		}
		if b.asked == nil {
			b.asked = &askedScan{done: make(chan struct{})}
		}
		asked = b.asked
		n.startScan(context.WithoutCancel(ctx), b) // else the end of the present one does, or scanDue
		return nil
	})
	if err != nil {
		return ScanReport{}, err
	}
	select {
	case <-asked.done:
	case <-n.done:
		return ScanReport{}, ErrStopped
	case <-ctx.Done():
		return ScanReport{}, fmt.Errorf("scan map %s: it goes on, and nobody waits for it: %w", mapName, context.Cause(ctx))
	}
	if asked.err != nil {
		return ScanReport{}, fmt.Errorf("scan map %s: %w", mapName, asked.err)
	}
	f := &asked.findings
	var report ScanReport
	open, since := -1, int64(0)
	err = n.until(ctx, func() bool {
		b.tally(f)
		now := n.kernel.Now()
		if f.open != open {
			open, since = f.open, now
		}
		report = ScanReport{
			Map: mapName, Elements: f.elements,
			Differed: f.differed, Stamped: f.stamped, Written: f.wrote,
			DurationMS: milliseconds(time.Duration(now - began)),
		}
		return open == 0 || now-since > int64(settleWait)
	})
	return report, err
}
