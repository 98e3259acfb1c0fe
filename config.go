package mapgossip

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/mapgossip/mapgossip/gossip"
	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/state"
)

// Defaults that DefaultConfig sets.
const (
	DefaultPort         = 7946
	DefaultCluster      = "mapgossip"
	DefaultScanInterval = 30 * time.Second // where records are the capture
	scanOnlyInterval    = time.Second      // where scan is the capture
	DefaultSyncInterval = 10 * time.Second
	DefaultMaxClockSkew = 5 * time.Second

	DefaultTombstoneMinAge = time.Hour
	DefaultForgetAfter     = 24 * time.Hour
)

// Config is all that a Node needs to know. Start from DefaultConfig.
type Config struct {
	Maps    []MapConfig
	Node    string // stable identity of this member, 1 to 128 bytes
	Cluster string // members of another cluster are refused; 1 to 128 bytes
	Version string // of the program, shown to other members

	Bind      netip.AddrPort // TCP and UDP
	Advertise netip.AddrPort // what other members dial; zero: the bind address
	Join      []string       // seeds, HOST[:PORT], tried for ever
	Keyring   [][]byte       // AES keys of 16, 24 or 32 bytes; the first one encrypts; none: no encryption

	Capture      mapwatch.Mode
	ScanInterval time.Duration // 0: 30 s, or 1 s where scan is the capture
	SyncInterval time.Duration // anti-entropy
	MaxClockSkew time.Duration // how far ahead of this host's clock a timestamp may be

	TombstoneMinAge time.Duration // how long a delete is remembered at least; the same on all members, 5 s or more
	ForgetAfter     time.Duration // a member that nobody saw for so long holds no tombstone back; more than TombstoneMinAge

	StateDir    string // where versions survive a restart; empty: nowhere
	CapturePins string // a directory of a bpffs in which capture stays while the Node is down; empty: it ends with the Node

	Logger *slog.Logger // nil: discard

	// KeepKeyring writes the keys that are in force, the first of which encrypts,
	// to where Keyring comes from. It is called after a member changed them, so that
	// the next start has them; an error is told to who asked for the change, and
	// the keys stay in force. nil: a change lasts as long as the Node.
	KeepKeyring func(keys [][]byte) error

	// Kernel, Transport, StateFS and Now are this host's own when nil. Tests set
	// them. A Kernel that is given stays the caller's to close.
	Kernel    mapwatch.Kernel
	StateFS   state.FS // in place of StateDir
	Transport gossip.Transport
	Now       func() time.Time
}

// MapConfig is one map to keep the same on all members.
type MapConfig struct {
	Name   string // in the cluster
	Target string // on this host: a pin path, id:N or name:NAME
	MapOptions
}

// Direction says which way changes of a map go.
type Direction string

const (
	DirectionBoth    Direction = "both"
	DirectionSend    Direction = "send"    // local changes go out, this host's map is never written
	DirectionReceive Direction = "receive" // this host's map follows the cluster; local changes are undone
)

// Events says which local changes of a map are changes to the cluster.
type Events string

const (
	EventsAll    Events = "all"
	EventsUpdate Events = "update" // a local delete stays local
	EventsDelete Events = "delete" // a local update stays local
)

// Evict says what it means that an LRU map lets go of a key to make room.
type Evict string

const (
	EvictLocal  Evict = "local"  // nothing to other members; here the key is back when it is written anew
	EvictDelete Evict = "delete" // that the key is deleted, on all members
)

// MapOptions of a map; the zero value means both, all and local.
type MapOptions struct {
	Direction Direction
	Events    Events
	Evict     Evict // of BPF_MAP_TYPE_LRU_HASH; others never let go of a key
}

// DefaultConfig returns the defaults; Maps and Node are left to the caller.
func DefaultConfig() Config {
	return Config{
		Cluster:      DefaultCluster,
		Bind:         netip.AddrPortFrom(netip.IPv4Unspecified(), DefaultPort),
		Capture:      mapwatch.ModeAuto,
		SyncInterval: DefaultSyncInterval,
		MaxClockSkew: DefaultMaxClockSkew,

		TombstoneMinAge: DefaultTombstoneMinAge,
		ForgetAfter:     DefaultForgetAfter,
	}
}

// Validate reports every fault of the configuration at once. It touches
// neither the kernel nor the network.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if len(c.Maps) == 0 {
		fault("no map to replicate: name at least one")
	}
	names, targets := map[string]bool{}, map[string]string{}
	for _, m := range c.Maps {
		if err := validName("map name", m.Name, maxMapName); err != nil {
			faults = append(faults, err)
		}
		if names[m.Name] {
			fault("map %s is configured twice: each map needs a NAME of its own", m.Name)
		} else if other, twice := targets[m.Target]; twice {
			fault("maps %s and %s are one and the same target %s: replicate it under one name", other, m.Name, m.Target)
		}
		names[m.Name], targets[m.Target] = true, m.Name
		if _, err := mapwatch.ParseTarget(m.Target); err != nil {
			fault("map %s: %w", m.Name, err)
		}
		switch m.Direction {
		case "", DirectionBoth, DirectionSend, DirectionReceive:
		default:
			fault("map %s: direction %q: want both, send or receive", m.Name, m.Direction)
		}
		switch m.Events {
		case "", EventsAll, EventsUpdate, EventsDelete:
		default:
			fault("map %s: events %q: want all, update or delete", m.Name, m.Events)
		}
		switch m.Evict {
		case "", EvictLocal, EvictDelete:
		default:
			fault("map %s: evict %q: want local or delete", m.Name, m.Evict)
		}
		if m.Evict == EvictDelete && (m.Direction == DirectionReceive || m.Events == EventsUpdate) {
			fault("map %s: evict=delete makes evictions deletes, which direction=receive and events=update keep from going out: leave one out", m.Name)
		}
	}
	faults = append(faults, validName("node ID", c.Node, 128), validName("cluster name", c.Cluster, 128))
	if !c.Bind.IsValid() {
		fault("bind address is missing: want IP:PORT, such as 0.0.0.0:%d", DefaultPort)
	}
	switch c.Capture {
	case mapwatch.ModeAuto, mapwatch.ModeFexit, mapwatch.ModeFentry, mapwatch.ModeScan:
	default:
		fault("capture mode %q: want auto, fexit, fentry or scan", c.Capture)
	}
	for i, key := range c.Keyring {
		if len(key) != 16 && len(key) != 24 && len(key) != 32 {
			fault("key %d of the keyring has %d bytes: want 16, 24 or 32", i+1, len(key))
		}
	}
	if c.ScanInterval != 0 && c.ScanInterval < minInterval {
		fault("scan interval %s: want at least %s", c.ScanInterval, minInterval)
	}
	if c.SyncInterval < minInterval {
		fault("sync interval %s: want at least %s", c.SyncInterval, minInterval)
	}
	if c.MaxClockSkew <= 0 {
		fault("max clock skew %s: want more than 0", c.MaxClockSkew)
	}
	if c.TombstoneMinAge < minTombstoneAge {
		fault("tombstone min age %s: want at least %s, the time that entries may be on their way", c.TombstoneMinAge, minTombstoneAge)
	}
	if c.ForgetAfter <= c.TombstoneMinAge {
		fault("forget after %s: want more than the tombstone min age, %s", c.ForgetAfter, c.TombstoneMinAge)
	}
	return errors.Join(faults...)
}

const (
	minTombstoneAge = 5 * time.Second

	maxMapName  = 64
	minInterval = 10 * time.Millisecond // more often is a mistake
)

// validName holds names to bytes that read the same in URLs, logs and metrics.
func validName(what, name string, limit int) error {
	if name == "" {
		return fmt.Errorf("%s is empty", what)
	}
	if len(name) > limit {
		return fmt.Errorf("%s %q has %d bytes: at most %d are allowed", what, name, len(name), limit)
	}
	for _, r := range name {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_', r == '.', r == ':':
		default:
			return fmt.Errorf("%s %q has the character %q: use letters, digits and . _ : -", what, name, r)
		}
	}
	return nil
}

// ParseMap reads NAME=TARGET[,OPTION…], or a pin path alone, whose last element
// becomes the name. Options: direction=both|send|receive, events=all|update|delete,
// evict=local|delete.
func ParseMap(text string) (MapConfig, error) {
	head, options, _ := strings.Cut(text, ",")
	name, target, named := strings.Cut(head, "=")
	if !named {
		target = head
		name = head[strings.LastIndex(head, "/")+1:]
		if !strings.HasPrefix(head, "/") {
			return MapConfig{}, fmt.Errorf("map %q: want NAME=TARGET, or an absolute pin path", text)
		}
	}
	m := MapConfig{Name: name, Target: target}
	if options != "" {
		for option := range strings.SplitSeq(options, ",") {
			key, value, _ := strings.Cut(option, "=")
			switch key {
			case "direction":
				m.Direction = Direction(value)
			case "events":
				m.Events = Events(value)
			case "evict":
				m.Evict = Evict(value)
			default:
				return MapConfig{}, fmt.Errorf("map %s: unknown option %q: there are direction=both|send|receive, events=all|update|delete and evict=local|delete", name, option)
			}
		}
	}
	return m, nil
}
