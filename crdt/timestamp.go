package crdt

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"time"
)

// TimestampBytes is the length of an encoded Timestamp.
const TimestampBytes = 12

// Timestamp is a reading of a hybrid logical clock: physical time, and a counter
// for what happened within the same nanosecond or while physical time stood
// still. The zero Timestamp is older than every other one of this package; it
// stamps an entry that was found in a map at first start, of which nobody knows
// when it was written.
type Timestamp struct {
	Wall    int64  // nanoseconds since the Unix epoch, never negative in a valid Timestamp
	Logical uint32 // order within Wall
}

// Found returns the Timestamp of what a map held when its first agent started,
// at that many nanoseconds since the Unix epoch. Of two, the one of the earlier
// start is newer: who comes later loses. Seconds count, up to the year 2106.
func Found(start int64) Timestamp {
	seconds := min(max(start/1e9, 0), math.MaxUint32-1)
	return Timestamp{Logical: math.MaxUint32 - uint32(seconds)}
}

// wall is when t was given: Wall, or the start that Found was told of.
func (t Timestamp) wall() int64 {
	if t.Wall == 0 {
		return int64(math.MaxUint32-t.Logical) * 1e9
	}
	return t.Wall
}

// Compare returns -1 if t is older than u, 1 if it is newer, 0 if they are equal.
func (t Timestamp) Compare(u Timestamp) int {
	if c := cmp.Compare(t.Wall, u.Wall); c != 0 {
		return c
	}
	return cmp.Compare(t.Logical, u.Logical)
}

// Next returns the smallest Timestamp greater than t: Logical plus one, carried
// into Wall. The greatest one, in the year 2262, has no next and returns itself;
// it cannot pass Clock.Observe before that year.
func (t Timestamp) Next() Timestamp {
	switch {
	case t.Logical < math.MaxUint32:
		t.Logical++
	case t.Wall < math.MaxInt64:
		t.Wall++
		t.Logical = 0
	}
	return t
}

// String returns t for people: RFC 3339 in UTC with all nine digits of the
// nanoseconds, then "/" and Logical if that is not 0; "oldest" without a Wall.
// Strings do not sort like timestamps; AppendBinary does.
func (t Timestamp) String() string {
	if t.Wall == 0 {
		return "oldest"
	}
	s := time.Unix(0, t.Wall).UTC().Format("2006-01-02T15:04:05.000000000Z")
	if t.Logical != 0 {
		s += "/" + strconv.FormatUint(uint64(t.Logical), 10)
	}
	return s
}

// AppendBinary appends the TimestampBytes of t to b: Wall then Logical, big
// endian, so that encodings of valid timestamps compare as bytes like the
// timestamps do. A negative Wall gives bytes that ParseTimestamp refuses.
func (t Timestamp) AppendBinary(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(t.Wall))
	return binary.BigEndian.AppendUint32(b, t.Logical)
}

// ParseTimestamp decodes what AppendBinary made. It wants exactly
// TimestampBytes and a Wall that is not negative; else the error wraps
// ErrMalformed.
func ParseTimestamp(b []byte) (Timestamp, error) {
	if len(b) != TimestampBytes {
		return Timestamp{}, fmt.Errorf("parse timestamp: %d bytes instead of %d: %w", len(b), TimestampBytes, ErrMalformed)
	}
	wall := binary.BigEndian.Uint64(b)
	if wall > math.MaxInt64 {
		return Timestamp{}, fmt.Errorf("parse timestamp: before 1970 or after 2262: %w", ErrMalformed)
	}
	return Timestamp{Wall: int64(wall), Logical: binary.BigEndian.Uint32(b[8:])}, nil
}
