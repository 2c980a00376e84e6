/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the kernel promises to programs: types, the context of a tc program, helpers by number
 * (include/uapi/linux/bpf.h). Written out here so that a build needs a compiler and nothing else.
 */
#pragma once

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed int __s32;
typedef signed long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u64 __be64;

#define NULL ((void *)0)
#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define FUNCTION static __attribute__((noinline))
/* Verified on its own, once, whatever its callers know: keeps the verifier's work small. */
#define GLOBAL __attribute__((noinline))
#define UNUSED __attribute__((unused))
#define CORE __attribute__((preserve_access_index))

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define barrier() __asm__ volatile("" ::: "memory")
/* Keeps the compiler from merging or splitting the access; user space writes beside us. */
#define READ_ONCE(x) (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, value) (*(volatile __typeof__(x) *)&(x) = (value))
/* Hides where a value came from, so that the compiler cannot undo a bounds check that the verifier needs. */
#define OPAQUE(x) __asm__ volatile("" : "+r"(x))

#define htons(x) __builtin_bswap16(x)
#define ntohs(x) __builtin_bswap16(x)
#define htonl(x) __builtin_bswap32(x)
#define ntohl(x) __builtin_bswap32(x)
#define cpu_to_be64(x) __builtin_bswap64(x)
#define be64_to_cpu(x) __builtin_bswap64(x)

struct __sk_buff {
	__u32 len, pkt_type, mark, queue_mapping, protocol, vlan_present, vlan_tci, vlan_proto, priority;
	__u32 ingress_ifindex, ifindex, tc_index, cb[5], hash, tc_classid, data, data_end, napi_id;
	__u32 family, remote_ip4, local_ip4, remote_ip6[4], local_ip6[4], remote_port, local_port;
	__u32 data_meta;
	__u64 flow_keys __attribute__((aligned(8)));
	__u64 tstamp;
	__u32 wire_len, gso_segs;
	__u64 sk __attribute__((aligned(8)));
	__u32 gso_size;
};

struct bpf_tunnel_key {
	__u32 tunnel_id;
	union {
		__u32 remote_ipv4;
		__u32 remote_ipv6[4];
	};
	__u8 tunnel_tos, tunnel_ttl;
	__u16 tunnel_flags;
	__u32 tunnel_label;
	union {
		__u32 local_ipv4;
		__u32 local_ipv6[4];
	};
};

/* What a tc program answers; TCX_NEXT and TC_ACT_UNSPEC are the same number: go on to the next program. */
#define TC_ACT_UNSPEC (-1)
#define TC_ACT_SHOT 2
/* What bpf_clone_redirect() answers when the program at the device dropped the packet: the first before Linux 6.6. */
#define NET_XMIT_DROP 1
#define ENOBUFS 105

#define BPF_F_RECOMPUTE_CSUM (1ULL << 0)
#define BPF_F_PSEUDO_HDR (1ULL << 4)
#define BPF_F_MARK_MANGLED_0 (1ULL << 5)
#define BPF_F_TUNINFO_IPV6 (1ULL << 0)
#define BPF_F_ZERO_CSUM_TX (1ULL << 1)
#define BPF_F_DONT_FRAGMENT (1ULL << 2)
#define BPF_F_TUNINFO_FLAGS (1ULL << 4)
/* bpf_tunnel_key.tunnel_flags, as BPF_F_TUNINFO_FLAGS fills it in (include/uapi/linux/if_tunnel.h), byte-swapped. */
#define KERNEL_TUNNEL_CSUM 0x0001
#define KERNEL_TUNNEL_DF 0x0100

#define BPF_MAP_TYPE_HASH 1
#define BPF_MAP_TYPE_ARRAY 2
#define BPF_MAP_TYPE_PROG_ARRAY 3
#define BPF_MAP_TYPE_RINGBUF 27
#define BPF_F_MMAPABLE (1U << 10)

/* Members of a map definition that libbpf reads from BTF. */
#define __uint(name, value) int(*name)[value]
#define __type(name, value) __typeof__(value) *name

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static __u32 (*bpf_get_prandom_u32)(void) = (void *)7;
static __u32 (*bpf_get_smp_processor_id)(void) = (void *)8;
static long (*bpf_skb_store_bytes)(struct __sk_buff *, __u32 offset, const void *from, __u32 len, __u64 flags) = (void *)9;
static long (*bpf_l3_csum_replace)(struct __sk_buff *, __u32 offset, __u64 from, __u64 to, __u64 size) = (void *)10;
static long (*bpf_l4_csum_replace)(struct __sk_buff *, __u32 offset, __u64 from, __u64 to, __u64 flags) = (void *)11;
static long (*bpf_tail_call)(void *ctx, void *programs, __u32 index) = (void *)12;
static long (*bpf_clone_redirect)(struct __sk_buff *, __u32 ifindex, __u64 flags) = (void *)13;
static long (*bpf_skb_vlan_push)(struct __sk_buff *, __be16 protocol, __u16 tci) = (void *)18;
static long (*bpf_skb_vlan_pop)(struct __sk_buff *) = (void *)19;
static long (*bpf_skb_get_tunnel_key)(struct __sk_buff *, struct bpf_tunnel_key *, __u32 size, __u64 flags) = (void *)20;
static long (*bpf_skb_set_tunnel_key)(struct __sk_buff *, struct bpf_tunnel_key *, __u32 size, __u64 flags) = (void *)21;
static long (*bpf_redirect)(__u32 ifindex, __u64 flags) = (void *)23;
static long (*bpf_skb_load_bytes)(const void *skb, __u32 offset, void *to, __u32 len) = (void *)26;
static __s64 (*bpf_csum_diff)(const void *from, __u32 from_size, const void *to, __u32 to_size, __u32 seed) = (void *)28;
static long (*bpf_skb_change_tail)(struct __sk_buff *, __u32 len, __u64 flags) = (void *)38;
static long (*bpf_skb_pull_data)(struct __sk_buff *, __u32 len) = (void *)39;
static long (*bpf_probe_read_kernel)(void *to, __u32 size, const void *from) = (void *)113;
static __u64 (*bpf_jiffies64)(void) = (void *)118;
static void *(*bpf_ringbuf_reserve)(void *ring, __u64 size, __u64 flags) = (void *)131;
static void (*bpf_ringbuf_submit)(void *record, __u64 flags) = (void *)132;
static void (*bpf_ringbuf_discard)(void *record, __u64 flags) = (void *)133;
static long (*bpf_redirect_peer)(__u32 ifindex, __u64 flags) = (void *)155;
static __u64 (*bpf_ktime_get_ns)(void) = (void *)5;
static __u64 (*bpf_ktime_get_coarse_ns)(void) = (void *)160;
static long (*bpf_loop)(__u32 n, void *callback, void *context, __u64 flags) = (void *)181;

/* Types and protocols on the wire, in network byte order where they are compared there. */
#define ETH_VLAN htons(0x8100)
#define ETH_QINQ htons(0x88a8)
#define ETH_IPV4 htons(0x0800)
#define ETH_IPV6 htons(0x86dd)
#define ETH_ARP htons(0x0806)
#define ETH_MPLS htons(0x8847)
#define ETH_MPLS_MULTICAST htons(0x8848)
#define ETH_NONE htons(0x05ff)
#define ETH_LOWEST 0x0600

#define PROTO_ICMP 1
#define PROTO_TCP 6
#define PROTO_UDP 17
#define PROTO_ICMPV6 58
#define PROTO_SCTP 132
#define NEXT_HOP_BY_HOP 0
#define NEXT_ROUTING 43
#define NEXT_FRAGMENT 44
#define NEXT_AUTHENTICATION 51
#define NEXT_DESTINATION 60
#define ND_SOLICITATION 135
#define ND_ADVERTISEMENT 136
