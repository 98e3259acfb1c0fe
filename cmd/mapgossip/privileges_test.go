package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/mapgossip/mapgossip"
	"github.com/mapgossip/mapgossip/test/need"
)

func TestKeptCapabilities(t *testing.T) {
	var root, before58 []cap.Value
	for v := range cap.Value(41) {
		root = append(root, v)
		if v < cap.PERFMON { // neither that nor CAP_BPF
			before58 = append(before58, v)
		}
	}
	few := []cap.Value{cap.BPF, cap.PERFMON}
	pins := demands{kernel: 6<<8 | 1, records: true}
	with := func(d demands, change func(*demands)) demands { change(&d); return d }
	closed := with(pins, func(d *demands) { d.closed = []string{"/sys/fs/bpf/flows"} })
	for name, test := range map[string]struct {
		demands
		has  []cap.Value
		want string
	}{
		"root, pins":            {pins, root, "cap_bpf cap_perfmon"},
		"root, pins, scan":      {with(pins, func(d *demands) { d.records = false }), root, "cap_bpf"},
		"root, a map by ID":     {with(pins, func(d *demands) { d.byID = true }), root, "cap_bpf cap_perfmon cap_sys_admin"},
		"what the unit gives":   {pins, few, "cap_bpf cap_perfmon"},
		"CAP_BPF alone":         {pins, few[:1], "cap_bpf"},
		"CAP_SYS_ADMIN alone":   {pins, []cap.Value{cap.SYS_ADMIN, cap.CHOWN}, "cap_sys_admin"},
		"any user":              {pins, nil, ""},
		"root, closed files":    {closed, root, "cap_bpf cap_dac_override cap_perfmon"},
		"reader, closed files":  {closed, append(slices.Clone(few), cap.DAC_READ_SEARCH), "cap_bpf cap_dac_read_search cap_perfmon"},
		"root, foreign keyring": {with(pins, func(d *demands) { d.foreign = "/etc/keyring" }), root, "cap_bpf cap_chown cap_perfmon"},
		"root, 5.10":            {with(pins, func(d *demands) { d.kernel = 5<<8 | 10 }), root, "cap_bpf cap_perfmon cap_sys_resource cap_syslog"},
		"root, 5.10, scan":      {demands{kernel: 5<<8 | 10}, root, "cap_bpf cap_sys_resource"},
		"root, 5.11":            {with(pins, func(d *demands) { d.kernel = 5<<8 | 11 }), root, "cap_bpf cap_perfmon cap_syslog"},
		"root, 5.4":             {demands{kernel: 5<<8 | 4}, before58, "cap_sys_admin cap_sys_resource"},
	} {
		var names []string
		for _, v := range test.kept(func(v cap.Value) bool { return slices.Contains(test.has, v) }) {
			names = append(names, v.String())
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); got != test.want {
			t.Errorf("%s: %q kept, want %q", name, got, test.want)
		}
	}
}

// Root counts as the owner that it is, not as who may do all.
func TestClosedFiles(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	house := func(name string, uid int) string {
		path := filepath.Join(dir, name)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, uid, uid); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := func(name string, mode os.FileMode, uid int) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, uid, uid); err != nil {
			t.Fatal(err)
		}
		return path
	}
	open := []string{file("own", 0o600, 0), file("anybody's", 0o666, 1234), filepath.Join(dir, "none"), house("dir", 0)}
	shut := []string{file("foreign", 0o600, 1234), file("read-only", 0o444, 1234), filepath.Join(house("closed", 1234), "none")}
	got, err := closedFiles(append(open, shut...))
	if err != nil || !slices.Equal(got, shut) {
		t.Errorf("closed: %q, %v\nwant %q", got, err, shut)
	}
	// No thread is left with less than the others: none of them could be told then.
	for range 20 {
		if _, err := closedFiles(shut); err != nil {
			t.Fatal(err)
		}
		if states := threadStates(t, os.Getpid(), "CapPrm", "CapEff"); len(states) != 2 {
			t.Fatalf("threads that differ: %v", states)
		}
	}
}

func TestOpenBindIsToldOf(t *testing.T) {
	for _, test := range []struct {
		bind    string
		keyring [][]byte
		want    bool
	}{
		{"0.0.0.0:7946", nil, true},
		{"192.0.2.1:7946", nil, true},
		{"0.0.0.0:7946", [][]byte{make([]byte, 16)}, false},
		{"127.0.0.2:7946", nil, false},
		{"[::1]:7946", nil, false},
		{"[::ffff:127.0.0.1]:7946", nil, false},
	} {
		var logged bytes.Buffer
		warnOpenBind(slog.New(slog.NewTextHandler(&logged, nil)), mapgossip.Config{Bind: netip.MustParseAddrPort(test.bind), Keyring: test.keyring})
		if got := strings.Contains(logged.String(), "level=WARN msg=\"TRAFFIC IS NOT ENCRYPTED"); got != test.want {
			t.Errorf("%s, %d keys: logged %q", test.bind, len(test.keyring), &logged)
		}
	}
}

// threadStates returns, for each line that the threads of a process have of
// these in /proc/PID/task/TID/status, how many threads have it.
func threadStates(t *testing.T, pid int, labels ...string) map[string]int {
	t.Helper()
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(paths) < 2 {
		t.Fatalf("threads of %d: %q, %v", pid, paths, err)
	}
	states := make(map[string]int)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // a thread that has ended
		}
		for line := range strings.Lines(string(text)) {
			label, value, _ := strings.Cut(line, ":")
			if slices.Contains(labels, label) {
				states[label+" "+strings.TrimSpace(value)]++
			}
		}
	}
	return states
}

// TestPrivilegesAreDropped: no thread of an agent that root started has more
// than it goes on to need, and with that it binds a map which was replaced and
// reads its keyring again.
func TestPrivilegesAreDropped(t *testing.T) {
	t.Parallel()
	need.Root(t)
	dir := need.BPFFS(t)
	pin := filepath.Join(dir, "flows")
	first := pinMap(t, pin, 8)
	key, _ := testKey("a")
	keyring := writeFile(t, key+"\n", 0o600)
	p := startAgent(t, "a", "--map", pin, "--keyring", keyring, "--state-dir", filepath.Join(t.TempDir(), "state"))
	if err := first.Put(uint32(1), uint64(11)); err != nil {
		t.Fatal(err)
	}
	p.wantStatus(t, "runs", func(s mapgossip.Status) bool { return s.Ready && s.Encrypted && s.Maps[0].Entries == 1 })
	p.wantLog(t, "capabilities dropped")
	version, err := kernelVersion()
	if err != nil {
		t.Fatal(err)
	}
	bits := uint64(1<<unix.CAP_BPF | 1<<unix.CAP_PERFMON)
	if version < memlockUntil {
		bits |= 1 << unix.CAP_SYS_RESOURCE
	}
	if version < addressesUntil {
		bits |= 1 << unix.CAP_SYSLOG
	}
	labels := []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"}
	states := threadStates(t, p.command.Process.Pid, labels...)
	want := []string{"NoNewPrivs 1"}
	for i, mask := range []uint64{0, bits, bits, 0, 0} {
		want = append(want, fmt.Sprintf("%s %016x", labels[i], mask))
	}
	for _, line := range want {
		if states[line] == 0 {
			t.Errorf("no thread has %q", line)
		}
		delete(states, line)
	}
	if len(states) > 0 {
		t.Errorf("threads that have something else: %v", states)
	}

	// A loader that starts again pins another map in its place.
	if err := os.Remove(pin); err != nil {
		t.Fatal(err)
	}
	second := pinMap(t, pin, 8)
	wantContent(t, "the map that took the first one's place is filled", second, map[uint32]uint64{1: 11})
	if err := second.Put(uint32(2), uint64(22)); err != nil {
		t.Fatal(err)
	}
	p.wantStatus(t, "is captured anew", func(s mapgossip.Status) bool { return s.Ready && s.Maps[0].Entries == 2 })
	p.signal(t, syscall.SIGHUP)
	p.wantLog(t, "keyring read again")
	p.signal(t, syscall.SIGTERM)
	p.wantExit(t, exitOK, leaveLimit)
	if strings.Contains(p.log.String(), "level=ERROR") {
		t.Error("the log has errors")
	}
}

// TestClosedPinKeepsTheRight: a pin that another user made is opened again
// after the drop too, and the log says what that costs.
func TestClosedPinKeepsTheRight(t *testing.T) {
	t.Parallel()
	need.Root(t)
	dir := need.BPFFS(t)
	pin := filepath.Join(dir, "flows")
	pinMap(t, pin, 8)
	if err := os.Chown(pin, 1234, 1234); err != nil {
		t.Fatal(err)
	}
	p := startAgent(t, "a", "--map", pin)
	p.wantStatus(t, "runs", func(s mapgossip.Status) bool { return s.Ready })
	p.wantLog(t, "file modes are overridden")
	p.wantLog(t, "CAP_DAC_OVERRIDE CAP_PERFMON")
	if err := os.Remove(pin); err != nil {
		t.Fatal(err)
	}
	second := pinMap(t, pin, 8)
	if err := os.Chown(pin, 1234, 1234); err != nil {
		t.Fatal(err)
	}
	if err := second.Put(uint32(2), uint64(22)); err != nil {
		t.Fatal(err)
	}
	p.wantStatus(t, "binds it anew", func(s mapgossip.Status) bool { return s.Ready && s.Maps[0].Entries == 1 })
	p.signal(t, syscall.SIGTERM)
	p.wantExit(t, exitOK, leaveLimit)
}
