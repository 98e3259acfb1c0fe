package simnet

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1, Link{Delay: time.Millisecond})
		a, b := hosts(t, n)
		mine, theirs := connect(t, a, b)
		n.Stall("10.0.0.2:1")
		_ = mine.SetWriteDeadline(time.Now().Add(time.Minute))
		if k, err := mine.Write(make([]byte, 2*window)); !errors.Is(err, os.ErrDeadlineExceeded) || k != window {
			t.Errorf("write to a stalled host: %d, %v; want a window", k, err)
		}
		_ = theirs.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := theirs.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read by a stalled host: %v", err)
		}
		if _, err := theirs.Write([]byte("back")); err != nil {
			t.Error(err)
		}
		_ = mine.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := mine.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read from a stalled host: %v", err)
		}
		for _, packet := range []struct {
			from *Transport
			to   string
		}{{a, "10.0.0.2:1"}, {b, "10.0.0.1:1"}} {
			if _, err := packet.from.WriteTo([]byte("lost"), packet.to); err != nil {
				t.Error(err)
			}
		}

		begin := time.Now()
		for i := range maxBacklog {
			second, err := a.DialTimeout("10.0.0.2:1", time.Second)
			if err != nil {
				t.Fatalf("dial %d to a stalled host: %v", i, err)
			}
			if i > 0 {
				_ = second.Close()
			} else if _, err := second.Write([]byte("hello")); err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(begin); took != maxBacklog*2*time.Millisecond {
			t.Errorf("%d dials took %v", maxBacklog, took)
		}
		if _, err := a.DialTimeout("10.0.0.2:1", time.Second); err == nil {
			t.Error("a dial beyond the backlog succeeded")
		}
		if _, err := b.DialTimeout("10.0.0.1:1", time.Second); err == nil {
			t.Error("a dial by a stalled host succeeded")
		}

		n.Resume("10.0.0.2:1")
		_ = theirs.SetReadDeadline(time.Time{})
		if _, err := io.ReadFull(theirs, make([]byte, window)); err != nil {
			t.Errorf("after the stall: %v", err)
		}
		back := make([]byte, 4)
		_ = mine.SetReadDeadline(time.Time{})
		if _, err := io.ReadFull(mine, back); err != nil || string(back) != "back" {
			t.Errorf("%q after the stall, %v", back, err)
		}
		full := 0
		for range maxBacklog {
			accepted := <-b.StreamCh()
			if text, err := io.ReadAll(io.LimitReader(accepted, 5)); err != nil {
				t.Error(err)
			} else if bytes.Equal(text, []byte("hello")) {
				full++
			}
		}
		if full != 1 {
			t.Errorf("%d streams of the stall had data, want 1", full)
		}
		select {
		case p := <-b.PacketCh():
			t.Errorf("packet %q arrived", p.Buf)
		case p := <-a.PacketCh():
			t.Errorf("packet %q arrived", p.Buf)
		case <-time.After(time.Second):
		}
		connect(t, a, b)
	})
}

// TestReorder: those packets that are not held back keep their order.
func TestReorder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1, Link{Delay: time.Millisecond, Reorder: 0.3, Hold: time.Second})
		a, b := hosts(t, n)
		const sent = 1000
		go func() {
			for i := range sent {
				_, _ = a.WriteTo([]byte{byte(i >> 8), byte(i)}, "10.0.0.2:1") // never fails
				time.Sleep(time.Millisecond)
			}
		}()
		overtaken, furthest := 0, 0
		newest := -1
		for range sent {
			p := <-b.PacketCh()
			i := int(p.Buf[0])<<8 | int(p.Buf[1])
			if i < newest {
				overtaken++
				furthest = max(furthest, newest-i)
			}
			newest = max(newest, i)
		}
		if overtaken < 200 || overtaken > 400 || furthest < 500 {
			t.Errorf("%d of %d packets were overtaken, by %d at most", overtaken, sent, furthest)
		}
	})
}

func TestTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1, Link{Loss: 1})
		a, b := hosts(t, n)
		mine, theirs := connect(t, a, b)
		for _, loss := range []float64{1, 0} {
			n.SetLink(Link{Loss: loss})
			if _, err := a.WriteTo(make([]byte, 100), "10.0.0.2:1"); err != nil {
				t.Fatal(err)
			}
		}
		<-b.PacketCh()
		if _, err := mine.Write(make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(theirs, make([]byte, 600)); err != nil {
			t.Fatal(err)
		}
		want := Traffic{PacketsOut: 2, PacketBytesOut: 200, StreamBytesOut: 1000, Dials: 1}
		if got := n.Traffic("10.0.0.1:1"); got != want || got.BytesOut() != 1200 {
			t.Errorf("the sender counts %+v", got)
		}
		want = Traffic{PacketsIn: 1, PacketBytesIn: 100, StreamBytesIn: 600}
		if got := b.Traffic(); got != want || got.BytesIn() != 700 {
			t.Errorf("the receiver counts %+v", got)
		}
		if got := n.Traffic("10.0.0.3:1"); got != (Traffic{}) {
			t.Errorf("nobody counts %+v", got)
		}
	})
}

// TestRate: what a host sends stands in one line, packets and streams.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1, Link{Rate: 10000})
		a, b := hosts(t, n)
		mine, theirs := connect(t, a, b)
		begin := time.Now()
		if _, err := mine.Write(make([]byte, 10000)); err != nil {
			t.Fatal(err)
		}
		if _, err := a.WriteTo(make([]byte, 1000), "10.0.0.2:1"); err != nil {
			t.Fatal(err)
		}
		if _, err := b.WriteTo(make([]byte, 1000), "10.0.0.1:1"); err != nil {
			t.Fatal(err)
		}
		<-a.PacketCh()
		if took := time.Since(begin); took != 100*time.Millisecond {
			t.Errorf("a packet the other way took %v", took)
		}
		if _, err := io.ReadFull(theirs, make([]byte, 10000)); err != nil || time.Since(begin) != time.Second {
			t.Errorf("a second's worth took %v, %v", time.Since(begin), err)
		}
		<-b.PacketCh()
		if took := time.Since(begin); took != 1100*time.Millisecond {
			t.Errorf("the packet behind it took %v", took)
		}
	})
}
