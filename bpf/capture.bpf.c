// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/*
 * Capture of the changes of BPF maps: hash, lru_hash, array and lpm_trie.
 *
 * Seen: what goes through the map_ops functions of such a map, that is update
 * and delete from system calls (single and batch) and from BPF programs in any
 * context; lookup_and_delete, single with its key, batch as the fact that it
 * happened; what an LRU map evicts. kernel/bpf/hashtab.c, arraymap.c and
 * lpm_trie.c; the functions carry their own names in the hooks below.
 *
 * Missed: stores through a looked-up value pointer, atomic adds,
 * bpf_for_each_map_elem callbacks, stores through mmap, and what the recursion
 * guard costs (see there). Only a scan finds them.
 *
 * An update has two programs, of which user space loads one: fexit runs after
 * the operation and knows its result, fentry runs before it and only says which
 * key may change. A delete always has fexit: an absence that nobody explains is
 * an eviction on an LRU map. Each of these has a catcher.
 *
 * The recursion guard: the kernel skips a program that is already running on
 * the CPU, in a task that was preempted or was interrupted there, and counts
 * that (recursion_misses, 5.12). The catcher is a second program on the same
 * function, which the guard knows apart. The first one says that it is busy;
 * a catcher that finds it so does its work, and counts that. What is missed is
 * then what was skipped less what was caught. User space attaches the first
 * one first: the kernel runs the younger program before the older one
 * (hlist_add_head in __bpf_trampoline_link_prog, kernel/bpf/trampoline.c), so
 * that the catcher comes before the first one. Should the first one get to run
 * after all, because the other one ended between the two, it finds that this
 * very call was caught and takes that back.
 *
 * It is one file because every program is the same few steps for another
 * function, and because drive.bpf.c includes it whole.
 *
 * Before 5.12 there is no guard and no catcher: there a first program that finds
 * another one busy takes the second scratch, and counts an overrun if that is
 * taken, too.
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
	KIND_EVICTED = 5, /* key follows; an LRU map made room */
};

/* Where a change came from: the low bits of record.flags. ABI with mapwatch.Source. */
enum source {
	SOURCE_UNKNOWN = 0,
	SOURCE_SYSCALL = 1,   /* bpf(2) */
	SOURCE_PROGRAM = 2,   /* a program that ran in the task, or on its behalf */
	SOURCE_INTERRUPT = 3, /* a program that ran in an interrupt of the task */
};

#define RECORD_NAMED 4 /* in record.flags: the name of the process follows */

#define COMM_BYTES 16 /* TASK_COMM_LEN */

/* Where this kernel keeps the preempt count of a CPU. */
enum preempt_source {
	PREEMPT_NONE = 0,
	PREEMPT_VARIABLE = 1, /* int __preempt_count: x86 to 6.1 and from 6.15 */
	PREEMPT_PCPU_HOT = 2, /* pcpu_hot.preempt_count: x86 6.2 to 6.14 */
	PREEMPT_TASK = 3,     /* thread_info.preempt_count of the task: arm64, riscv */
	PREEMPT_ADDRESS = 4,  /* int __preempt_count, by its address */
};

/*
 * Bits of the preempt count that say "not plain task context": softirq (being
 * served, or bottom halves disabled), hardirq and NMI. include/linux/preempt.h
 */
#define INTERRUPT_MASK 0x00ffff00

/*
 * Of them, those that say that an interrupt is under way. A task that sends has
 * bottom halves disabled as well, and programs run on its behalf.
 */
#define SERVING_MASK 0x00ff0100

/* A kernel function that is listened on. ABI with mapwatch/hook.go. */
enum hook {
	HOOK_HASH_UPDATE = 0,
	HOOK_HASH_DELETE = 1,
	HOOK_LRU_UPDATE = 2,
	HOOK_LRU_DELETE = 3,
	HOOK_LRU_EVICT = 4,
	HOOK_LOOKUP_AND_DELETE = 5,
	HOOK_LOOKUP_AND_DELETE_BATCH = 6,
	HOOK_ARRAY_UPDATE = 7,
	HOOK_LPM_UPDATE = 8,
	HOOK_LPM_DELETE = 9,
	HOOKS = 10,
};

/*
 * A slot of watched that is none: of a map that only the apply thread writes, to
 * say who it is. ABI with mapwatch/own_thread.go.
 */
#define SLOT_OWN 0xffffffff

/*
 * The head of a ring record, followed by key_bytes of key, value_bytes of value
 * and, with RECORD_NAMED, COMM_BYTES of the process's name. Native byte order. ABI with mapwatch/ring_record.go.
 */
struct record {
	__u64 captured_ns; /* CLOCK_BOOTTIME */
	__u64 pid_tgid;	   /* of the task on the CPU, in the initial PID namespace */
	__u32 slot;	   /* watched map, as user space numbered it */
	__u32 cpu;
	__u32 key_bytes;
	__u32 value_bytes;
	__u32 kind;
	__u32 flags; /* enum source, RECORD_NAMED */
};

_Static_assert(sizeof(struct record) == 40, "struct record is an ABI");
_Static_assert(__builtin_offsetof(struct record, kind) == 32, "struct record is an ABI");

/* ABI with mapwatch/capture_counts.go. */
struct counts {
	__u64 captured;
	__u64 own;
	__u64 failed;
	__u64 dropped;
	__u64 caught; /* of captured */
};

_Static_assert(sizeof(struct counts) == 40, "struct counts is an ABI");

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

struct thread_info {
	__u32 preempt_count; /* where it is longer, these are its low bytes */
} __attribute__((preserve_access_index));

struct task_struct {
	struct thread_info thread_info;
	__u64 start_boottime; /* ns, CLOCK_BOOTTIME; from 5.5 */
	struct task_struct *group_leader;
	char comm[COMM_BYTES];
	void *bpf_ctx; /* from 5.15: of the program that it runs; not all kinds have one */
} __attribute__((preserve_access_index));

/* From 6.0: what bpf_ctx leads to while a program of a trampoline runs. */
struct bpf_tramp_run_ctx {
	void *saved_run_ctx; /* bpf_ctx before */
} __attribute__((preserve_access_index));

struct bpf_htab {
	struct bpf_map map;
} __attribute__((preserve_access_index));

struct bpf_lru_node {
	__u32 hash;
} __attribute__((preserve_access_index));

struct htab_elem {
	struct bpf_lru_node lru_node;
	char key[];
} __attribute__((preserve_access_index));

/*
 * Per-CPU variables of the kernel. Declared void because that is the only type
 * the loader accepts; mapwatch/ksym.go then makes typed references of them.
 */
extern void bpf_prog_active __ksym __weak;
extern void __preempt_count __ksym __weak;
extern void pcpu_hot __ksym __weak;

/* Settings, fixed before load, so that the verifier knows their values. */
const volatile __u32 preempt_source = PREEMPT_NONE;
const volatile __u64 key_limit = 8;   /* longest key that scratch holds, bytes */
const volatile __u64 value_limit = 8; /* longest value that scratch holds, bytes */
const volatile __u64 wake_bytes = 0;  /* wake the reader when more than this waits */
const volatile __u32 nests = 0;	      /* there is no recursion guard */

/*
 * For kernels whose BTF leaves out per-CPU variables (5.10 and 5.11 as most
 * distributions built them): the address of the array __per_cpu_offset, and those
 * of the variables relative to an entry of it. Otherwise 0.
 */
const volatile __u64 per_cpu_offset_address = 0;
const volatile __u64 prog_active_address = 0;
const volatile __u64 preempt_count_address = 0;

/*
 * Set while running. own_tid is the thread that writes what other members
 * changed, 0 while it is not known, and own_start_ns when that thread began: the
 * kernel gives the ID of a dead thread to another one, and the programs may have
 * outlived it, being pinned. reader_idle is not 0 while the reader blocks without
 * a short timer. name_writers is not 0 while records are to say
 * who wrote.
 */
volatile __u32 own_tid;
volatile __u64 own_start_ns;
volatile __u32 reader_idle;
volatile __u32 name_writers;

/*
 * One bit for each watched map, by the low bits of its ID: nearly all other maps
 * of the host end here.
 */
#define FILTER_BITS 4096
volatile __u64 filter[FILTER_BITS / 64];

/*
 * Runs of catchers that found the first program busy, by hook. Of all maps,
 * watched or not, as recursion_misses are.
 */
volatile __u64 caught_runs[HOOKS];

/*
 * Calls that a catcher took care of, by their context, which lies on the stack
 * of the call: no two that are under way have the same. A later call that has it
 * again finds its place cleared by its own catcher. If two that are under way
 * share a place, which takes two catchers that were each cut short, one record
 * comes twice.
 */
#define CAUGHT_PLACES 1024
volatile __u64 caught_calls[CAUGHT_PLACES];

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
 * Which scratch of a hook is in use on this CPU: the first, the second; and runs
 * that found none, of all maps, watched or not, as recursion_misses are. ABI with
 * mapwatch/capture_counts.go.
 */
struct busy {
	__u32 first;
	__u32 second;
	__u64 overruns;
};

_Static_assert(sizeof(struct busy) == 16, "struct busy is an ABI");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, HOOKS);
	__type(key, __u32);
	__type(value, struct busy);
} busy SEC(".maps");

/*
 * Where a record is put together. An interrupt, or a task that preempts, can run
 * any other program in the middle of one: so each hook has its own for the first
 * program and for the catcher.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2 * HOOKS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct record) + 16 + COMM_BYTES); /* set before load */
} scratch SEC(".maps");

/* What a hook saw. */
struct change {
	struct bpf_map *map; /* NULL for KIND_EVICTED */
	void *key;
	void *value; /* of KIND_UPDATED */
	__u32 map_id;
	__u32 key_bytes; /* of KIND_EVICTED; else the map tells */
	__u32 hook;
	__u32 kind;
	bool failed;
	bool catcher; /* seen by the catcher */
};

/* Atomic, because an interrupt may count between a plain load and store. */
static __always_inline void count(__u64 *counter)
{
	__sync_fetch_and_add(counter, 1);
}

/* Reads a per-CPU variable by its address. Returns false if it cannot. */
static __always_inline bool read_per_cpu(__u64 address, int *value)
{
	__u64 entry = per_cpu_offset_address + sizeof(__u64) * bpf_get_smp_processor_id(), offset;

	return !bpf_probe_read_kernel(&offset, sizeof(offset), (void *)entry) &&
	       !bpf_probe_read_kernel(value, sizeof(*value), (void *)(address + offset));
}

static __always_inline bool in_map_syscall(void)
{
	int active = 0;

	if (per_cpu_offset_address)
		return read_per_cpu(prog_active_address, &active) && active > 0;
	return *(int *)bpf_this_cpu_ptr(&bpf_prog_active) > 0;
}

/* Reads the preempt count. Returns false if it cannot. */
static __always_inline bool read_preempt_count(int *count)
{
	if (preempt_source == PREEMPT_VARIABLE)
		*count = *(int *)bpf_this_cpu_ptr(&__preempt_count);
	else if (preempt_source == PREEMPT_PCPU_HOT)
		*count = ((struct pcpu_hot *)bpf_this_cpu_ptr(&pcpu_hot))->preempt_count;
	else if (preempt_source == PREEMPT_TASK) {
		struct task_struct *task = (void *)bpf_get_current_task();

		return !bpf_core_read(count, sizeof(*count), &task->thread_info.preempt_count);
	} else if (preempt_source == PREEMPT_ADDRESS) {
		return read_per_cpu(preempt_count_address, count);
	} else {
		return false;
	}
	return true;
}

static __always_inline bool in_interrupt(void)
{
	int count;

	return !read_preempt_count(&count) || count & INTERRUPT_MASK;
}

/*
 * Whether the task was running a program before ours, of a kind that says so in
 * the task: kprobes, tracepoints, perf events, cgroups and trampolines do, XDP
 * and tc do not. False where the kernel does not tell.
 */
static __always_inline bool in_program(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct bpf_tramp_run_ctx *ours = NULL;
	void *before = NULL;

	if (!bpf_core_field_exists(task->bpf_ctx) || !bpf_core_field_exists(ours->saved_run_ctx))
		return false;
	if (bpf_core_read(&ours, sizeof(ours), &task->bpf_ctx) || !ours)
		return false;
	return !bpf_core_read(&before, sizeof(before), &ours->saved_run_ctx) && before;
}

/*
 * Where the write under way comes from. bpf_prog_active alone does not tell a
 * system call: programs of kprobes, tracepoints and perf events raise it as well
 * (trace_call_bpf, kernel/trace/bpf_trace.c).
 */
static __always_inline enum source source(void)
{
	int count;

	if (!read_preempt_count(&count))
		return SOURCE_UNKNOWN;
	if (count & SERVING_MASK)
		return SOURCE_INTERRUPT;
	return in_map_syscall() && !in_program() ? SOURCE_SYSCALL : SOURCE_PROGRAM;
}

static __always_inline __u64 current_start_ns(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, start_boottime);
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
	return in_map_syscall() && !in_interrupt();
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
 * Sizes are compared right before they are used, and in a copy that nobody needs
 * later: verifiers before 5.13 forget the bounds of a number that the compiler put
 * on the stack meanwhile.
 */
static __always_inline bool read_bytes(void *to, __u64 bytes, __u64 most, const void *from)
{
	barrier_var(bytes);
	return bytes <= most && !bpf_probe_read_kernel(to, bytes, from);
}

/* Reads the name of the current task's process to body + at: COMM_BYTES. */
static __always_inline bool read_comm(void *body, __u64 at, __u64 most)
{
	struct task_struct *task = (void *)bpf_get_current_task(), *leader;

	if (bpf_core_read(&leader, sizeof(leader), &task->group_leader))
		return false;
	barrier_var(at);
	return at <= most && !bpf_core_read(body + at, COMM_BYTES, &leader->comm);
}

static __always_inline bool output(const struct record *record, __u64 body_bytes, __u64 most)
{
	__u64 flags = wake_flags();

	barrier_var(body_bytes);
	if (body_bytes > most)
		return false;
	return !bpf_ringbuf_output(&ring, (void *)record, sizeof(*record) + body_bytes, flags);
}

/* Puts a record in the ring. Returns false if it did not fit. */
static __always_inline bool submit(const struct change *change, __u32 slot, __u32 place,
				   __u64 pid_tgid)
{
	__u64 key_bytes = change->key_bytes, value_bytes = 0, body_bytes;
	struct bpf_map *map = change->map;
	__u32 kind = change->kind;
	struct record *record;
	__u8 *bytes;

	record = bpf_map_lookup_elem(&scratch, &place);
	if (!record)
		return false;
	bytes = (__u8 *)(record + 1);

	if (map && kind != KIND_DRAINED)
		key_bytes = map->key_size;
	if (key_bytes > key_limit)
		return false;
	if (key_bytes && bpf_probe_read_kernel(bytes, key_bytes, change->key))
		return false;
	if (map && kind == KIND_UPDATED) {
		if (!value_has_kernel_fields(map) &&
		    read_bytes(bytes + key_bytes, map->value_size, value_limit, change->value))
			value_bytes = map->value_size;
		else
			kind = KIND_TOUCHED;
	}

	record->captured_ns = bpf_ktime_get_boot_ns();
	record->pid_tgid = pid_tgid;
	record->slot = slot;
	record->cpu = bpf_get_smp_processor_id();
	record->key_bytes = key_bytes;
	record->value_bytes = value_bytes;
	record->kind = kind;
	record->flags = SOURCE_UNKNOWN;
	body_bytes = key_bytes + value_bytes;
	if (name_writers) {
		record->flags = source();
		if (read_comm(bytes, body_bytes, key_limit + value_limit)) {
			record->flags |= RECORD_NAMED;
			body_bytes += COMM_BYTES;
		}
	}
	return output(record, body_bytes, key_limit + value_limit + COMM_BYTES);
}

/*
 * Accounts for a change, if it is one of a watched map. place is the scratch to
 * use.
 */
static __always_inline void account(const struct change *change, __u32 place)
{
	__u32 id = change->map_id, *slot;
	struct counts *counts;
	__u64 pid_tgid;

	slot = bpf_map_lookup_elem(&watched, &id);
	if (!slot)
		return;
	if (*slot == SLOT_OWN) {
		learn_own();
		return;
	}
	counts = bpf_map_lookup_elem(&counters, slot);
	if (!counts)
		return;
	pid_tgid = bpf_get_current_pid_tgid();
	/* Whoever inserts, an eviction is news. */
	if (change->kind != KIND_EVICTED && is_own(pid_tgid)) {
		count(&counts->own);
	} else if (change->failed) {
		count(&counts->failed);
	} else if (submit(change, *slot, place, pid_tgid)) {
		count(&counts->captured);
		if (change->catcher)
			count(&counts->caught);
	} else {
		count(&counts->dropped);
	}
}

/*
 * A change of a map that may be watched. Not inlined: every program has it, and
 * it is most of each.
 */
static __attribute__((noinline)) int changed(const struct change *change)
{
	__u32 hook = change->hook, place = 2 * hook, *in_use = NULL;
	struct busy *using = bpf_map_lookup_elem(&busy, &hook);

	if (!using)
		return 0;
	if (change->catcher) {
		place++;
	} else if (!using->first) {
		in_use = &using->first;
	} else if (nests && !using->second) {
		in_use = &using->second;
		place++;
	} else {
		count(&using->overruns);
		return 0;
	}
	if (in_use)
		*in_use = 1;
	barrier();
	account(change, place);
	barrier();
	if (in_use)
		*in_use = 0;
	return 0;
}

static __always_inline bool may_be_watched(__u32 id)
{
	return filter[id % FILTER_BITS / 64] >> id % 64 & 1;
}

static __always_inline volatile __u64 *caught_place(void *ctx)
{
	/* Multiplicative hash; stacks lie at multiples of a large power of two. */
	return &caught_calls[((__u32)(long)ctx * 2654435761u >> 22) % CAUGHT_PLACES];
}

/* Whether a first program has something to do, for a map that may be watched. */
static __always_inline bool first(void *ctx, __u32 hook)
{
	volatile __u64 *caught = caught_place(ctx);

	if (*caught != (__u64)ctx)
		return true;
	*caught = 0;
	__sync_fetch_and_add((__u64 *)&caught_runs[hook], -1);
	return false;
}

/* The same of a catcher. */
static __always_inline bool catcher(void *ctx, __u32 hook)
{
	__u32 key = hook;
	struct busy *using = bpf_map_lookup_elem(&busy, &key);
	volatile __u64 *caught = caught_place(ctx);

	if (!using || !using->first) {
		if (*caught == (__u64)ctx)
			*caught = 0;
		return false;
	}
	*caught = (__u64)ctx;
	count((__u64 *)&caught_runs[hook]);
	return true;
}

static __always_inline int saw(struct bpf_map *map, __u32 hook, bool is_catcher, __u32 kind,
			       void *key, void *value, bool failed)
{
	struct change change = {
		.map = map,
		.key = key,
		.value = value,
		.map_id = map->id,
		.hook = hook,
		.kind = kind,
		.failed = failed,
		.catcher = is_catcher,
	};

	if (!may_be_watched(change.map_id))
		return 0;
	return changed(&change);
}

/*
 * The programs of one function. HOOK is its number, name begins the programs'
 * names: NAME_fexit, NAME_fexit_catcher and, of updates, NAME_fentry,
 * NAME_fentry_catcher.
 *
 * The functions return int up to 6.3 and long from 6.4; the upper half of the
 * register is undefined for an int, so that the result is always read as int.
 */
#define UPDATE_PROGRAM(program, section, turn, HOOK, is_catcher)                                   \
	SEC(section)                                                                               \
	int BPF_PROG(program, struct bpf_map *map, void *key, void *value, __u64 flags, int ret)   \
	{                                                                                          \
		if (!turn(ctx, HOOK))                                                              \
			return 0;                                                                  \
		return saw(map, HOOK, is_catcher, KIND_UPDATED, key, value, ret);                  \
	}

#define DELETE_PROGRAM(program, section, turn, HOOK, is_catcher)                                   \
	SEC(section)                                                                               \
	int BPF_PROG(program, struct bpf_map *map, void *key, int ret)                             \
	{                                                                                          \
		if (!turn(ctx, HOOK))                                                              \
			return 0;                                                                  \
		return saw(map, HOOK, is_catcher, KIND_DELETED, key, NULL, ret);                   \
	}

#define TOUCH_PROGRAM(program, section, turn, HOOK, is_catcher)                                    \
	SEC(section)                                                                               \
	int BPF_PROG(program, struct bpf_map *map, void *key)                                      \
	{                                                                                          \
		if (!turn(ctx, HOOK))                                                              \
			return 0;                                                                  \
		return saw(map, HOOK, is_catcher, KIND_TOUCHED, key, NULL, false);                 \
	}

#define UPDATE_HOOK(name, HOOK, function)                                                          \
	UPDATE_PROGRAM(name##_fexit, "fexit/" function, first, HOOK, false)                        \
	UPDATE_PROGRAM(name##_fexit_catcher, "fexit/" function, catcher, HOOK, true)               \
	TOUCH_PROGRAM(name##_fentry, "fentry/" function, first, HOOK, false)                       \
	TOUCH_PROGRAM(name##_fentry_catcher, "fentry/" function, catcher, HOOK, true)

#define DELETE_HOOK(name, HOOK, function)                                                          \
	DELETE_PROGRAM(name##_fexit, "fexit/" function, first, HOOK, false)                        \
	DELETE_PROGRAM(name##_fexit_catcher, "fexit/" function, catcher, HOOK, true)

UPDATE_HOOK(hash_update, HOOK_HASH_UPDATE, "htab_map_update_elem")
DELETE_HOOK(hash_delete, HOOK_HASH_DELETE, "htab_map_delete_elem")
UPDATE_HOOK(lru_update, HOOK_LRU_UPDATE, "htab_lru_map_update_elem")
DELETE_HOOK(lru_delete, HOOK_LRU_DELETE, "htab_lru_map_delete_elem")
UPDATE_HOOK(array_update, HOOK_ARRAY_UPDATE, "array_map_update_elem")
UPDATE_HOOK(lpm_update, HOOK_LPM_UPDATE, "trie_update_elem")
DELETE_HOOK(lpm_delete, HOOK_LPM_DELETE, "trie_delete_elem")

/* Of hash and lru_hash alike. */
#define LOOKUP_AND_DELETE_PROGRAM(program, turn, is_catcher)                                       \
	SEC("fexit/__htab_map_lookup_and_delete_elem")                                             \
	int BPF_PROG(program, struct bpf_map *map, void *key, void *value, __u64 is_lru_map,       \
		     __u64 is_percpu, __u64 flags, int ret)                                        \
	{                                                                                          \
		if (!turn(ctx, HOOK_LOOKUP_AND_DELETE))                                            \
			return 0;                                                                  \
		return saw(map, HOOK_LOOKUP_AND_DELETE, is_catcher, KIND_DELETED, key, NULL, ret); \
	}

LOOKUP_AND_DELETE_PROGRAM(lookup_and_delete_fexit, first, false)
LOOKUP_AND_DELETE_PROGRAM(lookup_and_delete_fexit_catcher, catcher, true)

/*
 * Of hash and lru_hash, shared by lookup_batch and lookup_and_delete_batch.
 * fexit whatever the mode, because the scan that answers it must see the map
 * without those keys. The result says nothing about how many were deleted before
 * an error. No catcher: it is a system call only, and the caller waits for it.
 */
SEC("fexit/__htab_map_lookup_and_delete_batch")
int BPF_PROG(lookup_and_delete_batch_fexit, struct bpf_map *map, void *attr, void *uattr,
	     __u64 do_delete)
{
	/* A bool argument: only its lowest byte is defined. */
	if (!(do_delete & 0xff))
		return 0;
	return saw(map, HOOK_LOOKUP_AND_DELETE_BATCH, false, KIND_DRAINED, NULL, NULL, false);
}

/*
 * An LRU map takes an element from its hash table to use it for another key: in
 * the middle of an update, under the lock of the LRU list, interrupts off. fexit
 * whatever the mode, and only an element that really was in the table counts.
 * No catcher: nothing runs in between but an NMI. kernel/bpf/bpf_lru_list.c
 */
SEC("fexit/htab_lru_map_delete_node")
int BPF_PROG(lru_evict_fexit, struct bpf_htab *htab, struct bpf_lru_node *node, __u64 ret)
{
	char *element = (char *)node - bpf_core_field_offset(struct htab_elem, lru_node);
	struct change change = {
		.key = element + bpf_core_field_offset(struct htab_elem, key),
		.hook = HOOK_LRU_EVICT,
		.kind = KIND_EVICTED,
	};

	/* A bool result: only its lowest byte is defined. */
	if (!(ret & 0xff))
		return 0;
	if (bpf_core_read(&change.map_id, sizeof(change.map_id), &htab->map.id))
		return 0;
	if (!may_be_watched(change.map_id))
		return 0;
	if (bpf_core_read(&change.key_bytes, sizeof(change.key_bytes), &htab->map.key_size))
		return 0;
	return changed(&change);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
