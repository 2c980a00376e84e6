"""The eBPF program that the tests of the loader load, and how they get hold of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from vswitch.datapath.ebpf.compile import compile_object
from vswitch.datapath.ebpf.libbpf import ObjectFile

SOURCE = r"""
#pragma clang diagnostic ignored "-Wunused-parameter"

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;

#define SEC(name) __attribute__((section(name), used))
#define __uint(name, number) int(*name)[number]
#define __type(name, kind) typeof(kind) *name

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_skb_store_bytes)(void *skb, __u32 to, const void *from, __u32 size, __u64 flags) = (void *)9;
static void *(*bpf_ringbuf_reserve)(void *ring, __u64 size, __u64 flags) = (void *)131;
static void (*bpf_ringbuf_submit)(void *record, __u64 flags) = (void *)132;
static void (*bpf_ringbuf_discard)(void *record, __u64 flags) = (void *)133;
static long (*bpf_loop)(__u32 times, void *callback, void *context, __u64 flags) = (void *)181;

struct __sk_buff { __u32 len, pkt_type, mark; };

enum color { RED = 1, GREEN, ULTRAVIOLET = -7 };

struct item {
    __u32 number;
    __u16 port;
    union {
        __u32 address;
        __u8 bytes[4];
    };
    struct { __u8 a, b; } pair;
    __u8 low : 3, high : 5;
    enum color color;
};

struct {
    __uint(type, 2); /* array, mmapable */
    __uint(map_flags, 1024);
    __uint(max_entries, 3);
    __type(key, __u32);
    __type(value, struct item);
} items SEC(".maps");

struct {
    __uint(type, 1); /* hash */
    __uint(max_entries, 2);
    __type(key, __u32);
    __type(value, __u64);
} table SEC(".maps");

struct {
    __uint(type, 27); /* ring buffer */
    __uint(max_entries, 65536);
} ring SEC(".maps");

const volatile __u32 answer = 1;
const volatile __u8 letters[4];
__u64 started_with = 5;
__u32 order, started, ended, padding;
__u64 frames;

struct emission { __u32 discard; __u32 number; };

SEC("syscall") int emit(struct emission *request)
{
    struct emission *record = bpf_ringbuf_reserve(&ring, 48, 0);
    if (!record)
        return -1;
    *record = *request;
    if (request->discard)
        bpf_ringbuf_discard(record, 0);
    else
        bpf_ringbuf_submit(record, 0);
    return request->number;
}

SEC("syscall") int increment(struct emission *request) { return ++request->number; }
SEC("syscall") int tell_answer(void *context) { return answer * 256 + letters[2]; }
SEC("syscall") int touch(void *context)
{
    __u32 last = 2;
    struct item *item = bpf_map_lookup_elem(&items, &last);
    if (item)
        item->port++;
    started_with++;
    return 0;
}

SEC("tc") int first(struct __sk_buff *skb) { order = order * 10 + 1; frames++; return -1; }
SEC("tc") int second(struct __sk_buff *skb) { order = order * 10 + 2; return -1; }
SEC("tc") int drop(struct __sk_buff *skb) { return 2; }
SEC("tc") int rewrite(struct __sk_buff *skb)
{
    __u16 value = 0x4141;
    skb->mark += 1;
    return bpf_skb_store_bytes(skb, 2, &value, 2, 0) ? 2 : 7;
}

static int spin(__u32 turn, void *context) { padding += turn; return 0; }
SEC("tc") int slow(struct __sk_buff *skb)
{
    started = 1;
    for (int turn = 0; turn < 4; turn++)
        bpf_loop(1 << 23, spin, 0, 0);
    ended = 1;
    return 0;
}

SEC("?tc") int careless(struct __sk_buff *skb)
{
    __u32 key = 0;
    __u64 *value = bpf_map_lookup_elem(&table, &key);
    return *value;
}
SEC("?nowhere") int homeless(struct __sk_buff *skb) { return 0; }

char LICENSE[] SEC("license") = "GPL";
"""


@cache
def object_bytes() -> bytes:
    """The compiled program."""
    with TemporaryDirectory() as folder:
        source = Path(folder, "loader.bpf.c")
        source.write_text(SOURCE)
        compile_object(source, Path(folder, "loader.bpf.o"))
        return Path(folder, "loader.bpf.o").read_bytes()


@contextmanager
def loaded() -> Iterator[ObjectFile]:
    """The program in the kernel, all as it is in the source."""
    with ObjectFile(object_bytes(), "loader") as program:
        program.load()
        yield program
