package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/mapgossip/mapgossip"
	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/layout"
)

// hostLook is how often the map is compared where there are no hooks, and how
// often it is looked at whether the target still leads to it.
const hostLook = time.Second

// hostWatch is a map of this host whose changes are printed. One goroutine uses it.
type hostWatch struct {
	kernel     mapwatch.Kernel
	m          mapwatch.Map
	watch      mapwatch.Watch
	key, value layout.Layout
	print      *changePrinter
	dropped    uint64 // of the watch's counts, as told
	missed     uint64
}

// watchHost prints who changes the map of a target, until ctx ends: that is no
// failure. It writes nothing into the map.
func watchHost(ctx context.Context, kernel mapwatch.Kernel, target string, print *changePrinter) error {
	m, err := kernel.Open(target)
	if err != nil {
		return err
	}
	defer m.Close()
	w, err := kernel.Watch([]mapwatch.Map{m}, mapwatch.Options{})
	if err != nil {
		return fmt.Errorf("watch map %s: %w", target, err)
	}
	defer func() {
		w.Close()
		for range w.Batches() { // to its end
		}
	}()
	h := &hostWatch{kernel: kernel, m: m, watch: w, print: print}
	h.key, h.value = m.Layouts()
	mode, reason := w.Capture(0)
	print.talk("%s: %s", target, shapeText(m.Shape()))
	if mode == mapwatch.ModeScan {
		print.talk("compared each %s%s", rounded(hostLook), because(reason))
		print.talk("that way who writes can't be known, and of several changes of a key in that time the last one shows")
		return h.compareUntil(ctx)
	}
	w.NameWriters(true)
	print.talk("captured by %s%s", mode, because(reason))
	return h.readUntil(ctx)
}

// readUntil prints what the hooks tell.
func (h *hostWatch) readUntil(ctx context.Context) error {
	look := time.NewTicker(hostLook)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case batch := <-h.watch.Batches():
			if err := h.batch(batch); err != nil {
				return err
			}
		case <-look.C:
			if err := h.current(); err != nil {
				return err
			}
			if missed := h.watch.Counts(0).Missed; missed > h.missed {
				h.print.talk("the kernel skipped the hooks at %s, of maps of this type", count(int(missed-h.missed), "change"))
				h.missed = missed
			}
		}
	}
}

func (h *hostWatch) batch(b mapwatch.Batch) error {
	defer b.Release()
	lost := uint64(0)
	if len(b.Rescan) > 0 {
		dropped := h.watch.Counts(0).Dropped
		if lost = dropped - h.dropped; lost == 0 {
			h.print.talk("there were changes that no hook told one by one, such as by lookup_and_delete_batch")
		}
		h.dropped = dropped
	}
	for _, c := range b.Changes {
		told := mapgossip.Change{Lost: lost, Writer: writerOf(c)}
		told.Time = h.wall(c.Captured)
		value := c.Value
		switch c.Kind {
		case mapwatch.Deleted:
			told.Deleted = true
		case mapwatch.Evicted:
			told.Deleted, told.Evicted = true, true
		case mapwatch.Touched:
			var err error
			if value, err = h.m.Lookup(c.Key); err != nil {
				continue // it is deleted already, and that comes; or nothing was changed
			}
		}
		if err := h.tell(told, c.Key, value); err != nil {
			return err
		}
		lost = 0
	}
	if lost > 0 {
		h.print.talk("%s left out here: they came faster than they could be told", wereChanges(lost))
	}
	return nil
}

// wall is the time of day of a moment of the kernel's clock.
func (h *hostWatch) wall(at int64) time.Time {
	return time.Now().Add(time.Duration(at - h.kernel.Now())).Round(time.Microsecond).UTC()
}

func writerOf(c mapwatch.Change) *mapgossip.Writer {
	name, _, _ := bytes.Cut(c.Comm[:], []byte{0})
	return &mapgossip.Writer{Source: c.Source.String(), PID: int(c.PID), Process: printable(string(name)), CPU: int(c.CPU)}
}

// tell prints a change of which the caller knows when and who.
func (h *hostWatch) tell(c mapgossip.Change, key, value []byte) error {
	c.Map, c.Origin = h.m.Shape().Target, mapgossip.OriginLocal
	c.Key, c.KeyText = hex.EncodeToString(key), shown(h.key, key)
	if !c.Deleted {
		c.Value, c.ValueText = hex.EncodeToString(value), shown(h.value, value)
	}
	var data []byte
	if h.print.json {
		var err error
		if data, err = json.Marshal(c); err != nil {
			return fmt.Errorf("encode change: %w", err)
		}
	}
	return h.print.change(c, data)
}

func shown(l layout.Layout, b []byte) string {
	if !l.Known() {
		return ""
	}
	return printable(l.Format(b))
}

// current is an error once the target leads elsewhere.
func (h *hostWatch) current() error {
	if err := h.m.Current(); errors.Is(err, mapwatch.ErrGone) {
		return fmt.Errorf("%w: watch again to follow what is there then", err)
	}
	return nil
}
