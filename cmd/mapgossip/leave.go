package main

import (
	"context"
	"io"
	"net/http"
)

// runLeave makes the agent leave the cluster in order, and end.
func runLeave(ctx context.Context, args []string, env environment, stdout, _ io.Writer) error {
	s := settingsOf("leave")
	if err := s.parse(args, env); err != nil {
		return err
	}
	at, format, err := s.asked()
	if err != nil {
		return err
	}
	r, err := request(ctx, at, http.MethodPost, "/debug/leave")
	if err != nil {
		return err
	}
	text := string(r.body)
	if format == "table" {
		text = "the agent hands over what it knows, leaves the cluster and ends\n"
	}
	_, err = io.WriteString(stdout, text)
	return err
}
