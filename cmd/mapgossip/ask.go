package main

import (
	"context"
	"encoding/json"
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
		at := s.agent()
		format := s.oneOf("output", "table", "json")
		if len(s.faults) > 0 {
			return usage(errors.Join(s.faults...))
		}
		r, err := ask(ctx, at, "/debug/"+name)
		if err != nil {
			return err
		}
		text := string(r.body)
		if format == "table" {
			if text, err = tables(name, r); err != nil {
				return fmt.Errorf("read answer of agent at %s: %w: is it of another version?", at, err)
			}
		}
		_, err = io.WriteString(stdout, text)
		return err
	}
}

// tables turns the answer to /debug/name into text for people.
func tables(name string, r reply) (string, error) {
	var text strings.Builder
	switch name {
	case "members":
		var a membersAnswer
		if err := json.Unmarshal(r.body, &a); err != nil {
			return "", err
		}
		writeMembers(&text, a.Members, r.now)
	case "maps":
		var a mapsAnswer
		if err := json.Unmarshal(r.body, &a); err != nil {
			return "", err
		}
		writeMaps(&text, a.Maps)
	case "status":
		var s mapgossip.Status
		if err := json.Unmarshal(r.body, &s); err != nil {
			return "", err
		}
		writeStatus(&text, s, r.now)
	}
	return text.String(), nil
}

func writeMembers(w io.Writer, members []mapgossip.Member, now time.Time) {
	t := table{{"NODE", "STATE", "ADDRESS", "IN SYNC", "LAST SYNC", "CLOCK", "RTT", "VERSION"}}
	for _, m := range members {
		if m.Self {
			t = append(t, []string{m.Node + " (self)", m.State, m.Addr, "-", "-", "-", "-", m.Version})
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
		t = append(t, []string{m.Node, m.State, m.Addr, syncWord(m), ago(m.LastSync, now), clock, rtt, m.Version})
	}
	t.write(w, "")
}

// syncWord says in a word or two whether a member holds what we hold.
func syncWord(m mapgossip.Member) string {
	switch {
	case m.State == "dead", m.State == "left":
		return "-"
	case m.InSync:
		return "yes"
	case len(m.Differ) > 0:
		return "no: " + strings.Join(m.Differ, ", ")
	case m.LastSync.IsZero():
		return "not yet"
	}
	return "no"
}

func writeMaps(w io.Writer, maps []mapgossip.MapStatus) {
	t := table{{"NAME", "TYPE", "KEY", "VALUE", "ENTRIES", "TOMBSTONES", "PENDING", "CAPTURE", "DIRECTION", "BOUND", "DIGEST", "TARGET"}}
	for _, m := range maps {
		t = append(t, []string{
			m.Name, m.Type, bytesOf(m.KeyBytes), bytesOf(m.ValueBytes), fmt.Sprintf("%d of %d", m.Entries, m.MaxEntries),
			fmt.Sprint(m.Tombstones), fmt.Sprint(m.PendingApply), m.Capture, string(m.Direction), yesNo(m.Bound),
			m.Digest[:min(12, len(m.Digest))], m.Target,
		})
	}
	t.write(w, "")
	for _, m := range maps {
		if m.Error != "" {
			fmt.Fprintf(w, "%s: %s\n", m.Name, m.Error)
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
