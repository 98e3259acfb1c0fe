package main

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"time"

	"github.com/mapgossip/mapgossip"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// comparison remembers of a map what it takes to find changes: every key, and of
// the values, which may be long, a hash.
type comparison struct {
	seed  maphash.Seed
	keys  map[string]seen
	round uint64 // of reading the map
	whole bool   // it was read to its end once: what is new since then is a change
}

type seen struct {
	value uint64 // hash
	round uint64 // the last one in which the key was there
}

// compareUntil prints what differs from the last time that the map was read.
func (h *hostWatch) compareUntil(ctx context.Context) error {
	c := &comparison{seed: maphash.MakeSeed(), keys: make(map[string]seen)}
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
		if err := h.current(); err != nil {
			return err
		}
		switch err := h.compare(ctx, c); {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, mapwatch.ErrBusy): // the next one finds what there is
		case err != nil:
			return fmt.Errorf("compare map %s: %w", h.m.Shape().Target, err)
		}
		pause.Reset(hostLook)
	}
}

func (h *hostWatch) compare(ctx context.Context, c *comparison) error {
	shape, found := h.m.Shape(), mapgossip.Change{}
	found.Time = time.Now().UTC()
	c.round++
	err := h.m.Scan(ctx, func(keys, values []byte, n int) error {
		for i := range n {
			key, value := keys[i*shape.KeyBytes:(i+1)*shape.KeyBytes], values[i*shape.ValueBytes:(i+1)*shape.ValueBytes]
			was, known := c.keys[string(key)]
			is := seen{maphash.Bytes(c.seed, value), c.round}
			c.keys[string(key)] = is
			if !c.whole || known && was.value == is.value {
				continue
			}
			if err := h.tell(found, key, value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.whole = true
	found.Deleted = true
	for key, was := range c.keys {
		if was.round == c.round {
			continue
		}
		delete(c.keys, key)
		if err := h.tell(found, []byte(key), nil); err != nil {
			return err
		}
	}
	return nil
}
