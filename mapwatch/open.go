//go:build linux

package mapwatch

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Open implements Kernel. A pin path needs the permission to read and write the
// file and, where kernel.unprivileged_bpf_disabled is set on kernels before
// 6.0, CAP_BPF; id: and name: need CAP_SYS_ADMIN. A pin that may be read but
// not written is opened for reading: Apply gives ErrFrozen then.
//
// The kernel's name of a map does not have to be unique: if several maps have
// it, Open gives ErrNotFound and lists their IDs. A Map that is open counts
// too, so close it before its name: target is opened again, or use Reopen.
//
// Map.Layouts needs CAP_SYS_ADMIN during Open; without it they are zero.
func (h *Host) Open(text string) (Map, error) {
	target, err := ParseTarget(text)
	if err != nil {
		return nil, fmt.Errorf("open map: %w", err)
	}
	m, err := h.open(target, text, 0)
	if err != nil {
		return nil, fmt.Errorf("open map %s: %w", text, err)
	}
	return m, nil
}

// Reopen implements Kernel. An id: target leads to one map for ever. Where the
// map's BTF may not be read, because CAP_SYS_ADMIN was dropped since m was opened,
// and the sizes are the same, it has the Layouts of m: most loaders put a map of
// the same types in a map's place.
func (h *Host) Reopen(m Map) (Map, error) {
	old, ok := m.(*hostMap)
	if !ok || old.host != h {
		return nil, fmt.Errorf("open map %s again: it was not opened by this host", m.Shape().Target)
	}
	again, err := h.open(old.target, old.shape.Target, old.shape.ID)
	if err != nil {
		return nil, fmt.Errorf("open map %s again: %w", old.shape.Target, err)
	}
	if again.shape.ID == old.shape.ID {
		again.Close()
		return nil, fmt.Errorf("open map %s again: %w: it still leads to map %d", old.shape.Target, ErrNotFound, old.shape.ID)
	}
	if again.hidden && again.shape.Type == old.shape.Type &&
		again.shape.KeyBytes == old.shape.KeyBytes && again.shape.ValueBytes == old.shape.ValueBytes {
		again.key, again.value = old.key, old.value
	}
	return again, nil
}

// open opens what target leads to. Among maps of one name, the one with the ID
// except does not count.
func (h *Host) open(target Target, text string, except uint32) (*hostMap, error) {
	fd, readOnly, err := target.open(except)
	if err != nil {
		return nil, err
	}
	return h.newMap(target, text, fd, readOnly)
}

// newMap takes over fd, also when it fails.
func (h *Host) newMap(target Target, text string, fd int, readOnly bool) (*hostMap, error) {
	info, err := bpfMapInfo(fd)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("read its description: %w", err)
	}
	kind, err := checkType(info.kind)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	if kind == TypeLPMTrie {
		if err := checkTrieWalk(); err != nil {
			unix.Close(fd)
			return nil, err
		}
	}
	var lock uint64
	if hasSpinLock(fd, info) {
		lock = elemLock
	}
	// They only serve showing, so that a map without is as good.
	keyLayout, valueLayout, layoutErr := readLayouts(info)
	m, err := ebpf.NewMapFromFD(fd)
	if err != nil {
		return nil, err // has closed fd
	}
	opened := &hostMap{
		host:       h,
		target:     target,
		readOnly:   readOnly,
		lock:       lock,
		key:        keyLayout,
		value:      valueLayout,
		hidden:     errors.Is(layoutErr, unix.EPERM),
		writeBatch: bpfWriteBatch,
		write:      bpfWrite,
		m:          m,
		shape: Shape{
			Target:     text,
			ID:         info.id,
			Name:       unix.ByteSliceToString(info.name[:]),
			Type:       kind,
			KeyBytes:   int(info.keyBytes),
			ValueBytes: int(info.valueBytes),
			MaxEntries: int(info.maxEntries),
		},
	}
	if kind == TypeArray {
		opened.zeros = make([]byte, info.valueBytes)
	}
	return opened, nil
}

// hasSpinLock asks for a locked lookup: only maps with a bpf_spin_lock do not
// answer EINVAL (map_lookup_elem in kernel/bpf/syscall.c). It needs no
// capability, while reading the map's BTF would.
func hasSpinLock(fd int, info mapInfo) bool {
	key, value := make([]byte, info.keyBytes), make([]byte, info.valueBytes)
	err := bpfLookup(fd, key, value, elemLock)
	return err == nil || errors.Is(err, unix.ENOENT)
}

// open returns a descriptor of the map that the target leads to now.
func (t Target) open(except uint32) (fd int, readOnly bool, err error) {
	switch {
	case t.ID != 0:
		fd, err = openID(t.ID)
	case t.Name != "":
		fd, err = openName(t.Name, except)
	default:
		fd, readOnly, err = openPin(t.Path)
	}
	return fd, readOnly, err
}

func openID(id uint32) (int, error) {
	fd, err := bpfMapByID(id)
	if errors.Is(err, unix.ENOENT) {
		return -1, fmt.Errorf("%w: the kernel has no map with this ID (bpftool map list)", ErrNotFound)
	}
	return fd, explainID(err)
}

func explainID(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: the kernel finds maps by ID or name for CAP_SYS_ADMIN only; use a pin path, or run with that capability", ErrPermission)
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("%w: it has no bpf(2) (CONFIG_BPF_SYSCALL)", ErrUnsupported)
	}
	return err
}

func openName(name string, except uint32) (int, error) {
	ids, err := mapsNamed(name)
	if err != nil {
		return -1, err
	}
	others := slices.DeleteFunc(ids, func(id uint32) bool { return id == except })
	switch {
	case len(others) == 0 && except != 0:
		return -1, fmt.Errorf("%w: the kernel has no other map with this name than map %d, which is open", ErrNotFound, except)
	case len(others) == 0:
		return -1, fmt.Errorf("%w: the kernel has no map with this name (bpftool map list)", ErrNotFound)
	case len(others) > 1:
		return -1, fmt.Errorf("%w as one map: %d maps have this name, IDs %s; use a pin path or id:NUMBER", ErrNotFound, len(others), joinIDs(others))
	}
	return openID(others[0])
}

// mapsNamed lists the IDs of all maps with that name.
func mapsNamed(name string) ([]uint32, error) {
	var ids []uint32
	for id := uint32(0); ; {
		next, err := bpfNextMapID(id)
		if errors.Is(err, unix.ENOENT) {
			return ids, nil
		}
		if err != nil {
			return nil, explainID(err)
		}
		id = next
		fd, err := bpfMapByID(id)
		if errors.Is(err, unix.ENOENT) {
			continue // freed since
		}
		if err != nil {
			return nil, explainID(err)
		}
		info, err := bpfMapInfo(fd)
		unix.Close(fd)
		if err != nil {
			return nil, fmt.Errorf("read description of map %d: %w", id, err)
		}
		if unix.ByteSliceToString(info.name[:]) == name {
			ids = append(ids, id)
		}
	}
}

func joinIDs(ids []uint32) string {
	var b strings.Builder
	for i, id := range ids {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprint(&b, id)
	}
	return b.String()
}
