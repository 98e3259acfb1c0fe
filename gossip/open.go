package gossip

import (
	"context"
	"fmt"
	"log"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/hashicorp/memberlist"
)

// memberlistProtocol is what this member speaks of memberlist's own protocol;
// fixed, because one member out of range breaks every push/pull.
const memberlistProtocol = 5

// Open binds the address and prepares the member. Nothing is sent before Run,
// though a seed's other members may already be answered. Errors: those of
// Config.Validate, ErrAddressInUse.
func Open(cfg Config, r Replica) (*Cluster, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("open cluster: %w", err)
	}
	if cfg.Boot == nil {
		cfg.Boot = func() int64 { return cfg.Now().UnixNano() }
	}
	c := &Cluster{
		cfg:        cfg,
		log:        cfg.Logger,
		replica:    r,
		lookup:     lookupHost,
		packet:     min(1300, 1400-2-len(cfg.Cluster)-40),
		inboxSize:  maxInboxBytes,
		ready:      make(chan struct{}),
		exchanges:  make(chan *peer, 256),
		joining:    make(chan struct{}, 1),
		census:     make(chan struct{}, 1),
		news:       make(chan struct{}, 1),
		fatal:      make(chan error, 1),
		records:    make(map[string]*record),
		refused:    make(map[string]string),
		since:      make(map[string]int64),
		filled:     make(map[string]bool),
		rooms:      make(map[string]Room),
		duplicates: make(map[string]string),
		answers:    make(map[uint64]chan state),
		asks:       make(map[uint64]*waitingAsk),
		differed:   make(map[string]uint64),
		keysKept:   cfg.KeepKeyring != nil,
		seeds:      make(map[string]string),
		reached:    make(map[string]bool),
		lookups:    make(map[string]*lookup),
		lost:       make(map[netip.AddrPort]lostMember),
		attempts:   make(map[netip.AddrPort]*attempt),
		self: meta{Protocol: protocol, Node: cfg.Node, BootID: newBootID(),
			Start: cfg.Now().UnixNano(), Version: cfg.Version},
	}
	c.name = c.self.name()
	c.columns.New = func() any { return new(columns) }
	c.decoders.New = func() any { return new(decoder) }
	c.seq.Store(rand.Uint64() >> 16) // an acknowledgement never fits another run's batch
	c.maps.Store(newMapSet(cfg.Maps))
	for _, m := range c.maps.Load().all {
		c.since[m.Name] = max(0, c.self.Start)
		c.inboxSize = max(c.inboxSize, inboxFor(m))
	}
	for _, text := range cfg.Known[:min(len(cfg.Known), maxKnown)] {
		addr, _ := netip.ParseAddrPort(text) // Validate looked
		c.lost[addr] = lostMember{}
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())

	bridge := &logBridge{cluster: c, log: cfg.Logger, now: time.Now}
	logger := log.New(bridge, "", 0)
	ml, err := c.listConfig(logger)
	if err != nil {
		return nil, err
	}
	if ml.Transport == nil {
		c.transport, err = openTransport(cfg.Bind, len(cfg.Keyring) > 0, logger, cfg.Logger)
		if err != nil {
			return nil, err
		}
		ml.Transport = c.transport
		ml.BindPort = c.transport.port()
		if ml.AdvertisePort == 0 {
			ml.AdvertisePort = ml.BindPort
		}
	}
	c.list, err = memberlist.Create(ml)
	if err != nil {
		c.cancel()
		if c.transport != nil {
			c.transport.abandon()
		}
		return nil, fmt.Errorf("open cluster on %s: %w", cfg.Bind, err)
	}
	return c, nil
}

// listConfig is memberlist's configuration; doc.go says why it differs from
// the defaults.
func (c *Cluster) listConfig(logger *log.Logger) (*memberlist.Config, error) {
	ml := memberlist.DefaultLANConfig()
	d := &delegate{c}
	ml.Name = c.name
	ml.Label = c.cfg.Cluster
	ml.Transport = c.cfg.Transport
	if c.cfg.Bind.IsValid() {
		ml.BindAddr, ml.BindPort = c.cfg.Bind.Addr().Unmap().String(), int(c.cfg.Bind.Port())
	}
	ml.AdvertiseAddr, ml.AdvertisePort = "", ml.BindPort
	if c.cfg.Advertise.IsValid() {
		ml.AdvertiseAddr = c.cfg.Advertise.Addr().Unmap().String()
		if c.cfg.Advertise.Port() != 0 {
			ml.AdvertisePort = int(c.cfg.Advertise.Port())
		}
	}
	ml.ProtocolVersion = memberlistProtocol
	ml.DelegateProtocolMin, ml.DelegateProtocolMax, ml.DelegateProtocolVersion = protocol, protocol, protocol
	ml.Delegate, ml.Events, ml.Alive, ml.Merge, ml.Ping = d, d, d, d, d
	ml.EnableCompression = false
	ml.GossipInterval = 100 * time.Millisecond
	ml.HandoffQueueDepth = 8192
	// Members that gossip told some of and not others are found so; the interval
	// grows with the cluster, threefold at 100 members. It carries digests, no maps.
	ml.PushPullInterval = 10 * time.Second
	ml.UDPBufferSize = 1400
	ml.LogOutput, ml.Logger = nil, logger
	if len(c.cfg.Keyring) > 0 {
		ring, err := memberlist.NewKeyring(c.cfg.Keyring, c.cfg.Keyring[0])
		if err != nil {
			return nil, fmt.Errorf("open cluster: keyring: %w", err)
		}
		ml.Keyring, c.keyring = ring, ring
	}
	return ml, nil
}
