package gossip

import (
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
)

// benchEntries is what fills a frame of 256 KiB.
func benchEntries() []crdt.Entry {
	entries := make([]crdt.Entry, 5000)
	for i := range entries {
		entries[i] = crdt.Entry{Key: key(i), Value: value(i), Version: crdt.Version{
			Time: crdt.Timestamp{Wall: int64(i)}, Member: "host-a"}}
	}
	return entries
}

func BenchmarkBatchEncode(b *testing.B) {
	bt := batch{Seq: 1, Map: "flows", KeyBytes: 8, ValueBytes: 16, Entries: benchEntries()}
	n := 0
	for b.Loop() {
		n += len(bt.encode(sampleSender))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(bt.Entries)), "ns/entry")
	b.ReportMetric(float64(n)/float64(b.N*len(bt.Entries)), "bytes/entry")
}

func BenchmarkBatchDecode(b *testing.B) {
	bt := batch{Seq: 1, Map: "flows", KeyBytes: 8, ValueBytes: 16, Entries: benchEntries()}
	frame := bt.encode(sampleSender)
	for b.Loop() {
		if _, _, err := decodeAny(frame); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(bt.Entries)), "ns/entry")
}

// BenchmarkRumor is one change from Spread to Merge on the other member, both
// idle before, over the loopback interface.
func BenchmarkRumor(b *testing.B) {
	one := real(b, "a", nil)
	two := real(b, "b", func(c *Config) { c.Seeds = []string{one.addr} })
	for !ready(one, two)() {
		<-time.After(time.Millisecond)
	}
	n := two.len("flows")
	for b.Loop() {
		b.StopTimer()
		<-time.After(2 * coalesce) // idle, as the benchmark says
		b.StartTimer()
		one.put("flows", key(1<<41+n), value(n))
		for two.len("flows") == n {
			<-time.After(20 * time.Microsecond)
		}
		n++
	}
}
