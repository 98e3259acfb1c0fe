//go:build linux

package mapwatch

import "fmt"

// slotCounts is struct counts in bpf/capture.bpf.c.
type slotCounts struct {
	Captured, Own, Failed, Dropped uint64
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
	}
	return sum, nil
}

// readMisses returns how often the kernel skipped one of our programs because
// it was already running on that CPU. It counts all hash maps of the host: the
// skipped program is the one that would have told which map it was.
func (c *capture) readMisses() (uint64, error) {
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
