/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From bytes to the flow key. The rules are those of vswitch.packet.parse, which says them in words; a
 * test compares the two on random, cut and hostile frames.
 *
 * Headers are read straight from the packet. Where the linear part of an skb ends before the packet does,
 * extract() answers -1 and is called again once the rest has been pulled in. A header that is cut off
 * leaves its fields zero.
 */
#pragma once

#include "state.h"

/* Farthest that the parser may look: two VLAN tags in the payload, SNAP, and PARSE_BYTES behind them. */
#define PULL_BYTES (14 + 8 + 8 + PARSE_BYTES)

/* Keeps an index into the key within it, so that the compiler leaves the key on the stack. */
#define KEY_INDEX(i) ((i) < KEY_WORDS ? (i) : 0)

typedef __u64 unaligned_u64 __attribute__((aligned(2)));

#define CUT(p, n) ((void *)(p) + (n) > end)

INLINE int is_vlan(__be16 type)
{
	return type == ETH_VLAN || type == ETH_QINQ;
}

INLINE int is_mpls(__be16 type)
{
	return type == ETH_MPLS || type == ETH_MPLS_MULTICAST;
}

/* Bytes of the frame, with a tag that is beside it. */
INLINE __u32 frame_length(const struct __sk_buff *skb)
{
	return skb->len + (skb->vlan_present ? 4 : 0);
}

/* Where the headers of a frame are, as bytes from its start; a header is there if the parser reads its fields. */
struct place {
	__u16 l3, l4;		/* l4 0: there is none to be looked at */
	__u16 end;		/* of what the parser sees */
	__be16 type;		/* 0 if the network header is not there, or not what the Ethernet type says */
	__u8 proto, frag;
	__u8 routed;		/* IPv6: the destination is not the last one, which checksums are over */
	__u8 hidden;		/* there is an L4 header, but out of sight */
};

/*
 * Walks IPv6 extension headers from `at`, not beyond `limit`. Afterwards `next` is the protocol of the header at
 * `at`, and `end` says that it is none of these, so that it may be looked at.
 */
struct extensions {
	__u32 at, limit;
	__u8 next, frag, end, routed;
};

struct extension_walk {
	struct __sk_buff *skb;
	struct extensions x;
};

INLINE int is_extension(__u8 next)
{
	return next == NEXT_HOP_BY_HOP || next == NEXT_ROUTING || next == NEXT_FRAGMENT ||
	       next == NEXT_AUTHENTICATION || next == NEXT_DESTINATION;
}

static long extension_step(__u32 i, struct extension_walk *walk)
{
	struct __sk_buff *skb = walk->skb;
	struct extensions *x = &walk->x;
	__u32 at = x->at & 0xfff; /* one header is at most 2 KB long: says the same to the verifier */
	__u8 h[4];

	if (!is_extension(x->next)) {
		x->end = 1;
		return 1;
	}
	if (i == MAX_EXTENSION_HEADERS || at + 8 > x->limit || at + 8 > skb->len || bpf_skb_load_bytes(skb, at, h, 4))
		return 1;
	if (x->next == NEXT_FRAGMENT) {
		x->next = h[0];
		if (h[2] || h[3] & 0xf8) {
			x->frag = FRAGMENT_LATER;
			return 1;
		}
		if (h[3] & 1)
			x->frag = FRAGMENT_FIRST;
		x->at = at + 8;
		return 0;
	}
	if (x->next == NEXT_ROUTING && h[3])
		x->routed = 1;
	x->at = at + (x->next == NEXT_AUTHENTICATION ? 4 * (h[1] + 2) : 8 * (h[1] + 1));
	x->next = h[0];
	return 0;
}

GLOBAL int walk_extensions(struct __sk_buff *skb, struct extensions *x)
{
	struct extension_walk walk = {.skb = skb};

	if (!x)
		return 0;
	walk.x.at = x->at;
	walk.x.limit = x->limit;
	walk.x.next = x->next;
	bpf_loop(MAX_EXTENSION_HEADERS + 1, extension_step, &walk, 0);
	*x = walk.x;
	return 0;
}

INLINE int extract_nd(struct __sk_buff *skb, union flow_key *key, __u32 at, __u32 limit, __u8 type)
{
	__u64 target[2];

	if (at + 24 > limit || at + 24 > skb->len || bpf_skb_load_bytes(skb, at + 8, target, 16))
		return 0;
	key->w[13] = target[0];
	key->w[14] = target[1];
	at += 24;
#pragma clang loop unroll(disable)
	for (int i = 0; i < MAX_ND_OPTIONS; i++) {
		__u64 option;
		__u8 length;

		if (at + 8 > limit || at + 8 > skb->len || bpf_skb_load_bytes(skb, at, &option, 8))
			break;
		length = option >> 8;
		if (!length)
			break;
		if ((__u8)option == (type == ND_SOLICITATION ? 1 : 2) && length == 1) {
			if (type == ND_SOLICITATION)
				key->w[15] = option >> 16;
			else
				key->w[16] = option >> 16;
			break;
		}
		at += 8 * length;
	}
	return 0;
}

/* 0: done. -1: the linear part ends before the packet's headers do. */
INLINE int extract(struct __sk_buff *skb, union flow_key *key)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u8 *p = data;
	__u32 at = 14, limit;
	__be16 type;
	__u8 proto;

	if (!key)
		return 0;
	if (CUT(p, 14))
		return -1;
	key->w[1] = *(unaligned_u64 *)p & 0xffffffffffffULL;
	key->w[2] = *(unaligned_u64 *)(p + 6) & 0xffffffffffffULL;
	type = *(__be16 *)(p + 12);

	/* VLAN: the first tag is mostly beside the packet, in the skb. */
	if (skb->vlan_present) {
		key->vlan_tci = htons(skb->vlan_tci | VLAN_PRESENT_MASK);
		key->vlan_tpid = skb->vlan_proto;
	} else if (is_vlan(type)) {
		if (CUT(p, 18)) {
			key->eth_type = type;
			return -1;
		}
		key->vlan_tci = *(__be16 *)(p + 14) | htons(VLAN_PRESENT_MASK);
		key->vlan_tpid = type;
		type = *(__be16 *)(p + 16);
		at = 18;
	}
	if (key->vlan_tci && is_vlan(type)) {
		p = data + at;
		if (CUT(p, 4)) {
			key->eth_type = type;
			return -1;
		}
		key->cvlan_tci = *(__be16 *)p | htons(VLAN_PRESENT_MASK);
		key->cvlan_tpid = type;
		type = *(__be16 *)(p + 2);
		at += 4;
	}
	p = data + at;

	if (ntohs(type) < ETH_LOWEST) {
		key->eth_type = ETH_NONE;
		if (CUT(p, 8))
			return -1;
		/* LLC and SNAP with no organisation: aa aa 03 00 00 00 type */
		if ((*(unaligned_u64 *)p & 0xffffffffffffULL) != 0x03aaaa || ntohs(*(__be16 *)(p + 6)) < ETH_LOWEST)
			return 0;
		type = *(__be16 *)(p + 6);
		p += 8;
		at += 8;
	}
	key->eth_type = type;
	limit = at + PARSE_BYTES;

	if (type == ETH_IPV4) {
		__u16 fragment;

		if (CUT(p, 20))
			return -1;
		if ((p[0] >> 4) != 4 || (p[0] & 15) < 5)
			return 0;
		proto = p[9];
		key->ip_proto = proto;
		key->ip_tos = p[1];
		key->ip_ttl = p[8];
		key->ipv4_src = *(__be32 *)(p + 12);
		key->ipv4_dst = *(__be32 *)(p + 16);
		fragment = *(__u16 *)(p + 6);
		if (fragment & htons(0x3fff)) {
			if (fragment & htons(0x1fff)) {
				key->ip_frag = FRAGMENT_LATER;
				return 0;
			}
			key->ip_frag = FRAGMENT_FIRST;
		}
		at += (p[0] & 15) * 4;
		if (proto == PROTO_ICMPV6)
			return 0;
	} else if (type == ETH_IPV6) {
		struct extensions x;

		if (CUT(p, 40))
			return -1;
		if ((p[0] >> 4) != 6)
			return 0;
		key->ip_tos = p[0] << 4 | p[1] >> 4;
		key->ipv6_label = *(__be32 *)p & htonl(IPV6_LABEL_MASK);
		key->ip_ttl = p[7];
		key->w[8] = *(unaligned_u64 *)(p + 8);
		key->w[9] = *(unaligned_u64 *)(p + 16);
		key->w[10] = *(unaligned_u64 *)(p + 24);
		key->w[11] = *(unaligned_u64 *)(p + 32);
		proto = p[6];
		at += 40;
		if (proto != PROTO_TCP && proto != PROTO_UDP && proto != PROTO_ICMPV6) {
			x.at = at;
			x.limit = limit;
			x.next = proto;
			walk_extensions(skb, &x);
			proto = x.next;
			at = x.at;
			key->ip_frag = x.frag;
			if (!x.end) {
				key->ip_proto = proto;
				return 0;
			}
		}
		key->ip_proto = proto;
		if (proto == PROTO_ICMP)
			return 0;
	} else if (type == ETH_ARP) {
		if (CUT(p, 28))
			return -1;
		if ((*(unaligned_u64 *)p & 0xffffffffffffULL) != 0x040600080100ULL)
			return 0;
		key->arp_op = *(__be16 *)(p + 6);
		key->w[15] = *(unaligned_u64 *)(p + 8) & 0xffffffffffffULL;
		key->ipv4_src = *(__be16 *)(p + 14) | (__u32)*(__be16 *)(p + 16) << 16;
		key->w[16] = *(unaligned_u64 *)(p + 18) & 0xffffffffffffULL;
		key->ipv4_dst = *(__be16 *)(p + 24) | (__u32)*(__be16 *)(p + 26) << 16;
		return 0;
	} else if (is_mpls(type)) {
		if (CUT(p, 4))
			return -1;
		key->mpls_lse0 = *(__be32 *)p;
		if (p[2] & 1)
			return 0;
		if (CUT(p, 8))
			return -1;
		key->mpls_lse1 = *(__be32 *)(p + 4);
		if (p[6] & 1)
			return 0;
		if (CUT(p, 12))
			return -1;
		key->mpls_lse2 = *(__be32 *)(p + 8);
		return 0;
	} else {
		return 0;
	}

	/* L4, at most PARSE_BYTES behind the network header */
	if (at > 14 + 8 + 8 + PARSE_BYTES)
		return 0;
	p = data + at;
	switch (proto) {
	case PROTO_TCP:
		if (at + 20 > limit)
			return 0;
		if (CUT(p, 20))
			return -1;
		key->tp_src = *(__be16 *)p;
		key->tp_dst = *(__be16 *)(p + 2);
		key->tcp_flags = *(__be16 *)(p + 12) & htons(TCP_FLAGS_MASK);
		return 0;
	case PROTO_UDP:
	case PROTO_SCTP:
		if (at + (proto == PROTO_UDP ? 8 : 12) > limit)
			return 0;
		if (CUT(p, 8) || (proto == PROTO_SCTP && CUT(p, 12)))
			return -1;
		key->tp_src = *(__be16 *)p;
		key->tp_dst = *(__be16 *)(p + 2);
		return 0;
	case PROTO_ICMP:
	case PROTO_ICMPV6:
		if (at + 8 > limit)
			return 0;
		if (CUT(p, 8))
			return -1;
		key->tp_src = htons(p[0]);
		key->tp_dst = htons(p[1]);
		if (proto == PROTO_ICMPV6 && (p[0] == ND_SOLICITATION || p[0] == ND_ADVERTISEMENT) && !p[1])
			return extract_nd(skb, key, at, limit, p[0]);
	}
	return 0;
}

/* Tunnel metadata, on ports that have it: the read costs 25 ns. */
GLOBAL int extract_tunnel(struct __sk_buff *skb, union flow_key *key)
{
	struct bpf_tunnel_key tunnel = {};
	__u16 flags = 0, given;

	if (!key)
		return 0;
	/* The helper has IPv4 addresses in host order, IPv6 addresses as on the wire. */
	if (bpf_skb_get_tunnel_key(skb, &tunnel, sizeof(tunnel), BPF_F_TUNINFO_FLAGS) == 0) {
		key->tun_ipv4_src = htonl(tunnel.remote_ipv4);
		key->tun_ipv4_dst = htonl(tunnel.local_ipv4);
	} else if (bpf_skb_get_tunnel_key(skb, &tunnel, sizeof(tunnel), BPF_F_TUNINFO_FLAGS | BPF_F_TUNINFO_IPV6) == 0) {
		for (int i = 0; i < 4; i++) {
			key->tun_src_32[i] = tunnel.remote_ipv6[i];
			key->tun_dst_32[i] = tunnel.local_ipv6[i];
		}
		flags = TUN_IPV6_MASK;
	} else {
		return 0;
	}
	key->tun_id = cpu_to_be64((__u64)tunnel.tunnel_id);
	key->tun_tos = tunnel.tunnel_tos;
	key->tun_ttl = tunnel.tunnel_ttl;
	given = ntohs(tunnel.tunnel_flags);
	if (given & KERNEL_TUNNEL_CSUM)
		flags |= TUNNEL_CSUM;
	if (given & KERNEL_TUNNEL_DF)
		flags |= TUNNEL_DF;
	key->tun_flags = flags | TUNNEL_KEY;
	return 0;
}

/* What extract_tunnel() found, put back on a packet that Python sends down again; it stays there over recirculations. */
GLOBAL int restore_tunnel(struct __sk_buff *skb, const struct injection *from)
{
	struct bpf_tunnel_key tunnel = {};
	__u64 flags = 0, metadata;

	if (!from)
		return 0;
	metadata = from->tunnel[5];
	tunnel.tunnel_id = be64_to_cpu(from->tunnel[0]);
	tunnel.tunnel_tos = metadata >> 16;
	tunnel.tunnel_ttl = metadata >> 24;
	if (metadata & TUNNEL_DF)
		flags |= BPF_F_DONT_FRAGMENT;
	if (!(metadata & TUNNEL_CSUM))
		flags |= BPF_F_ZERO_CSUM_TX;
	/* The helper that reads them takes the source for the remote end, the one that writes them the destination. */
	if (metadata & TUN_IPV6_MASK) {
		flags |= BPF_F_TUNINFO_IPV6;
		__builtin_memcpy(tunnel.local_ipv6, &from->tunnel[1], 16);
		__builtin_memcpy(tunnel.remote_ipv6, &from->tunnel[3], 16);
	} else {
		tunnel.local_ipv4 = ntohl((__u32)from->tunnel[1]);
		tunnel.remote_ipv4 = ntohl((__u32)from->tunnel[3]);
	}
	return bpf_skb_set_tunnel_key(skb, &tunnel, sizeof(tunnel), flags) ? -1 : 0;
}

/* The key of a packet. 0, or -1 for what is not even an Ethernet header. `key` is zero before. */
INLINE int key_of(struct __sk_buff *skb, union flow_key *key)
{
	__u32 state = skb->cb[CB_STATE];

	key->in_port = STATE_PORT(state);
	key->recirc_id = skb->cb[CB_RECIRC_ID];
	key->dp_hash = skb->cb[CB_DP_HASH];
	key->skb_mark = skb->mark;
	key->skb_priority = skb->priority;
	if (state & STATE_TUNNEL)
		extract_tunnel(skb, key);
	if (unlikely(extract(skb, key) < 0)) {
		if (skb->len < 14)
			return -1;
		bpf_skb_pull_data(skb, skb->len < PULL_BYTES ? skb->len : PULL_BYTES);
		extract(skb, key);
	}
	return 0;
}

/* Bytes that the parser needs of an L4 header; 0 for one that it does not read. */
INLINE __u32 l4_bytes(__be16 type, __u8 proto)
{
	switch (proto) {
	case PROTO_TCP: return 20;
	case PROTO_UDP: return 8;
	case PROTO_SCTP: return 12;
	case PROTO_ICMP: return type == ETH_IPV4 ? 8 : 0;
	case PROTO_ICMPV6: return type == ETH_IPV6 ? 8 : 0;
	}
	return 0;
}

INLINE int locate_ipv4(struct __sk_buff *skb, struct place *place)
{
	__u32 at = place->l3, l4;
	__u16 fragment;
	__u8 h[12];

	if (at + 20 > skb->len || bpf_skb_load_bytes(skb, at, h, 12) || (h[0] >> 4) != 4 || (h[0] & 15) < 5)
		return -1;
	place->proto = h[9];
	fragment = *(__u16 *)(h + 6);
	if (fragment & htons(0x1fff)) {
		place->frag = FRAGMENT_LATER;
		return 0;
	}
	if (fragment & htons(0x2000))
		place->frag = FRAGMENT_FIRST;
	l4 = l4_bytes(ETH_IPV4, place->proto);
	at += (h[0] & 15) * 4;
	if (l4 && at + l4 <= place->end)
		place->l4 = at;
	return 0;
}

INLINE int locate_ipv6(struct __sk_buff *skb, struct place *place)
{
	__u32 at = place->l3, needed;
	struct extensions x = {.at = at + 40, .limit = at + PARSE_BYTES};
	__u8 h[8];

	if (at + 40 > skb->len || bpf_skb_load_bytes(skb, at, h, 8) || (h[0] >> 4) != 6)
		return -1;
	x.next = h[6];
	walk_extensions(skb, &x);
	place->proto = x.next;
	place->frag = x.frag;
	place->routed = x.routed;
	if (x.frag == FRAGMENT_LATER)
		return 0;
	needed = x.end ? l4_bytes(ETH_IPV6, x.next) : 8;
	if (!needed || x.at + needed > skb->len)
		return 0;
	if (x.end && x.at + needed <= place->end)
		place->l4 = x.at;
	else
		place->hidden = 1;
	return 0;
}

INLINE int locate_arp(struct __sk_buff *skb, struct place *place)
{
	__u64 format = 0;

	if (place->l3 + 28u > skb->len || bpf_skb_load_bytes(skb, place->l3, &format, 6))
		return -1;
	return format == 0x040600080100ULL ? 0 : -1;
}

/* Where the headers are, for actions that rewrite them. */
GLOBAL int locate(struct __sk_buff *skb, struct place *place)
{
	__be16 type = 0;
	int missing = 0;
	__u32 at = 14;
	__u8 h[8];

	if (!place)
		return 0;
	__builtin_memset(place, 0, sizeof(*place));
	if (bpf_skb_load_bytes(skb, 12, &type, 2))
		return 0;
	for (int i = 0; i < 2 && is_vlan(type); i++) {
		if (i == 1 && skb->vlan_present)
			break;
		if (bpf_skb_load_bytes(skb, at, h, 4))
			return 0;
		type = *(__be16 *)(h + 2);
		at += 4;
	}
	if (ntohs(type) < ETH_LOWEST) {
		if (bpf_skb_load_bytes(skb, at, h, 8))
			return 0;
		if (h[0] != 0xaa || h[1] != 0xaa || h[2] != 3 || h[3] || h[4] || h[5])
			return 0;
		type = *(__be16 *)(h + 6);
		if (ntohs(type) < ETH_LOWEST)
			return 0;
		at += 8;
	}
	place->l3 = at;
	place->end = skb->len < at + PARSE_BYTES ? skb->len : at + PARSE_BYTES;
	if (type == ETH_IPV4)
		missing = locate_ipv4(skb, place);
	else if (type == ETH_IPV6)
		missing = locate_ipv6(skb, place);
	else if (type == ETH_ARP)
		missing = locate_arp(skb, place);
	place->type = missing ? 0 : type;
	return 0;
}
