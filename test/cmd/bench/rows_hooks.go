//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/test/lab"
)

const (
	hookKernel = "6.12" // of the guest, where this machine refuses trampolines
	benchPath  = "github.com/mapgossip/mapgossip/test/cmd/bench"

	unwatchedGoal = 1.15
	watchedGoal   = 1.6
)

// hooksRow measures what the capture programs cost those who write maps of this
// host: every hash map's writers pass them.
func hooksRow(*bench) ([]line, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	where := "here"
	var costs, here hookCosts
	refused := lab.NativeTrampolines()
	here, err := hooksHere(ctx, refused != nil)
	if err != nil {
		return nil, err
	}
	if costs = here; refused != nil {
		where = "emulated " + hookKernel
		if costs, err = hooksInGuest(ctx); err != nil {
			return nil, err
		}
	}
	var lines []line
	for _, s := range hookStates() {
		if s.mode == "" {
			continue
		}
		what, goal := "another map is watched", unwatchedGoal
		if s.watched {
			what, goal = "this map is watched", watchedGoal
		}
		for _, way := range hookWays() {
			bare, hooked := costs.of(way, hookState{}), costs.of(way, s)
			l := line{
				what:      fmt.Sprintf("%s: %s", s.mode, what),
				result:    fmt.Sprintf("%s: %.0f ns (%s)", way, hooked, where),
				yardstick: fmt.Sprintf("no hooks: %.0f ns", bare),
				ratio:     ratio(hooked, bare),
			}
			if s.mode == mapwatch.ModeFexit && way == wayCall {
				l.goal, l.met = fmt.Sprintf("<= %.2f", goal), hooked <= goal*bare
			}
			lines = append(lines, l)
		}
	}
	if refused != nil {
		for _, way := range hookWays() {
			bare, native := costs.of(way, hookState{}), here.of(way, hookState{})
			lines = append(lines, line{
				what: "  what emulation makes of no hooks", result: fmt.Sprintf("%s: %.0f ns (%s)", way, bare, where),
				yardstick: fmt.Sprintf("here: %.0f ns", native), ratio: ratio(bare, native),
			})
		}
	}
	if costs.Dropped > 0 {
		lines = append(lines, line{what: "  records that found the ring full", result: fmt.Sprint(costs.Dropped)})
	}
	return lines, nil
}

// hooksHere measures in a process of its own on this machine.
func hooksHere(ctx context.Context, bareOnly bool) (costs hookCosts, err error) {
	c := exec.CommandContext(ctx, "/proc/self/exe")
	c.Env = append(os.Environ(), role+"="+roleHooks)
	if bareOnly {
		c.Env = append(c.Env, role+"="+roleBare)
	}
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return costs, fmt.Errorf("measure hooks: %w", err)
	}
	return costs, json.Unmarshal(out, &costs)
}

// hooksInGuest measures on a machine under emulation.
func hooksInGuest(ctx context.Context) (costs hookCosts, err error) {
	folder, err := os.MkdirTemp("", "mapgossip-bench-")
	if err != nil {
		return costs, err
	}
	defer os.RemoveAll(folder)
	binary := filepath.Join(folder, "bench")
	if err := lab.Build(ctx, binary, benchPath); err != nil {
		return costs, err
	}
	if err := lab.Install(ctx, os.Stderr); err != nil {
		return costs, err
	}
	l, err := lab.New(ctx, lab.Config{
		Hosts: []lab.HostConfig{{Name: "guest", Kernel: hookKernel}},
		Files: map[string]string{"/lab/bench": binary}, Programs: []string{"busybox"},
		Mode: lab.Guests,
	})
	if err != nil {
		return costs, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	c := l.Host("guest").Command(ctx, "bench")
	c.Env = []string{role + "=" + roleHooks}
	out, err := c.Output()
	if err != nil {
		return costs, fmt.Errorf("measure hooks in a guest: %w", err)
	}
	return costs, json.NewDecoder(bytes.NewReader(out)).Decode(&costs)
}
