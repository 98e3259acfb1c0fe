package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/mapgossip/mapgossip"
)

// patience is how long a test waits for what should take a second or two: the
// machine may be busy and the race detector is slow.
const patience = 20 * time.Second

// eventually polls until holds returns nil; after patience, its last error is
// the test's.
func eventually(t *testing.T, what string, holds func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		err := holds()
		if err == nil {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("%s: still not after %s: %v", what, patience, err)
		}
	}
}

// transcript is what a process writes, readable while it runs.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (tr *transcript) Write(p []byte) (int, error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.text.Write(p)
}

func (tr *transcript) String() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.text.String()
}

// process is an agent in a process of its own.
type process struct {
	name    string
	bind    string
	http    endpoint
	command *exec.Cmd
	log     transcript
	ended   chan struct{}
}

// startAgent starts an agent of that node ID on a free loopback port, quick to
// scan and to sync. It is killed at the end of the test, unless it ended before.
func startAgent(t *testing.T, name string, args ...string) *process {
	t.Helper()
	return startAgentIn(t, nil, name, args...)
}

// startAgentIn is startAgent with variables of the environment.
func startAgentIn(t *testing.T, env []string, name string, args ...string) *process {
	t.Helper()
	p := &process{name: name, bind: freePort(t), http: endpoint{"unix", filepath.Join(t.TempDir(), "s")}, ended: make(chan struct{})}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p.command = exec.Command(program, append([]string{"agent", "--node", name, "--bind", p.bind, "--http", p.http.String(),
		"--scan-interval", "50ms", "--sync-interval", "300ms"}, args...)...)
	p.command.Env = append([]string{asProgram + "=1"}, env...)
	p.command.Stderr = &p.log
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.command.Wait() // exitCode reads what it says
	}()
	t.Cleanup(func() {
		_ = p.command.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, p.log.String())
		}
	})
	return p
}

// signal sends a signal to a running agent.
func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.command.Process.Signal(s); err != nil {
		t.Fatalf("signal %s: %v", p.name, err)
	}
}

// wantLog waits until the agent has said that.
func (p *process) wantLog(t *testing.T, text string) {
	t.Helper()
	eventually(t, p.name, func() error {
		if !strings.Contains(p.log.String(), text) {
			return fmt.Errorf("its log does not say %q", text)
		}
		return nil
	})
}

// wantExit waits for the end of the agent.
func (p *process) wantExit(t *testing.T, code int, within time.Duration) {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(within):
		t.Fatalf("%s still runs after %s", p.name, within)
	}
	if got := p.command.ProcessState.ExitCode(); got != code {
		t.Errorf("%s: exit code %d, want %d; last words:\n%s", p.name, got, code, lastLine(p.log.String()))
	}
}

// status asks the agent; an agent that has ended fails the test.
func (p *process) status(t *testing.T) (s mapgossip.Status, err error) {
	t.Helper()
	select {
	case <-p.ended:
		t.Fatalf("%s has ended with code %d", p.name, p.command.ProcessState.ExitCode())
	default:
	}
	r, err := ask(t.Context(), p.http, "/debug/status")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(r.body, &s)
}

// wantStatus waits until the status of the agent is as holds wants it.
func (p *process) wantStatus(t *testing.T, what string, holds func(mapgossip.Status) bool) {
	t.Helper()
	eventually(t, p.name+": "+what, func() error {
		s, err := p.status(t)
		if err == nil && !holds(s) {
			err = fmt.Errorf("status is %+v", s)
		}
		return err
	})
}

// states returns the state of each member by node ID.
func states(s mapgossip.Status) map[string]string {
	found := make(map[string]string)
	for _, m := range s.Members {
		found[m.Node] = m.State
	}
	return found
}

// freePort returns a loopback address whose port is free for TCP and UDP. All of
// 127.0.0.0/8 is this host's: with an address of its own, nothing else on this
// machine takes the port before an agent does.
func freePort(t *testing.T) string {
	t.Helper()
	ip := netip.AddrFrom4([4]byte{127, byte(1 + rand.N(254)), byte(rand.N(256)), byte(1 + rand.N(254))})
	for range 20 {
		tcp, err := net.Listen("tcp", netip.AddrPortFrom(ip, 0).String())
		if err != nil {
			t.Fatal(err)
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		tcp.Close()
		if err == nil {
			udp.Close()
			return tcp.Addr().String()
		}
	}
	t.Fatal("no port is free for both TCP and UDP")
	return ""
}

// pinMap creates a hash map of 4-byte keys and pins it.
func pinMap(t *testing.T, path string, valueBytes uint32) *ebpf.Map {
	t.Helper()
	return pinSpec(t, path, &ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: valueBytes, MaxEntries: 1024})
}

func pinSpec(t *testing.T, path string, spec *ebpf.MapSpec) *ebpf.Map {
	t.Helper()
	m, err := ebpf.NewMap(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	if err := m.Pin(path); err != nil {
		t.Fatal(err)
	}
	return m
}

// wantContent waits until the kernel map holds exactly that.
func wantContent(t *testing.T, what string, m *ebpf.Map, want map[uint32]uint64) {
	t.Helper()
	eventually(t, what, func() error {
		var key uint32
		var value uint64
		got := make(map[uint32]uint64)
		entries := m.Iterate()
		for entries.Next(&key, &value) {
			got[key] = value
		}
		if err := entries.Err(); err != nil {
			return err
		}
		for k, v := range want {
			if g, ok := got[k]; !ok || g != v {
				return fmt.Errorf("key %d holds %d (%v), want %d; %d keys", k, g, ok, v, len(got))
			}
		}
		if len(got) != len(want) {
			return fmt.Errorf("%d keys, want %d", len(got), len(want))
		}
		return nil
	})
}

func lastLine(text string) string {
	lines := bytes.Split(bytes.TrimSpace([]byte(text)), []byte("\n"))
	return string(lines[len(lines)-1])
}
