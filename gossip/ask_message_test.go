package gossip

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
)

func sampleHeld() Held {
	return Held{Known: true, Pending: true, Kernel: KernelValue{Read: true, Present: true, Value: []byte("fedcba9876543210")}, Entry: crdt.Entry{
		Key: []byte("key-0001"), Value: []byte("0123456789abcdef"), Version: crdt.Version{Time: crdt.Timestamp{Wall: 1_700_000_000_000_000_000, Logical: 2}, Member: "host-b"}}}
}

func sampleView() View {
	return View{Maps: []MapView{{Name: "flows", Digest: crdt.Digest{1, 2, 3}, Entries: 300, Tombstones: 2, Pending: 1}},
		Members: []MemberView{{"host-b", StateAlive, true, time.Unix(0, 1_700_000_000_000_000_000).UTC()}, {Node: "host-c", State: StateDead}}}
}

func sampleKeys() KeyState {
	return KeyState{Keys: []string{"0011223344556677", "8899aabbccddeeff"}, Kept: true, Problem: "disk full"}
}

// sampleBodies is one answer of each kind; the map of the bucket has keys of 2 and
// values of 3 bytes, and the bucket is that of k1.
func sampleBodies() map[string][]byte {
	b := sampleBatch()
	b.Entries = b.Entries[:1]
	w := newBody(6, 512)
	w.int(9)
	w.uint(70000)
	w.flag(true)
	w.blob([]byte{1})
	w.blob([]byte{0})
	w.blob(b.encode(sampleSender))
	digests := newBody(1, 8*crdt.Buckets)
	digests.blob(make([]byte, 8*crdt.Buckets))
	return map[string][]byte{"held": sampleHeld().encode(), "view": sampleView().encode(), "keys": sampleKeys().encode(), "bucket": w.body(), "buckets": digests.body()}
}

var small = Map{Name: "flows", Type: "hash", KeyBytes: 2, ValueBytes: 3}

// decodeBody decodes an answer of a kind.
func decodeBody(name string, body []byte) (any, error) {
	switch name {
	case "held":
		return decodeHeld(body, []byte("key-0001"))
	case "view":
		return decodeView(body)
	case "keys":
		return decodeKeys(body)
	case "bucket":
		return decodeBucket(body, &small, crdt.BucketOf([]byte("k1")))
	}
	return decodeBuckets(body)
}

// Members of different versions ask each other: these bytes do not change.
func TestAnswersRoundTrip(t *testing.T) {
	want := map[string]any{"held": sampleHeld(), "view": sampleView(), "keys": sampleKeys(), "buckets": make([]uint64, crdt.Buckets)}
	for name, body := range sampleBodies() {
		path := filepath.Join("testdata", "answer-"+name+".hex")
		if *update {
			if err := os.WriteFile(path, []byte(hex.Dump(body)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if golden, err := os.ReadFile(path); err != nil || string(golden) != hex.Dump(body) {
			t.Errorf("answer %s has changed (%v):\n%s", name, err, hex.Dump(body))
		}
		got, err := decodeBody(name, body)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if w := want[name]; w != nil && !reflect.DeepEqual(got, w) {
			t.Errorf("%s: %+v, want %+v", name, got, w)
		}
		for cut := 0; cut < len(body); cut += 1 + len(body)/500 {
			if _, err := decodeBody(name, body[:cut]); !errors.Is(err, errMalformed) {
				t.Fatalf("%s cut to %d bytes: %v", name, cut, err)
			}
		}
	}
	got, err := decodeBody("bucket", sampleBodies()["bucket"])
	b, _ := got.(BucketChunk)
	if err != nil || len(b.Entries) != 1 || b.Floor != 9 || b.Next != 70000 || !b.More {
		t.Fatalf("bucket: %+v, %v", got, err)
	}
	if pending, evicted := b.Lacks(0); !pending || evicted {
		t.Errorf("pending %v, evicted %v", pending, evicted)
	}
	if _, err := decodeBucket(sampleBodies()["bucket"], &flows, crdt.BucketOf([]byte("k1"))); !errors.Is(err, errMalformed) {
		t.Errorf("entries of another shape: %v", err)
	}
	if _, err := decodeBucket(sampleBodies()["bucket"], &small, 0); !errors.Is(err, errMalformed) {
		t.Errorf("entries of another bucket: %v", err)
	}
}

func TestHostileTextIsMadeReadable(t *testing.T) {
	_, decoded, err := decodeAny(answer{Status: answerFailed, Reason: "a\x1b[2J\nb\xff"}.encode(sampleSender))
	if a, _ := decoded.(answer); err != nil || a.err().Error() != "a?[2J?b\uFFFD" {
		t.Errorf("%v, %v", decoded, err)
	}
	v := sampleView()
	v.Members[0].Node = "host\x1b"
	if _, err := decodeView(v.encode()); !errors.Is(err, errMalformed) {
		t.Errorf("a member with a name that clears screens: %v", err)
	}
}

// FuzzAnswer decodes anything as an answer of each kind.
func FuzzAnswer(f *testing.F) {
	for name, body := range sampleBodies() {
		f.Add(name, body)
	}
	f.Fuzz(func(t *testing.T, name string, body []byte) {
		body = bytes.Clone(body)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := decodeBody(name, body)
		runtime.ReadMemStats(&after)
		if spent := after.TotalAlloc - before.TotalAlloc; spent > 128<<10+64*uint64(len(body)) {
			t.Fatalf("%d bytes of input cost %d bytes of memory", len(body), spent)
		}
		if err != nil && !errors.Is(err, errMalformed) && !errors.Is(err, errUnknownKind) {
			t.Fatalf("error of another kind: %v", err)
		}
	})
}
