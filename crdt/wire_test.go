package crdt_test

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/mapgossip/mapgossip/crdt"
)

// TestWire holds encodings, buckets and digests to testdata/wire.txt. A
// difference means that members of this build and of earlier ones never agree:
// it is a new protocol version, not something to update.
func TestWire(t *testing.T) {
	entry := func(key, value string, wall int64, logical uint32, member string) crdt.Entry {
		return crdt.Entry{Key: []byte(key), Value: []byte(value), Deleted: value == "",
			Version: crdt.Version{Time: crdt.Timestamp{Wall: wall, Logical: logical}, Member: member}}
	}
	var out strings.Builder
	fmt.Fprintln(&out, "# entry, in hexadecimal => bucket of its key, digest of a store that holds only it")
	var all []crdt.Entry
	for _, e := range []crdt.Entry{
		entry("\x00\x00\x00\x00", "\x00\x00\x00\x00\x00\x00\x00\x00", 0, 0, "a"),
		entry("\x00\x00\x00\x01", "12345678", 1_700_000_000_000_000_010, 0, "host-1"),
		entry("\x00\x00\x00\x02", "12345678", 1_700_000_000_000_000_010, 1, "host-2"),
		entry("\x00\x00\x00\x03", "", 1_700_000_000_000_000_010, 0, "host-1"),
		entry("\xff\xff\xff\xff", "\xff\xff\xff\xff\xff\xff\xff\xff", math.MaxInt64, math.MaxUint32, strings.Repeat("\xff", 255)),
		entry("\x00\x00\x00\x01", strings.Repeat("v", 200), 5, 6, "host-1"),
		entry(strings.Repeat("k", 512), "\x01", 5, 6, "host-1"),
	} {
		s := crdt.NewStore(len(e.Key), len(e.Value))
		mustMerge(t, s, e)
		fmt.Fprintf(&out, "%x => %d %v\n", e.AppendBinary(nil), crdt.BucketOf(e.Key), s.Digest())
		if len(e.Key) == 4 && (e.Deleted || len(e.Value) == 8) {
			all = append(all, e)
		}
	}
	s := crdt.NewStore(4, 8)
	for _, e := range all {
		mustMerge(t, s, e)
	}
	fmt.Fprintf(&out, "# the first five in one store\n%v\n", s.Digest())

	const file = "testdata/wire.txt"
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, []byte(out.String())) {
		t.Errorf("encoding, bucket or digest changed; %s has\n%s\nnow it would be\n%s", file, want, out.String())
	}
}
