package gossip

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/memberlist"
)

// Sentinel errors. Each comes wrapped in a sentence that says what was tried
// and what to do about it.
var (
	// ErrAddressInUse: another process has the TCP or UDP port of Config.Bind.
	ErrAddressInUse = errors.New("address already in use")
	// ErrDuplicateNode: a member with this node ID runs at another address.
	ErrDuplicateNode = errors.New("duplicate node ID")
)

const (
	// DefaultPort is used for a seed, and for Config.Bind, that names no port.
	DefaultPort = 7946
	// MaxEntryBytes bounds key plus value of one map: an entry travels in one
	// frame, and memberlist cuts user messages off at 20 MiB.
	MaxEntryBytes = 16 << 20

	maxNodeBytes    = 255
	maxMapNameBytes = 255
	maxMapTypeBytes = 64
	maxMaps         = 1024
)

// Map is the shape of one replicated map. It must be the same on all members.
type Map struct {
	Name       string // in the cluster, 1 to 255 bytes
	Type       string // of the kernel map, as bpftool prints it
	KeyBytes   int    // 1 or more
	ValueBytes int    // 0 or more; KeyBytes+ValueBytes is at most MaxEntryBytes
}

func (m Map) sameShape(o Map) bool {
	return m.Type == o.Type && m.KeyBytes == o.KeyBytes && m.ValueBytes == o.ValueBytes
}

func (m Map) shape() string {
	return fmt.Sprintf("%s, key %d bytes, value %d bytes", m.Type, m.KeyBytes, m.ValueBytes)
}

// Transport carries packets and streams between members.
type Transport = memberlist.Transport

// Config of a Cluster. Start from DefaultConfig.
type Config struct {
	// Node is the stable ID of this member, 1 to 255 bytes of printable text,
	// unique in the cluster. Data are keyed by it.
	Node string
	// Cluster is the name that all members share, 1 to 255 bytes. Packets and
	// streams of another cluster are refused. It is not a secret.
	Cluster string
	// Version of the software, told to the other members, at most 64 bytes.
	Version string
	// Bind is the address of the one TCP and the one UDP port. Port 0 takes a
	// free one (see Members for which).
	Bind netip.AddrPort
	// Advertise is what other members dial. Zero: Bind, or, if that is
	// unspecified, a private address of this host. Port 0: the bound port.
	Advertise netip.AddrPort
	// Seeds are HOST[:PORT] of some members. Names are resolved again at each
	// try; an address that is no member is tried for ever.
	Seeds []string
	// Known are addresses, IP:port, of members of an earlier run, as
	// Cluster.Known returned them: tried like members that were lost, for ever,
	// until newer ones need the place. The first 256 count. They are no seeds: a
	// member without seeds is ready at once.
	Known []string
	// Keyring holds AES keys of 16, 24 or 32 bytes. The first encrypts, all
	// decrypt. Empty: no encryption.
	Keyring [][]byte
	// KeepKeyring writes the keys that are in force, the first of which encrypts, to
	// where Keyring comes from. It is called after a member asked for a change of
	// them, one call at a time, and may block; what it gets is its own. Nil: a change
	// lasts until Close.
	KeepKeyring func(keys [][]byte) error
	// SyncInterval is the time between two rounds of anti-entropy, each with
	// one random member.
	SyncInterval time.Duration
	// Maps to replicate from the start, names unique; Cluster.Add adds more. May be
	// empty.
	Maps []Map
	// Logger must not be nil.
	Logger *slog.Logger
	// Transport replaces TCP and UDP on Bind. For tests: package simnet.
	Transport Transport
	// Now is the wall clock.
	Now func() time.Time
	// Boot is a clock of this host, in nanoseconds, that nobody sets and that
	// goes on while the host sleeps: with it, what is known of the members' clocks
	// stays right when this host's wall clock is set. Nil: the wall clock.
	Boot func() int64
}

// DefaultConfig returns a Config that lacks only Node and Maps.
func DefaultConfig() Config {
	return Config{
		Cluster:      "mapgossip",
		Bind:         netip.AddrPortFrom(netip.IPv4Unspecified(), DefaultPort),
		SyncInterval: 10 * time.Second,
		Logger:       slog.New(slog.DiscardHandler),
		Now:          time.Now,
	}
}

// Validate reports all faults at once.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if n := len(c.Node); n == 0 || n > maxNodeBytes {
		fault("node ID %q: want 1 to %d bytes, have %d", c.Node, maxNodeBytes, n)
	} else if !printable(c.Node) {
		fault("node ID %q: only printable text is allowed", c.Node)
	}
	if n := len(c.Cluster); n == 0 || n > memberlist.LabelMaxSize {
		fault("cluster name %q: want 1 to %d bytes, have %d", c.Cluster, memberlist.LabelMaxSize, n)
	}
	if len(c.Version) > maxVersionBytes {
		fault("version %q: want at most %d bytes", c.Version, maxVersionBytes)
	} else if !printable(c.Version) { // no member takes in one that tells it, not even this one
		fault("version %q: only printable text is allowed", c.Version)
	}
	if c.Transport == nil && !c.Bind.IsValid() {
		fault("bind address: none given, want IP:PORT")
	}
	if c.Advertise.IsValid() && c.Advertise.Addr().IsUnspecified() {
		fault("advertise address %s: other members cannot dial it; give an address of this host", c.Advertise)
	}
	for _, s := range c.Seeds {
		if _, _, err := splitSeed(s, DefaultPort); err != nil {
			faults = append(faults, err)
		}
	}
	for _, k := range c.Known {
		if _, err := netip.ParseAddrPort(k); err != nil {
			fault("known member %q: want IP:PORT", k)
		}
	}
	for i, k := range c.Keyring {
		if n := len(k); n != 16 && n != 24 && n != 32 {
			fault("key %d of the keyring: want 16, 24 or 32 bytes, have %d", i+1, n)
		}
	}
	if c.SyncInterval <= 0 {
		fault("sync interval %v: want more than zero", c.SyncInterval)
	}
	faults = append(faults, validateMaps(c.Maps)...)
	if c.Logger == nil {
		fault("logger: none given")
	}
	if c.Now == nil {
		fault("clock: none given")
	}
	return errors.Join(faults...)
}

func validateMaps(maps []Map) (faults []error) {
	if len(maps) > maxMaps {
		faults = append(faults, fmt.Errorf("%d maps: at most %d are supported", len(maps), maxMaps))
	}
	seen := make(map[string]bool, len(maps))
	for _, m := range maps {
		switch {
		case len(m.Name) == 0 || len(m.Name) > maxMapNameBytes:
			faults = append(faults, fmt.Errorf("map name %q: want 1 to %d bytes", m.Name, maxMapNameBytes))
		case seen[m.Name]:
			faults = append(faults, fmt.Errorf("map %s: given twice; names are unique", m.Name))
		case len(m.Type) > maxMapTypeBytes:
			faults = append(faults, fmt.Errorf("map %s: type %q is longer than %d bytes", m.Name, m.Type, maxMapTypeBytes))
		case m.KeyBytes < 1 || m.ValueBytes < 0:
			faults = append(faults, fmt.Errorf("map %s: key of %d and value of %d bytes: want at least 1 and 0", m.Name, m.KeyBytes, m.ValueBytes))
		case m.KeyBytes > MaxEntryBytes || m.ValueBytes > MaxEntryBytes || m.KeyBytes+m.ValueBytes > MaxEntryBytes:
			faults = append(faults, fmt.Errorf("map %s: key and value have %d bytes together; at most %d can be replicated", m.Name, m.KeyBytes+m.ValueBytes, MaxEntryBytes))
		}
		seen[m.Name] = true
	}
	return faults
}

func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// splitSeed takes HOST, HOST:PORT, IPv6, [IPv6] or [IPv6]:PORT apart.
func splitSeed(seed string, defaultPort uint16) (host string, port uint16, err error) {
	bare, bracketed := strings.CutPrefix(seed, "[")
	bare, closed := strings.CutSuffix(bare, "]")
	if addr, err := netip.ParseAddr(bare); err == nil && bracketed == closed && (!bracketed || addr.Is6()) {
		return addr.String(), defaultPort, nil
	}
	host, text, err := net.SplitHostPort(seed)
	if err != nil {
		host, text = seed, strconv.Itoa(int(defaultPort))
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 || host == "" || !printable(host) || strings.ContainsAny(host, " /:[]") && !isIPv6(host) {
		return "", 0, fmt.Errorf("seed %q: want HOST or HOST:PORT", seed)
	}
	return host, uint16(n), nil
}

func isIPv6(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Is6()
}
