package mapgossip

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/mapgossip/mapgossip/mapwatch"
)

// scanPurpose says what a scan of a map is for.
type scanPurpose uint8

const (
	scanCompare scanPurpose = iota // now and then, and after losses
	scanImport                     // the first one of a kernel map
	scanLast                       // before leaving
	scanAsked                      // somebody waits for it: compare without rests
)

// scanRest is how many times as long as reading a chunk and comparing it took a
// scan of no hurry then rests: it takes a quarter of one CPU.
const scanRest = 3

// startScan compares the whole kernel map with the store, once at a time.
func (n *Node) startScan(ctx context.Context, b *boundMap) {
	if b.scanning || !b.imported {
		return
	}
	b.scanning, b.searching, b.rescan = true, b.rescan, false
	purpose, asked := scanCompare, b.asked
	if asked != nil {
		purpose, b.asked = scanAsked, nil
	}
	n.scans.Go(func() {
		err := n.scan(ctx, b, purpose, asked.report())
		if err != nil && ctx.Err() == nil && !errors.Is(err, ErrStopped) && !errors.Is(err, errReplaced) {
			n.log.Warn("scan map", "map", b.Name, "error", err)
		}
		_ = n.call(ctx, func() {
			b.scanning, b.searching = false, false
			if err == nil {
				b.lastScan, b.scannedAt = n.config.Now(), n.kernel.Now()
			} else {
				b.rescan = true
			}
			if b.asked != nil {
				n.startScan(ctx, b)
			}
		})
		asked.end(err)
	})
}

// scan passes the kernel map to the owner, chunk by chunk, and then asks about
// the keys that were not in it. errReplaced if the map was, meanwhile. report may be nil.
func (n *Node) scan(ctx context.Context, b *boundMap, purpose scanPurpose, report *findings) (err error) {
	var s *scan
	var kernel mapwatch.Map
	if err := n.call(ctx, func() {
		kernel = b.kernel
		s = b.beginScan(n.kernel.Now())
		s.drained, b.drained = b.drained, false
		s.findings = report
	}); err != nil {
		return err
	}
	defer func() {
		if err != nil && s.drained {
			_ = n.call(ctx, func() { b.drained = b.drained || b.kernel == kernel })
		}
	}()
	if kernel == nil {
		return errReplaced
	}
	still := func(f func()) error {
		replaced := false
		err := n.call(ctx, func() {
			if replaced = b.kernel != kernel; !replaced {
				f()
			}
		})
		if err == nil && replaced {
			err = errReplaced
		}
		return err
	}
	at := n.kernel.Now() // no chunk was read before this
	err = kernel.Scan(ctx, func(keys, values []byte, count int) error {
		err := still(func() {
			report.read(count)
			imports := b.scanned(s, keys, values, count, purpose == scanImport, at, n.kernel.Now())
			n.journal(b, imports)
			n.notice(b, imports)
			if len(b.lookedAt) > 0 {
				n.barrier()
			}
		})
		if err == nil && purpose == scanCompare {
			err = rest(ctx, scanRest*time.Duration(n.kernel.Now()-at))
		}
		at = n.kernel.Now()
		return err
	})
	if err != nil {
		if replaced := still(func() {}); replaced != nil { // which closed it
			return replaced
		}
		return err
	}
	for done := false; !done; {
		if err := still(func() { done = b.unseen(s, n.kernel.Now()) }); err != nil {
			return err
		}
	}
	return still(func() {
		b.counters.Scans++
		if purpose == scanImport {
			n.noteImport(b)
		}
	})
}

// noteImport notes that the first scan of a kernel map is done.
func (n *Node) noteImport(b *boundMap) {
	b.imported, b.restored, b.lastScan, b.scannedAt = true, nil, n.config.Now(), n.kernel.Now()
	if n.imported {
		n.writeNote()
	}
	live, _ := b.store.Len()
	n.log.Info("map bound", "map", b.Name, "target", b.Target, "id", b.shape.ID, "entries", live)
}

// rest lets d pass, or less if ctx ends.
func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// importMaps takes what the maps held before this Node as the oldest there is,
// or, with the entries of an earlier run, what differs from these as written
// since.
func (n *Node) importMaps(ctx context.Context) error {
	var maps []*boundMap
	if err := n.call(ctx, func() { maps = slices.Collect(n.withKernel()) }); err != nil {
		return err
	}
	for _, b := range maps {
		if err := n.scan(ctx, b, scanImport, nil); err != nil && !errors.Is(err, errReplaced) {
			return err
		}
	}
	return n.call(ctx, func() {
		n.imported = true
		n.writeNote() // which maps have the entries
	})
}
