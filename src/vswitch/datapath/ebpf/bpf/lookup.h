/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which megaflow takes a packet.
 *
 * First a cache of each CPU: the hash of the key under the union of all masks leads to a 5-way bucket of
 * (signature, flow). A hit is believed only after a masked compare with the flow itself, so a stale entry
 * costs a few nanoseconds. Where a rule lies over another of lower priority that is not enough: a wrong entry
 * would pass the compare. Such an insert is therefore a new version with a new seed, which no old entry has;
 * and signatures have 64 bits that a sender cannot steer (below).
 *
 * Then the masks in order of priority, one probe of the index each (about 16 ns). The index holds all flows
 * of all masks in buckets of seven; a flow whose bucket is full goes to one other bucket, and is counted in
 * the first, so that only then a reader looks at the second. Two flows with the same signature never share a
 * bucket. Python (control.h) is the only writer.
 *
 * Hashing is NH (Black et al., UMAC): the sum of products of the halves of each word, each half with a random
 * number added that nobody outside knows. Whatever two different keys a sender chooses, their sums differ by
 * any given number with a probability of 2^-32 at most. The cache, which trusts signatures, takes two such sums
 * under different numbers.
 */
#pragma once

#include "parse.h"

#define NH(word, k) ((__u64)((__u32)(word) + (__u32)(k)) * ((__u32)((word) >> 32) + (__u32)((k) >> 32)))

/* A bijection by which every bit reaches every other. */
INLINE __u64 finish(__u64 hash)
{
	hash ^= hash >> 32;
	hash *= 0xd6e8feb86659fd93ULL;
	hash ^= hash >> 32;
	hash *= 0xd6e8feb86659fd93ULL;
	return hash ^ hash >> 32;
}

/* Never 0, which marks an empty place. */
INLINE __u32 signature(__u64 hash)
{
	return (__u32)(hash >> 32) | 1;
}

/* hot: once per packet and mask */
INLINE __u64 hash_key(const union flow_key *key, const struct mask *mask)
{
	__u64 sum = mask->seed;
	__u32 n = mask->n;

#pragma clang loop unroll(disable)
	for (__u32 j = 0; j < KEY_WORDS; j++) {
		__u32 i = KEY_INDEX(mask->index[j]);

		if (j >= n)
			break;
		sum += NH(key->w[i] & mask->word[j], dp.hash_keys[i]);
	}
	return finish(sum);
}

/* hot: once per packet; what tells microflows apart, under the union of all masks */
INLINE __u64 signature_of_key(const union flow_key *key, const struct mask *all)
{
	__u64 one = all->seed, two = 0;
	__u32 n = all->n;

#pragma clang loop unroll(disable)
	for (__u32 j = 0; j < KEY_WORDS; j++) {
		__u32 i = KEY_INDEX(all->index[j]);
		__u64 word;

		if (j >= n)
			break;
		word = key->w[i] & all->word[j];
		one += NH(word, dp.hash_keys[i]);
		two += NH(word, dp.hash_keys[i + 1]);
	}
	return finish(one) + two;
}

/* hot: once per packet */
INLINE int takes(const struct flow *flow, const struct mask *mask, const union flow_key *key)
{
	__u64 differing = 0;
	__u32 n = mask->n;

#pragma clang loop unroll(disable)
	for (__u32 j = 0; j < KEY_WORDS; j++) {
		if (j >= n)
			break;
		differing |= (key->w[KEY_INDEX(mask->index[j])] & mask->word[j]) ^ flow->key[j];
	}
	return !differing;
}

INLINE int visible(const struct flow *flow, __u32 version)
{
	__u32 born = flow->born, died = flow->died;

	if (likely(!(born | died)))
		return 1;
	return (!born || (__s32)(version - born) >= 0) && (!died || (__s32)(version - died) < 0);
}

INLINE struct mask *mask_of(__u32 id)
{
	return &dp.masks[id & (MAX_MASKS - 1)];
}

INLINE struct bucket *bucket_at(__u32 at)
{
	return bpf_map_lookup_elem(&index_buckets, &at);
}

INLINE __u32 home_bucket(__u64 hash)
{
	return hash & (n_buckets - 1);
}

/* The other bucket; the other of the other is the first. */
INLINE __u32 other_bucket(__u32 at, __u32 sig)
{
	return (at ^ (sig * 0x5bd1e995 | 1)) & (n_buckets - 1);
}

INLINE __u32 id_in_bucket(const struct bucket *b, __u32 sig)
{
#define AT(i) if (b->sig[i] == sig) return b->id[i]
	AT(0); AT(1); AT(2); AT(3); AT(4); AT(5); AT(6);
	return 0;
}

INLINE __u32 id_in_cache(const struct cache_bucket *b, __u64 sig)
{
	AT(0); AT(1); AT(2); AT(3); AT(4);
	return 0;
#undef AT
}

/* Flow `id` if it is there for `version`, lies under `mask_id` and takes the key. */
INLINE struct flow *candidate(__u32 id, __u32 mask_id, const struct mask *mask, const union flow_key *key, __u32 version)
{
	struct flow *flow;

	if (!id)
		return NULL;
	flow = bpf_map_lookup_elem(&flows, &id);
	if (!flow || flow->mask != mask_id || !visible(flow, version) || !takes(flow, mask, key))
		return NULL;
	return flow;
}

struct search {
	const union flow_key *key;
	const struct view *view;
	struct flow *flow;
	__u32 id, version, tried;
};

/* hot: once per mask that a packet is looked up under */
INLINE int search_mask(struct search *s, __u32 mask_id)
{
	struct mask *mask = mask_of(mask_id);
	__u64 hash = hash_key(s->key, mask);
	__u32 at = home_bucket(hash), sig = signature(hash), id;
	struct bucket *b = bucket_at(at);

	if (!b)
		return 0;
	id = id_in_bucket(b, sig);
	s->flow = candidate(id, mask_id, mask, s->key, s->version);
	if (!s->flow && unlikely(b->OVERFLOW)) {
		b = bucket_at(other_bucket(at, sig));
		if (!b)
			return 0;
		id = id_in_bucket(b, sig);
		s->flow = candidate(id, mask_id, mask, s->key, s->version);
	}
	s->id = id;
	return s->flow != NULL;
}

static long search_step(__u32 i, struct search *s)
{
	s->tried++;
	return search_mask(s, s->view->order[i & (MAX_MASKS - 1)]);
}

INLINE const struct view *view_of(__u32 version)
{
	return &dp.views[version & (VIEWS - 1)];
}

/* All masks, highest priority first. */
INLINE void search(struct search *s)
{
	bpf_loop(s->view->n_masks, search_step, s, 0);
}

INLINE struct cache_bucket *cache_bucket_of(__u64 sig)
{
	__u32 at = (sig & (n_cache_buckets - 1)) + bpf_get_smp_processor_id() * n_cache_buckets;

	return bpf_map_lookup_elem(&cache, &at);
}

/* Puts the microflow where it is already, or where nothing is, or in the place of one by chance. */
INLINE void remember(struct cache_bucket *b, __u64 sig, __u32 id)
{
	__u32 way = ((__u32)(sig >> 48) * CACHE_WAYS) >> 16;

#define FREE(i) if (!b->id[i]) way = i
#define SAME(i) if (b->sig[i] == sig) way = i
	FREE(4); FREE(3); FREE(2); FREE(1); FREE(0);
	SAME(4); SAME(3); SAME(2); SAME(1); SAME(0);
#undef SAME
#undef FREE
	if (way >= CACHE_WAYS)
		return;
	b->sig[way] = sig;
	b->id[way] = id;
}

/* What the cache does not know: the id of the flow that takes the key, 0 if there is none. */
GLOBAL int lookup_by_masks(const union flow_key *key, __u32 version, __u64 sig)
{
	struct search s = {.key = key, .view = view_of(version), .version = version};
	struct counters *c = datapath_counters();
	struct cache_bucket *b = cache_bucket_of(sig);

	if (!key || !b || !c)
		return 0;
	search(&s);
	add(&c->masks_tried, s.tried);
	if (!s.flow)
		return 0;
	add(&c->mask_hits, 1);
	remember(b, sig, s.id);
	return s.id;
}

/* hot: the flow that the cache knows for the key, if it is the right one; else NULL and the signature to look by */
INLINE struct flow *lookup_cached(const union flow_key *key, __u32 version, __u64 *sig, __u32 *id)
{
	struct counters *c = datapath_counters();
	struct cache_bucket *b;
	struct flow *flow;

	*sig = signature_of_key(key, &view_of(version)->all);
	b = cache_bucket_of(*sig);
	if (!b || !c)
		return NULL;
	*id = id_in_cache(b, *sig);
	if (unlikely(!*id))
		return NULL;
	flow = bpf_map_lookup_elem(&flows, id);
	if (!flow || flow->mask == NO_MASK || !visible(flow, version) || !takes(flow, mask_of(flow->mask), key))
		return NULL;
	add(&c->cache_hits, 1);
	return flow;
}
