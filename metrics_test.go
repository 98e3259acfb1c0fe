package mapgossip

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mapgossip/mapgossip/gossip"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// scraped is one metric as a scrape tells it.
type scraped struct {
	help, kind string
	labels     []string
	series     map[string]float64 // by label values, joined with a blank; of a histogram the count
}

// scrape reads all metrics by a registry that checks them.
func scrape(t *testing.T, c prometheus.Collector) map[string]scraped {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(c); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]scraped, len(families))
	for _, f := range families {
		s := scraped{help: f.GetHelp(), kind: strings.ToLower(f.GetType().String()), series: map[string]float64{}}
		for _, m := range f.GetMetric() {
			s.labels = nil
			var values []string
			for _, l := range m.GetLabel() {
				s.labels, values = append(s.labels, l.GetName()), append(values, l.GetValue())
			}
			s.series[strings.Join(values, " ")] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
		all[f.GetName()] = s
	}
	return all
}

// TestMetricNames holds names, types, labels and texts of all metrics.
// UPDATE_GOLDEN=1 writes the file anew.
func TestMetricNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, lan)
		a, _ := r.add(), r.add()
		pass(5 * time.Second)
		all := scrape(t, a.Collector())
		var text bytes.Buffer
		for _, name := range slices.Sorted(maps.Keys(all)) {
			s := all[name]
			fmt.Fprintf(&text, "%s %s {%s}\n\t%s\n", name, s.kind, strings.Join(s.labels, ","), s.help)
			switch {
			case !strings.HasPrefix(name, prefix) || !strings.HasSuffix(s.help, "."):
				t.Errorf("%s: want %s… and a sentence: %s", name, prefix, s.help)
			case (s.kind == "counter") != strings.HasSuffix(name, "_total"):
				t.Errorf("%s is a %s", name, s.kind)
			}
		}
		path := filepath.Join("testdata", "metrics.txt")
		if os.Getenv("UPDATE_GOLDEN") == "1" {
			if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if text.String() != string(want) {
			t.Errorf("%s differs (UPDATE_GOLDEN=1 writes it anew); got:\n%s", path, text.Bytes())
		}
		descs := make(chan *prometheus.Desc, 2*len(all))
		a.Collector().Describe(descs)
		if len(descs) != len(all) {
			t.Errorf("%d of %d metrics have a series with two members", len(all), len(descs))
		}
	})
}

// TestMetricsFromStart: a member alone, with a map that is not there yet, tells all
// but what is of another member, at 0.
func TestMetricsFromStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, lan)
		config, kernel, m := r.prepare(0, mapwatch.Shape{})
		config.Maps = append(config.Maps, MapConfig{Name: "later", Target: "/sys/fs/bpf/later"})
		a := r.start(config, kernel, m)
		pass(time.Second / 2)
		all := scrape(t, a.Collector())
		descs := make(chan *prometheus.Desc, 1000)
		a.Collector().Describe(descs)
		close(descs)
		for d := range descs {
			_, name, _ := strings.Cut(d.String(), `fqName: "`)
			name, _, _ = strings.Cut(name, `"`)
			ofMember := strings.HasPrefix(name, prefix+"member_") || name == prefix+"map_room_waiting"
			if _, told := all[name]; told == ofMember {
				t.Errorf("%s: told %v with no other member", name, told)
			}
		}
		for name, s := range all {
			if slices.Contains(s.labels, labelMap) && name != prefix+"map_info" && (len(s.series) != 2 || slices.Sorted(maps.Keys(s.series))[1] != "later") {
				t.Errorf("%s has the series %v, want one each map", name, s.series)
			}
			if s.kind == "gauge" {
				continue
			}
			for labels, value := range s.series {
				if value != 0 && name != prefix+"scans_total" {
					t.Errorf("%s{%s} is %v at the start", name, labels, value)
				}
			}
		}
		for name, want := range map[string]map[string]float64{
			"up": {"": 1}, "ready": {"": 0}, "members": {"alive": 1, "suspect": 0, "dead": 0, "left": 0},
			"map_bound": {"flows": 1, "later": 0}, "last_scan_seconds": {"flows": 0.5, "later": math.Inf(1)},
			"frames_refused_total": {"malformed": 0, "unknown_frame": 0, "unknown_map": 0, "stranger": 0, "inbox_full": 0, "shape": 0, "merge": 0},
			"sent_bytes_total":     {"packet": 0, "stream": 0}, "sync_entries_total": {"in": 0, "out": 0},
			"connections_refused_total": {"protocol": 0, "limit": 0},
		} {
			if got := all[prefix+name].series; !maps.Equal(got, want) {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
	})
}

// TestMetricsTell: what happens shows.
func TestMetricsTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, lan)
		a := r.add()
		config, kernel, m := r.prepare(1, mapwatch.Shape{MaxEntries: 3})
		b := r.start(config, kernel, m)
		pass(5 * time.Second)
		for i := range 5 {
			a.write(t, i, i)
		}
		pass(5 * time.Second)
		all := scrape(t, b.Collector())
		for name, want := range map[string]map[string]float64{
			"map_entries": {"flows": 5}, "map_max_entries": {"flows": 3}, "map_pending_apply": {"flows": 2}, "map_error": {"flows": 1},
			"remote_changes_total": {"flows": 5}, "applied_total": {"flows": 3}, "apply_lag_seconds": {"flows": 3}, "local_changes_total": {"flows": 0},
			"ready": {"": 0}, "healthy": {"": 0}, "in_sync": {"": 0}, "encrypted": {"": 0}, "conflicts": {"": 0},
			"members": {"alive": 2, "suspect": 0, "dead": 0, "left": 0}, "member_in_sync": {"n0": 1}, "map_room_waiting": {"flows n0": 0},
			"map_info": {"fexit both flows hash": 1},
		} {
			if got := all[prefix+name].series; !maps.Equal(got, want) {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
		if all[prefix+"apply_errors_total"].series["flows"] < 2 || all[prefix+"rumors_sent_total"].series[""] != 0 || all[prefix+"received_entries_total"].series[""] < 5 {
			t.Errorf("%v", all)
		}
		if got := all[prefix+"member_last_sync_seconds"].series["n0"]; got < 0 || got > 5 {
			t.Errorf("last exchange %v s ago", got)
		}
		all = scrape(t, a.Collector())
		if got := all[prefix+"map_room_waiting"].series["flows n1"]; got != 2 {
			t.Errorf("%v entries wait for room at the other member, want 2", got)
		}
		if all[prefix+"captured_total"].series["flows"] != 5 || all[prefix+"rumors_sent_total"].series[""] < 5 || all[prefix+"apply_lag_seconds"].series["flows"] != 0 {
			t.Errorf("%v", all)
		}

		b.stop() // a member that left has no series of its own
		pass(10 * time.Second)
		all = scrape(t, a.Collector())
		if got := all[prefix+"member_in_sync"].series; len(got) != 0 || all[prefix+"members"].series["left"] != 1 {
			t.Errorf("%v after the other member left, %v", got, all[prefix+"members"].series)
		}
		stopped := scrape(t, b.Collector())
		if up, told := stopped[prefix+"up"].series[""]; up != 0 || !told {
			t.Error("a Node that stopped is up")
		}
	})
}

// TestMetricsOfStuckOwner: a scrape is over in time, and says so.
func TestMetricsOfStuckOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, lan)
		a, _ := r.add(), r.add()
		pass(5 * time.Second)
		stuck, held := make(chan struct{}), make(chan struct{})
		go a.call(t.Context(), func() { close(held); <-stuck })
		<-held
		for range 2 * callQueue { // more than the owner's queue takes
			begin := time.Now()
			all := scrape(t, a.Collector())
			if took := time.Since(begin); took > scrapeTimeout {
				t.Fatalf("a scrape took %v", took)
			}
			if up, told := all[prefix+"up"].series[""]; up != 0 || !told {
				t.Fatal("up, though the owner does not answer")
			}
			if _, told := all[prefix+"map_entries"]; told || all[prefix+"members"].series["alive"] == 0 {
				t.Fatalf("%v", all)
			}
		}
		close(stuck)
		pass(time.Second)
		if all := scrape(t, a.Collector()); all[prefix+"up"].series[""] != 1 || all[prefix+"map_entries"].series == nil {
			t.Error("not up, though the owner answers again")
		}
	})
}

// TestMetricsOfTwins: two runs of one node ID, for as long as both are told of, are
// one series: a registry refuses two.
func TestMetricsOfTwins(t *testing.T) {
	dead, alive := gossip.StateDead, gossip.StateAlive
	got, states := others([]Member{
		{Node: "a", Self: true, State: alive},
		{Node: "b", Name: "b-1", State: dead}, {Node: "b", Name: "b-2", State: alive}, {Node: "b", Name: "b-3", State: alive},
		{Node: "c", Name: "c-1", State: alive}, {Node: "c", Name: "c-2", State: dead},
		{Node: "d", State: gossip.StateLeft},
	})
	var names []string
	for _, m := range got {
		names = append(names, m.Name)
	}
	if !slices.Equal(names, []string{"b-2", "c-1"}) || states[alive] != 4 || states[dead] != 2 || states[gossip.StateLeft] != 1 {
		t.Errorf("%v, %v", names, states)
	}
}
