//go:build linux

package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mapgossip/mapgossip"
)

func (f *flow) figures(entries uint64) string {
	return fmt.Sprintf("%s, CPU %s + %s µs/entry", rate(entries, f.took), each(f.writerCPU, entries), each(f.readerCPU, entries))
}

func pipeRow(b *bench) ([]line, error) {
	f, _, err := b.flows()
	if err != nil {
		return nil, err
	}
	return []line{{what: "bare pipe, distinct keys", result: f.figures(b.entries)}}, nil
}

func agentsRow(b *bench) ([]line, error) {
	p, f, err := b.flows()
	if err != nil {
		return nil, err
	}
	// count has looked at every byte of the reader's map; the writer's own:
	if n, err := f.source.count(b.entries); err != nil || n != b.entries {
		return nil, errors.Join(err, fmt.Errorf("the writer's map has %d of %d entries", n, b.entries))
	}
	var s mapgossip.Status
	if err := f.writer.call("Agent.Status", None{}, &s); err != nil {
		return nil, err
	}
	c := s.Maps[0].Counters
	share := p.took.Seconds() / f.took.Seconds()
	return []line{
		{
			what: "two agents, distinct keys", result: f.figures(b.entries), yardstick: p.figures(b.entries), ratio: ratio(p.took.Seconds(), f.took.Seconds()),
			goal: "0.5 of the pipe, none lost", met: share >= 0.5 && c.Dropped == 0,
		},
		{
			what: "  CPU of both ends", result: each(f.cpu(), b.entries) + fmt.Sprintf(" µs/entry; none lost, %d records dropped", c.Dropped),
			yardstick: each(p.cpu(), b.entries) + " µs/entry", ratio: ratio(float64(f.cpu()), float64(p.cpu())),
		},
	}, nil
}

// hotRow writes one key all the time. What the reader got is bounded by time.
func hotRow(b *bench) ([]line, error) {
	_, f, err := b.flows()
	if err != nil {
		return nil, err
	}
	var before, after mapgossip.Status
	if err := f.reader.call("Agent.Status", None{}, &before); err != nil {
		return nil, err
	}
	var took time.Duration
	bytes, writer, reader, err := f.cost(func() error {
		began := f.write("Agent.Write", b.entries, 1)
		k, v := driven(f.written-1, 1)
		end, err := f.target.awaitValue(k, v, pollTime/10, patience)
		start, writeErr := began()
		took = end - start
		return errors.Join(err, writeErr)
	})
	if err != nil {
		return nil, err
	}
	if err := f.reader.call("Agent.Status", None{}, &after); err != nil {
		return nil, err
	}
	sent := after.Maps[0].Counters.Remote - before.Maps[0].Counters.Remote
	limit := uint64(took/time.Millisecond) + 100
	return []line{{
		what:      fmt.Sprintf("one key written %d times", b.entries),
		result:    fmt.Sprintf("%s, CPU %s + %s µs; %d entries, %s", rate(b.entries, took), each(writer, b.entries), each(reader, b.entries), sent, size(bytes)),
		yardstick: fmt.Sprintf("the writes: %d, %s", b.entries, size(b.entries*entryBytes)),
		ratio:     fmt.Sprintf("%.4f", float64(bytes)/float64(b.entries*entryBytes)),
		goal:      fmt.Sprintf("newest value; <= 1 entry/ms: %d", limit),
		met:       sent <= limit,
	}}, nil
}

const (
	latencyChanges = 300
	latencyPause   = 30 * time.Millisecond // longer than an agent takes to be idle
	latencyPoll    = 20 * time.Microsecond
)

// latencies makes single changes and returns how long each took to be seen.
func (f *flow) latencies(method string, keys uint64) ([]time.Duration, error) {
	var all []time.Duration
	for range latencyChanges {
		k, v := driven(f.written, keys)
		began := f.write(method, 1, keys)
		seen, err := f.target.awaitValue(k, v, latencyPoll, patience)
		start, writeErr := began()
		if err := errors.Join(err, writeErr); err != nil {
			return nil, err
		}
		all = append(all, seen-start)
		time.Sleep(latencyPause)
	}
	slices.Sort(all)
	return all, nil
}

func latencyRow(b *bench) ([]line, error) {
	p, f, err := b.flows()
	if err != nil {
		return nil, err
	}
	bare, err := p.latencies("PipeWriter.Write", b.entries)
	if err != nil {
		return nil, err
	}
	all, err := f.latencies("Agent.Write", b.entries)
	if err != nil {
		return nil, err
	}
	p50, p99 := percentile(all, 50), percentile(all, 99)
	return []line{{
		what:      "one change on an idle pair",
		result:    fmt.Sprintf("p50 %s, p99 %s", ms(p50), ms(p99)),
		yardstick: fmt.Sprintf("p50 %s, p99 %s", ms(percentile(bare, 50)), ms(percentile(bare, 99))),
		ratio:     ratio(float64(p50), float64(percentile(bare, 50))),
		goal:      "p50 1 ms, p99 5 ms",
		met:       p50 <= time.Millisecond && p99 <= 5*time.Millisecond,
	}}, nil
}

// percentile of sorted times.
func percentile(sorted []time.Duration, p int) time.Duration {
	return sorted[min(len(sorted)*p/100, len(sorted)-1)]
}
