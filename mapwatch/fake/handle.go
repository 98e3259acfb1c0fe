package fake

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/mapgossip/mapgossip/mapwatch"
)

// handle is a Map that was opened for replication.
type handle struct {
	k      *Kernel
	m      *Map
	target mapwatch.Target
	shape  mapwatch.Shape
	closed bool // guarded by k.mu
}

var _ mapwatch.Map = (*handle)(nil)

func (h *handle) Shape() mapwatch.Shape { return h.shape }

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
	if err := h.m.checkKey(key); err != nil {
		return nil, err
	}
	value, ok := h.m.values[string(key)]
	if !ok {
		return nil, fmt.Errorf("look up key %x in map %s: %w", key, h.shape.Target, mapwatch.ErrNotFound)
	}
	if strike(&h.m.faults.misread) {
		if other, ok := h.m.otherValueLocked(key); ok {
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
	if err := h.m.checkKey(op.Key); err != nil {
		return err
	}
	if !op.Delete {
		if err := h.m.checkValue(op.Value); err != nil {
			return err
		}
	}
	if h.m.faults.frozen {
		return fmt.Errorf("write map %s: %w", h.shape.Target, mapwatch.ErrFrozen)
	}
	if strike(&h.m.faults.failApply) {
		return fmt.Errorf("write map %s: %w", h.shape.Target, h.m.faults.applyErr)
	}
	if op.Delete {
		_, there := h.m.values[string(op.Key)]
		h.m.deleteLocked(op.Key)
		h.m.appliedLocked(mapwatch.Deleted, op.Key, nil, !there)
		return nil
	}
	err := h.m.setLocked(op.Key, op.Value)
	h.m.appliedLocked(mapwatch.Updated, op.Key, op.Value, err != nil)
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
	m, err := h.k.findLocked(h.target)
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
