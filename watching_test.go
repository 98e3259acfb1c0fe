package mapgossip

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/gossip/simnet"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// TestOneMapIsScanned: a map whose type this kernel cannot hook is scanned each
// second, the others are captured, and both are told.
func TestOneMapIsScanned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		const pin = "/sys/fs/bpf/routes"
		routes := mapwatch.Shape{Target: pin, Type: mapwatch.TypeLPMTrie, KeyBytes: 8, ValueBytes: 8}
		var tries []interface {
			Write(key, value []byte, cpu uint32) error
			Get(key []byte) ([]byte, bool)
		}
		for i := range 2 {
			c, kernel, m := r.prepare(i, mapwatch.Shape{})
			c.Maps = append(c.Maps, MapConfig{Name: "routes", Target: pin})
			tries = append(tries, kernel.AddMap(routes))
			kernel.LimitTypeCapture(mapwatch.TypeLPMTrie, mapwatch.ModeScan, "its functions cannot be hooked")
			r.start(c, kernel, m)
		}
		pass(5 * time.Second)
		maps, err := r.nodes[0].Maps(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if maps[0].Capture != "fexit" || maps[1].Capture != "scan" || !strings.Contains(maps[1].CaptureReason, "cannot be hooked") {
			t.Errorf("captured by %s and %s (%s)", maps[0].Capture, maps[1].Capture, maps[1].CaptureReason)
		}
		prefix := []byte{32, 0, 0, 0, 10, 0, 0, 1}
		if err := tries[0].Write(prefix, number(1), 0); err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Second)
		if got, ok := tries[1].Get(prefix); !ok || string(got) != string(number(1)) {
			t.Errorf("after 2 s the other member has %x", got)
		}
		r.nodes[0].write(t, 1, 1)
		pass(100 * time.Millisecond)
		if _, ok := r.nodes[1].m.Get(number(1)); !ok {
			t.Error("the captured map is late")
		}
	})
}

// TestLateMapThatCannotBeCaptured: with a mode that was asked for, a late map of
// a type that does not allow it is given back, and the others go on.
func TestLateMapThatCannotBeCaptured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, simnet.Link{Delay: time.Millisecond})
		const pin = "/sys/fs/bpf/routes"
		a := r.add()
		c, kernel, m := r.prepare(1, mapwatch.Shape{})
		c.Capture = mapwatch.ModeFexit
		c.Maps = append(c.Maps, MapConfig{Name: "routes", Target: pin})
		kernel.LimitTypeCapture(mapwatch.TypeLPMTrie, mapwatch.ModeScan, "its functions cannot be hooked")
		b := r.start(c, kernel, m)
		pass(5 * time.Second)
		kernel.AddMap(mapwatch.Shape{Target: pin, Type: mapwatch.TypeLPMTrie, KeyBytes: 8, ValueBytes: 8})
		pass(5 * time.Second)
		maps, err := b.Maps(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if maps[1].Bound || !strings.Contains(maps[1].Error, "cannot be hooked") {
			t.Errorf("bound %t, error %q", maps[1].Bound, maps[1].Error)
		}
		a.write(t, 1, 1)
		b.write(t, 2, 2)
		pass(time.Second)
		if a.m.Len() != 2 || b.m.Len() != 2 || maps[0].Capture != "fexit" {
			t.Errorf("%d and %d elements, capture %s", a.m.Len(), b.m.Len(), maps[0].Capture)
		}
	})
}

// TestRewatchLosesNothing: a late map takes a new Watch; what is written to the
// others meanwhile is found.
func TestRewatchLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 3, simnet.Link{Delay: time.Millisecond})
		const pin = "/sys/fs/bpf/late"
		a := r.add()
		c, kernel, m := r.prepare(1, mapwatch.Shape{})
		c.Maps = append(c.Maps, MapConfig{Name: "late", Target: pin})
		b := r.start(c, kernel, m)
		pass(5 * time.Second)
		kernel.AddMap(mapwatch.Shape{Target: pin, ValueBytes: 64})
		for i := range 3000 {
			b.write(t, i, i)
			if i%3 == 0 {
				if err := b.m.Remove(number(i), 0); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Millisecond) // synctest's clock
		}
		pass(5 * time.Second)
		if a.m.Len() != 2000 || b.m.Len() != 2000 {
			t.Errorf("%d and %d elements, want 2000", a.m.Len(), b.m.Len())
		}
		maps, err := b.Maps(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !maps[1].Bound || maps[0].Counters.Captured == 0 || maps[0].Counters.Captured > 4000 {
			t.Errorf("late map bound: %t (%s); captured %d", maps[1].Bound, maps[1].Error, maps[0].Counters.Captured)
		}
	})
}
