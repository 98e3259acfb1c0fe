//go:build linux

package ways

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mapgossip/mapgossip"
	"github.com/mapgossip/mapgossip/mapwatch/fake"
)

const (
	// pairPatience bounds the wait for what must happen; emulation is slow.
	pairPatience = 2 * time.Minute
	pause        = 5 * time.Millisecond   // between looks
	longPause    = 250 * time.Millisecond // between looks at all that the members say, which costs them much
)

// pair is two members: ours on this kernel, theirs in memory.
type pair struct {
	folder   string        // for pins
	interval time.Duration // of scans on our side
	log      *slog.Logger
	cells    []*trial
	maps     []*trial // of cells, those that own a map
	control  *trial   // nothing is done to it: it is scanned when all maps are

	memory       *fake.Kernel
	ours, theirs *member
}

func newPair(folder string, interval time.Duration, log *slog.Logger) *pair {
	return &pair{folder: folder, interval: interval, log: log, memory: fake.NewKernel(nil)}
}

// add gives a cell a map, on both sides, or a part of one; ours has baseKeys elements of it.
func (p *pair) add(t Type, w Way) (*trial, error) {
	c := &trial{Type: t, Way: w, pair: p}
	for _, other := range p.cells {
		if !w.alone && !other.Way.alone && other.Type.Name == t.Name {
			c.name, c.pin, c.m, c.theirs, c.owner = other.name, other.pin, other.m, other.theirs, other.owner
			c.block = max(c.block, other.block+blockKeys)
		}
	}
	if c.owner == nil {
		if err := c.own(fmt.Sprintf("way%d", len(p.maps))); err != nil {
			return nil, err
		}
		p.maps = append(p.maps, c)
	}
	p.cells = append(p.cells, c)
	return c, c.fill()
}

// start starts both members. target is of the map on our side; nil: its pin.
func (p *pair) start(ctx context.Context, target func(*trial) string) error {
	config := mapgossip.DefaultConfig()
	config.Bind = netip.MustParseAddrPort("127.0.0.1:0")
	config.SyncInterval = time.Second
	theirs := config
	config.ScanInterval, theirs.ScanInterval = p.interval, rarely
	for _, c := range p.maps {
		where := c.pin
		if target != nil {
			where = target(c)
		}
		mapConfig, err := c.Way.mapConfig(c.Type, c.name, where)
		if err != nil {
			return err
		}
		config.Maps = append(config.Maps, mapConfig)
		theirs.Maps = append(theirs.Maps, mapgossip.MapConfig{Name: c.name, Target: c.pin})
	}
	config.Node, config.Logger = "ours", p.log.With("node", "ours")
	var err error
	if p.ours, err = startMember(config); err != nil {
		return fmt.Errorf("start a member on this kernel: %w", err)
	}
	theirs.Node, theirs.Logger = "theirs", p.log.With("node", "theirs")
	theirs.Kernel, theirs.Join = p.memory, []string{p.ours.address()}
	if p.theirs, err = startMember(theirs); err != nil {
		return fmt.Errorf("start a member in memory: %w", err)
	}
	return nil
}

// until polls until done says so; what it says last is in the error.
func (p *pair) until(ctx context.Context, what string, done func() (bool, string)) error {
	for begin := time.Now(); ; {
		ok, state := done()
		if ok {
			return nil
		}
		if time.Since(begin) > pairPatience {
			return fmt.Errorf("after %v not %s: %s", pairPatience, what, state)
		}
		for _, m := range []*member{p.ours, p.theirs} {
			select {
			case err := <-m.ran:
				m.ran <- err
				return fmt.Errorf("a member ended: %w", err)
			default:
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(longPause):
		}
	}
}

// untilEqual waits until both members are ready and in sync.
func (p *pair) untilEqual(ctx context.Context) error {
	return p.until(ctx, "equal", func() (bool, string) {
		var states []string
		for _, m := range []*member{p.ours, p.theirs} {
			s, err := m.node.Status(ctx)
			if err != nil {
				return false, err.Error()
			}
			if !s.InSync || len(s.Members) != 2 {
				states = append(states, fmt.Sprintf("%s has %d members, in sync %t, not ready: %q", s.Node, len(s.Members), s.InSync, s.NotReady))
			}
		}
		for _, c := range p.cells {
			if !c.isFilled() {
				states = append(states, fmt.Sprintf("%s (%s, %s): %d of %d elements", c.name, c.Type.Name, c.Way.Name, c.theirs.Len(), len(c.all)))
			}
		}
		return len(states) == 0, strings.Join(states, "; ")
	})
}

// state of a cell's map, on our side.
func (p *pair) state(c *trial) (mapgossip.MapStatus, error) {
	all, err := p.ours.node.Maps(context.Background())
	if err != nil {
		return mapgossip.MapStatus{}, err
	}
	return all[slices.Index(p.maps, c.owner)], nil // in the order of the configuration
}

// untilWaiting waits until the status of our map says that an entry waits, and why.
func (p *pair) untilWaiting(c *trial, why string) error {
	return p.until(context.Background(), "told that an entry waits", func() (bool, string) {
		s, err := p.state(c)
		return err == nil && s.PendingApply > 0 && strings.Contains(s.Error, why), fmt.Sprintf("%d wait, error %q, %v", s.PendingApply, s.Error, err)
	})
}

// close ends both members and removes the maps.
func (p *pair) close() error {
	var errs []error
	for _, m := range []*member{p.theirs, p.ours} {
		if m != nil {
			m.stop()
			errs = append(errs, <-m.ran)
		}
	}
	errs = append(errs, p.memory.Close())
	for _, c := range p.maps {
		errs = append(errs, c.close())
	}
	return errors.Join(errs...)
}
