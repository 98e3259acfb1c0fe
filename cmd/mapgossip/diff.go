package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"

	"github.com/mapgossip/mapgossip"
)

// runDiff prints the keys of which the agent and another member have different
// entries. That there are some is no failure.
func runDiff(ctx context.Context, args []string, env environment, stdout, stderr io.Writer) error {
	s := settingsOf("diff")
	if err := s.parse(args, env); err != nil {
		return err
	}
	at, format, err := s.asked()
	if err != nil {
		return err
	}
	name, member := s.Arg(0), s.Arg(1)
	defer progress(stderr, onTerminal(stderr) && !onTerminal(stdout), elapsed("comparing "+name+" with "+member))()
	rows, err := follow(ctx, at, mapPath(name, "diff")+"?member="+url.QueryEscape(member), rowStall)
	if err != nil {
		return err
	}
	defer rows.Close()
	out := bufio.NewWriterSize(stdout, feedBuffer)
	if format == "json" {
		return errors.Join(eachLine(rows, copyLine(out)), out.Flush())
	}
	p := paletteFor(stdout, env)
	t := columns{w: out, hold: columnsHeld}
	keys := 0
	err = eachLine(rows, func(line []byte) error {
		var d mapgossip.Difference
		if err := decode(line, &d); err != nil {
			return misread(at, err)
		}
		if keys++; keys == 1 {
			_ = t.row(p.heading("KEY", "NEWER", "HERE", "THERE")...) // is held
		}
		here, there, newer := sideWord(d.Here), sideWord(d.There), d.Newer
		switch newer {
		case "here":
			here = p.good(here)
		case "there":
			newer, there = member, p.good(there)
		}
		return t.row(cmp.Or(d.KeyText, d.Key), newer, here, there)
	})
	err = errors.Join(err, t.flush())
	switch {
	case err != nil:
	case keys == 0:
		fmt.Fprintln(out, p.good("equal"))
	case keys == 1:
		fmt.Fprintf(out, "\n%s\n", p.bad("1 key differs"))
	default:
		fmt.Fprintf(out, "\n%s\n", p.bad(fmt.Sprintf("%d keys differ", keys)))
	}
	return errors.Join(err, out.Flush())
}

// sideWord shows what one member has of a key that differs.
func sideWord(e *mapgossip.Entry) string {
	if e == nil {
		return "nothing"
	}
	written := " (" + e.Time.UTC().Format(rowTime) + " on " + e.Node + ")"
	if e.Deleted {
		return "deleted" + written
	}
	return abridged(shownValue(*e)) + written
}
