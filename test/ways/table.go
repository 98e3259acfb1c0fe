//go:build linux

package ways

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// seen is what was found in one cell on one kernel.
type seen struct {
	kernel string // "6.1", or "6.1 with preempt=full" where that matters
	Cell
}

// table is all that was found.
type table struct {
	reports []Report
	rows    map[string][]seen // by way
	notes   []string
}

// Markdown returns the section of the README: what becomes of each change, and
// why types are refused. matrix is the path of the file with every cell.
func Markdown(reports []Report, matrix string) string {
	t := newTable(reports)
	var b strings.Builder
	fmt.Fprintf(&b, "What becomes of a change to a map on %s. ", t.kernels())
	fmt.Fprintf(&b, "`make test-kernels` makes this table: it boots each kernel, makes every change to a map of one member, and looks at another member's; [every cell](%s).\n\n", matrix)
	b.WriteString("| change |")
	for _, c := range columns() {
		fmt.Fprintf(&b, " %s |", c.title)
	}
	b.WriteString("\n|" + strings.Repeat(" --- |", len(columns())+1) + "\n")
	for _, w := range rows() {
		fmt.Fprintf(&b, "| %s |", w.Title)
		for _, c := range columns() {
			fmt.Fprintf(&b, " %s |", t.summary(c, w))
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
	for i, note := range t.notes {
		fmt.Fprintf(&b, "%d. %s\n", i+1, note)
	}
	fmt.Fprintf(&b, "\n%s\n\n%s", t.legend(), t.refused())
	return b.String()
}

// Matrix returns the file with every cell: a table a type, a column for kernels on
// which all is the same.
func Matrix(reports []Report) string {
	t := newTable(reports)
	var b strings.Builder
	b.WriteString("# Every way to change a map, on every kernel\n\n")
	fmt.Fprintf(&b, "On %s. Made by `make test-kernels`, see package ways; the README has the summary.\n\n%s\n", t.kernels(), t.legend())
	for _, kind := range Types() {
		cells := t.cellsOf(kind)
		var groups [][]string // of kernels on which all is the same
		for _, k := range slices.SortedFunc(maps.Keys(cells), compareKernels) {
			i := slices.IndexFunc(groups, func(g []string) bool { return maps.Equal(cells[g[0]], cells[k]) })
			if i < 0 {
				groups = append(groups, []string{k})
			} else {
				groups[i] = append(groups[i], k)
			}
		}
		if groups == nil {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n| change |", strings.TrimSuffix(kind.Column+", "+kind.Form, ", "))
		for _, g := range groups {
			fmt.Fprintf(&b, " %s |", strings.Join(g, ", "))
		}
		b.WriteString("\n|" + strings.Repeat(" --- |", len(groups)+1) + "\n")
		for _, w := range rows() {
			fmt.Fprintf(&b, "| %s |", w.Title)
			for _, g := range groups {
				fmt.Fprintf(&b, " %s |", cells[g[0]][w.Name])
			}
			b.WriteString("\n")
		}
	}
	fmt.Fprintf(&b, "\n## Refused\n\n%s", t.refused())
	return b.String()
}

func newTable(reports []Report) *table {
	t := &table{reports: slices.Clone(reports), rows: make(map[string][]seen)}
	slices.SortFunc(t.reports, func(a, b Report) int { return compareKernels(a.label(), b.label()) })
	for _, r := range t.reports {
		for _, c := range r.Cells {
			kernel := r.label()
			if c.Preempt != "" {
				kernel += " with preempt=" + c.Preempt
			}
			t.rows[c.Way] = append(t.rows[c.Way], seen{kernel, c})
		}
	}
	return t
}

// compareKernels orders versions by their numbers.
func compareKernels(a, b string) int {
	var x, y [2]int
	fmt.Sscanf(a, "%d.%d", &x[0], &x[1])
	fmt.Sscanf(b, "%d.%d", &y[0], &y[1])
	return cmp.Or(slices.Compare(x[:], y[:]), strings.Compare(a, b))
}

// cellsOf one type: their texts, by kernel and way.
func (t *table) cellsOf(kind Type) map[string]map[string]string {
	cells := make(map[string]map[string]string)
	for way, row := range t.rows {
		for _, s := range row {
			if s.Type != kind.Name {
				continue
			}
			if cells[s.kernel] == nil {
				cells[s.kernel] = make(map[string]string)
			}
			cells[s.kernel][way] = s.text()
		}
	}
	return cells
}

// kernels is a list of the kernels for a sentence.
func (t *table) kernels() string {
	var names []string
	for _, r := range t.reports {
		name := "Linux " + r.label()
		if len(r.Preempt) > 0 {
			name += " (preempt=" + strings.Join(r.Preempt, " and ") + ")"
		}
		names = append(names, name)
	}
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

// note returns the number of a footnote, a new one if need be.
func (t *table) note(text string) int {
	i := slices.Index(t.notes, text)
	if i < 0 {
		i = len(t.notes)
		t.notes = append(t.notes, text)
	}
	return i + 1
}

// summary of a way and a column of several types: what most often becomes of it, and
// notes on the rest.
func (t *table) summary(c column, w Way) string {
	var all []seen
	count := make(map[string]int)
	for _, s := range t.rows[w.Name] {
		if c.has(s.Type) {
			all = append(all, s)
			count[s.short()]++
		}
	}
	if len(all) == 0 {
		return "?"
	}
	usual := all[0].short()
	for _, s := range all { // the first one of those that are as frequent
		if count[s.short()] > count[usual] {
			usual = s.short()
		}
	}
	var numbers []string
	done := make(map[string]bool)
	add := func(text string) {
		if number := fmt.Sprint(t.note(text)); !slices.Contains(numbers, number) {
			numbers = append(numbers, number)
		}
	}
	for _, s := range all {
		text := s.text()
		if text == usual || done[text] {
			continue
		}
		done[text] = true
		where := c.where(all, func(o seen) bool { return o.text() == text })
		switch {
		case s.short() != usual:
			add(upper(where) + ": " + text)
		case where == "":
			add(upper(s.Reason))
		case count[usual] == len(all):
			add(upper(where) + ": " + s.Reason)
		default:
			add(upper(s.Reason))
		}
	}
	if len(numbers) == 0 {
		return usual
	}
	return usual + " <sup>" + strings.Join(numbers, ", ") + "</sup>"
}

func upper(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// legend explains the words of the cells.
func (t *table) legend() string {
	slowest := int64(0)
	for _, r := range t.reports {
		slowest = max(slowest, r.SlowestScanMS)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "**%s**: a hook saw it, it is on its way at once. ", Captured)
	fmt.Fprintf(&b, "**%s**: a hook saw that something changed, a scan begins within a second. ", Triggered)
	fmt.Fprintf(&b, "**%s**: no hook can see it, the next scan does (`--scan-interval`; measured with 1 s: %.1f s at most). ", Scanned, float64(slowest)/1000)
	if t.has(Evicted) {
		fmt.Fprintf(&b, "**%s**: where nothing is hooked, a scan can't tell a delete from an eviction, which is local. ", Evicted)
	}
	fmt.Fprintf(&b, "**%s**: the kernel does not allow it, nothing changes anywhere. ", Refused)
	fmt.Fprintf(&b, "**%s**: the new map is bound and gets what the cluster knows, and is watched from then on. ", Filled)
	fmt.Fprintf(&b, "**%s**: a map that is gone deletes nothing; `status` says that it is gone.", Kept)
	return b.String()
}

func (t *table) has(o Outcome) bool {
	for _, row := range t.rows {
		if slices.ContainsFunc(row, func(s seen) bool { return s.Outcome == o }) {
			return true
		}
	}
	return false
}

// refused lists the types that are refused, by reason.
func (t *table) refused() string {
	kernels := make(map[string]map[string][]string) // reason, type: on which
	var reasons, types []string
	for _, s := range t.rows[""] {
		if kernels[s.Reason] == nil {
			kernels[s.Reason] = make(map[string][]string)
			reasons = append(reasons, s.Reason)
		}
		kernels[s.Reason][s.Type] = append(kernels[s.Reason][s.Type], s.kernel)
		if !slices.Contains(types, s.Type) {
			types = append(types, s.Type)
		}
	}
	var b strings.Builder
	b.WriteString("| refused types | because |\n| --- | --- |\n")
	for _, reason := range reasons {
		var names []string
		for _, kind := range types {
			if len(kernels[reason][kind]) > 0 {
				names = append(names, "`"+kind+"`")
			}
		}
		fmt.Fprintf(&b, "| %s | %s |\n", strings.Join(names, ", "), reason)
	}
	return b.String()
}
