package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestHelpPages: the pages, which are files, are what help prints, and no flag,
// default or command is missing from them or made up.
func TestHelpPages(t *testing.T) {
	flagLine := regexp.MustCompile(`(?m)^  (?:-\w, )?--([a-z-]+)`)
	for _, c := range commands() {
		page := helpPage(c.name)
		if page == "" {
			t.Errorf("no help page for %s", c.name)
			continue
		}
		for _, args := range [][]string{{c.name, "--help"}, {c.name, "-h"}, {"help", c.name}} {
			wantResult(t, invoke(t, nil, args...), result{0, page, ""})
		}
		if !regexp.MustCompile(`(?m)^  ` + c.name + ` `).MatchString(helpPage("")) {
			t.Errorf("command %s is not in the help", c.name)
		}
		entries := make(map[string]string) // flag -> its paragraph
		marks := flagLine.FindAllStringSubmatchIndex(page, -1)
		for i, m := range marks {
			end := len(page)
			if i+1 < len(marks) {
				end = marks[i+1][0]
			}
			entries[page[m[2]:m[3]]] = page[m[0]:end]
		}
		if _, ok := entries["help"]; !ok {
			t.Errorf("%s: --help is not in its help", c.name)
		}
		delete(entries, "help")
		settingsOf(c.name).VisitAll(func(f *pflag.Flag) {
			entry, ok := entries[f.Name]
			delete(entries, f.Name)
			switch {
			case !ok:
				t.Errorf("%s: --%s is not in its help", c.name, f.Name)
			case f.DefValue == "" || f.DefValue == "[]" || f.DefValue == "false":
			case !strings.Contains(entry, "(default "+f.DefValue):
				t.Errorf("%s: the help of --%s does not tell the default %s", c.name, f.Name, f.DefValue)
			}
		})
		for name := range entries {
			t.Errorf("%s: the help has --%s, the program does not", c.name, name)
		}
		for i, line := range strings.Split(page, "\n") {
			if len(line) > 100 {
				t.Errorf("%s: line %d of its help has %d columns, want 100 at most", c.name, i+1, len(line))
			}
		}
	}
}

func TestHelpWords(t *testing.T) {
	for _, args := range [][]string{{"help"}, {"--help"}, {"-h"}, {"help", "help"}} {
		wantResult(t, invoke(t, nil, args...), result{0, helpPage(""), ""})
	}
}
