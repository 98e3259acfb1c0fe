package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/mapgossip/mapgossip"
)

// runDump prints all entries of a map as they come, in bounded memory.
func runDump(ctx context.Context, args []string, env environment, stdout, stderr io.Writer) error {
	s := settingsOf("dump")
	if err := s.parse(args, env); err != nil {
		return err
	}
	at, format, err := s.asked()
	if err != nil {
		return err
	}
	name, path := s.Arg(0), mapPath(s.Arg(0), "entries")
	total, tombstones := int64(0), s.text("tombstones") == "true"
	if tombstones {
		path += "?tombstones=1"
	}
	shows := onTerminal(stderr) && !onTerminal(stdout) // rows on a terminal are progress enough
	if shows {
		if total, err = entriesOf(ctx, at, name, tombstones); err != nil {
			return err
		}
	}
	rows, err := follow(ctx, at, path, rowStall)
	if err != nil {
		return err
	}
	defer rows.Close()
	var done atomic.Int64
	defer progress(stderr, shows, func(time.Duration) string { return share(done.Load(), total, "entries") })()
	out := bufio.NewWriterSize(stdout, feedBuffer)
	print, end := copyLine(out), func() error { return nil }
	if format == "table" {
		p := paletteFor(stdout, env)
		t := columns{w: out, hold: columnsHeld}
		end = t.flush
		_ = t.row(p.heading("KEY", "WRITTEN", "ON", "STATE", "VALUE")...) // is held
		print = func(line []byte) error {
			var e mapgossip.Entry
			if err := decode(line, &e); err != nil {
				return misread(at, err)
			}
			return t.row(shownKey(e), e.Time.UTC().Format(rowTime), e.Node, hasWord(e, p), abridged(shownValue(e)))
		}
	}
	err = eachLine(rows, func(line []byte) error {
		done.Add(1)
		return print(line)
	})
	return errors.Join(err, end(), out.Flush()) // what came before a fault is shown
}

// eachLine calls fn with every line of a feed; it is valid during the call.
func eachLine(rows *feed, fn func([]byte) error) error {
	for {
		line, err := rows.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = fn(line)
		}
		if err != nil {
			return err
		}
	}
}

// copyLine is for JSON, which is what the agent answers, byte for byte.
func copyLine(w io.Writer) func([]byte) error {
	return func(line []byte) error {
		_, err := w.Write(append(line, '\n'))
		return err
	}
}

// entriesOf is how many lines a dump will have, about.
func entriesOf(ctx context.Context, at endpoint, name string, tombstones bool) (int64, error) {
	r, err := ask(ctx, at, mapPath(name))
	if err != nil {
		return 0, err
	}
	var m mapgossip.MapStatus
	if err := decode(r.body, &m); err != nil {
		return 0, misread(at, err)
	}
	if tombstones {
		return int64(m.Entries + m.Tombstones), nil
	}
	return int64(m.Entries), nil
}
