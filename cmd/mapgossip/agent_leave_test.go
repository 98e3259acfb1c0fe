package main

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/mapgossip/mapgossip"
	"github.com/mapgossip/mapgossip/test/need"
)

// TestLeaveOverHTTP: the agent leaves in order, and ends as asked.
func TestLeaveOverHTTP(t *testing.T) {
	t.Parallel()
	dir := need.BPFFS(t)
	pinMap(t, filepath.Join(dir, "flows"), 8)
	p := startAgent(t, "a", "--map", filepath.Join(dir, "flows"))
	p.wantStatus(t, "runs", func(s mapgossip.Status) bool { return s.Ready && !s.Encrypted })
	if _, err := ask(t.Context(), p.http, "/debug/config"); err != nil {
		t.Error(err)
	}
	r, err := request(t.Context(), p.http, http.MethodPost, "/debug/leave")
	if err != nil || string(r.body) != "{\n  \"leaving\": true\n}\n" {
		t.Errorf("%s, %v", r.body, err)
	}
	p.wantExit(t, exitOK, leaveLimit)
	p.wantLog(t, "agent has left the cluster")
}
