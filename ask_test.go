package mapgossip

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/gossip"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// changed starts one more node with a changed configuration.
func (r *rig) changed(change func(*Config)) *rigNode {
	c, kernel, m := r.prepare(len(r.nodes), mapwatch.Shape{})
	change(&c)
	return r.start(c, kernel, m)
}

func TestViewsAndHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, lan)
		a, b, c := r.add(), r.add(), r.add()
		pass(5 * time.Second)
		b.write(t, 1, 10)
		b.write(t, 2, 20)
		r.converge(t, time.Minute)
		if err := c.m.Remove(number(2), 0); err != nil {
			t.Fatal(err)
		}
		r.converge(t, time.Minute)
		pass(5 * time.Second)
		views, err := c.Views(t.Context())
		if err != nil || len(views) != 3 {
			t.Fatalf("%+v, %v", views, err)
		}
		for i, want := range []string{"n2", "n0", "n1"} {
			v := views[i]
			if v.Node != want || v.Self != (i == 0) || v.Error != "" || len(v.Maps) != 1 || len(v.Members) != 2 {
				t.Fatalf("%+v", v)
			}
			if m := v.Maps[0]; m != (MapView{"flows", a.state(t).Digest, 1, 1, 0}) {
				t.Errorf("%s: %+v", want, m)
			}
			for _, m := range v.Members {
				if m.Node == want || m.State != gossip.StateAlive || !m.InSync || m.LastSync.IsZero() {
					t.Errorf("%s: %+v", want, m)
				}
			}
		}
		for key, deleted := range map[int]bool{1: false, 2: true} {
			held, err := a.Held(t.Context(), "flows", number(key))
			if err != nil || len(held) != 3 || !held[0].Self || held[0].Node != "n0" || held[2].Node != "n2" {
				t.Fatalf("%+v, %v", held, err)
			}
			for _, h := range held {
				if h.Error != "" || h.Entry == nil || h.Entry.Deleted != deleted || h.Entry.Kernel == nil || h.Entry.Kernel.Present == deleted ||
					h.Entry.Kernel.Value != h.Entry.Value || h.Entry.Map != "flows" || h.Entry.Key != held[0].Entry.Key {
					t.Errorf("%+v: %+v", h, h.Entry)
				}
			}
		}
		held, err := a.Held(t.Context(), "flows", number(99))
		if err != nil || held[0].Entry != nil || held[1].Entry != nil || held[1].Error != "" {
			t.Errorf("a key that nobody has: %+v, %v", held, err)
		}
		if _, err := a.Held(t.Context(), "x", number(1)); !errors.Is(err, ErrUnknownMap) {
			t.Error(err)
		}
		if _, err := a.Held(t.Context(), "flows", []byte{1}); !errors.Is(err, ErrKey) {
			t.Error(err)
		}
		if s, err := a.Status(t.Context()); err != nil || len(s.Network.Differences) != 1 {
			t.Errorf("%+v, %v", s.Network.Differences, err)
		}
		// One that is cut off says nothing, and holds nobody up for longer.
		r.net.Cut(b.addr, a.addr)
		r.net.Cut(a.addr, b.addr)
		begin := time.Now()
		views, err = a.Views(t.Context())
		if took := time.Since(begin); err != nil || took > 3*time.Second || !strings.HasPrefix(views[1].Error, "no answer") || views[2].Error != "" || views[1].Maps == nil {
			t.Errorf("after %v: %+v, %v", took, views, err)
		}
	})
}

func TestDiff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, lan)
		a, b := r.add(), r.add()
		pass(5 * time.Second)
		for i := range 300 {
			a.write(t, i, i)
		}
		r.converge(t, time.Minute)
		diff := func(n *rigNode, member string) map[string]Difference {
			t.Helper()
			found := map[string]Difference{}
			if err := n.Diff(t.Context(), "flows", member, func(d Difference) error {
				if _, twice := found[d.Key]; twice {
					t.Errorf("%s is told twice", d.Key)
				}
				found[d.Key] = d
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			return found
		}
		if got := diff(a, "n1"); len(got) != 0 {
			t.Errorf("equal members differ: %+v", got)
		}
		// What a store has without spreading it.
		plant := func(n *rigNode, key int, wall time.Duration, value []byte) {
			t.Helper()
			if err := n.with(t.Context(), "flows", func(m *boundMap) error {
				e := crdt.Entry{Key: number(key), Value: value, Deleted: value == nil,
					Version: crdt.Version{Time: crdt.Timestamp{Wall: time.Now().Add(wall).UnixNano()}, Member: n.config.Node}}
				_, _, err := m.offered(&e, gossip.Sender{Node: "n9"}, n.kernel.Now())
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		plant(a, 1, time.Millisecond, number(1001))
		plant(b, 2, time.Millisecond, nil)
		plant(a, 400, 0, number(4))
		plant(b, 500, 0, number(5))
		want := map[string]string{"0000000000000001": "here", "0000000000000002": "there", "0000000000000190": "here", "00000000000001f4": "there"}
		got := diff(a, "n1")
		for key, newer := range want {
			if got[key].Newer != newer {
				t.Errorf("%s: %+v", key, got[key])
			}
		}
		if len(got) != len(want) {
			t.Errorf("%d differences: %+v", len(got), got)
		}
		if d := got["0000000000000002"]; d.Here == nil || d.There == nil || d.Here.Deleted || !d.There.Deleted || d.There.Node != "n1" {
			t.Errorf("a tombstone: %+v", d)
		}
		if d := got["00000000000001f4"]; d.Here != nil || d.There == nil || d.There.Map != "flows" {
			t.Errorf("there only: %+v", d)
		}
		stop := errors.New("enough")
		if err := a.Diff(t.Context(), "flows", "n1", func(Difference) error { return stop }); !errors.Is(err, stop) {
			t.Error(err)
		}
		for _, member := range []string{"n0", "n7"} {
			if err := a.Diff(t.Context(), "flows", member, nil); !errors.Is(err, ErrUnknownMember) {
				t.Errorf("%s: %v", member, err)
			}
		}
		if err := a.Diff(t.Context(), "x", "n1", nil); !errors.Is(err, ErrUnknownMap) {
			t.Error(err)
		}
	})
}

// A tombstone that one member has forgotten, by its floor, is no difference.
func TestDiffLeavesForgottenTombstonesOut(t *testing.T) {
	here := copied{Entry: crdt.Entry{Key: number(1), Deleted: true, Version: crdt.Version{Time: crdt.Timestamp{Wall: 50}, Member: "a"}}}
	live := copied{Entry: crdt.Entry{Key: number(1), Value: number(2), Version: crdt.Version{Time: crdt.Timestamp{Wall: 40}, Member: "a"}}}
	b := &boundMap{mirror: &mirror{store: crdt.NewStore(8, 8)}}
	for _, test := range []struct {
		floor       int64
		here, there *copied
		told        bool
	}{
		{60, &here, nil, false}, {60, nil, &here, false}, {50, &here, nil, false}, {49, &here, nil, true},
		{60, &here, &live, true}, {60, nil, &live, true},
	} {
		d := diff{floor: test.floor}
		if d.note(b, test.here, test.there); (len(d.found) > 0) != test.told {
			t.Errorf("%+v: %d told", test, len(d.found))
		}
	}
}

// The keys of three members are rotated while they write: nothing is lost, and
// nobody is.
func TestKeyRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, lan)
		one, two := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
		f1, f2 := gossip.Fingerprint(one), gossip.Fingerprint(two)
		kept := make([][][]byte, 3)
		for i := range 3 {
			r.changed(func(c *Config) {
				c.Keyring = [][]byte{one}
				c.KeepKeyring = func(keys [][]byte) error { kept[i] = keys; return nil }
			})
		}
		a, b, c := r.nodes[0], r.nodes[1], r.nodes[2]
		pass(5 * time.Second)
		n := 0
		traffic := func() {
			for range 20 {
				for _, m := range r.nodes {
					n++
					m.write(t, n, n)
				}
				pass(5 * time.Millisecond)
			}
		}
		want := func(got []MemberKeys, err error, keys ...string) {
			t.Helper()
			if err != nil || len(got) != 3 {
				t.Fatalf("%+v, %v", got, err)
			}
			for i, m := range got {
				if m.Error != "" || !m.Kept || m.Self != (i == 0) || !slices.Equal(m.Keys, keys) {
					t.Errorf("%+v, want %v", m, keys)
				}
			}
			traffic()
			if took := r.converge(t, time.Minute); took > time.Second {
				t.Errorf("equal after %v", took)
			}
		}
		got, err := a.Keys(t.Context())
		want(got, err, f1)
		if _, err := a.UseKey(t.Context(), f2); err == nil || !strings.Contains(err.Error(), "members n0, n1, n2 lack it: install it first") {
			t.Error(err)
		}
		if s := b.cluster.InstallKey(two); s.Problem != "" { // on one of them only
			t.Fatal(s)
		}
		if _, err := a.UseKey(t.Context(), f2); err == nil || !strings.Contains(err.Error(), "members n0, n2 lack it: install it first") {
			t.Error(err)
		}
		got, err = a.InstallKey(t.Context(), two)
		want(got, err, f1, f2)
		if _, err := a.RemoveKey(t.Context(), f1); err == nil || !strings.Contains(err.Error(), "members n0, n1, n2 encrypt with it") {
			t.Error(err)
		}
		got, err = c.UseKey(t.Context(), strings.ToUpper(f2))
		want(got, err, f2, f1)
		got, err = b.RemoveKey(t.Context(), f1)
		want(got, err, f2)
		if _, err := b.RemoveKey(t.Context(), f1); err == nil || !strings.Contains(err.Error(), "no living member has it") {
			t.Error(err)
		}
		if _, err := b.InstallKey(t.Context(), []byte{1}); err == nil {
			t.Error("a key of a byte was taken")
		}
		for i, keys := range kept {
			if len(keys) != 1 || !bytes.Equal(keys[0], two) {
				t.Errorf("n%d keeps %x", i, keys)
			}
		}
		for _, m := range r.nodes {
			for _, o := range m.Members() {
				if o.State != gossip.StateAlive {
					t.Errorf("%+v", o)
				}
			}
		}
		// While one does not answer, nobody may use or remove a key.
		got, err = a.InstallKey(t.Context(), one)
		want(got, err, f2, f1)
		r.net.Cut(a.addr, c.addr)
		r.net.Cut(c.addr, a.addr)
		if _, err := a.UseKey(t.Context(), f1); err == nil || !strings.Contains(err.Error(), "member n2 has not told its keys (no answer") {
			t.Error(err)
		}
		if keys := b.cluster.Keys().Keys; keys[0] != f2 {
			t.Errorf("b encrypts with %s", keys[0])
		}
		r.net.Heal()
		pass(time.Minute)
	})
}

func TestKeysAreNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, lan)
		one, two := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
		a := r.changed(func(c *Config) { c.Keyring = [][]byte{one} })
		r.changed(func(c *Config) {
			c.Keyring = [][]byte{one}
			c.KeepKeyring = func([][]byte) error { return errors.New("write keyring: read-only") }
		})
		pass(5 * time.Second)
		got, err := a.InstallKey(t.Context(), two)
		if err != nil || got[0].Kept || got[0].Error != "" || got[1].Kept || got[1].Error != "write keyring: read-only" || len(got[1].Keys) != 2 {
			t.Errorf("%+v, %v", got, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := a.Keys(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestNoKeyring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, lan)
		a := r.add()
		pass(time.Second)
		_, list := a.Keys(t.Context())
		_, install := a.InstallKey(t.Context(), make([]byte, 32))
		_, use := a.UseKey(t.Context(), "0011223344556677")
		_, remove := a.RemoveKey(t.Context(), "0011223344556677")
		for _, err := range []error{list, install, use, remove} {
			if err == nil || !strings.Contains(err.Error(), "cannot be turned on at run time") {
				t.Error(err)
			}
		}
	})
}
