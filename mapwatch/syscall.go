//go:build linux

package mapwatch

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The bpf(2) calls on elements are made here and not through the eBPF library,
// because key and value sizes are known at run time only: the library wants a
// Go type for one element, while the kernel wants, and Scan and Apply have,
// elements that lie end to end in flat byte slices. (The library through
// reflect.ArrayOf moves data equally fast; see BenchmarkAliasedBatch.)
//
// The attribute structs are prefixes of union bpf_attr. They hold pointers as
// unsafe.Pointer, so that the garbage collector sees them, which is the
// kernel's __aligned_u64 on 64-bit machines only:
const _ = uint(unsafe.Sizeof(uintptr(0)) - 8) // does not compile for 32-bit targets

// Element flags, <uapi/linux/bpf.h>.
const (
	updateAny = 0 // BPF_ANY
	elemLock  = 4 // BPF_F_LOCK: under the bpf_spin_lock that is in the value
)

func bpfCall(command uintptr, attr unsafe.Pointer, size uintptr) (uintptr, error) {
	for {
		r, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(attr), size)
		if errno == 0 {
			return r, nil
		}
		if errno != unix.EINTR {
			return r, errno
		}
	}
}

type elementAttr struct {
	fd    uint32
	_     uint32
	key   unsafe.Pointer
	value unsafe.Pointer
	flags uint64
}

func bpfElement(command uintptr, fd int, key, value []byte, flags uint64) error {
	attr := elementAttr{
		fd:    uint32(fd),
		key:   unsafe.Pointer(unsafe.SliceData(key)), // nil for a nil slice
		value: unsafe.Pointer(unsafe.SliceData(value)),
		flags: flags,
	}
	_, err := bpfCall(command, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	runtime.KeepAlive(key)
	runtime.KeepAlive(value)
	return err
}

func bpfLookup(fd int, key, value []byte, flags uint64) error {
	return bpfElement(unix.BPF_MAP_LOOKUP_ELEM, fd, key, value, flags)
}

// bpfWrite deletes, or updates with flags.
func bpfWrite(fd int, op Op, flags uint64) error {
	if op.Delete {
		return bpfElement(unix.BPF_MAP_DELETE_ELEM, fd, op.Key, nil, 0)
	}
	return bpfElement(unix.BPF_MAP_UPDATE_ELEM, fd, op.Key, op.Value, updateAny|flags)
}

type batchAttr struct {
	in, out     unsafe.Pointer // cursors, for lookups
	keys        unsafe.Pointer
	values      unsafe.Pointer
	count       uint32
	fd          uint32
	elementFlag uint64
	flags       uint64
}

// bpfBatch runs one batch command over n elements and returns the kernel's
// count, which is n still where the kernel refused before it wrote one. It does
// not try again by itself, because the count is in and out.
func bpfBatch(command uintptr, fd int, in, out, keys, values []byte, n int, flags uint64) (int, error) {
	attr := batchAttr{
		in:          unsafe.Pointer(unsafe.SliceData(in)),
		out:         unsafe.Pointer(unsafe.SliceData(out)),
		keys:        unsafe.Pointer(unsafe.SliceData(keys)),
		values:      unsafe.Pointer(unsafe.SliceData(values)),
		count:       uint32(n),
		fd:          uint32(fd),
		elementFlag: flags,
	}
	_, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(in)
	runtime.KeepAlive(out)
	runtime.KeepAlive(keys)
	runtime.KeepAlive(values)
	if errno != 0 {
		return int(attr.count), errno
	}
	return int(attr.count), nil
}

// bpfWriteBatch updates n elements with flags, or deletes them if values is nil.
// It returns how many were done; on an error the next one is to blame.
func bpfWriteBatch(fd int, keys, values []byte, n int, flags uint64) (int, error) {
	command := uintptr(unix.BPF_MAP_UPDATE_BATCH)
	if values == nil {
		command, flags = unix.BPF_MAP_DELETE_BATCH, 0
	}
	done, err := bpfBatch(command, fd, nil, nil, keys, values, n, flags)
	if err != nil && done >= n {
		done = 0 // before 6.8 an early refusal leaves the count alone
	}
	return done, err
}

// bpfLookupBatch copies up to n elements from the cursor in on (nil: from the
// start) and moves the cursor to out. It returns how many were copied, which
// can be more than none on an error too; ENOENT means that these were the last.
func bpfLookupBatch(fd int, in, out, keys, values []byte, n int, flags uint64) (int, error) {
	got, err := bpfBatch(unix.BPF_MAP_LOOKUP_BATCH, fd, in, out, keys, values, n, flags)
	switch err {
	case unix.EPERM, unix.EBADF, unix.EINVAL, errNotSupp:
		got = 0 // refused before the count was written
	}
	return got, err
}

type objectAttr struct {
	path  unsafe.Pointer
	fd    uint32
	flags uint32
}

// bpfObjectGet opens what is pinned at path; the descriptor is close-on-exec,
// as all that bpf(2) returns.
func bpfObjectGet(path string, flags uint32) (int, error) {
	text, err := unix.BytePtrFromString(path)
	if err != nil {
		return -1, err
	}
	attr := objectAttr{path: unsafe.Pointer(text), flags: flags}
	fd, err := bpfCall(unix.BPF_OBJ_GET, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	runtime.KeepAlive(text)
	if err != nil {
		return -1, err
	}
	return int(fd), nil
}

type idAttr struct {
	id    uint32 // where to start, or which to open
	next  uint32
	flags uint32
}

func bpfMapByID(id uint32) (int, error) {
	attr := idAttr{id: id}
	fd, err := bpfCall(unix.BPF_MAP_GET_FD_BY_ID, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if err != nil {
		return -1, err
	}
	return int(fd), nil
}

// bpfNextMapID gives the next greater ID of a map; ENOENT after the last.
func bpfNextMapID(id uint32) (uint32, error) {
	attr := idAttr{id: id}
	_, err := bpfCall(unix.BPF_MAP_GET_NEXT_ID, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	return attr.next, err
}

// mapInfo is the start of struct bpf_map_info.
type mapInfo struct {
	kind       uint32
	id         uint32
	keyBytes   uint32
	valueBytes uint32
	maxEntries uint32
	flags      uint32
	name       [unix.BPF_OBJ_NAME_LEN]byte
	_          uint32 // ifindex
	_          uint32 // btf_vmlinux_value_type_id
	_, _       uint64 // netns_dev, netns_ino
	btfID      uint32 // of the map's BTF; 0: it has none
	keyType    uint32 // in there
	valueType  uint32
}

type infoAttr struct {
	fd     uint32
	length uint32
	info   unsafe.Pointer
}

// bpfMapInfo must be called on the descriptor of a map only: of others it
// would return bytes that mean something else.
func bpfMapInfo(fd int) (mapInfo, error) {
	var info mapInfo
	attr := infoAttr{fd: uint32(fd), length: uint32(unsafe.Sizeof(info)), info: unsafe.Pointer(&info)}
	_, err := bpfCall(unix.BPF_OBJ_GET_INFO_BY_FD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	runtime.KeepAlive(&info)
	return info, err
}
