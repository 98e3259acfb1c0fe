//go:build linux

package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mapgossip/mapgossip"
)

// exchanges is how many comparisons are measured together: one is too short.
const exchanges = 50

// exchangeRow lets two agents that are in sync compare their maps.
func exchangeRow(b *bench) ([]line, error) {
	_, f, err := b.flows()
	if err != nil {
		return nil, err
	}
	if err := f.awaitSync(); err != nil {
		return nil, err
	}
	bytes, writer, reader, err := f.cost(func() error {
		for range exchanges {
			if err := f.reader.call("Agent.Sync", None{}, new(time.Duration)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	bytes, cpu := bytes/exchanges, (writer+reader)/exchanges
	return []line{{
		what:      "two in sync: an exchange",
		result:    fmt.Sprintf("%s both ways, CPU %s of both", size(bytes), ms(cpu)),
		yardstick: "the map: " + size(b.entries*entryBytes),
		goal:      "<= 16 KiB, <= 5 ms CPU",
		met:       bytes <= 16<<10 && cpu <= 5*time.Millisecond,
	}}, nil
}

// joiner is a third agent with an empty map.
type joiner struct {
	*process
	target *kernelMap
}

func newJoiner(entries uint64) (*joiner, error) {
	target, err := newKernelMap(entries)
	if err != nil {
		return nil, err
	}
	p, err := startProcess()
	if err != nil {
		return nil, errors.Join(err, target.close())
	}
	return &joiner{p, target}, nil
}

func (j *joiner) join(address string) error {
	args := AgentArgs{Node: "joiner", Target: j.target.target(), Join: address, ScanInterval: rarely}
	return j.call("Agent.Start", args, new(string))
}

func (j *joiner) close() error { return errors.Join(j.process.close(), j.target.close()) }

// joinRow starts a third agent with an empty map.
func joinRow(b *bench) (_ []line, err error) {
	p, f, err := b.flows()
	if err != nil {
		return nil, err
	}
	joiner, err := newJoiner(b.entries)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, joiner.close()) }()

	bytes0, err := loopbackBytes()
	if err != nil {
		return nil, err
	}
	start := now()
	if err := joiner.join(f.address); err != nil {
		return nil, err
	}
	s, end, err := awaitEntries(joiner.process, b.entries)
	if err != nil {
		return nil, err
	}
	// Other rows wrote newer values for some keys: the values are those of the writer.
	var w mapgossip.Status
	if err := f.writer.call("Agent.Status", None{}, &w); err != nil {
		return nil, err
	}
	if ours, theirs := s.Maps[0].Digest, w.Maps[0].Digest; ours != theirs {
		return nil, fmt.Errorf("the joiner has digest %s, the writer %s", ours, theirs)
	}
	if n, err := joiner.target.elements(); err != nil || n != b.entries {
		return nil, errors.Join(err, fmt.Errorf("the joiner's map has %d of %d elements", n, b.entries))
	}
	bytes1, err := loopbackBytes()
	if err != nil {
		return nil, err
	}
	u, err := joiner.usage()
	if err != nil {
		return nil, err
	}
	took, bytes := end-start, bytes1-bytes0
	least := b.entries * (entryBytes + versionBytes)
	times := took.Seconds() / p.took.Seconds()
	share := float64(bytes) / float64(least)
	return []line{
		{
			what:      "an empty member joins",
			result:    fmt.Sprintf("%.2f s, self-test of the start included", took.Seconds()),
			yardstick: fmt.Sprintf("the bare pipe: %.2f s", p.took.Seconds()),
			ratio:     fmt.Sprintf("%.2f", times),
			goal:      "<= 4 times the pipe's time",
			met:       times <= 4,
		},
		{
			what:      "  bytes",
			result:    fmt.Sprintf("%s, %d entries; CPU of the joiner %s µs/entry", size(bytes), s.Network.EntriesIn, each(u.CPU, b.entries)),
			yardstick: "keys, values, versions: " + size(least),
			ratio:     fmt.Sprintf("%.2f", share),
			goal:      "<= 1.3",
			met:       share <= 1.3,
		},
	}, nil
}

// awaitEntries returns when an agent says that its kernel map has that many.
func awaitEntries(p *process, entries uint64) (s mapgossip.Status, at time.Duration, err error) {
	for began := now(); ; time.Sleep(pollTime) {
		s = mapgossip.Status{}
		if err := p.call("Agent.Status", None{}, &s); err != nil {
			return s, 0, err
		}
		at := now()
		if m := s.Maps[0]; uint64(m.Entries) == entries && m.PendingApply == 0 {
			return s, at, nil
		}
		if at-began > patience {
			return s, at, fmt.Errorf("the joiner has %d of %d entries after %v, %d of them not in its kernel map", s.Maps[0].Entries, entries, patience, s.Maps[0].PendingApply)
		}
	}
}

// loadRow starts a third agent with an empty map while the first one's map is
// written as fast as can be.
func loadRow(b *bench) (_ []line, err error) {
	_, f, err := b.flows()
	if err != nil {
		return nil, err
	}
	joiner, err := newJoiner(b.entries)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, joiner.close()) }()

	began := f.write("Agent.Write", b.entries, b.entries)
	if err := joiner.join(f.address); err != nil {
		return nil, err
	}
	start, err := began()
	if err != nil {
		return nil, err
	}
	written := now()
	three := []*process{f.writer, f.reader, joiner.process}
	end, err := awaitEqual(three...)
	if err != nil {
		return nil, err
	}
	if n, err := joiner.target.elements(); err != nil || n != b.entries {
		return nil, errors.Join(err, fmt.Errorf("the joiner's map has %d of %d elements", n, b.entries))
	}
	most := int64(0)
	for _, p := range three {
		u, err := p.usage()
		if err != nil {
			return nil, err
		}
		most = max(most, u.Resident)
	}
	return []line{{
		what:      "a member joins under load",
		result:    fmt.Sprintf("three equal %.2f s after the last of %d writes in %.2f s; %s resident at most", (end - written).Seconds(), b.entries, (written - start).Seconds(), size(uint64(most))),
		yardstick: "the map: " + size(b.entries*entryBytes),
		goal:      "nothing lost",
		met:       true, // else there was an error
	}}, nil
}

// awaitEqual returns when all agents have one digest and nothing left to apply.
func awaitEqual(agents ...*process) (time.Duration, error) {
	var digests []string
	for began := now(); ; time.Sleep(pollTime) {
		digests = digests[:0]
		pending := 0
		for _, p := range agents {
			var s mapgossip.Status
			if err := p.call("Agent.Status", None{}, &s); err != nil {
				return 0, err
			}
			digests = append(digests, s.Maps[0].Digest)
			pending += s.Maps[0].PendingApply
		}
		at := now()
		if len(slices.Compact(slices.Clone(digests))) == 1 && pending == 0 {
			return at, nil
		}
		if at-began > patience {
			return at, fmt.Errorf("after %v the agents have digests %v and %d entries to apply", patience, digests, pending)
		}
	}
}
