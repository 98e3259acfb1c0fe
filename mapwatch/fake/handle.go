package fake

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/mapgossip/mapgossip/mapwatch"
	"github.com/mapgossip/mapgossip/mapwatch/layout"
)

// handle is a Map that was opened for replication.
type handle struct {
	k      *Kernel
	m      *Map
	target mapwatch.Target
	shape  mapwatch.Shape
	closed bool // guarded by k.mu

	layouts layouts
}

var _ mapwatch.Map = (*handle)(nil)

func (h *handle) Shape() mapwatch.Shape { return h.shape }

// Layouts implements mapwatch.Map: those of Map.SetLayouts when it was opened.
func (h *handle) Layouts() (key, value layout.Layout) { return h.layouts.key, h.layouts.value }

func (h *handle) goneLocked() error {
	if h.closed {
		return fmt.Errorf("map %s: %w: the handle was closed", h.shape.Target, mapwatch.ErrGone)
	}
	return nil
}

func (h *handle) Lookup(key []byte) ([]byte, error) {
	h.k.mu.Lock()
	defer h.k.mu.Unlock()
	if err := h.goneLocked(); err != nil {
		return nil, err
	}
	own, err := h.m.keyOf(key)
	if err != nil && !isOverrun(err) {
		return nil, err
	}
	value, ok := h.m.values[own]
	if !ok {
		return nil, fmt.Errorf("look up key %x in map %s: %w", key, h.shape.Target, mapwatch.ErrNotFound)
	}
	if strike(&h.m.faults.misread) {
		if other, ok := h.m.otherValueLocked(own); ok {
			value = other
		}
	}
	return bytes.Clone(value), nil
}

func (h *handle) Apply(ops []mapwatch.Op) {
	for i := range ops {
		ops[i].Err = h.apply(ops[i])
	}
}

func (h *handle) apply(op mapwatch.Op) error {
	h.k.mu.Lock()
	defer h.k.mu.Unlock()
	if err := h.goneLocked(); err != nil {
		return err
	}
	if h.k.isClosed {
		return fmt.Errorf("map %s: %w: the kernel was closed", h.shape.Target, mapwatch.ErrGone)
	}
	key, err := h.m.keyOf(op.Key)
	if err != nil && !isOverrun(err) {
		return err
	}
	value := op.Value
	if op.Delete {
		value = nil
	} else if err := h.m.checkValue(value); err != nil {
		return err
	}
	if h.m.faults.frozen {
		return fmt.Errorf("write map %s: %w", h.shape.Target, mapwatch.ErrFrozen)
	}
	if strike(&h.m.faults.failApply) {
		return fmt.Errorf("write map %s: %w", h.shape.Target, h.m.faults.applyErr)
	}
	if err != nil {
		h.m.appliedLocked(op, true)
		return err
	}
	op.Key = []byte(key)
	if op.Delete {
		_, there := h.m.values[key]
		h.m.deleteLocked(key)
		h.m.appliedLocked(op, !there && h.m.shape.Type != mapwatch.TypeArray)
		return nil
	}
	err = h.m.setLocked(key, value, 0)
	h.m.appliedLocked(op, err != nil)
	return err
}

// scanChunk is small, so that scans of small maps have several chunks.
const scanChunk = 64

func (h *handle) Scan(ctx context.Context, fn func(keys, values []byte, n int) error) error {
	h.k.mu.Lock()
	keysLeft := h.m.keysLocked()
	h.k.mu.Unlock()
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("scan map %s: %w", h.shape.Target, err)
		}
		var keys, values []byte
		n := 0
		h.k.mu.Lock()
		err := h.goneLocked()
		for err == nil && len(keysLeft) > 0 && n < scanChunk {
			if value, ok := h.m.values[keysLeft[0]]; ok {
				keys = append(keys, keysLeft[0]...)
				values = append(values, value...)
				n++
			}
			keysLeft = keysLeft[1:]
		}
		h.k.mu.Unlock()
		if err != nil {
			return err
		}
		if n > 0 {
			if err := fn(keys, values, n); err != nil {
				return err
			}
		}
		if len(keysLeft) == 0 {
			return nil
		}
	}
}

func (h *handle) Current() error {
	h.k.mu.Lock()
	defer h.k.mu.Unlock()
	if err := h.goneLocked(); err != nil {
		return err
	}
	if h.target.ID != 0 {
		return nil // lives as long as it is open
	}
	if h.target.Name != "" {
		for _, m := range h.k.aliveLocked() {
			if m != h.m && m.shape.Name == h.target.Name {
				return fmt.Errorf("%w: map %d was opened as %s, now map %d has that name too", mapwatch.ErrGone, h.shape.ID, h.shape.Target, m.shape.ID)
			}
		}
		return nil
	}
	m, err := h.k.findLocked(h.target, nil)
	if err != nil {
		return fmt.Errorf("%w: map %d was opened as %s, which leads to no map now: %v", mapwatch.ErrGone, h.shape.ID, h.shape.Target, err)
	}
	if m != h.m {
		return fmt.Errorf("%w: map %d was opened as %s, which leads to map %d now", mapwatch.ErrGone, h.shape.ID, h.shape.Target, m.shape.ID)
	}
	return nil
}

func (h *handle) Close() error {
	h.k.mu.Lock()
	defer h.k.mu.Unlock()
	h.closed = true
	h.k.handles = slices.DeleteFunc(h.k.handles, func(other *handle) bool { return other == h })
	return nil
}
