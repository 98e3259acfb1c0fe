package gossip

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/mapgossip/mapgossip/crdt"
)

// TestEndlessMembersAreBounded: whoever has the key makes up members, which live or
// die at once. So many are taken in and no more, and in the end all are forgotten.
func TestEndlessMembersAreBounded(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, nil)
		b := w.start("b", addrB, seeds(addrA))
		within(t, 3*time.Second, "ready", ready(a, b))
		bad, err := w.net.Listen(addrC)
		if err != nil {
			t.Fatal(err)
		}
		defer bad.Shutdown()
		send := func(m []byte) {
			if _, err := bad.WriteTo(append(label(), m...), addrA); err != nil {
				t.Fatal(err)
			}
		}
		records := func() int {
			a.Cluster.mu.Lock()
			defer a.Cluster.mu.Unlock()
			return len(a.records)
		}
		const names = 3 * maxGone
		top := 0
		for i := range names {
			m := invented(i)
			send(aliveMessage(m, []byte{10, 1, byte(i >> 8), byte(i)}, 9))
			send(aliveMessage(invented(names+i), bytes.Repeat([]byte{1}, 1000), 9))
			<-time.After(2 * time.Millisecond)
			send(deadMessage(m.name()))
			<-time.After(2 * time.Millisecond)
			top = max(top, records())
		}
		taken := len(a.list.Members())
		t.Logf("%d members were made up; %d records at most, memberlist has %d alive", names, top, taken)
		if top > maxGone+16 {
			t.Errorf("%d records of members that never were", top)
		}
		for _, m := range a.Members() {
			if len(m.Addr) > 64 {
				t.Errorf("member %s has an address of %d bytes", m.Node, len(m.Addr))
			}
		}
		c := len(a.Members())
		<-time.After(reapTime)
		send(aliveMessage(invented(1<<20), []byte{10, 2, 0, 1}, 9))
		within(t, time.Second, "new members are taken in again", func() bool { return stateOf(a, invented(1<<20).Node) == StateAlive })
		t.Logf("%d were told of", c)
		b.put("flows", key(1), value(1))
		within(t, 5*time.Second, "still at work", same("flows", a, b))
	})
}

// TestLivingMembersAreBounded: more than maxMembers are not taken in, and those that
// are known already still are.
func TestLivingMembersAreBounded(t *testing.T) {
	c := &Cluster{cfg: DefaultConfig(), log: slog.New(slog.DiscardHandler), records: map[string]*record{}}
	for i := range maxMembers - 1 {
		c.records[invented(i).name()] = &record{state: StateAlive}
	}
	node := func(i int) *memberlist.Node {
		m := invented(i)
		return &memberlist.Node{Name: m.name(), Addr: net.IPv4(10, 0, 0, 1), Meta: m.encode()}
	}
	d := &delegate{c}
	if err := d.NotifyAlive(node(maxMembers)); err != nil {
		t.Errorf("the last one: %v", err)
	}
	c.records["one more"] = &record{state: StateSuspect}
	if err := d.NotifyAlive(node(maxMembers)); err == nil {
		t.Error("one too many is taken in")
	}
	if err := d.NotifyAlive(node(1)); err != nil {
		t.Errorf("one that is known: %v", err)
	}
	if err := d.NotifyMerge([]*memberlist.Node{{Name: invented(1).name(), Addr: make([]byte, 1000), Meta: invented(1).encode()}}); err == nil {
		t.Error("an address of 1000 bytes is taken")
	}
}

// TestToldMapsAreBounded: of what members tell of maps that are not here the names
// are kept, of so many.
func TestToldMapsAreBounded(t *testing.T) {
	virtual(t, lan, func(t *testing.T, w *world) {
		a := w.start("a", addrA, nil)
		before := liveHeap()
		const members = 2 * maxForeign / maxMaps
		var marks []crdt.Mark
		for i := range 200 {
			marks = append(marks, crdt.Mark{Member: fmt.Sprintf("m%d", i)})
		}
		a.Cluster.mu.Lock()
		for n := range members {
			m := invented(n)
			p := newPeer(a.ctx, m, memberlist.Node{Name: m.name(), Addr: net.IPv4(10, 0, 0, 1)}, maxInboxBytes, &a.inboxBytes)
			a.records[m.name()] = &record{meta: m, name: m.name(), state: StateAlive, peer: p, maps: map[string]mapState{}, ignored: map[string]bool{}, first: map[string]bool{}}
		}
		a.Cluster.mu.Unlock()
		peers := a.peers()
		for _, p := range peers {
			told := state{Order: 1, Maps: []mapState{{Map: flows}}}
			for range maxMaps - 1 {
				told.Maps = append(told.Maps, mapState{Map: Map{Name: fmt.Sprintf("%x", rand.Uint64()), Type: "hash", KeyBytes: 1},
					Progress: crdt.Report{Marks: append([]crdt.Mark(nil), marks...)}, Room: Room{1, 1}})
			}
			a.learn(p, told)
		}
		grown := liveHeap() - before
		kept := 0
		a.Cluster.mu.Lock()
		for _, p := range peers {
			r := a.records[p.boot]
			kept += len(r.maps)
			if !a.commonLocked(r, a.spec("flows")) {
				t.Errorf("the map that %s has in common is not kept", p.Node)
			}
			p.cancel()
			delete(a.records, p.boot)
		}
		a.Cluster.mu.Unlock()
		t.Logf("of %d maps %d are kept, in %.1f MiB", members*maxMaps, kept, grown)
		if kept > maxForeign+members || grown > 64 {
			t.Errorf("%d maps kept, %.1f MiB", kept, grown)
		}
	})
}

func TestInboxesTogetherAreBounded(t *testing.T) {
	var waiting atomic.Int64
	var all []*inbox
	sum := 0
	for range 4 * maxWaitingBytes / maxInboxBytes {
		in := newInbox(maxInboxBytes, &waiting)
		for in.put(parcel{bytes: 100 << 10}) {
			sum += 100 << 10
		}
		if !in.put(parcel{bytes: 1 << 10}) && in.bytes == 0 {
			t.Error("an empty inbox refuses a small frame")
		}
		all = append(all, in)
	}
	if most := maxWaitingBytes + len(all)*freeInboxBytes; sum > most {
		t.Errorf("%d MiB wait, want at most %d", sum>>20, most>>20)
	}
	for i, in := range all {
		if i%2 == 0 {
			in.discard()
			if in.put(parcel{bytes: 1}) {
				t.Error("a discarded inbox takes a frame")
			}
			continue
		}
		for {
			if _, ok := in.take(); !ok {
				break
			}
		}
	}
	if n := waiting.Load(); n != 0 {
		t.Errorf("%d bytes are still counted", n)
	}
}

// TestMarksOfAFrameAreBounded: a frame's memory is not a multiple of what one may be long.
func TestMarksOfAFrameAreBounded(t *testing.T) {
	told := state{Order: 1}
	for i := range 1 + maxFrameMarks/maxMarks {
		told.Maps = append(told.Maps, mapState{Map: Map{Name: fmt.Sprint(i), KeyBytes: 1}})
		for range maxMarks {
			told.Maps[i].Progress.Marks = append(told.Maps[i].Progress.Marks, crdt.Mark{Member: "m"})
		}
	}
	if _, _, err := decodeAny(told.encode(sampleSender)); err == nil {
		t.Error("too many marks were taken")
	}
	told.Maps = told.Maps[1:]
	if _, _, err := decodeAny(told.encode(sampleSender)); err != nil {
		t.Errorf("as many as there may be: %v", err)
	}
}

// lockedLog fails the test where a line is written with the cluster's lock held.
type lockedLog struct {
	slog.Handler
	t       *testing.T
	cluster *Cluster
	lines   int
}

func (l *lockedLog) Enabled(context.Context, slog.Level) bool { return true }

func (l *lockedLog) Handle(_ context.Context, r slog.Record) error {
	l.lines++
	if !l.cluster.mu.TryLock() {
		l.t.Errorf("%q is logged under the lock", r.Message)
		return nil
	}
	l.cluster.mu.Unlock()
	return nil
}

// TestStrangersFramesAreLoggedUnlocked: of one that becomes a member, and whose
// frames from before are broken.
func TestStrangersFramesAreLoggedUnlocked(t *testing.T) {
	log := &lockedLog{t: t}
	c := &Cluster{log: slog.New(log), records: map[string]*record{}}
	log.cluster = c
	m := invented(1)
	p := newPeer(context.Background(), m, memberlist.Node{Addr: net.IPv4(10, 0, 0, 1)}, maxInboxBytes, &c.inboxBytes)
	defer p.cancel()
	c.running.Store(true)
	for _, k := range []kind{kindAck, kindGoodbye} {
		w := newFrame(k, m.name(), 2, 64)
		w.uint(1)
		w.uint(2)
		c.deliver(w.finish())
	}
	c.mu.Lock()
	c.admitLocked(p)
	c.unlock()
	if log.lines != 2 || c.counters.malformed.Load() != 2 || len(c.strangers) != 0 {
		t.Errorf("%d lines, %d malformed frames, %d strangers; want 2, 2, 0", log.lines, c.counters.malformed.Load(), len(c.strangers))
	}
}

// TestUnreadBytesAreBounded: streams that nobody reads do not fill the memory,
// however many connections there are.
func TestUnreadBytesAreBounded(t *testing.T) {
	var all atomic.Int64
	var flows []*inflow
	for range 128 {
		ours, theirs := net.Pipe()
		go func() {
			for b := make([]byte, 64<<10); ; {
				if _, err := theirs.Write(b); err != nil {
					return
				}
			}
		}()
		defer ours.Close()
		flows = append(flows, &inflow{guardedConn: guardedConn{Conn: ours}, all: &all})
	}
	cut := 0
	for _, f := range flows {
		for b := make([]byte, 64<<10); f.unread.Load() < 16<<20; {
			if _, err := f.Read(b); err != nil {
				cut++
				break
			}
		}
	}
	if n := all.Load(); cut == 0 || n > maxUnreadBytes+int64(len(flows))*(freeUnreadBytes+64<<10) {
		t.Errorf("%d connections hold %d MiB, %d were cut", len(flows), n>>20, cut)
	}
	for _, f := range flows {
		f.took(10)
		f.empty()
	}
	if n := all.Load(); n != 0 {
		t.Errorf("%d bytes are still counted", n)
	}
}

// TestEndedSessionsHoldNothing: what streams had not read goes with the connection, so
// that who connects again and again fills no memory; and streams that this side is
// done with and the other one is not are bounded.
func TestEndedSessionsHoldNothing(t *testing.T) {
	victim := real(t, "victim", func(c *Config) { c.Keyring = [][]byte{bytes.Repeat([]byte{1}, 32)} })
	s := &siege{t: t, addr: victim.addr}
	window := append(append(label(), mlEncrypt, 0xff, 0xff, 0xff, 0xff, 1), make([]byte, 250<<10)...)
	before := liveHeap()
	for range 50 {
		session := s.session()
		for range 4 {
			stream, err := session.OpenStream()
			if err != nil {
				t.Fatal(err)
			}
			_ = stream.SetDeadline(time.Now().Add(time.Second))
			_, _ = stream.Write(window)         // an error: it was refused by then
			_, _ = stream.Read(make([]byte, 1)) // until it is refused; what the window still holds nobody reads
		}
		_ = session.Close()
	}
	within(t, 10*time.Second, "memory is back", func() bool { return liveHeap() < before+maxLeftBehind })

	session := s.session()
	defer session.Close()
	for opened := 0; !session.IsClosed(); opened++ {
		if opened > 2*maxHalfClosed {
			t.Fatalf("%d streams are half closed", opened)
		}
		stream, err := session.OpenStream()
		if err != nil {
			break
		}
		_ = stream.SetDeadline(time.Now().Add(time.Second))
		_, _ = stream.Write(append(label(), 0xff))
		_, _ = stream.Read(make([]byte, 1)) // until it is refused; this side stays open
	}
}

// TestOpeningsOfStreams: messages that make memberlist panic, or grow, never reach it.
func TestOpeningsOfStreams(t *testing.T) {
	secret := bytes.Repeat([]byte{1}, 32)
	for _, c := range []struct {
		name   string
		stream []byte
		wanted bool
	}{
		{"encrypted", streamBytes(secret, []byte("x"), 1), true},
		{"clear", streamBytes(nil, []byte{mlPing, 1}, 1), true},
		{"empty", streamBytes(secret, nil, 1), false},
		{"old version", streamBytes(secret, bytes.Repeat([]byte{255}, 16), 0), false},
		{"compressed", streamBytes(nil, []byte{mlCompress, 1}, 1), false},
	} {
		for _, step := range []int{1, 7, len(c.stream)} {
			var o opening
			var err error
			for at := 0; at < len(c.stream) && err == nil; at += step {
				err = o.see(c.stream[at:min(at+step, len(c.stream))])
			}
			if (err == nil) != c.wanted {
				t.Errorf("%s in steps of %d: %v", c.name, step, err)
			}
			if c.name == "encrypted" && o.length != len(c.stream) {
				t.Errorf("a stream of %d bytes counts as %d", len(c.stream), o.length)
			}
		}
	}
	packet := append(label(), 0, 1, 2)
	if disarm(packet); packet[len(packet)-3] != 0xff {
		t.Error("a packet of version 0 passes")
	}
	for _, short := range [][]byte{{}, label()[:1], label()[:5], label()} {
		disarm(short)
	}
	runtime.KeepAlive(packet)
}
