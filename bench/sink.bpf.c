/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where measured packets end: counts UDP to the discard port and drops it, at the ingress of the receiver. So
 * what the receiver costs is small and the same for every switch, whatever state it hands packets over in.
 * All else passes, so that the same host can be pinged.
 */
#include "kernel.h"

#define DISCARD htons(9)
#define PORTS_END 38 /* Ethernet, IPv4 without options, UDP ports */

__u64 received;

SEC("tc")
int sink(struct __sk_buff *skb)
{
	unsigned char *data = (void *)(__u64)skb->data, *end = (void *)(__u64)skb->data_end;

	if (data + PORTS_END > end || skb->protocol != ETH_IPV4)
		return TC_ACT_UNSPEC;
	if (data[23] != PROTO_UDP || *(__be16 *)(data + 36) != DISCARD)
		return TC_ACT_UNSPEC;
	__sync_fetch_and_add(&received, 1);
	return TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
