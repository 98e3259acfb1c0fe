package mapgossip

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/gossip"
)

const (
	// promiseLag is how long ago a change must have been captured at least that
	// is stamped at a time for which this member promised to stamp no more. The
	// processing of records may be late by as much.
	promiseLag = 5 * time.Second
	// maxPromise is how far ahead of this host's clock others are believed that it
	// made a promise in an earlier run, if no other clock agrees with this one.
	maxPromise = 24 * time.Hour
	// floorSteps is in how many steps a tombstone's least age is cut: so often
	// is the store searched for those that can go.
	floorSteps   = 16
	maxFloorStep = time.Minute
	// crowdedAge is the least age of a tombstone where there are too many.
	crowdedAge = time.Minute
)

// ErrMemberAlive: a member that is alive can't be removed.
var ErrMemberAlive = gossip.ErrMemberAlive

// tombstoneLimit is from how many tombstones of a map on nobody is waited for
// who is not there.
func tombstoneLimit(maxEntries int) int { return max(64<<10, 2*maxEntries) }

// tend keeps up what the members know of each other's progress, and lets go of
// tombstones that all of them have.
func (n *Node) tend() {
	n.barrier()                                                                          // else an idle host would never promise anything
	if !slices.ContainsFunc(n.maps, func(b *boundMap) bool { return b.kernel != nil }) { // nor one that has nothing to change
		n.upto = n.kernel.Now()
	}
	wall, boot := n.wall(n.kernel.Now()), n.kernel.Now()
	// A promise binds, also if the clock turns out to be wrong: as long as nobody
	// else's agrees, it is not ahead of what the floor asks for.
	lag := n.config.TombstoneMinAge
	// Right after the start nobody is there yet.
	mayDrop := boot-n.began >= int64(crowdedAge)
	for _, b := range n.maps {
		if mayDrop && b.crowded() {
			lag = min(lag, crowdedAge)
		}
	}
	if n.time.confirmed() {
		lag = 0
	}
	promise := min(wall, n.wall(n.upto)) - int64(max(promiseLag, lag))
	if n.upto == 0 { // not a record yet, and not the news that there is none
		promise = n.promise
	}
	switch { // a clock that is ahead, and is mended, does not bind us
	case n.time.confirmed():
	case n.promise != 0:
		promise = min(promise, n.promise+2*(boot-n.promised))
	case boot-n.began < int64(lag):
		promise = 0
	}
	n.promise, n.promised = max(n.promise, promise, 0), boot
	ready, _ := n.cluster.Ready()
	n.unmet = nil
	if boot-n.began < int64(n.config.ForgetAfter) {
		n.unmet = n.cluster.Unreached()
	}
	waits := !ready || len(n.unmet) > 0
	for _, b := range n.maps {
		if !b.late && (b.imported || b.kernel == nil) {
			n.tendMap(b, wall, waits, mayDrop && b.crowded())
		}
	}
}

// crowded reports whether there are too many tombstones to wait for anybody who
// is not there.
func (b *boundMap) crowded() bool {
	_, tombstones := b.store.Len()
	return tombstones > tombstoneLimit(b.shape.MaxEntries)
}

// tendMap does it for one map. waits: nothing is let go of for those who never
// were members, but are to be (seeds). crowded: for nobody who is not there.
func (n *Node) tendMap(b *boundMap, wall int64, waits, crowded bool) {
	alive, left := n.cluster.Taking(b.Name)
	p := b.store.Progress()
	for member, at := range left {
		p.Remove(member, min(at.UnixNano(), wall)) // at is by this host's clock, which may be ahead
	}
	heard := make(map[string]int64, len(alive))
	for member, at := range alive {
		if at != 0 {
			heard[member] = n.wall(at)
		}
	}
	age := n.config.TombstoneMinAge
	if crowded {
		age, waits = min(age, crowdedAge), false
		for _, m := range p.Report().Marks {
			if _, there := alive[m.Member]; m.Member != n.config.Node && p.Counts(m.Member, wall, n.config.ForgetAfter) && !there {
				n.log.Warn("too many deletes to wait for a member that is gone: when it is back, it takes the cluster's state",
					"map", b.Name, "member", m.Member)
				p.Remove(m.Member, wall)
			}
		}
	}
	if n.time.confirmed() {
		p.Sober(wall)
	}
	p.Tend(n.config.Node, wall, n.promise, heard, n.config.ForgetAfter, waits)
	b.tended(n.promise)
	stable, told, _ := p.Stable(wall, n.config.ForgetAfter)
	floor := min(stable, told-int64(age))
	if step := int64(min(age/floorSteps, maxFloorStep)); floor >= p.Floor()+step {
		b.store.Raise(floor, b.busy)
		b.tended(n.promise)
	}
	b.store.Clear(b.busy)
}

// learn takes over what another member told of its progress.
func (n *Node) learn(b *boundMap, r crdt.Report, complete bool) {
	wall := n.wall(n.kernel.Now())
	believed := wall + int64(maxPromise)
	if n.time.confirmed() { // nobody with such a clock believed more
		believed = wall + int64(n.config.MaxClockSkew)
	}
	for _, m := range r.Marks {
		if m.Member == n.config.Node { // what an earlier run promised, if that is forgotten here
			n.promise = max(n.promise, min(m.Has, believed))
		}
	}
	b.store.Learn(r, complete, wall, b.busy)
	b.tended(n.promise)
}

// tended notes above what time this member stamps: nobody waits for more below.
func (m *mirror) tended(promise int64) {
	m.above = crdt.Timestamp{Wall: max(m.store.Progress().Floor(), promise)}
}

// busy reports whether a key's tombstone must stay because the kernel still
// has to delete the key. If not, what is remembered of the key is forgotten.
func (m *mirror) busy(slot crdt.Slot) bool {
	if prior := m.keys.prior(slot); prior != 0 {
		if m.applies && !m.unbound || prior != absence {
			return true
		}
		m.keys.held(slot) // there is nothing to delete
	}
	if m.restored != nil {
		if !m.restored.same && !m.unbound {
			return true // the map may hold the key, as another one did
		}
		if _, doubtful := m.restored.keys[slot]; doubtful {
			return true // only the first scan tells what the kernel has
		}
	}
	m.keys.clear(slot)
	return false
}

// stamp returns the time of a local change: when it was captured, but after the
// entry that it is known to have replaced, and after what was promised.
func (m *mirror) stamp(wall int64, after crdt.Timestamp) crdt.Timestamp {
	if after.Compare(m.above) < 0 {
		after = m.above
	}
	return m.clock.Stamp(wall, after)
}

// Remove counts a member that is gone for good as one that left: tombstones do not
// wait for it, and members are in sync without it. All members that are alive come
// to know; the error names those that it could not tell within 3 s, and those to which
// the member is alive. Again is fine. Should it be back, it takes the cluster's state for
// every key that it did not change while away. ErrMemberAlive, and nothing is done, if
// it is alive or suspected here; an error, too, if nobody knows of it.
func (n *Node) Remove(ctx context.Context, member string) error {
	if err := n.cluster.GiveUp(member); err != nil {
		return fmt.Errorf("remove member %s: %w: stop its agent first", member, err)
	}
	known := false
	if err := n.call(ctx, func() {
		wall := n.wall(n.kernel.Now())
		for _, b := range n.maps {
			p := b.store.Progress()
			if p.Knows(member) {
				known = true
				p.Remove(member, wall)
			}
		}
	}); err != nil {
		return err
	}
	if !known {
		return fmt.Errorf("remove member %s: nobody of that ID took part in a map of this member", member)
	}
	var untold []string
	for _, a := range n.cluster.GiveUpAll(ctx, member) {
		if a.Err != nil {
			untold = append(untold, a.Node+": "+a.Err.Error())
		}
	}
	if len(untold) > 0 {
		return fmt.Errorf("member %s is removed here, and not on all: %s; remove it once more when they answer", member, strings.Join(untold, ", "))
	}
	return nil
}

// offered is remote for an entry that a member sent. ErrDeleted also for what the
// member found in its map at its start, if nobody knows the key and the member was
// given up on before: it may have been deleted and forgotten since.
func (m *mirror) offered(e *crdt.Entry, from gossip.Sender, now int64) (crdt.Slot, bool, error) {
	if from.Joining && e.Version.Time.Wall == 0 && e.Version.Member == from.Node && m.store.Progress().GaveUp(from.Node) {
		if _, known := m.store.Find(e.Key); !known {
			return 0, false, crdt.ErrDeleted
		}
	}
	return m.remote(*e, now)
}
