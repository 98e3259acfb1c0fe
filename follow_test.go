// What a follower is told is one story, from the capture to the queue that overflows, with
// one set of tools: it stays in one file.

package mapgossip

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/gossip"
	"github.com/mapgossip/mapgossip/gossip/simnet"
	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/fake"
)

// viewer follows a map of a node from a goroutine of its own.
type viewer struct {
	changes chan Change
	stop    context.CancelFunc
	ended   chan error
}

// view returns once the node has taken up the follower.
func (n *rigNode) view(t *testing.T, mapName string) *viewer {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	v := &viewer{make(chan Change, 1<<16), stop, make(chan error, 1)}
	go func() {
		v.ended <- n.Follow(ctx, mapName, func(c Change) error {
			v.changes <- c
			return nil
		})
	}()
	synctest.Wait()
	return v
}

// got returns the changes that have come so far.
func (v *viewer) got() (changes []Change) {
	synctest.Wait()
	for {
		select {
		case c := <-v.changes:
			changes = append(changes, c)
		default:
			return changes
		}
	}
}

// end stops to follow.
func (v *viewer) end(t *testing.T) {
	t.Helper()
	v.stop()
	if err := <-v.ended; err != nil {
		t.Error(err)
	}
	synctest.Wait()
}

func hexOf(n int) string { return hex.EncodeToString(number(n)) }

// TestFollow: each change comes once, with who made it and how late it is, at the
// member that captured it and at the others.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		a, k := r.addWitness(false)
		b := r.add()
		pass(5 * time.Second)
		here, there := a.view(t, "flows"), b.view(t, "flows")
		k.wrote(writer{mapwatch.SourceSyscall, 77, 3, [16]byte{'b', 'p', 'f', 't', 'o', 'o', 'l'}})
		a.write(t, 1, 10)
		a.write(t, 1, 11) // in the same batch, and yet a change of its own
		if err := a.m.Remove(number(1), 0); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		local := here.got()
		if len(local) != 3 {
			t.Fatalf("%d local changes: %+v", len(local), local)
		}
		for i, want := range []string{hexOf(10), hexOf(11), ""} {
			c := local[i]
			if c.Map != "flows" || c.Key != hexOf(1) || c.Value != want || c.Deleted != (want == "") || c.Origin != OriginLocal || c.From != "" || c.Node != "n0" {
				t.Errorf("local change %d: %+v", i, c)
			}
			if c.LagMS < 0 || c.LagMS > 10 || c.Lost != 0 || c.Pending || c.Kernel != nil {
				t.Errorf("local change %d: %+v", i, c)
			}
			if want := (Writer{"syscall", 77, "bpftool", 3}); c.Writer == nil || *c.Writer != want {
				t.Errorf("local change %d is by %+v, want %+v", i, c.Writer, want)
			}
		}
		remote := there.got()
		if len(remote) == 0 {
			t.Fatal("no remote change")
		}
		last := remote[len(remote)-1] // those before it may have been overtaken
		if last.Key != hexOf(1) || !last.Deleted || last.Origin != OriginRemote || last.From != "n0" || last.Node != "n0" || last.Writer != nil || last.Pending {
			t.Errorf("remote change: %+v", last)
		}
		if last.LagMS < 1 || last.LagMS > 100 || !last.Time.Equal(local[2].Time) || last.Logical != local[2].Logical {
			t.Errorf("remote change: %+v, local %+v", last, local[2])
		}
		// What lost is not told.
		old := crdt.Entry{Key: number(1), Value: number(5), Version: crdt.Version{Time: crdt.Timestamp{Wall: 1}, Member: "n1"}}
		if _, err := (replica{a.Node}).Merge(t.Context(), "flows", gossip.Sender{Node: "n1"}, []crdt.Entry{old}); err != nil {
			t.Fatal(err)
		}
		pass(10 * time.Second)
		if more := here.got(); len(more) != 0 {
			t.Errorf("%+v", more)
		}
		here.end(t)
		there.end(t)
	})
}

// TestFollowWhatNoHookSaw: a change that a scan finds is told, without a writer;
// what a map held when it was bound is of no known time.
func TestFollowWhatNoHookSaw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		a, _ := r.addWitness(false)
		pass(5 * time.Second)
		v := a.view(t, "flows")
		a.write(t, 1, 10)
		a.m.Lose(1, fake.Silent)
		a.write(t, 1, 11)
		pass(2 * DefaultScanInterval)
		changes := v.got()
		if len(changes) != 2 || changes[1].Value != hexOf(11) || changes[1].Origin != OriginLocal || changes[1].Writer != nil || changes[1].Node != "n0" {
			t.Fatalf("%+v", changes)
		}
		next := a.kernel.AddMap(mapwatch.Shape{Target: rigPin}) // a loader has started again
		for i := range 3 {
			if err := next.Write(number(100+i), number(i), 0); err != nil {
				t.Fatal(err)
			}
		}
		pass(5 * time.Second)
		changes = v.got()
		if len(changes) != 3 || changes[0].Writer != nil || changes[0].Origin != OriginLocal {
			t.Fatalf("%+v", changes)
		}
		v.end(t)
		lag := (&printer{}).change(notice{copied: copied{Entry: remoteEntry(1, 0)}, merged: time.Now().UnixNano()}, 0).LagMS
		if lag != 0 {
			t.Errorf("an entry of no known time is %f ms late", lag)
		}
	})
}

// TestFollowExpired: a delete that this member makes of what its kernel let go of
// long ago is told.
func TestFollowExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		a := r.addLRU("")
		pass(5 * time.Second)
		v := a.view(t, "flows")
		for i := range 2*lruEntries + 5 {
			a.write(t, i, i)
		}
		pass(10 * time.Second)
		expired := 0
		for _, c := range v.got() {
			if c.Deleted {
				expired++
				if c.Origin != OriginLocal || c.Writer != nil {
					t.Errorf("%+v", c)
				}
			}
		}
		if expired != 5 {
			t.Errorf("%d deletes are told, want 5", expired)
		}
		v.end(t)
	})
}

// TestFollowRefused: an entry that the kernel refuses is pending when it is told.
func TestFollowRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		a := r.add()
		c, kernel, m := r.prepare(1, mapwatch.Shape{MaxEntries: 2})
		b := r.start(c, kernel, m)
		pass(5 * time.Second)
		v := b.view(t, "flows")
		for i := range 3 {
			a.write(t, i, i)
			pass(time.Second)
		}
		changes := v.got()
		if len(changes) != 3 || changes[1].Pending || !changes[2].Pending {
			t.Errorf("%+v", changes)
		}
		v.end(t)
	})
}

// TestFollowSlowly: one who reads slowly loses changes, the oldest that wait, and
// is told how many, where they are missing; the latest comes. Nobody waits for it.
func TestFollowSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		a := r.add()
		pass(5 * time.Second)
		const count = 3 * followQueue
		held, letGo := make(chan struct{}), make(chan struct{})
		var seen []int // the value of each change
		var lost uint64
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- a.Follow(ctx, "flows", func(c Change) error {
				if len(seen) == 0 {
					close(held)
					<-letGo
				}
				value, _ := hex.DecodeString(c.Value)
				v := int(value[6])<<8 | int(value[7])
				if len(seen) > 0 {
					if want := seen[len(seen)-1] + 1 + int(c.Lost); v != want {
						t.Errorf("change %d with %d lost, want %d", v, c.Lost, want)
					}
				}
				lost += c.Lost
				seen = append(seen, v)
				return nil
			})
		}()
		quick := a.view(t, "flows")
		a.write(t, 0, 0)
		<-held
		for i := 1; i < count; i++ {
			a.write(t, i%100, i)
			if i%500 == 0 {
				pass(10 * time.Millisecond)
			}
		}
		pass(time.Second)
		if n := len(quick.got()); n != count {
			t.Errorf("a follower who is quick gets %d of %d changes", n, count)
		}
		if s := a.state(t); s.Counters.Local != count {
			t.Errorf("%d of %d changes are merged", s.Counters.Local, count)
		}
		close(letGo)
		synctest.Wait()
		if len(seen)+int(lost) != count || len(seen) != followQueue+1 || seen[len(seen)-1] != count-1 {
			t.Errorf("%d changes and %d lost of %d", len(seen), lost, count)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		quick.end(t)
	})
}

// TestFollowNobody: what is done for followers is done as long as there are any,
// and the kernel names writers just then, also after another Watch was needed.
func TestFollowNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		a, k := r.addWitness(true)
		pass(5 * time.Second)
		idle := func(when string) {
			t.Helper()
			for i := range 1000 {
				a.write(t, i, i)
			}
			pass(time.Second)
			if err := a.call(t.Context(), func() {
				for _, b := range a.maps {
					if a.followed != 0 || b.followers != nil || b.notices != nil || b.noticeBytes != 0 {
						t.Errorf("%s: %d follow; %d notices of %d bytes, room for %d", when, a.followed, len(b.notices), b.noticeBytes, cap(b.notices))
					}
				}
			}); err != nil {
				t.Fatal(err)
			}
		}
		want := func(when string, asked ...[]bool) {
			t.Helper()
			synctest.Wait()
			if got := k.named(); !reflect.DeepEqual(got, asked) {
				t.Errorf("%s: watches were asked for names %v, want %v", when, got, asked)
			}
		}
		idle("before")
		want("before", []bool{})
		v, w := a.view(t, "flows"), a.view(t, "flows")
		want("two follow", []bool{true})
		v.end(t)
		want("one follows", []bool{true})
		a.kernel.AddMap(mapwatch.Shape{Target: latePin, ValueBytes: 64})
		pass(5 * time.Second)
		want("after another Watch", []bool{true}, []bool{true})
		x := a.view(t, "late")
		want("another map", []bool{true}, []bool{true})
		k.wrote(writer{source: mapwatch.SourceProgram, pid: 5, comm: [16]byte{'x'}})
		a.write(t, 5000, 1)
		pass(time.Second)
		if changes := w.got(); len(changes) != 1 || changes[0].Writer == nil || *changes[0].Writer != (Writer{"program", 5, "x", 0}) {
			t.Errorf("%+v", changes)
		}
		if changes := x.got(); len(changes) != 0 {
			t.Errorf("changes of another map: %+v", changes)
		}
		w.end(t)
		x.end(t)
		want("nobody follows", []bool{true}, []bool{true, false})
		idle("after")
	})
}

// TestFollowDuringRewatch: who comes and goes while one Watch takes the place of
// another leaves the names as they should be.
func TestFollowDuringRewatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		c, kernel, m := r.prepare(0, mapwatch.Shape{})
		k := &witness{Kernel: &delayedWatch{kernel}}
		c.Kernel = k
		c.Maps = append(c.Maps, MapConfig{Name: "late", Target: latePin})
		began := time.Now()
		a := r.start(c, kernel, m)
		pass(5 * time.Second)
		leaver := a.view(t, "flows")
		kernel.AddMap(mapwatch.Shape{Target: latePin})
		for rewatching := false; !rewatching; pass(10 * time.Millisecond) {
			if time.Since(began) > time.Minute {
				t.Fatal("no other Watch is made")
			}
			if err := a.call(t.Context(), func() { rewatching = a.rewatching }); err != nil {
				t.Fatal(err)
			}
		}
		leaver.end(t)
		comer := a.view(t, "flows")
		if asked := k.named(); !reflect.DeepEqual(asked, [][]bool{{true}}) {
			t.Errorf("meanwhile %v", asked)
		}
		pass(5 * time.Second)
		if asked := k.named(); !reflect.DeepEqual(asked, [][]bool{{true}, {true}}) {
			t.Errorf("afterwards %v", asked)
		}
		comer.end(t)
	})
}

// delayedWatch takes a second to make each Watch.
type delayedWatch struct{ mapwatch.Kernel }

func (k *delayedWatch) Watch(maps []mapwatch.Map, options mapwatch.Options) (mapwatch.Watch, error) {
	time.Sleep(time.Second) // synctest's clock
	return k.Kernel.Watch(maps, options)
}

// TestFollowEnds: with ctx it ends without an error, with fn's error, and with the
// Node; an unknown map is an error at once.
func TestFollowEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, simnet.Link{Delay: time.Millisecond})
		a, _ := r.addWitness(true)
		pass(5 * time.Second)
		for _, name := range []string{"flow", "late", ""} {
			if err := a.Follow(t.Context(), name, nil); !errors.Is(err, ErrUnknownMap) {
				t.Errorf("map %q: %v", name, err)
			}
		}
		enough := errors.New("enough")
		ended := make(chan error, 1)
		go func() { ended <- a.Follow(t.Context(), "flows", func(Change) error { return enough }) }()
		synctest.Wait()
		a.write(t, 1, 1)
		if err := <-ended; err != enough {
			t.Error(err)
		}
		over, cancel := context.WithCancel(t.Context())
		cancel()
		if err := a.Follow(over, "flows", nil); err != nil {
			t.Error(err)
		}
		v := a.view(t, "flows")
		a.stop()
		if err := <-v.ended; !errors.Is(err, ErrStopped) {
			t.Error(err)
		}
		if err := a.Follow(t.Context(), "flows", nil); !errors.Is(err, ErrStopped) {
			t.Error(err)
		}
	})
}

// BenchmarkFollowCaptured is what a follower costs the owner, and that none costs
// nothing: batches of captured changes of a map with a million entries.
func BenchmarkFollowCaptured(b *testing.B) {
	for _, followers := range []int{0, 1, 8} {
		b.Run(fmt.Sprintf("%d followers", followers), func(b *testing.B) {
			m, keys, values := filledMirror(benchEntries)
			n := &Node{kernel: fake.NewKernel(nil), time: newTimekeeper(time.Hour)}
			n.config.Now = time.Now
			n.readClocks()
			bound := &boundMap{mirror: m}
			n.maps = []*boundMap{bound}
			for range followers {
				n.follow(bound, &follower{wake: make(chan struct{}, 1)})
			}
			at, changes := 0, 0
			b.ReportAllocs()
			for b.Loop() {
				following := n.followed > 0
				for range 512 {
					c := mapwatch.Change{Kind: mapwatch.Updated, Key: keys[at*benchKey:][:benchKey], Value: values[at*benchValue:][:benchValue], Captured: n.kernel.Now()}
					if slot, won := bound.record(c, n.wall(c.Captured), c.Captured); won && following {
						n.noticeRecord(bound, slot, &c)
					}
					at = (at + 1) % benchEntries
					changes++
				}
				n.passOn()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(changes), "ns/change")
		})
	}
}
