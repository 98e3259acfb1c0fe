package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// syncReply is the answer to POST /debug/sync.
type syncReply struct {
	InSync bool `json:"in_sync"`
}

// runSync makes the agent run anti-entropy with all members now.
func runSync(ctx context.Context, args []string, env environment, stdout, stderr io.Writer) error {
	s := settingsOf("sync")
	if err := s.parse(args, env); err != nil {
		return err
	}
	at, format, err := s.asked()
	if err != nil {
		return err
	}
	stop := progress(stderr, onTerminal(stderr), elapsed("exchanging with all members"))
	r, err := send(ctx, at, http.MethodPost, "/debug/sync", "", longPatience)
	stop()
	if err != nil {
		return err
	}
	if format == "json" {
		_, err := stdout.Write(r.body)
		return err
	}
	var told syncReply
	if err := decode(r.body, &told); err != nil {
		return misread(at, err)
	}
	p := paletteFor(stdout, env)
	text := p.good("in sync")
	if !told.InSync {
		text = p.doubt("not in sync") + ": 'mapgossip status' says with whom not, and why"
	}
	_, err = fmt.Fprintln(stdout, "exchanged with all members that answered: "+text)
	return err
}
