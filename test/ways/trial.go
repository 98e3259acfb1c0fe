//go:build linux

package ways

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/cilium/ebpf"

	"github.com/mapgossip/mapgossip/mapwatch/fake"
)

const (
	// A cell has a block of keys: the first ones are in the map before the members
	// start, attempt i changes the i-th; the others it inserts.
	baseKeys  = 4
	blockKeys = 2 * baseKeys
)

// trial is a cell that is being measured.
type trial struct {
	Type
	Way
	pair   *pair
	name   string // of the map
	pin    string
	m      *ebpf.Map
	theirs *fake.Map // the other member's
	block  int       // its first key
	owner  *trial    // whose map it is: cells of ways that spoil nothing share one

	attempt int
	all     map[string]string // all that was ever in m, if Way.keeps
	had     map[string]string // what m held before the way
	want    map[string]string // what theirs is to hold after the way
	lost    int               // elements of m that it let go of, if Way.keeps

	before  uint64    // scans of m when the way began
	control uint64    // scans of pair.control then
	began   time.Time // the end of the way
	arrived time.Time // on the other member
	tainted bool      // what arrived may have come by chance
	done    bool      // got is the outcome
	got     Cell
}

func (c *trial) index() int       { return c.block + c.attempt } // of the key to change
func (c *trial) key() []byte      { return c.Type.key(c.index()) }
func (c *trial) freshKey() []byte { return c.Type.key(c.index() + baseKeys) }
func (c *trial) number() int      { return 2000 + c.attempt }
func (c *trial) value() []byte    { return value(c.m, c.number()) }

// again makes the cell ready for its next attempt.
func (c *trial) again() {
	c.attempt, c.want, c.arrived, c.tainted, c.done = (c.attempt+1)%attempts, nil, time.Time{}, false, false
}

// finish sets the outcome, once.
func (c *trial) finish(outcome Outcome, reason string) {
	if c.done {
		return
	}
	c.done = true
	c.got = Cell{Type: c.Type.Name, Way: c.Way.Name, Outcome: outcome, Reason: reason}
	if !c.arrived.IsZero() {
		c.got.TookMS = c.arrived.Sub(c.began).Milliseconds()
	}
}

func (c *trial) unknown(format string, args ...any) { c.finish(Unknown, fmt.Sprintf(format, args...)) }

// ours is what the cell has in the map on this kernel.
func (c *trial) ours() (map[string]string, error) {
	if c.Way.alone {
		return c.Type.read(c.m)
	}
	var faults error
	content := c.part(func(key []byte) (string, bool) {
		var v []byte
		err := c.m.Lookup(key, &v)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			faults = errors.Join(faults, err)
		}
		return string(v), err == nil && c.Type.holds(v)
	})
	return content, faults
}

// others is what it has in the other member's map.
func (c *trial) others() map[string]string {
	if c.Way.alone {
		return c.theirs.Content()
	}
	return c.part(func(key []byte) (string, bool) { v, there := c.theirs.Get(key); return string(v), there })
}

// part is the content of the cell's block of keys.
func (c *trial) part(get func(key []byte) (string, bool)) map[string]string {
	content := make(map[string]string)
	for i := range blockKeys {
		key := c.Type.key(c.block + i)
		if v, there := get(key); there {
			content[string(key)] = v
		}
	}
	return content
}

// close lets go of the map.
func (c *trial) close() error {
	err := os.Remove(c.pin)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, c.m.Close())
}

// own makes a map for the cell.
func (c *trial) own(name string) (err error) {
	c.owner, c.name, c.pin = c, name, filepath.Join(c.pair.folder, name)
	if c.m, err = c.Type.create(name); err != nil {
		return err
	}
	if err := c.m.Pin(c.pin); err != nil {
		return errors.Join(err, c.m.Close())
	}
	c.theirs = c.pair.memory.AddMap(c.Type.shape(c.m, c.pin))
	return nil
}

// fill makes m hold its first elements again.
func (c *trial) fill() error {
	c.all = make(map[string]string)
	for i := range baseKeys {
		key, v := c.Type.key(c.block+i), value(c.m, 1000+i)
		if err := c.m.Put(key, v); err != nil {
			return fmt.Errorf("fill the map: %w", err)
		}
		c.all[string(key)] = string(v)
	}
	return nil
}

// isFilled: the other member has what fill wrote.
func (c *trial) isFilled() bool { return maps.Equal(c.others(), c.all) }

// hasArrived says whether theirs holds what it is to hold.
func (c *trial) hasArrived() bool {
	if !maps.Equal(c.others(), c.want) {
		return false
	}
	if !c.Way.keeps {
		return true
	}
	s, err := c.pair.state(c)
	return err == nil && s.Evicted == c.lost
}
