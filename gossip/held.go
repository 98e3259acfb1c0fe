package gossip

import (
	"context"

	"github.com/mapgossip/mapgossip/crdt"
)

// Held is what a member has of a key.
type Held struct {
	Known            bool // there is an Entry
	Entry            crdt.Entry
	Pending, Evicted bool // the kernel map does not have it yet, or let go of it
	Kernel           KernelValue
}

// KernelValue is what a kernel map holds for a key.
type KernelValue struct {
	Read    bool // else nothing is known of it
	Present bool
	Value   []byte
}

// Held asks the other living members for what they have of a key, all at the same
// time. The answers are sorted by node ID; sizes of values are as the members told
// them, and need not be the map's.
func (c *Cluster) Held(ctx context.Context, mapName string, key []byte) []Answer[Held] {
	return askAll(ctx, c, askHeld, heldBody(mapName, key), func(b []byte) (Held, error) { return decodeHeld(b, key) })
}

func heldBody(mapName string, key []byte) []byte {
	w := newBody(2, len(key)+maxMapNameBytes+16)
	w.text(mapName)
	w.blob(key)
	return w.body()
}

func (c *Cluster) replyHeld(ctx context.Context, body []byte) ([]byte, error) {
	var name string
	var key []byte
	if err := openBody(body, 2, func(r *fieldReader) {
		name, key = r.text(maxMapNameBytes), r.blob(MaxEntryBytes)
	}); err != nil {
		return nil, err
	}
	h, err := c.replica.Held(ctx, name, key)
	if err != nil {
		return nil, err
	}
	return h.encode(), nil
}

// encode leaves the key out, and the kernel's value where the two are too large for
// a frame.
func (h Held) encode() []byte {
	size := len(h.Entry.Value) + len(h.Kernel.Value) + 1024
	if size > maxFrameBytes {
		h.Kernel = KernelValue{}
	}
	w := newBody(10, size)
	w.flag(h.Known)
	w.flag(h.Entry.Deleted)
	w.blob(h.Entry.Value)
	w.blob(h.Entry.Version.Time.AppendBinary(nil))
	w.text(h.Entry.Version.Member)
	w.flag(h.Pending)
	w.flag(h.Evicted)
	w.flag(h.Kernel.Read)
	w.flag(h.Kernel.Present)
	w.blob(h.Kernel.Value)
	return w.body()
}

// decodeHeld refers to body.
func decodeHeld(body, key []byte) (Held, error) {
	var h Held
	err := openBody(body, 10, func(r *fieldReader) {
		h.Known = r.flag()
		h.Entry.Deleted = r.flag()
		h.Entry.Value = r.blob(MaxEntryBytes)
		if stamp := r.blob(timestampBytes); r.err == nil {
			t, err := crdt.ParseTimestamp(stamp)
			if err != nil {
				r.fail("timestamp: %v", err)
			}
			h.Entry.Version.Time = t
		}
		h.Entry.Version.Member = r.text(maxNodeBytes)
		h.Pending, h.Evicted = r.flag(), r.flag()
		h.Kernel = KernelValue{Read: r.flag(), Present: r.flag(), Value: r.blob(MaxEntryBytes)}
		if h.Known && !printable(h.Entry.Version.Member) {
			r.fail("origin %q", h.Entry.Version.Member)
		}
	})
	if err != nil {
		return Held{}, err
	}
	if h.Known {
		h.Entry.Key = key
	} else {
		h.Entry = crdt.Entry{}
	}
	return h, nil
}
