// Every path of the endpoint against one fake node and one folder of answers: one file.

package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mapgossip/mapgossip"
	"github.com/mapgossip/mapgossip/mapwatch/layout"
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
func (f fakeNode) Sync(context.Context) error                       { return f.err }
func (f fakeNode) Collector() prometheus.Collector                  { return prometheus.NewRegistry() }

// known fails as a node does of which map flows is all there is.
func (f fakeNode) known(mapName string) error {
	if f.err == nil && mapName != "flows" {
		return fmt.Errorf("map %s: %w", mapName, mapgossip.ErrUnknownMap)
	}
	return f.err
}
func (f fakeNode) Layouts(_ context.Context, mapName string) (key, value layout.Layout, err error) {
	key = layout.Layout{Kind: "struct", Type: "struct flow_key", Bytes: 4, Fields: []layout.Field{
		{Name: "port", Layout: layout.Layout{Kind: "int", Type: "__be16", Bytes: 2, Reversed: true}},
	}}
	return key, value, f.known(mapName)
}
func (f fakeNode) ParseKey(_ context.Context, mapName, text string) ([]byte, error) {
	if err := f.known(mapName); err != nil {
		return nil, err
	}
	if text == "port=443,proto=6/tcp" {
		text = "01bb0600"
	}
	key, err := hex.DecodeString(text)
	if err != nil || len(key) != 4 {
		return nil, fmt.Errorf("key %q of map %s: %w: want 4 bytes in hex", text, mapName, mapgossip.ErrKey)
	}
	return key, nil
}
func (f fakeNode) Entry(_ context.Context, mapName string, key []byte) (mapgossip.Entry, error) {
	if hex.EncodeToString(key) != entryFixture().Key {
		return mapgossip.Entry{}, fmt.Errorf("key %x of map %s: %w", key, mapName, mapgossip.ErrUnknownKey)
	}
	return entryFixture(), f.known(mapName)
}
func (f fakeNode) Entries(_ context.Context, mapName string, tombstones bool, fn func([]mapgossip.Entry) error) error {
	if err := f.known(mapName); err != nil {
		return err
	}
	chunk := []mapgossip.Entry{entryFixture()}
	chunk[0].Kernel = nil
	if tombstones {
		chunk = append(chunk, mapgossip.Entry{Map: "flows", Key: "00000001", Deleted: true, Node: "lb-1", Time: present().Add(-time.Minute)})
	}
	return fn(chunk)
}
func (f fakeNode) Follow(_ context.Context, mapName string, fn func(mapgossip.Change) error) error {
	if err := f.known(mapName); err != nil {
		return err
	}
	local := mapgossip.Change{Entry: entryFixture(), Origin: mapgossip.OriginLocal,
		Writer: &mapgossip.Writer{Source: "syscall", PID: 4711, Process: "bpftool", CPU: 3}}
	local.Kernel = nil
	remote := local
	remote.Origin, remote.From, remote.LagMS, remote.Writer, remote.Lost = mapgossip.OriginRemote, "lb-3", 1.5, nil, 7
	for _, c := range []mapgossip.Change{local, remote} {
		if err := fn(c); err != nil {
			return err
		}
	}
	return mapgossip.ErrStopped
}
func (f fakeNode) Scan(_ context.Context, mapName string) (mapgossip.ScanReport, error) {
	return mapgossip.ScanReport{Map: mapName, Elements: 10000, Differed: 3, Stamped: 1, Written: 2, DurationMS: 41.5}, f.known(mapName)
}
func (f fakeNode) Views(context.Context) ([]mapgossip.View, error) {
	return []mapgossip.View{
		{Node: "lb-1", Self: true,
			Maps:    []mapgossip.MapView{{Name: "flows", Digest: "00112233445566778899aabbccddeeff", Entries: 10000, Tombstones: 12, PendingApply: 1}},
			Members: []mapgossip.MemberView{{Node: "lb-2", State: "alive", InSync: true, LastSync: present().Add(-3 * time.Second)}}},
		{Node: "lb-2", Error: "no answer within 3 s", Maps: []mapgossip.MapView{}, Members: []mapgossip.MemberView{}},
	}, f.err
}
func (f fakeNode) Held(_ context.Context, mapName string, _ []byte) ([]mapgossip.Held, error) {
	e := entryFixture()
	return []mapgossip.Held{{Node: "lb-1", Self: true, Entry: &e}, {Node: "lb-2"}, {Node: "lb-3", Error: "no answer within 3 s"}}, f.known(mapName)
}
func (f fakeNode) Diff(_ context.Context, mapName, member string, fn func(mapgossip.Difference) error) error {
	if err := f.known(mapName); err != nil {
		return err
	}
	if member != "lb-3" {
		return fmt.Errorf("compare with member %s: %w", member, mapgossip.ErrUnknownMember)
	}
	here := entryFixture()
	here.Kernel = nil
	return fn(mapgossip.Difference{Key: here.Key, KeyText: here.KeyText, Here: &here, Newer: "here"})
}
func (f fakeNode) Keys(context.Context) ([]mapgossip.MemberKeys, error) {
	return []mapgossip.MemberKeys{
		{Node: "lb-1", Self: true, Keys: []string{"0011223344556677", "8899aabbccddeeff"}, Kept: true},
		{Node: "lb-2", Error: "no answer within 3 s", Keys: []string{}},
	}, f.err
}
func (f fakeNode) InstallKey(ctx context.Context, _ []byte) ([]mapgossip.MemberKeys, error) {
	return f.Keys(ctx)
}
func (f fakeNode) UseKey(ctx context.Context, fingerprint string) ([]mapgossip.MemberKeys, error) {
	if f.err == nil && fingerprint != "8899aabbccddeeff" {
		return nil, fmt.Errorf("use key %s: members lb-2 lack it: install it first", fingerprint)
	}
	return f.Keys(ctx)
}
func (f fakeNode) RemoveKey(ctx context.Context, fingerprint string) ([]mapgossip.MemberKeys, error) {
	return f.UseKey(ctx, fingerprint)
}

// newMux returns what an agent around n answers.
func newMux(n node, leaving <-chan struct{}) http.Handler {
	return newServer(n, leaving, func() {}, configAnswer{}, present, slog.New(slog.DiscardHandler)).Handler
}

// entryFixture is an entry with everything in it.
func entryFixture() mapgossip.Entry {
	return mapgossip.Entry{Map: "flows", Key: "01bb0600", KeyText: "{port: 443, proto: tcp}", Value: "0a000001", ValueText: "{addr: 10.0.0.1 <b>}", Node: "lb-3",
		Time: present().Add(-time.Second), Logical: 2, Pending: true, Evicted: true,
		Kernel: &mapgossip.KernelValue{Present: true, Value: "0a000002", ValueText: "{addr: 10.0.0.2}"}}
}

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
			{Node: "lb-7", Name: "lb-7-1a", Addr: "192.0.2.7:7946", State: "alive", BootID: "1a", Version: "v0.1.0", LastSync: now.Add(-10 * time.Minute), Lacks: []string{"acl"}, Differ: []string{}, Room: []mapgossip.Room{}},
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

// get asks as another host does.
func get(t *testing.T, n node, method, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	newMux(n, nil).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, nil))
	return w
}

// here asks as a command on the agent's own host does.
func here(t *testing.T, n node, method, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	r.RemoteAddr, r.Host = "127.0.0.1:99", clientHost
	w := httptest.NewRecorder()
	newMux(n, nil).ServeHTTP(w, r)
	return w
}

func TestHTTPAnswers(t *testing.T) {
	sick, well := fakeNode{status: fixture()}, fakeNode{status: healthyFixture()}
	stopped := fakeNode{err: mapgossip.ErrStopped}
	const json, lines = "application/json", "application/x-ndjson"
	const entry = "/debug/maps/flows/entries/01bb0600"
	for _, test := range []struct {
		name, path string
		node       node
		code       int
		kind       string
	}{
		{"index.txt", "/index.txt", well, 200, "text/plain; charset=utf-8"},
		{"healthz.json", "/healthz", well, 200, json},
		{"healthz-sick.json", "/healthz", sick, 503, json},
		{"readyz.json", "/readyz", well, 200, json},
		{"readyz-sick.json", "/readyz", sick, 503, json},
		{"members.json", "/debug/members", sick, 200, json},
		{"members-none.json", "/debug/members", stopped, 200, json},
		{"maps.json", "/debug/maps", sick, 200, json},
		{"maps-none.json", "/debug/maps", fakeNode{}, 200, json},
		{"map.json", "/debug/maps/flows", sick, 200, json},
		{"unknown-map.json", "/debug/maps/none", sick, 404, json},
		{"status.json", "/debug/status", sick, 200, json},
		{"entry.json", entry, sick, 200, json},
		{"entry.json", "/debug/maps/flows/entries/port=443,proto=6%2Ftcp", sick, 200, json},
		{"unknown-key.json", "/debug/maps/flows/entries/00000000", sick, 404, json},
		{"malformed-key.json", "/debug/maps/flows/entries/0g", sick, 400, json},
		{"unknown-map.json", "/debug/maps/none/entries/00", sick, 404, json},
		{"held.json", entry + "/members", sick, 200, json},
		{"malformed-key.json", "/debug/maps/flows/entries/0g/members", sick, 400, json},
		{"entries.ndjson", "/debug/maps/flows/entries", sick, 200, lines},
		{"entries-tombstones.ndjson", "/debug/maps/flows/entries?tombstones=1", sick, 200, lines},
		{"malformed-tombstones.json", "/debug/maps/flows/entries?tombstones=maybe", sick, 400, json},
		{"unknown-map.json", "/debug/maps/none/entries", sick, 404, json},
		{"unknown-map.json", "/debug/maps/none/watch", sick, 404, json},
		{"diff.ndjson", "/debug/maps/flows/diff?member=lb-3", sick, 200, lines},
		{"unknown-member.json", "/debug/maps/flows/diff?member=lb-9", sick, 404, json},
		{"no-member.json", "/debug/maps/flows/diff", sick, 400, json},
		{"convergence.json", "/debug/convergence", sick, 200, json},
		{"keys.json", "/debug/keys", sick, 200, json},
		{"stopped.json", "/debug/maps", stopped, 503, json},
		{"stopped.json", "/debug/maps/flows", stopped, 503, json},
		{"stopped.json", "/debug/maps/flows/entries", stopped, 503, json},
		{"stopped.json", "/debug/maps/flows/watch", stopped, 503, json},
		{"stopped.json", "/debug/status", stopped, 503, json},
		{"stopped.json", "/debug/convergence", stopped, 503, json},
		{"stopped.json", "/debug/keys", stopped, 503, json},
		{"not-found.json", "/debug/nothing", well, 404, json},
		{"not-found.json", "/debug/maps/", well, 404, json},
	} {
		w := get(t, test.node, http.MethodGet, test.path)
		if w.Code != test.code || w.Header().Get("Content-Type") != test.kind || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s (%s): %d %s, want %d %s", test.path, test.name, w.Code, w.Header(), test.code, test.kind)
		}
		golden(t, test.name, w.Body.String())
	}
}

func TestHTTPChanges(t *testing.T) {
	sick, stopped := fakeNode{status: fixture()}, fakeNode{err: mapgossip.ErrStopped}
	key := base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n"
	for _, test := range []struct {
		name, path, body string
		node             node
		code             int
	}{
		{"scan.json", "/debug/maps/flows/scan", "", sick, 200},
		{"unknown-map.json", "/debug/maps/none/scan", "", sick, 404},
		{"sync.json", "/debug/sync", "", sick, 200},
		{"leave.json", "/debug/leave", "", sick, 200},
		{"keys.json", "/debug/keys/install", key, sick, 200},
		{"malformed-base64.json", "/debug/keys/install", "a key", sick, 400},
		{"malformed-size.json", "/debug/keys/install", "AAAA", sick, 400},
		{"too-long.json", "/debug/keys/install", strings.Repeat("A", maxBodyBytes+1), sick, 400},
		{"keys.json", "/debug/keys/8899aabbccddeeff/use", "", sick, 200},
		{"key-refused.json", "/debug/keys/0000000000000000/use", "", sick, 409},
		{"keys.json", "/debug/keys/8899aabbccddeeff/remove", "", sick, 200},
		{"stopped.json", "/debug/sync", "", stopped, 503},
		{"stopped.json", "/debug/maps/flows/scan", "", stopped, 503},
		{"stopped.json", "/debug/keys/install", key, stopped, 503},
	} {
		w := here(t, test.node, http.MethodPost, test.path, test.body)
		if w.Code != test.code || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s (%s): %d, want %d", test.path, test.name, w.Code, test.code)
		}
		golden(t, test.name, w.Body.String())
		if w := here(t, test.node, http.MethodGet, test.path, ""); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "POST" {
			t.Errorf("GET %s: %d, Allow %q", test.path, w.Code, w.Header().Get("Allow"))
		}
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
	server := newServer(fakeNode{}, nil, func() {}, configAnswer{}, present, log)
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
