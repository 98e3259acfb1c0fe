package gossip

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/mapgossip/mapgossip/crdt"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files anew")

const sampleSender = "host-a-0123456789abcdef"

// encode returns the frame. All entries must have the sizes of the batch.
func (b batch) encode(sender string) []byte {
	var c columns
	c.reset(sender, &Map{Name: b.Map, KeyBytes: b.KeyBytes, ValueBytes: b.ValueBytes})
	for _, e := range b.Entries {
		c.add(0, e)
	}
	return c.encode(b.Seq, b.Stream, b.Session)
}

func sampleBatch() batch {
	return batch{Seq: 7, Stream: true, Session: 9, Map: "flows", KeyBytes: 2, ValueBytes: 3, Entries: []crdt.Entry{
		{Key: []byte("k1"), Value: []byte("v-1"), Version: crdt.Version{Time: crdt.Timestamp{Wall: 1_700_000_000_000_000_000, Logical: 5}, Member: "host-a"}},
		{Key: []byte("k2"), Deleted: true, Version: crdt.Version{Time: crdt.Timestamp{Wall: 1_700_000_000_000_000_001}, Member: "host-b"}},
		{Key: []byte("k3"), Value: []byte("v-3"), Version: crdt.Version{Member: "host-a"}},
	}}
}

// samples is one frame of each kind.
func samples() map[string][]byte {
	digests := make([]uint64, crdt.Buckets)
	digests[1] = 1 << 63
	progress := crdt.Report{Floor: 4, Marks: []crdt.Mark{{Member: "host-a", Has: 5, Stable: 6, Told: 7, Seen: 8, Out: 9, Fence: 10}, {Member: "host-b"}}}
	return map[string][]byte{
		"ack":        encodeAck(sampleSender, []uint64{1, 300, 1 << 40}),
		"batch":      sampleBatch().encode(sampleSender),
		"goodbye":    encodeGoodbye(sampleSender),
		"state":      state{Nonce: 3, Reply: true, Ready: true, Order: 300, Maps: []mapState{{Map: flows, Filled: true, Since: 1_700_000_000_000_000_000, Room: Room{1000, 7}, Known: true, Digest: crdt.Digest{1, 2, 3}, Progress: progress}, {Map: Map{Name: "x", Type: "hash", KeyBytes: 4, ValueBytes: 65536}, Refused: true, Room: Room{MaxEntries: maxRoom}}}, Lacking: []string{"acl", "nat"}}.encode(sampleSender),
		"syncend":    encodeSyncEnd(sampleSender, 77),
		"syncrefuse": encodeSyncRefuse(sampleSender, 77, "too many sessions"),
		"syncstart":  syncStart{77, flows, digests, progress}.encode(sampleSender),
		"syncwant":   syncWant{77, differing(digests, make([]uint64, crdt.Buckets)), make([]byte, bucketMapBytes), progress}.encode(sampleSender),
		"syncparts":  syncParts{77, 3, differing(digests, make([]uint64, crdt.Buckets)), 2, []byte("sum-1.sum-2.")}.encode(sampleSender),
		"syncprints": syncPrints{77, 3, []byte{1}, framePrints + 2, framePrints, []byte("print1print2")}.encode(sampleSender),
		"synclack":   syncLack{77, 3, []byte{5}, []byte("hash-keywalltime")}.encode(sampleSender),
		"ask":        ask{Nonce: 5, Kind: askHeld, Body: heldBody("flows", []byte("key-0001"))}.encode(sampleSender),
		"answer":     answer{Nonce: 5, Status: answerFailed, Reason: "no such map", Body: sampleBodies()["held"]}.encode(sampleSender),
		"syncchunk":  syncChunk{77, 3}.encode(sampleSender),
		"meta":       meta{Protocol: 1, Node: "host-a", BootID: "0123456789abcdef", Start: 1_700_000_000_000_000_000, Version: "v1.2.3"}.encode(),
	}
}

// Members of different versions run together: these bytes do not change.
func TestGoldenFrames(t *testing.T) {
	for name, frame := range samples() {
		path := filepath.Join("testdata", name+".hex")
		got := hex.Dump(frame)
		if *update {
			if err := os.MkdirAll("testdata", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("frame %s has changed:\n%s\nwant\n%s", name, got, want)
		}
	}
}

// decodeAny runs the decoder of whatever the frame is.
func decodeAny(frame []byte) (k kind, decoded any, err error) {
	k, _, r, err := openFrame(frame)
	if err != nil {
		return k, nil, err
	}
	switch k {
	case kindBatch:
		decoded, err = new(decoder).batch(r)
	case kindAck:
		decoded, err = decodeAck(r)
	case kindState:
		decoded, err = decodeState(r)
	case kindSyncStart:
		decoded, err = decodeSyncStart(r)
	case kindSyncWant:
		decoded, err = decodeSyncWant(r)
	case kindSyncEnd:
		decoded, err = decodeSyncEnd(r)
	case kindSyncRefuse:
		_, decoded, err = decodeSyncRefuse(r)
	case kindGoodbye:
		err = decodeGoodbye(r)
	case kindSyncParts:
		decoded, err = decodeSyncParts(r)
	case kindSyncPrints:
		decoded, err = decodeSyncPrints(r)
	case kindSyncLack:
		decoded, err = decodeSyncLack(r)
	case kindAsk:
		decoded, err = decodeAsk(r)
	case kindAnswer:
		decoded, err = decodeAnswer(r)
	case kindSyncChunk:
		decoded, err = decodeSyncChunk(r)
	}
	return k, decoded, err
}

func TestFramesRoundTrip(t *testing.T) {
	for name, frame := range samples() {
		if name == "meta" {
			m, err := decodeMeta(frame)
			if err != nil || m.name() != "host-a-0123456789abcdef" || len(frame) > 512 {
				t.Errorf("meta: %+v, %v", m, err)
			}
			continue
		}
		if _, _, err := decodeAny(frame); err != nil {
			t.Errorf("frame %s: %v", name, err)
		}
		for cut := range len(frame) {
			if _, _, err := decodeAny(frame[:cut]); !errors.Is(err, errMalformed) {
				t.Fatalf("frame %s cut to %d bytes: %v", name, cut, err)
			}
		}
		for i := range frame {
			broken := bytes.Clone(frame)
			broken[i] ^= 0x40
			if _, _, err := decodeAny(broken); err == nil {
				t.Fatalf("frame %s with byte %d flipped was taken", name, i)
			}
		}
	}
	_, decoded, err := decodeAny(samples()["batch"])
	if want := sampleBatch(); err != nil || !reflect.DeepEqual(decoded, want) {
		t.Errorf("batch: %+v, %v; want %+v", decoded, err, want)
	}
}

func TestUnknownKindsAreSkipped(t *testing.T) {
	frame := newFrame(99, sampleSender, 0, 64).finish()
	if _, _, _, err := openFrame(frame); !errors.Is(err, errUnknownKind) {
		t.Errorf("unknown kind: %v", err)
	}
	frame = encodeGoodbye(sampleSender)
	frame[1] = 2
	binary.BigEndian.PutUint32(frame[7:], frameSum(frame))
	if _, _, _, err := openFrame(frame); !errors.Is(err, errUnknownKind) {
		t.Errorf("unknown version: %v", err)
	}
}

func TestLongestMetaFits(t *testing.T) {
	m := meta{Protocol: protocol, Node: strings.Repeat("n", maxNodeBytes), BootID: newBootID(), Start: -1 << 63, Version: strings.Repeat("v", maxVersionBytes)}
	if n := len(m.encode()); n > 512 {
		t.Errorf("%d bytes, memberlist panics over 512", n)
	}
	if got, err := decodeMeta(m.encode()); err != nil || got != m {
		t.Errorf("%+v, %v", got, err)
	}
}

// Any batch survives, is no larger than was expected, and holds many origins.
func TestBatchRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := batch{Seq: rapid.Uint64().Draw(t, "seq"), Map: "m", KeyBytes: rapid.IntRange(1, 20).Draw(t, "key"), ValueBytes: rapid.IntRange(0, 40).Draw(t, "value")}
		n := rapid.IntRange(1, 600).Draw(t, "n")
		origins := rapid.IntRange(1, 400).Draw(t, "origins")
		for i := range n {
			e := crdt.Entry{
				Key:     bytes.Repeat([]byte{byte(i)}, b.KeyBytes),
				Deleted: rapid.Bool().Draw(t, "deleted"),
				Version: crdt.Version{Time: crdt.Timestamp{Wall: rapid.Int64Min(0).Draw(t, "wall"), Logical: rapid.Uint32().Draw(t, "logical")}, Member: fmt.Sprint("n", i%origins)},
			}
			if !e.Deleted {
				e.Value = bytes.Repeat([]byte{byte(i)}, b.ValueBytes)
			}
			b.Entries = append(b.Entries, e)
		}
		frame := b.encode(sampleSender)
		var cols columns
		cols.reset(sampleSender, &Map{Name: b.Map, KeyBytes: b.KeyBytes, ValueBytes: b.ValueBytes})
		for _, e := range b.Entries {
			cols.add(0, e)
		}
		if len(frame) > cols.size {
			t.Fatalf("frame has %d bytes, at most %d were expected", len(frame), cols.size)
		}
		_, decoded, err := decodeAny(frame)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range decoded.(batch).Entries {
			if e.Compare(b.Entries[i]) != 0 || !bytes.Equal(e.Key, b.Entries[i].Key) || !e.SameContent(b.Entries[i]) {
				t.Fatalf("entry %d is %+v, want %+v", i, e, b.Entries[i])
			}
		}
	})
}

// sealed wraps a body as a frame with a right header, so that fuzzing gets past
// the checksum.
func sealed(k byte, body []byte) []byte {
	w := &frameWriter{}
	w.buf.Write([]byte{frameMagic, frameVersion, k, 0, 0, 0, 0, 0, 0, 0, 0})
	w.buf.Write(body)
	return w.finish()
}

func FuzzFrame(f *testing.F) {
	for name, frame := range samples() {
		if name != "meta" {
			f.Add(frame[2], frame[frameHeaderBytes:])
		}
	}
	f.Fuzz(func(t *testing.T, k byte, body []byte) {
		frame := sealed(k, body)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, decoded, err := decodeAny(frame)
		runtime.ReadMemStats(&after)
		// The decoder itself takes a few KiB; a batch some 90 bytes an entry of 14.
		if spent := after.TotalAlloc - before.TotalAlloc; spent > 64<<10+16*uint64(len(frame)) {
			t.Fatalf("%d bytes of input cost %d bytes of memory", len(frame), spent)
		}
		if err != nil && !errors.Is(err, errMalformed) && !errors.Is(err, errUnknownKind) {
			t.Fatalf("error of another kind: %v", err)
		}
		if b, ok := decoded.(batch); ok && err == nil {
			again := b.encode(sampleSender)
			if _, b2, err := decodeAny(again); err != nil || len(b2.(batch).Entries) != len(b.Entries) {
				t.Fatalf("what was decoded does not survive: %v", err)
			}
		}
		_, _, _ = decodeAny(body)
	})
}

func FuzzMeta(f *testing.F) {
	f.Add(samples()["meta"])
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMeta(b)
		if err == nil && (m.Node == "" || len(m.encode()) > 512) {
			t.Fatalf("taken: %+v", m)
		}
	})
}
