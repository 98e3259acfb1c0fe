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
}

// NewClock returns a Clock that refuses timestamps more than maxSkew ahead of
// physical time. A negative maxSkew counts as 0. A member that had a Clock
// before must Observe the greatest Timestamp it ever gave out, if it knows it
// (HAZARD in the package documentation).
func NewClock(maxSkew time.Duration) *Clock {
	return &Clock{maxSkew: max(0, int64(maxSkew))}
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
// Last, but Now will be greater than it.
//
// Two changes of one key captured in the same nanosecond get one Timestamp
// unless the second is stamped after the first. captured below 1 counts as 1:
// the zero Timestamp is never returned.
func (c *Clock) Stamp(captured int64, after Timestamp) Timestamp {
	t := Timestamp{Wall: max(captured, minWall)}
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
	// Both are positive where they are subtracted, so it cannot overflow.
	if physical = max(physical, minWall); remote.Wall > physical && remote.Wall-physical > c.maxSkew {
		return fmt.Errorf("observe %v: %v ahead of the local clock, %v allowed; compare the clocks of both members: %w",
			remote, time.Duration(remote.Wall-physical), time.Duration(c.maxSkew), ErrFuture)
	}
	c.absorb(remote)
	return nil
}

// Last returns the greatest Timestamp that the Clock returned or observed, zero
// if there was none.
func (c *Clock) Last() Timestamp { return c.last }

func (c *Clock) absorb(t Timestamp) {
	if t.Compare(c.last) > 0 {
		c.last = t
	}
}
