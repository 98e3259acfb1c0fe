// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/*
 * A small stateful firewall for TCP in XDP: the inside may open connections, the
 * outside may only answer. It knows nothing of mapgossip: its state is one map,
 * and whoever has that map can take over.
 *
 * The map changes when a connection does, not with each packet: by
 * bpf_map_update_elem, which mapgossip's hooks see. A counter of packets would be
 * written through the pointer that the lookup gave, and found by scans only: what
 * counts belongs in a map of its own.
 */

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* A connection, as the inside sees it. No padding: it is a key. */
struct flow {
	__be32 saddr;
	__be32 daddr;
	__be16 sport;
	__be16 dport;
};

enum tcp_state {
	SYN_SENT = 1,
	ESTABLISHED = 2,
	CLOSING = 3,
};

struct connection {
	enum tcp_state state;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct flow);
	__type(value, struct connection);
} connections SEC(".maps");

/* The TCP header of an IPv4 packet without options, or NULL. */
static __always_inline struct tcphdr *tcp_of(struct xdp_md *ctx, struct iphdr **ip)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct tcphdr *tcp;

	*ip = (void *)(eth + 1);
	tcp = (void *)(*ip + 1);
	if ((void *)(tcp + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return NULL;
	if ((*ip)->protocol != IPPROTO_TCP || (*ip)->ihl != 5)
		return NULL;
	return tcp;
}

static __always_inline void enter(const struct flow *flow, enum tcp_state state)
{
	struct connection connection = { .state = state };

	bpf_map_update_elem(&connections, flow, &connection, BPF_ANY);
}

/* Follows the connection of a packet. Returns 0 for a packet of none. */
static __always_inline int known(const struct flow *flow, const struct tcphdr *tcp, int opens)
{
	struct connection *connection = bpf_map_lookup_elem(&connections, flow);

	if (!connection) {
		if (!opens)
			return 0;
		enter(flow, SYN_SENT);
	} else if (tcp->rst) {
		bpf_map_delete_elem(&connections, flow);
	} else if (tcp->fin && connection->state != CLOSING) {
		enter(flow, CLOSING);
	} else if (opens && connection->state == CLOSING) {
		enter(flow, SYN_SENT);
	}
	return 1;
}

SEC("xdp")
int from_inside(struct xdp_md *ctx)
{
	struct iphdr *ip;
	struct tcphdr *tcp = tcp_of(ctx, &ip);
	struct flow flow;

	if (!tcp) /* ARP, ICMP and the like are not what this example is about */
		return XDP_PASS;
	flow = (struct flow){ ip->saddr, ip->daddr, tcp->source, tcp->dest };
	return known(&flow, tcp, tcp->syn && !tcp->ack) ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int from_outside(struct xdp_md *ctx)
{
	struct iphdr *ip;
	struct tcphdr *tcp = tcp_of(ctx, &ip);
	struct connection *connection;
	struct flow flow;

	if (!tcp)
		return XDP_PASS;
	flow = (struct flow){ ip->daddr, ip->saddr, tcp->dest, tcp->source };
	if (!known(&flow, tcp, 0))
		return XDP_DROP;
	connection = bpf_map_lookup_elem(&connections, &flow);
	if (connection && connection->state == SYN_SENT && tcp->syn && tcp->ack)
		enter(&flow, ESTABLISHED);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
