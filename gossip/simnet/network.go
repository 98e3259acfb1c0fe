package simnet

import (
	"math/rand/v2"
	"sync"
	"time"
)

// Link is the quality of a network. The zero value is perfect.
type Link struct {
	Delay     time.Duration // of packets, dials and stream data
	Jitter    time.Duration // up to this more, a packet each: reorders them
	Loss      float64       // share of the packets that vanish, 0 to 1
	Duplicate float64       // share of the packets that arrive twice
	Reorder   float64       // share of the packets that are held back
	Hold      time.Duration // up to this long, a packet each: later ones overtake it
	Rate      int           // bytes a second that leave a host, packets and streams in one line; 0: any number
}

// Network connects transports by their addresses. Safe for concurrent use.
type Network struct {
	mu     sync.Mutex
	rng    *rand.Rand
	link   Link
	hosts  map[string]*Transport
	cuts   map[[2]string]bool // from, to
	filter func(from, to string, packet []byte) bool
	heal   chan struct{} // closed and replaced at each change
	sent   uint64
}

// New returns a network without hosts. The same seed gives the same dice.
func New(seed uint64, link Link) *Network {
	return &Network{
		rng:   rand.New(rand.NewPCG(seed, seed)),
		link:  link,
		hosts: make(map[string]*Transport),
		cuts:  make(map[[2]string]bool),
		heal:  make(chan struct{}),
	}
}

// SetLink changes the quality from now on.
func (n *Network) SetLink(link Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.link = link
}

// SetFilter sets a function that may drop packets: false drops. Nil ends that.
func (n *Network) SetFilter(keep func(from, to string, packet []byte) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.filter = keep
}

// Cut stops everything from one address to another, that way only.
func (n *Network) Cut(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[[2]string{from, to}] = true
	n.changedLocked()
}

// Partition cuts both ways between addresses of different groups.
func (n *Network) Partition(groups ...[]string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, a := range groups {
		for j, b := range groups {
			if i == j {
				continue
			}
			for _, from := range a {
				for _, to := range b {
					n.cuts[[2]string{from, to}] = true
				}
			}
		}
	}
	n.changedLocked()
}

// Heal removes all cuts. Killed hosts stay dead.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cuts)
	n.changedLocked()
}

// Stall makes the host at addr like a process that is stopped: its connections
// stay open and new ones to it are made, up to a backlog, but it reads nothing,
// so that what is written to it stays where it is once the window is full.
// Packets to it and from it vanish, and what it writes to streams, or wants to
// dial, waits. Its own timers go on. Until Resume.
func (n *Network) Stall(addr string) { n.setStalled(addr, true) }

// Resume ends Stall: streams go on where they stood.
func (n *Network) Resume(addr string) { n.setStalled(addr, false) }

func (n *Network) setStalled(addr string, stalled bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if t := n.hosts[addr]; t != nil {
		t.stalled = stalled
	}
	n.changedLocked()
}

// Kill makes the host at addr silent for ever, as if its power was cut. Its
// transport must still be shut down. A new one may take the address.
func (n *Network) Kill(addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if t := n.hosts[addr]; t != nil {
		t.dead = true
		delete(n.hosts, addr)
	}
	n.changedLocked()
}

// Packets returns how many packets were sent so far, lost ones included.
func (n *Network) Packets() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sent
}

// changedLocked wakes all who wait for a link.
func (n *Network) changedLocked() {
	close(n.heal)
	n.heal = make(chan struct{})
}

// blocked reports whether nothing gets from one transport to the other now,
// and a channel that closes when that may have changed.
func (n *Network) blocked(from, to *Transport) (bool, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.openLocked(from, to), n.heal
}

// openLocked reports whether what from sends gets to to.
func (n *Network) openLocked(from, to *Transport) bool {
	return !from.silent() && !to.silent() && (len(n.cuts) == 0 || !n.cuts[[2]string{from.addr, to.addr}])
}

// delay of dials.
func (n *Network) delay() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.link.Delay
}

// arrives is when stream data that from writes at this moment gets there.
func (n *Network) arrives(from *Transport, bytes int, now time.Time) time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return now.Add(n.queueLocked(from, bytes, now) + n.link.Delay)
}

// queueLocked puts bytes into the line of what leaves a host and returns how
// long it takes until the last of them has left.
func (n *Network) queueLocked(from *Transport, bytes int, now time.Time) time.Duration {
	if n.link.Rate <= 0 {
		return 0
	}
	if from.busy.Before(now) {
		from.busy = now
	}
	from.busy = from.busy.Add(time.Duration(bytes) * time.Second / time.Duration(n.link.Rate))
	return from.busy.Sub(now)
}

// fate decides when, and how often, a packet arrives.
func (n *Network) fate(from *Transport, to string, packet []byte) (target *Transport, after []time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sent++
	queue := n.queueLocked(from, len(packet), time.Now())
	target = n.hosts[to]
	if target == nil || !n.openLocked(from, target) ||
		n.filter != nil && !n.filter(from.addr, to, packet) || n.rng.Float64() < n.link.Loss {
		return nil, nil
	}
	copies := 1
	if n.rng.Float64() < n.link.Duplicate {
		copies = 2
	}
	for range copies {
		d := queue + n.link.Delay
		if n.link.Jitter > 0 {
			d += time.Duration(n.rng.Int64N(int64(n.link.Jitter)))
		}
		if n.link.Hold > 0 && n.rng.Float64() < n.link.Reorder {
			d += time.Duration(n.rng.Int64N(int64(n.link.Hold)))
		}
		after = append(after, d)
	}
	return target, after
}
