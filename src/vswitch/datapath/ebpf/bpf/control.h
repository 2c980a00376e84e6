/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The only writer of the index, run by Python as a program of type "syscall": one call for a batch of flows, with the same
 * hash as the packets are looked up by.
 *
 * Order matters, since packets are looked up meanwhile on other CPUs: an entry's id is written before its
 * signature, a flow's mask last of all, and an entry that moves is in its new place before it leaves the old.
 */
#pragma once

#include "lookup.h"

/* A new flow comes with all 26 words, masked; what stays are those that its mask looks at. */
INLINE __u64 pack_and_hash(struct flow *flow, const struct mask *mask)
{
	__u64 sum = mask->seed;
	__u32 n = mask->n;

#pragma clang loop unroll(disable)
	for (__u32 j = 0; j < KEY_WORDS; j++) {
		__u32 i = KEY_INDEX(mask->index[j]);
		__u64 word;

		if (j >= n)
			break;
		word = flow->key[i] & mask->word[j];
		flow->key[j] = word;
		sum += NH(word, dp.hash_keys[i]);
	}
	return finish(sum);
}

INLINE __u64 hash_flow(const struct flow *flow, const struct mask *mask)
{
	__u64 sum = mask->seed;
	__u32 n = mask->n;

#pragma clang loop unroll(disable)
	for (__u32 j = 0; j < KEY_WORDS; j++) {
		if (j >= n)
			break;
		sum += NH(flow->key[j], dp.hash_keys[KEY_INDEX(mask->index[j])]);
	}
	return finish(sum);
}

INLINE int same_key(const struct flow *a, const struct flow *b, const struct mask *mask)
{
	__u64 differing = 0;
	__u32 n = mask->n;

#pragma clang loop unroll(disable)
	for (__u32 j = 0; j < KEY_WORDS; j++) {
		if (j >= n)
			break;
		differing |= a->key[j] ^ b->key[j];
	}
	return !differing;
}

INLINE int free_place(const struct bucket *b)
{
	for (int i = 0; i < INDEX_SLOTS; i++)
		if (!b->id[i])
			return i;
	return -1;
}

INLINE void put(struct bucket *b, __u32 place, __u32 sig, __u32 id)
{
	WRITE_ONCE(b->id[place & 7], id);
	barrier();
	WRITE_ONCE(b->sig[place & 7], sig);
}

INLINE void clear(struct bucket *b, __u32 place)
{
	WRITE_ONCE(b->sig[place & 7], 0);
	barrier();
	WRITE_ONCE(b->id[place & 7], 0);
}

/* Makes room in a full bucket: moves one of those at home here to its other bucket. Returns the place or -1. */
FUNCTION int make_room(struct bucket *b, __u32 at)
{
	for (__u32 i = 0; i < INDEX_SLOTS; i++) {
		__u32 id = b->id[i], sig = b->sig[i];
		struct flow *flow = bpf_map_lookup_elem(&flows, &id);
		struct bucket *other;
		int place;

		if (!flow || flow->mask == NO_MASK || home_bucket(hash_flow(flow, mask_of(flow->mask))) != at)
			continue;
		other = bucket_at(other_bucket(at, sig));
		if (!other || other == b || id_in_bucket(other, sig))
			continue;
		place = free_place(other);
		if (place < 0)
			continue;
		put(other, place, sig, id);
		WRITE_ONCE(b->OVERFLOW, b->OVERFLOW + 1);
		barrier();
		clear(b, i);
		return i;
	}
	return -1;
}

/* The flow in `b` that has the signature and the key, and is not on its way out. */
INLINE __u32 twin(const struct bucket *b, __u32 sig, const struct flow *flow, const struct mask *mask)
{
	__u32 id = id_in_bucket(b, sig);
	struct flow *found = id ? bpf_map_lookup_elem(&flows, &id) : NULL;

	return found && found->mask == flow->wanted_mask && !found->died && same_key(found, flow, mask) ? id : 0;
}

INLINE void forget_stats(__u32 id)
{
#pragma clang loop unroll(disable)
	for (__u32 s = 0; s < 64; s++) {
		__u32 at = id + s * n_flows;
		struct flow_stats *stats;

		if (s >= n_stripes)
			break;
		stats = bpf_map_lookup_elem(&flow_stats, &at);
		if (stats)
			__builtin_memset(stats, 0, sizeof(*stats));
	}
}

FUNCTION int insert(__u32 id)
{
	struct flow *flow = bpf_map_lookup_elem(&flows, &id);
	struct mask *mask;
	struct bucket *first, *second;
	__u32 at, sig, there;
	__u64 hash;
	int place;

	if (!flow || !id)
		return CONTROL_ABSENT;
	mask = mask_of(flow->wanted_mask);
	hash = pack_and_hash(flow, mask);
	sig = signature(hash);
	at = home_bucket(hash);
	first = bucket_at(at);
	second = bucket_at(other_bucket(at, sig));
	if (!first || !second)
		return CONTROL_FULL;
	there = twin(first, sig, flow, mask);
	if (!there)
		there = twin(second, sig, flow, mask);
	if (there)
		return there | 1u << 31;

	forget_stats(id);
	WRITE_ONCE(flow->mask, flow->wanted_mask);
	barrier();
	if (!id_in_bucket(first, sig)) {
		place = free_place(first);
		if (place < 0 && (first == second || id_in_bucket(second, sig) || free_place(second) < 0))
			place = make_room(first, at);
		if (place >= 0) {
			put(first, place, sig, id);
			return CONTROL_OK;
		}
	}
	if (first != second && !id_in_bucket(second, sig)) {
		place = free_place(second);
		if (place >= 0) {
			put(second, place, sig, id);
			WRITE_ONCE(first->OVERFLOW, first->OVERFLOW + 1);
			return CONTROL_OK;
		}
	}
	WRITE_ONCE(flow->mask, NO_MASK);
	return CONTROL_FULL;
}

INLINE int clear_id(struct bucket *b, __u32 id)
{
	for (__u32 i = 0; i < INDEX_SLOTS; i++) {
		if (b->id[i] == id) {
			clear(b, i);
			return 1;
		}
	}
	return 0;
}

FUNCTION int take_out(__u32 id)
{
	struct flow *flow = bpf_map_lookup_elem(&flows, &id);
	struct bucket *first, *second;
	__u32 at;
	__u64 hash;
	int result = CONTROL_OK;

	if (!flow || !id || flow->mask == NO_MASK)
		return CONTROL_ABSENT;
	hash = hash_flow(flow, mask_of(flow->mask));
	at = home_bucket(hash);
	first = bucket_at(at);
	second = bucket_at(other_bucket(at, signature(hash)));
	if (!first || !second)
		return CONTROL_ABSENT;
	if (!clear_id(first, id)) {
		if (first != second && clear_id(second, id))
			WRITE_ONCE(first->OVERFLOW, first->OVERFLOW - 1);
		else
			result = CONTROL_ABSENT;
	}
	WRITE_ONCE(flow->mask, NO_MASK);
	return result;
}

static long insert_step(__u32 i, UNUSED void *context)
{
	__u32 n = i & (STAGE - 1);

	dp.stage_result[n] = insert(dp.stage_id[n]);
	return 0;
}

static long remove_step(__u32 i, UNUSED void *context)
{
	__u32 n = i & (STAGE - 1);

	dp.stage_result[n] = take_out(dp.stage_id[n]);
	return 0;
}

static long open_step(__u32 i, UNUSED void *context)
{
	__u32 n = i & (STAGE - 1), id = dp.stage_id[n];
	__u64 closed = GATE | dp.stage_result[n];
	struct flow *flow = bpf_map_lookup_elem(&flows, &id);

	if (!flow || flow->mask == NO_MASK || !(flow->gate & GATE)) {
		dp.stage_result[n] = CONTROL_ABSENT;
	} else if (__sync_val_compare_and_swap(&flow->gate, closed, 0) != closed) {
		dp.stage_result[n] = CONTROL_WAITING;
	} else {
		__sync_fetch_and_and(&flow->actions, ~GATE);
		dp.stage_result[n] = CONTROL_OK;
	}
	return 0;
}

#define EXPIRE_STEPS (1 << 20)	/* flow slots of one request; bpf_loop() takes 2^23 at most */

struct expiry {
	__u64 now_ns;
	__u32 first, found, seen, pad;
};

static long expire_step(__u32 i, struct expiry *e)
{
	__u32 id = e->first + i;
	struct flow *flow = bpf_map_lookup_elem(&flows, &id);
	__u64 used, limit;

	if (!flow)
		return 1;
	e->seen++;
	if (flow->mask == NO_MASK || !(flow->idle_ms | flow->hard_ms))
		return 0;
	if (!flow->hard_ms || e->now_ns < flow->created_ns + flow->hard_ms * 1000000ULL) {
		if (!flow->idle_ms)
			return 0;
		limit = flow->idle_ms * 1000000ULL;
		used = flow->created_ns;
#pragma clang loop unroll(disable)
		for (__u32 s = 0; s < 64; s++) {
			__u32 at = id + s * n_flows;
			struct flow_stats *stats;

			if (s >= n_stripes)
				break;
			stats = bpf_map_lookup_elem(&flow_stats, &at);
			if (stats && stats->used_ns > used)
				used = stats->used_ns;
		}
		if (e->now_ns < used + limit)
			return 0;
	}
	dp.stage_id[e->found++ & (STAGE - 1)] = id;
	return e->found >= STAGE;
}

INLINE int control(struct control *c)
{
	union flow_key key;
	struct search s = {.key = &key, .version = dp.version};
	struct expiry e = {.now_ns = c->now_ns, .first = c->first};
	__u32 count = c->count;

	if (count > STAGE)
		return -1;
	switch (c->code) {
	case CONTROL_INSERT:
		bpf_loop(count, insert_step, NULL, 0);
		return 0;
	case CONTROL_REMOVE:
		bpf_loop(count, remove_step, NULL, 0);
		return 0;
	case CONTROL_OPEN:
		bpf_loop(count, open_step, NULL, 0);
		return 0;
	case CONTROL_EXPIRE:
		bpf_loop(n_flows < EXPIRE_STEPS ? n_flows : EXPIRE_STEPS, expire_step, &e, 0);
		c->result = e.found;
		c->first = e.first + e.seen;
		return 0;
	}
#pragma unroll
	for (int i = 0; i < KEY_WORDS; i++)
		key.w[i] = dp.stage_key[i];
	s.view = view_of(s.version);
	if (c->code == CONTROL_FIND)
		search_mask(&s, c->mask);
	else
		search(&s);
	c->result = s.flow ? s.id : 0;
	return 0;
}
