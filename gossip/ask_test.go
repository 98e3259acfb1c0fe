package gossip

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
)

// three starts a, b and c.
func (w *world) three(change func(*Config)) (a, b, c *member) {
	w.t.Helper()
	with := func(seeds ...string) func(*Config) {
		return func(c *Config) {
			c.Seeds = seeds
			if change != nil {
				change(c)
			}
		}
	}
	a, b, c = w.start("a", addrA, with()), w.start("b", addrB, with(addrA)), w.start("c", addrC, with(addrA))
	within(w.t, 3*time.Second, "three members", w.sees(3))
	within(w.t, 3*time.Second, "ready", ready(a, b, c))
	return a, b, c
}

// TestGiveUp: who is alive to somebody is not given up there.
func TestGiveUp(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a, _, c := w.three(nil)
		if err := a.GiveUp("c"); !errors.Is(err, ErrMemberAlive) {
			t.Errorf("alive here: %v", err)
		}
		answers := a.GiveUpAll(context.Background(), "c")
		if len(answers) != 2 || answers[0].Err == nil || !strings.Contains(answers[0].Err.Error(), "alive at "+c.addr) {
			t.Errorf("alive elsewhere: %+v", answers)
		}
		for _, answer := range a.GiveUpAll(context.Background(), "nobody") {
			if answer.Err != nil {
				t.Errorf("not known: %v", answer.Err)
			}
		}
	})
}

// peerOf is how m sees another member.
func peerOf(t *testing.T, m *member, node string) *peer {
	t.Helper()
	for _, p := range m.peers() {
		if p.Node == node {
			return p
		}
	}
	t.Fatalf("%s has no peer %s", m.addr, node)
	return nil
}

func TestAllAreAsked(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a, b, c := w.three(nil)
		a.put("flows", key(1), value(1))
		within(t, time.Second, "equal", same("flows", a, b, c))
		begin := time.Now()
		views := a.Views(context.Background())
		if took := time.Since(begin); took > 20*time.Millisecond {
			t.Errorf("asking took %v", took)
		}
		if len(views) != 2 || views[0].Node != "b" || views[1].Node != "c" {
			t.Fatalf("%+v", views)
		}
		for _, v := range views {
			if v.Err != nil || len(v.Value.Maps) != 1 || len(v.Value.Members) != 2 || v.Value.Members[0].Node != "a" {
				t.Fatalf("%+v", v)
			}
			if m := v.Value.Maps[0]; m.Name != "flows" || m.Digest != a.replica.digest("flows") || m.Entries != 1 {
				t.Errorf("%+v", m)
			}
			if m := v.Value.Members[0]; m.State != StateAlive || !m.InSync || m.LastSync.IsZero() {
				t.Errorf("%+v", m)
			}
		}
		held := b.Cluster.Held(context.Background(), "flows", key(1))
		for _, h := range held {
			if h.Err != nil || !h.Value.Known || !bytes.Equal(h.Value.Entry.Value, value(1)) || !bytes.Equal(h.Value.Entry.Key, key(1)) ||
				h.Value.Entry.Version.Member != "a" || !bytes.Equal(h.Value.Kernel.Value, value(1)) {
				t.Errorf("%+v", h)
			}
		}
		if held = b.Cluster.Held(context.Background(), "flows", key(2)); len(held) != 2 || held[0].Err != nil || held[0].Value.Known {
			t.Errorf("a key that nobody has: %+v", held)
		}
		if held = b.Cluster.Held(context.Background(), "flows", []byte{1}); held[0].Err == nil || held[0].Err.Error() != "a key of 1 bytes" {
			t.Errorf("a key that is none: %+v", held)
		}
	})
}

func TestNoAnswer(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a, b, _ := w.three(nil)
		free := make(chan struct{})
		b.deaf.Store(&free)
		begin := time.Now()
		views := a.Views(context.Background())
		if took := time.Since(begin); took != askTimeout {
			t.Errorf("took %v", took)
		}
		if views[0].Err == nil || views[0].Err.Error() != "no answer within 3 s" || views[1].Err != nil {
			t.Errorf("%+v", views)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if views = a.Views(ctx); !errors.Is(views[0].Err, context.DeadlineExceeded) {
			t.Errorf("%+v", views)
		}
		b.deaf.Store(nil)
		close(free)
		<-time.After(time.Second)
		if views = a.Views(context.Background()); views[0].Err != nil {
			t.Errorf("%+v", views)
		}
		w.net.Cut(addrA, addrB)
		w.net.Cut(addrB, addrA)
		begin = time.Now()
		views = a.Views(context.Background())
		if took := time.Since(begin); took > askTimeout {
			t.Errorf("took %v", took)
		}
		if views[0].Err == nil || !strings.HasPrefix(views[0].Err.Error(), "no answer") || views[1].Err != nil {
			t.Errorf("%+v", views)
		}
		if len(a.asks) != 0 {
			t.Errorf("%d asks are not forgotten", len(a.asks))
		}
	})
}

func TestUnknownKindIsAnswered(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a, _, _ := w.three(nil)
		begin := time.Now()
		if _, err := a.ask(context.Background(), peerOf(t, a, "b"), 200, []byte{1}); err == nil || !strings.Contains(err.Error(), "update it") {
			t.Error(err)
		}
		if took := time.Since(begin); took > 20*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if _, err := a.ask(context.Background(), peerOf(t, a, "b"), askHeld, []byte{0xc1}); err == nil || !strings.Contains(err.Error(), "malformed") {
			t.Errorf("a malformed body: %v", err)
		}
	})
}

// Asks over the bound are refused at once, while others of the member wait; from
// another member they are answered.
func TestAsksAreBounded(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a, b, c := w.three(nil)
		free := make(chan struct{})
		b.deaf.Store(&free)
		p := peerOf(t, a, "b")
		refused := make(chan answer, 1)
		a.Cluster.mu.Lock()
		a.asks[999] = &waitingAsk{p, refused}
		a.Cluster.mu.Unlock()
		for i := range maxAnswering { // an honest member sends no more
			if err := a.sendStream(p, ask{uint64(1000 + i), askView, nil}.encode(a.name)); err != nil {
				t.Fatal(err)
			}
		}
		begin := time.Now()
		for range 100 {
			if err := a.sendStream(p, ask{999, askView, nil}.encode(a.name)); err != nil {
				t.Fatal(err)
			}
		}
		got := <-refused
		if err := got.err(); got.Status != answerBusy || err == nil || time.Since(begin) > time.Second {
			t.Errorf("%+v after %v", got, time.Since(begin))
		}
		if n := peerOf(t, b, "a").answering.Load(); n != maxAnswering {
			t.Errorf("%d are being answered", n)
		}
		if _, err := c.ask(context.Background(), peerOf(t, c, "b"), askKeys, nil); err != nil {
			t.Errorf("another member: %v", err)
		}
		b.deaf.Store(nil)
		close(free)
		<-time.After(time.Second)
		if n := peerOf(t, b, "a").answering.Load(); n != 0 {
			t.Errorf("%d are being answered for ever", n)
		}
		many := make(chan error)
		for range 50 { // as many as want to
			go func() {
				_, err := a.ask(context.Background(), p, askView, nil)
				many <- err
			}()
		}
		for range 50 {
			if err := <-many; err != nil {
				t.Error(err)
			}
		}
	})
}

// Who is no member gets nothing, and who was not asked answers nothing.
func TestStrangersAndForeignAnswers(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a, b, c := w.three(nil)
		before := b.Stats().StreamFramesOut
		stranger := "x-0123456789abcdef"
		b.deliver(ask{5, askView, nil}.encode(stranger))
		<-time.After(2 * strangerWait)
		b.deliver(ask{6, askView, nil}.encode(stranger)) // puts the first away
		<-time.After(time.Millisecond)
		if n := b.Stats(); n.StrangerFrames != 1 || n.StreamFramesOut-before > 20 {
			t.Errorf("%+v", n)
		}
		got := make(chan answer, 1)
		p := peerOf(t, a, "b")
		a.Cluster.mu.Lock()
		a.asks[77] = &waitingAsk{p, got}
		a.Cluster.mu.Unlock()
		if err := c.sendStream(peerOf(t, c, "a"), answer{Nonce: 77}.encode(c.name)); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Second)
		if len(got) != 0 {
			t.Error("an answer of another member was taken")
		}
		a.Cluster.mu.Lock()
		delete(a.asks, 77)
		a.Cluster.mu.Unlock()
	})
}

// A comparison gets all entries of another member once, in bounded chunks, and
// merges nothing.
func TestComparisonReadsAll(t *testing.T) {
	big := Map{Name: "big", Type: "hash", KeyBytes: 8, ValueBytes: 400 << 10}
	virtual(t, lan, func(t *testing.T, w *world) {
		quiet := func(c *Config) { c.SyncInterval = time.Hour; c.Maps = []Map{flows, big} }
		a, b, _ := w.three(quiet)
		b.fill("flows", 5000, 1)
		bucket := crdt.BucketOf(key(0))
		in := 0
		for i := 0; in < 5; i++ {
			if crdt.BucketOf(key(i)) == bucket {
				in++
				b.replica.mu.Lock()
				_, _, err := b.stores["big"].Merge(crdt.Entry{Key: key(i), Value: make([]byte, big.ValueBytes), Version: crdt.Version{Time: crdt.Timestamp{Wall: 5}, Member: "b"}})
				b.replica.mu.Unlock()
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		ctx := context.Background()
		x, found, err := a.Compare(ctx, "flows", "b")
		if err != nil || !found {
			t.Fatal(found, err)
		}
		seen := map[string]bool{}
		for i, d := range x.Digests {
			if d == 0 {
				continue
			}
			chunk, err := x.Bucket(ctx, i, 0)
			if len(seen) == 0 && a.len("flows") != 0 {
				t.Error("reading merges")
			}
			if err != nil || chunk.More {
				t.Fatal(chunk.More, err)
			}
			for at, e := range chunk.Entries {
				seen[string(e.Key)] = true
				if pending, evicted := chunk.Lacks(at); pending != (e.Key[7]%2 == 1) || evicted {
					t.Errorf("%x: pending %v, evicted %v", e.Key, pending, evicted)
				}
			}
		}
		if len(seen) != 5000 {
			t.Errorf("%d keys seen", len(seen))
		}
		if x, found, err = a.Compare(ctx, "big", "b"); err != nil || !found {
			t.Fatal(found, err)
		}
		total, chunks := 0, 0
		for from, more := crdt.Slot(0), true; more; chunks++ {
			chunk, err := x.Bucket(ctx, bucket, from)
			if err != nil {
				t.Fatal(err)
			}
			total += len(chunk.Entries)
			from, more = chunk.Next, chunk.More
		}
		if total != 5 || chunks != 3 {
			t.Errorf("%d entries in %d chunks, want 5 in 3", total, chunks)
		}
		if _, found, _ := a.Compare(ctx, "flows", "x"); found {
			t.Error("a member that is none was found")
		}
	})
}
