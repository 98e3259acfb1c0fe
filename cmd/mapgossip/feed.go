package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// errStalled is why a feed was given up.
var errStalled = errors.New("nothing came for too long")

const (
	// rowStall: an agent that makes its way through a map has a row sooner.
	rowStall = time.Minute
	// eventStall: an agent without news sends a sign of life each 15 s.
	eventStall = 50 * time.Second
	feedBuffer = 64 << 10
)

// feed is an answer that comes line by line, for as long as it may take. One
// goroutine uses it.
type feed struct {
	at     endpoint
	path   string
	body   io.ReadCloser
	lines  *bufio.Reader
	line   []byte // what next returned
	stall  time.Duration
	timer  *time.Timer // gives up
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// follow asks for path; nothing for as long as stall is the end of it. Close it.
func follow(ctx context.Context, at endpoint, path string, stall time.Duration) (*feed, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(stall, func() { cancel(errStalled) })
	response, err := open(ctx, at, http.MethodGet, path, "")
	if err != nil {
		timer.Stop()
		if errors.Is(context.Cause(ctx), errStalled) {
			err = unreachable(at, context.DeadlineExceeded)
		}
		cancel(nil)
		return nil, err
	}
	return &feed{
		at: at, path: path, body: response.Body, lines: bufio.NewReaderSize(response.Body, feedBuffer),
		stall: stall, timer: timer, ctx: ctx, cancel: cancel,
	}, nil
}

func (f *feed) Close() error {
	f.timer.Stop()
	f.cancel(nil)
	return f.body.Close()
}

// next returns a line without its end, valid until the next call; io.EOF after
// the last. An agent that fails on the way says so in a line of its own, which is
// the error then.
func (f *feed) next() ([]byte, error) {
	f.line = f.line[:0]
	for {
		part, err := f.lines.ReadSlice('\n')
		f.line = append(f.line, part...)
		switch {
		case err == nil:
			f.timer.Reset(f.stall)
			f.line = bytes.TrimRight(f.line, "\r\n")
			return f.line, f.toldError(f.line)
		case len(f.line) > maxAnswerBytes:
			return nil, noAgent(f.at)
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(context.Cause(f.ctx), errStalled):
			return nil, unreachable(f.at, context.DeadlineExceeded)
		case f.ctx.Err() != nil:
			return nil, unreachable(f.at, f.ctx.Err())
		case errors.Is(err, io.EOF) && len(f.line) == 0:
			return nil, io.EOF
		default:
			return nil, unreachable(f.at, err)
		}
	}
}

// nextEvent returns the data of the next server-sent event of that name, valid
// until the next call. That the stream ends is an error.
func (f *feed) nextEvent(name string) ([]byte, error) {
	event := ""
	for {
		line, err := f.next()
		if errors.Is(err, io.EOF) {
			err = unreachable(f.at, io.EOF)
		}
		if err != nil {
			return nil, err
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			event = string(value)
		case "data":
			if err := f.toldError(value); err != nil {
				return nil, err
			}
			if event == name {
				return value, nil
			}
		}
	}
}

// toldError is the error that a line tells, or nil.
func (f *feed) toldError(line []byte) error {
	if !bytes.HasPrefix(line, []byte(`{"error":`)) {
		return nil
	}
	var told errorAnswer
	if err := decode(line, &told); err != nil || told.Error == "" {
		return noAgent(f.at)
	}
	return refused(f.at, f.path, told.Error)
}
