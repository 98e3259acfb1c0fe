package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// terminal returns a file that is a terminal, and what shows on it.
func terminal(t *testing.T) (tty *os.File, shown func() string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close(); master.Close() })
	return tty, func() string {
		const end = "the end"
		fmt.Fprint(tty, end)
		var all []byte
		for part := make([]byte, 4096); !bytes.HasSuffix(all, []byte(end)); {
			n, err := master.Read(part)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, part[:n]...)
		}
		return strings.ReplaceAll(strings.TrimSuffix(string(all), end), "\r\n", "\n")
	}
}

// TestColours: on a terminal only, unless it is not wanted, and the table stands
// as it does without.
func TestColours(t *testing.T) {
	at := agentAt(t, newMux(fakeNode{status: fixture()}, nil))
	plain := invoke(t, nil, "status", "--http", at).stdout
	for env, want := range map[string]bool{"": true, "NO_COLOR=1": false, "TERM=dumb": false} {
		tty, shown := terminal(t)
		ended := make(chan int, 1)
		go func() { ended <- run(t.Context(), []string{"status", "--http", at}, []string{env}, tty, os.Stderr) }()
		if code := <-ended; code != 0 {
			t.Errorf("code %d", code)
		}
		text := shown()
		if strings.Contains(text, "\x1b[31m") != want {
			t.Errorf("%q: colours %v, want %v:\n%s", env, !want, want, text)
		}
		for _, code := range []string{"0", "1", "2", "31", "32", "33"} {
			text = strings.ReplaceAll(text, "\x1b["+code+"m", "")
		}
		if text != plain {
			t.Errorf("%q: without colours:\n%s\nwant:\n%s", env, text, plain)
		}
	}
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var shown bytes.Buffer
		stop := progress(&shown, true, elapsed("short"))
		time.Sleep(progressAfter - 1)
		stop()
		stop = progress(&shown, false, elapsed("no terminal"))
		time.Sleep(time.Hour)
		stop()
		if shown.Len() > 0 {
			t.Errorf("%q, want nothing", &shown)
		}
		stop = progress(&shown, true, elapsed("scanning flows"))
		time.Sleep(progressAfter + progressEvery + 1)
		stop()
		stop()
		if want := eraseLine + "scanning flows, 1s" + eraseLine + "scanning flows, 1s" + eraseLine; shown.String() != want {
			t.Errorf("%q, want %q", &shown, want)
		}
	})
	for want, got := range map[string]string{"5 of 20 entries (25%)": share(5, 20, "entries"), "21 entries": share(21, 20, "entries"), "3 entries": share(3, 0, "entries")} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestColumns: many rows, few of them held; a wide cell moves what comes after it.
func TestColumns(t *testing.T) {
	var out bytes.Buffer
	c := columns{w: &out, hold: 2}
	for _, row := range [][]string{{"A", "B", "C"}, {"wide", "x", ""}, {"a", palette(true).bad("red"), "c"}, {"much wider", "y", "c"}, {"a", "y", "c"}} {
		if err := c.row(row...); err != nil {
			t.Fatal(err)
		}
		if len(c.held) > 2 {
			t.Errorf("%d rows are held", len(c.held))
		}
	}
	want := "A     B    C\nwide  x\na     \x1b[31mred\x1b[0m  c\nmuch wider  y    c\na           y    c\n"
	if out.String() != want {
		t.Errorf("%q\nwant %q", out.String(), want)
	}
	if got := abridged(strings.Repeat("é", widestValue+1)); visible(got) != widestValue || !strings.HasSuffix(got, "é…") {
		t.Errorf("abridged to %q", got)
	}
}
