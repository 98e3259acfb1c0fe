package ether

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	_ "github.com/mapgossip/mapgossip/test/raceproc"
)

// station is the host's end of a port: frames that arrive go to got.
type station struct {
	conn net.Conn
	port *Port

	mu  sync.Mutex
	got []string
	at  []time.Duration
}

func attach(s *Switch) *station {
	near, far := net.Pipe()
	st := &station{conn: near, port: s.Attach(far)}
	begin := time.Now()
	go func() {
		for {
			var length [4]byte
			if _, err := io.ReadFull(near, length[:]); err != nil {
				return
			}
			b := make([]byte, binary.BigEndian.Uint32(length[:]))
			if _, err := io.ReadFull(near, b); err != nil {
				return
			}
			st.mu.Lock()
			st.got = append(st.got, string(b[14:]))
			st.at = append(st.at, time.Since(begin))
			st.mu.Unlock()
		}
	}()
	return st
}

// send blocks until the switch has read the frame, then until all is quiet.
func (st *station) send(to, from byte, text string) {
	b := make([]byte, 4, 64)
	binary.BigEndian.PutUint32(b, uint32(14+len(text)))
	b = append(b, mac(to)...)
	b = append(b, mac(from)...)
	b = append(b, 0x88, 0xb5)
	b = append(b, text...)
	st.conn.Write(b)
	synctest.Wait()
}

const everyone = 0xff

func mac(n byte) []byte {
	if n == everyone {
		return []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	}
	return []byte{2, 0, 0, 0, 0, n}
}

func (st *station) take() (texts []string) {
	synctest.Wait()
	st.mu.Lock()
	defer st.mu.Unlock()
	texts, st.got = st.got, nil
	return texts
}

func want(t *testing.T, st *station, texts ...string) {
	t.Helper()
	got := st.take()
	if len(got) != len(texts) {
		t.Fatalf("got %q, want %q", got, texts)
	}
	for i := range got {
		if got[i] != texts[i] {
			t.Fatalf("got %q, want %q", got, texts)
		}
	}
}

func bubble(t *testing.T, f func(t *testing.T, s *Switch, a, b, c *station)) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSwitch(1)
		a, b, c := attach(s), attach(s), attach(s)
		defer func() {
			s.Close()
			for _, st := range []*station{a, b, c} {
				st.conn.Close()
			}
		}()
		f(t, s, a, b, c)
	})
}

func TestLearning(t *testing.T) {
	bubble(t, func(t *testing.T, s *Switch, a, b, c *station) {
		a.send(2, 1, "who is 2")
		want(t, a)
		want(t, b, "who is 2")
		want(t, c, "who is 2")
		b.send(1, 2, "me")
		want(t, a, "me")
		want(t, c)
		a.send(2, 1, "now I know")
		want(t, b, "now I know")
		want(t, c)
		a.send(everyone, 1, "all")
		want(t, b, "all")
		want(t, c, "all")
		c.send(2, 1, "1 has moved")
		want(t, b, "1 has moved")
		b.send(1, 2, "good")
		want(t, a)
		want(t, c, "good")
		a.send(1, 9, "is 1 still here")
		want(t, c, "is 1 still here")
	})
}

func TestCut(t *testing.T) {
	bubble(t, func(t *testing.T, s *Switch, a, b, c *station) {
		s.SetLink(a.port, b.port, Link{Cut: true})
		a.send(everyone, 1, "one")
		want(t, b)
		want(t, c, "one")
		b.send(everyone, 2, "the other way is open")
		want(t, a, "the other way is open")
		want(t, c, "the other way is open")
		if !s.Link(a.port, b.port).Cut || s.Link(b.port, a.port).Cut {
			t.Fatal("Link does not tell what SetLink set")
		}
		if n := b.port.Counters(); n.Lost != 1 || n.In != 1 || n.Out != 0 {
			t.Fatalf("got %+v", n)
		}
		s.HealAll()
		a.send(2, 1, "two")
		want(t, b, "two")
	})
}

func TestDropIsSeeded(t *testing.T) {
	var before int
	for range 2 {
		bubble(t, func(t *testing.T, s *Switch, a, b, c *station) {
			s.SetLink(a.port, b.port, Link{Drop: 0.3})
			for range 1000 {
				a.send(everyone, 1, "x")
			}
			if got := len(c.take()); got != 1000 {
				t.Fatalf("the other host lost some: got %d", got)
			}
			got := len(b.take())
			if got < 600 || got > 800 {
				t.Fatalf("got %d of 1000 at a loss of 0.3", got)
			}
			if before != 0 && before != got {
				t.Fatalf("the same seed lost others: %d and %d", before, got)
			}
			before = got
		})
	}
}

func TestDelay(t *testing.T) {
	bubble(t, func(t *testing.T, s *Switch, a, b, c *station) {
		s.SetLink(a.port, b.port, Link{Delay: time.Second})
		a.send(2, 1, "slow 1")
		a.send(2, 1, "slow 2")
		c.send(2, 3, "fast")
		want(t, b, "fast")
		time.Sleep(time.Second)
		want(t, b, "slow 1", "slow 2")
		if last := b.at[2]; last != time.Second {
			t.Fatalf("arrived after %v", last)
		}
		a.send(2, 1, "on its way when the link was cut")
		s.SetLink(a.port, b.port, Link{Cut: true})
		time.Sleep(2 * time.Second)
		want(t, b)
		s.SetLink(a.port, b.port, Link{Jitter: time.Second})
		for range 100 {
			a.send(2, 1, "x")
		}
		time.Sleep(time.Second)
		if got := len(b.take()); got != 100 {
			t.Fatalf("jitter lost frames: got %d", got)
		}
	})
}

// A host that does not read loses what its queue cannot hold, and nobody waits for it.
func TestOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSwitch(1)
		a, b := attach(s), attach(s)
		near, far := net.Pipe()
		deaf := s.Attach(far)
		for range queueFrames + 100 {
			a.send(everyone, 1, "x")
		}
		if got := len(b.take()); got != queueFrames+100 {
			t.Fatalf("got %d", got)
		}
		if n := deaf.Counters(); n.Overflowed == 0 || n.Overflowed+n.Out+queueFrames != queueFrames+100 {
			t.Fatalf("got %+v", n)
		}
		s.Close()
		near.Close()
		a.conn.Close()
		b.conn.Close()
	})
}

func TestPortGoesWithItsStream(t *testing.T) {
	bubble(t, func(t *testing.T, s *Switch, a, b, c *station) {
		b.send(everyone, 2, "I am 2")
		a.take()
		c.take()
		b.conn.Close()
		<-b.port.Gone()
		a.send(2, 1, "where is 2")
		want(t, c, "where is 2") // forgotten, so everyone is asked
	})
}

// A stream that is out of step is closed, not believed.
func TestNonsense(t *testing.T) {
	bubble(t, func(t *testing.T, s *Switch, a, b, c *station) {
		a.conn.Write([]byte{0xff, 0xff, 0xff, 0xff})
		<-a.port.Gone()
		b.conn.Write([]byte{0, 0, 0, 1, 7}) // shorter than a header: dropped
		b.send(everyone, 2, "still here")
		want(t, c, "still here")
	})
}
