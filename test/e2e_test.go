//go:build e2e

package test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/test/lab"
	"github.com/mapgossip/mapgossip/test/stage"
)

// patience bounds waits for what must happen; emulation is slow.
const patience = 4 * time.Minute

// world is the lab that all tests share: three hosts, three kernels.
type world struct {
	*lab.Lab
	hosts [3]*lab.Host
}

// shared is set by TestMain and not changed after.
var shared world

func TestMain(m *testing.M) {
	os.Exit(func() int {
		folder, err := os.MkdirTemp("", "mapgossip-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(folder)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		files, err := testPrograms(ctx, folder)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		l, err := stage.Open(ctx, folder, os.Stderr, files, stage.Host(0), stage.Host(1), stage.Host(2))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer l.Close()
		shared = world{Lab: l, hosts: [3]*lab.Host{l.Hosts()[0], l.Hosts()[1], l.Hosts()[2]}}
		return m.Run()
	}())
}

// testPrograms builds what tests run on hosts beside the agent. A host that is
// itself the lab has no Go, and does not nest further.
func testPrograms(ctx context.Context, folder string) (map[string]string, error) {
	if os.Getenv(stage.Programs) != "" {
		return nil, nil
	}
	files := make(map[string]string)
	for name, build := range map[string][]string{
		"e2e.test": {"/test", "test", "-tags", "e2e"},
		"demo":     {"/test/cmd/demo"},
		"labinit":  {"/test/cmd/labinit"},
	} {
		fmt.Fprintf(os.Stderr, "building %s\n", name)
		binary := filepath.Join(folder, name)
		if err := lab.Build(ctx, binary, module+build[0], build[1:]...); err != nil {
			return nil, err
		}
		files["/lab/"+name] = binary
	}
	return files, nil
}

// do runs a command on a host; t fails if it does.
func do(t *testing.T, h *lab.Host, command string, args ...any) string {
	t.Helper()
	command = fmt.Sprintf(command, args...)
	out, err := h.Do(t.Context(), strings.Fields(command)...)
	if err != nil {
		t.Fatalf("%s# %s: %v", h.Name(), command, err)
	}
	return out
}

// together runs commands on hosts at the same time and waits for all.
func together(t *testing.T, commands map[*lab.Host]string) {
	t.Helper()
	var group sync.WaitGroup
	for h, command := range commands {
		group.Go(func() {
			if _, err := h.Do(t.Context(), strings.Fields(command)...); err != nil {
				t.Errorf("%s# %s: %v", h.Name(), command, err)
			}
		})
	}
	group.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// agent is one that runs on a host.
type agent struct {
	host   *lab.Host
	cmd    *lab.Cmd
	log    *stage.Log
	told   sync.Once
	killed bool
	dumped bool
}

// startAgent starts one with the given arguments; it is stopped when t ends,
// and its log shown if t failed.
func startAgent(t *testing.T, h *lab.Host, args string, prefix ...string) *agent {
	t.Helper()
	a := &agent{host: h, log: new(stage.Log)}
	argv := append(prefix, "mapgossip", "agent")
	a.cmd = h.Command(context.Background(), append(argv, strings.Fields(args)...)...)
	a.cmd.Stdout, a.cmd.Stderr = a.log, a.log
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.stop(t)
		if t.Failed() {
			t.Logf("%s said:\n%s", h.Name(), a.log)
		}
	})
	return a
}

// terminate tells the agent to stop, once.
func (a *agent) terminate(t *testing.T) {
	t.Helper()
	a.told.Do(func() {
		select {
		case <-a.cmd.Done():
		default:
			if err := a.cmd.Signal(syscall.SIGTERM); err != nil {
				t.Errorf("stop the agent on %s: %v", a.host.Name(), err)
			}
		}
	})
}

// kill ends the agent as a crash does.
func (a *agent) kill(t *testing.T) {
	t.Helper()
	a.told.Do(func() {
		a.killed = true
		if err := a.cmd.Kill(); err != nil {
			t.Errorf("kill the agent on %s: %v", a.host.Name(), err)
		}
	})
	_ = a.cmd.Wait() // says that it was killed
}

// stop ends the agent as an operator does; exit code 0 is wanted.
func (a *agent) stop(t *testing.T) {
	t.Helper()
	a.terminate(t)
	if err := a.cmd.Wait(); err != nil && !a.killed {
		t.Errorf("the agent on %s: %v", a.host.Name(), err)
	}
}

// get asks the agent's HTTP endpoint.
func (a *agent) get(path string, into any) (int, error) {
	client := a.host.HTTPClient()
	client.Timeout = answerLimit
	response, err := client.Get("http://127.0.0.1:7947" + path)
	if err != nil {
		return 0, a.silent(err)
	}
	defer response.Body.Close()
	return response.StatusCode, json.NewDecoder(response.Body).Decode(into)
}

// answerLimit is longer than an agent ever needs to answer.
const answerLimit = 20 * time.Second

// silent makes an agent that does not answer say what it does, once.
func (a *agent) silent(err error) error {
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() || a.dumped {
		return err
	}
	a.dumped = true
	out, quit := a.host.Do(context.Background(), "pkill", "-QUIT", "mapgossip")
	time.Sleep(2 * time.Second)
	return fmt.Errorf("%w; it is asked what it does (%s %v): %s", err, out, quit, a.log.String())
}

// eventually polls until done says so.
func eventually(t *testing.T, what string, done func() (bool, string)) {
	t.Helper()
	var last string
	for begin := time.Now(); time.Since(begin) < patience; time.Sleep(50 * time.Millisecond) {
		ok, state := done()
		if ok {
			return
		}
		last = state
	}
	t.Fatalf("after %v still not %s: %s", patience, what, last)
}

func (a *agent) ready(t *testing.T) {
	t.Helper()
	eventually(t, "ready", func() (bool, string) {
		select {
		case <-a.cmd.Done():
			t.Fatalf("the agent on %s ended: %v\n%s", a.host.Name(), a.cmd.Wait(), a.log)
		default:
		}
		var answer struct{ Reasons []string }
		code, err := a.get("/readyz", &answer)
		return code == http.StatusOK, fmt.Sprint(a.host.Name(), code, answer.Reasons, err)
	})
}

// mapState is what a test asks of /debug/maps.
type mapState struct {
	Capture      string
	Entries      int
	Tombstones   int
	Digest       string
	PendingApply int `json:"pending_apply"`
	Unsettled    int
	Error        string
	Floor        time.Time
	HeldBackBy   string `json:"held_back_by"`
	Counters     counters
}

type counters struct {
	Captured, Own, Failed, Dropped, Missed, Local, Remote, Applied, Echoes uint64
	Scans, Collected, Deleted                                              uint64
	SettleStamps                                                           uint64 `json:"settle_stamps"`
	ScanFound                                                              uint64 `json:"scan_found"`
	FutureTimes                                                            uint64 `json:"future_times"`
}

func (a *agent) state(t *testing.T) mapState {
	t.Helper()
	var answer struct{ Maps []mapState }
	if _, err := a.get("/debug/maps", &answer); err != nil || len(answer.Maps) == 0 {
		t.Fatalf("ask the agent on %s for its maps: %v", a.host.Name(), err)
	}
	return answer.Maps[0]
}

// cluster is three agents on one map.
type cluster struct {
	t      *testing.T
	pin    string
	args   [3]string
	agents [3]*agent
}

// clusterName keeps the agents of one test apart from those of another.
func clusterName(t *testing.T) string { return strings.ReplaceAll(t.Name(), "/", "-") }

// newCluster makes a map of that shape on each host and starts an agent beside
// it. The XDP program, if a test attaches one, finds the map by its pin.
func newCluster(t *testing.T, keyBytes, valueBytes, entries int, args string) *cluster {
	t.Helper()
	c := &cluster{t: t, pin: "/sys/fs/bpf/flows"}
	for i, h := range shared.hosts {
		do(t, h, "labmap create %s %d %d %d", c.pin, keyBytes, valueBytes, entries)
		t.Cleanup(func() {
			if _, err := h.Do(context.Background(), "labmap", "remove", c.pin); err != nil {
				t.Error(err)
			}
		})
		join := ""
		if i > 0 {
			join = " --join " + shared.hosts[0].Name()
		}
		c.args[i] = "--map " + c.pin + " --sync-interval 1s --cluster " + clusterName(t) + join + " " + args
		c.start(i)
	}
	t.Cleanup(func() { // all at once: the agents' own cleanups then find them stopping
		for _, a := range c.agents {
			a.terminate(t)
		}
	})
	for _, a := range c.agents {
		a.ready(t)
	}
	return c
}

// start starts the agent of a host, for the first time or again.
func (c *cluster) start(i int) { c.agents[i] = startAgent(c.t, shared.hosts[i], c.args[i]) }

// equal waits until all three kernel maps and all digests are the same, nothing
// is in doubt any more, and the map has that many elements (-1: any number).
func (c *cluster) equal(elements int) [3]mapState {
	c.t.Helper()
	var states [3]mapState
	eventually(c.t, "equal", func() (bool, string) {
		var sums [3]string
		for i, a := range c.agents {
			sums[i] = do(c.t, a.host, "labmap sum %s", c.pin)
			states[i] = a.state(c.t)
		}
		ok := elements < 0 || strings.HasPrefix(sums[0], fmt.Sprint(elements, " "))
		for i := range sums {
			ok = ok && sums[i] == sums[0] && states[i].Digest == states[0].Digest && states[i].Unsettled == 0 && states[i].PendingApply == 0
		}
		return ok, fmt.Sprintf("%q %+v", sums, states)
	})
	return states
}

// exitCode of a command of a host; -1 when it did not run.
func exitCode(err error) int {
	var exit *lab.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.Code
	}
	return -1
}
