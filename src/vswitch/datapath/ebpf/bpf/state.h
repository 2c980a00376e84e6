/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the kernel and Python share, in memory that both have mapped. Python writes rules, the kernel
 * counters; neither waits for the other.
 *
 * Versions. A packet reads `dp.version` once and sees the rules as they were then, through all its
 * recirculations: a flow with `born` and `died` is there for versions born <= v < died (0: always, never).
 * A version also names the view (masks in order of priority and their union) and the seed of the cache,
 * so a change that could make a cached answer wrong is a new version. views[] is a ring: Python waits
 * for the programs under way before it writes a view again that may still be read.
 */
#pragma once

#include "kernel.h"
#include "flow_key.h"

#define LAYOUT 6		/* changes with anything in this file: another process must not misread the maps */
#define MAX_MASKS 1024		/* masks that views[].order can name; Datapath.create(max_masks=) may allow fewer */
#define VIEWS 64		/* changes of version between two waits for programs under way */
#define STAGE 1024		/* flows of one control request */
#define NO_MASK 0		/* mask of a flow slot that holds nothing */

/* A mask, as the words of the key that it looks at. word[j] selects among key words index[j]. */
struct mask {
	__u64 seed;
	__u32 n;
	__u32 pad;
	__u8 index[32];
	__u64 word[KEY_WORDS];
};

struct view {
	struct mask all;	/* union of all masks: what tells microflows apart; seed differs in each version */
	__u32 n_masks;
	__u32 pad[15];
	__u16 order[MAX_MASKS];	/* ids of masks, highest priority first */
};

/* What to do, in one word so that it changes at once. */
enum verdict { VERDICT_DROP = 0, VERDICT_OUTPUT = 1, VERDICT_LIST = 2 };
#define VERDICT(actions) ((__u16)((actions) >> 48))
#define VERDICT_COUNT(actions) ((__u16)((actions) >> 32))
#define VERDICT_ARGUMENT(actions) ((__u32)(actions)) /* drop: reason; output: port; list: offset in ops */

/*
 * A flow that was installed for a packet that came up begins behind a gate: until the packets of the flow that are
 * still on their way through Python have been sent down, those that come now follow them up, so that none overtakes.
 * The gate counts them. Python opens it by compare-and-swap with the number that it has sent down; a packet that
 * comes up to an open gate knows so from what it finds in the counter, and passes.
 */
#define GATE (1ULL << 63)	/* in flow.actions: look at the gate; in flow.gate: it is closed */
#define GATE_NS 500000000ULL	/* gates let packets pass if Python has not been heard of for so long: it may be dead */

/* 256 bytes, of which a packet that looks at five words touches the first 64. */
struct flow {
	__u64 actions;
	__u32 mask;		/* NO_MASK: free, or not to be seen yet */
	__u32 born, died;
	__u32 idle_ms;		/* 0: no idle timeout */
	__u64 key[KEY_WORDS];	/* masked words in the order of the mask's index[] */
	__u64 created_ns;	/* CLOCK_MONOTONIC */
	__u32 hard_ms;		/* 0: no hard timeout */
	__u32 wanted_mask;	/* mask to be indexed under */
	__u64 gate;
};

/* Of one flow, for CPUs of one stripe. */
struct flow_stats {
	__u64 packets, bytes, used_ns;
	__u32 tcp_flags, tick;
};

/* Of the index, a cache line; the eighth pair counts what had to go elsewhere. */
struct bucket {
	__u32 sig[8];
	__u32 id[8];
};
#define INDEX_SLOTS 7
#define OVERFLOW sig[7]

/* Of the cache, a cache line: signatures of microflows, and the flows that took them. */
#define CACHE_WAYS 5
struct cache_bucket {
	__u64 sig[CACHE_WAYS];
	__u32 id[CACHE_WAYS];
	__u32 pad;
};

#define PORT_TUNNEL 1		/* its packets carry tunnel metadata */
#define PORT_PEER 2		/* output goes straight to the other end of the veth pair */
#define PORT_POLICED 4		/* what comes in is bounded by `policers` */

struct port {
	__u32 ifindex;		/* 0: no such port, or its device is away */
	__u16 slot;		/* where its counters are; 0, which no port has, for numbers without one */
	__u16 flags;
};

/* For Python alone: what a port is called, by slot. */
struct port_info {
	char name[16];
	__u16 number;
	__u8 kind;		/* 0: free slot */
	__u8 unfinished;	/* being added or removed: who opens the datapath next takes it away */
	__u8 peer;
	__u8 pad[11];
};

/* Of one port, for CPUs of one stripe. */
struct port_counters {
	__u64 rx_packets, rx_bytes, tx_packets, tx_bytes, tx_errors, upcalls, pad[2];
	__u64 drops[24];
};
_Static_assert(DROP_REASONS <= 24, "port_counters.drops");

/* A port's share of the ring, in bytes of records. The kernel adds to produced, Python to consumed. And how many misses
 * of it may come up: a token bucket as a virtual time, as of a meter, in ns. */
struct port_ring {
	__u64 produced, consumed, quota, lost;
	__u64 miss_cost;	/* of one; 0: any number */
	__u64 miss_burst;	/* of so many at once */
	__u64 full_at;
	__u64 pad;
};

/* Of the datapath, for CPUs of one stripe. */
struct counters {
	__u64 cache_hits, mask_hits, masks_tried, missed, lost, upcalls;
	__u64 pad[10];
};

/* Token bucket as a virtual time (GCRA): a packet conforms if it does not push `full_at` past now + burst.
 * Times in 2^-10 ns. */
struct meter {
	__u64 full_at;
	__u64 cost;		/* of a packet, or of a byte */
	__u32 counts_bytes;
	__u32 rate;		/* for Python alone: as it was asked for */
	__u64 burst;
	__u64 packets, bytes, dropped_packets, dropped_bytes;
};

/* What may come in by a port, of bytes or of packets: a virtual time as of a meter, in 2^-10 ns. A packet passes while
 * there is a token left, and takes all that it costs: one that was not cut into segments yet is worth many. */
struct policer {
	__u64 full_at;
	__u64 cost;		/* of a byte, or of a packet; 0: any number */
	__u64 burst;
	__u64 pad;
};

/* What a packet that Python sends down is to look like; its skb mark selects one of these. */
struct injection {
	__u32 in_port, recirc_id, skb_mark, skb_priority, dp_hash;
	__u16 recirculations;
	__u16 list_count;	/* actions to execute instead of a lookup */
	__u32 list;
	__u32 valid;
	__u64 tunnel[6];	/* key words 17 to 22 */
};

/* One step of an action list. Lists, nested ones too, lie in ops[]. */
struct op {
	__u8 code;
	__u8 a8;
	__u16 a16;
	__u32 a32;
	__u64 value, mask, extra;
};

enum op_code {
	OP_NOTHING = 0,		/* head of a block: not executed */
	OP_OUTPUT = 1,		/* a32 port, extra: longest packet or 0 */
	OP_DROP = 2,		/* a8 reason */
	OP_SET = 3,		/* a8 base, a16 offset, a32 size | checksum << 8, value, mask */
	OP_SET_MARK = 4,	/* value, mask */
	OP_SET_PRIORITY = 5,	/* value, mask */
	OP_SET_VLAN = 6,	/* value, mask: TCI, host order */
	OP_SET_TUNNEL = 7,	/* a8 tos, a16 ttl | flags << 8, a32 outer source (IPv4, as on the wire), value id,
				 * mask: outer destination (IPv4), extra 1: IPv6, addresses in the op behind */
	OP_PUSH_VLAN = 8,	/* a16 protocol, a32 TCI */
	OP_POP_VLAN = 9,
	OP_PUSH_MPLS = 10,	/* a16 Ethernet type, a32 label stack entry */
	OP_POP_MPLS = 11,	/* a16 Ethernet type */
	OP_DEC_TTL = 12,	/* value: list for a packet that had none left */
	OP_RECIRCULATE = 13,	/* a32 id */
	OP_HASH = 14,		/* a32 seed */
	OP_SAMPLE = 15,		/* a32 probability, value: list */
	OP_METER = 16,		/* a32 meter */
	OP_CLONE = 17,		/* value: list */
	OP_CHECK_LENGTH = 18,	/* a32 length, value: list if greater, mask: list if not */
	OP_USERSPACE = 19,	/* a8 bytes of user data, in the two ops behind; extra: longest packet or 0 */
};
#define MAX_OPS 1024		/* steps of one packet through a list of 255 and what is nested in it */

enum set_base {
	BASE_ETHERNET = 0, BASE_IPV4 = 1, BASE_IPV6 = 2, BASE_ARP = 3, BASE_MPLS = 4,
	BASE_TCP = 5, BASE_UDP = 6, BASE_SCTP = 7, BASE_ICMP = 8, BASE_ICMPV6 = 9, BASE_ND = 10,
	BASE_ND_SOURCE = 11, BASE_ND_TARGET = 12,
};
enum set_checksum {
	SUM_NONE = 0,		/* no checksum covers it */
	SUM_IPV4 = 1,		/* the IPv4 header's */
	SUM_ADDRESS = 2,	/* through the pseudo header also L4's; IPv4 with the IPv4 header's */
	SUM_L4 = 3,		/* L4's own */
};

/* A packet on its way up. `size`: of the whole record. */
struct upcall {
	__u32 size;
	__u16 in_port;
	__u8 reason;
	__u8 userdata_length;
	__u32 captured, length;
	__u64 time_ns;		/* CLOCK_MONOTONIC when it came up */
	__u16 recirculations;
	__u16 pad;
	__u32 flow;		/* behind whose gate it waits, or 0 */
	__u8 userdata[MAX_USERDATA_BYTES];
	union flow_key key;
	__u8 pad_offload[6];
	__u8 offload[10];	/* struct virtio_net_hdr */
	__u8 packet[];
};
_Static_assert(__builtin_offsetof(struct upcall, packet) % 8 == 0, "struct upcall");

/* Control requests: Python fills dp.stage and runs `vs_control`. */
enum control_code {
	CONTROL_INSERT = 0,	/* flow slots stage.id[0..count): index them under their wanted_mask */
	CONTROL_REMOVE = 1,	/* flow slots stage.id[0..count): take them out of the index */
	CONTROL_FIND = 2,	/* stage.key, mask -> result: flow slot or 0 */
	CONTROL_LOOKUP = 3,	/* stage.key -> result: flow slot that takes it now or 0 */
	CONTROL_EXPIRE = 4,	/* slots first.. -> stage.id: those that have timed out at now_ns; result: how many;
				 * first: where to go on */
	CONTROL_OPEN = 5,	/* open the gates of flows stage.id[], of which stage.result[] packets were sent down */
};
enum control_result { CONTROL_OK = 0, CONTROL_EXISTS = 1, CONTROL_FULL = 2, CONTROL_ABSENT = 3, CONTROL_WAITING = 4 };

struct control {
	__u32 code, count;
	__u32 mask, first;
	__u32 result, pad;
	__u64 now_ns;
};

#define READER_WORDS 64

/* What every packet reads lies in cache lines of its own, away from what is written. */
struct datapath {
	__u32 version;
	__u32 layout;		/* LAYOUT of the program that made it */
	__u32 controller;	/* process id of who holds the lock */
	__u32 inject_ifindex;
	__u32 max_masks, port_quota;	/* options that no map's size tells */
	__u64 network;		/* cookie of the network namespace that its devices are in */
	__u64 pad[4];
	__u64 hash_keys[32];	/* random; two lanes of hash() use the first KEY_WORDS and one more */
	struct mask masks[MAX_MASKS];
	__u64 explicit_drops[256];	/* by reason */
	/* [i][b]: the CRC32c register that bit b becomes when 2^i zero bytes follow. No constant: the verifier would
	 * follow each of them. */
	__u32 crc32c_zeros[17][32];
	__u32 stage_id[STAGE];
	__u32 stage_result[STAGE];	/* enum control_result, or the slot that was there | 1 << 31 */
	__u64 stage_key[KEY_WORDS];
	__u64 injected;		/* packets that Python has sent down and that arrived here */
	__u64 alive_ns;		/* CLOCK_MONOTONIC when Python last took up a packet */
	__u64 pad_views[4];
	__u64 reader[READER_WORDS];	/* what became of upcalls: Python's counters, for other processes to read */
	struct view views[VIEWS];
};
_Static_assert(sizeof(struct mask) % 64 == 0 && sizeof(struct view) % 64 == 0, "cache lines");
_Static_assert(__builtin_offsetof(struct datapath, views) % 64 == 0, "cache lines");

struct datapath dp __attribute__((aligned(64)));

/* Set before loading, folded into the code by the verifier. */
const volatile __u32 n_buckets = 1;		/* of the index; a power of two */
const volatile __u32 n_cache_buckets = 1;	/* of one CPU; a power of two */
const volatile __u32 n_flows = 1;
const volatile __u32 n_stripes = 1;		/* a power of two */
const volatile __u32 n_port_slots = 1;
const volatile __u32 shared_stripes = 0;	/* there are more CPUs than stripes: count atomically */
const volatile __u32 inject_ifindex = 0;

#define ARRAY(name, type_)				\
	struct {					\
		__uint(type, BPF_MAP_TYPE_ARRAY);	\
		__uint(map_flags, BPF_F_MMAPABLE);	\
		__uint(max_entries, 1);			\
		__type(key, __u32);			\
		__type(value, type_);			\
	} name SEC(".maps")

ARRAY(flows, struct flow);
ARRAY(flow_stats, struct flow_stats);		/* flow + stripe * n_flows */
ARRAY(index_buckets, struct bucket);
ARRAY(cache, struct cache_bucket);			/* bucket + cpu * n_cache_buckets */
ARRAY(ops, struct op);
ARRAY(ports, struct port);			/* by port number */
ARRAY(port_infos, struct port_info);		/* by slot */
ARRAY(port_counters, struct port_counters);	/* slot + stripe * n_port_slots */
ARRAY(port_rings, struct port_ring);		/* by slot */
ARRAY(counters, struct counters);		/* by stripe */
ARRAY(meters, struct meter);
ARRAY(policers, struct policer);		/* of bytes: 2 * slot; of packets: 2 * slot + 1 */
ARRAY(injections, struct injection);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} ports_by_ifindex SEC(".maps");		/* ifindex -> port number */

/* The same by the lower 16 bits of the ifindex, and so without a hash (30 ns), but only a hint. */
ARRAY(ifindex_hints, __u32);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} upcalls SEC(".maps");

enum program { PROGRAM_LOOKUP = 0, PROGRAM_ACTIONS = 1, PROGRAM_UPCALL = 2, PROGRAMS = 3 };
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, PROGRAMS);
	__type(key, __u32);
	__type(value, __u32);
} programs SEC(".maps");

/*
 * What a packet carries from one program to the next, in the five words of skb->cb. A clone made with
 * bpf_clone_redirect() has them too.
 */
#define CB_RECIRC_ID 0
#define CB_DP_HASH 1
#define CB_STATE 2	/* in_port | recirculations << 16 | depth of clones << 24 | flags */
#define CB_LIST 3	/* the list to execute; on the way up the flow behind whose gate it waits, or 0 */
#define CB_VERSION 4
#define STATE_PORT(s) ((s) & 0xffff)
#define STATE_RECIRCULATIONS(s) (((s) >> 16) & 0xff)
#define STATE_RECIRCULATION (1u << 16)
#define STATE_DEPTH(s) (((s) >> 24) & 7)
#define STATE_DEPTH_ONE (1u << 24)
#define STATE_CLONE (1u << 31)		/* made by us, on the way to the injection device */
#define STATE_REINJECTED (1u << 30)	/* sent by Python: does not go up again */
#define STATE_TUNNEL (1u << 29)		/* came in by a port that has tunnel metadata */
#define LIST_PACK(offset, count) ((offset) | (count) << 24)	/* 16M ops, lists of 255 */
#define LIST_OFFSET(l) ((l) & 0xffffff)
#define LIST_COUNT(l) ((l) >> 24)

/* ---- counting ---- */

INLINE __u32 stripe(void)
{
	return bpf_get_smp_processor_id() & (n_stripes - 1);
}

INLINE void add(__u64 *counter, __u64 n)
{
	if (shared_stripes)
		__sync_fetch_and_add(counter, n);
	else
		*counter += n;
}

INLINE struct port *port_of(__u32 number)
{
	return bpf_map_lookup_elem(&ports, &number);
}

INLINE struct port_counters *counters_of(const struct port *port)
{
	__u32 at = port->slot + stripe() * n_port_slots;

	return bpf_map_lookup_elem(&port_counters, &at);
}

INLINE struct counters *datapath_counters(void)
{
	__u32 at = stripe();

	return bpf_map_lookup_elem(&counters, &at);
}

/* Counts a drop against the port that the packet came in by. */
FUNCTION int count_drop(__u32 in_port, __u32 reason)
{
	struct port *port = port_of(in_port);
	struct port_counters *c = port ? counters_of(port) : NULL;

	if (c && reason < DROP_REASONS)
		add(&c->drops[reason], 1);
	return TC_ACT_SHOT;
}
