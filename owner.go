package mapgossip

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// own is the owner goroutine: it merges what the kernel and the cluster tell,
// applies what the merge asks for, and settles what is in doubt.
func (n *Node) own(ctx context.Context) {
	defer n.scans.Wait()
	defer close(n.done)
	housekeeping := time.NewTicker(tick)
	defer housekeeping.Stop()
	scanning := time.NewTicker(n.scanTick())
	defer scanning.Stop()
	settling := time.NewTicker(settleTick)
	defer settling.Stop()
	settling.Stop()
	settlingOn := false
	n.readClocks()
	n.writeNote() // entries mean nothing without it
	for {
		select {
		case <-ctx.Done():
			return
		case batch, ok := <-n.batches:
			if !ok {
				n.batches = nil // closed on our way out, or for another Watch
				continue
			}
			n.captured(batch)
			batch.Release()
		case f := <-n.calls:
			f()
		case <-housekeeping.C:
			n.housekeep(ctx)
		case <-scanning.C:
			n.scanDue(ctx)
		case <-settling.C:
			n.look()
		}
		n.writeDue()
		n.passOn()
		if unsettled := n.unsettled(); unsettled != settlingOn {
			if settlingOn = unsettled; settlingOn {
				settling.Reset(settleTick)
			} else {
				settling.Stop()
			}
		}
	}
}

func (n *Node) unsettled() bool {
	for _, b := range n.maps {
		if b.kernel != nil && len(b.unsettled) > 0 {
			return true
		}
	}
	return false
}

// captured merges one batch of the kernel's changes and spreads what won.
func (n *Node) captured(batch mapwatch.Batch) {
	n.readClocks()
	now := n.kernel.Now()
	following := n.followed > 0
	for i := range batch.Changes {
		c := &batch.Changes[i]
		b := n.captures[c.Map]
		if c.Captured < b.since {
			continue // of the map that it was before
		}
		if i%aheadKeys == 0 { // of the map that changes most, if there are several
			b.ahead(len(batch.Changes)-i, func(j int) []byte { return batch.Changes[i+j].Key })
		}
		if slot, won := b.record(*c, n.wall(c.Captured), now); won {
			b.won = append(b.won, slot)
			if following {
				n.noticeRecord(b, slot, c)
			}
		}
	}
	for _, b := range n.maps {
		n.spread(b, b.won, "")
		b.won = b.won[:0]
	}
	n.upto = max(n.upto, batch.Upto)
	for _, i := range batch.Rescan {
		n.captures[i].rescan = true
	}
	for _, i := range batch.Drained {
		n.captures[i].drained = true
	}
	n.settleLooked(n.upto, now)
}

// settleLooked decides the keys whose looks are covered: no record from before
// upto is to come.
func (n *Node) settleLooked(upto, now int64) {
	for _, b := range n.maps {
		if len(b.unsettled) > 0 {
			stamped := b.settleLooked(upto, now, n.wall)
			n.spread(b, stamped, "")
			n.notice(b, stamped)
		}
	}
}

// spread tells the network which keys have new entries; it sends what the store
// holds by then. A slot may be named twice. slots is the caller's.
func (n *Node) spread(b *boundMap, slots []crdt.Slot, from string) {
	if len(slots) == 0 {
		return
	}
	n.journal(b, slots)
	n.cluster.Spread(b.Name, slots, from)
}

// look reads the keys that are to be settled and asks for a batch that covers
// the moment; captured then decides.
func (n *Node) look() {
	looked := false
	for b := range n.withKernel() {
		now := n.kernel.Now()
		for _, key := range b.dueLooks(lookLimit, now) {
			at := n.kernel.Now()
			if found, ok := n.lookTwice(b, []byte(key)); ok {
				b.looked(key, found, at)
				looked = true
			} else {
				b.unreadable(key, at+int64(confirmDelay))
			}
		}
	}
	switch {
	case n.watch != nil && looked:
		n.barrier()
	case n.watch == nil: // and no record to wait for
		n.readClocks()
		now := n.kernel.Now()
		n.settleLooked(now, now)
	}
}

// lookTwice reads a key until two reads in a row agree: see the hazard of
// mapwatch.Map.Lookup.
func (n *Node) lookTwice(b *boundMap, key []byte) (content, bool) {
	var last content
	for i := range 4 {
		value, err := b.kernel.Lookup(key)
		if err != nil && !errors.Is(err, mapwatch.ErrNotFound) {
			b.note(err)
			return content{}, false
		}
		found := content{err == nil, value}
		if i > 0 && found.equal(last) {
			return found.clone(), true
		}
		last = found
	}
	return content{}, false
}

// writeDue applies what merges and settling made due.
func (n *Node) writeDue() {
	for b := range n.withKernel() {
		for b.ready.len() > 0 {
			ops, slots := b.takeWrites(applyLimit)
			if len(ops) == 0 {
				continue
			}
			start := n.kernel.Now()
			b.kernel.Apply(ops)
			end := n.kernel.Now()
			b.applied(ops, slots, start, end)
			b.observeLags(ops, n.wall(end))
		}
	}
	for _, b := range n.maps { // when no apply is due any more: see journal
		n.journal(b, b.takeTurned())
	}
}

// housekeep does what is due now and then.
func (n *Node) housekeep(ctx context.Context) {
	n.readClocks()
	n.hearClocks()
	now := n.kernel.Now()
	n.tend()
	n.bindDue(ctx)
	for _, b := range n.maps {
		retention := max(2*b.scanInterval, minRetention)
		if b.kernel != nil {
			b.retry(retryLimit, now)
			expired := b.expire(b.shape.MaxEntries)
			n.spread(b, expired, "")
			n.notice(b, expired)
		}
		if now-b.forgot > int64(retention)/4 {
			b.forgot = now
			b.keys.forget(now - int64(retention))
		}
		b.futures.forget(now-n.futureWindow(), n.wall(now)+int64(n.config.MaxClockSkew))
		n.tell(b)
		n.tellLags(b, n.wall(now))
		n.cluster.SetRoom(b.Name, b.room())
	}
	n.tellLacking()
	n.keep(ctx)
}

// scanDue starts the scans whose time has come.
func (n *Node) scanDue(ctx context.Context) {
	now := n.kernel.Now()
	for _, b := range n.maps {
		if b.kernel != nil && (b.asked != nil || b.rescan || now-b.scannedAt >= int64(b.scanInterval)) {
			n.startScan(ctx, b)
		}
	}
}

// tell logs when something is wrong with a map, and when it is well again. That
// the cluster refuses it, package gossip tells.
func (n *Node) tell(b *boundMap) {
	s := n.mapStatus(b, "")
	kind := strings.Map(func(r rune) rune { // without the counts, which change
		if '0' <= r && r <= '9' {
			return -1
		}
		return r
	}, s.Error)
	switch {
	case kind == b.told:
		return
	case kind == "":
		n.log.Info("map is well again", "map", b.Name)
	default:
		n.log.Warn("map needs attention", "map", b.Name, "error", s.Error)
	}
	b.told = kind
}

// note keeps why the kernel map can't be used at present.
func (b *boundMap) note(err error) {
	if err == nil || errors.Is(err, mapwatch.ErrGone) {
		b.gone = err
	}
}

// scanTick is how often it is looked whether a scan is due.
func (n *Node) scanTick() time.Duration {
	interval := n.config.ScanInterval
	if interval == 0 {
		interval = scanOnlyInterval
	}
	return max(min(tick, interval), minScanTick)
}

// tellLacking tells the cluster which of the configured maps are not there.
func (n *Node) tellLacking() {
	var names []string
	for _, a := range n.absent {
		names = append(names, a.Name)
	}
	for _, b := range n.maps {
		if b.gone != nil {
			names = append(names, b.Name)
		}
	}
	n.cluster.SetLacking(names)
}
