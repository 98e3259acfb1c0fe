package simnet

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	_ "github.com/mapgossip/mapgossip/test/raceproc"
)

func hosts(t *testing.T, n *Network) (a, b *Transport) {
	t.Helper()
	a, err := n.Listen("10.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	b, err = n.Listen("10.0.0.2:1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Shutdown(); _ = b.Shutdown() })
	return a, b
}

func connect(t *testing.T, a, b *Transport) (mine, theirs net.Conn) {
	t.Helper()
	accepted := make(chan net.Conn, 1)
	go func() { accepted <- <-b.StreamCh() }()
	mine, err := a.DialTimeout("10.0.0.2:1", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return mine, <-accepted
}

func TestPacketsMeetTheirFate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1, Link{Delay: time.Millisecond, Jitter: 5 * time.Millisecond, Loss: 0.2, Duplicate: 0.2})
		a, b := hosts(t, n)
		const sent = 1000
		for i := range sent {
			if _, err := a.WriteTo([]byte{byte(i >> 8), byte(i)}, "10.0.0.2:1"); err != nil {
				t.Fatal(err)
			}
		}
		count, disorder, last := map[int]int{}, 0, -1
		for done := time.After(time.Second); ; {
			select {
			case p := <-b.PacketCh():
				i := int(p.Buf[0])<<8 | int(p.Buf[1])
				count[i]++
				if i < last {
					disorder++
				}
				last = i
				continue
			case <-done:
			}
			break
		}
		twice := 0
		for _, c := range count {
			if c == 2 {
				twice++
			}
		}
		if len(count) < 700 || len(count) > 900 || twice < 100 || twice > 220 || disorder < 100 {
			t.Errorf("%d of %d arrived, %d twice, %d out of order", len(count), sent, twice, disorder)
		}
	})
}

func TestStreamStallsWhileCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1, Link{Delay: 10 * time.Millisecond})
		a, b := hosts(t, n)
		mine, theirs := connect(t, a, b)
		begin := time.Now()
		if _, err := mine.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 5)
		if _, err := io.ReadFull(theirs, buf); err != nil || string(buf) != "hello" || time.Since(begin) != 10*time.Millisecond {
			t.Errorf("%q after %v, %v", buf, time.Since(begin), err)
		}
		n.Cut("10.0.0.1:1", "10.0.0.2:1")
		if _, err := mine.Write([]byte("later")); err != nil {
			t.Errorf("write into the window: %v", err)
		}
		_ = theirs.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := theirs.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read over a cut link: %v", err)
		}
		_ = mine.SetWriteDeadline(time.Now().Add(time.Minute))
		if k, err := mine.Write(make([]byte, 2*window)); !errors.Is(err, os.ErrDeadlineExceeded) || k != window-5 {
			t.Errorf("write of two windows: %d, %v", k, err)
		}
		if _, err := theirs.Write([]byte("back")); err != nil {
			t.Error(err)
		}
		if k, err := mine.Read(buf); k != 4 || err != nil {
			t.Errorf("the other way: %d, %v", k, err)
		}
		n.Heal()
		_ = theirs.SetReadDeadline(time.Time{})
		_ = mine.Close()
		rest, err := io.ReadAll(theirs)
		if err != nil || len(rest) != window || !bytes.HasPrefix(rest, []byte("later")) {
			t.Errorf("%d bytes after the heal, %v", len(rest), err)
		}
		if _, err := theirs.Write([]byte("x")); err == nil {
			t.Error("write to a closed end succeeded")
		}
	})
}

func TestDialNeedsALink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1, Link{})
		a, b := hosts(t, n)
		n.Partition([]string{"10.0.0.1:1"}, []string{"10.0.0.2:1"})
		begin := time.Now()
		if _, err := a.DialTimeout("10.0.0.2:1", 3*time.Second); err == nil || time.Since(begin) != 3*time.Second {
			t.Errorf("dial over a cut link: %v after %v", err, time.Since(begin))
		}
		time.AfterFunc(time.Second/2, n.Heal)
		_, theirs := connect(t, a, b)
		n.Kill("10.0.0.1:1")
		_ = theirs.SetReadDeadline(time.Now().Add(time.Hour))
		if _, err := theirs.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read from the dead: %v", err)
		}
		if _, err := n.Listen("10.0.0.1:1"); err != nil {
			t.Errorf("the address of the dead: %v", err)
		}
		if _, err := n.Listen("10.0.0.2:1"); err == nil {
			t.Error("an address was given twice")
		}
	})
}
