package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mapgossip/mapgossip"
)

// askCommand returns a command that asks a running agent for /debug/name. Its
// JSON is the agent's answer, byte for byte.
func askCommand(name string) func(context.Context, []string, environment, io.Writer, io.Writer) error {
	return func(ctx context.Context, args []string, env environment, stdout, _ io.Writer) error {
		s := settingsOf(name)
		if err := s.parse(args, env); err != nil {
			return err
		}
		at, format, err := s.asked()
		if err != nil {
			return err
		}
		r, err := ask(ctx, at, "/debug/"+name)
		if err != nil {
			return err
		}
		text := string(r.body)
		if format == "table" {
			if text, err = tables(ctx, at, name, r, paletteFor(stdout, env)); err != nil {
				return misread(at, err)
			}
		}
		_, err = io.WriteString(stdout, text)
		return err
	}
}

// tables turns the answer to /debug/name into text for people.
func tables(ctx context.Context, at endpoint, name string, r reply, p palette) (string, error) {
	var text strings.Builder
	switch name {
	case "members":
		var a membersAnswer
		if err := decode(r.body, &a); err != nil {
			return "", err
		}
		writeMembers(&text, a.Members, r.now, p)
	case "maps":
		var a mapsAnswer
		if err := decode(r.body, &a); err != nil {
			return "", err
		}
		writeMaps(&text, a.Maps, p)
	case "status":
		var s statusAnswer
		if err := decode(r.body, &s); err != nil {
			return "", err
		}
		writeStatus(&text, s, filling(ctx, at, s.Status), r.now, p)
	}
	return text.String(), nil
}

func writeMembers(w io.Writer, members []mapgossip.Member, now time.Time, p palette) {
	t := table{p.heading("NODE", "STATE", "ADDRESS", "IN SYNC", "LAST SYNC", "CLOCK", "RTT", "VERSION")}
	for _, m := range members {
		if m.Self {
			t = append(t, []string{m.Node + " (self)", p.state(m.State), m.Addr, "-", "-", "-", "-", m.Version})
			continue
		}
		clock := "-"
		if !m.LastSync.IsZero() {
			clock = signed(m.ClockOffsetMS)
		}
		rtt := "-"
		if m.RTTMS > 0 {
			rtt = rounded(milliseconds(m.RTTMS))
		}
		t = append(t, []string{m.Node, p.state(m.State), m.Addr, syncWord(m, p), ago(m.LastSync, now), clock, rtt, m.Version})
	}
	t.write(w, "")
}

// syncWord says in a word or two whether a member holds what we hold.
func syncWord(m mapgossip.Member, p palette) string {
	switch {
	case m.State == "dead", m.State == "left":
		return "-"
	case len(m.Lacks) > 0:
		return p.bad("no: lacks " + strings.Join(m.Lacks, ", "))
	case m.InSync:
		return p.good("yes")
	case len(m.Differ) > 0:
		return p.bad("no: " + strings.Join(m.Differ, ", "))
	case m.LastSync.IsZero():
		return p.doubt("not yet")
	}
	return p.bad("no")
}

func writeMaps(w io.Writer, maps []mapgossip.MapStatus, p palette) {
	t := table{p.heading("NAME", "TYPE", "KEY", "VALUE", "ENTRIES", "TOMBSTONES", "PENDING", "CAPTURE", "DIRECTION", "BOUND", "DIGEST", "TARGET")}
	for _, m := range maps {
		t = append(t, []string{
			m.Name, m.Type, bytesOf(m.KeyBytes), bytesOf(m.ValueBytes), fmt.Sprintf("%d of %d", m.Entries, m.MaxEntries),
			fmt.Sprint(m.Tombstones), fmt.Sprint(m.PendingApply), m.Capture, string(m.Direction), p.yesNo(m.Bound),
			m.Digest[:min(12, len(m.Digest))], m.Target,
		})
	}
	t.write(w, "")
	for _, m := range maps {
		if m.Error != "" {
			fmt.Fprintf(w, "%s: %s\n", m.Name, p.bad(m.Error))
		}
	}
}

// agent reads where the agent that is asked listens.
func (s *settings) agent() endpoint {
	at, err := parseEndpoint(s.text("http"))
	if err == nil && at.off() {
		err = errors.New("want the address of an agent: HOST:PORT or unix:PATH")
	}
	if err != nil {
		s.fault("http", s.text("http"), "%w", err)
	}
	return at
}
