//go:build linux

package ways

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/mapgossip/mapgossip"
	"github.com/mapgossip/mapgossip/mapwatch"
)

// refusedKind is a map type that mapgossip refuses.
type refusedKind struct {
	name string // as bpftool prints it
	spec ebpf.MapSpec
}

// refusedKinds are all that a kernel lets a program make. A struct_ops map is not among
// them: its values are functions that are loaded with it.
func refusedKinds() []refusedKind {
	page := uint32(os.Getpagesize())
	inner := &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	number := func(bytes uint32) btf.Type { return &btf.Int{Name: "int", Size: bytes, Encoding: btf.Signed} }
	storage := func(t ebpf.MapType) ebpf.MapSpec {
		return ebpf.MapSpec{Type: t, KeySize: 4, ValueSize: 8, Flags: unix.BPF_F_NO_PREALLOC, Key: number(4), Value: number(8)}
	}
	const arena = ebpf.MapType(33) // BPF_MAP_TYPE_ARENA
	return []refusedKind{
		{"percpu_hash", ebpf.MapSpec{Type: ebpf.PerCPUHash, KeySize: 4, ValueSize: 8, MaxEntries: 4}},
		{"lru_percpu_hash", ebpf.MapSpec{Type: ebpf.LRUCPUHash, KeySize: 4, ValueSize: 8, MaxEntries: 4}},
		{"percpu_array", ebpf.MapSpec{Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 8, MaxEntries: 4}},
		{"percpu_cgroup_storage", ebpf.MapSpec{Type: ebpf.PerCPUCGroupStorage, KeySize: 8, ValueSize: 8}},
		{"hash_of_maps", ebpf.MapSpec{Type: ebpf.HashOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 4, InnerMap: inner}},
		{"array_of_maps", ebpf.MapSpec{Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 4, InnerMap: inner}},
		{"prog_array", ebpf.MapSpec{Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 4}},
		{"perf_event_array", ebpf.MapSpec{Type: ebpf.PerfEventArray, KeySize: 4, ValueSize: 4, MaxEntries: 1}},
		{"cgroup_array", ebpf.MapSpec{Type: ebpf.CGroupArray, KeySize: 4, ValueSize: 4, MaxEntries: 4}},
		{"sockmap", ebpf.MapSpec{Type: ebpf.SockMap, KeySize: 4, ValueSize: 4, MaxEntries: 4}},
		{"sockhash", ebpf.MapSpec{Type: ebpf.SockHash, KeySize: 4, ValueSize: 4, MaxEntries: 4}},
		{"reuseport_sockarray", ebpf.MapSpec{Type: ebpf.ReusePortSockArray, KeySize: 4, ValueSize: 4, MaxEntries: 4}},
		{"devmap", ebpf.MapSpec{Type: ebpf.DevMap, KeySize: 4, ValueSize: 4, MaxEntries: 4}},
		{"devmap_hash", ebpf.MapSpec{Type: ebpf.DevMapHash, KeySize: 4, ValueSize: 4, MaxEntries: 4}},
		{"cpumap", ebpf.MapSpec{Type: ebpf.CPUMap, KeySize: 4, ValueSize: 4, MaxEntries: 1}},
		{"xskmap", ebpf.MapSpec{Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: 4}},
		{"queue", ebpf.MapSpec{Type: ebpf.Queue, ValueSize: 8, MaxEntries: 4}},
		{"stack", ebpf.MapSpec{Type: ebpf.Stack, ValueSize: 8, MaxEntries: 4}},
		{"bloom_filter", ebpf.MapSpec{Type: ebpf.BloomFilter, ValueSize: 8, MaxEntries: 4}},
		{"stack_trace", ebpf.MapSpec{Type: ebpf.StackTrace, KeySize: 4, ValueSize: 8, MaxEntries: 4}},
		{"cgroup_storage", ebpf.MapSpec{Type: ebpf.CGroupStorage, KeySize: 8, ValueSize: 8}},
		{"sk_storage", storage(ebpf.SkStorage)},
		{"inode_storage", storage(ebpf.InodeStorage)},
		{"task_storage", storage(ebpf.TaskStorage)},
		{"cgrp_storage", storage(ebpf.CgroupStorage)},
		{"ringbuf", ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: page}},
		{"user_ringbuf", ebpf.MapSpec{Type: ebpf.UserRingbuf, MaxEntries: page}},
		{"arena", ebpf.MapSpec{Type: arena, MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE}},
	}
}

// try makes a map of the kind and gives it to a Node.
func (k refusedKind) try() Cell {
	cell := func(outcome Outcome, reason string) Cell { return Cell{Type: k.name, Outcome: outcome, Reason: reason} }
	m, err := ebpf.NewMap(&k.spec)
	if err != nil {
		return cell(refuse(k.name, "create", err))
	}
	defer m.Close()
	info, err := m.Info()
	if err != nil {
		return cell(Unknown, err.Error())
	}
	id, _ := info.ID()
	config := mapgossip.DefaultConfig()
	config.Node, config.Bind = "ours", netip.MustParseAddrPort("127.0.0.1:0")
	config.Maps = []mapgossip.MapConfig{{Name: "try", Target: fmt.Sprintf("id:%d", id)}}
	node, err := mapgossip.New(config)
	if err == nil {
		return cell(Unknown, fmt.Sprintf("a member took it: %v", node.Close()))
	}
	_, reason, found := strings.Cut(err.Error(), mapwatch.ErrType.Error()+": "+k.name+": ")
	if !errors.Is(err, mapwatch.ErrType) || !found {
		return cell(Unknown, err.Error())
	}
	return cell(Refused, reason)
}
