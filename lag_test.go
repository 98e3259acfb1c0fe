package mapgossip

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/gossip/simnet"
	"github.com/mapgossip/mapgossip/mapwatch"
)

func TestLagBuckets(t *testing.T) {
	var h lagHistogram
	for _, lag := range []time.Duration{-time.Second, 0, 1, lagFirst - 1, lagFirst} { // all in the first
		h.observe(lag)
	}
	h.observe(lagFirst + 1)
	h.observe(2 * lagFirst)
	h.observe(2*lagFirst + 1)
	h.observe(lagFirst << (lagBuckets - 1))
	h.observe(lagFirst<<(lagBuckets-1) + 1)
	h.observe(math.MaxInt64)
	count, upTo := h.total()
	if count != 11 || len(upTo) != lagBuckets {
		t.Fatalf("%d lags in %d buckets", count, len(upTo))
	}
	for bound, want := range map[float64]uint64{0.0005: 5, 0.001: 7, 0.002: 8, 0.004: 8, 32.768: 8, 65.536: 9} {
		if upTo[bound] != want {
			t.Errorf("%d lags up to %v s, want %d", upTo[bound], bound, want)
		}
	}
}

// lag returns the lags that a node tells.
func (n *rigNode) lag(t *testing.T) (count uint64, seconds float64) {
	t.Helper()
	if err := n.call(t.Context(), func() {
		h := &n.byName["flows"].lags
		count, _ = h.total()
		seconds = h.seconds
	}); err != nil {
		t.Fatal(err)
	}
	return count, seconds
}

// TestLag: an entry's lag is the time from its write to its being in another
// member's map, once a member, and none for what came before the map was filled.
func TestLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const delay = 20 * time.Millisecond
		r := newRig(t, 1, simnet.Link{Delay: delay})
		a, b := r.add(), r.add()
		for i := range 100 { // they fill each other
			a.write(t, i, i)
		}
		pass(5 * time.Second)
		filled, _ := b.lag(t)
		for i := range 10 {
			a.write(t, 1000+i, i)
		}
		if err := a.m.Remove(number(1), 0); err != nil {
			t.Fatal(err)
		}
		pass(5 * time.Second)
		count, seconds := b.lag(t)
		if count-filled != 11 || seconds < 11*delay.Seconds() || seconds > 11*(delay+100*time.Millisecond).Seconds() {
			t.Errorf("%d lags of %.3f s together, want 11 of some %v each", count-filled, seconds, delay)
		}
		if count, _ := a.lag(t); count != 0 {
			t.Errorf("%d lags of own entries", count)
		}

		pass(time.Hour)
		c := r.add()
		r.converge(t, time.Minute)
		pass(5 * time.Second)
		if count, _ := c.lag(t); count != 0 {
			t.Errorf("%d lags of entries from before the member was there", count)
		}
		a.write(t, 7, 77)
		pass(time.Second)
		if count, _ := c.lag(t); count != 1 {
			t.Errorf("%d lags at the new member, want 1", count)
		}
	})
}

// TestLagOfLate: what a member could not be told, or its kernel map not be given,
// in time is late; what is written again because a program undid it is not.
func TestLagOfLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, lan)
		a := r.add()
		config, kernel, m := r.prepare(1, mapwatch.Shape{MaxEntries: 3})
		config.Maps[0].Direction = DirectionReceive
		b := r.start(config, kernel, m)
		pass(5 * time.Second)
		r.net.Partition([]string{a.addr}, []string{b.addr})
		a.write(t, 1, 1)
		pass(5 * time.Minute)
		r.net.Heal()
		r.converge(t, time.Minute)
		count, seconds := b.lag(t)
		if count != 1 || seconds < 300 {
			t.Errorf("%d lags of %.3f s, want one of 300 s or more", count, seconds)
		}

		for i := range 3 { // one more than there is room for
			a.write(t, 2+i, 2)
		}
		pass(time.Minute)
		if err := a.m.Remove(number(1), 0); err != nil {
			t.Fatal(err)
		}
		pass(5 * time.Second)
		r.converge(t, time.Minute)
		count, after := b.lag(t)
		if count != 5 || after-seconds < 60 || after-seconds > 70 {
			t.Errorf("%d lags of %.3f s more, want 5, and one of a minute more", count, after-seconds)
		}

		pass(time.Hour)
		b.write(t, 2, 22)
		pass(time.Minute)
		r.converge(t, time.Second)
		if again, _ := b.lag(t); again != count {
			t.Errorf("%d lags after a local change was undone, want %d", again, count)
		}
	})
}

// TestLagOfReplacedMap: a new kernel map is filled with what is old, not late.
func TestLagOfReplacedMap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, lan)
		a, b := r.add(), r.add()
		pass(5 * time.Second)
		for i := range 10 {
			a.write(t, i, i)
		}
		pass(time.Second)
		before, _ := b.lag(t)
		pass(time.Hour)
		b.replace(mapwatch.Shape{})
		pass(10 * time.Second)
		r.converge(t, time.Minute)
		if count, _ := b.lag(t); before != 10 || count != before {
			t.Errorf("%d lags, and %d before the map was replaced, want 10", count, before)
		}
		a.write(t, 1, 11)
		pass(time.Second)
		if count, _ := b.lag(t); count != before+1 {
			t.Errorf("%d lags, want %d", count, before+1)
		}
	})
}
