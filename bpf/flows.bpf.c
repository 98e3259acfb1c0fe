// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/*
 * For demo and tests: an XDP program that keeps a table of UDP flows to ports
 * 4000 to 4999, as a load balancer or a connection tracker does. It knows
 * nothing of mapgossip. A flow's first packet inserts it by helper, which is
 * captured; a later packet counts in place, through the looked-up pointer,
 * which no hook sees: a scan finds that.
 */

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/types.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define PORT_FIRST 4000
#define PORT_LAST 4999

/* All in network byte order, as in the packet. */
struct flow {
	__be32 source;
	__be16 source_port;
	__be16 port;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct flow);
	__type(value, __u64); /* packets */
} flows SEC(".maps");

/* What the program did: inserted flows, and inserts that the map refused. */
enum outcome {
	OUTCOME_INSERTED,
	OUTCOME_REFUSED,
	OUTCOMES,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, OUTCOMES);
	__type(key, __u32);
	__type(value, __u64);
} outcomes SEC(".maps");

static __always_inline void count(__u32 outcome)
{
	__u64 *n = bpf_map_lookup_elem(&outcomes, &outcome);

	if (n)
		__sync_fetch_and_add(n, 1);
}

SEC("xdp")
int track_flows(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1); /* no IP options on our switch */
	struct flow flow = {};
	__u64 *packets, one = 1;
	__u16 port;

	if ((void *)(udp + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) ||
	    ip->ihl != 5 || ip->protocol != IPPROTO_UDP)
		return XDP_PASS;
	port = bpf_ntohs(udp->dest);
	if (port < PORT_FIRST || port > PORT_LAST)
		return XDP_PASS;

	flow.source = ip->saddr;
	flow.source_port = udp->source;
	flow.port = udp->dest;
	packets = bpf_map_lookup_elem(&flows, &flow);
	if (packets)
		__sync_fetch_and_add(packets, 1);
	else if (bpf_map_update_elem(&flows, &flow, &one, BPF_NOEXIST))
		count(OUTCOME_REFUSED);
	else
		count(OUTCOME_INSERTED);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
