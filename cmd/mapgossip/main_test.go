package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/mapgossip/mapgossip"
	"github.com/mapgossip/mapgossip/gossip"
	"github.com/mapgossip/mapgossip/mapwatch"
)

func TestInterruptible(t *testing.T) {
	t.Run("ends by itself", func(t *testing.T) {
		if code := interruptible(nil, func(context.Context) int { return 3 }); code != 3 {
			t.Errorf("code %d, want 3", code)
		}
	})
	t.Run("first signal is waited for", func(t *testing.T) {
		signals := make(chan os.Signal, 2)
		signals <- syscall.SIGTERM
		code := interruptible(signals, func(ctx context.Context) int { <-ctx.Done(); return 0 })
		if code != exitOK {
			t.Errorf("code %d, want 0", code)
		}
	})
	t.Run("second signal is not", func(t *testing.T) {
		signals := make(chan os.Signal, 2)
		signals <- syscall.SIGTERM
		signals <- syscall.SIGINT
		end := make(chan struct{})
		defer close(end)
		code := interruptible(signals, func(context.Context) int { <-end; return 0 })
		if code != exitFailed {
			t.Errorf("code %d, want 1", code)
		}
	})
}

func TestExitCodes(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("run agent: %w", err) }
	for _, test := range []struct {
		err  error
		code int
	}{
		{nil, 0},
		{errors.New("disk on fire"), 1},
		{mapgossip.ErrStopped, 1},
		{mapwatch.ErrGone, 1},
		{usage(errors.New("flag")), 2},
		{mapgossip.ErrConfig, 2},
		{mapwatch.ErrNotFound, 2},
		{mapwatch.ErrNotMap, 2},
		{mapwatch.ErrType, 2},
		{mapwatch.ErrTarget, 2},
		{gossip.ErrAddressInUse, 2},
		{gossip.ErrDuplicateNode, 2},
		{syscall.EADDRNOTAVAIL, 2},
		{mapwatch.ErrPermission, 3},
		{mapwatch.ErrUnsupported, 3},
		{syscall.EACCES, 3}, // a port below 1024, for instance
		{errors.Join(mapwatch.ErrPermission, mapwatch.ErrNotFound), 2},
		{errors.Join(errors.New("other"), mapwatch.ErrPermission), 3},
	} {
		err := test.err
		if err != nil {
			err = wrap(wrap(err))
		}
		if code := exitCode(err); code != test.code {
			t.Errorf("exit code of %v is %d, want %d", err, code, test.code)
		}
	}
	if usage(nil) != nil {
		t.Error("usage(nil) is an error")
	}
}

func TestReportOneLineAFault(t *testing.T) {
	var stderr strings.Builder
	err := fmt.Errorf("%w: %w", mapgossip.ErrConfig, errors.Join(errors.New("one"), errors.Join(errors.New("two"), errors.New("three"))))
	if code := report(&stderr, err); code != exitUsage {
		t.Errorf("code %d, want 2", code)
	}
	if want := "mapgossip: one\nmapgossip: two\nmapgossip: three\n"; stderr.String() != want {
		t.Errorf("stderr %q, want %q", stderr.String(), want)
	}
}

func TestUnknownCommand(t *testing.T) {
	const all = "there are agent, status, members, maps, get, dump, watch, diff, scan, sync, remove, leave, keys, keygen, completion, version; 'mapgossip help' says what they do\n"
	for _, test := range []struct{ word, stderr string }{
		{"agnet", "mapgossip: unknown command \"agnet\": did you mean agent?\n"},
		{"memebrs", "mapgossip: unknown command \"memebrs\": did you mean members?\n"},
		{"stats", "mapgossip: unknown command \"stats\": did you mean status?\n"},
		{"map", "mapgossip: unknown command \"map\": did you mean maps?\n"},
		{"frobnicate", "mapgossip: unknown command \"frobnicate\": " + all},
		{"x", "mapgossip: unknown command \"x\": " + all},
		{"--map", "mapgossip: flag --map comes before any command: write mapgossip COMMAND [flags]; 'mapgossip help' lists the commands\n"},
	} {
		wantResult(t, invoke(t, nil, test.word), result{2, "", test.stderr})
	}
	wantResult(t, invoke(t, nil, "help", "agnet"), result{2, "", "mapgossip: unknown command \"agnet\": did you mean agent?\n"})
	wantResult(t, invoke(t, nil), result{2, "", helpPage("")})
}

func TestDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "ab", 2}, {"ab", "", 2}, {"same", "same", 0},
		{"jion", "join", 1}, {"maps", "map", 1}, {"stat", "status", 2}, {"abc", "xyz", 3},
	} {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("distance(%q, %q) = %d, want %d", test.a, test.b, got, test.want)
		}
	}
}
