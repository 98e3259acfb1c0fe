package crdt_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"pgregory.net/rapid"
)

// physicals draws readings that jump both ways, broken ones included.
func physicals() *rapid.Generator[int64] {
	return rapid.OneOf(
		rapid.Int64Range(-3, 30),
		rapid.SampledFrom([]int64{math.MinInt64, math.MaxInt64 - 30, math.MaxInt64 - 5}),
	)
}

// near draws timestamps that meet those readings.
func near() *rapid.Generator[crdt.Timestamp] {
	return rapid.Custom(func(t *rapid.T) crdt.Timestamp {
		return crdt.Timestamp{
			Wall:    rapid.Int64Range(0, 40).Draw(t, "wall"),
			Logical: rapid.SampledFrom([]uint32{0, 1, math.MaxUint32 - 1, math.MaxUint32}).Draw(t, "logical"),
		}
	})
}

func TestClockLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		skew := rapid.Int64Range(-2, 20).Draw(t, "skew")
		clock := crdt.NewClock(time.Duration(skew))
		var highest crdt.Timestamp // of all it returned or observed
		var bound crdt.Timestamp   // at or below it, nothing is given out

		note := func(ts crdt.Timestamp) {
			if ts.Compare(highest) > 0 {
				highest = ts
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"now": func(t *rapid.T) {
				physical := physicals().Draw(t, "physical")
				got := clock.Now(physical)
				if got.Compare(highest) <= 0 {
					t.Fatalf("now is %+v, %+v was before", got, highest)
				}
				want := highest.Next() // as near as possible...
				if physical > highest.Wall {
					want = crdt.Timestamp{Wall: max(physical, 1)} // ...unless physical time is on
				}
				if want.Wall == 0 {
					want = crdt.Timestamp{Wall: 1}
				}
				if got != want {
					t.Fatalf("now is %+v, want %+v", got, want)
				}
				note(got)
			},
			"stamp": func(t *rapid.T) {
				captured, after := physicals().Draw(t, "captured"), near().Draw(t, "after")
				got := clock.Stamp(captured, after)
				if got.Wall < 1 || got.Compare(after) <= 0 {
					t.Fatalf("stamp of %d after %+v is %+v", captured, after, got)
				}
				own := crdt.Timestamp{Wall: max(captured, 1)}
				if own.Compare(bound) <= 0 {
					own = bound.Next()
					bound = own
				}
				if own.Compare(after) > 0 && got != own || own.Compare(after) <= 0 && got != after.Next() {
					t.Fatalf("stamp of %d after %+v is %+v", captured, after, got)
				}
				note(got)
			},
			"resume": func(t *rapid.T) {
				from, physical := near().Draw(t, "from"), physicals().Draw(t, "physical")
				err := clock.Resume(from, physical)
				limit := uint64(max(physical, 1)) + uint64(max(skew, 0))
				if refused := uint64(from.Wall) > limit; refused != errors.Is(err, crdt.ErrFuture) || refused != (err != nil) {
					t.Fatalf("resume from %+v at %d with skew %d: %v", from, physical, skew, err)
				}
				if err != nil {
					return
				}
				if from.Compare(bound) > 0 {
					bound = from
				}
				note(from)
			},
			"observe": func(t *rapid.T) {
				// Not the last nanosecond of all: no timestamp follows it.
				remote := rapid.OneOf(near(), timestamps()).Filter(func(ts crdt.Timestamp) bool {
					return ts.Wall < math.MaxInt64
				}).Draw(t, "remote")
				physical := physicals().Draw(t, "physical")
				err := clock.Observe(remote, physical)
				limit := uint64(max(physical, 1)) + uint64(max(skew, 0)) // unsigned: no overflow
				if refused := uint64(remote.Wall) > limit; refused != (err != nil) {
					t.Fatalf("observe %+v at %d with skew %d: %v", remote, physical, skew, err)
				}
				if err != nil {
					if !errors.Is(err, crdt.ErrFuture) {
						t.Fatalf("not ErrFuture: %v", err)
					}
					return // and "" finds that nothing was absorbed
				}
				note(remote)
			},
			"": func(t *rapid.T) {
				if got := clock.Last(); got != highest {
					t.Fatalf("last is %+v, want %+v", got, highest)
				}
			},
		})
	})
}

// TestClockResumes: after a restart nothing that is given out is as old as what
// the Clock before may have given out, and no two are equal.
func TestClockResumes(t *testing.T) {
	const now = 1_700_000_000_000_000_000
	bound := crdt.Timestamp{Wall: now + 2e9, Logical: math.MaxUint32 - 1}
	clock := crdt.NewClock(5 * time.Second)
	if err := clock.Resume(bound, now); err != nil {
		t.Fatal(err)
	}
	last := bound
	for i := range int64(4) { // captured while the bound is still ahead
		got := clock.Stamp(now+i, crdt.Timestamp{})
		if got.Compare(last) <= 0 {
			t.Fatalf("stamp %v after %v", got, last)
		}
		last = got
	}
	if got := clock.Now(now); got.Compare(last) <= 0 {
		t.Errorf("now is %v after %v", got, last)
	}
	if got := clock.Stamp(now+3e9, crdt.Timestamp{}); got != (crdt.Timestamp{Wall: now + 3e9}) {
		t.Errorf("once time has passed the bound: %v", got)
	}

	back := crdt.NewClock(5 * time.Second)
	err := back.Resume(crdt.Timestamp{Wall: now + 3600e9}, now)
	if !errors.Is(err, crdt.ErrFuture) || !strings.Contains(err.Error(), "1h0m0s ahead") {
		t.Errorf("resume from an hour ahead: %v", err)
	}
	if got := back.Stamp(now, crdt.Timestamp{}); got != (crdt.Timestamp{Wall: now}) || back.Last() != got {
		t.Errorf("after a refused bound: %v, last %v", got, back.Last())
	}
}

// TestClockIsNotDragged: whatever a bad peer sends, what is given out is never
// further ahead of physical time than the skew, and the changes of this host keep
// their own time.
func TestClockIsNotDragged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const skew = 5e9
		clock := crdt.NewClock(time.Duration(skew))
		physical := int64(1_700_000_000_000_000_000)
		for range rapid.IntRange(1, 30).Draw(t, "entries") {
			physical += rapid.Int64Range(0, 1e9).Draw(t, "passed")
			ahead := rapid.OneOf(rapid.Int64Range(0, 2*skew), rapid.Just(int64(skew)), rapid.Int64Range(0, math.MaxInt64-physical)).Draw(t, "ahead")
			_ = clock.Observe(crdt.Timestamp{Wall: physical + ahead, Logical: math.MaxUint32}, physical) // refused or not
			if got := clock.Now(physical); got.Wall > physical+skew+1 {
				t.Fatalf("now is %v ahead", time.Duration(got.Wall-physical))
			}
			if got := clock.Stamp(physical, crdt.Timestamp{}); got.Wall != physical {
				t.Fatalf("a local change is stamped %v ahead", time.Duration(got.Wall-physical))
			}
		}
	})
}

func TestClockSkewBoundIsInclusive(t *testing.T) {
	clock := crdt.NewClock(5 * time.Second)
	const now = 1_700_000_000_000_000_000
	edge := crdt.Timestamp{Wall: now + 5e9, Logical: math.MaxUint32}
	if err := clock.Observe(edge, now); err != nil || clock.Last() != edge {
		t.Fatalf("at the bound: %v, last %v", err, clock.Last())
	}
	err := clock.Observe(crdt.Timestamp{Wall: now + 6e9}, now)
	if !errors.Is(err, crdt.ErrFuture) || clock.Last() != edge {
		t.Fatalf("beyond the bound: %v, last %v", err, clock.Last())
	}
	if !strings.Contains(err.Error(), "6s ahead") || !strings.Contains(err.Error(), "5s allowed") {
		t.Errorf("error does not say how far: %v", err)
	}
	if err := clock.Observe(crdt.Timestamp{Wall: now + 6e9}, now+1e9); err != nil {
		t.Errorf("once time has caught up: %v", err)
	}
}

// The bound holds at both ends of the range, where a naive sum overflows.
func TestClockSkewDoesNotOverflow(t *testing.T) {
	for _, c := range []struct {
		skew             time.Duration
		remote, physical int64
		refused          bool
	}{
		{5 * time.Second, math.MaxInt64, math.MaxInt64 - 1, false},
		{5 * time.Second, math.MaxInt64, 0, true},
		{5 * time.Second, math.MaxInt64, math.MinInt64, true},
		{math.MaxInt64, math.MaxInt64, 0, false},
		{math.MaxInt64, math.MaxInt64, math.MaxInt64, false},
		{5 * time.Second, 0, math.MaxInt64, false},
		{5 * time.Second, math.MinInt64, math.MaxInt64, false},
		{5 * time.Second, math.MinInt64, math.MinInt64, false},
	} {
		err := crdt.NewClock(c.skew).Observe(crdt.Timestamp{Wall: c.remote}, c.physical)
		if errors.Is(err, crdt.ErrFuture) != c.refused || (err != nil) != c.refused {
			t.Errorf("skew %v, remote %d, physical %d: %v", c.skew, c.remote, c.physical, err)
		}
	}
}
