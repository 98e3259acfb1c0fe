package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip"
)

// sourceNode tells of a map what a test wants.
type sourceNode struct {
	fakeNode
	changes chan mapgossip.Change
	entries func(fn func([]mapgossip.Entry) error) error
	ended   chan error // what Entries returned
}

func (n sourceNode) Follow(ctx context.Context, _ string, fn func(mapgossip.Change) error) error {
	for {
		select {
		case c := <-n.changes:
			if err := fn(c); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (n sourceNode) Entries(_ context.Context, _ string, _ bool, fn func([]mapgossip.Entry) error) error {
	err := n.entries(fn)
	n.ended <- err
	return err
}

// endless tells entries for as long as they are taken.
func endless(fn func([]mapgossip.Entry) error) error {
	for {
		if err := fn([]mapgossip.Entry{entryFixture(), entryFixture()}); err != nil {
			return err
		}
	}
}

// nextEvent reads up to a blank line.
func nextEvent(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	var text string
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("read event: %v after %q", err, text)
		}
		if line == "\n" {
			return text
		}
		text += line
	}
}

// served runs a test in virtual time, with a server of n.
func served(t *testing.T, n node, f func(*testing.T, *wire, *server)) {
	synctest.Test(t, func(t *testing.T) {
		l := newWire()
		s, end := serveOn(l, n)
		defer end()
		f(t, l, s)
	})
}

const watchPath = "/debug/maps/flows/watch"

// TestWatch: a change is there at once, ones that follow after the pause between
// flushes, and when there is nothing, a ping is. Who does not read is cut off.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, n := newWire(), sourceNode{changes: make(chan mapgossip.Change)}
		_, end := serveOn(l, n)
		defer end()
		c, response := l.request(t, http.MethodGet, watchPath)
		defer c.Close()
		if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != eventStream {
			t.Fatalf("%s %s", response.Status, response.Header)
		}
		events, begun := bufio.NewReader(response.Body), time.Now()
		wantChange := func(lost uint64, at time.Duration) {
			t.Helper()
			text := nextEvent(t, events)
			data, ok := strings.CutPrefix(text, "event: change\ndata: ")
			var change mapgossip.Change
			if err := json.Unmarshal([]byte(data), &change); !ok || err != nil || change.Lost != lost || time.Since(begun) != at {
				t.Errorf("after %s: %q, %v; want change %d at %s", time.Since(begun), text, err, lost, at)
			}
		}
		n.changes <- mapgossip.Change{Lost: 1}
		wantChange(1, 0)
		n.changes <- mapgossip.Change{Lost: 2}
		n.changes <- mapgossip.Change{Lost: 3}
		wantChange(2, flushPause)
		wantChange(3, flushPause)
		if text := nextEvent(t, events); text != ": ping\n" || time.Since(begun) != pingPeriod {
			t.Errorf("%q after %s, want a ping after %s", text, time.Since(begun), pingPeriod)
		}
		time.Sleep(10 * time.Minute)
		if _, err := io.Copy(io.Discard, response.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("a watcher that did not read for 10 minutes: %v", err)
		}
	})
}

// TestWatchLasts: longer than any timeout, as long as it is read.
func TestWatchLasts(t *testing.T) {
	served(t, sourceNode{}, func(t *testing.T, l *wire, _ *server) {
		c, response := l.request(t, http.MethodGet, watchPath)
		defer c.Close()
		events, begun := bufio.NewReader(response.Body), time.Now()
		for time.Since(begun) < time.Hour {
			if text := nextEvent(t, events); text != ": ping\n" {
				t.Fatalf("%q", text)
			}
		}
	})
}

// TestWatchers: they are bounded, and one that leaves makes room.
func TestWatchers(t *testing.T) {
	served(t, sourceNode{}, func(t *testing.T, l *wire, s *server) {
		var all []net.Conn
		for range maxWatchers {
			c, response := l.request(t, http.MethodGet, watchPath)
			if response.StatusCode != http.StatusOK {
				t.Fatal(response.Status)
			}
			all = append(all, c)
		}
		over, response := l.request(t, http.MethodGet, watchPath)
		body, _ := io.ReadAll(response.Body)
		if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" || !strings.Contains(string(body), "32 watchers") {
			t.Errorf("one more: %s %s", response.Status, body)
		}
		over.Close()
		all[0].Close()
		synctest.Wait()
		c, response := l.request(t, http.MethodGet, watchPath)
		if response.StatusCode != http.StatusOK {
			t.Errorf("after one has gone: %s", response.Status)
		}
		for _, c := range append(all, c) {
			c.Close()
		}
		synctest.Wait()
		if len(s.load.watchers.all) != 0 || s.load.open() != 0 || s.load.refusedRequests.Load() != 1 {
			t.Errorf("%d watchers and %d connections are left, %d refused", len(s.load.watchers.all), s.load.open(), s.load.refusedRequests.Load())
		}
	})
}

// TestStreamEndsWithTheAgent: a stop waits for no watcher, and says why it ends.
func TestStreamEndsWithTheAgent(t *testing.T) {
	served(t, sourceNode{}, func(t *testing.T, l *wire, s *server) {
		c, response := l.request(t, http.MethodGet, watchPath)
		defer c.Close()
		stopped := make(chan error)
		go func() { stopped <- s.Shutdown(t.Context()) }()
		text, err := io.ReadAll(response.Body)
		if want := "event: end\ndata: {\"error\":\"the agent stops\"}\n\n"; string(text) != want || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q, %v, want %q", text, err, want)
		}
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}

func TestWatchOfANodeThatStops(t *testing.T) {
	var text []byte
	served(t, fakeNode{}, func(t *testing.T, l *wire, _ *server) {
		c, response := l.request(t, http.MethodGet, watchPath)
		defer c.Close()
		text, _ = io.ReadAll(response.Body) // cut off
	})
	golden(t, "watch-events.txt", string(text))
}

// TestPartIsNotTheWhole: what fails half way says so, and does not end like an
// answer.
func TestPartIsNotTheWhole(t *testing.T) {
	n := sourceNode{entries: func(fn func([]mapgossip.Entry) error) error {
		return errors.Join(fn([]mapgossip.Entry{entryFixture()}), mapgossip.ErrStopped)
	}}
	synctest.Test(t, func(t *testing.T) {
		n.ended = make(chan error, 1)
		l := newWire()
		_, end := serveOn(l, n)
		defer end()
		c, response := l.request(t, http.MethodGet, "/debug/maps/flows/entries")
		defer c.Close()
		text, err := io.ReadAll(response.Body)
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		if len(lines) != 2 || lines[1] != `{"error":"node has stopped"}` || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q, %v", lines, err)
		}
	})
}

// TestSlowReaders: one that reads a byte a second is cut off, as is one that
// reads nothing; one that is slow but takes its pieces is not.
func TestSlowReaders(t *testing.T) {
	for name, test := range map[string]struct {
		bytes int           // at once
		pause time.Duration // after that
		cut   bool
	}{
		"a byte a second":   {1, time.Second, true},
		"nothing":           {0, time.Second, true},
		"a piece each 10 s": {pieceBytes, 10 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := sourceNode{ended: make(chan error, 1), entries: endless}
				l := newWire()
				s, end := serveOn(l, n)
				defer end()
				c, response := l.request(t, http.MethodGet, "/debug/maps/flows/entries")
				begun, buffer := time.Now(), make([]byte, test.bytes)
				const long = 20 * time.Minute
				var err error
				for err == nil && time.Since(begun) < long && len(n.ended) == 0 {
					_, err = io.ReadFull(response.Body, buffer)
					time.Sleep(test.pause)
				}
				if took := time.Since(begun); test.cut != (took < long) || test.cut && took > stallLimit+2*time.Second {
					t.Errorf("cut off after %s: %v", took, err)
				}
				c.Close()
				if err := <-n.ended; err == nil {
					t.Error("entries were taken to the end")
				}
				synctest.Wait()
				if len(s.load.streams.all) != 0 || s.load.open() != 0 {
					t.Errorf("%d streams, %d connections are left", len(s.load.streams.all), s.load.open())
				}
			})
		})
	}
}

// TestLongAnswer: a scan that takes nine minutes is answered, whatever the
// timeouts of a request are; who hangs up is not waited for.
func TestLongAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, n := newWire(), scanningNode{given: make(chan error, 2)}
		_, end := serveOn(l, n)
		defer end()
		c, response := l.request(t, http.MethodPost, "/debug/maps/flows/scan")
		if response.StatusCode != http.StatusOK || <-n.given != nil {
			t.Errorf("%s", response.Status)
		}
		c.Close()
		c = l.ask(t, "POST /debug/maps/flows/scan HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
		synctest.Wait()
		c.Close()
		if err := <-n.given; !errors.Is(err, context.Canceled) {
			t.Errorf("a client that hung up: %v", err)
		}
	})
}

type scanningNode struct {
	fakeNode
	given chan error
}

func (n scanningNode) Scan(ctx context.Context, _ string) (mapgossip.ScanReport, error) {
	select {
	case <-time.After(9 * time.Minute):
	case <-ctx.Done():
	}
	n.given <- ctx.Err()
	return mapgossip.ScanReport{}, ctx.Err()
}
