package lab

import (
	"time"

	"github.com/mapgossip/mapgossip/test/lab/ether"
)

// Cut loses every frame between two hosts, both ways, those on their way included.
func (l *Lab) Cut(a, b *Host) {
	l.change(a, b, func(k *ether.Link) { k.Cut = true })
}

// Heal makes the link between two hosts deliver all, at once, both ways.
func (l *Lab) Heal(a, b *Host) {
	l.change(a, b, func(k *ether.Link) { *k = ether.Link{} })
}

// Isolate cuts a host from all others. Rejoin undoes it.
func (l *Lab) Isolate(a *Host) {
	for _, b := range l.hosts {
		if a != b {
			l.Cut(a, b)
		}
	}
}

// Rejoin heals a host's links to all others.
func (l *Lab) Rejoin(a *Host) {
	for _, b := range l.hosts {
		if a != b {
			l.Heal(a, b)
		}
	}
}

// Drop loses frames between two hosts with that probability, 0 to 1, each way.
func (l *Lab) Drop(a, b *Host, probability float64) {
	l.change(a, b, func(k *ether.Link) { k.Drop = probability })
}

// Delay holds each frame between two hosts back for d, and up to jitter more, each way.
func (l *Lab) Delay(a, b *Host, d, jitter time.Duration) {
	l.change(a, b, func(k *ether.Link) { k.Delay, k.Jitter = d, jitter })
}

// SetLink replaces what happens to frames in one direction.
func (l *Lab) SetLink(from, to *Host, k ether.Link) {
	l.network.SetLink(from.port, to.port, k)
}

// HealAll makes every link deliver all, at once.
func (l *Lab) HealAll() { l.network.HealAll() }

func (l *Lab) change(a, b *Host, f func(*ether.Link)) {
	for _, d := range [][2]*Host{{a, b}, {b, a}} {
		k := l.network.Link(d[0].port, d[1].port)
		f(&k)
		l.SetLink(d[0], d[1], k)
	}
}
