/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sending packets up. A record holds the key (already extracted), what is left to the network card (as a
 * virtio_net_hdr, so that GSO packets and partial checksums can be sent down again as they were) and the
 * whole frame, VLAN tags in place.
 *
 * Records have one of a few sizes, since the verifier wants a constant. Each port may fill its quota of the
 * ring; Python reports what it has consumed through port_rings, so that a flood on one port cannot take the
 * room of the others.
 */
#pragma once

#include "lookup.h"

/* The parts of the kernel's sk_buff that a tc program is not shown; libbpf finds them through BTF. */
struct skb_shared_info {
	__u16 gso_size;
	__u32 gso_type;
} CORE;

struct sk_buff {
	unsigned char *head, *data;
	__u32 end;
	__u16 csum_start, csum_offset;
	__u8 ip_summed : 2;
} CORE;

#define SUMMED_PARTIAL 3	/* CHECKSUM_PARTIAL */
#define SKB_GSO_TCPV4 (1 << 0)
#define SKB_GSO_TCP_ECN (1 << 2)
#define SKB_GSO_TCPV6 (1 << 4)
#define SKB_GSO_UDP_L4 (1 << 17)
#define SKB_GSO_SAID (SKB_GSO_TCPV4 | SKB_GSO_TCPV6 | SKB_GSO_UDP_L4)
/* GRE, IPIP, UDP tunnels, SCTP, ESP: segments within something that a virtio_net_hdr cannot tell of */
#define SKB_GSO_UNSAID (1 << 6 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 13 | 1 << 14 | 1 << 15)
#define VIRTIO_NEEDS_CSUM 1
#define VIRTIO_GSO_TCPV4 1
#define VIRTIO_GSO_TCPV6 4
#define VIRTIO_GSO_UDP_L4 5
#define VIRTIO_GSO_ECN 0x80

struct virtio_net_hdr {
	__u8 flags, gso_type;
	__u16 hdr_len, gso_size, csum_start, csum_offset;
};

#define READ(from, member)								\
	({										\
		__typeof__((from)->member) value_ = 0;					\
		bpf_probe_read_kernel(&value_, sizeof(value_),				\
				      __builtin_preserve_access_index(&(from)->member));	\
		value_;									\
	})

/* ip_summed is a bit field: BTF says in which bytes and bits. */
INLINE __u8 ip_summed(const struct sk_buff *skb)
{
	const void *at = (const void *)skb + __builtin_preserve_field_info(skb->ip_summed, 0 /* byte offset */);
	__u64 value = 0;
	__u32 size = __builtin_preserve_field_info(skb->ip_summed, 1 /* byte size */);

	switch (size) {
	case 1: bpf_probe_read_kernel(&value, 1, at); break;
	case 2: bpf_probe_read_kernel(&value, 2, at); break;
	case 4: bpf_probe_read_kernel(&value, 4, at); break;
	case 8: bpf_probe_read_kernel(&value, 8, at); break;
	}
	value <<= __builtin_preserve_field_info(skb->ip_summed, 4 /* left shift, 64 bit */);
	return value >> __builtin_preserve_field_info(skb->ip_summed, 5 /* right shift, 64 bit */);
}

/*
 * What the sender left to the network card, as user space writes it when it sends the packet down again. -1 if there is
 * no way to write it: such a packet would come out as another one.
 */
GLOBAL int offload_of(struct __sk_buff *ctx, struct virtio_net_hdr *h)
{
	struct sk_buff *skb = (void *)ctx;
	__u32 headroom, type;
	unsigned char *head;
	struct skb_shared_info *shared;

	if (!h)
		return 0;
	__builtin_memset(h, 0, sizeof(*h));
	head = READ(skb, head);
	headroom = READ(skb, data) - head;
	if (ip_summed(skb) == SUMMED_PARTIAL) {
		h->flags = VIRTIO_NEEDS_CSUM;
		h->csum_start = READ(skb, csum_start) - headroom;
		h->csum_offset = READ(skb, csum_offset);
	}
	if (!ctx->gso_size)
		return 0;
	shared = (void *)(head + READ(skb, end));
	type = READ(shared, gso_type);
	if (type & SKB_GSO_UNSAID || !(type & SKB_GSO_SAID))
		return -1;
	if (type & SKB_GSO_TCPV4)
		h->gso_type = VIRTIO_GSO_TCPV4;
	else if (type & SKB_GSO_TCPV6)
		h->gso_type = VIRTIO_GSO_TCPV6;
	else
		h->gso_type = VIRTIO_GSO_UDP_L4;
	if (type & SKB_GSO_TCP_ECN)
		h->gso_type |= VIRTIO_GSO_ECN;
	h->gso_size = ctx->gso_size;
	h->hdr_len = h->csum_start + (type & SKB_GSO_UDP_L4 ? 8 : 20);
	return 0;
}

/* What goes into a record beside key and packet. */
struct going_up {
	__u32 in_port, length, captured;
	__u16 recirculations;
	__u8 reason, userdata_length;
	__u32 flow;			/* behind whose gate it waits, or 0 */
	__u32 userdata;			/* where in ops[]: two of them; 0: none */
};

INLINE void fill_userdata(struct upcall *record, __u32 at)
{
	__u32 next = at + 1;
	const struct op *first = at ? bpf_map_lookup_elem(&ops, &at) : NULL;
	const struct op *second = at ? bpf_map_lookup_elem(&ops, &next) : NULL;

	__builtin_memset(record->userdata, 0, MAX_USERDATA_BYTES);
	if (first && second) {
		__builtin_memcpy(record->userdata, first, sizeof(*first));
		__builtin_memcpy(record->userdata + sizeof(*first), second, sizeof(*second));
	}
}

INLINE int fill(struct __sk_buff *skb, struct upcall *record, __u32 size, const union flow_key *key,
		const struct going_up *up, const struct virtio_net_hdr *offload, __u32 room)
{
	__u32 captured = up->captured;

	record->size = size;
	record->in_port = up->in_port;
	record->reason = up->reason;
	record->userdata_length = up->userdata_length;
	record->captured = captured;
	record->length = up->length;
	record->time_ns = bpf_ktime_get_ns();
	record->recirculations = up->recirculations;
	record->pad = 0;
	record->flow = up->flow;
	fill_userdata(record, up->userdata);
#pragma unroll
	for (int i = 0; i < KEY_WORDS; i++)
		record->key.w[i] = key->w[i];
	__builtin_memset(record->pad_offload, 0, sizeof(record->pad_offload));
	__builtin_memcpy(record->offload, offload, sizeof(record->offload));
	captured--; /* said so that Linux 6.1's verifier sees that it is 1..room */
	OPAQUE(captured);
	if (captured >= room)
		return -1;
	return bpf_skb_load_bytes(skb, 0, record->packet, captured + 1);
}

/* 1: sent, 0: the ring is full, -1: the packet could not be read. */
#define SEND_CLASS(room)								\
	INLINE int send_##room(struct __sk_buff *skb, const union flow_key *key,	\
			       const struct going_up *up, const struct virtio_net_hdr *offload)	\
	{										\
		const __u32 size = sizeof(struct upcall) + room;			\
		struct upcall *record = bpf_ringbuf_reserve(&upcalls, size, 0);		\
											\
		if (!record)								\
			return 0;							\
		if (fill(skb, record, size, key, up, offload, room)) {			\
			bpf_ringbuf_discard(record, 0);					\
			return -1;							\
		}									\
		bpf_ringbuf_submit(record, 0);						\
		return 1;								\
	}

/* Sizes of records: a minimal frame, most control packets, a full frame, a jumbo frame, a GSO packet. */
SEND_CLASS(128)
SEND_CLASS(512)
SEND_CLASS(2048)
SEND_CLASS(9600)
SEND_CLASS(66048)

INLINE __u32 room_for(__u32 length)
{
	return length <= 128 ? 128 : length <= 512 ? 512 : length <= 2048 ? 2048 : length <= 9600 ? 9600 : 66048;
}

#define RATE_SKEW 1000000000ULL	/* ns: clocks of CPUs do not differ by so much */

/* One more miss of this port may come up. */
FUNCTION int in_rate(struct port_ring *ring)
{
	__u64 now, full_at, next;

	if (!ring)
		return 0;
	now = bpf_ktime_get_ns();
#pragma clang loop unroll(disable)
	for (int tries = 0; tries < 8; tries++) {
		full_at = READ_ONCE(ring->full_at);
		next = full_at;
		if ((__s64)(next - now) < 0 || next - now > ring->miss_burst + RATE_SKEW)
			next = now;
		next += ring->miss_cost;
		if (next - now > ring->miss_burst)
			return 0;
		if (__sync_val_compare_and_swap(&ring->full_at, full_at, next) == full_at)
			break;
	}
	return 1;
}

/* Sends the packet up. Returns a drop reason if it does not get there, else -1. */
GLOBAL int send_record(struct __sk_buff *skb, const union flow_key *key, const struct going_up *up)
{
	struct virtio_net_hdr offload;
	struct port_counters *c;
	struct port_ring *ring;
	struct port *port;
	__u32 room, slot;
	__u64 size;
	int sent;

	if (!key || !up)
		return DROP_UPCALL_FAILED;
	port = port_of(up->in_port);
	if (!port)
		return DROP_NO_PORT;
	slot = port->slot;
	ring = bpf_map_lookup_elem(&port_rings, &slot);
	c = counters_of(port);
	if (!ring || !c)
		return DROP_NO_PORT;
	room = room_for(up->captured);
	size = sizeof(struct upcall) + room;
	/* signed: records of a port that is gone may be consumed on the account of the next one in its slot */
	if ((__s64)(READ_ONCE(ring->produced) - READ_ONCE(ring->consumed) + size) > (__s64)READ_ONCE(ring->quota)) {
		__sync_fetch_and_add(&ring->lost, 1);
		return ring->quota ? DROP_UPCALL_QUOTA : DROP_NO_FLOW;
	}
	if (READ_ONCE(ring->miss_cost) && up->reason == UPCALL_MISS && !up->flow && !in_rate(ring)) {
		__sync_fetch_and_add(&ring->lost, 1);
		return DROP_UPCALL_RATE;
	}
	if (offload_of(skb, &offload) && up->reason == UPCALL_MISS) {
		__sync_fetch_and_add(&ring->lost, 1);
		return DROP_UPCALL_FAILED;
	}
	__sync_fetch_and_add(&ring->produced, size);
	switch (room) {
	case 128: sent = send_128(skb, key, up, &offload); break;
	case 512: sent = send_512(skb, key, up, &offload); break;
	case 2048: sent = send_2048(skb, key, up, &offload); break;
	case 9600: sent = send_9600(skb, key, up, &offload); break;
	default: sent = send_66048(skb, key, up, &offload);
	}
	if (sent == 1) {
		add(&c->upcalls, 1);
		return -1;
	}
	__sync_fetch_and_add(&ring->produced, -size);
	__sync_fetch_and_add(&ring->lost, 1);
	return sent ? DROP_UPCALL_FAILED : DROP_UPCALL_RING_FULL;
}

/*
 * What send_up() does beside counting.
 *
 * A tag beside the packet is put into it for the copy, by pushing another in front; afterwards popping that
 * one brings the first back to where it was.
 */
GLOBAL int send_packet_up(struct __sk_buff *skb, __u32 userspace, __u32 max_length)
{
	union flow_key key = {};
	__u32 state = skb->cb[CB_STATE];
	struct going_up up = {.in_port = STATE_PORT(state), .recirculations = STATE_RECIRCULATIONS(state)};
	int tagged, failed;

	if (key_of(skb, &key))
		return DROP_BAD_PACKET;
	tagged = skb->vlan_present;
	if (tagged && bpf_skb_vlan_push(skb, ETH_VLAN, 0))
		return DROP_ACTION_FAILED;
	up.length = up.captured = skb->len;
	if (max_length && up.captured > max_length)
		up.captured = max_length;
	if (userspace) {
		const struct op *op = bpf_map_lookup_elem(&ops, &userspace);

		up.reason = UPCALL_ACTION;
		up.userdata_length = op ? op->a8 : 0;
		up.userdata = userspace + 1;
	} else {
		up.flow = skb->cb[CB_LIST];
	}
	failed = send_record(skb, &key, &up);
	if (tagged)
		bpf_skb_vlan_pop(skb);
	return failed;
}

/*
 * Sends the packet up, and counts that: a miss, or, if `userspace` is not 0, by the op of that number. Returns as
 * send_record().
 */
INLINE int send_up(struct __sk_buff *skb, __u32 userspace, __u32 max_length)
{
	int failed = send_packet_up(skb, userspace, max_length);
	struct counters *c = datapath_counters();

	if (c && failed < 0)
		add(&c->upcalls, 1);
	else if (c)
		add(&c->lost, 1);
	return failed;
}
