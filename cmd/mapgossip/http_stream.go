package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/mapgossip/mapgossip"
)

const whatStreams = "streams of entries or differences"

func (d *desk) entries(w http.ResponseWriter, r *http.Request) {
	tombstones := false
	if text := r.FormValue("tombstones"); text != "" {
		var err error
		if tombstones, err = strconv.ParseBool(text); err != nil {
			answer(w, http.StatusBadRequest, errorAnswer{fmt.Sprintf("tombstones=%s: want 0 or 1", text)})
			return
		}
	}
	name := r.PathValue("name")
	d.streamed(w, r, d.load.streams, whatStreams, lineStream, func(ctx context.Context, tell func(any) error) error {
		return d.node.Entries(ctx, name, tombstones, func(chunk []mapgossip.Entry) error {
			for i := range chunk {
				if err := tell(&chunk[i]); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

func (d *desk) diff(w http.ResponseWriter, r *http.Request) {
	member := r.FormValue("member")
	if member == "" {
		answer(w, http.StatusBadRequest, errorAnswer{"say with whom to compare: ?member=NODE"})
		return
	}
	name := r.PathValue("name")
	d.streamed(w, r, d.load.streams, whatStreams, lineStream, func(ctx context.Context, tell func(any) error) error {
		return d.node.Diff(ctx, name, member, func(x mapgossip.Difference) error { return tell(x) })
	})
}

func (d *desk) watch(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	d.streamed(w, r, d.load.watchers, "watchers", eventStream, func(ctx context.Context, tell func(any) error) error {
		return d.node.Follow(ctx, name, func(c mapgossip.Change) error { return tell(c) })
	})
}

// streamed runs a stream of a map that there is, if a token is left. HEAD is
// answered without the stream.
func (d *desk) streamed(w http.ResponseWriter, r *http.Request, tokens quota, what, kind string, source func(context.Context, func(any) error) error) {
	end := d.load.begin(w, r, tokens, what)
	if end == nil {
		return
	}
	defer end()
	ctx, cancel := context.WithTimeout(r.Context(), answerTimeout)
	_, _, err := d.node.Layouts(ctx, r.PathValue("name"))
	cancel()
	if err != nil {
		answerOr(w, nil, err)
		return
	}
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", kind)
		return
	}
	d.run(w, r, kind, source)
}
