// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/*
 * Capture of the changes of BPF_MAP_TYPE_HASH maps.
 *
 * Seen: what goes through the map_ops functions of a hash map, that is update
 * and delete from system calls (single and batch) and from BPF programs in any
 * context, and lookup_and_delete, single with its key, batch as the fact that
 * it happened. kernel/bpf/hashtab.c; the functions carry their own names in
 * the SEC() lines below.
 *
 * Missed: stores through a looked-up value pointer, atomic adds,
 * bpf_for_each_map_elem callbacks, and every call that arrives while the same
 * program is already running on that CPU (the kernel counts those in
 * recursion_misses). Only a scan finds them.
 *
 * Each operation has two programs, of which user space loads one: fexit runs
 * after the operation and knows its result, fentry runs before it and only
 * says which key may change.
 */

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* One of these in record.kind. Values are part of the record's ABI. */
enum kind {
	KIND_UPDATED = 1, /* key and value follow */
	KIND_DELETED = 2, /* key follows */
	KIND_TOUCHED = 3, /* key follows; its value is unknown here */
	KIND_DRAINED = 4, /* nothing follows; many keys were deleted at once */
};

/* Where this kernel keeps the preempt count of a CPU. */
enum preempt_source {
	PREEMPT_NONE = 0,
	PREEMPT_VARIABLE = 1, /* int __preempt_count: x86 to 6.1 and from 6.15 */
	PREEMPT_PCPU_HOT = 2, /* pcpu_hot.preempt_count: x86 6.2 to 6.14 */
};

/*
 * Bits of the preempt count that say "not plain task context": softirq (being
 * served, or bottom halves disabled), hardirq and NMI. include/linux/preempt.h
 */
#define INTERRUPT_MASK 0x00ffff00

/* Index into scratch: one a program, see there. */
enum scratch_slot {
	SCRATCH_UPDATE = 0,
	SCRATCH_DELETE = 1,
	SCRATCH_LOOKUP_AND_DELETE = 2,
	SCRATCH_BATCH = 3,
	SCRATCH_SLOTS = 4,
};

/*
 * A slot of watched that is none: of a map that only the apply thread writes, to
 * say who it is. ABI with mapwatch/own_thread.go.
 */
#define SLOT_OWN 0xffffffff

/*
 * The head of a ring record, followed by key_bytes of key and value_bytes of
 * value. Native byte order. ABI with mapwatch/ring_record.go.
 */
struct record {
	__u64 captured_ns; /* CLOCK_BOOTTIME */
	__u64 pid_tgid;	   /* of the task on the CPU, in the initial PID namespace */
	__u32 slot;	   /* watched map, as user space numbered it */
	__u32 cpu;
	__u32 key_bytes;
	__u32 value_bytes;
	__u32 kind;
	__u32 reserved; /* 0 */
};

_Static_assert(sizeof(struct record) == 40, "struct record is an ABI");
_Static_assert(__builtin_offsetof(struct record, kind) == 32, "struct record is an ABI");

/* ABI with mapwatch/capture_counts.go. */
struct counts {
	__u64 captured;
	__u64 own;
	__u64 failed;
	__u64 dropped;
};

_Static_assert(sizeof(struct counts) == 32, "struct counts is an ABI");

/* The few fields that are read of the kernel's structs. */
struct bpf_map {
	__u32 id;
	__u32 key_size;
	__u32 value_size;
	void *record; /* from 6.2: locks, timers and the like in the value */
} __attribute__((preserve_access_index));

struct bpf_map___before_6_2 {
	int spin_lock_off;
	int timer_off;	    /* 5.15 */
	void *kptr_off_tab; /* 5.19 */
} __attribute__((preserve_access_index));

struct pcpu_hot {
	int preempt_count;
} __attribute__((preserve_access_index));

struct task_struct {
	__u64 start_boottime; /* ns, CLOCK_BOOTTIME; from 5.5 */
} __attribute__((preserve_access_index));

/*
 * Per-CPU variables of the kernel. Declared void because that is the only type
 * the loader accepts; mapwatch/ksym.go then makes typed references of them.
 */
extern void bpf_prog_active __ksym;
extern void __preempt_count __ksym __weak;
extern void pcpu_hot __ksym __weak;

/* Settings, fixed before load, so that the verifier knows their values. */
const volatile __u32 preempt_source = PREEMPT_NONE;
const volatile __u64 key_limit = 8;   /* longest key that scratch holds, bytes */
const volatile __u64 value_limit = 8; /* longest value that scratch holds, bytes */
const volatile __u64 wake_bytes = 0;  /* wake the reader when more than this waits */

/*
 * Set while running. own_tid is the thread that writes what other members
 * changed, 0 while it is not known, and own_start_ns when that thread began: the
 * kernel gives the ID of a dead thread to another one, and the programs may have
 * outlived it, being pinned. reader_idle is not 0 while the reader blocks without
 * a short timer.
 */
volatile __u32 own_tid;
volatile __u64 own_start_ns;
volatile __u32 reader_idle;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096); /* set before load */
} ring SEC(".maps");

/* Map ID to slot. Everything else on the host ends at the lookup in here. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* set before load */
	__type(key, __u32);
	__type(value, __u32);
} watched SEC(".maps");

/* By slot. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1); /* set before load */
	__type(key, __u32);
	__type(value, struct counts);
} counters SEC(".maps");

/*
 * Where a record is put together. The kernel runs a program at most once at a
 * time on a CPU, but an interrupt, or a task that preempts, can run the delete
 * program in the middle of the update program: so each program has its own.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCH_SLOTS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct record) + 16); /* set before load */
} scratch SEC(".maps");

/* Atomic, because an interrupt may count between a plain load and store. */
static __always_inline void count(__u64 *counter)
{
	__sync_fetch_and_add(counter, 1);
}

static __always_inline bool in_interrupt(void)
{
	int count;

	if (preempt_source == PREEMPT_VARIABLE)
		count = *(int *)bpf_this_cpu_ptr(&__preempt_count);
	else if (preempt_source == PREEMPT_PCPU_HOT)
		count = ((struct pcpu_hot *)bpf_this_cpu_ptr(&pcpu_hot))->preempt_count;
	else
		return true;
	return count & INTERRUPT_MASK;
}

static __always_inline __u64 current_start_ns(void)
{
	return bpf_get_current_task_btf()->start_boottime;
}

/* In this order, so that never an ID is there with another thread's start. */
static __always_inline void learn_own(void)
{
	if (preempt_source == PREEMPT_NONE)
		return;
	own_tid = 0;
	own_start_ns = current_start_ns();
	own_tid = (__u32)bpf_get_current_pid_tgid();
}

/*
 * Whether the write under way is the apply thread's own. The thread alone does
 * not tell: a program that runs in an interrupt carries the ID of whatever
 * thread it interrupted, and one that runs on behalf of a send() that of the
 * sender. bpf_prog_active is above 0 while a map system call is under way on
 * this CPU; an interrupt in the middle of one is seen in the preempt count.
 */
static __always_inline bool is_own(__u64 pid_tgid)
{
	if (preempt_source == PREEMPT_NONE) /* nobody else could be told from us */
		return false;
	if (!own_tid || (__u32)pid_tgid != own_tid || current_start_ns() != own_start_ns)
		return false;
	if (*(int *)bpf_this_cpu_ptr(&bpf_prog_active) <= 0)
		return false;
	return !in_interrupt();
}

/*
 * A kernel pointer that is neither NULL nor an error. The kernel leaves an
 * error in the fields below for a map whose value is described as an integer.
 */
static __always_inline bool is_valid(const void *pointer)
{
	return pointer && (__u64)pointer < (__u64)-4095;
}

/*
 * Whether values of the map hold a lock, a timer or a kernel pointer. A system
 * call reads those bytes as zero, so the raw value is not for the ring.
 */
static __always_inline bool value_has_kernel_fields(struct bpf_map *map)
{
	struct bpf_map___before_6_2 *old = (void *)map;

	if (bpf_core_field_exists(map->record))
		return is_valid(map->record);
	if (bpf_core_field_exists(old->spin_lock_off) && old->spin_lock_off >= 0)
		return true;
	if (bpf_core_field_exists(old->timer_off) && old->timer_off >= 0)
		return true;
	return bpf_core_field_exists(old->kptr_off_tab) && is_valid(old->kptr_off_tab);
}

/*
 * While the reader blocks, the kernel's own rule applies: wake it if it had
 * read all that was before this record. That rule is decided after the record
 * is visible and so leaves none behind. While the reader polls on a short timer,
 * nobody is woken unless the ring fills faster than the timer.
 */
static __always_inline __u64 wake_flags(void)
{
	if (reader_idle)
		return 0;
	if (bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) > wake_bytes)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

/*
 * Puts a record of a watched map in the ring. key is NULL for KIND_DRAINED,
 * value is NULL unless KIND_UPDATED. Returns false if it did not fit.
 */
static __always_inline bool submit(struct bpf_map *map, __u32 slot, __u32 program,
				   __u64 pid_tgid, __u32 kind, void *key, void *value)
{
	__u64 key_bytes = 0, value_bytes = 0;
	struct record *record;
	__u8 *bytes;

	record = bpf_map_lookup_elem(&scratch, &program);
	if (!record)
		return false;
	bytes = (__u8 *)(record + 1);

	if (key) {
		key_bytes = map->key_size;
		if (key_bytes > key_limit)
			return false;
		if (bpf_probe_read_kernel(bytes, key_bytes, key))
			return false;
	}
	if (value) {
		value_bytes = map->value_size;
		if (value_bytes > value_limit || value_has_kernel_fields(map) ||
		    bpf_probe_read_kernel(bytes + key_bytes, value_bytes, value)) {
			value_bytes = 0;
			kind = KIND_TOUCHED;
		}
	}

	record->captured_ns = bpf_ktime_get_boot_ns();
	record->pid_tgid = pid_tgid;
	record->slot = slot;
	record->cpu = bpf_get_smp_processor_id();
	record->key_bytes = key_bytes;
	record->value_bytes = value_bytes;
	record->kind = kind;
	record->reserved = 0;
	return !bpf_ringbuf_output(&ring, record, sizeof(*record) + key_bytes + value_bytes,
				   wake_flags());
}

static __always_inline int changed(struct bpf_map *map, __u32 program, __u32 kind, void *key,
				   void *value, bool failed)
{
	__u32 id = map->id, *slot;
	struct counts *counts;
	__u64 pid_tgid;

	slot = bpf_map_lookup_elem(&watched, &id);
	if (!slot)
		return 0;
	if (*slot == SLOT_OWN) {
		learn_own();
		return 0;
	}
	counts = bpf_map_lookup_elem(&counters, slot);
	if (!counts)
		return 0;

	pid_tgid = bpf_get_current_pid_tgid();
	if (is_own(pid_tgid))
		count(&counts->own);
	else if (failed)
		count(&counts->failed);
	else if (submit(map, *slot, program, pid_tgid, kind, key, value))
		count(&counts->captured);
	else
		count(&counts->dropped);
	return 0;
}

/*
 * The functions return int up to 6.3 and long from 6.4; the upper half of the
 * register is undefined for an int, so that the result is always read as int.
 */

SEC("fexit/htab_map_update_elem")
int BPF_PROG(update_fexit, struct bpf_map *map, void *key, void *value, __u64 flags, int ret)
{
	return changed(map, SCRATCH_UPDATE, KIND_UPDATED, key, value, ret);
}

SEC("fentry/htab_map_update_elem")
int BPF_PROG(update_fentry, struct bpf_map *map, void *key)
{
	return changed(map, SCRATCH_UPDATE, KIND_TOUCHED, key, NULL, false);
}

SEC("fexit/htab_map_delete_elem")
int BPF_PROG(delete_fexit, struct bpf_map *map, void *key, int ret)
{
	return changed(map, SCRATCH_DELETE, KIND_DELETED, key, NULL, ret);
}

SEC("fentry/htab_map_delete_elem")
int BPF_PROG(delete_fentry, struct bpf_map *map, void *key)
{
	return changed(map, SCRATCH_DELETE, KIND_TOUCHED, key, NULL, false);
}

SEC("fexit/__htab_map_lookup_and_delete_elem")
int BPF_PROG(lookup_and_delete_fexit, struct bpf_map *map, void *key, void *value,
	     __u64 is_lru_map, __u64 is_percpu, __u64 flags, int ret)
{
	return changed(map, SCRATCH_LOOKUP_AND_DELETE, KIND_DELETED, key, NULL, ret);
}

SEC("fentry/__htab_map_lookup_and_delete_elem")
int BPF_PROG(lookup_and_delete_fentry, struct bpf_map *map, void *key)
{
	return changed(map, SCRATCH_LOOKUP_AND_DELETE, KIND_TOUCHED, key, NULL, false);
}

/*
 * Shared by lookup_batch and lookup_and_delete_batch. fexit whatever the mode,
 * because the scan that answers it must see the map without those keys. The
 * result says nothing about how many were deleted before an error.
 */
SEC("fexit/__htab_map_lookup_and_delete_batch")
int BPF_PROG(lookup_and_delete_batch, struct bpf_map *map, void *attr, void *uattr,
	     __u64 do_delete)
{
	/* A bool argument: only its lowest byte is defined. */
	if (!(do_delete & 0xff))
		return 0;
	return changed(map, SCRATCH_BATCH, KIND_DRAINED, NULL, NULL, false);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
