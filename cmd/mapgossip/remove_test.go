package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mapgossip/mapgossip"
)

func TestRemove(t *testing.T) {
	at := agentAt(t, newMux(fakeNode{}, nil))
	wantResult(t, invoke(t, nil, "remove", "lb-3", "--http", at),
		result{0, "lb-3 is removed: it counts as one that left. Should it be back, it takes the cluster's state.\n", ""})
	wantResult(t, invoke(t, nil, "remove", "lb-1", "--http", at),
		result{1, "", "mapgossip: ask agent at " + at + " for /debug/members/lb-1/remove: remove member lb-1: member is alive\n"})
	wantResult(t, invoke(t, nil, "remove", "--http", at),
		result{2, "", "mapgossip: remove takes one argument, NODE; 'mapgossip remove --help' says which\n"})
	stopped := agentAt(t, newMux(fakeNode{err: mapgossip.ErrStopped}, nil))
	wantResult(t, invoke(t, nil, "remove", "lb-3", "--http", stopped),
		result{1, "", "mapgossip: ask agent at " + stopped + " for /debug/members/lb-3/remove: node has stopped\n"})
}

// TestRemoveFromHereOnly: nobody on another host can, and no page in a browser.
func TestRemoveFromHereOnly(t *testing.T) {
	for name, test := range map[string]struct {
		method, remote, host, header string
		code                         int
	}{
		"here":            {"POST", "127.0.0.1:99", "localhost:7947", "", 200},
		"here by IPv6":    {"POST", "[::1]:99", "[::1]:7947", "", 200},
		"another host":    {"POST", "192.0.2.1:99", "localhost:7947", "", 403},
		"another name":    {"POST", "127.0.0.1:99", "evil.example:7947", "", 403},
		"another site":    {"POST", "127.0.0.1:99", "localhost:7947", "https://evil.example", 403},
		"not by GET":      {"GET", "127.0.0.1:99", "localhost:7947", "", 405},
		"nor by anything": {"DELETE", "127.0.0.1:99", "localhost:7947", "", 405},
	} {
		r := httptest.NewRequestWithContext(t.Context(), test.method, "/debug/members/lb-3/remove", nil)
		r.RemoteAddr, r.Host = test.remote, test.host
		if test.header != "" {
			r.Header.Set("Origin", test.header)
		}
		w := httptest.NewRecorder()
		newMux(fakeNode{}, nil).ServeHTTP(w, r)
		if w.Code != test.code || w.Code != http.StatusOK && !strings.Contains(w.Body.String(), "error") {
			t.Errorf("%s: %d %s, want %d", name, w.Code, w.Body, test.code)
		}
	}
}
