//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// simulated is a line that TestSimulation prints of 100 members.
var simulated = regexp.MustCompile(`100 members, (.*?) *: equal after +(\S+), +(\S+) copies, +(\S+ kB/s) a member`)

// membersRow has 100 Nodes spread entries in virtual time, with and without
// loss: the root package's TestSimulation, in the folder where this runs.
func membersRow(*bench) ([]line, error) {
	c := exec.Command("go", "test", "-count=1", "-run", "^TestSimulation$", "-v", ".")
	c.Env = append(os.Environ(), "MAPGOSSIP_EXHAUSTIVE=1")
	out, err := c.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%v: %w: %s", c, err, out)
	}
	goals := map[string]struct {
		text   string
		equal  time.Duration
		copies float64
	}{
		"clean":     {"<= 3 s, <= 4 copies an entry", 3 * time.Second, 4},
		"20 % loss": {"<= 10 s", 10 * time.Second, 0},
	}
	var lines []line
	for _, found := range simulated.FindAllStringSubmatch(string(out), -1) {
		goal, ok := goals[found[1]]
		if !ok {
			continue
		}
		equal, err := time.ParseDuration(found[2])
		if err != nil {
			return nil, err
		}
		copies, err := strconv.ParseFloat(found[3], 64)
		if err != nil {
			return nil, err
		}
		lines = append(lines, line{
			what:      "100 members, " + found[1] + ", simulated",
			result:    fmt.Sprintf("equal %v after the last write, %.2f copies, %s", equal, copies, found[4]),
			yardstick: "one copy an entry",
			ratio:     fmt.Sprintf("%.2f", copies),
			goal:      goal.text,
			met:       equal <= goal.equal && (goal.copies == 0 || copies <= goal.copies),
		})
	}
	if len(lines) != len(goals) {
		return lines, errors.New("the simulation did not print what this row looks for")
	}
	return lines, nil
}
