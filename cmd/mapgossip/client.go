package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
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
	return send(ctx, e, method, path, "", askTimeout)
}

// send asks for path with a body, and blocks until all of the answer is there or
// the time is up.
func send(ctx context.Context, e endpoint, method, path, body string, limit time.Duration) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	response, err := open(ctx, e, method, path, body)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes+1))
	if err != nil {
		return reply{}, unreachable(e, err)
	}
	if len(text) > maxAnswerBytes || !json.Valid(text) {
		return reply{}, noAgent(e)
	}
	return reply{text, agentTime(response)}, nil
}

// open sends a request, and returns the answer if it is one; the caller closes
// its body.
func open(ctx context.Context, e endpoint, method, path, body string) (*http.Response, error) {
	dialer := net.Dialer{Timeout: dialTimeout}
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, e.network, e.address)
		},
	}
	asked, err := http.NewRequestWithContext(ctx, method, "http://"+clientHost+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	response, err := transport.RoundTrip(asked)
	if err != nil {
		return nil, unreachable(e, err)
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return nil, unreachable(e, err)
	}
	if !json.Valid(text) {
		return nil, noAgent(e)
	}
	var told errorAnswer
	if json.Unmarshal(text, &told) != nil || told.Error == "" {
		told.Error = response.Status
	}
	return nil, refused(e, path, told.Error)
}

// agentTime is the clock of the agent when it began to answer.
func agentTime(response *http.Response) time.Time {
	now, err := http.ParseTime(response.Header.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return now
}

func noAgent(e endpoint) error {
	return fmt.Errorf("ask agent at %s: what answers there is no mapgossip agent: is --http the address of one?", e)
}

// refused is what the agent says instead of an answer.
func refused(e endpoint, path, why string) error {
	path, _, _ = strings.Cut(path, "?")
	return fmt.Errorf("ask agent at %s for %s: %s", e, path, printable(why))
}

// misread is an answer that is JSON and not what was asked for.
func misread(e endpoint, err error) error {
	return fmt.Errorf("read answer of agent at %s: %w: is it of another version?", e, err)
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
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("ask agent at %s: it hung up: is it just stopping?", e)
	}
	return fmt.Errorf("ask agent at %s: %w: is 'mapgossip agent' running on this host? --http says where it listens (its own --http)%s", e, innermost(err), elsewhere(e))
}

// unitSocket is where an agent listens that deploy/systemd starts.
var unitSocket = "/run/mapgossip/http.sock"

// elsewhere names unitSocket to somebody who asked at e, if it is there, or is in
// a directory that this user may not see.
func elsewhere(e endpoint) string {
	if _, err := os.Lstat(unitSocket); e.address == unitSocket || errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return "; the systemd unit's is at --http unix:" + unitSocket
}
