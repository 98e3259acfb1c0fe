package fake

import (
	"slices"

	"github.com/mapgossip/mapgossip/mapwatch"
)

// capture is what the kernel has of a watch: the hooks and the ring. One with
// Options.Pins is there when no watch is. All fields are guarded by k.mu.
type capture struct {
	k     *Kernel
	maps  []*Map
	modes []mapwatch.Mode // by map
	ring  int             // bytes
	pins  string          // where it is pinned; empty: it ends with the watch

	watch    *watch // who reads the ring; nil: nobody
	number   uint64 // of that watch or the last, counted from 1
	settled  uint64 // the last watch that left nothing behind
	records  []mapwatch.Change
	used     int   // bytes of the ring that records take
	reversed []int // by map: where in records its reversed ones start; -1: none
	rescan   []bool
	drained  []bool // of rescan
	counts   []mapwatch.Counts
	named    bool // records say who wrote
}

// captureForLocked takes over what is pinned there, or else begins anew and ends
// it. Whatever is not certain to be whole is to be rescanned.
func (k *Kernel) captureForLocked(w *watch, maps []*Map, ring int, pins string) *capture {
	modes := make([]mapwatch.Mode, len(maps))
	for i, l := range w.each {
		modes[i] = l.mode
	}
	old := k.pinnedLocked(pins)
	if old != nil && slices.Equal(old.modes, modes) && old.ring == ring && slices.Equal(old.maps, maps) {
		old.watch, old.named = w, false
		if old.settled != old.number {
			old.rescanAllLocked()
		}
		old.number++
		if slices.Contains(old.rescan, true) || len(old.records) > 0 {
			wake(w.kick)
		}
		return old
	}
	k.endLocked(old)
	c := &capture{
		k: k, maps: maps, modes: modes, ring: ring, watch: w, number: 1,
		reversed: slices.Repeat([]int{-1}, len(maps)),
		rescan:   make([]bool, len(maps)),
		drained:  make([]bool, len(maps)),
		counts:   make([]mapwatch.Counts, len(maps)),
	}
	if pins != "" && w.best.mode != mapwatch.ModeScan {
		c.pins = pins
		c.rescanAllLocked()
		if len(maps) > 0 {
			wake(w.kick)
		}
	}
	k.captures = append(k.captures, c)
	return c
}

// pinnedLocked is the capture that is pinned there, or nil.
func (k *Kernel) pinnedLocked(pins string) *capture {
	i := slices.IndexFunc(k.captures, func(c *capture) bool { return pins != "" && c.pins == pins })
	if i < 0 {
		return nil
	}
	return k.captures[i]
}

func (k *Kernel) endLocked(c *capture) {
	k.captures = slices.DeleteFunc(k.captures, func(other *capture) bool { return other == c })
}

// leaveLocked is the end of the watch that reads it.
func (c *capture) leaveLocked() {
	c.watch, c.named = nil, false
	if c.pins == "" {
		c.k.endLocked(c)
	}
}

func (c *capture) rescanAllLocked() {
	for i := range c.rescan {
		c.rescan[i] = true
	}
}

// replaceLocked lets m take the place of another map. What the ring has of that
// one comes before the rescan of m, or with it.
func (c *capture) replaceLocked(slot int, m *Map) {
	c.maps = slices.Clone(c.maps)
	c.maps[slot] = m
	c.reversed[slot] = -1
	c.drained[slot] = false
	c.rescan[slot] = true
	c.wakeLocked()
}

func (c *capture) wakeLocked() {
	if c.watch != nil {
		wake(c.watch.kick)
	}
}

// takeLocked empties the ring.
func (c *capture) takeLocked() mapwatch.Batch {
	batch := mapwatch.Batch{Changes: c.records, Upto: c.k.nowLocked()}
	c.records, c.used = nil, 0
	for i := range c.maps {
		if c.rescan[i] {
			batch.Rescan = append(batch.Rescan, i)
		}
		if c.drained[i] {
			batch.Drained = append(batch.Drained, i)
		}
		c.rescan[i], c.drained[i], c.reversed[i] = false, false, -1
	}
	return batch
}
