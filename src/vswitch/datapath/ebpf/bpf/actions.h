/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Executing a list of actions. One bpf_loop() walks the ops of the list; what comes after the walk (the last
 * output, a recirculation) is noted in the run and done at its end.
 *
 * Work on a copy (clone, sample and the like, unless nothing comes behind them) is a real copy: the packet is
 * cloned to the injection device, whose program executes the nested list before the call returns.
 */
#pragma once

#include "rewrite.h"

struct run {
	struct __sk_buff *skb;
	__u32 at, end;		/* the next op, and where the list ends */
	int verdict;
	__u32 recirculate;	/* id, or 0 */
	__u32 accounted;	/* something came out of the packet, or its drop is counted */
};

INLINE void count_output(const struct port *port, __u32 length)
{
	struct port_counters *c = counters_of(port);

	if (!c)
		return;
	add(&c->tx_packets, 1);
	add(&c->tx_bytes, length);
}

/* hot: the last output of a packet. It is counted before, as the packet may be gone afterwards. */
INLINE int output(struct __sk_buff *skb, __u32 number)
{
	struct port *port = port_of(number);

	if (!port || !port->ifindex)
		return count_drop(STATE_PORT(skb->cb[CB_STATE]), DROP_NO_PORT);
	count_output(port, frame_length(skb));
	/* the kernel hands packets to the other end at ingress only, so not those that Python sends down */
	if (port->flags & PORT_PEER && skb->ifindex != inject_ifindex)
		return bpf_redirect_peer(port->ifindex, 0);
	return bpf_redirect(port->ifindex, 0);
}

/* Any output but the last. What is above 0 (NET_XMIT_DROP, NET_XMIT_CN) is said by the device's queue: it has the packet,
 * and counts it, as with the last output. */
GLOBAL int output_copy(struct __sk_buff *skb, __u32 number)
{
	struct port *port = port_of(number);
	__u32 length = frame_length(skb);
	struct port_counters *c;

	if (!port || !port->ifindex)
		return count_drop(STATE_PORT(skb->cb[CB_STATE]), DROP_NO_PORT);
	if (bpf_clone_redirect(skb, port->ifindex, 0) >= 0) {
		count_output(port, length);
		return 0;
	}
	c = counters_of(port);
	if (c)
		add(&c->tx_errors, 1);
	return -1;
}

/* Executes `list` (offset | count << 32) on a copy of the packet. */
GLOBAL int on_copy(struct __sk_buff *skb, __u32 offset, __u32 count)
{
	__u32 state = skb->cb[CB_STATE];
	__u32 list = skb->cb[CB_LIST];
	long failed;

	if (!count)
		return 0;
	if (STATE_DEPTH(state) > MAX_ACTION_DEPTH)
		return count_drop(STATE_PORT(state), DROP_CLONE_LIMIT);
	skb->cb[CB_STATE] = (state + STATE_DEPTH_ONE) | STATE_CLONE;
	skb->cb[CB_LIST] = LIST_PACK(offset, count);
	failed = bpf_clone_redirect(skb, inject_ifindex, 0);
	/* A list that ends without an output ends with a drop, which the kernel tells as a failure to send. */
	if (failed && failed != NET_XMIT_DROP && failed != -ENOBUFS)
		count_drop(STATE_PORT(state), DROP_ACTION_FAILED);
	skb->cb[CB_STATE] = state;
	skb->cb[CB_LIST] = list;
	return 0;
}

/* Goes on in a nested list: in place if nothing comes behind it, else on a copy. */
INLINE int nested(struct run *run, __u64 list)
{
	__u32 offset = list, count = list >> 32;

	if (run->at == run->end) {
		run->at = offset;
		run->end = offset + count;
		return 0;
	}
	on_copy(run->skb, offset, count);
	run->accounted |= count;
	return 0;
}

INLINE int stop(struct run *run, int verdict)
{
	run->verdict = verdict;
	run->accounted = 1;
	return 1;
}

INLINE int drop(struct run *run, __u32 reason)
{
	return stop(run, count_drop(STATE_PORT(run->skb->cb[CB_STATE]), reason));
}

INLINE int act_output(struct run *run, const struct op *op, __u32 at)
{
	struct __sk_buff *skb = run->skb;
	__u32 longest = op->extra;

	if (run->at != run->end) {
		run->accounted = 1;
		if (longest && frame_length(skb) > longest)
			on_copy(skb, at, 1);
		else
			output_copy(skb, op->a32);
		return 0;
	}
	if (longest && truncate(skb, longest))
		return drop(run, DROP_ACTION_FAILED);
	return stop(run, output(skb, op->a32));
}

/* Bytes of the longest frame that the packet is on the wire: a GSO packet leaves as segments. */
FUNCTION int wire_length(struct __sk_buff *skb)
{
	__u32 length = frame_length(skb), gso = skb->gso_size, segment;
	struct place place;
	__u8 offset;

	if (!gso)
		return length;
	locate(skb, &place);
	if (!place.l4)
		return length;
	segment = length - skb->len + place.l4 + gso;
	if (place.proto == PROTO_UDP)
		segment += 8;
	else if (!bpf_skb_load_bytes(skb, place.l4 + 12, &offset, 1))
		segment += (offset >> 4) * 4;
	return segment < length ? segment : length;
}

#define METER_SKEW (1000000000ULL << 10)	/* clocks of CPUs do not differ by so much: a second */

/* The meter has tokens for the packet. */
GLOBAL int conforms(__u32 id, __u32 length)
{
	struct meter *meter = bpf_map_lookup_elem(&meters, &id);
	__u64 now, full_at, next;

	if (!meter || !meter->burst)
		return 1;
	now = bpf_ktime_get_ns() << 10;
#pragma clang loop unroll(disable)
	for (int tries = 0; tries < 8; tries++) {
		full_at = READ_ONCE(meter->full_at);
		next = full_at;
		/* Idle for long enough to be empty, or so long that the clock went round. What is a little past the burst is
		 * only a CPU whose clock is ahead of ours. */
		if ((__s64)(next - now) < 0 || next - now > meter->burst + METER_SKEW)
			next = now;
		next += meter->counts_bytes ? meter->cost * length : meter->cost;
		if (next - now > meter->burst) {
			__sync_fetch_and_add(&meter->dropped_packets, 1);
			__sync_fetch_and_add(&meter->dropped_bytes, length);
			return 0;
		}
		if (__sync_val_compare_and_swap(&meter->full_at, full_at, next) == full_at)
			break;
	}
	__sync_fetch_and_add(&meter->packets, 1);
	__sync_fetch_and_add(&meter->bytes, length);
	return 1;
}

#define MIX(hash, x) do { hash ^= (x); hash *= 0x9e3779b97f4a7c15ULL; hash ^= hash >> 29; } while (0)

/* A hash of addresses, protocol and ports, the same for all packets of a connection in one direction. Never 0. */
GLOBAL int hash_packet(struct __sk_buff *skb, __u32 seed)
{
	struct place place;
	__u64 hash = seed, words[4] = {};
	__u32 ports_ = 0;

	locate(skb, &place);
	if (place.type == ETH_IPV4) {
		bpf_skb_load_bytes(skb, place.l3 + 12, words, 8);
	} else if (place.type == ETH_IPV6) {
		bpf_skb_load_bytes(skb, place.l3 + 8, words, 32);
	} else {
		bpf_skb_load_bytes(skb, 0, words, 12);
		words[2] = place.type;
	}
	if (place.l4 && place.frag == FRAGMENT_NO &&
	    (place.proto == PROTO_TCP || place.proto == PROTO_UDP || place.proto == PROTO_SCTP))
		bpf_skb_load_bytes(skb, place.l4, &ports_, 4);
	for (int i = 0; i < 4; i++)
		MIX(hash, words[i]);
	MIX(hash, (__u64)ports_ << 8 | place.proto);
	hash = finish(hash);
	skb->cb[CB_DP_HASH] = (__u32)hash ? (__u32)hash : 1;
	return 0;
}

/* One op. 0: go on, 1: the list is done. */
static long step(UNUSED __u32 i, struct run *run)
{
	struct __sk_buff *skb = run->skb;
	__u32 at = run->at, next = at + 1;
	const struct op *op;
	int failed = 0;

	if (at >= run->end)
		return 1;
	op = bpf_map_lookup_elem(&ops, &at);
	if (!op)
		return drop(run, DROP_ACTION_FAILED);
	run->at = next;
	switch (op->code) {
	case OP_OUTPUT:
		return act_output(run, op, at);
	case OP_DROP:
		__sync_fetch_and_add(&dp.explicit_drops[op->a8], 1);
		return drop(run, DROP_EXPLICIT);
	case OP_SET:
		failed = set_field(skb, op);
		break;
	case OP_SET_MARK:
		skb->mark = (skb->mark & ~(__u32)op->mask) | (__u32)op->value;
		return 0;
	case OP_SET_PRIORITY:
		skb->priority = (skb->priority & ~(__u32)op->mask) | (__u32)op->value;
		return 0;
	case OP_SET_VLAN:
		failed = set_vlan(skb, op->value, op->mask);
		break;
	case OP_SET_TUNNEL:
		if (op->extra)
			run->at = at + 2;
		failed = set_tunnel(skb, op, bpf_map_lookup_elem(&ops, &next));
		break;
	case OP_PUSH_VLAN:
		failed = push_vlan(skb, op->a16, op->a32);
		break;
	case OP_POP_VLAN:
		failed = pop_vlan(skb);
		break;
	case OP_PUSH_MPLS:
		failed = push_mpls(skb, op->a32, op->a16);
		break;
	case OP_POP_MPLS:
		failed = pop_mpls(skb, op->a16);
		break;
	case OP_DEC_TTL:
		failed = dec_ttl(skb);
		if (failed != 1)
			break;
		run->at = op->value;
		run->end = run->at + (op->value >> 32);
		if (run->at == run->end)
			return drop(run, DROP_TTL);
		return 0;
	case OP_RECIRCULATE:
		if (run->at != run->end) {
			on_copy(skb, at, 1);
			run->accounted = 1;
			return 0;
		}
		run->recirculate = op->a32;
		return 1;
	case OP_HASH:
		hash_packet(skb, op->a32);
		return 0;
	case OP_SAMPLE:
		if (bpf_get_prandom_u32() > op->a32 || !op->a32)
			return 0;
		return nested(run, op->value);
	case OP_METER:
		if (!conforms(op->a32, frame_length(skb)))
			return drop(run, DROP_METER);
		return 0;
	case OP_CLONE:
		return nested(run, op->value);
	case OP_CHECK_LENGTH:
		return nested(run, (__u32)wire_length(skb) > op->a32 ? op->value : op->mask);
	case OP_USERSPACE:
		run->at = at + 3;
		run->accounted = 1;
		failed = send_up(skb, at, op->extra);
		if (failed >= 0)
			count_drop(STATE_PORT(skb->cb[CB_STATE]), failed);
		return 0;
	}
	if (failed)
		return drop(run, DROP_ACTION_FAILED);
	return 0;
}
