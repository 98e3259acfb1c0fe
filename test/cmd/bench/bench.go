//go:build linux

package main

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/mapgossip/mapgossip"
)

const (
	// rarely is an interval that does not end during a run.
	rarely = time.Hour
	// patience is for what takes seconds.
	patience = 60 * time.Second
	pollTime = 10 * time.Millisecond
	// flowRounds is how often the bare pipe and the agents take turns.
	flowRounds = 3
)

// bench is what rows hand to later rows.
type bench struct {
	options
	pipe   *flow
	agents *flow
}

// flow is a pair of processes through which all entries went.
type flow struct {
	pair
	source, target *kernelMap
	address        string // of the writing agent
	took           time.Duration
	writerCPU      time.Duration
	readerCPU      time.Duration
	written        uint64
}

func (f *flow) cpu() time.Duration { return f.writerCPU + f.readerCPU }

func (f *flow) close() error {
	if f == nil {
		return nil
	}
	return errors.Join(f.pair.close(), f.source.close(), f.target.close())
}

func (b *bench) close() error { return errors.Join(b.pipe.close(), b.agents.close()) }

// newFlow starts two processes and their maps.
func newFlow(entries uint64) (*flow, error) {
	p, err := startPair()
	if err != nil {
		return nil, err
	}
	f := &flow{pair: p}
	if f.source, err = newKernelMap(entries); err == nil {
		f.target, err = newKernelMap(entries)
	}
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

// write makes the writer write and returns at once; began has when that was.
func (f *flow) write(method string, n, keys uint64) (began func() (time.Duration, error)) {
	var at time.Duration
	call := f.writer.client.Go(method, Writes{n, keys}, &at, nil)
	f.written += n
	return func() (time.Duration, error) {
		<-call.Done
		return at, call.Error
	}
}

// run sends all entries from map to map and measures it.
func (f *flow) run(method string, entries uint64) error {
	w0, r0, err := f.pair.cpu()
	if err != nil {
		return err
	}
	began := f.write(method, entries, entries)
	end, err := f.target.awaitAll(entries, patience)
	start, writeErr := began()
	if err := errors.Join(err, writeErr); err != nil {
		return err
	}
	w1, r1, err := f.pair.cpu()
	if err != nil {
		return err
	}
	f.took, f.writerCPU, f.readerCPU = end-start, w1-w0, r1-r0
	return nil
}

// flows measures the yardstick and two agents, flowRounds times in turn, because
// machines are noisy, and keeps the median of each; later rows ask for them again.
func (b *bench) flows() (pipe, agents *flow, err error) {
	if b.agents != nil {
		return b.pipe, b.agents, nil
	}
	var pipes, pairs []*flow
	for range flowRounds {
		if pipe, err = b.barePipe(); err == nil {
			pipes = append(pipes, pipe)
			if agents, err = b.twoAgents(); err == nil {
				pairs = append(pairs, agents)
			}
		}
		if err != nil {
			break
		}
	}
	if err == nil {
		b.pipe, pipes = median(pipes)
		b.agents, pairs = median(pairs)
	}
	for _, f := range append(pipes, pairs...) {
		err = errors.Join(err, f.close())
	}
	return b.pipe, b.agents, err
}

// median returns the flow of the median time, and the others.
func median(flows []*flow) (*flow, []*flow) {
	slices.SortFunc(flows, func(a, b *flow) int { return cmp.Compare(a.took, b.took) })
	middle := len(flows) / 2
	return flows[middle], slices.Delete(slices.Clone(flows), middle, middle+1)
}

// cost is what fn costs: the bytes on loopback and the CPU of both processes.
func (f *flow) cost(fn func() error) (bytes uint64, writer, reader time.Duration, err error) {
	bytes0, err := loopbackBytes()
	if err != nil {
		return 0, 0, 0, err
	}
	w0, r0, err := f.pair.cpu()
	if err != nil {
		return 0, 0, 0, err
	}
	if err := fn(); err != nil {
		return 0, 0, 0, err
	}
	w1, r1, err := f.pair.cpu()
	if err != nil {
		return 0, 0, 0, err
	}
	bytes1, err := loopbackBytes()
	return bytes1 - bytes0, w1 - w0, r1 - r0, err
}

// barePipe measures the yardstick.
func (b *bench) barePipe() (*flow, error) {
	f, err := newFlow(b.entries)
	if err != nil {
		return nil, err
	}
	var address string
	err = f.reader.call("PipeReader.Start", f.target.id, &address)
	if err == nil {
		err = f.writer.call("PipeWriter.Start", PipeWriterArgs{f.source.target(), address}, &None{})
	}
	if err == nil {
		err = f.run("PipeWriter.Write", b.entries)
	}
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

// twoAgents measures what the project is for, and leaves two agents that have
// the same entries.
func (b *bench) twoAgents() (*flow, error) {
	f, err := newFlow(b.entries)
	if err != nil {
		return nil, err
	}
	err = f.writer.call("Agent.Start", AgentArgs{Node: "writer", Target: f.source.target(), Driven: true, ScanInterval: rarely}, &f.address)
	if err == nil {
		err = f.reader.call("Agent.Start", AgentArgs{Node: "reader", Target: f.target.target(), Join: f.address, ScanInterval: rarely}, new(string))
	}
	if err == nil {
		err = f.awaitSync()
	}
	if err == nil {
		err = b.profiled(f, func() error { return f.run("Agent.Write", b.entries) })
	}
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

// profiled runs fn and writes profiles of both processes, if they are wanted.
func (b *bench) profiled(f *flow, fn func() error) error {
	if b.profiles == "" {
		return fn()
	}
	folder, err := filepath.Abs(b.profiles)
	if err != nil {
		return err
	}
	for p, name := range map[*process]string{f.writer: "writer.prof", f.reader: "reader.prof"} {
		if err := p.call("Process.StartProfile", filepath.Join(folder, name), &None{}); err != nil {
			return err
		}
	}
	err = fn()
	return errors.Join(err, f.writer.call("Process.StopProfile", None{}, &None{}), f.reader.call("Process.StopProfile", None{}, &None{}))
}

// awaitSync returns when both agents say that they are in sync.
func (f *flow) awaitSync() error {
	var status [2]mapgossip.Status
	for began := time.Now(); time.Since(began) < patience; time.Sleep(pollTime) {
		for i, p := range []*process{f.writer, f.reader} {
			status[i] = mapgossip.Status{}
			if err := p.call("Agent.Status", None{}, &status[i]); err != nil {
				return err
			}
		}
		if len(status[0].Members) == 2 && status[0].InSync && status[1].InSync {
			return nil
		}
	}
	return fmt.Errorf("the two agents are not in sync after %v: writer not ready: %q, reader not ready: %q", patience, status[0].NotReady, status[1].NotReady)
}
