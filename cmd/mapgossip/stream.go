package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"
)

const (
	stallLimit  = 30 * time.Second // for a client to take one piece
	pieceBytes  = 16 << 10
	flushPause  = 20 * time.Millisecond // at least, between flushes
	pingPeriod  = 15 * time.Second
	lineStream  = "application/x-ndjson"
	eventStream = "text/event-stream"
)

// stream is an answer that goes on: JSON objects, one a line or as server-sent
// events. It holds pieceBytes of them. A client that does not take a piece in
// stallLimit is cut off, so that one that reads a byte a second holds a
// connection for no longer than that.
type stream struct {
	w          http.ResponseWriter
	controller *http.ResponseController
	kind       string
	cancel     context.CancelFunc // ends the source
	wake       chan struct{}      // there is something to flush

	// turn is held by whoever uses what is below. A channel, not a mutex: who
	// holds it may wait for the client.
	turn    chan struct{}
	begun   bool // the header is out
	buffer  *bufio.Writer
	encoder *json.Encoder
}

// run answers what source tells, until source returns. An error of source
// before it told anything is an answer of its own where lines are streamed;
// later, it is the last object, and the answer is cut off, so that nobody takes
// a part for the whole.
func (d *desk) run(w http.ResponseWriter, r *http.Request, kind string, source func(ctx context.Context, tell func(any) error) error) {
	if err := unhurried(w, r, stallLimit); err != nil {
		answer(w, http.StatusBadRequest, errorAnswer{err.Error()})
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(d.ending, cancel)()
	s := &stream{w: w, controller: http.NewResponseController(w), kind: kind, cancel: cancel,
		wake: make(chan struct{}, 1), turn: make(chan struct{}, 1)}
	s.buffer = bufio.NewWriterSize(pieces{s}, pieceBytes)
	s.encoder = json.NewEncoder(s.buffer)
	s.encoder.SetEscapeHTML(false)
	if kind == eventStream {
		s.begin()
	}
	var flushing sync.WaitGroup
	flushing.Go(func() { s.flushes(ctx) })
	err := source(ctx, s.tell)
	if err == nil && d.ending.Err() != nil {
		err = errors.New("the agent stops")
	}
	cancel()
	flushing.Wait()
	s.end(err)
}

// tell adds an object. It blocks while the client is slow, and fails once the
// client is cut off.
func (s *stream) tell(value any) error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if err := s.write("change", value); err != nil {
		return err
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil
}

// write wants the turn.
func (s *stream) write(event string, value any) error {
	if s.kind == eventStream {
		if _, err := s.buffer.WriteString("event: " + event + "\ndata: "); err != nil {
			return err
		}
	}
	if err := s.encoder.Encode(value); err != nil { // ends the line
		return err
	}
	if s.kind == eventStream {
		return s.buffer.WriteByte('\n')
	}
	return nil
}

// flushes sends what was told, at once after a pause and seldom in a burst, and
// pings, until ctx ends.
func (s *stream) flushes(ctx context.Context) {
	ping := time.NewTicker(pingPeriod)
	defer ping.Stop()
	pause := time.NewTimer(flushPause)
	defer pause.Stop()
	for {
		idle := false
		select {
		case <-ctx.Done():
			return
		case <-ping.C:
			if s.kind != eventStream {
				continue
			}
			idle = true
		case <-s.wake:
		}
		if err := s.flush(idle); err != nil {
			s.cancel()
			return
		}
		pause.Reset(flushPause)
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
	}
}

func (s *stream) flush(ping bool) error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if ping {
		if _, err := s.buffer.WriteString(": ping\n\n"); err != nil {
			return err
		}
	}
	if err := s.buffer.Flush(); err != nil {
		return err
	}
	return s.push()
}

// begin sends the header.
func (s *stream) begin() {
	s.begun = true
	s.w.Header().Set("Content-Type", s.kind)
	s.w.WriteHeader(http.StatusOK)
	_ = s.push() // a client that went away shows in the next write
}

// extend gives the client stallLimit from now on. Where there are no deadlines,
// there is no stall limit.
func (s *stream) extend() { _ = s.controller.SetWriteDeadline(time.Now().Add(stallLimit)) }

func (s *stream) push() error {
	s.extend()
	if err := s.controller.Flush(); !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// pieces writes to the client a piece at a time.
type pieces struct{ s *stream }

func (p pieces) Write(b []byte) (n int, err error) {
	if !p.s.begun {
		p.s.begin()
	}
	for n < len(b) && err == nil {
		p.s.extend()
		var wrote int
		wrote, err = p.s.w.Write(b[n:min(len(b), n+pieceBytes)])
		n += wrote
	}
	return n, err
}

// end sends the rest. No other goroutine uses s any more.
func (s *stream) end(err error) {
	if err != nil && !s.begun && s.buffer.Buffered() == 0 {
		refuse(s.w, err, http.StatusServiceUnavailable)
		return
	}
	if err != nil {
		_ = s.write("end", errorAnswer{sentence(err)}) // fails where the client is cut off
	}
	if !s.begun {
		s.begin()
	}
	if flushed := s.buffer.Flush(); flushed == nil {
		_ = s.push()
	}
	if err != nil {
		panic(http.ErrAbortHandler)
	}
}
