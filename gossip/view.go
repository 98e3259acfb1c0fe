package gossip

import (
	"context"
	"slices"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
)

// maxViewed bounds the members of a View.
const maxViewed = 1 << 16

// View is what a member says of its maps and of the other members.
type View struct {
	Maps    []MapView
	Members []MemberView
}

// MapView is one map of a View.
type MapView struct {
	Name       string
	Digest     crdt.Digest
	Entries    int
	Tombstones int
	Pending    int // entries that the kernel map does not have yet
}

// MemberView is one other member of a View.
type MemberView struct {
	Node     string
	State    string // StateAlive and so on
	InSync   bool
	LastSync time.Time // zero: never
}

// View returns this member's.
func (c *Cluster) View(ctx context.Context) (View, error) {
	maps, err := c.replica.View(ctx)
	if err != nil {
		return View{}, err
	}
	v := View{Maps: maps}
	for _, m := range c.Members() {
		if !m.Self && len(v.Members) < maxViewed {
			v.Members = append(v.Members, MemberView{m.Node, m.State, m.InSync, m.LastSync})
		}
	}
	return v, nil
}

// Views asks the other living members for theirs, all at the same time. The
// answers are sorted by node ID.
func (c *Cluster) Views(ctx context.Context) []Answer[View] {
	return askAll(ctx, c, askView, nil, decodeView)
}

func (c *Cluster) replyView(ctx context.Context) ([]byte, error) {
	v, err := c.View(ctx)
	if err != nil {
		return nil, err
	}
	return v.encode(), nil
}

func (v View) encode() []byte {
	w := newBody(2, 64*(len(v.Maps)+len(v.Members))+64)
	w.array(len(v.Maps))
	for _, m := range v.Maps {
		w.array(5)
		w.text(m.Name)
		w.blob(m.Digest[:])
		w.number(m.Entries)
		w.number(m.Tombstones)
		w.number(m.Pending)
	}
	w.array(len(v.Members))
	for _, m := range v.Members {
		w.array(4)
		w.text(m.Node)
		w.text(m.State)
		w.flag(m.InSync)
		var sync int64
		if !m.LastSync.IsZero() {
			sync = m.LastSync.UnixNano()
		}
		w.int(sync)
	}
	return w.body()
}

func decodeView(body []byte) (View, error) {
	const most = 1 << 40
	var v View
	err := openBody(body, 2, func(r *fieldReader) {
		r.list(maxMaps, func() {
			r.record(5, func() {
				m := MapView{Name: r.name(maxMapNameBytes)}
				if digest := r.blob(len(m.Digest)); copy(m.Digest[:], digest) < len(m.Digest) {
					r.fail("digest of %d bytes", len(digest))
				}
				m.Entries, m.Tombstones, m.Pending = r.number(most), r.number(most), r.number(most)
				v.Maps = append(v.Maps, m)
			})
		})
		r.list(maxViewed, func() {
			r.record(4, func() {
				m := MemberView{Node: r.name(maxNodeBytes), State: r.text(16), InSync: r.flag()}
				if sync := r.int(); sync != 0 {
					m.LastSync = time.Unix(0, sync).UTC()
				}
				if !slices.Contains([]string{StateAlive, StateSuspect, StateDead, StateLeft}, m.State) {
					r.fail("state %q of a member", m.State)
				}
				v.Members = append(v.Members, m)
			})
		})
	})
	if err != nil {
		return View{}, err
	}
	return v, nil
}
