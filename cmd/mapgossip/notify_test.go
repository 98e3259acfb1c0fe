package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mapgossip/mapgossip"
	"github.com/mapgossip/mapgossip/test/need"
)

// manager is a service manager that notes what it is told.
type manager struct {
	mu   sync.Mutex
	told []string
	err  error
}

func (m *manager) send(state string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.told = append(m.told, strings.ReplaceAll(state, "\n", " | "))
	return m.err
}

// take returns what was told since it was asked last.
func (m *manager) take() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	told := m.told
	m.told = nil
	return told
}

// moodyNode answers, or does not until its question is given up.
type moodyNode struct {
	mu     sync.Mutex
	silent bool
	status mapgossip.Status
}

func (n *moodyNode) look(ctx context.Context) (mapgossip.Status, error) {
	n.mu.Lock()
	silent, status := n.silent, n.status
	n.mu.Unlock()
	if silent {
		<-ctx.Done()
		return mapgossip.Status{}, ctx.Err()
	}
	return status, nil
}

func (n *moodyNode) be(silent bool, status mapgossip.Status) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.silent, n.status = silent, status
}

func TestSupervisor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &manager{}
		s := &supervisor{send: m.send, watchdog: 8 * time.Second, log: slog.New(slog.DiscardHandler)}
		want := func(what string, after time.Duration, told ...string) {
			t.Helper()
			time.Sleep(after) // of the bubble's clock
			synctest.Wait()
			if got := m.take(); !slices.Equal(got, told) {
				t.Errorf("%s: told %q, want %q", what, got, told)
			}
		}
		filling := mapgossip.Status{Healthy: true, NotReady: []string{"seed lb-1 does not\nresolve"}}
		n := &moodyNode{silent: true}
		ctx, cancel := context.WithCancel(t.Context())
		end := s.watch(ctx, n.look)
		s.reloading(func() {})
		want("nobody answers", 7*time.Second)
		n.be(false, filling)
		want("answers, its seed is away", 2*time.Second, "READY=1 | STATUS=not ready: seed lb-1 does not resolve | WATCHDOG=1")
		well := healthyFixture()
		n.be(false, well)
		want("is in sync", 2*time.Second, "STATUS=in sync, with 1 alive member | WATCHDOG=1")
		want("still", 4*time.Second, "WATCHDOG=1", "WATCHDOG=1")
		n.be(true, well)
		want("its owner hangs", time.Minute)
		n.be(false, well)
		want("answers again", 5*time.Second, "WATCHDOG=1", "WATCHDOG=1")
		s.reloading(func() { _ = m.send("keyring") })
		told := m.take()
		if len(told) != 3 || !strings.HasPrefix(told[0], "RELOADING=1 | MONOTONIC_USEC=") || told[1] != "keyring" || told[2] != "READY=1" {
			t.Errorf("reload: told %q", told)
		}
		cancel()
		want("stops", 0, "STOPPING=1 | STATUS=leaving the cluster")
		want("hands over", 4*time.Second, "WATCHDOG=1", "WATCHDOG=1")
		end()
		want("has ended", time.Minute)
	})
}

func TestSupervisorThatIsDeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged transcript
		m := &manager{err: errors.New("connection refused")}
		s := &supervisor{send: m.send, log: slog.New(slog.NewTextHandler(&logged, nil)), watchdog: time.Second}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		end := s.watch(ctx, (&moodyNode{}).look)
		time.Sleep(time.Minute) // of the bubble's clock
		end()
		if n := strings.Count(logged.String(), "connection refused"); n != 1 {
			t.Errorf("%d warnings, want one", n)
		}
	})
}

func TestStatusLine(t *testing.T) {
	sick := fixture()
	for want, s := range map[string]mapgossip.Status{
		"in sync, with 1 alive member": healthyFixture(),
		"not ready: map acl: 2 entries are not in the kernel map: map is full; needs a human: 2 members have the node ID lb-9; " +
			"map acl: 2 entries are not in the kernel map: map is full": sick,
		"not in sync, 4 alive members: 'mapgossip status' says with whom not": {Ready: true, Healthy: true, Members: sick.Members},
	} {
		if got := statusLine(s); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestServiceManager: an agent in a process of its own, as systemd starts it.
func TestServiceManager(t *testing.T) {
	t.Parallel()
	dir := need.BPFFS(t)
	pinMap(t, filepath.Join(dir, "flows"), 8)
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	next := func(word string) string { // the next message with it
		t.Helper()
		if err := socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		for message := make([]byte, 4096); ; {
			n, err := socket.Read(message)
			if err != nil {
				t.Fatalf("wait for %s: %v", word, err)
			}
			if text := string(message[:n]); strings.Contains("\n"+text, "\n"+word) {
				return text
			}
		}
	}
	key, _ := testKey("a")
	keyring := writeFile(t, key+"\n", 0o600)
	p := startAgentIn(t, []string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=1000000"}, "a",
		"--map", filepath.Join(dir, "flows"), "--keyring", keyring, "--join", "seed.invalid")
	if text := next("READY=1"); !strings.Contains(text, "\nSTATUS=not ready: ") {
		t.Errorf("start: %q", text)
	}
	next("WATCHDOG=1")
	p.signal(t, syscall.SIGHUP)
	if text := next("RELOADING=1"); !strings.Contains(text, "\nMONOTONIC_USEC=") {
		t.Errorf("reload: %q", text)
	}
	next("READY=1")
	p.wantLog(t, "keyring read again")
	next("WATCHDOG=1")
	p.signal(t, syscall.SIGTERM)
	next("STOPPING=1")
	p.wantExit(t, exitOK, leaveLimit)
}

// TestAbort: what a watchdog does to an agent must not look like a fault of
// configuration, after which nobody starts it again. A panic ends the same way.
func TestAbort(t *testing.T) {
	t.Parallel()
	dir := need.BPFFS(t)
	pinMap(t, filepath.Join(dir, "flows"), 8)
	p := startAgent(t, "a", "--map", filepath.Join(dir, "flows"))
	p.wantStatus(t, "runs", func(s mapgossip.Status) bool { return s.Ready })
	p.signal(t, syscall.SIGABRT)
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatal("still runs")
	}
	status, ok := p.command.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGABRT {
		t.Errorf("ended as %v, want SIGABRT", p.command.ProcessState)
	}
	if !strings.Contains(p.log.String(), "mapgossip.(*Node).own(") {
		t.Errorf("the last words have no goroutines: %q", lastLine(p.log.String()))
	}
}
