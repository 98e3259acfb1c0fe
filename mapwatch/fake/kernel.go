package fake

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mapgossip/mapgossip/mapwatch"
)

// Kernel implements mapwatch.Kernel in memory. Safe for concurrent use.
type Kernel struct {
	clock func() int64
	boot  string

	mu       sync.Mutex
	last     int64             // the latest stamp
	maps     map[string]*Map   // by target path
	others   map[string]string // what is pinned at a path that is no map
	lastID   uint32
	captures []*capture
	handles  []*handle     // those that are open
	mode     mapwatch.Mode // the best that Watch offers
	reason   string
	isClosed bool
}

var _ mapwatch.Kernel = (*Kernel)(nil)

// NewKernel returns a kernel without maps that offers ModeFexit. clock stands
// for CLOCK_BOOTTIME, in nanoseconds; nil: the time since this call.
func NewKernel(clock func() int64) *Kernel {
	if clock == nil {
		boot := time.Now()
		clock = func() int64 { return int64(time.Since(boot)) }
	}
	return &Kernel{
		clock:  clock,
		boot:   fmt.Sprintf("%016x", rand.Uint64()),
		maps:   make(map[string]*Map),
		others: make(map[string]string),
		mode:   mapwatch.ModeFexit,
	}
}

// Boot implements mapwatch.Kernel: it is the same for as long as the Kernel is.
func (k *Kernel) Boot() string { return k.boot }

// AddMap makes an empty map under the path shape.Target; a map that was there
// is gone from the path but lives on for those who have it open. Left out
// fields get values: Name the last path element, Type "hash", KeyBytes and
// ValueBytes 8, MaxEntries 65536. The ID is always a new one.
func (k *Kernel) AddMap(shape mapwatch.Shape) *Map {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lastID++
	shape.ID = k.lastID
	shape.Name = cmp.Or(shape.Name, path.Base(shape.Target))
	shape.Name = shape.Name[:min(len(shape.Name), mapwatch.NameBytes)]
	shape.Type = cmp.Or(shape.Type, "hash")
	shape.KeyBytes = cmp.Or(shape.KeyBytes, 8)
	shape.ValueBytes = cmp.Or(shape.ValueBytes, 8)
	shape.MaxEntries = cmp.Or(shape.MaxEntries, 65536)
	m := &Map{k: k, shape: shape, values: make(map[string][]byte)}
	k.maps[shape.Target] = m
	delete(k.others, shape.Target)
	return m
}

// AddOther pins something at path that is not a map: what is "program", "link"…
func (k *Kernel) AddOther(path, what string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.maps, path)
	k.others[path] = what
}

// Unpin removes what is at path. Maps live on for those who have them open.
func (k *Kernel) Unpin(path string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.maps, path)
	delete(k.others, path)
}

// LimitCapture makes mode the best that later Watches offer, for that reason.
// mode is not ModeAuto.
func (k *Kernel) LimitCapture(mode mapwatch.Mode, reason string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mode, k.reason = mode, reason
}

// Now implements mapwatch.Kernel. It never gives the same time twice.
func (k *Kernel) Now() int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.nowLocked()
}

func (k *Kernel) nowLocked() int64 {
	k.last = max(k.clock(), k.last+1)
	return k.last
}

// Open implements mapwatch.Kernel.
func (k *Kernel) Open(target string) (mapwatch.Map, error) {
	parsed, err := mapwatch.ParseTarget(target)
	if err != nil {
		return nil, fmt.Errorf("open map: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.isClosed {
		return nil, errors.New("open map: the kernel is closed")
	}
	m, err := k.findLocked(parsed)
	if err != nil {
		return nil, fmt.Errorf("open map %s: %w", target, err)
	}
	if m.shape.Type != "hash" {
		return nil, fmt.Errorf("open map %s: %w: %s", target, mapwatch.ErrType, m.shape.Type)
	}
	shape := m.shape
	shape.Target = target
	h := &handle{k: k, m: m, target: parsed, shape: shape}
	k.handles = append(k.handles, h)
	return h, nil
}

// Reopen implements mapwatch.Kernel.
func (k *Kernel) Reopen(m mapwatch.Map) (mapwatch.Map, error) {
	old := m.Shape()
	again, err := k.Open(old.Target)
	if err != nil {
		return nil, err
	}
	if again.Shape().ID == old.ID {
		again.Close()
		return nil, fmt.Errorf("open map %s again: %w: it still leads to map %d", old.Target, mapwatch.ErrNotFound, old.ID)
	}
	return again, nil
}

func (k *Kernel) findLocked(target mapwatch.Target) (*Map, error) {
	if target.Path != "" {
		if what, ok := k.others[target.Path]; ok {
			return nil, fmt.Errorf("%w: a %s is pinned there", mapwatch.ErrNotMap, what)
		}
		if m, ok := k.maps[target.Path]; ok {
			return m, nil
		}
		return nil, fmt.Errorf("%w: nothing is pinned there", mapwatch.ErrNotFound)
	}
	var found []*Map
	var ids []string
	for _, m := range k.maps {
		if m.shape.ID == target.ID || m.shape.Name == target.Name {
			found = append(found, m)
			ids = append(ids, fmt.Sprint(m.shape.ID))
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	slices.Sort(ids)
	return nil, fmt.Errorf("%w as one map: %d maps, IDs %s", mapwatch.ErrNotFound, len(found), strings.Join(ids, ", "))
}

// Close implements mapwatch.Kernel: it ends all watches.
func (k *Kernel) Close() error {
	k.mu.Lock()
	k.isClosed = true
	k.mu.Unlock()
	for _, w := range k.watches() {
		w.Close()
	}
	return nil
}

// Kill does what kill -9 does to a process that uses k: every map that is open
// is closed, so that nothing is applied any more, and every watch ends with what
// it had read and not passed on. Captures with Options.Pins go on, up to what
// their ring holds. k stays: Open and Watch are those of the next process.
func (k *Kernel) Kill() {
	k.mu.Lock()
	for _, h := range k.handles {
		h.closed = true
	}
	k.handles = nil
	k.mu.Unlock()
	for _, w := range k.watches() {
		w.kill()
	}
}

func (k *Kernel) watches() []*watch {
	k.mu.Lock()
	defer k.mu.Unlock()
	var watches []*watch
	for _, c := range k.captures {
		if c.watch != nil {
			watches = append(watches, c.watch)
		}
	}
	return watches
}
