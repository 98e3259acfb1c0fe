package ether

import (
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Link is what happens to frames in one direction between two ports.
// The zero Link delivers all, at once.
type Link struct {
	Cut    bool          // nothing passes; frames that are still delayed are lost too
	Drop   float64       // probability that a frame is lost, 0 to 1
	Delay  time.Duration // added to each frame
	Jitter time.Duration // at most, added to Delay, uniformly; reorders frames
}

type address [6]byte

type direction struct{ from, to *Port }

// Switch forwards frames between its ports. Safe for concurrent use.
type Switch struct {
	workers sync.WaitGroup

	mu     sync.Mutex
	closed bool
	ports  []*Port
	learnt map[address]*Port
	links  map[direction]Link // absent: the zero Link
	random *rand.Rand
	order  uint64 // of frames, so that equal due times keep it
}

// NewSwitch takes the seed of its losses and jitters.
func NewSwitch(seed uint64) *Switch {
	return &Switch{
		learnt: make(map[address]*Port),
		links:  make(map[direction]Link),
		random: rand.New(rand.NewPCG(seed, 0)),
	}
}

// Attach makes a port of c and owns it from then on. The port goes when c ends.
func (s *Switch) Attach(c net.Conn) *Port {
	p := &Port{owner: s, conn: c, wake: make(chan struct{}, 1), gone: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close()
		close(p.gone)
		p.closed = true
		return p
	}
	s.ports = append(s.ports, p)
	s.workers.Go(p.read)
	s.workers.Go(p.write)
	return p
}

// Close detaches all ports and waits until nothing of the switch runs. Idempotent.
func (s *Switch) Close() error {
	s.mu.Lock()
	s.closed = true
	ports := s.ports
	s.mu.Unlock()
	for _, p := range ports {
		p.Close()
	}
	s.workers.Wait()
	return nil
}

// SetLink replaces what happens to frames from one port to another.
func (s *Switch) SetLink(from, to *Port, l Link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l == (Link{}) {
		delete(s.links, direction{from, to})
		return
	}
	s.links[direction{from, to}] = l
}

// Link returns what happens to frames from one port to another.
func (s *Switch) Link(from, to *Port) Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.links[direction{from, to}]
}

// HealAll makes every link deliver all, at once.
func (s *Switch) HealAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.links)
}

// forward takes over the frame, which is at least two addresses long.
func (s *Switch) forward(from *Port, frame []byte) {
	destination, source := address(frame[0:6]), address(frame[6:12])
	s.mu.Lock()
	defer s.mu.Unlock()
	from.counters.In++
	if source[0]&1 == 0 {
		s.learnt[source] = from
	}
	if destination[0]&1 == 0 {
		if to := s.learnt[destination]; to != nil {
			if to != from {
				s.sendLocked(from, to, frame)
			}
			return
		}
	}
	for _, to := range s.ports {
		if to != from {
			s.sendLocked(from, to, frame)
		}
	}
}

func (s *Switch) sendLocked(from, to *Port, frame []byte) {
	l := s.links[direction{from, to}]
	if l.Cut || l.Drop > 0 && s.random.Float64() < l.Drop {
		to.counters.Lost++
		return
	}
	wait := l.Delay
	if l.Jitter > 0 {
		wait += time.Duration(s.random.Int64N(int64(l.Jitter) + 1))
	}
	due := time.Time{} // at once, without asking the clock
	if wait > 0 {
		due = time.Now().Add(wait)
	}
	s.order++
	to.pushLocked(queued{due: due, order: s.order, from: from, frame: frame})
}

// detach forgets the port.
func (s *Switch) detach(p *Port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	close(p.gone)
	for i, q := range s.ports {
		if p == q {
			s.ports = append(s.ports[:i:i], s.ports[i+1:]...)
			break
		}
	}
	for a, q := range s.learnt {
		if p == q {
			delete(s.learnt, a)
		}
	}
	for d := range s.links {
		if d.from == p || d.to == p {
			delete(s.links, d)
		}
	}
}
