//go:build lab

package lab_test

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mapgossip/mapgossip/test/lab"
	"github.com/mapgossip/mapgossip/test/need"
)

func TestCloseLeavesNothing(t *testing.T) {
	for _, mode := range []lab.Mode{lab.Guests, lab.Native} {
		t.Run(string(mode), func(t *testing.T) {
			if mode == lab.Native {
				need.Root(t)
			}
			l := start(t, mode, lab.HostConfig{Name: "leaves-nothing", Kernel: "6.1"})
			h := l.Host("leaves-nothing")
			left := h.Command(t.Context(), "sh", "-c", "setsid sleep 600 & wait")
			if err := left.Start(); err != nil {
				t.Fatal(err)
			}
			if n := len(processes(t, "lab.name=leaves-nothing")); n == 0 {
				t.Fatal("a running lab has no process")
			}
			if err := errors.Join(l.Close(), l.Close()); err != nil {
				t.Fatal(err)
			}
			if p := processes(t, "lab.name=leaves-nothing"); len(p) > 0 {
				t.Errorf("left: %v", p)
			}
			if _, err := os.Stat(l.Folder()); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("left: %s (%v)", l.Folder(), err)
			}
			if err := left.Wait(); !errors.Is(err, lab.ErrDown) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// owned is set in a process that makes a lab in order to be killed, to the lab's mode.
const owned = "MAPGOSSIP_LAB_OWNED"

// When the program that made a lab is killed, its hosts die.
func TestKilledOwnerLeavesNothing(t *testing.T) {
	if mode := os.Getenv(owned); mode != "" {
		l := start(t, lab.Mode(mode), lab.HostConfig{Name: "orphan", Kernel: "6.1"})
		fmt.Printf("\nstarted %s\n", l.Folder())
		<-l.Host("orphan").Down() // never
		return
	}
	for _, mode := range []lab.Mode{lab.Guests, lab.Native} {
		t.Run(string(mode), func(t *testing.T) {
			if mode == lab.Native {
				need.Root(t)
			}
			owner := exec.CommandContext(deadline(t), os.Args[0], "-test.run=^TestKilledOwnerLeavesNothing$")
			owner.Env = append(os.Environ(), owned+"="+string(mode), "TMPDIR="+t.TempDir())
			stdout, err := owner.StdoutPipe()
			if err == nil {
				err = owner.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			for s := bufio.NewScanner(stdout); ; {
				if !s.Scan() {
					t.Fatalf("the owner did not start its lab: %v", owner.Wait())
				}
				if strings.HasPrefix(s.Text(), "started ") {
					break
				}
			}
			alive := processes(t, "lab.name=orphan")
			if len(alive) == 0 {
				t.Fatal("a running lab has no process")
			}
			if err := owner.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = owner.Wait()
			for _, pid := range alive {
				awaitEnd(t, pid)
			}
		})
	}
}

// processes are those with that word in their command lines.
func processes(t *testing.T, word string) (pids []int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		b, _ := os.ReadFile(path) // those that have just ended do not count
		if slices.ContainsFunc(strings.FieldsFunc(string(b), func(r rune) bool { return r == 0 || r == ' ' }), func(s string) bool { return s == word }) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			pids = append(pids, pid)
		}
	}
	return pids
}

func awaitEnd(t *testing.T, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(p, 20_000); n != 1 {
		t.Errorf("process %d of the lab lives on: %v", pid, err)
	}
}
