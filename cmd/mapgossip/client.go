package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"
)

const (
	dialTimeout    = 3 * time.Second
	askTimeout     = 15 * time.Second // longer than an agent takes to say that it cannot tell
	maxAnswerBytes = 64 << 20
)

// reply is what an agent answered.
type reply struct {
	body []byte    // JSON
	now  time.Time // the agent's clock, to the second
}

// ask gets path from the agent at e. It blocks for askTimeout at most.
func ask(ctx context.Context, e endpoint, path string) (reply, error) {
	return request(ctx, e, http.MethodGet, path)
}

func request(ctx context.Context, e endpoint, method, path string) (reply, error) {
	dialer := net.Dialer{Timeout: dialTimeout}
	client := http.Client{
		Timeout: askTimeout,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, e.network, e.address)
			},
		},
	}
	asked, err := http.NewRequestWithContext(ctx, method, "http://"+clientHost+path, nil)
	if err != nil {
		return reply{}, err
	}
	response, err := client.Do(asked)
	if err != nil {
		return reply{}, unreachable(e, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes+1))
	if err != nil {
		return reply{}, unreachable(e, err)
	}
	if len(body) > maxAnswerBytes || !json.Valid(body) {
		return reply{}, fmt.Errorf("ask agent at %s: what answers there is no mapgossip agent: is --http the address of one?", e)
	}
	if response.StatusCode != http.StatusOK {
		var told errorAnswer
		if json.Unmarshal(body, &told) != nil || told.Error == "" {
			told.Error = response.Status
		}
		return reply{}, fmt.Errorf("ask agent at %s for %s: %s", e, path, told.Error)
	}
	now, err := http.ParseTime(response.Header.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return reply{body, now}, nil
}

// unreachable says why no answer came, and what to look at.
func unreachable(e endpoint, err error) error {
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("ask agent at %s: interrupted", e)
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("ask agent at %s: no answer in time: is the host overloaded, or a firewall in between?", e)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("ask agent at %s: permission denied: the socket is for its owner and group (run as one of them, such as with sudo)", e)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("ask agent at %s: it hung up: is it just stopping?", e)
	}
	return fmt.Errorf("ask agent at %s: %w: is 'mapgossip agent' running on this host? --http says where it listens (its own --http)", e, innermost(err))
}
