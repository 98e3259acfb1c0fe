package mapgossip

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mapgossip/mapgossip/gossip"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// Member is one member of the cluster as this one sees it. The JSON names are
// a contract.
type Member struct {
	Node          string    `json:"node"`
	Name          string    `json:"name"` // node ID and boot ID: unique to one run of an agent
	Addr          string    `json:"addr"`
	State         string    `json:"state"` // alive, suspect, dead or left
	Self          bool      `json:"self"`
	BootID        string    `json:"boot_id"`
	Version       string    `json:"version"`
	InSync        bool      `json:"in_sync"`   // all digests were equal at LastSync
	LastSync      time.Time `json:"last_sync"` // zero: never
	ClockOffsetMS float64   `json:"clock_offset_ms"`
	RTTMS         float64   `json:"rtt_ms"`
	Differ        []string  `json:"differ"` // maps whose digests differed at LastSync
	Lacks         []string  `json:"lacks"`  // maps that this member has, and that one is to have too and does not: nothing is at its target, or its map has another shape
	Room          []Room    `json:"room"`   // of its kernel maps that this member has too, as last told, by map name
}

// Room says what the kernel map of one member can hold. Members need not have
// the same; what does not fit stays known and goes in when there is room. The JSON
// names are a contract.
type Room struct {
	Map        string `json:"map"`
	MaxEntries int    `json:"max_entries"`
	Waiting    int    `json:"waiting"` // entries that the member knows and its kernel map had no room for
}

// heldBackRounds is by how many rounds of anti-entropy deletes are older than
// needs be before it is told for whom they wait.
const heldBackRounds = 3

// MapStatus is one map as this member holds it. The JSON names are a contract.
type MapStatus struct {
	Name          string    `json:"name"`
	Target        string    `json:"target"`
	ID            uint32    `json:"id"`
	Type          string    `json:"type"`
	KeyBytes      int       `json:"key_bytes"`
	ValueBytes    int       `json:"value_bytes"`
	MaxEntries    int       `json:"max_entries"`
	Capture       string    `json:"capture"`
	CaptureReason string    `json:"capture_reason"` // why not a better one
	Direction     Direction `json:"direction"`
	Events        Events    `json:"events"`
	Evict         Evict     `json:"evict"` // of lru_hash; else empty
	Entries       int       `json:"entries"`
	Tombstones    int       `json:"tombstones"`
	Floor         time.Time `json:"floor"`        // deletes up to then are forgotten: all members have them; zero: none yet
	HeldBackBy    string    `json:"held_back_by"` // the member, or seed never reached, for which the next deletes wait; empty: just their age
	Digest        string    `json:"digest"`       // equal digests: the same entries
	PendingApply  int       `json:"pending_apply"`
	Evicted       int       `json:"evicted"` // entries that the kernel let go of to make room, and that are not written here again
	Bound         bool      `json:"bound"`
	Error         string    `json:"error"`
	LastScan      time.Time `json:"last_scan"`
	Unsettled     int       `json:"unsettled"`
	Counters      Counters  `json:"counters"`
}

// Counters of one map since the agent started; they never decrease.
type Counters struct {
	Captured uint64 `json:"captured"` // records of local changes
	Own      uint64 `json:"own"`      // our applies, recognised in the kernel
	Failed   uint64 `json:"failed"`   // operations that failed and changed nothing
	Dropped  uint64 `json:"dropped"`  // records that found the ring full
	Missed   uint64 `json:"missed"`   // changes that no hook saw because the kernel skipped it, all maps of the host
	Caught   uint64 `json:"caught"`   // of captured: by the second program of a hook, because the first was skipped

	Collected uint64 `json:"collected"` // tombstones that all members had, and that are gone
	Deleted   uint64 `json:"deleted"`   // entries of others that were not taken because they had been deleted
	counters         // of the mirror
}

// Status is one member's view of the whole.
type Status struct {
	Node          string       `json:"node"`
	Cluster       string       `json:"cluster"`
	Version       string       `json:"version"`
	Started       time.Time    `json:"started"`
	Capture       string       `json:"capture"`
	CaptureReason string       `json:"capture_reason"` // why not a better one
	Ready         bool         `json:"ready"`
	NotReady      []string     `json:"not_ready"`
	Healthy       bool         `json:"healthy"`
	Unhealthy     []string     `json:"unhealthy"`
	InSync        bool         `json:"in_sync"` // ready, every member that did not leave is alive, lacks no map, and was equal at the last exchange with it
	Conflicts     []string     `json:"conflicts"`
	Refused       []string     `json:"refused"`         // hosts whose packets and streams were refused within the last minute, and why; senders can be forged
	StateError    string       `json:"state_error"`     // why nothing survives a restart although there is a state directory
	Encrypted     bool         `json:"encrypted"`       // what members say to each other; whether a keyring was given
	ClockOffsetMS float64      `json:"clock_offset_ms"` // of this host's clock to the median of the other living members': above 0 it is ahead
	Members       []Member     `json:"members"`
	Maps          []MapStatus  `json:"maps"`
	Network       gossip.Stats `json:"network"`
}

// Members returns all members known, this one first, then by node ID.
func (n *Node) Members() []Member {
	known := n.cluster.Members()
	members := make([]Member, 0, len(known))
	for _, m := range known {
		members = append(members, Member{
			Node: m.Node, Name: m.Name, Addr: m.Addr, State: m.State, Self: m.Self,
			BootID: m.BootID, Version: m.Version, InSync: m.InSync, LastSync: m.LastSync,
			ClockOffsetMS: milliseconds(m.ClockOffset), RTTMS: milliseconds(m.RTT),
			Differ: append([]string{}, m.Differ...), Lacks: append([]string{}, m.Lacks...), Room: rooms(m.Room),
		})
	}
	slices.SortFunc(members, func(a, b Member) int {
		if a.Self != b.Self {
			if a.Self {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return members
}

func rooms(told map[string]gossip.Room) []Room {
	list := make([]Room, 0, len(told))
	for name, r := range told {
		list = append(list, Room{name, r.MaxEntries, r.Waiting})
	}
	slices.SortFunc(list, func(a, b Room) int { return strings.Compare(a.Map, b.Map) })
	return list
}

// room is what the others are told of a map.
func (b *boundMap) room() gossip.Room {
	r := gossip.Room{MaxEntries: b.shape.MaxEntries}
	if _, reason := b.pendingApply(); errors.Is(reason, mapwatch.ErrFull) {
		r.Waiting = b.keys.failed
	}
	return r
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}

// Maps returns the state of each map, in the order of the configuration. It
// waits for the owner; ErrStopped after Run has ended.
func (n *Node) Maps(ctx context.Context) ([]MapStatus, error) {
	refused := n.cluster.Refused()
	var maps []MapStatus
	err := n.call(ctx, func() {
		for _, c := range n.config.Maps {
			if b := n.byName[c.Name]; b != nil {
				maps = append(maps, n.mapStatus(b, refused[c.Name]))
			}
			for _, absent := range n.absent {
				if absent.Name == c.Name {
					maps = append(maps, absent.status())
				}
			}
		}
	})
	return maps, err
}

// status of a map of which the target is all that is known.
func (a absentMap) status() MapStatus {
	s := MapStatus{Name: a.Name, Target: a.Target, Error: a.why.Error(),
		Direction: cmp.Or(a.Direction, DirectionBoth), Events: cmp.Or(a.Events, EventsAll)}
	return s
}

func (n *Node) mapStatus(b *boundMap, refused string) MapStatus {
	s := MapStatus{
		Name: b.Name, Target: b.Target, ID: b.shape.ID, Type: b.shape.Type,
		KeyBytes: b.shape.KeyBytes, ValueBytes: b.shape.ValueBytes, MaxEntries: b.shape.MaxEntries,
		Direction: cmp.Or(b.Direction, DirectionBoth), Events: cmp.Or(b.Events, EventsAll),
		Digest: b.store.Digest().String(), Bound: b.gone == nil && b.imported,
		LastScan: b.lastScan, Unsettled: len(b.unsettled), Evicted: b.keys.evicted,
	}
	mode, why := n.capture(b)
	s.Capture, s.CaptureReason = string(mode), why
	if b.shape.Type == mapwatch.TypeLRUHash {
		s.Evict = cmp.Or(b.Evict, EvictLocal)
	}
	s.Entries, s.Tombstones = b.store.Len()
	wall, p := n.wall(n.kernel.Now()), b.store.Progress()
	if floor := p.Floor(); floor > 0 {
		s.Floor = time.Unix(0, floor).UTC()
	}
	if stable, _, last := p.Stable(wall, n.config.ForgetAfter); stable < wall-int64(n.config.TombstoneMinAge+promiseLag+heldBackRounds*n.config.SyncInterval) {
		if s.HeldBackBy = last; last == n.config.Node && len(n.unmet) > 0 {
			s.HeldBackBy = "seed " + n.unmet[0]
		}
	}
	c := n.counts(b)
	s.Counters = Counters{c.Captured, c.Own, c.Failed, c.Dropped, c.Missed, c.Caught, b.store.Collected(), b.store.Refused(), b.counters}
	var reason error
	s.PendingApply, reason = b.pendingApply()
	switch {
	case refused != "":
		s.Error = refused
	case b.gone != nil:
		s.Error = b.gone.Error()
	case b.alone != nil:
		s.Error = b.alone.Error()
	case n.captureError != nil && b.kernel != nil:
		s.Error = n.captureError.Error()
	case len(b.futures) > 0:
		s.Error = b.futures.sentence(n.wall(n.kernel.Now()), n.config.MaxClockSkew)
	case reason != nil:
		s.Error = fmt.Sprintf("%d entries are not in the kernel map: %v", s.PendingApply, reason)
	}
	return s
}

// Ready reports whether this member's maps hold what the cluster knows: maps
// bound, joined (or alone on purpose), the first full exchange done. The
// reasons say what is missing.
func (n *Node) Ready(ctx context.Context) (bool, []string) {
	_, reasons := n.cluster.Ready()
	maps, err := n.Maps(ctx)
	if err != nil {
		return false, append(reasons, err.Error())
	}
	var late []string
	if err := n.call(ctx, func() {
		for _, b := range n.maps {
			switch {
			case !b.boundLate || !b.imported || b.alone != nil: // that is told below
			case b.late:
				reasons = append(reasons, fmt.Sprintf("map %s: it came late: the cluster is yet to be told of it", b.Name))
			default:
				late = append(late, b.Name)
			}
		}
	}); err != nil {
		return false, append(reasons, err.Error())
	}
	for _, name := range late {
		if filled, why := n.cluster.Filled(name); !filled {
			reasons = append(reasons, fmt.Sprintf("map %s: it came late: %s", name, why))
		}
	}
	for _, m := range maps {
		if !m.Bound && m.Error == "" {
			reasons = append(reasons, fmt.Sprintf("map %s: not read yet", m.Name))
		} else if m.Error != "" {
			reasons = append(reasons, fmt.Sprintf("map %s: %s", m.Name, m.Error))
		}
	}
	return len(reasons) == 0, reasons
}

// Healthy reports whether the agent works as it should; the reasons name what
// needs a human.
func (n *Node) Healthy(ctx context.Context) (bool, []string) {
	reasons := n.cluster.Conflicts()
	if broken := n.stateError(); broken != "" {
		reasons = append(reasons, broken)
	}
	maps, err := n.Maps(ctx)
	if err != nil {
		return false, append(reasons, err.Error())
	}
	if _, sentence, err := n.clock(ctx); err != nil {
		return false, append(reasons, err.Error())
	} else if sentence != "" {
		reasons = append(reasons, sentence)
	}
	for _, m := range maps {
		if m.Error != "" {
			reasons = append(reasons, fmt.Sprintf("map %s: %s", m.Name, m.Error))
		}
	}
	return len(reasons) == 0, reasons
}

// stateError says why the state directory keeps nothing at present.
func (n *Node) stateError() string {
	if n.disk == nil {
		return ""
	}
	if err := n.disk.dir.Broken(); err != nil {
		return err.Error()
	}
	return ""
}

// clock returns how far this host's clock is ahead of the other members', and,
// if it disagrees with most of them, a sentence that says so.
func (n *Node) clock(ctx context.Context) (offset time.Duration, disagreement string, err error) {
	err = n.call(ctx, func() {
		n.readClocks()
		offset, disagreement = n.time.offset(), n.time.sentence()
	})
	return offset, disagreement, err
}

// Status returns everything at once.
func (n *Node) Status(ctx context.Context) (Status, error) {
	maps, err := n.Maps(ctx)
	if err != nil {
		return Status{}, err
	}
	offset, _, err := n.clock(ctx)
	if err != nil {
		return Status{}, err
	}
	s := Status{
		Node: n.config.Node, Cluster: n.config.Cluster, Version: n.config.Version, Started: n.started,
		Conflicts:     append([]string{}, n.cluster.Conflicts()...),
		Refused:       n.cluster.RefusedSenders(),
		StateError:    n.stateError(),
		Encrypted:     len(n.config.Keyring) > 0,
		ClockOffsetMS: milliseconds(offset),
		Members:       n.Members(), Maps: maps, Network: n.networkStats(),
	}
	if err := n.call(ctx, func() {
		if n.watch != nil {
			s.Capture, s.CaptureReason = string(n.watch.Mode()), n.watch.Reason()
		} else if n.captureError != nil {
			s.CaptureReason = n.captureError.Error()
		}
	}); err != nil {
		return Status{}, err
	}
	s.Ready, s.NotReady = n.Ready(ctx)
	s.NotReady = append([]string{}, s.NotReady...) // [] in JSON, not null
	s.InSync = s.Ready && len(n.cluster.Refused()) == 0
	s.Healthy, s.Unhealthy = n.Healthy(ctx)
	s.Unhealthy = append([]string{}, s.Unhealthy...)
	for _, m := range s.Members {
		if !m.Self && (m.State != gossip.StateLeft && (m.State != gossip.StateAlive || !m.InSync || len(m.Lacks) > 0)) {
			s.InSync = false
		}
	}
	return s, nil
}

// networkStats are those of the cluster; of a map that it does not know yet there are
// no differences.
func (n *Node) networkStats() gossip.Stats {
	s := n.cluster.Stats()
	for _, m := range n.config.Maps {
		s.Differences[m.Name] += 0
	}
	return s
}

// Sync runs anti-entropy with the other members now and waits for it.
func (n *Node) Sync(ctx context.Context) error { return n.cluster.Sync(ctx) }
