//go:build guest

package mapgossip

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mapgossip/mapgossip/mapwatch"
)

// Writers of a race: two threads of this host, and the other member.
const (
	writerA = iota
	writerB
	writerThere
	raceWriters
)

const (
	// A round is some passes over all keys. After it all is quiet, for as long as
	// it takes to find what was lost.
	raceKeys   = 500
	racePasses = 10
	// raceRounds is so many that 100,000 races are run where every record has a
	// value. Of a map type that is not a hash, and in other ways, fewer do.
	raceRounds      = 20
	raceRoundsFewer = 3
	raceSeed        = 5

	racePriority   = -10    // of the two threads
	raceSpins      = 30_000 // a time slice of the other thread is not waited for
	raceThereEvery = 10     // races to a write of the other member
)

// TestKernelRace lets two CPUs write one key at the same moment, again and
// again, while another member writes it too, whose entries the agent applies in
// between. The order of records is then not always that of the writes. Whenever
// all is quiet the kernel's map, both stores and the other member's map are
// equal, and hold the last write that somebody made to each key, or, in an array,
// words of several.
func TestKernelRace(t *testing.T) {
	for _, of := range kernelMaps() {
		for _, test := range []struct {
			mode   mapwatch.Mode
			cpus   [2]int
			rounds int
		}{
			{mapwatch.ModeFexit, [2]int{0, 1}, raceRounds},
			{mapwatch.ModeFexit, [2]int{1, 1}, raceRoundsFewer},
			{mapwatch.ModeFentry, [2]int{0, 1}, raceRoundsFewer},
			{mapwatch.ModeFentry, [2]int{1, 1}, raceRoundsFewer},
		} {
			if of.kind != kernelMaps()[0].kind {
				test.rounds = raceRoundsFewer
			}
			t.Run(fmt.Sprintf("%s/%s/cpus=%d,%d", of.name, test.mode, test.cpus[0], test.cpus[1]), func(t *testing.T) {
				// Threads that spin leave the agent none otherwise.
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(8))
				r := newRace(newKernelPair(t, of, test.mode), test.cpus)
				began := time.Now()
				for range test.rounds {
					r.round()
				}
				r.end(time.Since(began))
			})
		}
	}
}

// race is a number of rounds on one pair.
type race struct {
	*kernelPair
	cpus  [2]int
	alone bool // the two threads share a CPU

	turn [2]atomic.Uint64 // races that a thread has reached
	// Of each writer, by key: its last operation that changed something.
	last     [raceWriters][raceKeys]lastWrite
	seq      [raceWriters]uint64
	writeNow chan struct{}
	done     [2]chan error
	begin    [2]chan struct{}

	met                                     int // races to which both came; of the first thread
	races, operations, compared, disordered int
}

type lastWrite struct {
	seq     uint64
	deleted bool
}

func newRace(p *kernelPair, cpus [2]int) *race {
	r := &race{kernelPair: p, cpus: cpus, alone: cpus[0] == cpus[1], writeNow: make(chan struct{}, 1)}
	for w := range r.last {
		for n := range r.last[w] {
			r.last[w][n].deleted = true // no key is there
		}
	}
	for w := range r.begin {
		r.begin[w], r.done[w] = make(chan struct{}), make(chan error)
		go r.thread(w)
	}
	p.t.Cleanup(func() {
		for _, begin := range r.begin {
			close(begin)
		}
	})
	return r
}

// thread is one of the two racers.
func (r *race) thread(w int) {
	dice := rand.New(rand.NewPCG(raceSeed, uint64(w)))
	// Preferred to the agent, or the two rarely run at the same time.
	if err := errors.Join(pinThread(r.cpus[w]), unix.Setpriority(unix.PRIO_PROCESS, 0, racePriority)); err != nil {
		<-r.begin[w]
		r.done[w] <- err
		return
	}
	for range r.begin[w] {
		var err error
		for i := range uint32(raceKeys * racePasses) {
			n := i % raceKeys
			deleting := dice.IntN(4) == 0
			key, value := r.of.key(n), written{n, uint32(w), r.seq[w]}.value()
			if deleting {
				value = nil
			}
			if w == 0 && i%raceThereEvery == 0 {
				select {
				case r.writeNow <- struct{}{}:
				default: // it has not done the last one
				}
			}
			if r.meet(w) && w == 0 {
				r.met++
			}
			changed, failed := r.write(key, value)
			if failed != nil {
				err = fmt.Errorf("writer %d, key %d: %w", w, n, failed)
			}
			if changed {
				r.last[w][n] = lastWrite{r.seq[w], deleting}
			}
			r.seq[w]++
		}
		r.done[w] <- err
	}
}

// meet returns when the other thread has come to the same race, and whether it
// has; one that does not run at present is not waited for. Threads of one CPU do
// not wait: the scheduler makes them meet, anywhere in an operation.
func (r *race) meet(w int) bool {
	turn := r.turn[w].Add(1)
	if r.alone {
		return true
	}
	for spins := 0; r.turn[1-w].Load() < turn; spins++ {
		if spins == raceSpins {
			return false
		}
	}
	return r.turn[1-w].Load() <= turn+1
}

// writeThere writes keys of the round on the other member, one for every few
// races, so that its entries come while the threads are at it.
func (r *race) writeThere(dice *rand.Rand, stop <-chan struct{}) error {
	for {
		select {
		case <-r.writeNow:
		case <-stop:
			return nil
		}
		n := uint32(dice.IntN(raceKeys))
		key, l := r.of.key(n), &r.last[writerThere][n]
		if dice.IntN(5) == 0 {
			if r.far.Remove(key, 0) == nil { // else it is not there
				*l = lastWrite{r.seq[writerThere], true}
			}
		} else {
			if err := r.far.Write(key, written{n, writerThere, r.seq[writerThere]}.value(), 0); err != nil {
				return err
			}
			*l = lastWrite{r.seq[writerThere], false}
		}
		r.seq[writerThere]++
	}
}

func (r *race) round() {
	r.t.Helper()
	r.records.take()
	stop, stopped := make(chan struct{}), make(chan error, 1)
	dice := rand.New(rand.NewPCG(raceSeed, uint64(r.races)))
	go func() { stopped <- r.writeThere(dice, stop) }()
	for _, begin := range r.begin {
		begin <- struct{}{}
	}
	for _, done := range r.done {
		must(r.t, <-done)
	}
	close(stop)
	must(r.t, <-stopped)
	r.races += raceKeys * racePasses
	r.operations += 2 * raceKeys * racePasses
	r.check(r.equal())
}

// check holds that every key has the last write of somebody, and counts the keys
// whose last record tells something else.
func (r *race) check(content map[string]string) {
	r.t.Helper()
	records := r.records.take()
	for n := range uint32(raceKeys) {
		key := string(r.of.key(n))
		value, present := content[key]
		if w := parseWritten([]byte(value + string(make([]byte, kernelValueBytes)))); !r.of.deletes {
			// The kernel copies into an array without a lock, byte by byte where it
			// likes, so that a value can be put together of several, the zeros of a
			// delete among them: which ones were last does not show.
			if present && (w.key&^n != 0 || w.writer+1 > raceWriters) {
				r.t.Fatalf("after %d races key %d has %+v, which nobody wrote", r.races, n, w)
			}
			continue
		}
		if present {
			w := parseWritten([]byte(value))
			if w.key != n || w.writer >= raceWriters || r.last[w.writer][n] != (lastWrite{w.seq, false}) {
				r.t.Fatalf("after %d races key %d has %+v; the last writes are %+v, %+v and %+v", r.races, n, w, r.last[0][n], r.last[1][n], r.last[2][n])
			}
			if w.writer == writerThere {
				continue
			}
		} else if !r.last[0][n].deleted && !r.last[1][n].deleted && !r.last[2][n].deleted {
			r.t.Fatalf("after %d races key %d is not there; the last writes are %+v, %+v and %+v", r.races, n, r.last[0][n], r.last[1][n], r.last[2][n])
		} else if r.last[writerThere][n].deleted {
			continue // perhaps it was not a thread
		}
		if record, told := records[key]; told {
			r.compared++
			if record != value {
				r.disordered++
			}
		}
	}
	if echoes := r.echoes(writerThere); len(echoes) > 0 {
		r.t.Fatalf("after %d races %d values of the other member are taken for local writes, such as %q", r.races, len(echoes), echoes[0])
	}
}

func (r *race) end(took time.Duration) {
	r.t.Helper()
	here, there := r.status(r.here).Counters, r.status(r.there).Counters
	r.t.Logf("%d races, of which %d met, in %v; the last record of %d of %d keys is not the last write; looked at %d, written over %d, stamped %d; captured %d, own %d, failed %d, dropped %d, missed %d; %d applies, %d scans found %d; echoes by content %d",
		r.races, r.met, took.Round(time.Millisecond), r.disordered, r.compared, here.Settled, here.SettleWrites, here.SettleStamps,
		here.Captured, here.Own, here.Failed, here.Dropped, here.Missed, here.Applied, here.Scans, here.ScanFound, here.Echoes)
	if r.met == 0 {
		r.t.Errorf("the threads met in none of %d races", r.races)
	}
	if here.Local > uint64(r.operations) {
		r.t.Errorf("%d local versions of %d operations", here.Local, r.operations)
	}
	if here.Applied == 0 || there.Applied == 0 {
		r.t.Errorf("%d applies here and %d there: nothing raced", here.Applied, there.Applied)
	}
	if sum := here.Captured + here.Own + here.Failed + here.Dropped + here.Missed; sum != uint64(r.operations)+here.Applied {
		r.t.Errorf("the counters add up to %d; there were %d operations and %d applies", sum, r.operations, here.Applied)
	}
}
