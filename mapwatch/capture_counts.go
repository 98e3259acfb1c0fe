//go:build linux

package mapwatch

import "fmt"

// slotCounts is struct counts in bpf/capture.bpf.c.
type slotCounts struct {
	Captured, Own, Failed, Dropped, Caught uint64
}

// readCounts adds up the counters of one slot over all CPUs.
func (c *capture) readCounts(slot uint32) (slotCounts, error) {
	var cpus []slotCounts
	if err := c.collection.Maps[captureMapCounters].Lookup(slot, &cpus); err != nil {
		return slotCounts{}, fmt.Errorf("read capture counters: %w", err)
	}
	var sum slotCounts
	for _, cpu := range cpus {
		sum.Captured += cpu.Captured
		sum.Own += cpu.Own
		sum.Failed += cpu.Failed
		sum.Dropped += cpu.Dropped
		sum.Caught += cpu.Caught
	}
	return sum, nil
}

// hookBusy is struct busy in bpf/capture.bpf.c.
type hookBusy struct {
	First, Second uint32
	Overruns      uint64
}

// hookMisses counts calls that neither program of a hook saw, by hook.
type hookMisses [hookCount]uint64

// of adds up the hooks of a type, counted from an earlier reading.
func (m hookMisses) of(kind string, since hookMisses) uint64 {
	var sum uint64
	for _, h := range hooksOf(kind) {
		// A call that a catcher has seen is skipped a moment later: a reading
		// in between says less than the one before.
		if m[h.number] > since[h.number] {
			sum += m[h.number] - since[h.number]
		}
	}
	return sum
}

// missTries is how often a hook is read again if catchers ran meanwhile.
const missTries = 4

// readMisses returns how often the kernel skipped a first program because it was
// already running on that CPU, less what catchers did in its place. It counts all
// maps of the host: the skipped program is the one that would have told which map
// it was. Safe for concurrent use.
func (c *capture) readMisses() (hookMisses, error) {
	var missed hookMisses
	for _, h := range hooks() {
		program := c.collection.Programs[h.program(c.mode)]
		if program == nil {
			continue
		}
		var skipped uint64
		var caught, before hookMisses
		for range missTries {
			if err := c.collection.Variables[captureVarCaughtRuns].Get(&before); err != nil {
				return hookMisses{}, fmt.Errorf("read what catchers did: %w", err)
			}
			stats, err := program.Stats()
			if err != nil {
				return hookMisses{}, fmt.Errorf("read recursion misses: %w", err)
			}
			skipped = stats.RecursionMisses
			// The catcher comes first: after the misses, so that none is
			// counted whose catcher is not.
			if err := c.collection.Variables[captureVarCaughtRuns].Get(&caught); err != nil {
				return hookMisses{}, fmt.Errorf("read what catchers did: %w", err)
			}
			if caught[h.number] == before[h.number] {
				break
			}
		}
		if seen := caught[h.number]; skipped > seen {
			missed[h.number] = skipped - seen
		}
		var cpus []hookBusy
		if err := c.collection.Maps[captureMapBusy].Lookup(uint32(h.number), &cpus); err != nil {
			return hookMisses{}, fmt.Errorf("read overruns: %w", err)
		}
		for _, cpu := range cpus {
			missed[h.number] += cpu.Overruns
		}
	}
	return missed, nil
}

// readSkips returns how often the kernel skipped any of our programs.
func (c *capture) readSkips() (uint64, error) {
	var sum uint64
	for _, program := range c.collection.Programs {
		stats, err := program.Stats()
		if err != nil {
			return 0, fmt.Errorf("read recursion misses: %w", err)
		}
		sum += stats.RecursionMisses
	}
	return sum, nil
}
