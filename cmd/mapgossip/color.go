package main

import (
	"io"
	"os"

	"golang.org/x/term"
)

// palette colours words for people. The zero value leaves them as they are.
type palette bool

// paletteFor colours what goes to a terminal, unless NO_COLOR is set to
// anything, or the terminal is one that can't.
func paletteFor(w io.Writer, env environment) palette {
	return palette(onTerminal(w) && env["NO_COLOR"] == "" && env["TERM"] != "dumb")
}

func onTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

func (p palette) good(text string) string  { return p.paint("32", text) }
func (p palette) bad(text string) string   { return p.paint("31", text) }
func (p palette) doubt(text string) string { return p.paint("33", text) }
func (p palette) head(text string) string  { return p.paint("1", text) }
func (p palette) faint(text string) string { return p.paint("2", text) }

func (p palette) heading(words ...string) []string {
	for i, w := range words {
		words[i] = p.head(w)
	}
	return words
}

// yesNo colours what should be yes.
func (p palette) yesNo(is bool) string {
	if is {
		return p.good("yes")
	}
	return p.bad("no")
}

// state colours the state of a member.
func (p palette) state(state string) string {
	switch state {
	case "alive":
		return p.good(state)
	case "suspect":
		return p.doubt(state)
	case "dead":
		return p.bad(state)
	}
	return p.faint(state)
}

// paint wraps text in a colour of ECMA-48 (SGR); visible knows its form.
func (p palette) paint(code, text string) string {
	if !p || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// visible counts the letters of text that take room on a terminal: all but those
// of paint.
func visible(text string) int {
	n, inside := 0, false
	for _, r := range text {
		switch {
		case r == '\x1b':
			inside = true
		case !inside:
			n++
		case r == 'm':
			inside = false
		}
	}
	return n
}
