//go:build e2e

package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/test/lab"
	"github.com/mapgossip/mapgossip/test/stage"
)

const (
	churnKeys   = 2000 // of each writer
	churnShared = 500
)

// churnShape is how hard TestChurn is: for how long each host is cut off, for
// how long it has no agent, and how many writes a second each host is to make.
// `make test` has time for a short one, and few writes. MAPGOSSIP_CHURN=60s,5000
// in the environment is what agents must bear; emulation may not reach the rate.
func churnShape(t *testing.T) (cut, down time.Duration, rate int) {
	text := os.Getenv("MAPGOSSIP_CHURN")
	if text == "" {
		return 6 * time.Second, 2 * time.Second, 200
	}
	length, number, _ := strings.Cut(text, ",")
	cut, err := time.ParseDuration(length)
	if err == nil {
		rate, err = strconv.Atoi(number)
	}
	if err != nil {
		t.Fatalf("MAPGOSSIP_CHURN=%s: %v; want a duration and a rate, such as 60s,5000", text, err)
	}
	return cut, cut / 6, rate
}

// TestChurn lets a program on each host write without pause, while each host in
// turn is cut off and has its agent killed. When they end, nobody's own key
// holds anything but its owner's last write, and each shared key holds the last
// write of one of the writers.
func TestChurn(t *testing.T) {
	cut, down, rate := churnShape(t)
	for _, h := range shared.hosts {
		disk(t, h, "192m")
	}
	c := newCluster(t, 8, 16, 16384, "--state-dir "+stateDir+" --tombstone-min-age "+max(cut/3, 5*time.Second).String())
	t.Cleanup(shared.HealAll)
	run := &churnRun{cluster: c}
	for i, h := range shared.hosts {
		run.writers[i] = startWriter(t, h, c.pin, i+1, rate)
	}
	run.watch(t, down)
	for i, h := range shared.hosts {
		shared.Isolate(h)
		run.watch(t, cut)
		shared.Rejoin(h)
		begin := time.Now()
		c.assembled()
		t.Logf("%s was cut off for %v, and is a member again after %v", h.Name(), cut, time.Since(begin).Round(time.Millisecond))

		run.add(i, run.last[i])
		c.agents[i].kill(t)
		run.watch(t, down)
		run.started[i], run.ready[i] = time.Now(), 0
		c.start(i)
		c.assembled()
		t.Logf("%s's agent was killed, and is a member again %v after its start", h.Name(), time.Since(run.started[i]).Round(time.Millisecond))
		if !strings.Contains(c.agents[i].log.String(), "state restored") {
			t.Errorf("%s's agent did not restore its state", h.Name())
		}
	}
	var reports [3]writerReport
	for i, w := range run.writers {
		reports[i] = w.end(t)
	}
	begin := time.Now()
	states := c.equal(-1)
	for _, a := range c.agents {
		a.ready(t)
	}
	t.Logf("equal and ready %v after the last write: %d entries", time.Since(begin).Round(time.Millisecond), states[0].Entries)
	checkChurn(t, c, reports)
	for i, r := range reports {
		t.Logf("%s: %d writes, %.0f a second, %d of them deletes", shared.hosts[i].Name(), r.Writes, float64(r.Writes)/r.Seconds, r.Deletes)
		run.add(i, states[i].Counters)
		t.Logf("%s's agents: at most %d MB, %d unsettled, %d pending, %d times silent; %+v", shared.hosts[i].Name(), run.megabytes[i], run.unsettled[i], run.pending[i], run.silent[i], run.counters[i])
	}
	begin = time.Now()
	c.collected()
	t.Logf("no tombstone is left %v later", time.Since(begin).Round(time.Millisecond))
	for i, s := range c.equal(states[0].Entries) {
		if s.Floor.IsZero() {
			t.Errorf("%s has no floor", shared.hosts[i].Name())
		}
	}
	checkChurn(t, c, reports)
}

// checkChurn compares what the hosts' maps hold with what was written.
func checkChurn(t *testing.T, c *cluster, reports [3]writerReport) {
	t.Helper()
	kernel := c.dump(alpha)
	// What each key may hold: "" for nothing.
	may := make(map[string][]string)
	for i, r := range reports {
		for key, value := range r.Last {
			may[key] = append(may[key], value)
		}
		if r.Faults > 0 {
			t.Errorf("%s: %d own keys were not as they had been left: %s", shared.hosts[i].Name(), r.Faults, strings.Join(r.Told, "\n"))
		}
	}
	wrong := 0
	for key, values := range may {
		if !slices.Contains(values, kernel[key]) {
			wrong++
			if wrong <= 10 {
				t.Errorf("key %s holds %q, the last writes were %q", key, kernel[key], values)
			}
		}
	}
	for key, value := range kernel {
		if may[key] == nil {
			t.Errorf("nobody wrote key %s, which holds %q", key, value)
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d keys hold neither what was written last nor, if shared, what another wrote last", wrong, len(may))
	}
}

// writer is a churn on a host.
type writer struct {
	host     *lab.Host
	cmd      *lab.Cmd
	out      bytes.Buffer
	progress stage.Log
}

// writerReport is what labmap churn prints.
type writerReport struct {
	Writes, Deletes, Faults int
	Seconds                 float64
	Last                    map[string]string
	Told                    []string
}

func startWriter(t *testing.T, h *lab.Host, pin string, number, rate int) *writer {
	t.Helper()
	w := &writer{host: h}
	w.cmd = h.Command(t.Context(), "labmap", "churn", pin, fmt.Sprint(number), fmt.Sprint(churnKeys), fmt.Sprint(churnShared), fmt.Sprint(rate))
	w.cmd.Stdout, w.cmd.Stderr = &w.out, &w.progress
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the writer on %s said:\n%s", h.Name(), &w.progress)
		}
	})
	return w
}

func (w *writer) end(t *testing.T) (r writerReport) {
	t.Helper()
	err := w.cmd.Signal(syscall.SIGTERM)
	if err == nil {
		err = w.cmd.Wait()
	}
	if err == nil {
		err = json.Unmarshal(w.out.Bytes(), &r)
	}
	if err != nil {
		t.Fatalf("the writer on %s: %v", w.host.Name(), err)
	}
	return r
}

// churnRun is what TestChurn keeps account of.
type churnRun struct {
	*cluster
	writers   [3]*writer
	started   [3]time.Time     // again, of agents that were killed
	ready     [3]time.Duration // after that; 0: not seen yet
	megabytes [3]int           // the most that an agent's memory had
	unsettled [3]int           // likewise
	pending   [3]int
	silent    [3]int      // questions that an agent did not answer in 10 s
	last      [3]counters // as an agent told last
	counters  [3]counters // of agents that were killed
}

// watch lets things go on for some time, in which nobody must fail.
func (r *churnRun) watch(t *testing.T, d time.Duration) {
	t.Helper()
	end := time.NewTimer(d)
	defer end.Stop()
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		select {
		case <-end.C:
			return
		case <-look.C:
		}
		for i := range shared.hosts {
			w, a := r.writers[i], r.agents[i]
			select {
			case <-w.cmd.Done():
				t.Fatalf("the writer on %s ended: %v", w.host.Name(), w.cmd.Wait())
			default:
			}
			if a.killed {
				continue
			}
			if code, err := a.get("/readyz", new(any)); err == nil && code == http.StatusOK && r.ready[i] == 0 && !r.started[i].IsZero() {
				r.ready[i] = time.Since(r.started[i])
				t.Logf("%s's agent is ready %v after its start", a.host.Name(), r.ready[i].Round(time.Second))
			}
			select {
			case <-a.cmd.Done():
				t.Fatalf("the agent on %s ended: %v", a.host.Name(), a.cmd.Wait())
			default:
			}
			var answer struct{ Maps []mapState }
			if _, err := a.get("/debug/maps", &answer); err != nil || len(answer.Maps) == 0 {
				r.silent[i]++ // busy for longer than it waits for itself
				continue
			}
			s := answer.Maps[0]
			r.last[i] = s.Counters
			r.unsettled[i] = max(r.unsettled[i], s.Unsettled)
			r.pending[i] = max(r.pending[i], s.PendingApply)
			r.megabytes[i] = max(r.megabytes[i], a.megabytes(t))
		}
	}
}

func (r *churnRun) add(i int, c counters) {
	sum := &r.counters[i]
	sum.Captured += c.Captured
	sum.Own += c.Own
	sum.Failed += c.Failed
	sum.Dropped += c.Dropped
	sum.Missed += c.Missed
	sum.Local += c.Local
	sum.Remote += c.Remote
	sum.Applied += c.Applied
	sum.Echoes += c.Echoes
	sum.Scans += c.Scans
	sum.Collected += c.Collected
	sum.Deleted += c.Deleted
	sum.SettleStamps += c.SettleStamps
	sum.ScanFound += c.ScanFound
	sum.FutureTimes += c.FutureTimes
}

var residentPattern = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

// megabytes is the memory that the agent has.
func (a *agent) megabytes(t *testing.T) int {
	t.Helper()
	status, err := a.host.ReadFile(context.Background(), fmt.Sprintf("/proc/%d/status", a.cmd.PID()))
	if err != nil {
		t.Fatal(err)
	}
	found := residentPattern.FindSubmatch(status)
	if found == nil {
		t.Fatalf("no memory in %s", status)
	}
	kilobytes, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes >> 10
}
