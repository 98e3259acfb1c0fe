package gossip

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/gossip/simnet"
)

var wide = Map{Name: "wide", Type: "hash", KeyBytes: 16, ValueBytes: 64}

// wideBytes is what an entry of wide is: key, value and timestamp.
const wideBytes = 16 + 64 + 12

// write puts entries from..to-1 of the map wide, as of a time, without
// spreading them.
func (r *replica) write(from, to int, wall int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var key [16]byte
	var value [64]byte
	for i := from; i < to; i++ {
		binary.BigEndian.PutUint64(key[:], uint64(i)*0x9e3779b97f4a7c15)
		binary.BigEndian.PutUint64(value[:], uint64(wall))
		_, _, err := r.stores["wide"].Merge(crdt.Entry{Key: key[:], Value: value[:],
			Version: crdt.Version{Time: crdt.Timestamp{Wall: wall}, Member: "node-1"}})
		if err != nil {
			panic(err)
		}
	}
}

// quiet lets members sync only when told to, or when they meet.
func quiet(addrs ...string) func(*Config) {
	return func(c *Config) { c.Maps, c.SyncInterval, c.Seeds = []Map{wide}, 24*time.Hour, addrs }
}

// sent is the bytes that members handed to the network.
func sent(members ...*member) (bytes int) {
	for _, m := range members {
		s := m.Stats()
		bytes += int(s.StreamBytesOut + s.PacketBytesOut)
	}
	return bytes
}

func TestSyncCostsWhatDiffers(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a, err := w.open("a", addrA, quiet())
		if err != nil {
			t.Fatal(err)
		}
		b, err := w.open("b", addrB, quiet(addrA))
		if err != nil {
			t.Fatal(err)
		}
		a.write(0, million, 1)
		b.write(0, million, 1)
		a.run()
		b.run()
		within(t, 10*time.Second, "ready", ready(a, b))
		<-time.After(time.Minute)
		wall := int64(1)
		for _, c := range []struct {
			what   string
			change func()
			limit  int
		}{
			{"nothing", func() {}, 16 << 10},
			{"100, newer on the asker", func() { a.write(500, 600, wall) }, 128 << 10},
			{"100, newer on the asked", func() { b.write(700, 800, wall) }, 128 << 10},
			{"100, on both sides", func() { a.write(900, 950, wall); b.write(950, 1000, wall) }, 128 << 10},
			{"10,000, newer on the asked", func() { b.write(1000, 11_000, wall) }, 3 * 10_000 * wideBytes},
			{"10,000, on both sides", func() { a.write(1000, 6000, wall); b.write(6000, 11_000, wall) }, 3 * 10_000 * wideBytes},
			{"10,000, newer on the asker", func() { a.write(1000, 11_000, wall) }, 3 * 10_000 * wideBytes},
			{"10,000 keys that the asked lacks", func() { a.write(million, million+10_000, wall) }, 3 * 10_000 * wideBytes},
		} {
			wall++
			c.change()
			before, shipped := sent(a, b), a.Stats().SyncEntriesOut+b.Stats().SyncEntriesOut
			begin := time.Now()
			if err := a.Sync(context.Background()); err != nil {
				t.Fatalf("%s: %v", c.what, err)
			}
			if !same("wide", a, b)() {
				t.Fatalf("%s: not equal", c.what)
			}
			cost := sent(a, b) - before
			t.Logf("%s: %d bytes both ways, %d entries, %v", c.what, cost, a.Stats().SyncEntriesOut+b.Stats().SyncEntriesOut-shipped, time.Since(begin))
			if cost > c.limit {
				t.Errorf("%s: %d bytes, want at most %d", c.what, cost, c.limit)
			}
		}
	})
}

func TestEmptyMemberCostsTheMap(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		const n = million / 4
		for i := range 4 {
			w.start(fmt.Sprint("a", i), fmt.Sprintf("10.0.1.%d:7946", i+1), quiet("10.0.1.1:7946"))
		}
		within(t, 5*time.Second, "four members", w.sees(4))
		within(t, 5*time.Second, "ready", ready(w.members...))
		for _, m := range w.members {
			m.write(0, n, 1)
		}
		before := sent(w.members...)
		b := w.start("b", addrB, quiet("10.0.1.1:7946"))
		t.Log("ready in", within(t, time.Minute, "ready", ready(b)))
		if !same("wide", w.members...)() {
			t.Error("ready and not equal")
		}
		<-time.After(time.Minute)
		cost, size := sent(w.members...)-before, n*wideBytes
		t.Logf("%d bytes both ways, %.3f of the map", cost, float64(cost)/float64(size))
		if cost > size*13/10 {
			t.Errorf("%d bytes, the map has %d", cost, size)
		}
	})
}

// A sync that is cut half-way goes on where it was.
func TestCutSyncGoesOn(t *testing.T) {
	const n = million / 2
	virtual(t, simnet.Link{Delay: 20 * time.Millisecond}, func(t *testing.T, w *world) {
		a := w.start("a", addrA, quiet())
		within(t, time.Second, "ready", ready(a))
		a.write(0, n, 1)
		b := w.start("b", addrB, quiet(addrA))
		merged := func() int {
			b.replica.mu.Lock()
			defer b.replica.mu.Unlock()
			return b.merged
		}
		within(t, time.Minute, "half", func() bool { return merged() > n/2 })
		w.net.Partition([]string{addrA}, []string{addrB})
		<-time.After(2 * time.Minute)
		half := merged()
		if half > n*3/4 {
			t.Fatalf("cut after %d of %d: the test shows nothing", half, n)
		}
		w.net.Heal()
		t.Log("equal in", within(t, 2*time.Minute, "equal", same("wide", a, b)))
		shipped := int(a.Stats().SyncEntriesOut + b.Stats().SyncEntriesOut)
		t.Logf("%d merged when it was cut, %d shipped for %d entries", half, shipped, n)
		if shipped > n*11/10 {
			t.Errorf("%d entries shipped for %d", shipped, n)
		}
	})
}

// Entries that are on their way as rumors make digests differ at nearly every
// comparison; few of them are sent a second time by it.
func TestSyncLeavesRumorsAlone(t *testing.T) {
	virtual(t, simnet.Link{Delay: 5 * time.Millisecond}, func(t *testing.T, w *world) {
		often := func(addrs ...string) func(*Config) {
			return func(c *Config) { c.SyncInterval, c.Seeds = time.Second, addrs }
		}
		a, b := w.start("a", addrA, often()), w.start("b", addrB, often(addrA))
		within(t, 3*time.Second, "ready", ready(a, b))
		const writes = 10_000
		for i := range writes {
			w.members[i%2].put("flows", key(i), value(i))
			<-time.After(2 * time.Millisecond)
		}
		within(t, time.Second, "equal", same("flows", a, b))
		again := a.Stats().SyncEntriesOut + b.Stats().SyncEntriesOut
		t.Logf("%d of %d entries were sent again in %d exchanges", again, writes, a.Stats().SyncRounds+b.Stats().SyncRounds)
		if again > writes/20 {
			t.Errorf("%d of %d entries were sent again", again, writes)
		}
	})
}

func TestNarrowFramesThatContradictThemselves(t *testing.T) {
	one := make([]byte, bucketMapBytes)
	one[9] = 1
	all := bytes.Repeat([]byte{0xff}, bucketMapBytes)
	for name, frame := range map[string][]byte{
		"no bucket":          syncParts{1, 0, make([]byte, bucketMapBytes), 1, nil}.encode(sampleSender),
		"too many buckets":   syncParts{1, 0, all, 1, make([]byte, crdt.Buckets*printBytes)}.encode(sampleSender),
		"short bucket map":   syncParts{1, 0, one[:100], 1, make([]byte, printBytes)}.encode(sampleSender),
		"no part":            syncParts{1, 0, one, 0, nil}.encode(sampleSender),
		"three parts":        syncParts{1, 0, one, 3, make([]byte, 3*printBytes)}.encode(sampleSender),
		"too few sums":       syncParts{1, 0, one, 2, make([]byte, printBytes)}.encode(sampleSender),
		"half a fingerprint": syncPrints{1, 0, one[:1], 1, 0, make([]byte, 5)}.encode(sampleSender),
		"too few prints":     syncPrints{1, 0, one[:1], 3, 0, make([]byte, 2*printBytes)}.encode(sampleSender),
		"prints at nowhere":  syncPrints{1, 0, one[:1], 3, 1, make([]byte, 2*printBytes)}.encode(sampleSender),
		"prints past total":  syncPrints{1, 0, one[:1], 1, framePrints, make([]byte, printBytes)}.encode(sampleSender),
		"too many prints":    syncPrints{1, 0, one[:1], maxPrints + 1, 0, make([]byte, framePrints*printBytes)}.encode(sampleSender),
		"half a hint":        syncLack{1, 0, one[:1], make([]byte, 11)}.encode(sampleSender),
		"want without empty": syncWant{1, one, nil, crdt.Report{}}.encode(sampleSender),
	} {
		if _, _, err := decodeAny(frame); !errors.Is(err, errMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
