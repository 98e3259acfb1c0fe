package crdt_test

import (
	"bytes"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/mapgossip/mapgossip/crdt"
	"pgregory.net/rapid"
)

func sameEntry(e, f crdt.Entry) bool {
	return bytes.Equal(e.Key, f.Key) && e.Compare(f) == 0
}

func TestEntryRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := crdt.Entry{
			Key: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "key"),
			Version: crdt.Version{
				Time:   timestamps().Draw(t, "time"),
				Member: string(rapid.SliceOfN(rapid.Byte(), 1, 255).Draw(t, "member")),
			},
			Deleted: rapid.Bool().Draw(t, "deleted"),
		}
		if !e.Deleted {
			e.Value = rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "value")
		}
		front := rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "front")
		rest := rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "rest")

		encoded := e.AppendBinary(bytes.Clone(front))
		if !bytes.HasPrefix(encoded, front) {
			t.Fatal("what was in the buffer is gone")
		}
		got, left, err := crdt.ParseEntry(append(encoded[len(front):], rest...))
		if err != nil || !sameEntry(got, e) || !bytes.Equal(left, rest) {
			t.Fatalf("%+v came back as %+v, %x left of %x, %v", e, got, left, rest, err)
		}
	})
}

// A digest needs it: no two entries share an encoding, nor is one the start of another.
func TestEntryEncodingIsInjective(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := entries().Draw(t, "a"), entries().Draw(t, "b")
		x, y := a.AppendBinary(nil), b.AppendBinary(nil)
		if sameEntry(a, b) != bytes.Equal(x, y) || !bytes.Equal(x, y) && bytes.HasPrefix(x, y) {
			t.Fatalf("%+v: %x\n%+v: %x", a, x, b, y)
		}
	})
}

// sample encodes to 12 + 1 + (1+1) + (1+2) + (1+3) bytes.
var sample = crdt.Entry{
	Key:     []byte{1, 2},
	Value:   []byte{3, 4, 5},
	Version: crdt.Version{Time: crdt.Timestamp{Wall: 7, Logical: 8}, Member: "m"},
}

func with(e crdt.Entry, change func(*crdt.Entry)) crdt.Entry {
	change(&e)
	return e
}

func TestParseEntryRefuses(t *testing.T) {
	encoded := sample.AppendBinary(nil)
	cases := map[string][]byte{
		"unknown flag":       slices.Concat(encoded[:12], []byte{2}, encoded[13:]),
		"long zero length":   slices.Concat(encoded[:13], []byte{0x81, 0}, encoded[14:]),
		"endless length":     slices.Concat(encoded[:13], bytes.Repeat([]byte{0xff}, 20)),
		"length of 2^64-1":   slices.Concat(encoded[:13], bytes.Repeat([]byte{0xff}, 9), []byte{1}, encoded[14:]),
		"length of 2^63":     slices.Concat(encoded[:13], bytes.Repeat([]byte{0x80}, 9), []byte{1}, encoded[14:]),
		"no member":          with(sample, func(e *crdt.Entry) { e.Version.Member = "" }).AppendBinary(nil),
		"long member":        with(sample, func(e *crdt.Entry) { e.Version.Member = strings.Repeat("m", 256) }).AppendBinary(nil),
		"tombstone + value":  with(sample, func(e *crdt.Entry) { e.Deleted = true }).AppendBinary(nil),
		"before 1970":        with(sample, func(e *crdt.Entry) { e.Version.Time.Wall = -1 }).AppendBinary(nil),
		"key length + 4 GiB": slices.Concat(encoded[:15], []byte{0x82, 0x80, 0x80, 0x80, 0x10}, encoded[16:]),
	}
	for i := range encoded {
		cases["cut short"+strings.Repeat(".", i)] = encoded[:i]
	}
	for name, in := range cases {
		e, rest, err := crdt.ParseEntry(in)
		if !errors.Is(err, crdt.ErrMalformed) {
			t.Errorf("%s: got %+v, %x, %v", name, e, rest, err)
		}
		if rest != nil {
			t.Errorf("%s: refused, but the rest is %x", name, rest)
		}
	}
}

// What the parsed slices may touch ends where they end.
func TestParseEntryGivesNoRoom(t *testing.T) {
	encoded := append(sample.AppendBinary(nil), 99)
	e, rest, err := crdt.ParseEntry(encoded)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(e.Key, 0xee)
	_ = append(e.Value, 0xee)
	if again := sample.AppendBinary(nil); !bytes.Equal(encoded, append(again, 99)) || rest[0] != 99 {
		t.Errorf("appending to a parsed slice wrote over %x", encoded)
	}
}

// A few bytes that announce much must not make the decoder allocate much.
func TestParseEntryAllocationIsBounded(t *testing.T) {
	head := sample.AppendBinary(nil)[:15]
	huge := slices.Concat(head, []byte{0xff, 0xff, 0xff, 0xff, 0x07}, make([]byte, 64))
	valid := sample.AppendBinary(nil)
	for name, in := range map[string][]byte{"key of 2 GiB": huge, "valid": valid} {
		const rounds = 1000
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range rounds {
			_, _, _ = crdt.ParseEntry(in)
		}
		runtime.ReadMemStats(&after)
		if each := (after.TotalAlloc - before.TotalAlloc) / rounds; each > 1024 {
			t.Errorf("%s: %d bytes allocated for an input of %d", name, each, len(in))
		}
	}
}

func FuzzParseEntry(f *testing.F) {
	f.Add([]byte{})
	f.Add(sample.AppendBinary(nil))
	f.Add(append(with(sample, func(e *crdt.Entry) { e.Deleted, e.Value = true, nil }).AppendBinary(nil), 1, 2, 3))
	f.Add(with(sample, func(e *crdt.Entry) { e.Key = make([]byte, 200) }).AppendBinary(nil))
	f.Add(with(sample, func(e *crdt.Entry) { e.Version.Member = strings.Repeat("m", 256) }).AppendBinary(nil))
	f.Add(with(sample, func(e *crdt.Entry) { e.Version.Time.Wall = -1 }).AppendBinary(nil))
	f.Add(slices.Concat(sample.AppendBinary(nil)[:13], []byte{0x81, 0}, sample.AppendBinary(nil)[14:]))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, rest, err := crdt.ParseEntry(b)
		if err != nil {
			if !errors.Is(err, crdt.ErrMalformed) {
				t.Fatalf("error does not wrap ErrMalformed: %v", err)
			}
			return
		}
		consumed := b[:len(b)-len(rest)]
		if again := e.AppendBinary(nil); !bytes.Equal(again, consumed) {
			t.Fatalf("%x parses to %+v which encodes to %x", consumed, e, again)
		}
		// Whatever parses is mergeable into a store of its shape.
		if len(e.Key)+len(e.Value) < 1<<16 {
			size := len(e.Value)
			if _, changed, err := crdt.NewStore(len(e.Key), size).Merge(e); err != nil || !changed {
				t.Fatalf("merge %+v: %v, %v", e, changed, err)
			}
		}
		// Its parts together are no larger than what they came from.
		if cap(e.Key)+cap(e.Value)+len(e.Version.Member) > len(consumed) {
			t.Fatalf("%d bytes gave more than that", len(consumed))
		}
	})
}
