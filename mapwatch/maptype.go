//go:build linux

package mapwatch

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// describeType gives the name that bpftool prints for a map type, and why such
// maps are refused; no reason: they can be replicated. name is empty for a type
// that this program does not know.
func describeType(kind uint32) (name, reason string) {
	switch kind {
	case unix.BPF_MAP_TYPE_HASH:
		return TypeHash, ""
	case unix.BPF_MAP_TYPE_LRU_HASH:
		return TypeLRUHash, ""
	case unix.BPF_MAP_TYPE_ARRAY:
		return TypeArray, ""
	case unix.BPF_MAP_TYPE_LPM_TRIE:
		return TypeLPMTrie, ""
	case unix.BPF_MAP_TYPE_QUEUE:
		return "queue", keyless
	case unix.BPF_MAP_TYPE_STACK:
		return "stack", keyless
	case unix.BPF_MAP_TYPE_BLOOM_FILTER:
		return "bloom_filter", keyless
	case unix.BPF_MAP_TYPE_PERCPU_HASH:
		return "percpu_hash", perCPU
	case unix.BPF_MAP_TYPE_PERCPU_ARRAY:
		return "percpu_array", perCPU
	case unix.BPF_MAP_TYPE_LRU_PERCPU_HASH:
		return "lru_percpu_hash", perCPU
	case unix.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE:
		return "percpu_cgroup_storage", perCPU
	case unix.BPF_MAP_TYPE_PROG_ARRAY:
		return "prog_array", pointers
	case unix.BPF_MAP_TYPE_PERF_EVENT_ARRAY:
		return "perf_event_array", pointers
	case unix.BPF_MAP_TYPE_CGROUP_ARRAY:
		return "cgroup_array", pointers
	case unix.BPF_MAP_TYPE_ARRAY_OF_MAPS:
		return "array_of_maps", pointers
	case unix.BPF_MAP_TYPE_HASH_OF_MAPS:
		return "hash_of_maps", pointers
	case unix.BPF_MAP_TYPE_SOCKMAP:
		return "sockmap", pointers
	case unix.BPF_MAP_TYPE_SOCKHASH:
		return "sockhash", pointers
	case unix.BPF_MAP_TYPE_REUSEPORT_SOCKARRAY:
		return "reuseport_sockarray", pointers
	case unix.BPF_MAP_TYPE_DEVMAP:
		return "devmap", pointers
	case unix.BPF_MAP_TYPE_DEVMAP_HASH:
		return "devmap_hash", pointers
	case unix.BPF_MAP_TYPE_CPUMAP:
		return "cpumap", pointers
	case unix.BPF_MAP_TYPE_XSKMAP:
		return "xskmap", pointers
	case unix.BPF_MAP_TYPE_STRUCT_OPS:
		return "struct_ops", pointers
	case unix.BPF_MAP_TYPE_STACK_TRACE:
		return "stack_trace", "its values are addresses of code in this kernel"
	case unix.BPF_MAP_TYPE_CGROUP_STORAGE:
		return "cgroup_storage", local
	case unix.BPF_MAP_TYPE_SK_STORAGE:
		return "sk_storage", local
	case unix.BPF_MAP_TYPE_INODE_STORAGE:
		return "inode_storage", local
	case unix.BPF_MAP_TYPE_TASK_STORAGE:
		return "task_storage", local
	case unix.BPF_MAP_TYPE_CGRP_STORAGE:
		return "cgrp_storage", local
	case unix.BPF_MAP_TYPE_RINGBUF:
		return "ringbuf", stream
	case unix.BPF_MAP_TYPE_USER_RINGBUF:
		return "user_ringbuf", stream
	case typeArena:
		return "arena", "it is memory, not a map of keys"
	}
	return "", ""
}

// typeArena is younger than the constants of golang.org/x/sys.
const typeArena = 33

const (
	stream   = "it is a stream of records, not a map of keys"
	keyless  = "its elements have no keys"
	perCPU   = "its values have a slot for each CPU of this host; they wait for counters that can be added up"
	pointers = "its values are kernel pointers or file descriptors, which mean nothing on another host"
	local    = "its elements belong to a socket, inode, task or cgroup of this host"
)

// checkType returns the name of a map type, or an error that wraps ErrType if
// maps of it cannot be replicated.
func checkType(kind uint32) (string, error) {
	name, reason := describeType(kind)
	switch {
	case name == "":
		return "", fmt.Errorf("%w: map type %d is not known to this program", ErrType, kind)
	case reason != "":
		return "", fmt.Errorf("%w: %s: %s", ErrType, name, reason)
	}
	return name, nil
}
