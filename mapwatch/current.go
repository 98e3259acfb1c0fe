//go:build linux

package mapwatch

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Current implements Map. It needs the permissions of Open, and gives
// ErrPermission where they were taken away: that says nothing about the map.
//
// While the map is open its ID cannot pass to another map, so an id: target is
// current until Close. A name: target is so while no other map has the name:
// once another has, it is taken for the successor.
func (m *hostMap) Current() error {
	m.mu.RLock()
	closed := m.closed
	m.mu.RUnlock()
	if closed {
		return errClosed("resolve target of", m.shape)
	}
	switch {
	case m.target.ID != 0:
		return nil
	case m.target.Name != "":
		return m.currentName()
	}
	return m.currentPin()
}

func (m *hostMap) currentName() error {
	ids, err := mapsNamed(m.target.Name)
	if err != nil {
		return fmt.Errorf("resolve target of map %s: %w", m.shape.Target, err)
	}
	for _, id := range ids {
		if id != m.shape.ID {
			return fmt.Errorf("%w: map %d was opened as %s, now map %d has that name too", ErrGone, m.shape.ID, m.shape.Target, id)
		}
	}
	return nil
}

func (m *hostMap) currentPin() error {
	fd, _, err := openPin(m.target.Path)
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrNotMap):
		return fmt.Errorf("%w: map %d was opened as %s, which leads to no map now: %v", ErrGone, m.shape.ID, m.shape.Target, err)
	case err != nil:
		return fmt.Errorf("resolve target of map %s: %w", m.shape.Target, err)
	}
	info, err := bpfMapInfo(fd)
	unix.Close(fd)
	if err != nil {
		return fmt.Errorf("resolve target of map %s: read its description: %w", m.shape.Target, err)
	}
	if info.id != m.shape.ID {
		return fmt.Errorf("%w: map %d was opened as %s, which leads to map %d now", ErrGone, m.shape.ID, m.shape.Target, info.id)
	}
	return nil
}
