//go:build lab

package lab_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mapgossip/mapgossip/test/lab"
	"github.com/mapgossip/mapgossip/test/need"
)

// inGuest is set where these tests run in a guest that TestNativeInGuest has booted.
const inGuest = "MAPGOSSIP_LAB_IN_GUEST"

func TestMain(m *testing.M) {
	if os.Getenv(inGuest) == "" {
		if err := lab.Install(context.Background(), os.Stderr, "bpftool", "busybox"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// start makes a lab that goes with the test, with a file /lab/hello on each host. The environment does not choose.
func start(t testing.TB, mode lab.Mode, hosts ...lab.HostConfig) *lab.Lab {
	t.Helper()
	t.Setenv("MAPGOSSIP_LAB", "")
	hello := filepath.Join(t.TempDir(), "hello")
	if err := os.WriteFile(hello, []byte("#!/bin/sh\necho hello from $(hostname)\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	l, err := lab.New(ctx, lab.Config{
		Hosts: hosts, Mode: mode, Seed: 1, Progress: t.Output(),
		Files: map[string]string{"/lab/hello": hello}, Programs: []string{"busybox", "bpftool"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

var three = []lab.HostConfig{{Name: "a", Kernel: "6.1"}, {Name: "b", Kernel: "6.12"}, {Name: "c", Kernel: "6.18"}}

// deadline is for what hangs; emulation is slow.
func deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestGuests(t *testing.T) {
	l := start(t, lab.Guests, three...)
	for i, h := range l.Hosts() {
		if !strings.HasPrefix(h.Kernel(), three[i].Kernel+".") {
			t.Errorf("host %s asked for kernel %s, has %s", h.Name(), three[i].Kernel, h.Kernel())
		}
	}
	if m := l.Mode(); m != lab.Guests {
		t.Errorf("mode is %s", m)
	}
	exercise(t, l)
}

// TestNative runs here, and again inside a guest (TestNativeInGuest).
func TestNative(t *testing.T) {
	need.Root(t)
	l := start(t, lab.Native, lab.HostConfig{Name: "a"}, lab.HostConfig{Name: "b"}, lab.HostConfig{Name: "c"})
	exercise(t, l)
	t.Run("machine is read-only", func(t *testing.T) {
		if err := l.Host("a").WriteFile(deadline(t), "/etc/mapgossip-was-here", nil, 0o600); err == nil {
			t.Fatal("a host wrote to the machine's /etc")
		}
	})
	t.Run("files apart", func(t *testing.T) {
		a, b := l.Host("a"), l.Host("b")
		if err := a.WriteFile(deadline(t), "/tmp/of-a", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := b.ReadFile(deadline(t), "/tmp/of-a"); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("another host sees it: %v", err)
		}
	})
}

// exercise is what every lab of hosts a, b and c can do.
func exercise(t *testing.T, l *lab.Lab) {
	a, b, c := l.Host("a"), l.Host("b"), l.Host("c")
	t.Run("identity", func(t *testing.T) {
		for i, h := range l.Hosts() {
			out, err := h.Do(deadline(t), "sh", "-c", "uname -r; hostname; hello; ls -d /sys/fs/bpf /tmp /run /lab")
			want := fmt.Sprintf("%s\n%s\nhello from %[2]s\n/lab\n/run\n/sys/fs/bpf\n/tmp\n", h.Kernel(), h.Name())
			if err != nil || out != want {
				t.Errorf("got %q, want %q: %v", out, want, err)
			}
			if want := fmt.Sprintf("10.77.0.%d", i+1); h.Addr().String() != want {
				t.Errorf("host %s has %s, want %s", h.Name(), h.Addr(), want)
			}
		}
	})
	t.Run("exit", func(t *testing.T) {
		err := a.Command(deadline(t), "sh", "-c", "echo no luck >&2; exit 3").Run()
		var exit *lab.ExitError
		if !errors.As(err, &exit) || exit.Code != 3 || string(exit.Stderr) != "no luck\n" {
			t.Errorf("got %v", err)
		}
		if err := a.Command(deadline(t), "no-such-program").Run(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v", err)
		}
		cmd := a.Command(deadline(t), "sleep", "600")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); !errors.As(err, &exit) || exit.Signal != syscall.SIGTERM {
			t.Errorf("got %v", err)
		}
	})
	t.Run("streams", func(t *testing.T) {
		in, feed := io.Pipe()
		out, sink := io.Pipe()
		cmd := b.Command(deadline(t), "cat")
		cmd.Stdin, cmd.Stdout = in, sink
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(out)
		for i := range 10 { // each answer is waited for: nothing is held back
			fmt.Fprintln(feed, i)
			if got, err := lines.ReadString('\n'); err != nil || got != strconv.Itoa(i)+"\n" {
				t.Fatalf("got %q, %v", got, err)
			}
		}
		feed.Close()
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("files", func(t *testing.T) {
		want := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		if err := c.WriteFile(deadline(t), "/tmp/x/y", want, 0o640); err != nil {
			t.Fatal(err)
		}
		got, err := c.ReadFile(deadline(t), "/tmp/x/y")
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("got %d bytes, %v", len(got), err)
		}
	})
	t.Run("dial", func(t *testing.T) {
		serve := a.Command(deadline(t), "busybox", "nc", "-l", "-p", "7946", "-e", "busybox", "echo", "from the loopback")
		if err := serve.Start(); err != nil {
			t.Fatal(err)
		}
		var conn net.Conn
		for conn == nil { // until it listens
			var err error
			if conn, err = a.DialContext(deadline(t), "tcp", "127.0.0.1:7946"); err == nil {
				break // it may have answered and ended by now
			}
			select {
			case <-serve.Done():
				t.Fatalf("nobody listened: %v, %v", err, serve.Wait())
			default:
			}
		}
		defer conn.Close()
		if got, err := io.ReadAll(conn); string(got) != "from the loopback\n" {
			t.Fatalf("got %q, %v", got, err)
		}
	})
	t.Run("bpf", func(t *testing.T) {
		ctx := deadline(t)
		if _, err := a.Do(ctx, "bpftool", "map", "create", "/sys/fs/bpf/m", "type", "hash", "key", "4", "value", "4", "entries", "8", "name", "m"); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Do(ctx, "bpftool", "map", "update", "pinned", "/sys/fs/bpf/m", "key", "1", "0", "0", "0", "value", "2", "0", "0", "0"); err != nil {
			t.Fatal(err)
		}
		out, err := a.Do(ctx, "bpftool", "map", "dump", "pinned", "/sys/fs/bpf/m")
		if err != nil || !strings.Contains(out, "01 00 00 00") {
			t.Fatalf("got %q, %v", out, err)
		}
		if err := b.Command(ctx, "test", "-e", "/sys/fs/bpf/m").Run(); err == nil {
			t.Fatal("the pin is on another host, too")
		}
	})
	t.Run("network", func(t *testing.T) {
		defer l.HealAll()
		received(t, a, "b", 3, 3, 3)
		received(t, b, "c", 3, 3, 3)
		l.Cut(a, b)
		received(t, a, "b", 2, 0, 0)
		received(t, b, "a", 2, 0, 0)
		received(t, a, "c", 2, 2, 2)
		l.Heal(a, b)
		received(t, a, "b", 2, 2, 2)
		l.Isolate(c)
		received(t, a, "c", 2, 0, 0)
		received(t, b, "c", 2, 0, 0)
		received(t, a, "b", 2, 2, 2)
		l.Rejoin(c)
		received(t, a, "c", 2, 2, 2)
		l.Drop(a, b, 0.3)
		received(t, a, "b", 40, 6, 34) // of both ways half is expected
		l.HealAll()
		l.Delay(a, b, 150*time.Millisecond, 0)
		if rtt := received(t, a, "b", 1, 1, 1); rtt < 300*time.Millisecond {
			t.Errorf("round trip of %v over a link with 150 ms each way", rtt)
		}
	})
}

// received pings, wants between low and high answers of n, and returns the least round trip.
func received(t testing.TB, from *lab.Host, to string, n, low, high int) (least time.Duration) {
	t.Helper()
	out, err := from.Do(deadline(t), "busybox", "ping", "-c", strconv.Itoa(n), "-i", "0.1", "-W", "1", to)
	var exit *lab.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.Code == 1) {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(\d+) packets received`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("ping says %q", out)
	}
	if got, _ := strconv.Atoi(m[1]); got < low || got > high {
		t.Errorf("%s to %s: %d of %d answers, want %d to %d\n%s", from.Name(), to, got, n, low, high, out)
	}
	if m := regexp.MustCompile(`min/avg/max = ([\d.]+)/([\d.]+)/([\d.]+) ms`).FindStringSubmatch(out); m != nil {
		ms, _ := strconv.ParseFloat(m[1], 64)
		least = time.Duration(ms * float64(time.Millisecond))
		t.Logf("%s to %s: %s", from.Name(), to, m[0])
	}
	return least
}

func TestPanicIsNoticed(t *testing.T) {
	l := start(t, lab.Guests, lab.HostConfig{Name: "a", Kernel: "6.12"})
	a := l.Host("a")
	bystander := a.Command(deadline(t), "sleep", "600")
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	err := a.Command(deadline(t), "sh", "-c", "echo c > /proc/sysrq-trigger").Run()
	if !errors.Is(err, lab.ErrDown) || !strings.Contains(err.Error(), "Kernel panic - not syncing: sysrq triggered crash") {
		t.Errorf("got %v", err)
	}
	if err := bystander.Wait(); !errors.Is(err, lab.ErrDown) {
		t.Errorf("a command that was running: got %v", err)
	}
	<-a.Down()
	if _, err := a.ReadFile(deadline(t), "/proc/version"); !errors.Is(err, lab.ErrDown) {
		t.Errorf("later: got %v", err)
	}
	if b, err := os.ReadFile(a.ConsolePath()); err != nil || !bytes.Contains(b, []byte("Call Trace")) {
		t.Errorf("console: %v\n%s", err, b)
	}
}

// A guest has trampolines and may use namespaces: the lab chooses them, and all works in them.
func TestNativeInGuest(t *testing.T) {
	program := filepath.Join(t.TempDir(), "lab.test")
	if err := lab.Build(t.Context(), program, ".", "test", "-tags=lab"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MAPGOSSIP_LAB", "")
	l, err := lab.New(deadline(t), lab.Config{
		Hosts: []lab.HostConfig{{Name: "outer", Kernel: "6.12"}}, Mode: lab.Guests, Progress: t.Output(),
		Files: map[string]string{"/lab/lab.test": program}, Programs: []string{"busybox", "bpftool"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cmd := l.Host("outer").Command(deadline(t), "lab.test", "-test.v", "-test.run=^(TestNative|TestChoice)$")
	cmd.Env = []string{"MAPGOSSIP_LABINIT=/init", inGuest + "=1"}
	out, err := cmd.CombinedOutput()
	t.Logf("in the guest:\n%s", out)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"TestNative", "TestChoice"} {
		if !bytes.Contains(out, []byte("--- PASS: "+name+" ")) {
			t.Errorf("%s did not pass in the guest", name)
		}
	}
}

// Auto is native exactly where trampolines are allowed.
func TestChoice(t *testing.T) {
	obstacle := lab.NativeTrampolines()
	t.Logf("trampolines on this machine: %v", obstacle)
	if os.Getenv(inGuest) != "" && obstacle != nil {
		t.Errorf("a guest should allow them: %v", obstacle)
	}
	l := start(t, lab.Auto, lab.HostConfig{Name: "a", Kernel: "6.12"})
	want := lab.Guests
	if obstacle == nil && os.Geteuid() == 0 {
		want = lab.Native
	}
	if l.Mode() != want {
		t.Errorf("mode %s, want %s", l.Mode(), want)
	}
	// A host that this machine's kernel is not must be a guest, and a guest has no emulator.
	if os.Getenv(inGuest) != "" {
		other := lab.HostConfig{Name: "b", Kernel: "6.12", Preempt: lab.PreemptFull}
		if _, err := lab.New(deadline(t), lab.Config{Hosts: []lab.HostConfig{other}}); err == nil || !strings.Contains(err.Error(), "guests need "+lab.Emulator(runtime.GOARCH)) {
			t.Errorf("got %v", err)
		}
	}
}
