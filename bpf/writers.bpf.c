// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/*
 * Test only: programs that write a map from every context that a program can
 * run in, and count what they wrote, so that a test can account for each
 * write. A key is the writer's number in the upper half and a running number
 * in the lower one; the value is the key's complement.
 */

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

enum writer {
	WRITER_RUN = 1,	   /* BPF_PROG_RUN */
	WRITER_SOCKET = 2, /* socket filter, in the softirq that delivers */
	WRITER_EGRESS = 3, /* cgroup egress, on behalf of the sender */
	WRITERS = 4,
};

/* Written without error, by writer. */
volatile __u64 written[WRITERS];
volatile __u64 refused[WRITERS];

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 16);
	__type(key, __u64);
	__type(value, __u64);
} target SEC(".maps");

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

static __always_inline void write(__u32 writer)
{
	__u64 key = (__u64)writer << 32 | (written[writer] + 1), value = ~key;

	/* No writer runs on two CPUs at a time, so that a plain count will do. */
	if (bpf_map_update_elem(&target, &key, &value, BPF_ANY))
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

	if (bpf_map_delete_elem(&target, &key))
		return XDP_ABORTED;
	if (!bpf_map_delete_elem(&target, &key))
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

char LICENSE[] SEC("license") = "Dual BSD/GPL";
