package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/mapgossip/mapgossip"
)

func httptestRequest(t *testing.T, method, path string) *http.Request {
	return httptest.NewRequestWithContext(t.Context(), method, path, nil)
}

// record returns what h answers to r; without h, nothing yet.
func record(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	if h != nil {
		h.ServeHTTP(w, r)
	}
	return w
}

// TestNames holds the JSON names of all answers and the names of all metrics in
// one file: what is in it is a contract, so lines may be added, and none may go.
func TestNames(t *testing.T) {
	var lines []string
	for _, a := range []struct {
		path  string
		value any
	}{
		{"/healthz, /readyz", health{}},
		{"/debug/status", statusAnswer{}},
		{"/debug/members", membersAnswer{}},
		{"/debug/maps", mapsAnswer{}},
		{"/debug/maps/NAME", mapAnswer{}},
		{"/debug/maps/NAME/entries, a line", mapgossip.Entry{}},
		{"/debug/maps/NAME/entries/KEY", mapgossip.Entry{}},
		{"/debug/maps/NAME/entries/KEY/members", heldAnswer{}},
		{"/debug/maps/NAME/watch, an event", mapgossip.Change{}},
		{"/debug/maps/NAME/diff, a line", mapgossip.Difference{}},
		{"/debug/convergence", viewsAnswer{}},
		{"/debug/keys", keysAnswer{}},
		{"POST /debug/maps/NAME/scan", mapgossip.ScanReport{}},
		{"POST /debug/sync", syncedAnswer{}},
		{"POST /debug/leave", leavingAnswer{}},
		{"POST /debug/members/NODE/remove", removedAnswer{}},
		{"POST /debug/keys/...", keysAnswer{}},
		{"errors, and the last of a stream that failed", errorAnswer{}},
	} {
		lines = append(lines, a.path)
		lines = append(lines, jsonNames(t, "  ", reflect.TypeOf(a.value), nil)...)
	}
	lines = append(lines, "/debug/config")
	for _, name := range agentFlags() {
		lines = append(lines, "  "+name)
	}
	lines = append(lines, jsonNames(t, "  keyring.", reflect.TypeOf(keyringAnswer{}), nil)...)
	lines = append(lines, "/metrics")
	for _, name := range metricNames(t) {
		lines = append(lines, "  "+name)
	}
	golden(t, "names.txt", strings.Join(lines, "\n")+"\n")
}

// metricNames returns the metrics of the Node, as its own golden file has them,
// and those of this program.
func metricNames(t *testing.T) (names []string) {
	t.Helper()
	text, err := os.ReadFile("../../testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	own := record(newMux(fakeNode{}, nil), httptestRequest(t, http.MethodGet, "/metrics")).Body.String()
	for line := range strings.Lines(string(text) + own) {
		if name := regexp.MustCompile(`^mapgossip_[a-z_]+`).FindString(line); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// jsonNames returns a line for each field below a type; of one that is within
// itself, the names are there once.
func jsonNames(t *testing.T, prefix string, of reflect.Type, within []reflect.Type) (lines []string) {
	for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct || of == reflect.TypeFor[time.Time]() || slices.Contains(within, of) {
		return nil
	}
	within = append(slices.Clone(within), of)
	for f := range of.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			lines = append(lines, jsonNames(t, prefix, f.Type, within)...)
			continue
		}
		if !regexp.MustCompile(`^[a-z][a-z0-9_]*$`).MatchString(name) {
			t.Errorf("%s.%s has the JSON name %q: want lower case and _", of, f.Name, name)
		}
		list := ""
		if f.Type.Kind() == reflect.Slice {
			list = "[]"
		}
		lines = append(lines, prefix+name+list)
		lines = append(lines, jsonNames(t, prefix+name+list+".", f.Type, within)...)
	}
	return lines
}

// agentFlags returns the flags that say how an agent runs.
func agentFlags() (names []string) {
	settingsOf("agent").VisitAll(func(f *pflag.Flag) {
		if f.Name != "check" {
			names = append(names, f.Name)
		}
	})
	return names
}

// TestConfig: each flag is told, and no key.
func TestConfig(t *testing.T) {
	key := invoke(t, nil, "keygen").stdout
	keyring := writeFile(t, key, 0o600)
	o, err := parseAgent([]string{"--map", "flows=name:flows,events=update", "--map", "/sys/fs/bpf/acl", "--node", "lb-1", "--join", "lb-2", "--keyring", keyring}, nil)
	if err != nil {
		t.Fatal(err)
	}
	config := configOf(o)
	for _, name := range agentFlags() {
		if _, ok := config[name]; !ok {
			t.Errorf("/debug/config does not tell --%s", name)
		}
	}
	if len(config) != len(agentFlags()) {
		t.Errorf("%d names, %d flags", len(config), len(agentFlags()))
	}
	s := newServer(fakeNode{}, nil, func() {}, config, present, slog.New(slog.DiscardHandler))
	text := record(s.Handler, httptestRequest(t, http.MethodGet, "/debug/config")).Body.String()
	if strings.Contains(text, strings.TrimSpace(key)) {
		t.Error("the key is in it")
	}
	golden(t, "config.json", strings.ReplaceAll(text, keyring, "/etc/mapgossip/keys"))
}

func TestMetrics(t *testing.T) {
	w := get(t, fakeNode{}, http.MethodGet, "/metrics")
	for _, name := range []string{"mapgossip_http_connections 0", "mapgossip_http_watchers 0", "mapgossip_http_connections_refused_total 0",
		"mapgossip_http_requests_refused_total 0", "go_goroutines ", "process_open_fds "} {
		if !strings.Contains(w.Body.String(), "\n"+name) {
			t.Errorf("/metrics (%s) has no %s", fmt.Sprint(w.Code, w.Header()), name)
		}
	}
}
