/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where measured packets end: counts what goes to the address of bench/frames.py, which nobody has, and drops it, at the
 * ingress of the receiver. So what the receiver costs is small and the same for every switch, whatever state it hands
 * packets over in, and nobody answers.
 * All else passes, so that the same host can be pinged.
 */
#include "kernel.h"

#define TARGET htonl(0x0a4e0001)
#define IPV4_END 34 /* Ethernet, IPv4 without options */

__u64 received;

SEC("tc")
int sink(struct __sk_buff *skb)
{
	unsigned char *data = (void *)(__u64)skb->data, *end = (void *)(__u64)skb->data_end;

	if (data + IPV4_END > end || skb->protocol != ETH_IPV4)
		return TC_ACT_UNSPEC;
	if (*(__be32 *)(data + 30) != TARGET)
		return TC_ACT_UNSPEC;
	__sync_fetch_and_add(&received, 1);
	return TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
