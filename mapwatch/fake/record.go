package fake

import (
	"bytes"
	"iter"
	"slices"

	"github.com/mapgossip/mapgossip/mapwatch"
)

// Sizes as in the capture programs, as far as they show in behaviour.
const (
	recordHeader = 48       // bytes of a record besides key and value
	scratchBytes = 32 << 10 // a greater record carries the key only
)

// captureLocked is the hook: after an operation of a program on m, failed or not.
func (m *Map) captureLocked(kind mapwatch.Kind, key, value []byte, cpu uint32, failed bool) {
	change := mapwatch.Change{Kind: kind, Key: key, Value: value, Captured: m.k.nowLocked(), CPU: cpu}
	record := 0
	for c, slot := range m.hookedLocked() {
		if failed && !m.blind(c.modes[slot], kind) {
			c.counts[slot].Failed++
		} else {
			record++
		}
	}
	if record == 0 {
		return
	}
	// Once a write, however many captures there are.
	lost := strike(&m.faults.lose)
	reverse := !lost && strike(&m.faults.reverse)
	for c, slot := range m.hookedLocked() {
		switch {
		case failed && !m.blind(c.modes[slot], kind):
		case lost:
			c.loseLocked(slot, m.faults.loss)
		default:
			c.submitLocked(slot, change, m.writer, reverse)
		}
	}
}

// appliedLocked is the hook after an apply: ours, for whoever watches. While
// nobody does, no thread is ours.
func (m *Map) appliedLocked(op mapwatch.Op, failed bool) {
	change := mapwatch.Change{Kind: mapwatch.Updated, Key: op.Key, Value: op.Value}
	if op.Delete || m.absent(op.Value) {
		change.Kind, change.Value = mapwatch.Deleted, nil
	}
	for c, slot := range m.hookedLocked() {
		switch {
		case c.watch != nil:
			c.counts[slot].Own++
		case failed && !m.blind(c.modes[slot], change.Kind):
			c.counts[slot].Failed++
		default:
			change.Captured = m.k.nowLocked()
			c.submitLocked(slot, change, writer{}, false)
		}
	}
}

// blind reports whether hooks of that mode do not see how such an operation ends.
func (m *Map) blind(mode mapwatch.Mode, kind mapwatch.Kind) bool {
	return mode == mapwatch.ModeFentry && (kind == mapwatch.Updated || m.shape.Type == mapwatch.TypeArray)
}

// hookedLocked are the captures of m, with its index there.
func (m *Map) hookedLocked() iter.Seq2[*capture, int] {
	return func(yield func(*capture, int) bool) {
		for _, c := range m.k.captures {
			slot := slices.Index(c.maps, m)
			if slot >= 0 && c.modes[slot] != mapwatch.ModeScan && !yield(c, slot) {
				return
			}
		}
	}
}

func (c *capture) submitLocked(slot int, change mapwatch.Change, by writer, reverse bool) {
	change.Map = slot
	change.Key, change.Value = bytes.Clone(change.Key), bytes.Clone(change.Value)
	c.signLocked(&change, by)
	size := recordHeader + len(change.Key) + len(change.Value)
	if c.maps[slot].blind(c.modes[slot], change.Kind) || change.Kind == mapwatch.Updated && size > min(scratchBytes, c.ring) {
		change.Kind, change.Value = mapwatch.Touched, nil
		size = recordHeader + len(change.Key)
	}
	if c.used+size > c.ring {
		c.loseLocked(slot, Dropped)
		return
	}
	c.used += size
	c.counts[slot].Captured++
	switch start := c.reversed[slot]; {
	case reverse && start >= 0:
		c.records = slices.Insert(c.records, start, change)
		for other := range c.reversed {
			if other != slot && c.reversed[other] >= start {
				c.reversed[other]++
			}
		}
	case reverse:
		c.reversed[slot] = len(c.records)
		fallthrough
	default:
		c.records = append(c.records, change)
	}
	c.wakeLocked()
}

func (c *capture) loseLocked(slot int, loss Loss) {
	switch loss {
	case Silent:
		return
	case Dropped:
		c.counts[slot].Dropped++
		c.rescan[slot] = true
	case Missed:
		for i, mode := range c.modes {
			if mode != mapwatch.ModeScan {
				c.counts[i].Missed++
				c.rescan[i] = true
			}
		}
	}
	c.wakeLocked()
}
