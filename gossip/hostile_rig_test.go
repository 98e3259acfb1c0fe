package gossip

import (
	"bytes"
	"compress/lzw"
	"crypto/aes"
	"crypto/cipher"
	crand "crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/yamux"
	"github.com/vmihailenco/msgpack/v5"
)

// Types of memberlist's messages (v0.7.0: net.go).
const (
	mlPing = iota
	mlIndirectPing
	mlAck
	mlSuspect
	mlAlive
	mlDead
	mlPushPull
	mlCompound
	mlUser
	mlCompress
	mlEncrypt
	mlNack
	mlCRC
	mlErr
)

// siege is a victim, an honest member, and whoever attacks.
type siege struct {
	t              *testing.T
	victim, honest *member
	bad            *member // has the keys
	key            []byte
	addr           string // the victim's
	packets        net.Conn
	until          time.Time
	each           time.Duration // of an attack
	tried          int           // inputs of the present attack
	conns          []io.Closer
}

// lap reports whether there is time for another round of an attack; each has one.
func (s *siege) lap() bool {
	if s.until.IsZero() {
		s.until = time.Now().Add(s.each)
		return true
	}
	return time.Now().Before(s.until)
}

// memberMessage is one of memberlist's.
func memberMessage(kind byte, body any) []byte {
	b, err := msgpack.Marshal(body)
	if err != nil {
		panic(err)
	}
	return append([]byte{kind}, b...)
}

func label() []byte { return append([]byte{0xf4, byte(len("mapgossip"))}, "mapgossip"...) }

// sealedBy seals as memberlist does. version is written, whatever it means.
func sealedBy(key, plain, more []byte, version byte) []byte {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	nonce := make([]byte, 12)
	_, _ = crand.Read(nonce)
	return gcm.Seal(append([]byte{version}, nonce...), nonce, plain, more)
}

// packet sends one of memberlist's packets; in the clear without a key.
func (s *siege) packet(key, plain []byte) { s.packetAs(key, plain, 1) }

func (s *siege) packetAs(key, plain []byte, version byte) {
	s.tried++
	if key != nil {
		plain = sealedBy(key, plain, []byte("mapgossip"), version)
	}
	_, _ = s.packets.Write(append(label(), plain...)) // too long, or the buffer is full: lost
}

// streamBytes is what a stream carries for one message.
func streamBytes(key, plain []byte, version byte) []byte {
	if key == nil {
		return append(label(), plain...)
	}
	head := binary.BigEndian.AppendUint32([]byte{mlEncrypt}, uint32(1+12+16+len(plain)))
	return append(append(label(), head...), sealedBy(key, plain, append(bytes.Clone(head), "mapgossip"...), version)...)
}

// session dials the victim as members do.
func (s *siege) session() *yamux.Session {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := conn.Write([]byte(preamble)); err != nil {
		s.t.Fatal(err)
	}
	cfg := yamux.DefaultConfig()
	cfg.LogOutput, cfg.StreamOpenTimeout, cfg.ConnectionWriteTimeout = io.Discard, 0, time.Second
	session, err := yamux.Client(conn, cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.conns = append(s.conns, session)
	return session
}

// stream writes to a stream of its own and leaves it; a session that ended is
// replaced.
func (s *siege) stream(session **yamux.Session, data []byte) {
	s.tried++
	if *session == nil || (*session).IsClosed() {
		*session = s.session()
	}
	stream, err := (*session).OpenStream()
	if err != nil {
		_ = (*session).Close()
		return
	}
	_ = stream.SetDeadline(time.Now().Add(time.Second))
	_, _ = stream.Write(data)
	_ = stream.Close()
}

// user is a frame as memberlist carries it, in a packet or in a stream.
func user(frame []byte, inStream bool) []byte {
	if !inStream {
		return append([]byte{mlUser}, frame...)
	}
	return append(memberMessage(mlUser, map[string]any{"UserMsgLen": len(frame)}), frame...)
}

// framesOf is a sample of each kind as if it came from that member.
func framesOf(name string) map[string][]byte {
	frames := map[string][]byte{}
	for k, frame := range samples() {
		if k == "meta" {
			continue
		}
		body := frame[frameHeaderBytes:]
		own := append([]byte{body[0], 0xa0 | byte(len(name))}, name...)
		frames[k] = sealed(frame[2], append(own, body[2+len(sampleSender):]...))
	}
	real := batch{Seq: 1, Stream: true, Map: flows.Name, KeyBytes: flows.KeyBytes, ValueBytes: flows.ValueBytes, Entries: sampleBatch().Entries[:1]}
	real.Entries[0].Key, real.Entries[0].Value = key(1), value(1)
	frames["real batch"] = real.encode(name)
	frames["question"] = state{Nonce: 5, Reply: true, Order: 1, Maps: []mapState{{Map: flows}}}.encode(name)
	frames["unknown kind"] = newFrame(99, name, 0, 64).finish()
	return frames
}

// inflations take the place of one byte: lengths, counts and numbers that are out
// of all bounds.
var inflations = [][]byte{
	{0xdd, 0xff, 0xff, 0xff, 0xff}, {0xdc, 0xff, 0xff}, {0xc6, 0xff, 0xff, 0xff, 0xff}, {0xdb, 0x7f, 0xff, 0xff, 0xff}, {0xdf, 0xff, 0xff, 0xff, 0xff},
	{0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0}, {0xcb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 1}, {0xc0}, {0xc1},
}

// spoil calls use with a frame cut at each length, bare and with a header that
// fits, and with each inflation at each place; of long frames the first bytes.
func spoil(frame []byte, use func([]byte) bool) bool {
	body := frame[frameHeaderBytes:]
	version := bytes.Clone(frame)
	version[1]++
	binary.BigEndian.PutUint32(version[7:], frameSum(version))
	if !use(version) {
		return false
	}
	for at := range min(len(body), 200) {
		if !use(frame[:at]) || !use(sealed(frame[2], body[:at])) {
			return false
		}
		for _, in := range inflations {
			if !use(sealed(frame[2], append(append(bytes.Clone(body[:at]), in...), body[at+1:]...))) {
				return false
			}
		}
	}
	return true
}

// bombs is how many an attack of this length sends: what was sent has to be taken
// apart before anything else is.
func (s *siege) bombs() int { return 8 + int(s.each/(20*time.Millisecond)) }

// bomb compresses as memberlist does: n bytes that begin with these. Under the race
// detector, which makes it slow, much less.
func bomb(begin []byte, n int) []byte {
	if million < 1_000_000 {
		n = max(n/128, len(begin))
	}
	var b bytes.Buffer
	w := lzw.NewWriter(&b, lzw.LSB, 8)
	_, _ = w.Write(begin)
	_, _ = w.Write(make([]byte, n-len(begin)))
	_ = w.Close()
	return memberMessage(mlCompress, map[string]any{"Algo": 0, "Buf": b.Bytes()})
}

// compound is memberlist's message of messages.
func compound(parts ...[]byte) []byte {
	b := []byte{mlCompound, byte(len(parts))}
	for _, p := range parts {
		b = binary.BigEndian.AppendUint16(b, uint16(len(p)))
	}
	return append(b, bytes.Join(parts, nil)...)
}

// alive is memberlist's message that a member lives.
func aliveMessage(m meta, addr []byte, port int) []byte {
	return memberMessage(mlAlive, map[string]any{"Incarnation": uint32(1), "Node": m.name(), "Addr": addr, "Port": port,
		"Meta": m.encode(), "Vsn": []byte{1, 5, memberlistProtocol, protocol, protocol, protocol}})
}

func deadMessage(name string) []byte {
	return memberMessage(mlDead, map[string]any{"Incarnation": uint32(9), "Node": name, "From": name})
}

func invented(n int) meta {
	return meta{Protocol: protocol, Node: fmt.Sprintf("invented-%07d", n), BootID: fmt.Sprintf("%016d", n), Start: int64(n), Version: strings.Repeat("v", n%maxVersionBytes)}
}

// memory is what the process takes, in MiB.
type memory struct{ live, peak, resident float64 }

// gauge watches the heap and the resident set.
type gauge struct {
	top  atomic.Uint64
	stop chan struct{}
	done chan struct{}
}

func watch() *gauge {
	g := &gauge{stop: make(chan struct{}), done: make(chan struct{})}
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // VmHWM begins anew, where that is allowed
	go func() {
		defer close(g.done)
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			g.top.Store(max(g.top.Load(), m.HeapAlloc))
			select {
			case <-g.stop:
				return
			case <-ticker.C:
			}
		}
	}()
	return g
}

// read ends the watch. live is after a collection.
func (g *gauge) read() memory {
	close(g.stop)
	<-g.done
	return memory{live: liveHeap(), peak: float64(g.top.Load()) / (1 << 20), resident: residentPeak()}
}

func liveHeap() float64 {
	runtime.GC()
	runtime.GC() // what pools held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20)
}

func residentPeak() float64 {
	status, _ := os.ReadFile("/proc/self/status")
	_, line, _ := strings.Cut(string(status), "VmHWM:")
	var kib float64
	_, _ = fmt.Sscan(line, &kib)
	return kib / 1024
}

// countingLog takes lines and keeps none.
type countingLog struct{ lines atomic.Int64 }

func (l *countingLog) Write(p []byte) (int, error) {
	l.lines.Add(1)
	return len(p), nil
}

func (l *countingLog) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
