package main

import (
	"io"
	"strings"
)

const (
	// columnsHeld is how many rows are looked at before the first is written.
	columnsHeld = 256
	// widestValue is what of a value is shown in a row; get shows all of it.
	widestValue = 96
)

// columns is a table of any number of rows, in bounded memory: widths are those
// of the rows that were held at first, and grow with a later cell that is wider.
// The last column has none. One goroutine uses it.
type columns struct {
	w       io.Writer
	hold    int // rows to hold before the first is written; 0: none
	widths  []int
	held    [][]string
	flowing bool // rows are written as they come
	line    strings.Builder
}

// row takes cells, which belong to c then.
func (c *columns) row(cells ...string) error {
	for i, cell := range cells {
		if i == len(c.widths) {
			c.widths = append(c.widths, 0)
		}
		c.widths[i] = max(c.widths[i], visible(cell))
	}
	if !c.flowing {
		if c.held = append(c.held, cells); len(c.held) <= c.hold {
			return nil
		}
		return c.flush()
	}
	return c.write(cells)
}

// flush writes the rows that are held.
func (c *columns) flush() error {
	c.flowing = true
	for _, cells := range c.held {
		if err := c.write(cells); err != nil {
			return err
		}
	}
	c.held = nil
	return nil
}

func (c *columns) write(cells []string) error {
	c.line.Reset()
	for i, cell := range cells {
		c.line.WriteString(cell)
		if i < len(cells)-1 {
			c.line.WriteString(strings.Repeat(" ", c.widths[i]-visible(cell)+2))
		}
	}
	_, err := io.WriteString(c.w, strings.TrimRight(c.line.String(), " ")+"\n")
	return err
}

// abridged is as much of a value as fits a row.
func abridged(text string) string {
	if letters := []rune(text); len(letters) > widestValue {
		return string(letters[:widestValue-1]) + "…"
	}
	return text
}
