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
	return from.dead || to.dead || n.cuts[[2]string{from.addr, to.addr}], n.heal
}

// delay of stream data.
func (n *Network) delay() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.link.Delay
}

// fate decides when, and how often, a packet arrives.
func (n *Network) fate(from *Transport, to string, packet []byte) (target *Transport, after []time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sent++
	target = n.hosts[to]
	if target == nil || from.dead || n.cuts[[2]string{from.addr, to}] ||
		n.filter != nil && !n.filter(from.addr, to, packet) || n.rng.Float64() < n.link.Loss {
		return nil, nil
	}
	copies := 1
	if n.rng.Float64() < n.link.Duplicate {
		copies = 2
	}
	for range copies {
		d := n.link.Delay
		if n.link.Jitter > 0 {
			d += time.Duration(n.rng.Int64N(int64(n.link.Jitter)))
		}
		after = append(after, d)
	}
	return target, after
}
