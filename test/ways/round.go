//go:build linux

package ways

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/mapgossip/mapgossip"
	"github.com/mapgossip/mapgossip/mapwatch"
)

const (
	// soon is how long a way is waited for before the next one is done; it goes
	// on being looked for.
	soon = 150 * time.Millisecond
	// ripe is how long after an arrival it is judged: a scan of all maps that brought
	// it has ended by then.
	ripe = 1500 * time.Millisecond
	// settled is how long after the last way all that was captured is surely there:
	// a scan that a record asks for begins within a second.
	settled = 4 * time.Second
	// scanInterval of the second round, and by how much its finds may exceed it: a
	// second until a scan that is due begins, and what emulation costs.
	scanInterval = time.Second
	scanSlack    = 9 * time.Second

	attempts = baseKeys
	rarely   = time.Hour
)

// round measures cells on a new pair of members. It returns those of which
// nothing arrived.
func (r *runner) round(ctx context.Context, places []place, interval time.Duration) (left []place, err error) {
	if len(places) == 0 {
		return nil, nil
	}
	began := time.Now()
	p := newPair(r.Folder, interval, r.Log)
	defer func() {
		r.Log.Info("ways are done", "scan_interval", interval, "after", time.Since(began))
		err = errors.Join(err, p.close())
		r.Log.Info("members ended", "after", time.Since(began))
	}()
	for _, place := range places {
		if _, err := p.add(place.Type, place.Way); err != nil {
			return nil, fmt.Errorf("make a map for %s, %s: %w", place.Type.Name, place.Way.Name, err)
		}
	}
	sentinel, err := p.add(Types()[0], Way{Name: "sentinel", do: (*trial).update, alone: true})
	if err != nil {
		return nil, err
	}
	if p.control, err = p.add(Types()[0], Way{Name: "control", alone: true}); err != nil {
		return nil, err
	}
	if err := p.start(ctx, nil); err != nil {
		return nil, err
	}
	if err := p.untilEqual(ctx); err != nil {
		return nil, err
	}
	r.Log.Info("members are equal", "maps", len(p.maps), "after", time.Since(began))
	cells := p.cells[:len(places)]
	for again := cells; len(again) > 0; again = tainted(cells) {
		for _, c := range again {
			p.perform(ctx, c)
			p.watch(ctx, cells, soon, c)
		}
		if err := p.rest(ctx, cells, sentinel); err != nil {
			return nil, err
		}
	}
	for i, c := range cells {
		if c.done && c.got.Outcome == Refused && !c.Way.apart {
			// What was written before it was refused waits for a scan, maybe.
			if held, err := c.ours(); err != nil || !maps.Equal(held, c.others()) {
				c.done = false
			}
		}
		if !c.done && interval != rarely {
			c.giveUp()
		}
		if c.done {
			r.tell(c.got)
		} else {
			left = append(left, places[i])
		}
	}
	return left, nil
}

// giveUp says what is wrong with a cell of which nothing arrived.
func (c *trial) giveUp() {
	s, err := c.pair.state(c)
	switch {
	case err != nil:
		c.unknown("%v", err)
	case c.got.Outcome == Refused:
		c.unknown("it was refused (%s), but the maps differ", c.got.Reason)
	case s.Evicted > 0 && len(c.had) > len(c.want) && maps.Equal(c.others(), c.had):
		c.finish(Evicted, "")
	default:
		held := c.others()
		c.unknown("not found by scan either: the map has %d elements, the other member's %d of %d, %d are evicted; error %q", len(c.want), len(held), len(c.had), s.Evicted, s.Error)
	}
}

// rest waits until all that was captured must have arrived.
func (p *pair) rest(ctx context.Context, cells []*trial, sentinel *trial) error {
	// Captured changes come in order: what came before this one is there when it is.
	p.perform(ctx, sentinel)
	before, err := p.state(sentinel)
	if err != nil {
		return err
	}
	if before.Capture != string(mapwatch.ModeScan) {
		p.watch(ctx, append(slices.Clone(cells), sentinel), pairPatience, sentinel)
		if sentinel.arrived.IsZero() {
			return errors.New("the last change was not captured")
		}
		sentinel.again()
	}
	p.watch(ctx, cells, settled+p.interval%rarely, nil)
	for _, c := range cells {
		if !c.arrived.IsZero() {
			p.judge(c)
		}
	}
	return nil
}

// tainted are the cells to do again: what arrived may have come with a scan of
// all maps, which their ways did not ask for.
func tainted(cells []*trial) (again []*trial) {
	for _, c := range cells {
		if c.tainted && c.attempt+1 < attempts {
			again = append(again, c)
		} else if c.tainted {
			c.tainted = false
			c.unknown("all maps were scanned each time that it was tried")
		}
	}
	return again
}

// perform does the way of a cell, for the first time or again.
func (p *pair) perform(ctx context.Context, c *trial) {
	if c.tainted {
		c.again()
		if c.Way.drains {
			if err := errors.Join(c.fill(), p.until(ctx, "filled again", func() (bool, string) { return c.isFilled(), "" })); err != nil {
				c.unknown("%v", err)
				return
			}
		}
	}
	var err error
	c.had, err = c.ours()
	ours, control, err2 := p.look(c)
	if err := errors.Join(err, err2); err != nil {
		c.unknown("%v", err)
		return
	}
	c.before, c.control = ours.Counters.Scans, control.Counters.Scans
	if err := c.Way.do(c); err != nil {
		c.finish(refuse(c.Type.Name, c.Way.Name, err))
		return
	}
	c.began = time.Now()
	if c.want, err = c.ours(); err != nil {
		c.unknown("%v", err)
		return
	}
	if maps.Equal(c.want, c.had) {
		c.unknown("the kernel allowed it, and nothing changed")
		return
	}
	if !c.Way.keeps {
		return
	}
	if ours.Capture == string(mapwatch.ModeScan) { // it never saw those that came and went
		c.all = maps.Clone(c.want)
		maps.Copy(c.all, c.had)
	}
	c.lost = len(c.all) - len(c.want)
	c.want = c.all
}

// watch looks for what arrives, for so long, or until all of it is there, or
// until has come.
func (p *pair) watch(ctx context.Context, cells []*trial, long time.Duration, until *trial) {
	for begin := time.Now(); ctx.Err() == nil; time.Sleep(pause) {
		waits := false
		for _, c := range cells {
			switch {
			case c.done || c.want == nil:
			case c.arrived.IsZero():
				if c.hasArrived() {
					c.arrived = time.Now()
				} else {
					waits = waits || until == nil || until == c
				}
			case time.Since(c.arrived) > ripe:
				p.judge(c)
			}
		}
		if !waits || time.Since(begin) > long {
			return
		}
	}
}

// judge says how what has arrived was found.
func (p *pair) judge(c *trial) {
	if c.done || c.tainted {
		return
	}
	ours, control, err := p.look(c)
	switch {
	case err != nil:
		c.unknown("%v", err)
	case p.interval != rarely: // the second round: no hook told of it in the first one
		if took := c.arrived.Sub(c.began); took > p.interval+scanSlack {
			c.unknown("found by scan, but only after %v with a scan each %v", took, p.interval)
			return
		}
		c.finish(Scanned, "")
		c.got.WithinS = int(mapgossip.DefaultScanInterval / time.Second)
		if ours.Capture == string(mapwatch.ModeScan) {
			c.got.WithinS = 1
		}
	case ours.Counters.Scans == c.before:
		c.finish(Captured, "")
	case control.Counters.Scans == c.control:
		c.finish(Triggered, "")
	default:
		c.tainted = true
	}
}

// look returns the state of the cell's map, and of the one that nothing is done to.
func (p *pair) look(c *trial) (ours, control mapgossip.MapStatus, err error) {
	all, err := p.ours.node.Maps(context.Background())
	if err != nil {
		return ours, control, err
	}
	return all[slices.Index(p.maps, c.owner)], all[slices.Index(p.maps, p.control)], nil
}
