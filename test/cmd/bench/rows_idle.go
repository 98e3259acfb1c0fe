//go:build linux

package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/mapgossip/mapgossip"
)

const (
	idleScans    = 2 * time.Second  // between the scans of the agent that is measured
	usualScans   = 30 * time.Second // what the goal is about
	idleWatch    = 8 * time.Second
	idleOverhead = 48 // bytes an entry, of the goal
)

// idleRow runs an agent alone on a map that nobody writes.
func idleRow(b *bench) (_ []line, err error) {
	m, err := newKernelMap(b.entries)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	if err := m.fill(b.entries); err != nil {
		return nil, err
	}
	p, err := startProcess()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	empty, err := emptyAgent()
	if err != nil {
		return nil, err
	}
	args := AgentArgs{Node: "idle", Target: m.target(), ScanInterval: idleScans}
	if err := p.call("Agent.Start", args, new(string)); err != nil {
		return nil, err
	}
	scans0, cpu0, err := awaitScans(p, 1)
	if err != nil {
		return nil, err
	}
	time.Sleep(idleWatch)
	scans1, cpu1, err := awaitScans(p, scans0+1)
	if err != nil {
		return nil, err
	}
	grown, err := p.usage()
	if err != nil {
		return nil, err
	}
	if err := p.call("Process.Quiet", None{}, &None{}); err != nil {
		return nil, err
	}
	quiet, err := p.usage()
	if err != nil {
		return nil, err
	}
	scan := (cpu1 - cpu0) / time.Duration(scans1-scans0)
	share := 100 * scan.Seconds() / usualScans.Seconds()
	perEntry := func(u Usage) float64 { return float64(u.Resident-empty) / float64(b.entries) }
	return []line{
		{
			what:      "idle agent, scans each 30 s",
			result:    fmt.Sprintf("%.2f %% of a core: %s CPU a scan", share, ms(scan)),
			yardstick: "one core",
			goal:      "<= 2 %",
			met:       share <= 2,
		},
		{
			what:      "  memory of the agent",
			result:    fmt.Sprintf("%.0f B/entry resident; %.0f with the heap's garbage", perEntry(quiet), perEntry(grown)),
			yardstick: fmt.Sprintf("key + value: %d B/entry; empty: %s", entryBytes, size(uint64(empty))),
			ratio:     fmt.Sprintf("%.2f", perEntry(quiet)/entryBytes),
			goal:      fmt.Sprintf("<= %d B/entry", entryBytes+idleOverhead),
			met:       perEntry(quiet) <= entryBytes+idleOverhead,
		},
	}, nil
}

// emptyAgent returns what an agent holds whose map is empty, in bytes.
func emptyAgent() (resident int64, err error) {
	m, err := newKernelMap(1)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	p, err := startProcess()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.call("Agent.Start", AgentArgs{Node: "empty", Target: m.target(), ScanInterval: idleScans}, new(string)); err != nil {
		return 0, err
	}
	if _, _, err := awaitScans(p, 1); err != nil {
		return 0, err
	}
	if err := p.call("Process.Quiet", None{}, &None{}); err != nil {
		return 0, err
	}
	u, err := p.usage()
	return u.Resident, err
}

// awaitScans returns once the agent has done that many scans: how many, and the
// CPU time that its process has used.
func awaitScans(p *process, scans uint64) (done uint64, cpu time.Duration, err error) {
	for began := time.Now(); time.Since(began) < patience; time.Sleep(pollTime) {
		var s mapgossip.Status
		if err := p.call("Agent.Status", None{}, &s); err != nil {
			return 0, 0, err
		}
		if done = s.Maps[0].Counters.Scans; done >= scans {
			u, err := p.usage()
			return done, u.CPU, err
		}
	}
	return done, 0, fmt.Errorf("%d scans after %v, want %d", done, patience, scans)
}
