package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/mapgossip/mapgossip"
)

const (
	notifyInterval = 2 * time.Second        // between looks at the node, at most
	notifyAtStart  = 100 * time.Millisecond // until the node answers for the first time
	lookLimit      = 10 * time.Second       // for the node to answer, without a watchdog
)

// supervisor tells a service manager how the agent is, in the protocol of
// sd_notify(3). Without a manager (NOTIFY_SOCKET) it does nothing.
type supervisor struct {
	send     func(state string) error
	watchdog time.Duration // the manager kills an agent that is silent for so long; 0: never
	log      *slog.Logger

	// mu orders what is sent: nothing comes between RELOADING and its end.
	mu     sync.Mutex
	ready  bool
	last   string // status sent last
	broken bool   // the log has why the manager cannot be told
}

// systemdSupervisor is the service manager that the process was started by.
func systemdSupervisor(log *slog.Logger) *supervisor {
	s := &supervisor{log: log, send: func(state string) error {
		_, err := daemon.SdNotify(false, state)
		return err
	}}
	var err error
	if s.watchdog, err = daemon.SdWatchdogEnabled(false); err != nil {
		log.Warn("the service manager's watchdog is not served", "error", err)
	}
	return s
}

// watch tells of the node, and from the end of ctx on that the agent stops,
// until the function that it returns is called. READY means that the node
// answers, not that its maps hold what the cluster knows: a member whose seeds
// are away works, and must not be killed for it. The watchdog is fed only as
// long as the goroutine that owns the maps answers.
func (s *supervisor) watch(ctx context.Context, look func(context.Context) (mapgossip.Status, error)) (end func()) {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	every, patience := notifyInterval, lookLimit
	if s.watchdog > 0 { // an answer that takes half of its time still counts
		every, patience = min(every, s.watchdog/4), min(patience, s.watchdog/2)
	}
	var watching sync.WaitGroup
	watching.Go(func() {
		again := time.NewTimer(0)
		defer again.Stop()
		stopping := ctx.Done()
		for {
			select {
			case <-again.C:
			case <-stopping:
				stopping = nil
				s.stopping()
				continue
			case <-running.Done():
				if stopping != nil && ctx.Err() != nil {
					s.stopping()
				}
				return
			}
			limited, cancel := context.WithTimeout(running, patience)
			status, err := look(limited)
			cancel()
			wait := every
			if err == nil {
				s.alive(stopping != nil, statusLine(status))
			} else if !s.isReady() {
				wait = min(every, notifyAtStart)
			}
			again.Reset(wait)
		}
	})
	return func() { stop(); watching.Wait() }
}

// alive says what an answer of the node means.
func (s *supervisor) alive(stays bool, line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var states []string
	if stays {
		if !s.ready {
			s.ready = true
			states = append(states, daemon.SdNotifyReady)
		}
		if line != s.last {
			s.last = line
			states = append(states, "STATUS="+line)
		}
	}
	if s.watchdog > 0 {
		states = append(states, daemon.SdNotifyWatchdog)
	}
	if len(states) > 0 {
		s.tellLocked(states...)
	}
}

func (s *supervisor) isReady() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready
}

func (s *supervisor) stopping() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tellLocked(daemon.SdNotifyStopping, "STATUS=leaving the cluster")
}

// reloading runs reload between the messages that a manager waits for, with the
// time that Type=notify-reload asks for.
func (s *supervisor) reloading(reload func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ready { // then READY would come too early
		reload()
		return
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		s.log.Warn("read the monotonic clock", "error", err)
	}
	s.tellLocked(daemon.SdNotifyReloading, fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000))
	reload()
	s.tellLocked(daemon.SdNotifyReady)
}

func (s *supervisor) tellLocked(states ...string) {
	err := s.send(strings.Join(states, "\n"))
	if err != nil && !s.broken {
		s.log.Warn("the service manager cannot be told how the agent is", "error", err)
	}
	s.broken = err != nil
}

// statusLine is what 'systemctl status' shows.
func statusLine(s mapgossip.Status) string {
	alive := 0
	for _, m := range s.Members {
		if !m.Self && m.State == "alive" {
			alive++
		}
	}
	members := fmt.Sprintf("%d alive members", alive)
	switch alive {
	case 0:
		members = "no other alive member"
	case 1:
		members = "1 alive member"
	}
	text := "in sync, with " + members
	switch {
	case !s.Ready:
		text = "not ready: " + strings.Join(s.NotReady, "; ")
	case !s.InSync:
		text = "not in sync, " + members + ": 'mapgossip status' says with whom not"
	}
	if !s.Healthy {
		text += "; needs a human: " + strings.Join(s.Unhealthy, "; ")
	}
	return strings.Join(strings.Fields(text), " ") // one line: a line end begins another message
}
