/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The least that a switch of two ports can be: what enters by one device leaves by the other. Nothing that
 * runs at the same hook can be faster, so it is what the datapath is held against.
 */
#include "kernel.h"

#define MAX_IFINDEX 65536

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_IFINDEX);
	__type(key, __u32);
	__type(value, __u32);
} other_device SEC(".maps");

SEC("tc")
int redirect(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex;
	__u32 *other = bpf_map_lookup_elem(&other_device, &ifindex);

	return other && *other ? bpf_redirect(*other, 0) : TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
