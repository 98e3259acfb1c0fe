package fake

import (
	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/layout"
)

// layouts of a map; zero: it has no BTF.
type layouts struct{ key, value layout.Layout }

// SetLayouts gives the map types, for those who open it from then on. A new map
// has none.
func (m *Map) SetLayouts(key, value layout.Layout) {
	m.k.mu.Lock()
	defer m.k.mu.Unlock()
	m.layouts = layouts{key, value}
}

// SetWriter says who makes the writes from then on, and what they evict: Change
// tells the process, and all of it while Watch.NameWriters asks for it. At first
// nobody is known. What a mapwatch.Map applies has no writer, but what it evicts has.
func (m *Map) SetWriter(pid uint32, source mapwatch.Source, comm string) {
	m.k.mu.Lock()
	defer m.k.mu.Unlock()
	m.writer = writer{pid: pid, source: source}
	copy(m.writer.comm[:len(m.writer.comm)-1], comm)
}

// writer is what a Change says of who wrote.
type writer struct {
	pid    uint32
	source mapwatch.Source
	comm   [16]byte
}

// signLocked notes in a change who made it.
func (c *capture) signLocked(change *mapwatch.Change, by writer) {
	change.PID = by.pid
	if c.named {
		change.Source, change.Comm = by.source, by.comm
	}
}
