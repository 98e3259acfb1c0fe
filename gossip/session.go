package gossip

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/mapgossip/mapgossip/crdt"
)

const (
	// sessionIdle without any progress ends a session and frees all of it.
	sessionIdle = 30 * time.Second
	// maxServing bounds the sessions that others may begin.
	maxServing = 16
	// maxMail is how many messages a session takes ahead; a chunk's
	// fingerprints are the most there can be.
	maxMail = maxPrints/framePrints + 8
)

var errYielded = errors.New("the member began a session about the same map")

// session brings one map of two members together. Entries travel in frames with
// credit, and a chunk or the whole ends once all of them are acknowledged, that
// is merged.
type session struct {
	id     uint64
	peer   *peer
	spec   *Map
	ours   bool        // begun by this member
	theirs crdt.Report // the member's Progress when the session began
	ctx    context.Context
	cancel context.CancelCauseFunc
	window *semaphore.Weighted
	idle   *time.Timer
	mail   chan any      // the other side's messages, each with its session's ID
	done   chan struct{} // closed when over
	err    error         // to be read after done
	heir   *session      // took this one's place, as errYielded says; guarded by peer.mu
}

// openSession registers a session about the map, or returns the present one.
// takeOver says whether the present one must make room instead.
func (p *peer) openSession(id uint64, spec *Map, ours bool, takeOver func(*session) bool) (s *session, present bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.sessions[spec.Name]
	if old != nil && !takeOver(old) {
		return old, true
	}
	s = &session{id: id, peer: p, spec: spec, ours: ours, window: semaphore.NewWeighted(sessionWindow),
		mail: make(chan any, maxMail), done: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancelCause(p.ctx)
	s.idle = time.AfterFunc(sessionIdle, func() {
		s.cancel(fmt.Errorf("no progress for %v", sessionIdle))
	})
	p.sessions[spec.Name] = s
	if old != nil {
		old.heir = s
		old.cancel(errYielded)
	}
	return s, false
}

// endOurs ends the session about the map that this member began, if there is one.
func (p *peer) endOurs(spec *Map) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.sessions[spec.Name]; s != nil && s.ours {
		s.cancel(errors.New("the member began one itself, and there are too many"))
	}
}

// close ends the session and frees what it holds.
func (s *session) close(err error) {
	s.idle.Stop()
	if err != nil && context.Cause(s.ctx) != nil {
		err = context.Cause(s.ctx)
	}
	s.err = err
	s.cancel(errors.New("session is over"))
	s.peer.mu.Lock()
	if s.peer.sessions[s.spec.Name] == s {
		delete(s.peer.sessions, s.spec.Name)
	}
	maps.DeleteFunc(s.peer.flights, func(_ uint64, f *flight) bool { return f.session == s })
	s.peer.mu.Unlock()
	close(s.done)
}

// withSession calls fn with the session of that ID, if there is one.
func (p *peer) withSession(id uint64, fn func(*session)) {
	p.mu.Lock()
	var found *session
	for _, s := range p.sessions {
		if s.id == id {
			found = s
		}
	}
	p.mu.Unlock()
	if found != nil {
		fn(found)
	}
}

func (s *session) progress() {
	if s.ctx.Err() == nil {
		s.idle.Reset(sessionIdle)
	}
}

// got takes a message of the other side. It never blocks.
func (s *session) got(message any) {
	s.progress()
	select {
	case s.mail <- message:
	default:
		s.cancel(errors.New("more messages than were asked for"))
	}
}

// next returns the other side's next message.
func (s *session) next() (any, error) {
	select {
	case message := <-s.mail:
		return message, nil
	case <-s.ctx.Done():
		return nil, context.Cause(s.ctx)
	}
}

func (s *session) gotRefusal(reason string) {
	s.cancel(errors.New("refused: " + reason))
}

// syncMap runs a session about one map with p, or waits for the one that p began.
func (c *Cluster) syncMap(ctx context.Context, p *peer, spec *Map) error {
	s, present := p.openSession(rand.Uint64()|1, spec, true, func(*session) bool { return false })
	if !present {
		c.counters.syncSessions.Add(1)
		stop := context.AfterFunc(ctx, func() { s.cancel(ctx.Err()) })
		err := c.begin(s)
		stop()
		s.close(err)
	}
	for {
		select {
		case <-s.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if !errors.Is(s.err, errYielded) {
			return s.err
		}
		p.mu.Lock()
		s = s.heir
		p.mu.Unlock()
	}
}

// handleSyncStart begins to serve a session. When both members began one about
// the same map, the one of the smaller name goes on.
func (c *Cluster) handleSyncStart(p *peer, start syncStart) {
	refuse := func(reason string) {
		_ = c.sendStream(p, encodeSyncRefuse(c.name, start.Session, reason)) // counted; it times out otherwise
	}
	spec := c.exchanged(p, start.Map.Name, start.Map.KeyBytes, start.Map.ValueBytes)
	if spec == nil || !spec.sameShape(start.Map) {
		refuse("map " + start.Map.Name + " is not exchanged with this member")
		return
	}
	if c.serving.Add(1) > maxServing {
		c.serving.Add(-1)
		refuse("too many sessions")
		if p.boot < c.name {
			p.endOurs(spec) // nobody answers: the other side's goes on
		}
		return
	}
	s, present := p.openSession(start.Session, spec, false, func(old *session) bool {
		return !old.ours || p.boot < c.name
	})
	if present {
		c.serving.Add(-1)
		return // it yields to ours
	}
	c.counters.syncSessions.Add(1)
	serve := func() {
		defer c.serving.Add(-1)
		s.theirs = start.Progress
		s.close(c.serve(s, start.Digests))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		c.serving.Add(-1)
		s.close(errors.New("closed"))
		return
	}
	c.goLocked(serve)
}
