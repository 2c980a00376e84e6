/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Changing packets. Each function leaves a packet alone that does not have the header asked for, and answers
 * 0, or -1 if the kernel refused.
 *
 * Set-field is data, not code: an op says from which header, at which offset, 4 bytes are taken, which
 * bits of them change, and which checksums cover them.
 */
#pragma once

#include "upcall.h"

/* ---- SCTP: CRC32c, which no helper knows ---- */

/*
 * CRCs are linear: the difference that 4 changed bytes make at the end of the message is their own difference
 * pushed through the zero bytes that follow. So the checksum is updated without reading the payload.
 */
INLINE __u32 crc32c_push(__u32 crc, __u32 zeros)
{
#pragma clang loop unroll(disable)
	for (int i = 0; i < 17; i++) {
		__u32 next = 0;

		if (!(zeros >> i & 1))
			continue;
#pragma clang loop unroll(disable)
		for (int bit = 0; bit < 32; bit++)
			if (crc >> bit & 1)
				next ^= dp.crc32c_zeros[i][bit];
		crc = next;
	}
	return crc;
}

/* Where the IP packet ends; what is behind it is padding that no checksum covers. */
INLINE __u32 ip_end(struct __sk_buff *skb, const struct place *place)
{
	__be16 length = 0;

	if (place->type == ETH_IPV4) {
		bpf_skb_load_bytes(skb, place->l3 + 2, &length, 2);
		return place->l3 + ntohs(length);
	}
	bpf_skb_load_bytes(skb, place->l3 + 4, &length, 2);
	return place->l3 + 40 + ntohs(length);
}

/* After the first 4 bytes of the SCTP header at `at` changed from `old` to `new` (as on the wire). */
GLOBAL int update_sctp(struct __sk_buff *skb, __u32 at, __u32 end, __u32 old, __u32 new)
{
	__u32 sum;

	if (ip_summed((const struct sk_buff *)skb) == SUMMED_PARTIAL)
		return 0; /* it is still to be made, over what the header is by then */
	if (end < at + 12 || end > skb->len || end - at > 0x1ffff || bpf_skb_load_bytes(skb, at + 8, &sum, 4))
		return 0;
	sum ^= crc32c_push(old ^ new, end - at);
	return bpf_skb_store_bytes(skb, at + 8, &sum, 4, BPF_F_RECOMPUTE_CSUM) ? -1 : 0;
}

/* ---- set-field ---- */

/* Where the L4 checksum lies in its header, and how it is to be updated; 0 if there is none. */
INLINE __u32 l4_sum_offset(__u8 proto)
{
	return proto == PROTO_TCP ? 16 : proto == PROTO_UDP ? 6 : proto == PROTO_ICMPV6 || proto == PROTO_ICMP ? 2 : 0;
}

INLINE int nd_option(struct __sk_buff *skb, const struct place *place, __u8 wanted)
{
	__u32 at = place->l4 + 24;
	__u8 h[2];

#pragma clang loop unroll(disable)
	for (int i = 0; i < MAX_ND_OPTIONS; i++) {
		if (at + 8 > place->end || bpf_skb_load_bytes(skb, at, h, 2) || !h[1])
			return 0;
		if (h[0] == wanted && h[1] == 1)
			return at + 2;
		at += 8 * h[1];
	}
	return 0;
}

/* Start of the header that `base` names, -1 if the packet does not have it. */
FUNCTION int base_offset(struct __sk_buff *skb, const struct place *place, __u8 base)
{
	__u8 type[2];

	switch (base) {
	case BASE_ETHERNET: return 0;
	case BASE_IPV4: return place->type == ETH_IPV4 ? place->l3 : -1;
	case BASE_IPV6: return place->type == ETH_IPV6 ? place->l3 : -1;
	case BASE_ARP: return place->type == ETH_ARP ? place->l3 : -1;
	case BASE_MPLS: return is_mpls(place->type) ? place->l3 : -1;
	}
	if (!place->l4 || place->frag == FRAGMENT_LATER)
		return -1;
	switch (base) {
	case BASE_TCP: return place->proto == PROTO_TCP ? place->l4 : -1;
	case BASE_UDP: return place->proto == PROTO_UDP ? place->l4 : -1;
	case BASE_SCTP: return place->proto == PROTO_SCTP ? place->l4 : -1;
	case BASE_ICMP: return place->proto == PROTO_ICMP && place->type == ETH_IPV4 ? place->l4 : -1;
	}
	if (place->proto != PROTO_ICMPV6 || place->type != ETH_IPV6)
		return -1;
	if (base == BASE_ICMPV6)
		return place->l4;
	if (place->l4 + 24 > place->end || bpf_skb_load_bytes(skb, place->l4, type, 2) || type[1])
		return -1;
	if (base == BASE_ND)
		return type[0] == ND_SOLICITATION || type[0] == ND_ADVERTISEMENT ? place->l4 : -1;
	if (type[0] != (base == BASE_ND_SOURCE ? ND_SOLICITATION : ND_ADVERTISEMENT))
		return -1;
	return nd_option(skb, place, base == BASE_ND_SOURCE ? 1 : 2) ?: -1;
}

/*
 * How the store is to treat the sum that a network card made over all of a received packet (CHECKSUM_COMPLETE).
 * Where a checksum in the packet makes up for the change it stays what it is. An IPv6 address is made up for by the
 * L4 checksum, if there is one: update_l4() takes its change from the card's sum, so the store has to add it.
 */
INLINE __u64 store_flag(struct __sk_buff *skb, const struct place *place, __u8 checksum)
{
	__be16 sum = 0;

	switch (checksum) {
	case SUM_IPV4:
		return 0;
	case SUM_ADDRESS:
		return place->type == ETH_IPV4 ? 0 : BPF_F_RECOMPUTE_CSUM;
	case SUM_L4:
		if (place->proto == PROTO_SCTP)
			break;
		if (place->proto == PROTO_UDP && !bpf_skb_load_bytes(skb, place->l4 + 6, &sum, 2) && !sum)
			break;
		return 0;
	}
	return BPF_F_RECOMPUTE_CSUM;
}

/* The L4 checksum after `difference` in what it covers; `pseudo`: in its pseudo header. */
INLINE int update_l4(struct __sk_buff *skb, const struct place *place, __u64 difference, __u64 pseudo)
{
	__u32 at = l4_sum_offset(place->proto);

	if (!at || (pseudo && place->proto == PROTO_ICMP))
		return 0;
	if (place->proto == PROTO_UDP)
		pseudo |= BPF_F_MARK_MANGLED_0;
	return bpf_l4_csum_replace(skb, place->l4 + at, 0, difference, pseudo) ? -1 : 0;
}

/* What could not be done rightly: an SCTP checksum of which this is one fragment, one that is out of sight. */
INLINE int unfit(const struct place *place, __u8 checksum)
{
	if (checksum == SUM_L4)
		return place->proto == PROTO_SCTP && place->frag != FRAGMENT_NO;
	return checksum == SUM_ADDRESS && place->hidden;
}

GLOBAL int set_field(struct __sk_buff *skb, const struct op *op)
{
	__u64 old = 0, new, store, pseudo;
	struct place place;
	__u32 at;
	__s64 difference;
	__u8 checksum;
	int base;

	if (!op)
		return 0;
	checksum = op->a32 >> 8;
	locate(skb, &place);
	base = base_offset(skb, &place, op->a8);
	if (base < 0)
		return 0;
	at = base + op->a16;
	if (bpf_skb_load_bytes(skb, at, &old, 4))
		return 0;
	new = (old & ~op->mask) | op->value;
	if (new == old)
		return 0;
	if (unfit(&place, checksum))
		return -1;
	store = store_flag(skb, &place, checksum);
	if (bpf_skb_store_bytes(skb, at, &new, 4, store))
		return -1;
	if (checksum == SUM_NONE)
		return 0;
	if (checksum == SUM_L4 && place.proto == PROTO_SCTP)
		return update_sctp(skb, place.l4, ip_end(skb, &place), old, new);

	difference = bpf_csum_diff(&old, 8, &new, 8, 0);
	if (difference < 0)
		return -1;
	if (checksum != SUM_L4 && place.type == ETH_IPV4 && bpf_l3_csum_replace(skb, place.l3 + 10, 0, difference, 0))
		return -1;
	if (checksum == SUM_IPV4 || !place.l4)
		return 0;
	/* Checksums are over the last destination, which behind a routing header is another one. */
	if (op->a8 == BASE_IPV6 && op->a16 >= 24 && place.routed)
		return 0;
	pseudo = checksum == SUM_ADDRESS ? BPF_F_PSEUDO_HDR : 0;
	return update_l4(skb, &place, difference, pseudo);
}

GLOBAL int set_tunnel(struct __sk_buff *skb, const struct op *op, const struct op *addresses)
{
	struct bpf_tunnel_key tunnel = {};
	__u64 flags = 0;
	__u8 tunnel_flags;

	if (!op)
		return 0;
	tunnel.tunnel_id = op->value;
	tunnel.tunnel_tos = op->a8;
	tunnel.tunnel_ttl = op->a16;
	tunnel_flags = op->a16 >> 8;
	if (tunnel_flags & TUNNEL_DF)
		flags |= BPF_F_DONT_FRAGMENT;
	if (!(tunnel_flags & TUNNEL_CSUM))
		flags |= BPF_F_ZERO_CSUM_TX;
	if (op->extra) {
		if (!addresses)
			return -1;
		flags |= BPF_F_TUNINFO_IPV6;
		__builtin_memcpy(tunnel.local_ipv6, addresses, 16);
		__builtin_memcpy(tunnel.remote_ipv6, (const void *)addresses + 16, 16);
	} else {
		tunnel.local_ipv4 = ntohl(op->a32); /* the helper has them in host order */
		tunnel.remote_ipv4 = ntohl((__u32)op->mask);
	}
	return bpf_skb_set_tunnel_key(skb, &tunnel, sizeof(tunnel), flags) ? -1 : 0;
}

/* ---- VLAN ---- */

/* A tag in the payload is moved beside the packet, where the helpers expect it. */
INLINE void untag(struct __sk_buff *skb)
{
	__be16 type;

	if (skb->vlan_present || bpf_skb_load_bytes(skb, 12, &type, 2) || !is_vlan(type))
		return;
	if (bpf_skb_vlan_push(skb, ETH_VLAN, 0))
		return;
	bpf_skb_vlan_pop(skb); /* pops ours, and takes the next one out of the payload */
}

GLOBAL int set_vlan(struct __sk_buff *skb, __u16 value, __u16 mask)
{
	__u16 tci, protocol;

	untag(skb);
	if (!skb->vlan_present)
		return 0;
	tci = (skb->vlan_tci & ~mask) | value;
	protocol = skb->vlan_proto;
	if (bpf_skb_vlan_pop(skb))
		return -1;
	return bpf_skb_vlan_push(skb, protocol, tci) ? -1 : 0;
}

GLOBAL int push_vlan(struct __sk_buff *skb, __u16 protocol, __u16 tci)
{
	untag(skb);
	return bpf_skb_vlan_push(skb, htons(protocol), tci) ? -1 : 0;
}

GLOBAL int pop_vlan(struct __sk_buff *skb)
{
	untag(skb);
	return skb->vlan_present && bpf_skb_vlan_pop(skb) ? -1 : 0;
}

/* ---- MPLS ---- */

/*
 * No helper inserts or removes 4 bytes behind the Ethernet header of a packet that is not IP, or changes
 * skb->protocol; the VLAN helpers do both. Pushing a second tag moves the first into the payload (4 bytes
 * more), popping takes a tag out of it (4 bytes less) and sets the protocol from what is behind it. In
 * between we write over the bytes. The outer one of two tags is put aside meanwhile.
 */
struct tag {
	__be16 protocol;	/* 0: none */
	__u16 tci;
};

/* The Ethernet type behind one tag beside the packet, or none; 0 if it is IEEE 802.3. Afterwards give_back(). */
INLINE int put_aside(struct __sk_buff *skb, struct tag *outer, __be16 *type)
{
	untag(skb);
	*type = 0;
	outer->protocol = outer->tci = 0;
	bpf_skb_load_bytes(skb, 12, type, 2);
	if (skb->vlan_present && is_vlan(*type)) {
		outer->protocol = skb->vlan_proto;
		outer->tci = skb->vlan_tci;
		if (bpf_skb_vlan_pop(skb))
			return -1;
		bpf_skb_load_bytes(skb, 12, type, 2);
	}
	if (ntohs(*type) < ETH_LOWEST)
		*type = 0;
	return 0;
}

INLINE int give_back(struct __sk_buff *skb, const struct tag *outer)
{
	return outer->protocol && bpf_skb_vlan_push(skb, outer->protocol, outer->tci) ? -1 : 0;
}

/* `tag` stands for the one that the packet has, or for one that is taken off again. */
INLINE int insert_entry(struct __sk_buff *skb, __u32 entry, __be16 ethertype)
{
	__be16 words[5], protocol = ETH_VLAN;
	__u16 tag = 0, tagged = skb->vlan_present;

	if (tagged) {
		protocol = skb->vlan_proto;
		tag = skb->vlan_tci;
	} else if (bpf_skb_vlan_push(skb, ETH_VLAN, 0)) {
		return -1;
	}
	/* [new tag] [our tag or the packet's] type ...: two tags in the payload, a third beside it */
	if (bpf_skb_vlan_push(skb, protocol, 0) || bpf_skb_vlan_push(skb, ETH_VLAN, 0))
		return -1;
	/* 12: tag to stay or to be popped, 16: MPLS entry in place of the second tag and the old type */
	words[0] = protocol;
	words[1] = htons(tag);
	words[2] = ethertype;
	words[3] = htons(entry >> 16);
	words[4] = htons(entry & 0xffff);
	if (bpf_skb_store_bytes(skb, 12, words, 10, BPF_F_RECOMPUTE_CSUM))
		return -1;
	if (bpf_skb_vlan_pop(skb))
		return -1;
	return !tagged && bpf_skb_vlan_pop(skb) ? -1 : 0;
}

INLINE int remove_entry(struct __sk_buff *skb, __be16 ethertype)
{
	__be16 words[5], protocol = ETH_VLAN;
	__u16 tag = 0, tagged = skb->vlan_present;

	if (tagged) {
		protocol = skb->vlan_proto;
		tag = skb->vlan_tci;
	} else if (bpf_skb_vlan_push(skb, ETH_VLAN, 0)) {
		return -1;
	}
	/* One tag in the payload, one beside it: [tag] 8847 entry ... becomes [tag] [tag] ethertype ... */
	if (bpf_skb_vlan_push(skb, ETH_VLAN, 0))
		return -1;
	words[0] = ETH_VLAN;
	words[1] = 0;
	words[2] = protocol;
	words[3] = htons(tag);
	words[4] = ethertype;
	if (bpf_skb_store_bytes(skb, 12, words, 10, BPF_F_RECOMPUTE_CSUM))
		return -1;
	/* beside -> gone, first -> beside; first gone, second -> beside; second gone unless it is the packet's own */
	if (bpf_skb_vlan_pop(skb) || bpf_skb_vlan_pop(skb))
		return -1;
	return !tagged && bpf_skb_vlan_pop(skb) ? -1 : 0;
}

GLOBAL int push_mpls(struct __sk_buff *skb, __u32 entry, __u16 ethertype)
{
	struct tag outer;
	__be16 type;

	if (put_aside(skb, &outer, &type))
		return -1;
	if (type && insert_entry(skb, entry, htons(ethertype)))
		return -1;
	return give_back(skb, &outer);
}

GLOBAL int pop_mpls(struct __sk_buff *skb, __u16 ethertype)
{
	struct tag outer;
	__be16 type;

	if (put_aside(skb, &outer, &type))
		return -1;
	if (is_mpls(type) && skb->len >= 18 && remove_entry(skb, htons(ethertype)))
		return -1;
	return give_back(skb, &outer);
}

/* ---- time to live ---- */

/* 1: there was none left, the packet is unchanged. 0: done, or not IP. */
GLOBAL int dec_ttl(struct __sk_buff *skb)
{
	struct place place;
	__be16 old, new;
	__u8 ttl;

	locate(skb, &place);
	if (place.type == ETH_IPV4) {
		if (bpf_skb_load_bytes(skb, place.l3 + 8, &old, 2))
			return 0;
		ttl = old;
		if (ttl <= 1)
			return 1;
		new = (old & 0xff00) | (__u8)(ttl - 1);
		if (bpf_skb_store_bytes(skb, place.l3 + 8, &new, 2, 0))
			return -1;
		return bpf_l3_csum_replace(skb, place.l3 + 10, old, new, 2) ? -1 : 0;
	}
	if (place.type == ETH_IPV6) {
		if (bpf_skb_load_bytes(skb, place.l3 + 7, &ttl, 1))
			return 0;
		if (ttl <= 1)
			return 1;
		ttl--;
		return bpf_skb_store_bytes(skb, place.l3 + 7, &ttl, 1, BPF_F_RECOMPUTE_CSUM) ? -1 : 0;
	}
	return 0;
}

/* ---- length ---- */

/*
 * Cuts the frame to `longest` bytes. The kernel refuses to cut what it knows of the headers: up to the L4 header of a
 * packet that this machine made, or up to a checksum that is still to be completed. Such a packet keeps that much.
 */
GLOBAL int truncate(struct __sk_buff *skb, __u32 longest)
{
	__u32 length = skb->len, sum;
	struct place place;

	if (skb->vlan_present)
		longest = longest > 14 + 4 ? longest - 4 : 14;
	if (length <= longest || !bpf_skb_change_tail(skb, longest, 0))
		return 0;
	locate(skb, &place);
	if (!place.l4)
		return -1;
	if (length <= place.l4 || !bpf_skb_change_tail(skb, place.l4, 0))
		return 0;
	sum = place.l4 + l4_sum_offset(place.proto) + 2;
	return length <= sum || !bpf_skb_change_tail(skb, sum, 0) ? 0 : -1;
}
