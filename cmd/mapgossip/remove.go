package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// runRemove asks a running agent to wait no longer for a member.
func runRemove(ctx context.Context, args []string, env environment, stdout, _ io.Writer) error {
	s := settingsOf("remove")
	if err := s.parse(args, env); err != nil {
		return err
	}
	at, err := parseEndpoint(s.text("http"))
	if err == nil && at.off() {
		err = errors.New("want the address of an agent: HOST:PORT or unix:PATH")
	}
	if err != nil {
		s.fault("http", s.text("http"), "%w", err)
		return usage(errors.Join(s.faults...))
	}
	node := s.Arg(0)
	if _, err := request(ctx, at, http.MethodPost, "/debug/members/"+url.PathEscape(node)+"/remove"); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s is removed: deletes wait for it no longer. Should it be back, it takes the cluster's state.\n", node)
	return err
}
