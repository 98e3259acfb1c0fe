// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/*
 * Test only: each program changes one element of a map of any type, in one of
 * the ways that programs have, and says what came of it. The loader puts the
 * map to change in the place of target and takes one program at a time, so that
 * a kernel that lacks a helper refuses no more than the way that needs it.
 *
 * A program acts once for each time that armed is set, and tells by done: those
 * that are attached run far more often than that.
 */

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

/* The longest value of a target. Its first 8 bytes are a number, in each type. */
#define VALUE_WORDS 4

/* The element to change: arrays take the first half of the key. */
const volatile __u64 key;
const volatile __u64 number;
const volatile __u32 thread; /* whose system calls the tracing programs answer */

volatile __u32 armed;
volatile __u32 done;
volatile __s64 result; /* what the helper returned */

/* Values that are not only bytes; the loader makes targets from these. */
struct locked {
	__u64 number;
	struct bpf_spin_lock lock;
};

struct timed {
	__u64 number;
	struct bpf_timer timer;
};

struct task_struct {
	int pid;
} __attribute__((preserve_access_index));

struct owning {
	__u64 number;
	struct task_struct __attribute__((btf_type_tag("kptr"))) *task;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* set before load, as for all that follow */
	__type(key, __u64);
	__type(value, struct locked);
} hash_lock SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct timed);
} hash_timer SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct owning);
} hash_kptr SEC(".maps");

/* Replaced by the map to change. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(key_size, 8);
	__uint(value_size, 8);
} target SEC(".maps");

struct alarm {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct alarm);
} alarms SEC(".maps");

static __always_inline int disarm(void)
{
	if (!armed)
		return 0;
	armed = 0;
	return 1;
}

/*
 * Before Linux 6.4 these functions return an int, and the upper half of r0 is
 * zero. Two CPUs may both find the program armed: the first one's result counts.
 */
static __always_inline void tell(__s64 ret)
{
	if (done)
		return;
	result = (__s32)ret;
	done = 1;
}

static __always_inline void update(void)
{
	__u64 k = key, value[VALUE_WORDS] = { number };

	tell(bpf_map_update_elem(&target, &k, value, BPF_ANY));
}

static __always_inline void delete(void)
{
	__u64 k = key;

	tell(bpf_map_delete_elem(&target, &k));
}

/*
 * In task context when run by BPF_PROG_RUN, in softirq on a packet.
 */

SEC("xdp")
int run_update(struct xdp_md *ctx)
{
	if (disarm())
		update();
	return XDP_PASS;
}

SEC("xdp")
int run_delete(struct xdp_md *ctx)
{
	if (disarm())
		delete();
	return XDP_PASS;
}

/*
 * Without a helper that changes the map.
 */

SEC("xdp")
int run_pointer(struct xdp_md *ctx)
{
	__u64 k = key, *value;

	if (!disarm())
		return XDP_PASS;
	value = bpf_map_lookup_elem(&target, &k);
	if (value)
		*(volatile __u64 *)value = number;
	tell(value ? 0 : -2); /* ENOENT */
	return XDP_PASS;
}

SEC("xdp")
int run_atomic(struct xdp_md *ctx)
{
	__u64 k = key, *value;

	if (!disarm())
		return XDP_PASS;
	value = bpf_map_lookup_elem(&target, &k);
	if (value)
		__sync_fetch_and_add(value, number);
	tell(value ? 0 : -2);
	return XDP_PASS;
}

/* Stores to the element that has the key, and to no other. */
static long store_each(void *map, __u32 *k, __u64 *value, void *context)
{
	if (*k != (__u32)key)
		return 0;
	*(volatile __u64 *)value = number;
	return 1;
}

SEC("xdp")
int run_for_each(struct xdp_md *ctx)
{
	__s64 visited;

	if (!disarm())
		return XDP_PASS;
	visited = bpf_for_each_map_elem(&target, store_each, NULL, 0);
	tell(visited < 0 ? visited : 0);
	return XDP_PASS;
}

/*
 * From a timer's callback, in softirq or in an interrupt's thread.
 */

static int alarm_update(void *map, __u32 *k, struct alarm *alarm)
{
	update();
	return 0;
}

static int alarm_delete(void *map, __u32 *k, struct alarm *alarm)
{
	delete();
	return 0;
}

static __always_inline void start(void *callback)
{
	__u32 zero = 0;
	struct alarm *alarm = bpf_map_lookup_elem(&alarms, &zero);
	__s64 ret;

	if (!alarm)
		return;
	ret = bpf_timer_init(&alarm->timer, &alarms, 1 /* CLOCK_MONOTONIC */);
	if (!ret)
		ret = bpf_timer_set_callback(&alarm->timer, callback);
	if (!ret)
		ret = bpf_timer_start(&alarm->timer, 1000 /* ns */, 0);
	if (ret)
		tell(ret);
}

SEC("xdp")
int timer_update(struct xdp_md *ctx)
{
	if (disarm())
		start(alarm_update);
	return XDP_PASS;
}

SEC("xdp")
int timer_delete(struct xdp_md *ctx)
{
	if (disarm())
		start(alarm_delete);
	return XDP_PASS;
}

/*
 * Where tracing programs run: here where a thread is named, which is seldom (see
 * HAZARD in test/lab).
 */

static __always_inline int ours(void)
{
	return (__u32)bpf_get_current_pid_tgid() == thread && disarm();
}

SEC("raw_tp/task_rename")
int trace_update(void *ctx)
{
	if (ours())
		update();
	return 0;
}

SEC("raw_tp/task_rename")
int trace_delete(void *ctx)
{
	if (ours())
		delete();
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
