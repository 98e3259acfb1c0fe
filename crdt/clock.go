package crdt

import (
	"errors"
	"fmt"
	"time"
)

// ErrFuture: a timestamp is further ahead of physical time than is allowed.
// It is not wrong for ever: the same timestamp is fine once time has caught up.
var ErrFuture = errors.New("timestamp is in the future")

// minWall keeps every stamp above the zero Timestamp, whatever a broken clock says.
const minWall = 1

// Clock is a hybrid logical clock (Kulkarni, Demirbas, Madappa, Avva, Leone:
// Logical Physical Clocks, 2014). It has no clock of its own: the caller passes
// physical time, nanoseconds since the Unix epoch. Not safe for concurrent use.
type Clock struct {
	maxSkew int64 // nanoseconds, not negative
	last    Timestamp
	bound   Timestamp // nothing that is given out is as old as this
}

// NewClock returns a Clock that refuses timestamps more than maxSkew ahead of
// physical time. A negative maxSkew counts as 0. A member that had a Clock
// before must Resume from the greatest Timestamp it ever gave out, if it knows it
// (HAZARD in the package documentation).
func NewClock(maxSkew time.Duration) *Clock {
	return &Clock{maxSkew: max(0, int64(maxSkew))}
}

// Resume goes on where an earlier Clock of this member ended, which gave out
// nothing greater than bound: neither will this Clock give out anything that is
// not. bound may be a promise, further on than what was really given out: a
// captured time at or below it becomes the smallest Timestamp above bound that
// this Clock has not given out yet.
//
// If bound is more than maxSkew ahead of physical, the physical clock was set
// back, and going on from bound would make nothing but stamps that other members
// refuse. Then nothing is noted and the error, which says how far, wraps
// ErrFuture: the Clock follows physical time. That may give a Timestamp a second
// time to a key whose entry was lost; whoever still has the entries is protected
// by the after of Stamp. Call it before any other method; of several calls the
// greatest bound counts.
func (c *Clock) Resume(bound Timestamp, physical int64) error {
	if ahead := c.ahead(bound, physical); ahead > c.maxSkew {
		return fmt.Errorf("resume from %v: %v ahead of the local clock, %v allowed; it was set back since: %w",
			bound, time.Duration(ahead), time.Duration(c.maxSkew), ErrFuture)
	}
	if bound.Compare(c.bound) > 0 {
		c.bound = bound
	}
	c.absorb(bound)
	return nil
}

// Now returns a Timestamp greater than all that this Clock returned or
// observed. Its Wall is physical, or that of Last if physical is behind it (then
// only Logical moves). physical may step back, and below 1 it counts as 1: the
// zero Timestamp is never returned.
func (c *Clock) Now(physical int64) Timestamp {
	if physical = max(physical, minWall); physical > c.last.Wall {
		c.last = Timestamp{Wall: physical}
	} else {
		c.last = c.last.Next()
	}
	return c.last
}

// Stamp returns the Timestamp of a local change that the kernel saw at
// captured, which may be long ago: the change keeps its own time, so that a
// backlog does not turn an old write into the newest. after is the version that
// the change is known to have overwritten (zero if none): the result is greater
// than it, by the smallest step if captured does not do. It is not forced above
// Last (but above what Resume was told), but Now will be greater than it.
//
// Two changes of one key captured in the same nanosecond get one Timestamp
// unless the second is stamped after the first. captured below 1 counts as 1:
// the zero Timestamp is never returned.
func (c *Clock) Stamp(captured int64, after Timestamp) Timestamp {
	t := Timestamp{Wall: max(captured, minWall)}
	if t.Compare(c.bound) <= 0 {
		t = c.bound.Next()
		c.bound = t // no two get the same
	}
	if t.Compare(after) <= 0 {
		t = after.Next()
	}
	c.absorb(t)
	return t
}

// Observe takes note of a Timestamp from another member, so that Now will be
// greater than it. If remote is more than maxSkew ahead of physical, nothing is
// noted and the error, which says how far, wraps ErrFuture: one fast clock must
// not drag all others along. The entry is to be left alone too, and offered
// again later.
func (c *Clock) Observe(remote Timestamp, physical int64) error {
	if ahead := c.ahead(remote, physical); ahead > c.maxSkew {
		return fmt.Errorf("observe %v: %v ahead of the local clock, %v allowed; compare the clocks of both members: %w",
			remote, time.Duration(ahead), time.Duration(c.maxSkew), ErrFuture)
	}
	c.absorb(remote)
	return nil
}

// Last returns the greatest Timestamp that the Clock returned or observed, zero
// if there was none.
func (c *Clock) Last() Timestamp { return c.last }

// ahead is how many nanoseconds t is ahead of physical, 0 if it is not.
func (c *Clock) ahead(t Timestamp, physical int64) int64 {
	if physical = max(physical, minWall); t.Wall > physical {
		return t.Wall - physical // both are positive: it cannot overflow
	}
	return 0
}

func (c *Clock) absorb(t Timestamp) {
	if t.Compare(c.last) > 0 {
		c.last = t
	}
}
