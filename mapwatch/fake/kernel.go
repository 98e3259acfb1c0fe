package fake

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
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
	handles  []*handle        // those that are open
	limit    limit            // of what Watch offers
	limits   map[string]limit // by type, of those that have one
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
		limits: make(map[string]limit),
	}
}

// Boot implements mapwatch.Kernel: it is the same for as long as the Kernel is.
func (k *Kernel) Boot() string { return k.boot }

// AddMap makes an empty map under the path shape.Target, at any time; a map that
// was there is gone from the path but lives on for those who have it open. Left out
// fields get values: Name the last path element, Type "hash", KeyBytes and
// ValueBytes 8, MaxEntries 65536. Keys of an array have 4 bytes whatever shape
// says, those of a trie at least 5. The ID is always a new one.
func (k *Kernel) AddMap(shape mapwatch.Shape) *Map {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lastID++
	shape.ID = k.lastID
	shape.Name = cmp.Or(shape.Name, path.Base(shape.Target))
	shape.Name = shape.Name[:min(len(shape.Name), mapwatch.NameBytes)]
	shape.Type = cmp.Or(shape.Type, mapwatch.TypeHash)
	shape.KeyBytes = cmp.Or(shape.KeyBytes, 8)
	switch shape.Type {
	case mapwatch.TypeArray:
		shape.KeyBytes = 4
	case mapwatch.TypeLPMTrie:
		shape.KeyBytes = max(shape.KeyBytes, prefixBytes+1)
	}
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
	return k.openLocked(parsed, target, nil)
}

// Reopen implements mapwatch.Kernel.
func (k *Kernel) Reopen(m mapwatch.Map) (mapwatch.Map, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	old, ok := m.(*handle)
	switch {
	case !ok || old.k != k:
		return nil, fmt.Errorf("open map %s again: it was not opened by this kernel", m.Shape().Target)
	case k.isClosed:
		return nil, errors.New("open map: the kernel is closed")
	}
	return k.openLocked(old.target, old.shape.Target, old.m)
}

// openLocked opens what target leads to, which has to be another map than old.
func (k *Kernel) openLocked(target mapwatch.Target, text string, old *Map) (mapwatch.Map, error) {
	m, err := k.findLocked(target, old)
	if err != nil {
		return nil, fmt.Errorf("open map %s: %w", text, err)
	}
	if m == old {
		return nil, fmt.Errorf("open map %s again: %w: it still leads to map %d", text, mapwatch.ErrNotFound, old.shape.ID)
	}
	switch m.shape.Type {
	case mapwatch.TypeHash, mapwatch.TypeLRUHash, mapwatch.TypeArray, mapwatch.TypeLPMTrie:
	default:
		return nil, fmt.Errorf("open map %s: %w: %s", text, mapwatch.ErrType, m.shape.Type)
	}
	shape := m.shape
	shape.Target = text
	h := &handle{k: k, m: m, target: target, shape: shape, layouts: m.layouts}
	k.handles = append(k.handles, h)
	return h, nil
}

// findLocked gives the map that target leads to. Among maps of one name, except
// does not count; nil: all do.
func (k *Kernel) findLocked(target mapwatch.Target, except *Map) (*Map, error) {
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
	for _, m := range k.aliveLocked() {
		if m.shape.ID == target.ID || target.ID == 0 && m.shape.Name == target.Name && m != except {
			found = append(found, m)
			ids = append(ids, fmt.Sprint(m.shape.ID))
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	return nil, fmt.Errorf("%w as one map: %d maps, IDs %s", mapwatch.ErrNotFound, len(found), strings.Join(ids, ", "))
}

// aliveLocked are the maps that are pinned or open, by ID.
func (k *Kernel) aliveLocked() []*Map {
	maps := slices.Collect(maps.Values(k.maps))
	for _, h := range k.handles {
		maps = append(maps, h.m)
	}
	slices.SortFunc(maps, func(a, b *Map) int { return cmp.Compare(a.shape.ID, b.shape.ID) })
	return slices.Compact(maps)
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
