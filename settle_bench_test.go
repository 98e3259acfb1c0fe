package mapgossip

import (
	"fmt"
	"hash/maphash"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// BenchmarkSettle settles keys that a record without a value named, as fentry
// capture does for each write; the yardstick is records with values.
func BenchmarkSettle(b *testing.B) {
	for _, keys := range []int{1000, 100000} {
		for _, kind := range []mapwatch.Kind{mapwatch.Updated, mapwatch.Touched} {
			b.Run(fmt.Sprintf("%d keys/%s", keys, map[mapwatch.Kind]string{mapwatch.Updated: "records", mapwatch.Touched: "looks"}[kind]), func(b *testing.B) {
				for b.Loop() {
					m := newMirror(mapwatch.Shape{KeyBytes: 8, ValueBytes: 8}, MapOptions{}, "self", crdt.NewClock(time.Hour), maphash.MakeSeed())
					now := int64(time.Hour)
					for i := range keys {
						now++
						m.record(mapwatch.Change{Kind: kind, Key: number(i), Value: number(i), Captured: now}, now, now)
					}
					for len(m.unsettled) > 0 {
						now += settleDelay
						for _, key := range m.dueLooks(lookLimit, now) {
							m.looked(key, content{true, []byte(key)}, now)
						}
						m.settleLooked(now+1, now+1, func(boot int64) int64 { return boot })
					}
					if live, _ := m.store.Len(); live != keys {
						b.Fatalf("%d of %d keys", live, keys)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*keys), "ns/key")
			})
		}
	}
}
