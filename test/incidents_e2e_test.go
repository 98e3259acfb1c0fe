//go:build e2e

package test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/test/lab"
)

const keyringFile = "/lab/mapgossip.keys"

// Keys of nothing but this test.
const (
	ourKey   = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	theirKey = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="
)

// incident is one thing that goes wrong in a cluster of three hosts, and how
// someone who is told nothing finds it and mends it.
type incident struct {
	title   string
	story   string // what befalls, in the transcript
	befall  func()
	look    func() // finds it; fails the test if it is not to be found
	mending string // what that was, in the transcript
	mend    func()
}

// incidents is a cluster, and the transcript of what is done to it.
type incidents struct {
	*cluster
	text strings.Builder
}

// TestIncidents breaks a cluster in five ways and finds each by status and
// metrics alone. With MAPGOSSIP_TRANSCRIPT=FILE the transcript is written there.
func TestIncidents(t *testing.T) {
	c := new(incidents)
	for _, h := range shared.hosts {
		c.keyring(t, h, ourKey)
	}
	c.cluster = newCluster(t, 8, 8, 4096, "--keyring "+keyringFile)
	t.Cleanup(shared.HealAll)
	do(t, shared.hosts[alpha], "labmap burst %s 0 1000 1", c.pin)
	c.equal(1000)
	c.say("# Five incidents\n\nThree hosts share a map; one after the other, five things go wrong. Nothing but\n`mapgossip status` and `/metrics` is used to find out what. `make incidents` plays\nthis on three emulated machines, checks what is found, and writes this file.\n\n## All is well")
	c.inSync()
	c.until(alpha, "mapgossip status", "in sync +yes")
	for i, in := range c.list() {
		begin := time.Now()
		c.say("## %d. %s\n\n%s", i+1, in.title, in.story)
		in.befall()
		in.look()
		c.say("%s", in.mending)
		in.mend()
		c.inSync()
		c.until(alpha, "mapgossip status", "in sync +yes")
		t.Logf("%s: %v", in.title, time.Since(begin).Round(time.Second))
	}
	if file := os.Getenv("MAPGOSSIP_TRANSCRIPT"); file != "" {
		if err := os.WriteFile(file, []byte(strings.TrimSuffix(c.text.String(), "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func (c *incidents) list() []incident {
	t, h := c.t, shared.hosts
	return []incident{
		{
			title:  "A host is cut off",
			story:  "Somebody pulls gamma's cable.",
			befall: func() { shared.Isolate(h[gamma]) },
			look: func() {
				c.until(alpha, "mapgossip status", `in sync +.*not`, `gamma is (suspect|dead)`, `gamma does not answer`)
				c.metrics(alpha, "mapgossip_in_sync|mapgossip_members", `mapgossip_in_sync 0`, `mapgossip_members\{state="(suspect|dead)"\} 1`)
				c.say("beta is well; gamma says of both that they do not answer. It is gamma that is cut off.")
				c.until(gamma, "mapgossip status", `alpha is (suspect|dead)`, `beta is (suspect|dead)`)
			},
			mending: "The cable is back.",
			mend:    func() { shared.Rejoin(h[gamma]) },
		},
		{
			title:  "An agent died",
			story:  "Somebody kills beta's agent with `kill -9`.",
			befall: func() { c.agents[beta].kill(t) },
			look: func() {
				c.until(alpha, "mapgossip status", `beta is (suspect|dead)`, `beta does not answer`)
				c.say("On beta itself nobody answers; a cut would leave an agent there that does.")
				c.until(beta, "mapgossip status", `is 'mapgossip agent' running on this host`)
			},
			mending: "The agent is started again.",
			mend:    func() { c.start(beta); c.agents[beta].ready(t) },
		},
		{
			title: "A map is full",
			story: "A loader on gamma starts with a smaller map, `max_entries` 600, under the same pin.",
			befall: func() {
				do(t, h[gamma], "labmap remove %s", c.pin)
				do(t, h[gamma], "labmap create %s 8 8 600", c.pin)
			},
			look: func() {
				c.until(gamma, "mapgossip status", `map is full`, `max_entries`)
				c.say("Any other member tells it, too:")
				c.until(alpha, "mapgossip status", `gamma has no room for 400 of the entries, its max_entries is 600`)
				c.metrics(gamma, "mapgossip_map_pending_apply|mapgossip_map_max_entries", `mapgossip_map_pending_apply\{map="flows"\} 400`)
			},
			mending: "The loader is given a larger map.",
			mend: func() {
				do(t, h[gamma], "labmap remove %s", c.pin)
				do(t, h[gamma], "labmap create %s 8 8 4096", c.pin)
			},
		},
		{
			title:  "A clock is wrong",
			story:  "Gamma's clock is set a minute ahead.",
			befall: func() { do(t, h[gamma], "labmap clock 1m") },
			look: func() {
				c.until(gamma, "mapgossip status", `this host's clock is .* ahead of`, `this host's clock is off by \+1m`)
				c.say("The others see it as well:")
				c.until(alpha, "mapgossip status", `the clock of gamma is off by \+`)
				c.metrics(alpha, "mapgossip_member_clock_offset_seconds", `member_clock_offset_seconds\{member="gamma"\} (5[89]|6[012])`)
			},
			mending: "The clock is mended.",
			mend:    func() { do(t, h[gamma], "labmap clock -1m") },
		},
		{
			title: "A key is wrong",
			story: "Beta is installed anew, with the keyring of another cluster.",
			befall: func() {
				c.agents[beta].stop(t)
				c.keyring(t, h[beta], theirKey)
				c.start(beta)
			},
			look: func() {
				c.until(beta, "mapgossip status", `ready +no`, `no member reached yet`, `what 10\.77\.0\.\d+ sends is encrypted with none of the keys here`)
				c.say("The others refuse what beta sends, and say why:")
				c.until(alpha, "mapgossip status", `what 10\.77\.0\.\d+ sends is encrypted with none of the keys here`)
			},
			mending: "Beta gets the right keyring, and its agent is started again.",
			mend: func() {
				c.agents[beta].stop(t)
				c.keyring(t, h[beta], ourKey)
				c.start(beta)
				c.agents[beta].ready(t)
			},
		},
	}
}

func (c *incidents) say(format string, args ...any) {
	fmt.Fprintf(&c.text, format+"\n\n", args...)
}

// ask runs a command and returns what it printed, errors included.
func (c *incidents) ask(host int, command string) string {
	cmd := shared.hosts[host].Command(c.t.Context(), "sh", "-c", command)
	out, _ := cmd.CombinedOutput() // a command that fails says why, which is what is looked for
	return string(out)
}

// until repeats a command until its output has a match for each pattern, and
// puts that into the transcript.
func (c *incidents) until(host int, command string, patterns ...string) {
	c.t.Helper()
	out := ""
	eventually(c.t, "telling what is wrong", func() (bool, string) {
		out = c.ask(host, command)
		for _, p := range patterns {
			if !regexp.MustCompile(p).MatchString(out) {
				return false, fmt.Sprintf("no %q in what %s prints on %s:\n%s", p, command, shared.hosts[host].Name(), out)
			}
		}
		return true, ""
	})
	c.say("```\n%s# %s\n%s```", shared.hosts[host].Name(), command, out)
}

// metrics is until for the metrics that match names.
func (c *incidents) metrics(host int, names string, patterns ...string) {
	c.t.Helper()
	c.until(host, fmt.Sprintf("busybox wget -qO- http://127.0.0.1:7947/metrics | busybox grep -E '^(%s)'", names), patterns...)
}

// inSync waits until all members say that they are in sync and nothing is to do.
func (c *incidents) inSync() {
	c.t.Helper()
	well := regexp.MustCompile(`(?s)in sync +yes, with 2 alive members.*healthy +yes`)
	for i := range shared.hosts {
		eventually(c.t, "in sync", func() (bool, string) {
			out := c.ask(i, "mapgossip status")
			return well.MatchString(out) && !strings.Contains(out, "what to do"), out
		})
	}
}

func (c *incidents) keyring(t *testing.T, h *lab.Host, key string) {
	t.Helper()
	if err := h.WriteFile(t.Context(), keyringFile, []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}
