package main

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/signal"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
)

const (
	churnTick   = 5 * time.Millisecond
	churnTold   = 5 * time.Second
	churnBehind = 200 * time.Millisecond // a writer that is later than that does not catch up

	sharedShare = 4 // of so many writes one goes to a key that others write too
	deleteShare = 8 // of so many writes one is a delete
	toldFaults  = 10
)

// churnReport is what a churn prints, as JSON, when it ends.
type churnReport struct {
	Writes  int               `json:"writes"`  // acknowledged, deletes included
	Deletes int               `json:"deletes"` // of these, deletes that found something
	Seconds float64           `json:"seconds"`
	Last    map[string]string `json:"last"`   // hex key to hex value, empty after a delete: the last acknowledged write
	Faults  int               `json:"faults"` // own keys that were not as this churn had left them
	Told    []string          `json:"told"`   // the first of these
}

// churn writes at a rate, in writes a second, until it is told to end by
// SIGTERM: to keys that no other writer has and to keys that all share. No
// value is written twice: it is the writer's number and a count. Each key has
// an index, then the writer whose own it is (0: shared), 4 bytes each.
//
// The kernel checks each write of an own key, because it is asked for an update
// of what must exist, or for an insert of what must not.
type churn struct {
	m      *ebpf.Map
	writer uint32
	keys   int // of its own
	shared int
	random *rand.Rand
	report churnReport
	start  time.Time
}

func runChurn(out, progress io.Writer, m *ebpf.Map, writer, keys, shared, rate int) error {
	if m.KeySize() != 8 || m.ValueSize() != 16 {
		return fmt.Errorf("churn: want keys of 8 and values of 16 bytes, have %d and %d", m.KeySize(), m.ValueSize())
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	c := &churn{
		m: m, writer: uint32(writer), keys: keys, shared: shared, start: time.Now(),
		random: rand.New(rand.NewPCG(uint64(writer), 0)),
		report: churnReport{Last: make(map[string]string)},
	}
	tick := time.NewTicker(churnTick)
	defer tick.Stop()
	due, last, told := 0.0, c.start, c.start
	for ctx.Err() == nil {
		now := time.Now()
		due = min(due+now.Sub(last).Seconds(), churnBehind.Seconds())
		last = now
		for ; due > 0 && ctx.Err() == nil; due -= 1 / float64(rate) {
			if err := c.write(); err != nil {
				return fmt.Errorf("write %d: %w", c.report.Writes, err)
			}
		}
		if now.Sub(told) >= churnTold {
			fmt.Fprintf(progress, "%d writes in %v\n", c.report.Writes, now.Sub(c.start).Round(time.Second))
			told = now
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	c.report.Seconds = time.Since(c.start).Seconds()
	return json.NewEncoder(out).Encode(c.report)
}

func (c *churn) write() error {
	owner, index := c.writer, c.random.IntN(c.keys)
	if c.random.IntN(sharedShare) == 0 {
		owner, index = 0, c.random.IntN(c.shared)
	}
	key := binary.LittleEndian.AppendUint32(nil, uint32(index))
	key = binary.LittleEndian.AppendUint32(key, owner)
	value := binary.LittleEndian.AppendUint64(nil, uint64(c.writer))
	value = binary.LittleEndian.AppendUint64(value, uint64(c.report.Writes+1))
	name, content := hex.EncodeToString(key), ""
	left := c.report.Last[name] != "" // an own key is there
	var err error
	if c.random.IntN(deleteShare) == 0 {
		if err = c.m.Delete(key); errors.Is(err, ebpf.ErrKeyNotExist) {
			if owner != 0 && left {
				c.fault(name, "is gone")
				c.report.Last[name] = ""
			}
			return nil // it changed nothing
		}
		if err == nil && owner != 0 && !left {
			c.fault(name, "was there again")
		}
		c.report.Deletes++
	} else {
		content = hex.EncodeToString(value)
		flags := ebpf.UpdateAny
		switch {
		case owner == 0:
		case left:
			flags = ebpf.UpdateExist
		default:
			flags = ebpf.UpdateNoExist
		}
		err = c.m.Update(key, value, flags)
		if owner != 0 && (errors.Is(err, ebpf.ErrKeyExist) || errors.Is(err, ebpf.ErrKeyNotExist)) {
			c.fault(name, err.Error())
			err = c.m.Put(key, value)
		}
	}
	if err != nil {
		return err
	}
	c.report.Writes++
	c.report.Last[name] = content
	return nil
}

// fault notes that an own key is not as this churn left it.
func (c *churn) fault(key, what string) {
	c.report.Faults++
	if len(c.report.Told) < toldFaults {
		c.report.Told = append(c.report.Told, fmt.Sprintf("%v after the start key %s, left as %q: %s", time.Since(c.start).Round(time.Millisecond), key, c.report.Last[key], what))
	}
}

// dump prints all elements as JSON, hex key to hex value.
func dump(out io.Writer, m *ebpf.Map) error {
	elements := make(map[string]string)
	var key, value []byte
	it := m.Iterate()
	for it.Next(&key, &value) {
		elements[hex.EncodeToString(key)] = hex.EncodeToString(value)
	}
	if err := it.Err(); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(elements)
}
