// The attacks are one table, with what each does beside it: they stay in one file.

package gossip

import (
	"bytes"
	crand "crypto/rand"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/yamux"
	"github.com/mapgossip/mapgossip/crdt"
)

// attacks in turn. Those of a stranger have no key.
var attacks = []struct {
	name string
	run  func(*siege)
}{
	{"stranger: packets", (*siege).strangePackets},
	{"stranger: streams", (*siege).strangeStreams},
	{"stranger: half open", (*siege).halfOpen},
	{"stranger: unread windows", (*siege).unreadWindows},
	{"member: frames by packet", func(s *siege) { s.spoiledFrames(false) }},
	{"member: frames by stream", func(s *siege) { s.spoiledFrames(true) }},
	{"member: replays", (*siege).replays},
	{"member: sessions, nonces", (*siege).unknownSessions},
	{"member: states", (*siege).endlessStates},
	{"member: names of senders", (*siege).inventedSenders},
	{"member: names of members", (*siege).inventedMembers},
	{"member: memberlist", (*siege).memberlistMessages},
	{"member: indirect pings", (*siege).indirectPings},
	{"member: bombs by packet", (*siege).packetBombs},
	{"member: bombs by stream", (*siege).streamBombs},
	{"member: lying encryption", (*siege).lyingEncryption},
	{"member: slow reader", (*siege).slowReader},
}

// TestHostilePeers: what others send does not make this member's memory grow, be it
// a stranger without the key or a member gone bad that has it, and it goes on
// replicating. 1 s of attacks, or MAPGOSSIP_HOSTILE=DURATION. The heap is that of all members
// of the test and of the attacker.
//
// The decoders themselves are fuzzed: FuzzFrame and FuzzMeta here, FuzzParseEntry and
// FuzzParseTimestamp in package crdt, FuzzOpen and FuzzFrames in package state,
// FuzzDecodeRecord in package mapwatch.
func TestHostilePeers(t *testing.T) {
	length := time.Second
	if text := os.Getenv("MAPGOSSIP_HOSTILE"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatalf("MAPGOSSIP_HOSTILE: %v", err)
		}
	}
	var log countingLog
	s := &siege{t: t, key: bytes.Repeat([]byte{1}, 32)}
	keyed := func(c *Config) {
		c.Keyring, c.Logger, c.SyncInterval = [][]byte{s.key}, log.logger(), 500*time.Millisecond
	}
	join := func(c *Config) { keyed(c); c.Seeds = []string{s.victim.addr} }
	s.victim = real(t, "victim", keyed)
	s.addr = s.victim.addr
	s.honest = real(t, "honest", join)
	within(t, 10*time.Second, "ready", ready(s.victim, s.honest))
	goroutines := runtime.NumGoroutine()
	s.bad = real(t, "bad", join)
	within(t, 10*time.Second, "ready", ready(s.bad))
	var err error
	if s.packets, err = net.Dial("udp", s.addr); err != nil {
		t.Fatal(err)
	}
	defer s.packets.Close()

	before, begin := watch().read(), time.Now()
	t.Logf("%-26s %9s %9s %9s %9s %7s", "", "inputs", "live MiB", "peak MiB", "RSS MiB", "ended")
	t.Logf("%-26s %9d %9.1f %9.1f %9.1f", "before", 0, before.live, before.peak, before.resident)
	inputs := 0
	for _, a := range attacks {
		g := watch()
		s.tried, s.until, s.each = 0, time.Time{}, length/time.Duration(len(attacks))
		a.run(s)
		during := g.read()
		for _, c := range s.conns {
			_ = c.Close()
		}
		s.conns = nil
		inputs += s.tried
		t.Logf("%-26s %9d %9.1f %9.1f %9.1f %6.1fs", a.name, s.tried, during.live, during.peak, during.resident, time.Since(begin).Seconds())
		if during.live > before.live+maxLiveGrowth {
			t.Errorf("%s: %.1f MiB of live heap, before %.1f", a.name, during.live, before.live)
		}
		if during.peak > before.live+maxPeakGrowth {
			t.Errorf("%s: the heap was %.1f MiB at its peak, before %.1f", a.name, during.peak, before.live)
		}
		if during.resident > before.resident+maxResidentGrowth {
			t.Errorf("%s: %.1f MiB were resident at the peak, before %.1f", a.name, during.resident, before.resident)
		}
	}
	s.bad.stop()
	if err := s.bad.Close(); err != nil {
		t.Error(err)
	}
	for i := range 100 {
		s.victim.put("flows", key(100+i), value(i))
		s.honest.put("flows", key(1000+i), value(i))
	}
	// Members that never were slow those that are, until they are gone: changes
	// and exchanges go to them, too.
	within(t, 30*time.Second, "still at work", func() bool {
		return s.buried() && same("flows", s.victim, s.honest)() && s.victim.len("flows") >= 200
	})
	defer func() {
		if t.Failed() {
			_ = pprof.Lookup("goroutine").WriteTo(os.Stdout, 1)
			_ = pprof.Lookup("heap").WriteTo(os.Stdout, 1)
		}
	}()
	t.Logf("at work after %.1f s", time.Since(begin).Seconds())
	within(t, 30*time.Second, "goroutines end", func() bool { return s.buried() && runtime.NumGoroutine() <= goroutines+20 })
	t.Logf("goroutines ended after %.1f s", time.Since(begin).Seconds())
	within(t, 20*time.Second, "memory is back", func() bool { return liveHeap() < before.live+maxLeftBehind })
	after := watch().read()
	t.Logf("%-26s %9d %9.1f %9.1f %9.1f %6.1fs", "after", inputs, after.live, after.peak, after.resident, time.Since(begin).Seconds())
	t.Logf("%d lines of log, %d goroutines before, %d after; %+v", log.lines.Load(), goroutines, runtime.NumGoroutine(), s.victim.Stats())
}

// Bounds of TestHostilePeers, in MiB over what there was before.
const (
	maxLiveGrowth     = 1000 // while the attack's connections are open
	maxPeakGrowth     = 1400
	maxResidentGrowth = 1600
	maxLeftBehind     = 16 // afterwards
)

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = crand.Read(b)
	return b
}

func (s *siege) strangePackets() {
	other := noise(32)
	frames := framesOf(s.honest.name)
	for s.lap() {
		s.packet(nil, noise(1+rand.IntN(1400)))
		s.packet(nil, noise(60_000))
		for kind := range byte(mlErr + 2) {
			s.packet(nil, append([]byte{kind}, noise(rand.IntN(300))...))
		}
		for _, frame := range frames {
			s.packet(nil, user(frame[:rand.IntN(len(frame)+1)], false))
			if len(frame) < 30_000 {
				s.packet(other, user(frame, false))
			}
		}
		s.packet(nil, aliveMessage(invented(s.tried), []byte{127, 0, 0, 1}, 9))
	}
}

func (s *siege) strangeStreams() {
	other := noise(32)
	var session *yamux.Session
	frames := framesOf(s.honest.name)
	for s.lap() {
		s.stream(&session, noise(1+rand.IntN(5000)))
		s.stream(&session, append(label(), mlEncrypt, 1, 0x3f, 0xff, 0xff, 1)) // 20 MiB announced
		s.stream(&session, append(label(), mlEncrypt, 0xff, 0xff, 0xff, 0xff, 1))
		s.stream(&session, streamBytes(nil, memberMessage(mlUser, map[string]any{"UserMsgLen": 20 << 20}), 1))
		s.stream(&session, streamBytes(nil, memberMessage(mlPushPull, map[string]any{"Nodes": 1 << 20, "UserStateLen": 20 << 20}), 1))
		for _, frame := range frames {
			s.stream(&session, streamBytes(other, user(frame, true), 1))
			s.stream(&session, streamBytes(nil, user(frame, true), 1))
		}
	}
}

// halfOpen leaves connections before, in and after the handshake.
func (s *siege) halfOpen() {
	for s.lap() && len(s.conns) < 400 {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			s.t.Fatal(err)
		}
		s.tried++
		s.conns = append(s.conns, conn)
		_, _ = conn.Write([]byte(preamble)[:s.tried%(len(preamble)+1)])
		if s.tried%3 == 0 {
			_, _ = conn.Write([]byte{0, 0, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff}) // a frame of 4 GiB of the multiplexer
		}
	}
}

// unreadWindows fills the window of as many streams as there may be.
func (s *siege) unreadWindows() {
	window := append(append(label(), mlEncrypt, 1, 0x3f, 0xff, 0xff, 1), make([]byte, 250<<10)...)
	for s.lap() && len(s.conns) < 60 {
		session := s.session()
		for range 2 * maxStreamsSession {
			stream, err := session.OpenStream()
			if err != nil {
				break
			}
			s.tried++
			_ = stream.SetDeadline(time.Now().Add(200 * time.Millisecond))
			if _, err := stream.Write(window); err != nil || !s.lap() {
				break
			}
		}
	}
}

func (s *siege) spoiledFrames(inStream bool) {
	var session *yamux.Session
	send := func(frame []byte) bool {
		if inStream {
			s.stream(&session, streamBytes(s.key, user(frame, true), 1))
		} else {
			s.packet(s.key, user(frame, false))
		}
		return s.lap()
	}
	frames := framesOf(s.bad.name)
	for s.lap() {
		for _, frame := range frames {
			if inStream || len(frame) < 30_000 {
				send(frame)
			}
			if !spoil(frame, send) {
				return
			}
		}
	}
}

func (s *siege) replays() {
	var session *yamux.Session
	frames := framesOf(s.bad.name)
	for s.lap() {
		for _, frame := range frames {
			for range 20 {
				if len(frame) < 30_000 {
					s.packet(s.key, user(frame, false))
				}
			}
			s.stream(&session, streamBytes(s.key, user(frame, true), 1))
			if !s.lap() {
				return
			}
		}
	}
}

func (s *siege) unknownSessions() {
	digests := make([]uint64, crdt.Buckets)
	for s.lap() {
		id, name := rand.Uint64(), s.bad.name
		for i := range digests {
			digests[i] = rand.Uint64()
		}
		for _, frame := range [][]byte{
			encodeSyncEnd(name, id), encodeSyncRefuse(name, id, "x"), syncChunk{id, 1}.encode(name),
			syncLack{id, 1, noise(10), noise(hintBytes)}.encode(name), syncPrints{id, 1, []byte{1}, 1, 0, noise(printBytes)}.encode(name),
			syncWant{id, noise(bucketMapBytes), noise(bucketMapBytes), crdt.Report{}}.encode(name), encodeAck(name, []uint64{id, id + 1}),
			state{Nonce: id, Order: id >> 1}.encode(name), state{Nonce: id, Reply: true, Order: id >> 1}.encode(name),
			syncStart{id, flows, digests, crdt.Report{}}.encode(name),
		} {
			s.packet(s.key, user(frame, false))
		}
	}
}

// endlessStates tells other maps each time, as many and as long as there may be.
func (s *siege) endlessStates() {
	var session *yamux.Session
	var marks []crdt.Mark
	for range 20 {
		marks = append(marks, crdt.Mark{Member: fmt.Sprintf("%x", rand.Uint64())})
	}
	for s.lap() {
		told := state{Order: uint64(time.Now().UnixNano())}
		for range maxMaps {
			m := mapState{Map: Map{Name: fmt.Sprintf("%x", noise(127)), Type: fmt.Sprintf("%x", noise(30)), KeyBytes: 1 + rand.IntN(MaxEntryBytes), ValueBytes: 1},
				Known: true, Room: Room{rand.IntN(maxRoom), 1}, Progress: crdt.Report{Marks: marks}}
			told.Maps = append(told.Maps, m)
		}
		s.stream(&session, streamBytes(s.key, user(told.encode(s.bad.name), true), 1))
	}
}

// inventedSenders sends frames of members that nobody knows.
func (s *siege) inventedSenders() {
	var session *yamux.Session
	large := make([]byte, 60<<10)
	for s.lap() {
		name := invented(s.tried).name()
		for _, frame := range framesOf(s.bad.name[:8] + name[len(name)-16:]) {
			s.packet(s.key, user(frame, false))
		}
		s.stream(&session, streamBytes(s.key, user(sealed(byte(kindState), append(append([]byte{0x97, 0xb8}, name[len(name)-24:]...), large...)), true), 1))
	}
}

// inventedMembers makes up members, which live and die.
func (s *siege) inventedMembers() {
	first := rand.IntN(1 << 20)
	n := first
	for s.lap() && n < first+300 {
		s.packet(s.key, compound(aliveMessage(invented(n), []byte{127, 0, 0, 1}, 1+n%100), aliveMessage(invented(n), noise(16), 1)))
		s.packet(s.key, aliveMessage(invented(1<<21+n), noise(5000), 1)) // an address that is none
		n++
	}
	for range 3 {
		for i := first; i < n; i++ {
			s.packet(s.key, deadMessage(invented(i).name()))
		}
	}
	within(s.t, 20*time.Second, "invented members are gone", s.buried)
}

// buried says of invented members that live that they are dead, and reports whether
// there were none. Those of packets that wait come later.
func (s *siege) buried() bool {
	left := false
	for _, member := range []*member{s.victim, s.honest} { // each tells the other
		for _, m := range member.Members() {
			if (m.State == StateAlive || m.State == StateSuspect) && strings.HasPrefix(m.Node, "invented") {
				s.packet(s.key, deadMessage(m.Name))
				left = true
			}
		}
	}
	return !left
}

// memberlistMessages sends each kind of memberlist's own messages, whole, cut and
// inflated.
func (s *siege) memberlistMessages() {
	var session *yamux.Session
	messages := [][]byte{
		memberMessage(mlPing, map[string]any{"SeqNo": 1, "Node": s.victim.name, "SourceAddr": []byte{127, 0, 0, 1}, "SourcePort": 9, "SourceNode": "x"}),
		memberMessage(mlAck, map[string]any{"SeqNo": 1, "Payload": noise(100)}), memberMessage(mlNack, map[string]any{"SeqNo": 1}),
		memberMessage(mlSuspect, map[string]any{"Incarnation": 1, "Node": "nobody", "From": "x"}), deadMessage("nobody"),
		memberMessage(mlPushPull, map[string]any{"Nodes": 1 << 20, "UserStateLen": 20 << 20, "Join": true}),
		memberMessage(mlPushPull, map[string]any{"Nodes": -1, "UserStateLen": -1, "Join": true}),
		memberMessage(mlUser, map[string]any{"UserMsgLen": 20 << 20}), memberMessage(mlUser, map[string]any{"UserMsgLen": -5}),
		memberMessage(mlErr, map[string]any{"Error": string(noise(300))}), compound(noise(3), noise(4)), {mlCompound, 255, 0, 1},
		memberMessage(mlCompress, map[string]any{"Algo": 0, "Buf": noise(50)}), append([]byte{mlCRC}, noise(40)...),
		append([]byte{mlUser}, noise(40)...),
	}
	for s.lap() {
		for _, m := range messages {
			for at := range len(m) + 1 {
				s.packet(s.key, m[:at])
				if at == len(m) || at == 0 {
					continue
				}
				for _, in := range inflations {
					spoiled := append(append(bytes.Clone(m[:at]), in...), m[at+1:]...)
					s.packet(s.key, spoiled)
					if s.tried%7 == 0 {
						s.stream(&session, streamBytes(s.key, spoiled, 1))
					}
				}
				if !s.lap() {
					return
				}
			}
			s.stream(&session, streamBytes(s.key, m, 1))
		}
	}
}

func (s *siege) indirectPings() {
	for s.lap() {
		ping := memberMessage(mlIndirectPing, map[string]any{"SeqNo": s.tried, "Target": []byte{127, 0, 0, 1}, "Port": 9, "Node": "x", "Nack": true,
			"SourceAddr": []byte{127, 0, 0, 1}, "SourcePort": 9, "SourceNode": "x"})
		s.packet(s.key, compound(ping, ping, ping, ping, ping, ping, ping, ping))
		s.tried += 7
	}
}

// nested is as many compound messages within each other as a packet holds.
func nested() []byte {
	var b []byte
	for left := 60_000; left > 0; left -= 4 {
		b = binary.BigEndian.AppendUint16(append(b, mlCompound, 1), uint16(left-3))
	}
	return append(b, mlPing)
}

func (s *siege) packetBombs() {
	deep := nested()
	full := bomb([]byte{mlUser}, 40<<20)
	packets := [][]byte{
		deep, bomb(compound(user(noise(10), false)), 40<<20), full, bomb(full, 40<<20), bomb(bomb(full, 20<<20), 40<<20),
		bomb(deep, 1<<20), bomb([]byte{mlCompound, 255}, 1<<20), bomb([]byte{mlUser}, 41<<20),
	}
	for s.lap() && s.tried < s.bombs() {
		for _, p := range packets {
			s.packet(s.key, p)
		}
	}
}

// streamBombs holds many streams that become large, at once.
func (s *siege) streamBombs() {
	user := bomb(memberMessage(mlUser, map[string]any{"UserMsgLen": 20 << 20}), 40<<20)
	count := 1 << 20
	if million < 1_000_000 { // the race detector
		count /= 64
	}
	nodes := bomb(memberMessage(mlPushPull, map[string]any{"Nodes": count, "UserStateLen": 20 << 20}), 40<<20)
	session := s.session()
	for s.lap() && s.tried < 2*s.bombs() {
		for range 4 {
			s.stream(&session, streamBytes(s.key, user, 1))
			s.stream(&session, streamBytes(s.key, nodes, 1))
			s.stream(&session, streamBytes(nil, user, 1))
		}
	}
}

// lyingEncryption is right messages of an old version whose padding lies, and empty
// ones.
func (s *siege) lyingEncryption() {
	var session *yamux.Session
	for s.lap() {
		s.packetAs(s.key, bytes.Repeat([]byte{255}, 16), 0)
		s.packetAs(s.key, nil, 0)
		s.packet(s.key, nil)
		s.stream(&session, streamBytes(s.key, nil, 1))
		s.stream(&session, streamBytes(s.key, bytes.Repeat([]byte{255}, 16), 0))
	}
}

// slowReader asks for much and reads nothing.
func (s *siege) slowReader() {
	question := state{Reply: true, Nonce: 1, Order: 1}.encode(s.bad.name)
	join := memberMessage(mlPushPull, map[string]any{"Nodes": 0, "UserStateLen": 0, "Join": true})
	session := s.session()
	for s.lap() && s.tried < 2000 {
		stream, err := session.OpenStream()
		if err != nil {
			break
		}
		s.tried++
		_ = stream.SetDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := stream.Write(streamBytes(s.key, join, 1)); err != nil {
			break
		}
		s.packet(s.key, user(question, false))
	}
}
