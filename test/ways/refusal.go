//go:build linux

package ways

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// errNotSupp is ENOTSUPP, which the kernel should keep to itself and does not.
const errNotSupp = unix.Errno(524)

// refusal is a reason for which a way is refused, and how it is recognised: by
// the type, the way, the errno, and what else the error says.
type refusal struct {
	kind, way string // patterns of names
	errno     error  // nil: any
	says      string // a pattern, of the verifier's words as a rule; empty: anything
	reason    string
}

func refusals() []refusal {
	const (
		create = "^create$"
		hash   = "^hash"
		array  = "^array"
		trie   = "^lpm_trie$"
		any    = ""
		// What the verifier says of a callback, where it knows none.
		oldVerifier = "number of funcs in func_info doesn't match number of subprogs"
	)
	return []refusal{
		{"^hash_timer$", create, unix.EINVAL, "", "before Linux 5.15 there is no timer"},
		{"^hash_kptr$", create, unix.EINVAL, "", "before Linux 5.19 there is no kptr"},
		{"^task_storage$", create, unix.EINVAL, "", "there are none before Linux 5.11"},
		{"^bloom_filter$", create, unix.EINVAL, "", "there are none before Linux 5.16"},
		{"^user_ringbuf$", create, unix.EINVAL, "", "there are none before Linux 6.1"},
		{"^cgrp_storage$", create, unix.EINVAL, "", "there are none before Linux 6.2"},
		{"^arena$", create, unix.EINVAL, "", "there are none before Linux 6.9"},

		{any, ", timer$", unix.EINVAL, oldVerifier, "before Linux 5.15 programs have no timers"},
		{array, "delete$|^program delete|^batch delete", unix.EINVAL, "", "EINVAL: elements of an array can't be deleted, only set to zero, which counts as a delete"},
		{array, "^batch delete|^lookup and delete", errNotSupp, "", "ENOTSUPP: elements of an array can't be deleted"},
		{trie, "^batch", errNotSupp, "", "ENOTSUPP: before Linux 5.13 there are no batches for this type"},
		{trie, "^lookup and delete", errNotSupp, "", "ENOTSUPP: no such call for this type"},
		{any, "^lookup and delete$", errNotSupp, "", "ENOTSUPP: before Linux 5.14 only queues have it"},

		{any, "^locked update$", unix.EINVAL, "", "EINVAL: the value has no spin lock"},
		{any, "^program .*, tracing$", unix.EINVAL, "tracing progs? cannot use bpf_spin_lock", "the verifier allows no spin lock to tracing programs"},
		{any, "^program .*, tracing$", unix.EINVAL, "tracing progs? cannot use bpf_timer", "the verifier allows no timer to tracing programs"},
		{trie, "^for each$", nil, "cannot pass map_type|callback function not allowed for map", "the verifier allows no callback for this type"},
		{any, "^for each$", unix.EINVAL, oldVerifier, "before Linux 5.13 there is no such helper"},

		{"^array$", "^mmap store$", unix.EINVAL, "", "EINVAL: made without `BPF_F_MMAPABLE`"},
		{any, "^mmap store$", errNotSupp, "", "ENOTSUPP: only arrays can be mapped"},

		{array, "^full,", unix.E2BIG, "", "E2BIG: an array has no element beyond `max_entries`"},
		{hash, "^full,", unix.E2BIG, "", "E2BIG: the map is full"},
		{trie, "^full,", unix.ENOSPC, "", "ENOSPC: the map is full"},

		{any, "^frozen, syscall update$", unix.EPERM, "", "EPERM; entries of other members wait, and `status` says why"},
		{any, "^frozen,", errNotSupp, "^freeze", "ENOTSUPP: maps with such values can't be frozen"},
	}
}

// refuse names the reason for which the kernel refuses a way, or says that it is
// not known.
func refuse(kind, way string, err error) (Outcome, string) {
	for _, r := range refusals() {
		if matches(r.kind, kind) && matches(r.way, way) && (r.errno == nil || isErrno(err, r.errno)) && matches(r.says, fmt.Sprintf("%+v", err)) {
			return Refused, r.reason
		}
	}
	return Unknown, fmt.Sprintf("unexpected error: %v", err)
}

func matches(pattern, text string) bool { return regexp.MustCompile(pattern).MatchString(text) }

// isErrno is errors.Is, but knows under which names the library hides some.
func isErrno(err, errno error) bool {
	return errors.Is(err, errno) || errno == errNotSupp && errors.Is(err, ebpf.ErrNotSupported)
}
