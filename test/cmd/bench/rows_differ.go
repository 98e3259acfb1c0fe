//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/gossip"
)

// replica is a store with no kernel behind it, whose changes nobody is told of:
// what the two members of differRow learn, they learn by anti-entropy.
type replica struct {
	mu    sync.Mutex
	store *crdt.Store
}

func (r *replica) Merge(_ context.Context, _ string, _ gossip.Sender, entries []crdt.Entry) ([]crdt.Entry, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range entries {
		if _, _, err := r.store.Merge(e); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (r *replica) Learn(context.Context, string, crdt.Report, bool) error { return nil }

func (r *replica) Read(_ context.Context, _ string, fn func(*crdt.Store)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	fn(r.store)
	return nil
}

func (r *replica) Inspect(ctx context.Context, name string, fn func(*crdt.Store, func(crdt.Slot) (pending, evicted bool))) error {
	return r.Read(ctx, name, func(s *crdt.Store) { fn(s, func(crdt.Slot) (pending, evicted bool) { return }) })
}

func (r *replica) Held(context.Context, string, []byte) (gossip.Held, error) {
	return gossip.Held{}, nil
}

func (r *replica) View(context.Context) ([]gossip.MapView, error) { return nil, nil }

func (r *replica) digest() crdt.Digest {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.store.Digest()
}

// write merges version wall of n of the keys, spread over all of them.
func (r *replica) write(n, keys uint64, wall int64) error {
	entries := make([]crdt.Entry, 0, n)
	for i := range n {
		k, v := driven(i*(keys/n), keys)
		v[0] = byte(wall)
		entries = append(entries, crdt.Entry{Key: k[:], Value: v[:], Version: crdt.Version{Time: crdt.Timestamp{Wall: wall}, Member: "writer"}})
	}
	_, err := r.Merge(context.Background(), "", gossip.Sender{}, entries)
	return err
}

// side is one of the two members of differRow.
type side struct {
	*replica
	*gossip.Cluster
	ran chan error
}

func newSide(node string, seeds ...string) (*side, error) {
	config := gossip.DefaultConfig()
	config.Node, config.Seeds = node, seeds
	config.Bind = netip.MustParseAddrPort("127.0.0.1:0")
	config.SyncInterval = rarely
	config.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	config.Maps = []gossip.Map{{Name: "bench", Type: "hash", KeyBytes: keyBytes, ValueBytes: valueBytes}}
	s := &side{replica: &replica{store: crdt.NewStore(keyBytes, valueBytes)}, ran: make(chan error, 1)}
	var err error
	if s.Cluster, err = gossip.Open(config, s.replica); err != nil {
		return nil, err
	}
	go func() { s.ran <- s.Run(context.Background()) }()
	return s, nil
}

func (s *side) close() error {
	if s == nil {
		return nil
	}
	return errors.Join(s.Close(), <-s.ran)
}

// differRow lets two members with the same entries get apart, and compares them.
func differRow(b *bench) (_ []line, err error) {
	one, err := newSide("one")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, one.close()) }()
	two, err := newSide("two", one.Members()[0].Addr)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, two.close()) }()
	for began := time.Now(); ; time.Sleep(pollTime) {
		if ready, why := two.Ready(); ready {
			break
		} else if time.Since(began) > patience {
			return nil, fmt.Errorf("not ready after %v: %q", patience, why)
		}
	}
	for _, s := range []*side{one, two} {
		if err := s.write(b.entries, b.entries, 1); err != nil {
			return nil, err
		}
	}
	var lines []line
	for round, n := range []uint64{100, 10_000} {
		if err := one.write(n, b.entries, int64(2+round)); err != nil {
			return nil, err
		}
		bytes0, err := loopbackBytes()
		if err != nil {
			return nil, err
		}
		cpu0, began := processCPU(), now()
		if err := two.Sync(context.Background()); err != nil {
			return nil, err
		}
		took, cpu := now()-began, processCPU()-cpu0
		bytes1, err := loopbackBytes()
		if err != nil {
			return nil, err
		}
		if one.digest() != two.digest() {
			return nil, errors.New("an exchange left two stores different")
		}
		bytes, own := bytes1-bytes0, n*(entryBytes+versionBytes)
		limit := max(128<<10, 3*own)
		lines = append(lines, line{
			what:      fmt.Sprintf("%d of %d entries differ", n, b.entries),
			result:    fmt.Sprintf("%s both ways, %s, CPU %s of both", size(bytes), ms(took), ms(cpu)),
			yardstick: "these entries: " + size(own),
			ratio:     ratio(float64(bytes), float64(own)),
			goal:      "<= " + size(limit),
			met:       bytes <= limit,
		})
	}
	return lines, nil
}
