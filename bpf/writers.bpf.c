// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/*
 * Test only: programs that write a map from every context that a program can
 * run in, and count what they wrote, so that a test can account for each
 * write. A key is the writer's number in the upper half and a running number
 * in the lower one; the value is the key's complement. The key of the trie has
 * the length of its prefix in front; the index into the array has the writer in
 * its bits 12 to 15 and the running number below.
 */

#include <linux/bpf.h>
#include <linux/errno.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

enum writer {
	WRITER_RUN = 1,	   /* BPF_PROG_RUN */
	WRITER_SOCKET = 2, /* socket filter, in the softirq that delivers */
	WRITER_EGRESS = 3, /* cgroup egress, on behalf of the sender */
	WRITER_TIMER = 4,  /* bpf_timer, in the softirq of timers; 5.15 */
	WRITER_TRACE = 5,  /* raw tracepoint where a thread is named */
	WRITER_KPROBE = 6, /* kprobe at the entry of a system call */
	WRITERS = 7,
};

/* Which map is written. */
enum target_type {
	TARGET_HASH = 0,
	TARGET_LRU = 1,
	TARGET_ARRAY = 2,
	TARGET_LPM = 3,
};

volatile __u32 target_type;

/* The process that trace_write and kprobe_write wait for. */
volatile __u32 trace_tgid;

/* What is left to write for timer_write, and how long it waits in between. */
volatile __u32 timer_writes;
volatile __u64 timer_interval_ns;

/* Written without error, by writer. */
volatile __u64 written[WRITERS];
volatile __u64 refused[WRITERS];

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 16);
	__type(key, __u64);
	__type(value, __u64);
} target SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 16);
	__type(key, __u64);
	__type(value, __u64);
} lru_target SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << 16);
	__type(key, __u32);
	__type(value, __u64);
} array_target SEC(".maps");

struct prefix {
	__u32 bits;
	__u64 key;
} __attribute__((packed));

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1 << 16);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, __u64);
} lpm_target SEC(".maps");

struct alarm {
	struct bpf_timer timer;
};

/* Values that are not only bytes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct alarm);
} hashed_alarms SEC(".maps");

/* Values that are a plain struct, as most loaders describe them. */
struct pair {
	__u32 first, second;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct pair);
} pairs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct alarm);
} alarms SEC(".maps");

static __always_inline long update(__u64 key, __u64 value)
{
	struct prefix prefix = { .bits = 64, .key = key };
	__u32 index = (key >> 32 & 0xf) << 12 | (key & 0xfff);

	switch (target_type) {
	case TARGET_LRU:
		return bpf_map_update_elem(&lru_target, &key, &value, BPF_ANY);
	case TARGET_ARRAY:
		return bpf_map_update_elem(&array_target, &index, &value, BPF_ANY);
	case TARGET_LPM:
		return bpf_map_update_elem(&lpm_target, &prefix, &value, BPF_ANY);
	}
	return bpf_map_update_elem(&target, &key, &value, BPF_ANY);
}

static __always_inline long delete(__u64 key)
{
	struct prefix prefix = { .bits = 64, .key = key };

	switch (target_type) {
	case TARGET_LRU:
		return bpf_map_delete_elem(&lru_target, &key);
	case TARGET_LPM:
		return bpf_map_delete_elem(&lpm_target, &prefix);
	}
	return bpf_map_delete_elem(&target, &key);
}

static __always_inline void write(__u32 writer)
{
	__u64 key = (__u64)writer << 32 | (written[writer] + 1), value = ~key;

	/* No writer runs on two CPUs at a time, so that a plain count will do. */
	if (update(key, value))
		refused[writer]++;
	else
		written[writer]++;
}

SEC("xdp")
int run_write(struct xdp_md *ctx)
{
	write(WRITER_RUN);
	return XDP_PASS;
}

/* Deletes the last key that run_write wrote, then fails to delete it again. */
SEC("xdp")
int run_delete(struct xdp_md *ctx)
{
	__u64 key = (__u64)WRITER_RUN << 32 | written[WRITER_RUN];

	if (delete(key))
		return XDP_ABORTED;
	if (!delete(key))
		return XDP_ABORTED;
	return XDP_PASS;
}

SEC("socket")
int socket_write(struct __sk_buff *skb)
{
	write(WRITER_SOCKET);
	return 0; /* drop it: nobody reads the socket */
}

SEC("cgroup_skb/egress")
int egress_write(struct __sk_buff *skb)
{
	write(WRITER_EGRESS);
	return 1;
}

static int ring_alarm(void *map, __u32 *key, struct alarm *alarm)
{
	write(WRITER_TIMER);
	if (--timer_writes)
		bpf_timer_start(&alarm->timer, timer_interval_ns, 0);
	return 0;
}

/*
 * Makes the timer write timer_writes times. XDP_DROP if this machine can have no
 * timers: 7.3 allocates them in a way that takes a CPU with cmpxchg16b.
 */
SEC("xdp")
int timer_write(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct alarm *alarm = bpf_map_lookup_elem(&alarms, &zero);

	if (!alarm)
		return XDP_ABORTED;
	/* EBUSY the second time. */
	if (bpf_timer_init(&alarm->timer, &alarms, 1 /* CLOCK_MONOTONIC */) == -ENOMEM)
		return XDP_DROP;
	bpf_timer_set_callback(&alarm->timer, ring_alarm);
	if (bpf_timer_start(&alarm->timer, timer_interval_ns, 0))
		return XDP_ABORTED;
	return XDP_PASS;
}

/* A tracepoint that is seldom passed: see HAZARD in test/lab. */
SEC("raw_tp/task_rename")
int trace_write(void *ctx)
{
	if (bpf_get_current_pid_tgid() >> 32 == trace_tgid)
		write(WRITER_TRACE);
	return 0;
}

/* Attached by name. */
SEC("kprobe")
int kprobe_write(void *ctx)
{
	if (bpf_get_current_pid_tgid() >> 32 == trace_tgid)
		write(WRITER_KPROBE);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
