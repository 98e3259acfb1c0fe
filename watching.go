package mapgossip

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/mapgossip/mapgossip/mapwatch"
)

// watchAgain is how long after a Watch could not be had another is tried.
const watchAgain = 10 * time.Second

// openWatch starts to capture the maps that have a kernel map; there is none if
// none has.
func (n *Node) openWatch(maps []*boundMap) (mapwatch.Watch, error) {
	if len(maps) == 0 {
		return nil, nil
	}
	handles := make([]mapwatch.Map, len(maps))
	for i, b := range maps {
		handles[i] = b.kernel
	}
	w, err := n.kernel.Watch(handles, mapwatch.Options{Mode: n.config.Capture, Pins: n.config.CapturePins})
	if err != nil {
		return nil, fmt.Errorf("capture map changes: %w", err)
	}
	return w, nil
}

// withKernel are the maps that have a kernel map.
func (n *Node) withKernel() iter.Seq[*boundMap] {
	return func(yield func(*boundMap) bool) {
		for _, b := range n.maps {
			if b.kernel != nil && !yield(b) {
				return
			}
		}
	}
}

// watched makes w, of these maps, the Watch of the Node.
func (n *Node) watched(w mapwatch.Watch, maps []*boundMap) {
	n.watch, n.batches, n.captures = w, nil, maps
	for _, b := range n.maps {
		b.index = -1
	}
	if w == nil {
		return
	}
	n.batches = w.Batches()
	if n.followed > 0 { // a Watch begins without
		w.NameWriters(true)
	}
	named := make(map[string][]string) // the maps that are captured in one way
	for i, b := range maps {
		b.index, b.watchedOnce = i, true
		if b.since == unwatched {
			b.since = n.kernel.Now() + closeness
		}
		mode, reason := w.Capture(i)
		b.touches = mode == mapwatch.ModeFentry
		if b.scanInterval = n.config.ScanInterval; b.scanInterval == 0 {
			if b.scanInterval = DefaultScanInterval; mode == mapwatch.ModeScan {
				b.scanInterval = scanOnlyInterval
			}
		}
		how := fmt.Sprint(mode, b.scanInterval, reason)
		named[how] = append(named[how], b.Name)
	}
	for i, b := range maps {
		mode, reason := w.Capture(i)
		how := fmt.Sprint(mode, b.scanInterval, reason)
		if named[how][0] != b.Name {
			continue
		}
		log := n.log.With("maps", strings.Join(named[how], ","), "scan_interval", b.scanInterval)
		if reason != "" {
			log.Warn("capture by "+string(mode), "why", reason)
		} else {
			log.Info("capture by " + string(mode))
		}
	}
}

// rewatch starts a Watch of the maps that have a kernel map, in place of the
// one that there is. It is done some time after it returned; what the maps that
// were watched before get meanwhile, a scan finds. No other one may be under way.
func (n *Node) rewatch(ctx context.Context) {
	n.rewatching, n.rewatchAt = true, 0
	old, maps := n.watch, slices.Collect(n.withKernel())
	var before []*boundMap
	for _, b := range maps {
		if b.watchedOnce {
			before = append(before, b)
		}
	}
	n.scans.Go(func() {
		if old != nil {
			if err := old.Close(); err != nil { // pins of a directory are for one Watch at a time
				n.log.Warn("end the capture of before", "error", err)
			}
		}
		w, err := n.openWatch(maps)
		lost := err
		if err != nil && 0 < len(before) && len(before) < len(maps) { // what came in addition may be to blame
			w, err = n.openWatch(before)
		}
		if called := n.call(context.Background(), func() { n.rewatched(ctx, w, maps, before, lost, err) }); called != nil && w != nil {
			w.Close()
		}
	})
}

// rewatched takes what became of rewatch: w of all maps; or, because of lost, of
// those before, which a Watch had already; or none because of err.
func (n *Node) rewatched(ctx context.Context, w mapwatch.Watch, maps, before []*boundMap, lost, err error) {
	n.rewatching = false
	now := n.kernel.Now()
	if n.batches != nil { // of the old Watch, which is closed
		for batch := range n.batches {
			n.captured(batch)
			batch.Release()
		}
		n.batches = nil
	}
	for i, b := range n.captures {
		b.retired = addCounts(b.retired, n.watch.Counts(i))
	}
	if lost != nil {
		n.log.Error("capture is in trouble", "error", lost)
	}
	if err != nil { // none of them may be to blame: each stays
		n.rewatchAt = now + int64(watchAgain)
		n.captureError = err
		n.watched(nil, nil)
		return
	}
	if lost != nil {
		for _, b := range maps {
			if !b.watchedOnce {
				b.forsake(lost, now+int64(time.Minute))
			}
		}
		maps = before
	}
	n.captureError = nil
	n.watched(w, maps)
	for _, b := range maps {
		b.rescan = true // nobody saw what was changed meanwhile
	}
	n.bindDue(ctx) // before anything is believed of maps that were replaced meanwhile
}

// forsake gives back a kernel map that cannot be captured as it was asked for.
func (b *boundMap) forsake(why error, until int64) {
	b.gone = errors.Join(why, b.kernel.Close())
	b.kernel, b.unbound, b.notBefore = nil, true, until
	b.asked.end(b.gone)
	b.asked = nil
}

// rewatchDue tries again what did not work.
func (n *Node) rewatchDue(ctx context.Context) {
	if !n.rewatching && n.rewatchAt != 0 && n.kernel.Now() >= n.rewatchAt {
		n.rewatch(ctx)
	}
}

// barrier asks the Watch, if there is one, for a batch that covers this moment.
func (n *Node) barrier() {
	if n.watch != nil {
		n.watch.Barrier()
	}
}

// capture says how the changes of a map are captured, and why not in a better way.
func (n *Node) capture(b *boundMap) (mapwatch.Mode, string) {
	switch {
	case b.index >= 0:
		return n.watch.Capture(b.index)
	case n.captureError != nil:
		return "", n.captureError.Error()
	}
	return "", ""
}

// counts are those of all watches that a map had.
func (n *Node) counts(b *boundMap) mapwatch.Counts {
	if b.index < 0 {
		return b.retired
	}
	return addCounts(b.retired, n.watch.Counts(b.index))
}

func addCounts(a, b mapwatch.Counts) mapwatch.Counts {
	return mapwatch.Counts{Captured: a.Captured + b.Captured, Own: a.Own + b.Own, Failed: a.Failed + b.Failed,
		Dropped: a.Dropped + b.Dropped, Missed: a.Missed + b.Missed, Caught: a.Caught + b.Caught}
}
