package mapgossip

import (
	"encoding/hex"
	"time"

	"github.com/mapgossip/mapgossip/crdt"
	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/layout"
)

// copied is an entry as this member holds it, with memory of its own: the owner
// copies, and whoever wants to see it puts it into words.
type copied struct {
	crdt.Entry
	pending, evicted bool
}

// copyOf copies the entry of a slot that holds one.
func (m *mirror) copyOf(slot crdt.Slot) copied {
	e, _ := m.store.At(slot)
	return m.appendCopy(make([]byte, 0, len(e.Key)+len(e.Value)), slot, e)
}

// appendCopy copies an entry behind what memory has; it must have room for it.
func (m *mirror) appendCopy(memory []byte, slot crdt.Slot, e crdt.Entry) copied {
	memory = append(append(memory, e.Key...), e.Value...)
	at := len(memory) - len(e.Value)
	e.Key, e.Value = memory[at-len(e.Key):at:at], memory[at:len(memory):len(memory)]
	c := copied{Entry: e}
	c.pending, c.evicted = m.lacks(slot)
	return c
}

// lacks reports whether the kernel map does not have the entry of a slot: not yet,
// or because it let go of it.
func (m *mirror) lacks(slot crdt.Slot) (pending, evicted bool) {
	return m.applies && m.keys.pending(slot), m.keys.is(slot, flagEvicted)
}

// printer puts entries of one map into words. It is not safe for concurrent use,
// and is kept away from the owner: words take longer than entries.
type printer struct {
	mapName    string
	kernel     mapwatch.Map // whose types key and value are; nil: none
	key, value layout.Layout
}

// use makes the types those of a kernel map, which may be nil, or closed.
func (p *printer) use(kernel mapwatch.Map) {
	if kernel == p.kernel {
		return
	}
	p.kernel, p.key, p.value = kernel, layout.Layout{}, layout.Layout{}
	if kernel != nil {
		p.key, p.value = kernel.Layouts()
	}
}

// absent is a key of which there is no entry.
func (p *printer) absent(key []byte) Entry {
	return Entry{Map: p.mapName, Key: hex.EncodeToString(key), KeyText: text(p.key, key)}
}

func (p *printer) entry(c copied) Entry {
	e := p.absent(c.Key)
	e.Deleted, e.Node = c.Deleted, c.Version.Member
	e.Time, e.Logical = time.Unix(0, c.Version.Time.Wall).UTC(), c.Version.Time.Logical
	e.Pending, e.Evicted = c.pending, c.evicted
	if !c.Deleted {
		e.Value, e.ValueText = hex.EncodeToString(c.Value), text(p.value, c.Value)
	}
	return e
}

func (p *printer) kernelValue(found content) *KernelValue {
	if !found.present {
		return &KernelValue{}
	}
	return &KernelValue{Present: true, Value: hex.EncodeToString(found.value), ValueText: text(p.value, found.value)}
}

// text is b by its type; empty if that is not known.
func text(l layout.Layout, b []byte) string {
	if !l.Known() {
		return ""
	}
	return l.Format(b)
}
