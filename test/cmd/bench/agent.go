//go:build linux

package main

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"github.com/mapgossip/mapgossip"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// Agent is a Node of one map, as the agent runs it.
type Agent struct {
	driven *mapwatch.Driven // nil unless AgentArgs.Driven
	node   *mapgossip.Node
	stop   context.CancelFunc
	ran    chan error
}

// AgentArgs describe a Node.
type AgentArgs struct {
	Node         string
	Target       string // its map
	Join         string // a member, or none
	Driven       bool   // it writes its map itself and captures that
	ScanInterval time.Duration
}

// Start runs a Node and returns its address.
func (a *Agent) Start(args AgentArgs, address *string) (err error) {
	config := mapgossip.DefaultConfig()
	config.Node = args.Node
	config.Bind = netip.MustParseAddrPort("127.0.0.1:0")
	config.Maps = []mapgossip.MapConfig{{Name: "bench", Target: args.Target}}
	config.ScanInterval = args.ScanInterval
	config.SyncInterval = rarely // the rows ask for exchanges
	config.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	if args.Join != "" {
		config.Join = []string{args.Join}
	}
	if args.Driven {
		if a.driven, err = mapwatch.OpenDriven(); err != nil {
			return err
		}
		config.Kernel = a.driven
	}
	if a.node, err = mapgossip.New(config); err != nil {
		return err
	}
	var ctx context.Context
	ctx, a.stop = context.WithCancel(context.Background())
	a.ran = make(chan error, 1)
	go func() { a.ran <- a.node.Run(ctx) }()
	for _, m := range a.node.Members() {
		if m.Self {
			*address = m.Addr
			return nil
		}
	}
	return errors.New("a member does not know itself")
}

// Write makes writes and returns when the first one began.
func (a *Agent) Write(args Writes, began *time.Duration) error {
	*began = now()
	return a.driven.Write(context.Background(), args.N, args.Keys)
}

// Status is the Node's.
func (a *Agent) Status(_ None, s *mapgossip.Status) (err error) {
	*s, err = a.node.Status(context.Background())
	return err
}

// Sync runs one exchange and returns how long it took.
func (a *Agent) Sync(_ None, took *time.Duration) error {
	began := now()
	err := a.node.Sync(context.Background())
	*took = now() - began
	return err
}

// Stop makes the Node leave the cluster.
func (a *Agent) Stop(None, *None) error { return a.close() }

func (a *Agent) close() error {
	if a.node == nil {
		if a.driven != nil {
			return a.driven.Close()
		}
		return nil
	}
	a.stop()
	err := <-a.ran
	a.node = nil
	if a.driven != nil {
		err = errors.Join(err, a.driven.Close())
		a.driven = nil
	}
	return err
}
