package crdt_test

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"github.com/mapgossip/mapgossip/crdt"
	"pgregory.net/rapid"
)

// timestamps draws from the corners of the range, with collisions.
func timestamps() *rapid.Generator[crdt.Timestamp] {
	return rapid.Custom(func(t *rapid.T) crdt.Timestamp {
		return crdt.Timestamp{
			Wall: rapid.OneOf(
				rapid.SampledFrom([]int64{0, 1, 2, 255, 256, math.MaxInt64 - 1, math.MaxInt64}),
				rapid.Int64Range(0, math.MaxInt64),
			).Draw(t, "wall"),
			Logical: rapid.OneOf(
				rapid.SampledFrom([]uint32{0, 1, 255, 256, math.MaxUint32 - 1, math.MaxUint32}),
				rapid.Uint32(),
			).Draw(t, "logical"),
		}
	})
}

func TestTimestampOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := timestamps().Draw(t, "a"), timestamps().Draw(t, "b")
		c := a.Compare(b)
		if b.Compare(a) != -c || (c == 0) != (a == b) {
			t.Fatalf("compare %+v with %+v: %d and back %d", a, b, c, b.Compare(a))
		}
		if got := bytes.Compare(a.AppendBinary(nil), b.AppendBinary(nil)); got != c {
			t.Fatalf("encodings of %+v and %+v compare %d, timestamps %d", a, b, got, c)
		}
	})
}

func TestTimestampNextIsSmallestGreater(t *testing.T) {
	greatest := crdt.Timestamp{Wall: math.MaxInt64, Logical: math.MaxUint32}
	rapid.Check(t, func(t *rapid.T) {
		a := timestamps().Filter(func(a crdt.Timestamp) bool { return a != greatest }).Draw(t, "a")
		next := a.Next()
		if next.Compare(a) <= 0 {
			t.Fatalf("next of %+v is %+v", a, next)
		}
		if b := timestamps().Draw(t, "b"); b.Compare(a) > 0 && b.Compare(next) < 0 {
			t.Fatalf("%+v lies between %+v and its next %+v", b, a, next)
		}
		// Nothing fits in between by arithmetic either.
		if next != (crdt.Timestamp{Wall: a.Wall, Logical: a.Logical + 1}) && next != (crdt.Timestamp{Wall: a.Wall + 1}) {
			t.Fatalf("next of %+v is %+v", a, next)
		}
	})
	if got := greatest.Next(); got != greatest {
		t.Errorf("next of the greatest: %+v", got)
	}
}

func TestTimestampString(t *testing.T) {
	for _, c := range []struct {
		in   crdt.Timestamp
		want string
	}{
		{crdt.Timestamp{}, "oldest"},
		{crdt.Found(1_700_000_000e9), "oldest"},
		{crdt.Timestamp{Wall: 1_700_000_000_000_000_010}, "2023-11-14T22:13:20.000000010Z"},
		{crdt.Timestamp{Wall: 1_700_000_000_123_456_789, Logical: math.MaxUint32}, "2023-11-14T22:13:20.123456789Z/4294967295"},
		{crdt.Timestamp{Wall: math.MaxInt64}, "2262-04-11T23:47:16.854775807Z"},
	} {
		if got := c.in.String(); got != c.want {
			t.Errorf("String of %#v: %s, want %s", c.in, got, c.want)
		}
	}
}

func TestParseTimestampRefuses(t *testing.T) {
	valid := crdt.Timestamp{Wall: 5, Logical: 6}.AppendBinary(nil)
	for name, in := range map[string][]byte{
		"nothing":       nil,
		"too short":     valid[:11],
		"too long":      append(bytes.Clone(valid), 0),
		"negative wall": crdt.Timestamp{Wall: -1}.AppendBinary(nil),
		"lowest wall":   crdt.Timestamp{Wall: math.MinInt64}.AppendBinary(nil),
	} {
		if got, err := crdt.ParseTimestamp(in); !errors.Is(err, crdt.ErrMalformed) || got != (crdt.Timestamp{}) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func FuzzParseTimestamp(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 12))
	f.Add(bytes.Repeat([]byte{0xff}, 12))
	f.Add(crdt.Timestamp{Wall: 1_700_000_000_000_000_010, Logical: 7}.AppendBinary(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		ts, err := crdt.ParseTimestamp(b)
		if err != nil {
			if !errors.Is(err, crdt.ErrMalformed) {
				t.Fatalf("error does not wrap ErrMalformed: %v", err)
			}
			return
		}
		if again := ts.AppendBinary(nil); !bytes.Equal(again, b) {
			t.Fatalf("%x parses to %+v which encodes to %x", b, ts, again)
		}
	})
}
