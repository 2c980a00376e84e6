/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The flow key and the tables that C shares with Python.
 *
 * Generated from vswitch.fields, vswitch.base.limits and vswitch.model by `make generate`; do not edit.
 *
 * Slots of type __be* and __u8[] are in network byte order, __u16 and __u32 in the host's. Slots that
 * share bytes never belong to the same packet. Include after the header that defines __u8 and the like.
 */
#pragma once

/* Bounds: vswitch.base.limits has the reasons. */
#define KEY_WORDS 26
#define KEY_BYTES 208
#define MAX_PORT 65534
#define MAX_ACTIONS 64
#define MAX_ACTION_DEPTH 3
#define MAX_USERDATA_BYTES 64
#define MAX_RECIRCULATIONS 8
#define PARSE_BYTES 256
#define MAX_EXTENSION_HEADERS 8
#define MAX_MPLS_LABELS 3
#define MAX_ND_OPTIONS 4
#define MAX_PRIORITY 65535

union flow_key {
	__u64 w[KEY_WORDS];
	struct {
		__u32 in_port;
		__u32 recirc_id;
		__u8 eth_dst[6];
		__be16 eth_type;
		__u8 eth_src[6];
		__be16 vlan_tci;
		__be16 vlan_tpid;
		__be16 cvlan_tci;
		__be16 cvlan_tpid;
		__be16 tcp_flags;
		__u8 ip_proto;
		__u8 ip_tos;
		__u8 ip_ttl;
		__u8 ip_frag;
		__be16 tp_src;
		__be16 tp_dst;
		union {
			__be32 ipv4_src;
			__be32 mpls_lse0;
		};
		union {
			__be32 ipv4_dst;
			__be32 mpls_lse1;
		};
		__u32 skb_mark;
		__u32 dp_hash;
		__u8 ct_state;
		__u8 ct_proto;
		__u16 ct_zone;
		__u32 ct_mark;
		union {
			__u8 ipv6_src[16];
			__be32 ipv6_src_32[4];
			__be64 ipv6_src_64[2];
			__be32 mpls_lse2;
		};
		union {
			__u8 ipv6_dst[16];
			__be32 ipv6_dst_32[4];
			__be64 ipv6_dst_64[2];
		};
		__be32 ipv6_label;
		__u32 skb_priority;
		union {
			__u8 nd_target[16];
			__be32 nd_target_32[4];
			__be64 nd_target_64[2];
			__u8 ct_ipv6_src[16];
			__be32 ct_ipv6_src_32[4];
			__be64 ct_ipv6_src_64[2];
			__be32 ct_ipv4_src;
		};
		union {
			struct {
				__u8 l2_source[6];
				__u8 pad_126[2];
				__u8 l2_target[6];
			};
			__u8 ct_ipv6_dst[16];
			__be32 ct_ipv6_dst_32[4];
			__be64 ct_ipv6_dst_64[2];
			__be32 ct_ipv4_dst;
		};
		__be64 tun_id;
		union {
			__u8 tun_src[16];
			__be32 tun_src_32[4];
			__be64 tun_src_64[2];
			__be32 tun_ipv4_src;
		};
		union {
			__u8 tun_dst[16];
			__be32 tun_dst_32[4];
			__be64 tun_dst_64[2];
			__be32 tun_ipv4_dst;
		};
		__u16 tun_flags;
		__u8 tun_tos;
		__u8 tun_ttl;
		__be16 tun_tp_src;
		__be16 tun_tp_dst;
		union {
			__u8 ct_label[16];
			__be32 ct_label_32[4];
			__be64 ct_label_64[2];
		};
		__be16 ct_tp_src;
		__be16 ct_tp_dst;
		__be16 arp_op;
		__u8 pad_206[2];
	};
};

#define KEY_SLOT(slot, offset, size) \
	_Static_assert(__builtin_offsetof(union flow_key, slot) == offset && \
		       sizeof(((union flow_key *)0)->slot) == size, #slot)

KEY_SLOT(in_port, 0, 4);
KEY_SLOT(recirc_id, 4, 4);
KEY_SLOT(eth_dst, 8, 6);
KEY_SLOT(eth_type, 14, 2);
KEY_SLOT(eth_src, 16, 6);
KEY_SLOT(vlan_tci, 22, 2);
KEY_SLOT(vlan_tpid, 24, 2);
KEY_SLOT(cvlan_tci, 26, 2);
KEY_SLOT(cvlan_tpid, 28, 2);
KEY_SLOT(tcp_flags, 30, 2);
KEY_SLOT(ip_proto, 32, 1);
KEY_SLOT(ip_tos, 33, 1);
KEY_SLOT(ip_ttl, 34, 1);
KEY_SLOT(ip_frag, 35, 1);
KEY_SLOT(tp_src, 36, 2);
KEY_SLOT(tp_dst, 38, 2);
KEY_SLOT(ipv4_src, 40, 4);
KEY_SLOT(mpls_lse0, 40, 4);
KEY_SLOT(ipv4_dst, 44, 4);
KEY_SLOT(mpls_lse1, 44, 4);
KEY_SLOT(skb_mark, 48, 4);
KEY_SLOT(dp_hash, 52, 4);
KEY_SLOT(ct_state, 56, 1);
KEY_SLOT(ct_proto, 57, 1);
KEY_SLOT(ct_zone, 58, 2);
KEY_SLOT(ct_mark, 60, 4);
KEY_SLOT(ipv6_src, 64, 16);
KEY_SLOT(mpls_lse2, 64, 4);
KEY_SLOT(ipv6_dst, 80, 16);
KEY_SLOT(ipv6_label, 96, 4);
KEY_SLOT(skb_priority, 100, 4);
KEY_SLOT(nd_target, 104, 16);
KEY_SLOT(ct_ipv6_src, 104, 16);
KEY_SLOT(ct_ipv4_src, 104, 4);
KEY_SLOT(l2_source, 120, 6);
KEY_SLOT(ct_ipv6_dst, 120, 16);
KEY_SLOT(ct_ipv4_dst, 120, 4);
KEY_SLOT(l2_target, 128, 6);
KEY_SLOT(tun_id, 136, 8);
KEY_SLOT(tun_src, 144, 16);
KEY_SLOT(tun_ipv4_src, 144, 4);
KEY_SLOT(tun_dst, 160, 16);
KEY_SLOT(tun_ipv4_dst, 160, 4);
KEY_SLOT(tun_flags, 176, 2);
KEY_SLOT(tun_tos, 178, 1);
KEY_SLOT(tun_ttl, 179, 1);
KEY_SLOT(tun_tp_src, 180, 2);
KEY_SLOT(tun_tp_dst, 182, 2);
KEY_SLOT(ct_label, 184, 16);
KEY_SLOT(ct_tp_src, 200, 2);
KEY_SLOT(ct_tp_dst, 202, 2);
KEY_SLOT(arp_op, 204, 2);
_Static_assert(sizeof(union flow_key) == KEY_BYTES, "union flow_key");

#undef KEY_SLOT

/* Fields that are parts of a slot, in the bits of its value (for a __be slot: after byte swapping). */
#define TUN_IPV6_MASK 0x8000
#define TUN_IPV6_SHIFT 15
#define TUN_FLAGS_MASK 0x7fff
#define TUN_FLAGS_SHIFT 0
#define VLAN_PRESENT_MASK 0x1000
#define VLAN_PRESENT_SHIFT 12
#define VLAN_VID_MASK 0xfff
#define VLAN_VID_SHIFT 0
#define VLAN_PCP_MASK 0xe000
#define VLAN_PCP_SHIFT 13
#define CVLAN_PRESENT_MASK 0x1000
#define CVLAN_PRESENT_SHIFT 12
#define CVLAN_VID_MASK 0xfff
#define CVLAN_VID_SHIFT 0
#define CVLAN_PCP_MASK 0xe000
#define CVLAN_PCP_SHIFT 13
#define IPV6_LABEL_MASK 0xfffff
#define IPV6_LABEL_SHIFT 0
#define IP_DSCP_MASK 0xfc
#define IP_DSCP_SHIFT 2
#define IP_ECN_MASK 0x3
#define IP_ECN_SHIFT 0
#define TCP_FLAGS_MASK 0xfff
#define TCP_FLAGS_SHIFT 0
#define ICMPV4_TYPE_MASK 0xff
#define ICMPV4_TYPE_SHIFT 0
#define ICMPV4_CODE_MASK 0xff
#define ICMPV4_CODE_SHIFT 0
#define ICMPV6_TYPE_MASK 0xff
#define ICMPV6_TYPE_SHIFT 0
#define ICMPV6_CODE_MASK 0xff
#define ICMPV6_CODE_SHIFT 0
#define MPLS_LABEL_MASK 0xfffff000
#define MPLS_LABEL_SHIFT 12
#define MPLS_TC_MASK 0xe00
#define MPLS_TC_SHIFT 9
#define MPLS_BOS_MASK 0x100
#define MPLS_BOS_SHIFT 8
#define MPLS_TTL_MASK 0xff
#define MPLS_TTL_SHIFT 0
#define MPLS1_LABEL_MASK 0xfffff000
#define MPLS1_LABEL_SHIFT 12
#define MPLS1_TC_MASK 0xe00
#define MPLS1_TC_SHIFT 9
#define MPLS1_BOS_MASK 0x100
#define MPLS1_BOS_SHIFT 8
#define MPLS1_TTL_MASK 0xff
#define MPLS1_TTL_SHIFT 0
#define MPLS2_LABEL_MASK 0xfffff000
#define MPLS2_LABEL_SHIFT 12
#define MPLS2_TC_MASK 0xe00
#define MPLS2_TC_SHIFT 9
#define MPLS2_BOS_MASK 0x100
#define MPLS2_BOS_SHIFT 8
#define MPLS2_TTL_MASK 0xff
#define MPLS2_TTL_SHIFT 0

/* Values of ip_frag. */
enum ip_frag {
	FRAGMENT_NO = 0,
	FRAGMENT_FIRST = 1,
	FRAGMENT_LATER = 3,
};

/* Bits of tun_flags. */
#define TUNNEL_DF 0x1
#define TUNNEL_CSUM 0x2
#define TUNNEL_KEY 0x4

/* Why a packet was dropped: vswitch.model.port.DROP_REASONS. */
enum drop_reason {
	DROP_EXPLICIT = 0,
	DROP_NO_FLOW = 1,
	DROP_UPCALL_QUOTA = 2,
	DROP_UPCALL_RING_FULL = 3,
	DROP_UPCALL_FAILED = 4,
	DROP_NO_PORT = 5,
	DROP_TTL = 6,
	DROP_METER = 7,
	DROP_RECIRCULATION_LIMIT = 8,
	DROP_CLONE_LIMIT = 9,
	DROP_ACTION_FAILED = 10,
	DROP_BAD_PACKET = 11,
	DROP_REINJECTED_MISS = 12,
	DROP_UPCALL_RATE = 13,
	DROP_POLICING = 14,
};

#define DROP_REASONS 15

/* Why a packet went up: vswitch.model.upcall.UpcallReason. */
enum upcall_reason {
	UPCALL_MISS = 0,
	UPCALL_ACTION = 1,
};
