package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip"
)

// agentAt serves h with the clock of the golden files, and returns its address.
func agentAt(t *testing.T, h http.Handler) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", present().Format(http.TimeFormat))
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func TestAskTables(t *testing.T) {
	alone := healthyFixture()
	alone.Members = alone.Members[:1]
	alone.Encrypted = true
	well := alone
	well.Members = healthyFixture().Members
	for name, status := range map[string]mapgossip.Status{"sick": fixture(), "well": well, "alone": alone} {
		at := agentAt(t, newMux(fakeNode{status: status}, nil))
		for _, command := range []string{"members", "maps", "status"} {
			r := invoke(t, nil, command, "--http", at)
			if r.code != 0 || r.stderr != "" {
				t.Errorf("%s: code %d, stderr %s", command, r.code, r.stderr)
			}
			golden(t, command+"-"+name+".txt", r.stdout)
		}
	}
}

func TestAskJSONIsTheAgentsAnswer(t *testing.T) {
	n := fakeNode{status: fixture()}
	at := agentAt(t, newMux(n, nil))
	for _, name := range []string{"members", "maps", "status"} {
		want := get(t, n, http.MethodGet, "/debug/"+name).Body.String()
		wantResult(t, invoke(t, []string{"MAPGOSSIP_HTTP=" + at, "MAPGOSSIP_OUTPUT=json"}, name), result{0, want, ""})
	}
}

func TestAskOverUnixSocket(t *testing.T) {
	at := endpoint{"unix", filepath.Join(t.TempDir(), "s")}
	listener, err := at.listen()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(newMux(fakeNode{status: healthyFixture()}, nil))
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	defer server.Close()
	if r := invoke(t, nil, "maps", "--http", at.String()); r.code != 0 || !strings.Contains(r.stdout, "flows") {
		t.Errorf("%+v", r)
	}
}

func TestAskFaults(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := listener.Addr().String()
	listener.Close()
	text := func(code int, body string) string {
		return agentAt(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			fmt.Fprint(w, body)
		}))
	}
	const hint = "is 'mapgossip agent' running on this host? --http says where it listens (its own --http)"
	for _, test := range []struct{ at, stderr string }{
		{nobody, "ask agent at ADDR: connection refused: " + hint},
		{"unix:/nonexistent/s", "ask agent at ADDR: no such file or directory: " + hint},
		{text(200, "<html>"), "ask agent at ADDR: what answers there is no mapgossip agent: is --http the address of one?"},
		{text(404, `{"error":"no such path"}`), "ask agent at ADDR for /debug/maps: no such path"},
		{text(502, `[]`), "ask agent at ADDR for /debug/maps: 502 Bad Gateway"},
		{text(200, `{"maps":7}`), "read answer of agent at ADDR: json: cannot unmarshal number into Go struct field mapsAnswer.maps of type []mapgossip.MapStatus: is it of another version?"},
		{agentAt(t, newMux(fakeNode{err: mapgossip.ErrStopped}, nil)), "ask agent at ADDR for /debug/maps: node has stopped"},
		{agentAt(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })), "ask agent at ADDR: it hung up: is it just stopping?"},
	} {
		want := "mapgossip: " + strings.ReplaceAll(test.stderr, "ADDR", test.at) + "\n"
		wantResult(t, invoke(t, nil, "maps", "--http", test.at), result{1, "", want})
	}
	var stdout, stderr strings.Builder
	if code := run(cancelled(t), []string{"maps", "--http", nobody}, nil, &stdout, &stderr); code != 1 || stderr.String() != "mapgossip: ask agent at "+nobody+": interrupted\n" {
		t.Errorf("interrupted: %d %s", code, stderr.String())
	}
}

func TestRounded(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 850 * time.Microsecond: "850µs", 1240 * time.Microsecond: "1.2ms", 12400 * time.Microsecond: "12ms", 999 * time.Millisecond: "999ms",
		3456 * time.Millisecond: "3.5s", 12345 * time.Millisecond: "12s", 125 * time.Second: "2m5s", 10 * time.Minute: "10m", time.Hour: "1h", 40 * time.Minute: "40m", 3*time.Hour + 2*time.Minute + time.Second: "3h2m",
		99 * time.Hour: "4d3h", -1500 * time.Millisecond: "-1.5s",
	} {
		if got := rounded(d); got != want {
			t.Errorf("rounded(%d) = %s, want %s", d, got, want)
		}
	}
}
