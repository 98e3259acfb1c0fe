package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/mapgossip/mapgossip"
)

const (
	// exactTime shows times where it matters which of two is later.
	exactTime = "2006-01-02T15:04:05.000000000Z"
	// rowTime shows times in rows.
	rowTime = "2006-01-02T15:04:05.000Z"
)

// heldReply is the answer to /debug/maps/NAME/entries/KEY/members.
type heldReply struct {
	Key     string           `json:"key"`
	Members []mapgossip.Held `json:"members"`
}

// mapPath is the path of a map and of what is below it.
func mapPath(name string, below ...string) string {
	path := "/debug/maps/" + url.PathEscape(name)
	for _, part := range below {
		path += "/" + url.PathEscape(part)
	}
	return path
}

// runGet shows what the agent has of a key, or what every member has.
func runGet(ctx context.Context, args []string, env environment, stdout, _ io.Writer) error {
	s := settingsOf("get")
	if err := s.parse(args, env); err != nil {
		return err
	}
	at, format, err := s.asked()
	if err != nil {
		return err
	}
	members := s.text("members") == "true"
	path := mapPath(s.Arg(0), "entries", s.Arg(1))
	if members {
		path += "/members"
	}
	r, err := ask(ctx, at, path)
	if err != nil {
		return err
	}
	if format == "json" {
		_, err := stdout.Write(r.body)
		return err
	}
	p := paletteFor(stdout, env)
	if members {
		var held heldReply
		if err := decode(r.body, &held); err != nil {
			return misread(at, err)
		}
		writeHeld(stdout, held, r.now, p)
		return nil
	}
	var e mapgossip.Entry
	if err := decode(r.body, &e); err != nil {
		return misread(at, err)
	}
	writeEntry(stdout, e, r.now, p)
	return nil
}

// writeEntry shows all of one entry.
func writeEntry(w io.Writer, e mapgossip.Entry, now time.Time, p palette) {
	rows := table{}
	row := func(label, text string) {
		if text != "" {
			rows = append(rows, []string{label, text})
		}
	}
	row("map", e.Map)
	row("key", e.Key)
	row("", e.KeyText)
	switch {
	case !known(e):
		row("value", p.doubt("none: no member has captured this key yet; the next scan does"))
	case e.Deleted:
		row("value", p.bad("deleted"))
	default:
		row("value", e.Value)
		row("", e.ValueText)
	}
	if known(e) {
		row("version", versionOf(e))
		row("written", ago(e.Time, now)+" on "+e.Node)
	}
	row("kernel", kernelWord(e, p))
	if e.Kernel != nil && e.Kernel.Present && (e.Deleted || e.Kernel.Value != e.Value) {
		row("", e.Kernel.Value)
		row("", e.Kernel.ValueText)
	}
	rows.write(w, "")
}

// known reports whether the store has the key, as an entry or as a tombstone.
func known(e mapgossip.Entry) bool { return e.Node != "" }

// versionOf shows what decides which of two entries is newer.
func versionOf(e mapgossip.Entry) string {
	return fmt.Sprintf("%s/%d/%s", e.Time.UTC().Format(exactTime), e.Logical, e.Node)
}

// kernelWord says how the kernel map stands to the entry.
func kernelWord(e mapgossip.Entry, p palette) string {
	switch k := e.Kernel; {
	case k == nil && e.Evicted:
		return p.doubt("let go of it to make room")
	case k == nil:
		return p.doubt("the map is not there, or cannot be read")
	case e.Pending:
		return p.bad("does not have it yet: 'mapgossip status' says why")
	case e.Evicted && !k.Present:
		return p.doubt("let go of it to make room; it stays so until the key is written again")
	case !k.Present && (e.Deleted || !known(e)):
		return p.good("the same")
	case !k.Present:
		return p.bad("does not have the key; a scan settles it")
	case !known(e):
		return p.doubt("has it")
	case e.Deleted:
		return p.bad("has the key; a scan settles it")
	case k.Value == e.Value:
		return p.good("the same")
	}
	return p.bad("has another value; a scan settles it")
}

// writeHeld shows a key across the members, and whether they agree.
func writeHeld(w io.Writer, held heldReply, now time.Time, p palette) {
	t := table{p.heading("MEMBER", "HAS", "WRITTEN", "ON", "VERSION", "VALUE")}
	versions, silent, text := make(map[string]bool), 0, ""
	for _, h := range held.Members {
		member := h.Node
		if h.Self {
			member += " (self)"
		}
		switch e := h.Entry; {
		case h.Error != "":
			silent++
			t = append(t, []string{member, p.bad("?"), "-", "-", "-", p.bad(h.Error)})
		case e == nil || !known(*e):
			versions[""] = true
			t = append(t, []string{member, p.doubt("nothing"), "-", "-", "-", "-"})
		default:
			versions[versionOf(*e)] = true
			if e.KeyText != "" {
				text = " " + e.KeyText
			}
			version := strings.TrimSuffix(versionOf(*e), "/"+e.Node) // which stands beside it
			t = append(t, []string{member, hasWord(*e, p), ago(e.Time, now), e.Node, version, abridged(shownValue(*e))})
		}
	}
	fmt.Fprintf(w, "%s%s\n\n", held.Key, text)
	t.write(w, "")
	answered := len(held.Members) - silent
	verdict := p.good("equal on " + count(answered, "member"))
	if len(versions) > 1 {
		verdict = p.bad(fmt.Sprintf("%d members have %d versions of it: the latest wins", answered, len(versions)))
	}
	if silent > 0 {
		verdict += p.bad(fmt.Sprintf("; no answer of %d", silent))
	}
	fmt.Fprintf(w, "\n%s\n", verdict)
}

// hasWord says in a few words what an entry is.
func hasWord(e mapgossip.Entry, p palette) string {
	word := "entry"
	if e.Deleted {
		word = "tombstone"
	}
	switch {
	case e.Pending:
		return p.bad(word + ", pending")
	case e.Evicted:
		return p.doubt(word + ", evicted")
	case e.Deleted:
		return p.faint(word)
	}
	return word
}

// shownKey and shownValue prefer what the map's types say.
func shownKey(e mapgossip.Entry) string { return cmp.Or(e.KeyText, e.Key) }

func shownValue(e mapgossip.Entry) string {
	if e.Deleted {
		return "-"
	}
	return cmp.Or(e.ValueText, e.Value, "-")
}
