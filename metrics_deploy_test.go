package mapgossip

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What is shipped for operators, in files that nothing else reads here. How alert
// rules fire, deploy/prometheus/alerts_test.yml holds, for promtool.
const (
	dashboardFile = "deploy/grafana/mapgossip.json"
	alertsFile    = "deploy/prometheus/alerts.yml"
	storyFile     = "deploy/prometheus/alerts_test.yml"
)

// metricLabels returns the labels of each metric of testdata/metrics.txt, and those
// that a scrape adds. Of a histogram the names of its series are there.
func metricLabels(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "metrics.txt"))
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]string)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "\t") {
			continue
		}
		fields := strings.Fields(line)
		labels := append(strings.Split(strings.Trim(fields[2], "{}"), ","), "job", "instance")
		if fields[1] != "histogram" {
			all[fields[0]] = labels
			continue
		}
		all[fields[0]+"_bucket"] = append(slices.Clone(labels), "le")
		all[fields[0]+"_count"], all[fields[0]+"_sum"] = labels, labels
	}
	return all
}

// checkExpression holds that each metric in a PromQL expression is there, and that
// its selectors name labels that it has.
func checkExpression(t *testing.T, where, expression string, known map[string][]string, used map[string]bool) {
	t.Helper()
	metric := regexp.MustCompile(`\b(mapgossip_\w+)(?:\{([^}]*)\})?`)
	label := regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)\s*"`)
	found := metric.FindAllStringSubmatch(expression, -1)
	for _, m := range found {
		labels, ok := known[m[1]]
		if !ok {
			t.Errorf("%s: there is no %s", where, m[1])
			continue
		}
		used[m[1]] = true
		for _, l := range label.FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains(labels, l[1]) {
				t.Errorf("%s: %s has no label %s", where, m[1], l[1])
			}
		}
	}
	if len(found) == 0 && !strings.HasPrefix(expression, "up{") {
		t.Errorf("%s: no metric in %q", where, expression)
	}
}

// checkLegend holds that each label in {{}} is of one of the metrics of its expression.
func checkLegend(t *testing.T, where, text, expression string, known map[string][]string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}`).FindAllStringSubmatch(text, -1) {
		there := m[1] == "instance"
		for name := range strings.FieldsFuncSeq(expression, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') }) {
			there = there || slices.Contains(known[name], m[1])
		}
		if !there {
			t.Errorf("%s: nothing in %q has the label %s of %q", where, expression, m[1], text)
		}
	}
}

type dashboard struct {
	UID        string  `json:"uid"`
	Panels     []panel `json:"panels"`
	Templating struct {
		List []struct {
			Name  string          `json:"name"`
			Query json.RawMessage `json:"query"`
		} `json:"list"`
	} `json:"templating"`
	Annotations struct {
		List []struct {
			Expr string `json:"expr"`
		} `json:"list"`
	} `json:"annotations"`
}

type panel struct {
	ID          int    `json:"id"`
	Type        string `json:"type"`
	Title       string `json:"title"`
	Description string `json:"description"`
	Targets     []struct {
		Expr   string `json:"expr"`
		Legend string `json:"legendFormat"`
	} `json:"targets"`
}

// TestDashboard: each name in the dashboard exists, each metric has a place in it
// or in an alert, and each panel says what it shows.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatalf("%s: %v", dashboardFile, err)
	}
	known, used := metricLabels(t), map[string]bool{}
	var rows, variables []string
	ids := map[int]bool{}
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("panel %s: its ID %d is another panel's too", p.Title, p.ID)
		}
		ids[p.ID] = true
		if p.Type == "row" {
			rows = append(rows, p.Title)
			continue
		}
		if p.Title == "" || !strings.HasSuffix(p.Description, ".") || len(p.Targets) == 0 {
			t.Errorf("panel %d %q: want a title, a description and something to show", p.ID, p.Title)
		}
		for _, target := range p.Targets {
			where := "panel " + p.Title
			checkExpression(t, where, target.Expr, known, used)
			checkLegend(t, where, target.Legend, target.Expr, known)
			for _, variable := range []string{`job=~"$job"`, `instance=~"$instance"`} {
				if strings.Count(target.Expr, variable) != strings.Count(target.Expr, prefix) {
					t.Errorf("%s: %s does not filter by %s", where, target.Expr, variable)
				}
			}
		}
	}
	for _, v := range d.Templating.List {
		variables = append(variables, v.Name)
		if query := string(v.Query); strings.Contains(query, "label_values") {
			checkExpression(t, "variable "+v.Name, strings.ReplaceAll(query, `\"`, `"`), known, used)
		}
	}
	for _, a := range d.Annotations.List {
		checkExpression(t, "annotation", a.Expr, known, used)
	}
	if want := []string{"Cluster", "Maps", "Capture", "Apply and lag", "Network"}; !slices.Equal(rows, want) {
		t.Errorf("rows %q, want %q", rows, want)
	}
	if want := []string{"datasource", "job", "instance", "map"}; !slices.Equal(variables, want) {
		t.Errorf("variables %q, want %q", variables, want)
	}
	for _, a := range readAlerts(t) {
		checkExpression(t, a.name, a.fields["expr"], known, used)
	}
	for name := range known {
		if !used[name] && !strings.HasSuffix(name, "_seconds_sum") && !strings.HasSuffix(name, "_seconds_count") {
			t.Errorf("%s is in no panel and no alert", name)
		}
	}
}

// alert is one rule, its fields by their names, those of labels and annotations too.
type alert struct {
	name   string
	fields map[string]string
}

// readAlerts reads the rules as they are written: a field a line.
func readAlerts(t *testing.T) (alerts []alert) {
	t.Helper()
	text, err := os.ReadFile(alertsFile)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "- alert: "); ok {
			alerts = append(alerts, alert{name, map[string]string{}})
		} else if name, value, ok := strings.Cut(line, ": "); ok && len(alerts) > 0 && !strings.HasPrefix(line, "#") {
			alerts[len(alerts)-1].fields[name] = strings.Trim(value, `"`)
		}
	}
	return alerts
}

// TestAlerts: each name in an alert rule exists, and each says what happened, what
// to do and how bad it is.
func TestAlerts(t *testing.T) {
	known, used, seen := metricLabels(t), map[string]bool{}, map[string]bool{}
	story, err := os.ReadFile(storyFile)
	if err != nil {
		t.Fatal(err)
	}
	alerts := readAlerts(t)
	for _, a := range alerts {
		checkExpression(t, a.name, a.fields["expr"], known, used)
		checkLegend(t, a.name, a.fields["summary"], a.fields["expr"], known)
		if seen[a.name] || !strings.HasPrefix(a.name, "Mapgossip") {
			t.Errorf("alert %s: want a name of its own that begins with Mapgossip", a.name)
		}
		seen[a.name] = true
		if !slices.Contains([]string{"critical", "warning", "info"}, a.fields["severity"]) {
			t.Errorf("alert %s: severity %q", a.name, a.fields["severity"])
		}
		if a.fields["for"] == "" || !strings.Contains(a.fields["summary"], "{{ $labels.instance }}") || !strings.HasSuffix(a.fields["description"], ".") || len(a.fields["description"]) < 100 {
			t.Errorf("alert %s: want for, a summary with the instance and a description with what to do: %q", a.name, a.fields)
		}
		if !strings.Contains(string(story), `alertname="`+a.name+`"`) {
			t.Errorf("alert %s: no story in %s makes it fire", a.name, storyFile)
		}
	}
	if len(alerts) < 13 {
		t.Errorf("%d alerts", len(alerts))
	}
	for _, m := range regexp.MustCompile(`series: '([^']*)'`).FindAllStringSubmatch(string(story), -1) {
		checkExpression(t, storyFile, m[1], known, used)
	}
}
