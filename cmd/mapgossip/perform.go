package main

import (
	"context"
	"io"
	"net/http"
	"time"
)

// longPatience is more than an agent takes to read the largest maps.
const longPatience = longTimeout + time.Minute

// perform makes the agent do what may take minutes, and tells of it meanwhile. The
// answer is written as it came where JSON is asked for, and then it is shown; else
// it is read into told.
func (s *settings) perform(ctx context.Context, path, doing string, told any, stdout, stderr io.Writer) (shown bool, err error) {
	at, format, err := s.asked()
	if err != nil {
		return false, err
	}
	stop := progress(stderr, onTerminal(stderr), elapsed(doing))
	r, err := send(ctx, at, http.MethodPost, path, "", longPatience)
	stop()
	if err != nil {
		return false, err
	}
	if format == "json" {
		_, err := stdout.Write(r.body)
		return true, err
	}
	if err := decode(r.body, told); err != nil {
		return false, misread(at, err)
	}
	return false, nil
}
