package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// runRemove asks a running agent to give up a member.
func runRemove(ctx context.Context, args []string, env environment, stdout, _ io.Writer) error {
	s := settingsOf("remove")
	if err := s.parse(args, env); err != nil {
		return err
	}
	at := s.agent()
	if len(s.faults) > 0 {
		return usage(errors.Join(s.faults...))
	}
	node := s.Arg(0)
	if _, err := request(ctx, at, http.MethodPost, "/debug/members/"+url.PathEscape(node)+"/remove"); err != nil {
		return err
	}
	_, err := fmt.Fprintf(stdout, "%s is removed: it counts as one that left. Should it be back, it takes the cluster's state.\n", node)
	return err
}
