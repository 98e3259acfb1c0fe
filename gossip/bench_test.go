package gossip

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
)

// wideStore holds n entries of the map wide.
func wideStore(n int) *replica {
	r := newReplica("a", []Map{wide})
	r.write(0, n, 1)
	return r
}

// BenchmarkEncode fills frames of bulkBytes from a store, in random order.
func BenchmarkEncode(b *testing.B) {
	for _, n := range []int{20_000, million} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			store := wideStore(n).stores["wide"]
			order := rand.Perm(n)
			var cols columns
			entries, bytes, at := 0, 0, 0
			for b.Loop() {
				cols.reset(sampleSender, &wide)
				for cols.addSlot(store, crdt.Slot(order[at]), bulkBytes) {
					at = (at + 1) % n
				}
				bytes += len(cols.encode(1, true, 0))
				entries += len(cols.slots)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(entries), "ns/entry")
			b.ReportMetric(float64(bytes)/float64(entries), "bytes/entry")
		})
	}
}

// BenchmarkDecode opens frames of bulkBytes, checksum included.
func BenchmarkDecode(b *testing.B) {
	store := wideStore(20_000).stores["wide"]
	var cols columns
	cols.reset(sampleSender, &wide)
	for i := crdt.Slot(0); cols.addSlot(store, i, bulkBytes); i++ {
	}
	frame := cols.encode(1, true, 0)
	var d decoder
	entries := 0
	b.ReportAllocs()
	for b.Loop() {
		_, _, fields, err := openFrame(frame)
		if err != nil {
			b.Fatal(err)
		}
		bt, err := d.batch(fields)
		if err != nil {
			b.Fatal(err)
		}
		entries += len(bt.Entries)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(entries), "ns/entry")
}

// trivial is a replica that counts what it gets.
type trivial struct {
	store  *crdt.Store
	mu     sync.Mutex
	merged atomic.Int64
}

func (r *trivial) Merge(_ context.Context, _ string, _ Sender, entries []crdt.Entry) ([]crdt.Entry, error) {
	r.merged.Add(int64(len(entries)))
	return nil, nil
}

func (r *trivial) Learn(context.Context, string, crdt.Report, bool) error { return nil }

func (r *trivial) Read(_ context.Context, _ string, fn func(*crdt.Store)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	fn(r.store)
	return nil
}

func (r *trivial) Inspect(ctx context.Context, name string, fn func(*crdt.Store, func(crdt.Slot) (pending, evicted bool))) error {
	return r.Read(ctx, name, func(s *crdt.Store) { fn(s, func(crdt.Slot) (pending, evicted bool) { return }) })
}

func (r *trivial) Held(context.Context, string, []byte) (Held, error) { return Held{}, nil }

func (r *trivial) View(context.Context) ([]MapView, error) { return nil, nil }

// BenchmarkLoopback is changes spread from one cluster to another over the
// loopback interface, to replicas that do nothing: what the network costs.
func BenchmarkLoopback(b *testing.B) {
	open := func(node string, store *crdt.Store, seeds ...string) (*Cluster, *trivial) {
		cfg := DefaultConfig()
		cfg.Node, cfg.Maps, cfg.Seeds, cfg.SyncInterval = node, []Map{wide}, seeds, time.Hour
		cfg.Bind = netip.MustParseAddrPort("127.0.0.1:0")
		r := &trivial{store: store}
		c, err := Open(cfg, r)
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		b.Cleanup(func() {
			cancel()
			<-done
			_ = c.Close()
		})
		return c, r
	}
	const n = 100_000
	full := wideStore(n).stores["wide"]
	one, first := open("a", full)
	two, second := open("b", full, one.Members()[0].Addr)
	for ok := false; !ok; ok, _ = two.Ready() {
		<-time.After(time.Millisecond)
	}
	slots := make([]crdt.Slot, n)
	for i := range slots {
		slots[i] = crdt.Slot(i)
	}
	spent := cpuTime(b)
	for b.Loop() {
		want := second.merged.Load() + n
		for at := 0; at < n; at += 1000 {
			first.mu.Lock() // what owns the store calls
			one.Spread("wide", slots[at:at+1000], "")
			first.mu.Unlock()
		}
		for second.merged.Load() < want {
			<-time.After(100 * time.Microsecond)
		}
	}
	entries := float64(b.N * n)
	b.ReportMetric(entries/b.Elapsed().Seconds(), "entries/s")
	b.ReportMetric(float64(cpuTime(b)-spent)/entries, "cpu-ns/entry")
}

// cpuTime is what this process has used.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
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
