//go:build linux

package ways

import (
	"slices"
	"strings"
)

// column of the README's table: types of which nearly all is the same.
type column struct {
	title string
	types []Type
}

func columns() (all []column) {
	for _, t := range Types() {
		if len(all) == 0 || all[len(all)-1].title != t.Column {
			all = append(all, column{title: t.Column})
		}
		last := &all[len(all)-1]
		last.types = append(last.types, t)
	}
	return all
}

func (c column) has(name string) bool {
	return slices.ContainsFunc(c.types, func(t Type) bool { return t.Name == name })
}

// where says of which types and kernels something holds; empty: of all.
func (c column) where(all []seen, holds func(seen) bool) string {
	var phrases []string           // "on Linux 6.1" or empty, each once
	forms := map[string][]string{} // of types, by phrase
	complete := true               // no type is left out
	for _, t := range c.types {
		total := 0
		var kernels []string
		for _, s := range all {
			if s.Type == t.Name {
				total++
				if holds(s) {
					kernels = append(kernels, s.kernel)
				}
			}
		}
		if len(kernels) == 0 {
			complete = complete && total == 0
			continue
		}
		on := ""
		if len(kernels) < total {
			on = "on Linux " + strings.Join(kernels, ", ")
		}
		if forms[on] == nil {
			phrases = append(phrases, on)
		}
		forms[on] = append(forms[on], t.Form)
	}
	if complete && len(phrases) == 1 {
		return phrases[0]
	}
	for i, on := range phrases {
		phrases[i] = strings.TrimSpace(strings.Join(forms[on], ", ") + " " + on)
	}
	return strings.Join(phrases, "; ")
}
