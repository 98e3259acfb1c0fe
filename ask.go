package mapgossip

import (
	"context"
	"errors"
	"fmt"

	"github.com/mapgossip/mapgossip/gossip"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// Views asks all living members what they say of their maps and of each other: this
// member comes first, then the others by node ID. Of one that does not answer within
// 3 s there is an Error. The error is ErrStopped, or the cause of ctx's end.
func (n *Node) Views(ctx context.Context) ([]View, error) {
	own, err := n.cluster.View(ctx)
	if err != nil {
		return nil, err
	}
	views := []View{viewOf(n.config.Node, own, nil)}
	views[0].Self = true
	for _, a := range n.cluster.Views(ctx) {
		views = append(views, viewOf(a.Node, a.Value, a.Err))
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return views, nil
}

func viewOf(node string, told gossip.View, err error) View {
	v := View{Node: node, Error: sentence(err), Maps: []MapView{}, Members: []MemberView{}}
	for _, m := range told.Maps {
		v.Maps = append(v.Maps, MapView{m.Name, m.Digest.String(), m.Entries, m.Tombstones, m.Pending})
	}
	for _, m := range told.Members {
		v.Members = append(v.Members, MemberView{m.Node, m.State, m.InSync, m.LastSync})
	}
	return v
}

// sentence is what an error says; empty for none.
func sentence(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Held asks all living members what they have of a key, and what their kernel maps
// hold: this member comes first, then the others by node ID. Of one that does not
// answer within 3 s there is an Error. The error is ErrUnknownMap, ErrKey for a key of
// the wrong size, ErrStopped, or the cause of ctx's end; a key that nobody has is none.
func (n *Node) Held(ctx context.Context, mapName string, key []byte) ([]Held, error) {
	own, shape, kernel, err := n.held(ctx, mapName, key)
	if err != nil {
		return nil, err
	}
	key = shape.Canonical(key)
	p := printer{mapName: mapName}
	p.use(kernel)
	all := []Held{{Node: n.config.Node, Self: true, Entry: p.held(key, own)}}
	for _, a := range n.cluster.Held(ctx, mapName, key) {
		h := Held{Node: a.Node, Error: sentence(a.Err)}
		if a.Err == nil {
			if err := fits(shape, a.Value); err != nil {
				h.Error = err.Error()
			} else {
				h.Entry = p.held(key, a.Value)
			}
		}
		all = append(all, h)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return all, nil
}

// fits holds what a member told to the sizes of the map.
func fits(shape mapwatch.Shape, h gossip.Held) error {
	if e := h.Entry; h.Known && (e.Deleted && len(e.Value) > 0 || !e.Deleted && len(e.Value) != shape.ValueBytes) {
		return fmt.Errorf("it has a value of %d bytes, this member's map has values of %d", len(e.Value), shape.ValueBytes)
	}
	if k := h.Kernel; k.Present && len(k.Value) != shape.ValueBytes {
		return fmt.Errorf("its kernel map has a value of %d bytes, this member's has values of %d", len(k.Value), shape.ValueBytes)
	}
	return nil
}

// held puts what a member has of a key into words; nil: nothing.
func (p *printer) held(key []byte, h gossip.Held) *Entry {
	if !h.Known && !h.Kernel.Present {
		return nil
	}
	e := p.absent(key)
	if h.Known {
		e = p.entry(copied{h.Entry, h.Pending, h.Evicted})
	}
	if h.Kernel.Read {
		e.Kernel = p.kernelValue(content{h.Kernel.Present, h.Kernel.Value})
	}
	return &e
}

// held returns what this member has of a key and what its kernel map holds, of one
// moment in which no apply is under way. kernel may be nil.
func (n *Node) held(ctx context.Context, mapName string, key []byte) (h gossip.Held, shape mapwatch.Shape, kernel mapwatch.Map, err error) {
	err = n.with(ctx, mapName, func(b *boundMap) error {
		shape, kernel = b.shape, b.kernel
		if len(key) != shape.KeyBytes {
			return fmt.Errorf("key of map %s: %w: it has %d bytes, keys of this map have %d", mapName, ErrKey, len(key), shape.KeyBytes)
		}
		key := shape.Canonical(key)
		if slot, known := b.store.Find(key); known {
			c := b.copyOf(slot)
			h = gossip.Held{Known: true, Entry: c.Entry, Pending: c.pending, Evicted: c.evicted}
		}
		if kernel != nil {
			found, read := n.lookForShow(b, key)
			h.Kernel = gossip.KernelValue{Read: read, Present: read && found.present, Value: found.value}
		}
		return nil
	})
	return h, shape, kernel, err
}

// unknownMember is the error of a member that cannot be compared with.
func (n *Node) unknownMember(node string) error {
	if node == n.config.Node {
		return fmt.Errorf("compare with member %s: %w: that is this one; name another", node, ErrUnknownMember)
	}
	return fmt.Errorf("compare with member %q: %w: no living one has that name", node, ErrUnknownMember)
}

var errAnotherMap = errors.New("the map was replaced by one of another shape; compare again")
