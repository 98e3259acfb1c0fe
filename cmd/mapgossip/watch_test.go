package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip"
	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/fake"
)

// changeFixtures are changes of every kind.
func changeFixtures() []mapgossip.Change {
	local := mapgossip.Change{Entry: flowEntry(), Origin: mapgossip.OriginLocal}
	local.Kernel = nil
	by := func(w *mapgossip.Writer) mapgossip.Change {
		c := local
		c.Writer = w
		return c
	}
	gone := by(&mapgossip.Writer{Source: "program", PID: 17, Process: "curl", CPU: 3})
	gone.Deleted, gone.Value, gone.ValueText = true, "", ""
	evicted := gone
	evicted.Evicted, evicted.Lost = true, 1
	remote, relayed := local, local
	remote.Origin, remote.From, remote.LagMS = mapgossip.OriginRemote, "lb-2", 1.25
	relayed.Origin, relayed.From, relayed.LagMS, relayed.Lost = mapgossip.OriginRemote, "lb-3", 2500, 12
	return []mapgossip.Change{
		by(&mapgossip.Writer{Source: "syscall", PID: 4711, Process: "bpftool", CPU: 0}),
		by(&mapgossip.Writer{Source: "interrupt", PID: 18, Process: "ksoftirqd/1", CPU: 1}),
		by(&mapgossip.Writer{Source: "program", CPU: 12}),
		gone, evicted, by(nil), remote, relayed,
	}
}

// TestWatchAgent: a line a change, until the agent hangs up, which is said.
func TestWatchAgent(t *testing.T) {
	var data []string
	at := agentAt(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/debug/maps/flows/watch" {
			t.Errorf("asked for %s", r.URL)
		}
		fmt.Fprint(w, ": ping\n\nevent: other\ndata: {}\n\n")
		for _, line := range data {
			fmt.Fprintf(w, "event: change\ndata: %s\n\n: ping\n\n", line)
		}
	}))
	for _, c := range changeFixtures() {
		data = append(data, strings.TrimSpace(text(t, c)))
	}
	stderr := "mapgossip: 1 change was left out here: they came faster than they could be told\n" +
		"mapgossip: 12 changes were left out here: they came faster than they could be told\n" +
		"mapgossip: ask agent at " + at + ": it hung up: is it just stopping?\n"
	r := invoke(t, nil, "watch", "flows", "--http", at)
	golden(t, "watch.txt", r.stdout)
	wantResult(t, r, result{1, r.stdout, stderr})
	wantResult(t, invoke(t, nil, "watch", "flows", "--http", at, "-o", "json"), result{1, strings.Join(data, "\n") + "\n", stderr})
}

// TestWatchEndsBySignal: that nobody waits for more changes is no failure.
func TestWatchEndsBySignal(t *testing.T) {
	asked := make(chan struct{}, 1)
	at := agentAt(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	where, err := parseEndpoint(at)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	go func() { ended <- watchAgent(ctx, where, "flows", newChangePrinter(&out, &out, "table", false)) }()
	<-asked
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestFeedStalls: an agent that says nothing is given up, however it began.
func TestFeedStalls(t *testing.T) {
	at := agentAt(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, `{"key":"00"}`)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	where, err := parseEndpoint(at)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := follow(t.Context(), where, "/", 300*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if line, err := rows.next(); err != nil || string(line) != `{"key":"00"}` {
		t.Fatalf("%s %v", line, err)
	}
	if _, err := rows.next(); err == nil || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("%v", err)
	}
}

// onHost runs watchHost on a map of a fake kernel while act writes, and returns
// what was printed. The clock of the bubble stands still unless act sleeps.
func onHost(t *testing.T, limit mapwatch.Mode, format string, act func(k *fake.Kernel, m *fake.Map)) (stdout, stderr string, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		k := fake.NewKernel(nil)
		defer k.Close()
		if limit != mapwatch.ModeFexit {
			k.LimitCapture(limit, "this host refuses trampolines")
		}
		m := k.AddMap(mapwatch.Shape{Target: "/pins/flows", Type: mapwatch.TypeHash, KeyBytes: 2, ValueBytes: 1, MaxEntries: 8})
		must(t, m.Write([]byte{9, 9}, []byte{9}, 0))
		ctx, cancel := context.WithCancel(t.Context())
		var out, talk strings.Builder
		ended := make(chan error, 1)
		go func() { ended <- watchHost(ctx, k, "/pins/flows", newChangePrinter(&out, &talk, format, false)) }()
		synctest.Wait()
		act(k, m)
		time.Sleep(time.Second / 10) // of the bubble: records wait a moment for company
		cancel()
		err = <-ended
		stdout, stderr = out.String(), talk.String()
	})
	return stdout, stderr, err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWatchHostByHooks(t *testing.T) {
	act := func(_ *fake.Kernel, m *fake.Map) {
		must(t, m.Write([]byte{0, 1}, []byte{1}, 3))
		must(t, m.Write([]byte{9, 9}, []byte{2}, 0))
		must(t, m.Remove([]byte{0, 1}, 1))
	}
	for _, mode := range []mapwatch.Mode{mapwatch.ModeFexit, mapwatch.ModeFentry} {
		reason := ""
		if mode != mapwatch.ModeFexit {
			reason = ", because this host refuses trampolines"
		}
		stdout, stderr, err := onHost(t, mode, "json", act)
		if err != nil {
			t.Fatal(err)
		}
		want := "mapgossip: /pins/flows: hash, id 1, key 2 bytes, value 1 bytes, at most 8 entries\nmapgossip: captured by " + string(mode) + reason + "\n"
		if stderr != want {
			t.Errorf("%s: stderr %q, want %q", mode, stderr, want)
		}
		golden(t, "watch-host-"+string(mode)+".json", stdout)
	}
	stdout, _, err := onHost(t, mapwatch.ModeFexit, "table", act)
	must(t, err)
	golden(t, "watch-host.txt", stdout)
}

func TestWatchHostByComparing(t *testing.T) {
	stdout, stderr, err := onHost(t, mapwatch.ModeScan, "table", func(_ *fake.Kernel, m *fake.Map) {
		must(t, m.Write([]byte{0, 1}, []byte{1}, 0))
		must(t, m.Write([]byte{0, 2}, []byte{1}, 0))
		time.Sleep(hostLook)
		synctest.Wait()
		must(t, m.Poke([]byte{0, 1}, []byte{7}))
		must(t, m.Remove([]byte{9, 9}, 0))
		time.Sleep(hostLook)
	})
	must(t, err)
	golden(t, "watch-host-compared.txt", stdout)
	if !strings.Contains(stderr, "compared each 1s, because this host refuses trampolines\nmapgossip: that way who writes can't be known") {
		t.Errorf("stderr %q", stderr)
	}
}

// TestWatchHostLoses: what found the queue full is counted, and a map that was
// replaced is not followed in silence.
func TestWatchHostLoses(t *testing.T) {
	_, stderr, err := onHost(t, mapwatch.ModeFexit, "table", func(k *fake.Kernel, m *fake.Map) {
		m.Lose(2, fake.Dropped)
		for i := range 3 {
			must(t, m.Write([]byte{1, byte(i)}, []byte{1}, 0))
		}
		synctest.Wait()
		k.AddMap(m.Shape())
		time.Sleep(2 * hostLook)
	})
	if !strings.Contains(stderr, "2 changes were left out here") {
		t.Errorf("stderr %q", stderr)
	}
	if err == nil || !strings.Contains(err.Error(), "watch again to follow what is there then") || exitCode(err) != exitFailed {
		t.Errorf("%v", err)
	}
	if err := watchHost(t.Context(), fake.NewKernel(nil), "/pins/none", newChangePrinter(nil, nil, "table", false)); exitCode(err) != exitUsage {
		t.Errorf("no map: %v", err)
	}
}
