package mapgossip

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/gossip/simnet"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// TestKilledWhileBinding: whenever an agent is killed while a map is bound anew,
// nothing passes for deleted and nothing is lost afterwards.
func TestKilledWhileBinding(t *testing.T) {
	const keys = 10_000
	for _, after := range []time.Duration{0, 300, 900, 1000, 1019, 1020, 1021, 1022, 1023, 1025, 1030, 1100, 2000, 2050, 6000} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 10, simnet.Link{Delay: time.Millisecond})
				a, b := r.startLasting(0), r.startLasting(1)
				for i := range keys {
					a.write(t, i, i)
				}
				r.converge(t, 20*time.Second)
				pass(7 * time.Second)
				b.rigNode.replace(mapwatch.Shape{})
				b.write(t, 7, 1) // of unknown age
				pass(after * time.Millisecond)
				m := b.m
				b.down(true)
				if m.Len() > 10 {
					if err := m.Remove(number(9), 0); err != nil {
						t.Error(err)
					}
				}
				pass(2 * time.Second)
				b.up()
				pass(30 * time.Second)
				r.converge(t, 20*time.Second)
				if n := a.m.Len(); n < keys-1 {
					t.Errorf("%d of %d keys", n, keys)
				}
				if got, _ := a.m.Get(number(7)); string(got) != string(number(7)) {
					t.Errorf("key 7 is %x", got)
				}
			})
		})
	}
}

// TestBindingStories: whatever happens to the map of one member, with its agent and
// with the network, keys that another member wrote once and nobody deleted are
// there in the end, all are equal, and no value is one that nobody wrote there.
func TestBindingStories(t *testing.T) {
	seeds := 9 / fewer
	if os.Getenv(exhaustive) != "" {
		seeds = 60
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { bindingStory(t, seed) })
		})
	}
}

func bindingStory(t *testing.T, seed uint64) {
	dice := rand.New(rand.NewPCG(seed, 5))
	r := newRig(t, seed, simnet.Link{Delay: time.Millisecond, Loss: 0.02})
	a := r.add()
	b := r.prepareLasting(1)
	k := &moody{Kernel: b.kernel}
	b.config.Kernel = k
	if seed%2 == 1 {
		b.config.CapturePins = "/sys/fs/bpf/capture"
	}
	b.config.Maps = append(b.config.Maps, MapConfig{Name: "late", Target: latePin})
	b.up()
	c := r.add()
	var story []string
	log := func(format string, args ...any) {
		story = append(story, fmt.Sprintf(format, args...))
	}
	defer func() {
		if t.Failed() {
			t.Log(strings.Join(story, "; "))
		}
	}()
	const permanent = 1 << 20
	written, kept, last, up := map[int]bool{}, 0, 0, true
	write := func(n *rigNode, key int) {
		last++
		value := key<<32 | last
		if n.m.Write(number(key), number(value), 0) == nil {
			written[value] = true
		}
	}
	pass(3 * time.Second)
	for range 60 {
		for range dice.IntN(40) {
			n := []*rigNode{a, b.rigNode, c}[dice.IntN(3)]
			if key := dice.IntN(50); dice.IntN(3) == 0 {
				_ = n.m.Remove(number(key), 0)
			} else {
				write(n, key)
			}
		}
		for range 20 {
			write(a, permanent+kept)
			kept++
		}
		pass(time.Duration(dice.IntN(1500)) * time.Millisecond)
		switch what := dice.IntN(9); {
		case what == 0:
			log("replace")
			old := b.m
			b.rigNode.replace(mapwatch.Shape{})
			for range dice.IntN(20) {
				write(b.rigNode, dice.IntN(50))
			}
			pass(1100*time.Millisecond + time.Duration(dice.IntN(1500))*time.Millisecond) // it has been noticed
			for key := range old.Content() {
				_ = old.Remove([]byte(key), 0)
			}
		case what == 1:
			log("unpin")
			b.kernel.Unpin(rigPin)
		case what == 2 && up:
			kill := dice.IntN(2) == 0
			log("down %t", kill)
			m := b.m
			b.down(kill)
			b.m, up = m, false
		case what == 3 || what == 2:
			if !up {
				log("up")
				m := b.m
				b.up()
				b.m, up = m, true
			}
		case what == 4 && up:
			refuse := dice.IntN(2) == 0
			log("refuse %t", refuse)
			k.refuse.Store(refuse)
		case what == 5:
			k.noReplace.Store(dice.IntN(2) == 0)
			k.beginning.Store(int64(dice.IntN(3)) * int64(time.Second))
			k.ending.Store(int64(dice.IntN(2)) * int64(time.Second))
			log("slow %t %v %v", k.noReplace.Load(), k.beginning.Load(), k.ending.Load())
		case what == 6:
			log("late")
			b.kernel.AddMap(mapwatch.Shape{Target: latePin})
		case what == 7:
			log("cut")
			r.net.Partition([]string{a.addr, c.addr}, []string{"10.0.0.2:7946"})
		case what == 8:
			log("heal")
			r.net.Heal()
		}
		if !up {
			k.refuse.Store(false) // a start fails without
		}
	}
	r.net.Heal()
	k.refuse.Store(false)
	if !up {
		m := b.m
		b.up()
		b.m = m
	}
	b.rigNode.replace(mapwatch.Shape{})
	pass(90 * time.Second)
	r.converge(t, 2*time.Minute)
	content := a.m.Content()
	for i := range kept {
		if _, ok := content[string(number(permanent+i))]; !ok {
			t.Fatalf("permanent key %d of %d is lost", i, kept)
		}
	}
	for key, value := range content {
		v := int(binary.BigEndian.Uint64([]byte(value)))
		if k := int(binary.BigEndian.Uint64([]byte(key))); v>>32 != k || !written[v] {
			t.Fatalf("nobody wrote %d at %d", v, k)
		}
	}
}
