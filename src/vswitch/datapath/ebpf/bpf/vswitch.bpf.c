/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The programs. A packet enters by `vs_port` (ingress of a port) or `vs_inject` (egress of the injection
 * device, where Python sends packets down and copies pass), is looked up, and leaves by one output in the
 * common case, or goes on by tail call: to `vs_actions` for a list, from there to `vs_lookup` for a
 * recirculation, or to `vs_upcall` on a miss.
 */
#include "actions.h"
#include "control.h"

INLINE void count_flow(__u32 id, __u32 length, const union flow_key *key)
{
	__u32 at = id + stripe() * n_flows;
	struct flow_stats *stats = bpf_map_lookup_elem(&flow_stats, &at);
	__u32 tick;

	if (!stats)
		return;
	add(&stats->packets, 1);
	add(&stats->bytes, length);
	stats->tcp_flags |= ntohs(key->tcp_flags);
	/* the clock is read once a tick: a call costs as much as all the rest here, bpf_jiffies64() is a load */
	tick = bpf_jiffies64();
	if (stats->tick != tick || unlikely(!stats->used_ns)) {
		stats->tick = tick;
		stats->used_ns = bpf_ktime_get_coarse_ns();
	}
}

/* Whether the packet has to wait behind others of its flow that Python still has. */
FUNCTION int waits(struct flow *flow)
{
	__u64 heard_ns = READ_ONCE(dp.alive_ns);

	if (heard_ns < flow->created_ns)
		heard_ns = flow->created_ns;
	/* signed: the coarse clock may be behind the one that Python reads */
	if ((__s64)(bpf_ktime_get_coarse_ns() - heard_ns) > (__s64)GATE_NS)
		return 0;
	return (__sync_fetch_and_add(&flow->gate, 1) & GATE) != 0;
}

/* hot: every packet, once and once more for each recirculation */
INLINE int look_up_and_act(struct __sk_buff *skb)
{
	union flow_key key = {};
	__u32 state = skb->cb[CB_STATE], in_port = STATE_PORT(state), version = skb->cb[CB_VERSION], id = 0;
	struct flow *flow;
	__u64 actions, sig;

	if (key_of(skb, &key))
		return count_drop(in_port, DROP_BAD_PACKET);
	flow = lookup_cached(&key, version, &sig, &id);
	if (unlikely(!flow)) {
		id = lookup_by_masks(&key, version, sig);
		flow = id ? bpf_map_lookup_elem(&flows, &id) : NULL;
		if (!flow) {
			skb->cb[CB_LIST] = 0;
			bpf_tail_call(skb, &programs, PROGRAM_UPCALL);
			return count_drop(in_port, DROP_UPCALL_FAILED);
		}
	}
	actions = READ_ONCE(flow->actions);
	if (unlikely(actions & GATE)) {
		if (!(state & STATE_REINJECTED) && waits(flow)) {
			skb->cb[CB_LIST] = id;
			bpf_tail_call(skb, &programs, PROGRAM_UPCALL);
			return count_drop(in_port, DROP_UPCALL_FAILED);
		}
		actions &= ~GATE;
	}
	count_flow(id, frame_length(skb), &key);
	if (likely(VERDICT(actions) == VERDICT_OUTPUT))
		return output(skb, VERDICT_ARGUMENT(actions));
	if (VERDICT(actions) == VERDICT_DROP) {
		__sync_fetch_and_add(&dp.explicit_drops[VERDICT_ARGUMENT(actions) & 255], 1);
		return count_drop(in_port, DROP_EXPLICIT);
	}
	skb->cb[CB_LIST] = LIST_PACK(VERDICT_ARGUMENT(actions), (__u32)VERDICT_COUNT(actions));
	bpf_tail_call(skb, &programs, PROGRAM_ACTIONS);
	return count_drop(in_port, DROP_ACTION_FAILED);
}

#define POLICER_SKEW (1000000000ULL << 10)	/* clocks of CPUs do not differ by so much: a second */

/* Whether there is a token left; then the packet takes `amount` times the cost of one. */
FUNCTION int has_token(__u32 at, __u32 amount)
{
	struct policer *policer = bpf_map_lookup_elem(&policers, &at);
	__u64 now, full_at, begin;

	if (!policer || !READ_ONCE(policer->cost))
		return 1;
	now = bpf_ktime_get_ns() << 10;
#pragma clang loop unroll(disable)
	for (int tries = 0; tries < 8; tries++) {
		full_at = READ_ONCE(policer->full_at);
		begin = full_at;
		if ((__s64)(begin - now) < 0 || begin - now > policer->burst + POLICER_SKEW + policer->cost * 65536)
			begin = now;
		if (begin - now >= policer->burst)
			return 0;
		if (__sync_val_compare_and_swap(&policer->full_at, full_at, begin + policer->cost * amount) == full_at)
			break;
	}
	return 1;
}

SEC("tc")
int vs_port(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex, hint = ifindex & 0xffff;
	__u32 *number = bpf_map_lookup_elem(&ifindex_hints, &hint);
	struct port *port = number ? port_of(*number) : NULL;
	struct port_counters *c;

	if (unlikely(!port || port->ifindex != ifindex)) {
		number = bpf_map_lookup_elem(&ports_by_ifindex, &ifindex);
		if (!number)
			return TC_ACT_UNSPEC;
		port = port_of(*number);
	}
	c = port ? counters_of(port) : NULL;
	if (!c)
		return TC_ACT_UNSPEC;
	add(&c->rx_packets, 1);
	add(&c->rx_bytes, frame_length(skb));
	if (unlikely(port->flags & PORT_POLICED) &&
	    (!has_token(2 * port->slot + 1, 1) || !has_token(2 * port->slot, frame_length(skb))))
		return count_drop(*number, DROP_POLICING);
	skb->cb[CB_RECIRC_ID] = 0;
	skb->cb[CB_DP_HASH] = 0;
	skb->cb[CB_STATE] = *number | (port->flags & PORT_TUNNEL ? STATE_TUNNEL : 0);
	skb->cb[CB_VERSION] = READ_ONCE(dp.version);
	return look_up_and_act(skb);
}

SEC("tc")
int vs_lookup(struct __sk_buff *skb)
{
	return look_up_and_act(skb);
}

SEC("tc")
int vs_actions(struct __sk_buff *skb)
{
	__u32 list = skb->cb[CB_LIST], state;
	struct run run = {
		.skb = skb,
		.at = LIST_OFFSET(list),
		.end = LIST_OFFSET(list) + LIST_COUNT(list),
		.verdict = TC_ACT_SHOT,
	};

	bpf_loop(MAX_OPS, step, &run, 0);
	state = skb->cb[CB_STATE];
	if (!run.recirculate) {
		if (!run.accounted && !STATE_DEPTH(state)) {
			__sync_fetch_and_add(&dp.explicit_drops[0], 1);
			return count_drop(STATE_PORT(state), DROP_EXPLICIT);
		}
		return run.verdict;
	}
	if (STATE_RECIRCULATIONS(state) >= MAX_RECIRCULATIONS)
		return count_drop(STATE_PORT(state), DROP_RECIRCULATION_LIMIT);
	/* A packet that Python sent down may come up again once it has become another one. */
	skb->cb[CB_STATE] = (state & ~STATE_REINJECTED) + STATE_RECIRCULATION;
	skb->cb[CB_RECIRC_ID] = run.recirculate;
	bpf_tail_call(skb, &programs, PROGRAM_LOOKUP);
	return count_drop(STATE_PORT(state), DROP_ACTION_FAILED);
}

SEC("tc")
int vs_upcall(struct __sk_buff *skb)
{
	struct counters *c = datapath_counters();
	__u32 state = skb->cb[CB_STATE], id = skb->cb[CB_LIST];
	struct flow *flow;
	int failed;

	if (c && !id)
		add(&c->missed, 1);
	if (state & STATE_REINJECTED)
		return count_drop(STATE_PORT(state), DROP_REINJECTED_MISS);
	failed = send_up(skb, 0, 0);
	if (failed >= 0 && id) {
		flow = bpf_map_lookup_elem(&flows, &id);
		if (flow)
			__sync_fetch_and_add(&flow->gate, -1);
	}
	return failed < 0 ? TC_ACT_SHOT : count_drop(STATE_PORT(state), failed);
}

SEC("tc")
int vs_inject(struct __sk_buff *skb)
{
	__u32 state = skb->cb[CB_STATE], at = skb->mark;
	struct injection *injection;
	struct port *port;

	if (state & STATE_CLONE) {
		skb->cb[CB_STATE] = state & ~STATE_CLONE;
		bpf_tail_call(skb, &programs, PROGRAM_ACTIONS);
		return TC_ACT_SHOT;
	}
	injection = bpf_map_lookup_elem(&injections, &at);
	if (!injection || !injection->valid)
		return TC_ACT_SHOT; /* the host's own noise on this device */
	dp.injected++;
	skb->mark = injection->skb_mark;
	skb->priority = injection->skb_priority;
	skb->cb[CB_RECIRC_ID] = injection->recirc_id;
	skb->cb[CB_DP_HASH] = injection->dp_hash;
	port = port_of(injection->in_port);
	skb->cb[CB_STATE] = injection->in_port | (__u32)injection->recirculations << 16 | STATE_REINJECTED |
			    (port && port->flags & PORT_TUNNEL ? STATE_TUNNEL : 0);
	skb->cb[CB_VERSION] = READ_ONCE(dp.version);
	if (injection->tunnel[5])
		restore_tunnel(skb, injection);
	untag(skb);
	if (injection->list_count) {
		skb->cb[CB_LIST] = LIST_PACK(injection->list, (__u32)injection->list_count);
		bpf_tail_call(skb, &programs, PROGRAM_ACTIONS);
		return TC_ACT_SHOT;
	}
	bpf_tail_call(skb, &programs, PROGRAM_LOOKUP);
	return TC_ACT_SHOT;
}

SEC("syscall")
int vs_control(struct control *c)
{
	return control(c);
}

/* For tests and tools: the key of a packet, left in dp.stage_key. */
SEC("tc")
int vs_extract(struct __sk_buff *skb)
{
	union flow_key key = {};
	int failed = key_of(skb, &key);

#pragma unroll
	for (int i = 0; i < KEY_WORDS; i++)
		dp.stage_key[i] = key.w[i];
	return failed;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
