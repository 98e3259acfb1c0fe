package mapgossip

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/gossip"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// A target may lead to a map only later, or to another map than before: loaders
// pin a new one at each start. The owner looks each second. A map that is bound
// anew holds nothing that anybody deleted: it is filled from the store.

// absentMap is a configured map of which nobody knows the sizes, because its
// target led to nothing yet.
type absentMap struct {
	MapConfig
	why error
}

var (
	// errReplaced: the kernel map that was scanned is not the bound one any more.
	errReplaced = errors.New("the map was replaced meanwhile")
	// errAwait: there is no kernel map yet.
	errAwait = errors.New("waiting for the map; it is bound as soon as it is there")
)

// openMaps opens every configured map; all that fail are in the error, but for
// those that are not there yet.
func (n *Node) openMaps() error {
	var faults []error
	for _, c := range n.config.Maps {
		m, err := n.kernel.Open(c.Target)
		if err == nil {
			if err = n.fits(c, m); err != nil {
				m.Close()
			}
		}
		switch target, _ := mapwatch.ParseTarget(c.Target); {
		case err == nil:
			n.addMap(c, m.Shape(), m)
		case errors.Is(err, mapwatch.ErrNotFound) && target.ID == 0: // an ID never comes to be another map's
			n.absent = append(n.absent, absentMap{c, fmt.Errorf("%w; %w", err, errAwait)})
			n.log.Warn("map is not there yet", "map", c.Name, "error", err)
		default:
			faults = append(faults, fmt.Errorf("map %s: %w", c.Name, err))
		}
	}
	return errors.Join(faults...)
}

// fits reports whether m can be what c means, beside the maps that are bound.
func (n *Node) fits(c MapConfig, m mapwatch.Map) error {
	shape := m.Shape()
	for _, b := range n.maps {
		if b.kernel != nil && b.shape.ID == shape.ID && b.Name != c.Name {
			return fmt.Errorf("%w: maps %s and %s are one and the same kernel map %d: replicate it under one name", ErrConfig, b.Name, c.Name, shape.ID)
		}
	}
	if c.Evict != "" && shape.Type != mapwatch.TypeLRUHash {
		return fmt.Errorf("%w: evict=%s is for maps of type %s; this one is %s and never lets go of a key", ErrConfig, c.Evict, mapwatch.TypeLRUHash, shape.Type)
	}
	return nil
}

// addMap takes up a map of that shape. kernel is nil for one that is not there yet.
func (n *Node) addMap(c MapConfig, shape mapwatch.Shape, kernel mapwatch.Map) *boundMap {
	b := &boundMap{MapConfig: c, index: -1, kernel: kernel, shape: shape,
		mirror: newMirror(shape, c.MapOptions, n.config.Node, n.hlc, n.seed)}
	b.found = crdt.Found(n.config.Now().UnixNano())
	n.maps = append(n.maps, b)
	n.byName[c.Name] = b
	return b
}

// addSaved takes up the maps that are not there yet and were in an earlier run:
// their entries say what they are.
func (n *Node) addSaved(saved map[string]mapNote) {
	absent := n.absent[:0]
	for _, a := range n.absent {
		was, ok := saved[a.Name]
		if !ok {
			absent = append(absent, a)
			continue
		}
		b := n.addMap(a.MapConfig, mapwatch.Shape{Target: a.Target, Type: was.Type, KeyBytes: was.KeyBytes, ValueBytes: was.ValueBytes}, nil)
		b.gone, b.unbound = a.why, true
	}
	n.absent = absent
}

// bindDue looks where the targets lead. While another Watch is being made, its
// maps stay as they are: it reads them.
func (n *Node) bindDue(ctx context.Context) {
	if n.rewatching {
		n.disown()
		return
	}
	fresh := false
	absent := n.absent[:0]
	for _, a := range n.absent {
		m, err := n.kernel.Open(a.Target)
		if err == nil {
			if err = n.fits(a.MapConfig, m); err == nil {
				b := n.addMap(a.MapConfig, m.Shape(), m)
				b.late, b.boundLate, fresh = true, true, true
				continue
			}
			m.Close()
		}
		a.why = fmt.Errorf("%w; %w", err, errAwait)
		absent = append(absent, a)
	}
	n.absent = absent
	for _, b := range n.maps {
		if b.kernel == nil && n.kernel.Now() >= b.notBefore {
			m, err := n.kernel.Open(b.Target)
			fresh = n.bindTo(b, m, err) || fresh
		} else if b.kernel != nil {
			m, err := n.successor(b)
			if b.note(err); m != nil {
				fresh = n.bindTo(b, m, nil) || fresh
			}
		}
	}
	if fresh {
		n.rewatch(ctx)
	}
	n.rewatchDue(ctx)
	n.importDue(ctx)
}

// disown ignores from now on what is captured of maps that were replaced.
func (n *Node) disown() {
	for _, b := range n.maps {
		if b.kernel == nil {
			continue
		}
		if m, _ := n.successor(b); m != nil {
			b.since = unwatched
			m.Close()
		}
	}
}

// successor opens the map that came in the place of that of b; nil if there is
// none. The error says why the target does not lead to that of b.
func (n *Node) successor(b *boundMap) (mapwatch.Map, error) {
	gone := b.kernel.Current()
	if !errors.Is(gone, mapwatch.ErrGone) {
		return nil, gone
	}
	m, err := n.kernel.Reopen(b.kernel)
	if err != nil {
		return nil, gone
	}
	// Two maps of one name each lead to the other; the kernel numbers them in order.
	if target, _ := mapwatch.ParseTarget(b.Target); target.Name != "" && m.Shape().ID < b.shape.ID {
		return nil, m.Close()
	}
	return m, gone
}

// bindTo makes m the kernel map of b, if it is of the same shape. It reports
// whether that takes a new Watch. m is its own to close.
func (n *Node) bindTo(b *boundMap, m mapwatch.Map, err error) (fresh bool) {
	if err == nil {
		if err = n.matches(b, m); err != nil {
			m.Close()
		}
	}
	if err != nil {
		b.gone = fmt.Errorf("%w; %w", err, errAwait)
		return false
	}
	old := b.kernel
	fresh = b.index < 0 || n.watch.Replace(b.index, m) != nil
	if old != nil {
		if err := old.Close(); err != nil {
			n.log.Warn("close the map that was replaced", "map", b.Name, "error", err)
		}
	}
	n.readClocks()
	now := n.kernel.Now()
	n.log.Info("map is bound anew", "map", b.Name, "target", b.Target, "id", m.Shape().ID, "before", b.shape.ID)
	b.kernel, b.shape, b.gone, b.kept = m, m.Shape(), nil, nil
	b.imported, b.drained, b.since = false, false, now+closeness
	if fresh { // until then the Watch, if there is one, tells of the map before
		b.since, b.watchedOnce = unwatched, false
	}
	found := crdt.Found(n.wall(now)) // loses to all that the cluster may know
	if filled, _ := n.cluster.Filled(b.Name); filled {
		found = b.stamp(n.wall(now), crdt.Timestamp{}) // so does the store: else it is new
	}
	b.rebind(found)
	return fresh
}

func (n *Node) matches(b *boundMap, m mapwatch.Map) error {
	is, was := m.Shape(), b.shape
	if is.Type != was.Type || is.KeyBytes != was.KeyBytes || is.ValueBytes != was.ValueBytes {
		return fmt.Errorf("the target leads to a map of another kind: %s, key %d bytes, value %d bytes; it was %s, key %d bytes, value %d bytes, as the cluster knows it: load it so again, or replicate it under another name",
			is.Type, is.KeyBytes, is.ValueBytes, was.Type, was.KeyBytes, was.ValueBytes)
	}
	return n.fits(b.MapConfig, m)
}

// rebind makes the mirror that of another kernel map, of which only a scan tells
// what it holds. found is the version of what it holds and the store does not.
func (m *mirror) rebind(found crdt.Timestamp) {
	m.keys, m.ready, m.stalled, m.aging = keyTable{}, slotQueue{}, slotQueue{}, slotQueue{}
	m.unsettled, m.looks, m.lookedAt = make(map[string]*unsettled), nil, nil
	m.found, m.unbound = found, false
	m.beginRestore(false, m.store.Progress().Floor())
	m.assumeEmpty()
}

// unwatched, as boundMap.since, is later than all that is captured.
const unwatched = math.MaxInt64

// importDue reads maps that were bound since, and are watched.
func (n *Node) importDue(ctx context.Context) {
	now := n.kernel.Now()
	for _, b := range n.maps {
		if b.kernel == nil || b.imported && !b.late || b.importing || b.index < 0 || n.rewatching || now < b.since || !n.imported {
			continue
		}
		b.importing = true
		imported, late, shape := b.imported, b.late, n.gossipMap(b)
		n.scans.Go(func() {
			var err, alone error
			if !imported {
				err = n.scan(ctx, b, scanImport, nil)
			}
			if late && err == nil {
				alone = n.cluster.Add(shape)
			}
			if err != nil && ctx.Err() == nil && !errors.Is(err, ErrStopped) && !errors.Is(err, errReplaced) {
				n.log.Warn("bind map; it is tried again", "map", b.Name, "error", err)
			}
			_ = n.call(ctx, func() {
				b.importing, b.late, b.alone = false, late && (err != nil || alone != nil), alone
			})
		})
	}
}

func (n *Node) gossipMap(b *boundMap) gossip.Map {
	return gossip.Map{Name: b.Name, Type: b.shape.Type, KeyBytes: b.shape.KeyBytes, ValueBytes: b.shape.ValueBytes}
}
