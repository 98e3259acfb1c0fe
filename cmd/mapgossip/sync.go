package main

import (
	"context"
	"fmt"
	"io"
)

// runSync makes the agent run anti-entropy with all members now.
func runSync(ctx context.Context, args []string, env environment, stdout, stderr io.Writer) error {
	s := settingsOf("sync")
	if err := s.parse(args, env); err != nil {
		return err
	}
	var told syncedAnswer
	if shown, err := s.perform(ctx, "/debug/sync", "exchanging with all members", &told, stdout, stderr); shown || err != nil {
		return err
	}
	p := paletteFor(stdout, env)
	text := p.good("in sync")
	if !told.InSync {
		text = p.doubt("not in sync") + ": 'mapgossip status' says with whom not, and why"
	}
	_, err := fmt.Fprintln(stdout, "exchanged with all members that answered: "+text)
	return err
}
