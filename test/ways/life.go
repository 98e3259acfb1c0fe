//go:build linux

package ways

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"time"
)

// Lives are the rows in which the map itself comes and goes.
func Lives() []Way {
	return []Way{
		{Name: lifeFreed, Title: "Map freed (unpinned and closed)", alone: true},
		{Name: lifePin, Title: "Map replaced under its pin, by an empty one", alone: true},
		{Name: lifeName, Title: "Map replaced under its name, by an empty one", alone: true},
		{Name: lifeLate, Title: "Map appears after the agent started, empty", alone: true},
	}
}

const (
	lifeFreed = "freed"
	lifePin   = "replaced, pin"
	lifeName  = "replaced, name"
	lifeLate  = "late"
)

// lives measures what becomes of maps that come and go, all at the same time.
func (r *runner) lives(ctx context.Context) (err error) {
	p := newPair(r.Folder, scanInterval, r.Log)
	defer func() { err = errors.Join(err, p.close()) }()
	for _, t := range r.types {
		for _, w := range Lives() {
			if !wanted(r.Options.Ways, w.Name) {
				continue
			}
			c, err := p.add(t, w)
			if err != nil {
				return fmt.Errorf("make a map for %s, %s: %w", t.Name, w.Name, err)
			}
			if w.Name == lifeLate {
				err = errors.Join(c.fillTheirs(), c.vanish())
			}
			if err != nil {
				return err
			}
		}
	}
	if len(p.cells) == 0 {
		return nil
	}
	err = p.start(ctx, func(c *trial) string {
		if c.Way.Name == lifeName {
			return "name:" + c.name
		}
		return c.pin
	})
	if err != nil {
		for _, c := range p.cells {
			c.unknown("%v", err)
			r.tell(c.got)
		}
		return nil
	}

	p.each(ctx, "filled on the other member", func(c *trial) (bool, error) { return c.isFilled(), nil })
	p.all(func(c *trial) error {
		if c.Way.Name == lifeLate {
			return nil
		}
		return c.vanish()
	})
	p.each(ctx, "told that the map is not there", func(c *trial) (bool, error) {
		if c.Way.Name == lifeName { // it is there, as long as the member has it
			return true, nil
		}
		s, err := p.state(c)
		return err == nil && !s.Bound && s.Error != "", c.complete()
	})
	p.all(func(c *trial) error {
		if c.Way.Name == lifeFreed {
			c.finish(Kept, "")
			return nil
		}
		return c.appear()
	})
	p.each(ctx, "filled from the cluster", func(c *trial) (bool, error) {
		held, err := c.ours()
		if maps.Equal(held, c.all) {
			c.arrived = time.Now()
			return true, nil
		}
		return false, errors.Join(err, c.complete())
	})
	p.all(func(c *trial) error { // and it is watched
		c.all[string(c.freshKey())] = string(c.value())
		return c.m.Put(c.freshKey(), c.value())
	})
	p.each(ctx, "told of a change", func(c *trial) (bool, error) { return c.isFilled(), nil })
	p.all(func(c *trial) error {
		c.finish(Filled, "")
		return nil
	})
	for _, c := range p.cells {
		r.tell(c.got)
	}
	return nil
}

// all does a step for every cell that has no outcome.
func (p *pair) all(step func(*trial) error) {
	for _, c := range p.cells {
		if !c.done {
			if err := step(c); err != nil {
				c.unknown("%v", err)
			}
		}
	}
}

// each waits until done says so of every cell that has no outcome. Those of which it
// does not, or with an error, are unknown.
func (p *pair) each(ctx context.Context, what string, done func(*trial) (bool, error)) {
	waiting := make(map[*trial]bool)
	for _, c := range p.cells {
		waiting[c] = !c.done
	}
	err := p.until(ctx, what, func() (bool, string) {
		left := 0
		for _, c := range p.cells {
			if !waiting[c] {
				continue
			}
			ok, err := done(c)
			if err != nil {
				c.unknown("not %s: %v", what, err)
			}
			waiting[c] = !ok && err == nil
			if waiting[c] {
				left++
			}
		}
		return left == 0, fmt.Sprintf("%d maps", left)
	})
	for _, c := range p.cells {
		if waiting[c] {
			s, _ := p.state(c)
			c.unknown("not %s: %v; the map's error is %q", what, err, s.Error)
		}
	}
}

// fillTheirs gives the other member's map what fill gave to m.
func (c *trial) fillTheirs() error {
	for key, v := range c.all {
		if err := c.theirs.Write([]byte(key), []byte(v), 0); err != nil {
			return fmt.Errorf("fill the map in memory: %w", err)
		}
	}
	return nil
}

// vanish takes the map away: of ours, only the member has it now.
func (c *trial) vanish() error { return errors.Join(os.Remove(c.pin), c.m.Close()) }

// appear makes an empty map in its place.
func (c *trial) appear() (err error) {
	if c.m, err = c.Type.create(c.name); err != nil {
		return err
	}
	c.began = time.Now()
	return c.m.Pin(c.pin)
}

// complete is an error if the other member lost anything.
func (c *trial) complete() error {
	if held := c.others(); !maps.Equal(held, c.all) {
		return fmt.Errorf("the other member has %d of %d elements: it took the end of the map for deletes", len(held), len(c.all))
	}
	return nil
}
