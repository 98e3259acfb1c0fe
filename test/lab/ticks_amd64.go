package lab

import "time"

// readTicks reads this machine's time stamp counter, which is the guests' too.
func readTicks() uint64

const (
	ticksOver = 100 * time.Millisecond
	ticksTry  = 100
)

// kilohertz measures the time stamp counter's frequency, well within 0.1 %.
//
// A guest that measures it by itself may be far off (five times, once): the
// emulated timer that it takes for measure stands still while this machine is
// busy with something else, and its clock then runs as fast for as long as it is up.
func kilohertz() int {
	at, from := tickPair()
	time.Sleep(ticksOver)
	end, to := tickPair()
	return int(float64(to-from) / float64(end.Sub(at).Microseconds()) * 1000)
}

// tickPair reads both clocks at once: of some attempts, in the one that the
// machine disturbed least.
func tickPair() (at time.Time, ticks uint64) {
	best := ^uint64(0)
	for range ticksTry {
		before := readTicks()
		now := time.Now()
		if took := readTicks() - before; took < best {
			best, at, ticks = took, now, before
		}
	}
	return at, ticks
}
