package gossip

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"
)

// States of a Member.
const (
	StateAlive   = "alive"
	StateSuspect = "suspect" // did not answer this member's last probe
	StateDead    = "dead"
	StateLeft    = "left"
)

const (
	keepGone = time.Hour // how long Members tells of those that are gone
	maxGone  = 1024
	// maxMembers bounds those that live: as many as a crdt.Progress remembers.
	maxMembers = 4096
	// reapTime is how long memberlist keeps a member that is gone, or longer. In
	// each such time maxGone may go, else no new ones are taken in.
	reapTime = 2 * time.Minute
)

// Member is one member as this one sees it.
type Member struct {
	Node        string // stable ID
	Name        string // in memberlist: Node + "-" + BootID
	Addr        string // IP:port that it advertises
	State       string
	Self        bool
	BootID      string
	Version     string
	InSync      bool            // all common maps had equal digests at LastSync: Differ is empty
	LastSync    time.Time       // last comparison or complete exchange with it; zero: none
	ClockOffset time.Duration   // its wall clock minus ours, by the last probe; 0: none yet
	Clock       time.Duration   // its wall clock minus our Config.Boot, at the last probe
	RTT         time.Duration   // at the last probe; 0: none yet
	Differ      []string        // names of the maps whose digests differed then, or that both have since then, sorted
	Room        map[string]Room // by map name, as it told last; not to be changed
	Lacks       []string        // maps that this member has, and that it told it has no kernel map of or keeps out, sorted
}

// record is what is known of a member.
type record struct {
	meta
	name    string
	addr    string
	self    bool
	state   string
	since   time.Time
	peer    *peer // nil unless alive
	maps    map[string]mapState
	rooms   map[string]Room
	lacking []string // as it told
	foreign int      // of maps: this member had none of the name when it was told
	told    bool     // it has told its maps
	order   uint64   // of what it told last
	inSync  bool
	sync    time.Time
	differ  []string
	clock   int64 // its wall clock minus our boot clock; rtt says whether it is known
	rtt     time.Duration
	heard   int64           // Config.Boot when a frame or the answer to a probe came from it; 0: none yet
	ignored map[string]bool // maps whose shape conflict was logged
	first   map[string]bool // by map name, where shapes differ: its map came before ours, or ours did
}

// Members returns this member and all others, for an hour also those that are
// gone; of the runs of one node ID that are gone just the latest, and none if
// one lives. Sorted by node ID, the living first. The slice is the caller's.
func (c *Cluster) Members() []Member {
	own := c.clockNow()
	c.mu.Lock()
	defer c.mu.Unlock()
	members := make([]Member, 0, len(c.records))
	latest := c.latestGoneLocked()
	for _, r := range c.records {
		if r.gone() && latest[r.Node] != r {
			continue // an earlier run
		}
		rooms := r.rooms
		if r.self {
			rooms = c.rooms
		}
		var offset time.Duration
		if r.rtt != 0 {
			offset = time.Duration(r.clock - own)
		}
		members = append(members, Member{
			Node: r.Node, Name: r.name, Addr: r.addr, State: r.state, Self: r.self, BootID: r.BootID,
			Version: r.Version, InSync: r.inSync || r.self, LastSync: r.sync,
			ClockOffset: offset, Clock: time.Duration(r.clock), RTT: r.rtt, Differ: slices.Clone(r.differ), Room: rooms, Lacks: c.lacksLocked(r),
		})
	}
	slices.SortFunc(members, func(a, b Member) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(rank(a.State), rank(b.State)), cmp.Compare(a.Name, b.Name))
	})
	return members
}

// clockNow is our wall clock minus our boot clock.
func (c *Cluster) clockNow() int64 { return c.cfg.Now().UnixNano() - c.cfg.Boot() }

// address is where the member is dialed; empty for nil.
func (r *record) address() string {
	if r == nil {
		return ""
	}
	return r.addr
}

func (r *record) gone() bool { return r.state == StateDead || r.state == StateLeft }

// livingLocked returns the node IDs that have a living member.
func (c *Cluster) livingLocked() map[string]bool {
	living := make(map[string]bool, len(c.records))
	for _, r := range c.records {
		if !r.gone() {
			living[r.Node] = true
		}
	}
	return living
}

// latestGoneLocked returns the latest run of each node ID that has no living
// member.
func (c *Cluster) latestGoneLocked() map[string]*record {
	living := c.livingLocked()
	latest := make(map[string]*record)
	for _, r := range c.records {
		if o := latest[r.Node]; !living[r.Node] && (o == nil || o.since.Before(r.since)) {
			latest[r.Node] = r
		}
	}
	return latest
}

func rank(state string) int {
	return slices.Index([]string{StateAlive, StateSuspect, StateLeft, StateDead}, state)
}

// peers returns the other living members, in no order.
func (c *Cluster) peers() []*peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	peers := make([]*peer, 0, len(c.records))
	for _, r := range c.records {
		if r.peer != nil {
			peers = append(peers, r.peer)
		}
	}
	return peers
}

// arrive records a member that memberlist says is alive. It runs inside
// memberlist's lock: no call back into it, no blocking.
func (c *Cluster) arrive(node *memberlist.Node) {
	m, err := decodeMeta(node.Meta)
	if err != nil {
		return // refused by NotifyAlive before
	}
	now := c.cfg.Now()
	r := &record{meta: m, name: node.Name, addr: node.Address(), self: node.Name == c.name,
		state: StateAlive, since: now, maps: map[string]mapState{}, ignored: map[string]bool{}, first: map[string]bool{}}
	c.mu.Lock()
	defer c.unlock()
	if old := c.records[r.name]; old != nil {
		if old.peer != nil {
			old.peer.cancel()
		}
		r.maps, r.rooms, r.foreign, r.told, r.order, r.first, r.lacking = old.maps, old.rooms, old.foreign, old.told, old.order, old.first, old.lacking
	}
	c.records[r.name] = r
	c.forgetLocked(now)
	if r.self || c.closed {
		return
	}
	c.findLocked(r)
	if r.Node == c.self.Node && r.addr == c.records[c.name].address() {
		c.departLocked(r, StateDead, now) // our own former run: nobody else is at our address
		return
	}
	// A restart at the same address: memberlist will need seconds to see that
	// the earlier run is gone. Where the clock was set back meanwhile the two
	// can't be told apart, and memberlist has to find out.
	for _, o := range c.records {
		if o.Node == r.Node && o.addr == r.addr && o.name != r.name && !o.self && !o.gone() && o.earlier(r.meta) {
			c.departLocked(o, StateDead, now)
		}
	}
	if c.joined.IsZero() {
		c.joined = now
	}
	p := newPeer(c.ctx, m, *node, c.inboxSize, &c.inboxBytes)
	r.peer = p
	c.noteLocked(func() {
		c.log.Info("member joined", "member", m.Node, "addr", p.addr, "boot_id", m.BootID, "version", m.Version)
	})
	c.reviewLocked()
	if c.started {
		c.startLocked(r.peer)
		c.admitLocked(r.peer)
		if !c.isReady() || c.name < r.name {
			c.requestExchange(r.peer)
		}
		if c.isReady() && len(c.filled) < len(c.maps.Load().all) {
			r.peer.announceSoon() // it may have what this member is to be filled with
		}
	}
	c.wakeCensus()
	c.wakeNews()
}

// roomFor says why a member of that name is not taken in; nil if it is. Whoever
// has the key can make up names without end. It runs inside memberlist's lock.
func (c *Cluster) roomFor(name string) error {
	now := c.cfg.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.records[name]
	if known != nil && !known.gone() || name == c.name {
		return nil
	}
	living, lately := 0, 0
	for _, r := range c.records {
		if !r.gone() {
			living++
		} else if now.Sub(r.since) < reapTime {
			lately++
		}
	}
	if living >= maxMembers {
		return fmt.Errorf("%d members live: no more are taken in", living)
	}
	if known == nil && lately >= maxGone {
		return fmt.Errorf("%d members went within %v: no new ones are taken in", lately, reapTime)
	}
	return nil
}

// depart records that memberlist gave a member up, or that it left. It runs
// inside memberlist's lock.
func (c *Cluster) depart(name string) {
	now := c.cfg.Now()
	c.mu.Lock()
	defer c.unlock()
	r := c.records[name]
	if r == nil || r.gone() {
		return
	}
	state := StateDead
	if r.self || r.peer != nil && r.peer.saidGoodbye() {
		state = StateLeft
	}
	c.departLocked(r, state, now)
	c.wakeCensus()
}

func (c *Cluster) departLocked(r *record, state string, now time.Time) {
	if r.peer != nil {
		args := []any{"member", r.Node, "addr", r.addr, "boot_id", r.BootID}
		if state == StateLeft {
			c.noteLocked(func() { c.log.Info("member left", args...) })
		} else {
			c.noteLocked(func() { c.log.Warn("member lost", args...) })
		}
		r.peer.cancel()
		r.peer = nil
	}
	r.state, r.since, r.inSync = state, now, false
	c.loseLocked(r, now)
	c.reviewLocked()
}

// forgetLocked drops the records of members that are gone for long.
func (c *Cluster) forgetLocked(now time.Time) {
	var gone []*record
	for name, r := range c.records {
		if !r.gone() || r.self {
			continue
		}
		if now.Sub(r.since) > keepGone {
			delete(c.records, name)
			continue
		}
		gone = append(gone, r)
	}
	if len(gone) > maxGone {
		slices.SortFunc(gone, func(a, b *record) int { return a.since.Compare(b.since) })
		for _, r := range gone[:len(gone)-maxGone] {
			delete(c.records, r.name)
		}
	}
}

// suspect notes that a member did not answer a probe, or that it was heard.
func (c *Cluster) suspect(name string, suspected bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.records[name]
	switch {
	case r == nil:
	case suspected && r.state == StateAlive:
		r.state, r.since = StateSuspect, c.cfg.Now()
		c.goLocked(func() { c.askSuspect(name) })
	case !suspected && r.state == StateSuspect:
		r.state, r.since = StateAlive, c.cfg.Now()
	}
}

func (p *peer) saidGoodbye() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.goodbye
}
