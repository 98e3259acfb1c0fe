package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/mapgossip/mapgossip"
)

const httpGrace = time.Second // for answers under way when the agent stops

// runAgent replicates until ctx ends, or checks whether it could.
func runAgent(ctx context.Context, args []string, env environment, stdout, stderr io.Writer) error {
	o, err := parseAgent(args, env)
	if err != nil {
		return err
	}
	// A log that nobody reads any more must not end the agent.
	signal.Ignore(syscall.SIGPIPE)
	// The Go runtime ends a program that panics, or that a watchdog aborts, with
	// code 2: ours for a fault of configuration, after which nobody starts the
	// agent again. This way it dies by SIGABRT.
	debug.SetTraceback("crash")
	log := newLogger(stderr, o.level, o.logFormat)
	if o.keyring != "" {
		warnOpenKeyring(log, o.keyring)
		o.config.KeepKeyring = func(keys [][]byte) error { return keepKeyring(o.keyring, keys) }
	}
	warnOpenBind(log, o.config)
	o.config.Logger = log
	if o.check {
		return check(ctx, o, stdout)
	}
	node, err := mapgossip.New(o.config)
	if err != nil {
		return err
	}
	defer node.Close()
	if ctx.Err() != nil { // asked to stop while capture was being attached
		return nil
	}
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	stopHTTP, err := startHTTP(ctx, leave, o, node, log)
	if err != nil {
		return err
	}
	defer stopHTTP()
	if err := o.dropPrivileges(log); err != nil {
		return err
	}
	c := o.config
	log.Info("agent starts", "node", c.Node, "cluster", c.Cluster, "version", c.Version,
		"bind", c.Bind, "encrypted", len(c.Keyring) > 0, "http", o.http)
	manager := systemdSupervisor(log)
	defer manager.watch(ctx, node.Status)()
	defer onSignals(ctx, log, func() {
		manager.reloading(func() { reloadKeyring(o.keyring, node.SetKeyring, log) })
	})()
	if err := node.Run(ctx); err != nil {
		return err
	}
	log.Info("agent has left the cluster", "node", c.Node)
	return nil
}

// dropPrivileges leaves the running agent the capabilities that it goes on to need.
func (o agentOptions) dropPrivileges(log *slog.Logger) error {
	d, err := demandsOf(o)
	if err != nil {
		return fmt.Errorf("find out which capabilities to keep: %w", err)
	}
	return dropPrivileges(d, log)
}

func newLogger(w io.Writer, level slog.Level, format string) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// startHTTP serves the debug endpoint until stop is called, which waits for it.
// From the end of ctx on, which leave brings about, it says that the agent is not
// ready.
func startHTTP(ctx context.Context, leave func(), o agentOptions, n node, log *slog.Logger) (stop func(), err error) {
	if o.http.off() {
		return func() {}, nil
	}
	listener, err := o.http.listen()
	if err != nil {
		return nil, err
	}
	server := newServer(n, ctx.Done(), leave, configOf(o), time.Now, log)
	var serving sync.WaitGroup
	serving.Go(func() { serve(server, listener, log) })
	return func() {
		grace, cancel := context.WithTimeout(context.Background(), httpGrace)
		defer cancel()
		if server.Shutdown(grace) != nil {
			server.Close()
		}
		serving.Wait()
	}, nil
}

// onSignals reloads on SIGHUP and tells of a stop, until the function that it
// returns is called.
func onSignals(ctx context.Context, log *slog.Logger, reload func()) (end func()) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	ended := make(chan struct{})
	var listening sync.WaitGroup
	listening.Go(func() {
		stopping := ctx.Done()
		for {
			select {
			case <-stopping:
				stopping = nil
				log.Info("leaving the cluster; a second signal exits at once")
			case <-hangup:
				reload()
			case <-ended:
				return
			}
		}
	})
	return func() {
		signal.Stop(hangup)
		close(ended)
		listening.Wait()
	}
}

// reloadKeyring puts the keys of the file in force. Whatever is wrong with
// them, the old ones stay.
func reloadKeyring(path string, set func([][]byte) error, log *slog.Logger) {
	if path == "" {
		log.Warn("SIGHUP changes nothing: this agent has no --keyring")
		return
	}
	keys, err := readKeyring(path)
	if err == nil {
		err = set(keys)
	}
	if err != nil {
		log.Error("the old keyring stays in force", "error", err)
		return
	}
	warnOpenKeyring(log, path)
	log.Info("keyring read again", "file", path, "keys", len(keys))
}
