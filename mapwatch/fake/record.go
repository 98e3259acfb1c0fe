package fake

import (
	"bytes"
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
	record := make([]*watch, 0, 1)
	slots := make([]int, 0, 1)
	for _, w := range m.k.watches {
		for i, watched := range w.maps {
			switch {
			case watched != m || w.mode == mapwatch.ModeScan:
			case failed && w.mode == mapwatch.ModeFexit:
				w.counts[i].Failed++
			default:
				record, slots = append(record, w), append(slots, i)
			}
		}
	}
	if len(record) == 0 {
		return
	}
	lost := strike(&m.faults.lose)
	reverse := !lost && strike(&m.faults.reverse)
	for n, w := range record {
		if lost {
			w.loseLocked(slots[n], m.faults.loss)
		} else {
			w.submitLocked(slots[n], change, reverse)
		}
	}
}

func (w *watch) submitLocked(slot int, change mapwatch.Change, reverse bool) {
	change.Map = slot
	change.Key, change.Value = bytes.Clone(change.Key), bytes.Clone(change.Value)
	size := recordHeader + len(change.Key) + len(change.Value)
	if w.mode == mapwatch.ModeFentry || size > min(scratchBytes, w.ring) {
		change.Kind, change.Value = mapwatch.Touched, nil
		size = recordHeader + len(change.Key)
	}
	if w.used+size > w.ring {
		w.loseLocked(slot, Dropped)
		return
	}
	w.used += size
	w.counts[slot].Captured++
	switch start := w.reversed[slot]; {
	case reverse && start >= 0:
		w.records = slices.Insert(w.records, start, change)
		for other := range w.reversed {
			if other != slot && w.reversed[other] >= start {
				w.reversed[other]++
			}
		}
	case reverse:
		w.reversed[slot] = len(w.records)
		fallthrough
	default:
		w.records = append(w.records, change)
	}
	wake(w.kick)
}

func (w *watch) loseLocked(slot int, loss Loss) {
	switch loss {
	case Silent:
		return
	case Dropped:
		w.counts[slot].Dropped++
		w.rescan[slot] = true
	case Missed:
		for i := range w.maps {
			w.counts[i].Missed++
			w.rescan[i] = true
		}
	}
	wake(w.kick)
}

// countOwnLocked is the hook for an apply.
func (m *Map) countOwnLocked() {
	for _, w := range m.k.watches {
		for i, watched := range w.maps {
			if watched == m && w.mode != mapwatch.ModeScan {
				w.counts[i].Own++
			}
		}
	}
}
