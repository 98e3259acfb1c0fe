package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip"
)

// fakeNode is a node that tells what it was given.
type fakeNode struct {
	status mapgossip.Status
	err    error
}

func (f fakeNode) Members() []mapgossip.Member { return f.status.Members }
func (f fakeNode) Maps(context.Context) ([]mapgossip.MapStatus, error) {
	return f.status.Maps, f.err
}
func (f fakeNode) Ready(context.Context) (bool, []string) { return f.status.Ready, f.status.NotReady }
func (f fakeNode) Healthy(context.Context) (bool, []string) {
	return f.status.Healthy, f.status.Unhealthy
}
func (f fakeNode) Remove(_ context.Context, member string) error {
	if member == "lb-1" {
		return fmt.Errorf("remove member lb-1: %w", mapgossip.ErrMemberAlive)
	}
	return f.err
}
func (f fakeNode) Status(context.Context) (mapgossip.Status, error) { return f.status, f.err }

// present is the time of the agent of all golden files.
func present() time.Time { return time.Date(2031, 5, 6, 12, 0, 0, 0, time.UTC) }

// fixture is the status of a member with every trouble at once.
func fixture() mapgossip.Status {
	now := present()
	return mapgossip.Status{
		Node: "lb-1", Cluster: "edge", Version: "v0.1.0", Started: now.Add(-(3*time.Hour + 2*time.Minute + 10*time.Second)),
		Capture: "scan", CaptureReason: "attach fexit: operation not permitted: this host refuses trampolines",
		NotReady:  []string{"map acl: 2 entries are not in the kernel map: map is full"},
		Unhealthy: []string{"2 members have the node ID lb-9", "map acl: 2 entries are not in the kernel map: map is full"},
		Conflicts: []string{"2 members have the node ID lb-9"},
		Members: []mapgossip.Member{
			{Node: "lb-1", Name: "lb-1-0a", Addr: "192.0.2.1:7946", State: "alive", Self: true, BootID: "0a", Version: "v0.1.0", InSync: true, Differ: []string{}, Room: []mapgossip.Room{}},
			{Node: "lb-2", Name: "lb-2-0b", Addr: "192.0.2.2:7946", State: "alive", BootID: "0b", Version: "v0.1.0", InSync: true, LastSync: now.Add(-3 * time.Second), ClockOffsetMS: -1.25, RTTMS: 0.85, Differ: []string{}, Room: []mapgossip.Room{}},
			{Node: "lb-3", Name: "lb-3-0c", Addr: "192.0.2.3:7946", State: "alive", BootID: "0c", Version: "v0.2.0", LastSync: now.Add(-12 * time.Second), ClockOffsetMS: 2500, RTTMS: 12.4, Differ: []string{"acl", "flows"}, Room: []mapgossip.Room{{Map: "flows", MaxEntries: 8192, Waiting: 1808}}},
			{Node: "lb-4", Name: "lb-4-0d", Addr: "192.0.2.4:7946", State: "alive", BootID: "0d", Version: "v0.1.0", Differ: []string{}, Room: []mapgossip.Room{}},
			{Node: "lb-5", Name: "lb-5-0e", Addr: "192.0.2.5:7946", State: "dead", BootID: "0e", Version: "v0.1.0", LastSync: now.Add(-time.Hour), ClockOffsetMS: 0.1, RTTMS: 1.5, Differ: []string{}, Room: []mapgossip.Room{}},
			{Node: "lb-6", Name: "lb-6-0f", Addr: "192.0.2.6:7946", State: "left", BootID: "0f", Version: "v0.1.0", LastSync: now.Add(-100 * time.Hour), Differ: []string{}, Room: []mapgossip.Room{}},
			{Node: "lb-7", Name: "lb-7-1a", Addr: "192.0.2.7:7946", State: "alive", BootID: "1a", Version: "v0.1.0", LastSync: now.Add(-10 * time.Minute), Differ: []string{}, Room: []mapgossip.Room{}},
		},
		Maps: []mapgossip.MapStatus{
			{Name: "flows", Target: "/sys/fs/bpf/flows", ID: 42, Type: "hash", KeyBytes: 16, ValueBytes: 32, MaxEntries: 65536, Capture: "scan", Direction: "both", Events: "all",
				Entries: 10000, Tombstones: 12, HeldBackBy: "lb-5", Digest: "00112233445566778899aabbccddeeff", Bound: true, LastScan: now.Add(-900 * time.Millisecond),
				Counters: mapgossip.Counters{Captured: 11, Own: 12, Failed: 13, Dropped: 14, Missed: 15}},
			{Name: "acl", Target: "name:acl", ID: 43, Type: "hash", KeyBytes: 4, ValueBytes: 1, MaxEntries: 8, Capture: "scan", Direction: "receive", Events: "update",
				Entries: 10, Digest: "ffeeddccbbaa99887766554433221100", PendingApply: 2, Bound: true, Error: "2 entries are not in the kernel map: map is full", LastScan: now.Add(-2 * time.Second), Unsettled: 3},
		},
	}
}

// healthy is the status of a member that all is well with.
func healthyFixture() mapgossip.Status {
	s := fixture()
	s.Capture, s.CaptureReason, s.NotReady, s.Unhealthy, s.Conflicts = "fexit", "", nil, nil, nil
	s.Ready, s.Healthy, s.InSync = true, true, true
	s.Members, s.Maps = s.Members[:2], s.Maps[:1]
	s.Maps[0].Capture = "fexit"
	return s
}

func get(t *testing.T, n node, method, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	newMux(n, nil).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, nil))
	return w
}

func TestHTTPAnswers(t *testing.T) {
	sick, well := fakeNode{status: fixture()}, fakeNode{status: healthyFixture()}
	stopped := fakeNode{err: mapgossip.ErrStopped}
	const json = "application/json"
	for _, test := range []struct {
		name, path string
		node       node
		code       int
		kind       string
	}{
		{"index.txt", "/", well, 200, "text/plain; charset=utf-8"},
		{"healthz.json", "/healthz", well, 200, json},
		{"healthz-sick.json", "/healthz", sick, 503, json},
		{"readyz.json", "/readyz", well, 200, json},
		{"readyz-sick.json", "/readyz", sick, 503, json},
		{"members.json", "/debug/members", sick, 200, json},
		{"members-none.json", "/debug/members", stopped, 200, json},
		{"maps.json", "/debug/maps", sick, 200, json},
		{"maps-none.json", "/debug/maps", fakeNode{}, 200, json},
		{"status.json", "/debug/status", sick, 200, json},
		{"stopped.json", "/debug/maps", stopped, 503, json},
		{"stopped.json", "/debug/status", stopped, 503, json},
		{"not-found.json", "/debug/nothing", well, 404, json},
		{"not-found.json", "/debug/maps/", well, 404, json},
	} {
		w := get(t, test.node, http.MethodGet, test.path)
		if w.Code != test.code || w.Header().Get("Content-Type") != test.kind {
			t.Errorf("%s (%s): %d %s, want %d %s", test.path, test.name, w.Code, w.Header().Get("Content-Type"), test.code, test.kind)
		}
		golden(t, test.name, w.Body.String())
	}
}

// TestJSONNames holds the names that interface documents promise.
func TestJSONNames(t *testing.T) {
	for path, names := range map[string]string{
		"members": "node name addr state self boot_id version in_sync last_sync clock_offset_ms rtt_ms",
		"maps":    "name target id type key_bytes value_bytes max_entries capture direction entries tombstones digest pending_apply bound error",
	} {
		var a map[string][]map[string]any
		if err := json.Unmarshal(get(t, fakeNode{status: fixture()}, http.MethodGet, "/debug/"+path).Body.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
		for _, name := range strings.Fields(names) {
			if _, ok := a[path][0][name]; !ok {
				t.Errorf("/debug/%s has no %s", path, name)
			}
		}
	}
}

func TestHTTPMethods(t *testing.T) {
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, "BREW"} {
		w := get(t, fakeNode{}, method, "/debug/maps")
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %d, Allow %q", method, w.Code, w.Header().Get("Allow"))
		}
	}
	if w := get(t, fakeNode{}, http.MethodHead, "/debug/maps"); w.Code != http.StatusOK {
		t.Errorf("HEAD: %d", w.Code)
	}
}

func TestNotReadyWhileLeaving(t *testing.T) {
	leaving := make(chan struct{})
	close(leaving)
	w := httptest.NewRecorder()
	newMux(fakeNode{status: healthyFixture()}, leaving).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "leaving the cluster") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// waitingNode never gets an answer of its owner.
type waitingNode struct{ fakeNode }

func (waitingNode) Maps(ctx context.Context) ([]mapgossip.MapStatus, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestHTTPGivesUpWithItsClient(t *testing.T) {
	w := httptest.NewRecorder()
	newMux(waitingNode{}, nil).ServeHTTP(w, httptest.NewRequestWithContext(cancelled(t), http.MethodGet, "/debug/maps", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestServerIsBounded(t *testing.T) {
	var logged bytes.Buffer
	at := endpoint{"tcp", "127.0.0.1:0"}
	listener, err := at.listen()
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(&logged, nil))
	server := newServer(fakeNode{}, nil, log)
	served := make(chan struct{})
	go func() { defer close(served); serve(server, listener, log) }()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://%s/", listener.Addr()), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Large", strings.Repeat("x", maxHeaderBytes+8<<10))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of 24 KiB: %s, want 431", response.Status)
	}
	if server.ReadHeaderTimeout == 0 || server.ReadTimeout == 0 || server.WriteTimeout <= answerTimeout || server.IdleTimeout == 0 {
		t.Error("a timeout is missing, or too short to answer")
	}
	server.Close()
	<-served
	if logged.Len() > 0 {
		t.Errorf("an orderly stop was logged: %s", &logged)
	}
}
