//go:build guest

package mapgossip

import (
	"runtime"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/mapwatch"
)

const (
	echoApplies   = 10_000
	echoKeys      = 2500 // of the other member's; each is written again and again
	echoLocalKeys = 4000 // of each local writer, apart from these
)

// TestKernelEcho lets the agent apply 10,000 entries of another member while
// packets write the same map in softirqs on its CPU, which then carry the ID of
// the thread that applies, and a thread of its own process does. No applied value
// becomes a local version, and every local write reaches the other member. That
// programs which run on behalf of the applying thread itself are told apart,
// package mapwatch tests.
func TestKernelEcho(t *testing.T) {
	for _, mode := range []mapwatch.Mode{mapwatch.ModeFexit, mapwatch.ModeFentry} {
		t.Run(string(mode), func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(8))
			p := newKernelPair(t, kernelMaps()[0], mode)
			filter := p.packetWriter()
			deliverOn(t, 1)
			onCPU(t, 1)
			done := make(chan error, 2)
			local := func(cpu int, do func(n uint32) error) {
				go func() {
					err := pinThread(cpu)
					for n := uint32(0); err == nil && n < echoLocalKeys; n++ {
						err = do(n)
						time.Sleep(100 * time.Microsecond) // the applies take long
					}
					done <- err
				}()
			}
			local(0, func(n uint32) error { return filter.send(echoKeys+n, uint64(n)) })
			local(1, func(n uint32) error {
				key := echoKeys + echoLocalKeys + n
				_, err := p.write(p.of.key(key), written{key, writerCall, uint64(n)}.value())
				return err
			})
			var seq uint64
			applied := func() uint64 { return p.status(p.here).Counters.Applied }
			for begin := time.Now(); applied() < echoApplies; {
				if time.Since(begin) > kernelPatience {
					t.Fatalf("%d of %d applies in %v", applied(), echoApplies, kernelPatience)
				}
				before := applied()
				for n := range uint32(echoKeys) {
					must(t, p.far.Write(p.of.key(n), written{n, writerThere, seq}.value(), 0))
					seq++
				}
				for time.Since(begin) < kernelPatience && applied() < before+echoKeys/2 {
					time.Sleep(settleTick)
				}
			}
			must(t, <-done)
			must(t, <-done)
			filter.quiet()
			content := p.equal()
			if echoes := p.echoes(writerThere); len(echoes) > 0 {
				t.Errorf("%d applied values became local versions, such as %q", len(echoes), echoes[0])
			}
			c := p.addsUp(operations{echoLocalKeys + filter.written(), filter.refused()})
			t.Logf("%d applies, %d writes in softirqs: %+v", c.Applied, filter.written(), c)
			if want := echoKeys + echoLocalKeys + int(filter.written()); len(content) != want {
				t.Errorf("%d elements, want %d: local writes are lost", len(content), want)
			}
			if c.Local != echoLocalKeys+filter.written() {
				t.Errorf("%d local versions of %d local writes", c.Local, echoLocalKeys+filter.written())
			}
		})
	}
}
