"""The structs of bpf/state.h and bpf/upcall.h as Python packs and unpacks them.

Invariant: sizes and offsets are those of the compiled object; tests/bpf/test_layout.py compares them with its BTF.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import Final

__all__ = [
    "CACHE_WAYS",
    "CONTROL",
    "COUNTERS",
    "DATAPATH",
    "FLOW",
    "FLOW_STATS",
    "GATE",
    "INJECTION",
    "LAYOUT",
    "MASK",
    "MAX_MASKS",
    "METER",
    "NO_MASK",
    "OP",
    "POLICER",
    "PORT",
    "PORT_COUNTERS",
    "PORT_INFO",
    "PORT_RING",
    "STAGE",
    "UPCALL",
    "VIEWS",
    "ControlCode",
    "ControlResult",
    "UpcallOffset",
    "Verdict",
]

LAYOUT: Final = 6
MAX_MASKS: Final = 1024
VIEWS: Final = 64
STAGE: Final = 1024
CACHE_WAYS: Final = 5
NO_MASK: Final = 0
GATE: Final = 1 << 63

FLOW = Struct("<QIIII208sQIIQ")
"""actions, mask, born, died, idle_ms, key, created_ns, hard_ms, wanted_mask, gate"""
FLOW_STATS = Struct("<QQQII")
"""packets, bytes, used_ns, tcp_flags, tick"""
MASK = Struct("<QII32s208s")
"""seed, n, pad, index, word"""
PORT = Struct("<IHH")
"""ifindex, slot, flags"""
PORT_INFO = Struct("<16sHBBB11x")
"""name, number, kind, unfinished, peer"""
PORT_COUNTERS = Struct("<6Q16x24Q")
"""rx_packets, rx_bytes, tx_packets, tx_bytes, tx_errors, upcalls, drops by reason"""
PORT_RING = Struct("<7Q8x")
"""produced, consumed, quota, lost, miss_cost, miss_burst, full_at"""
COUNTERS = Struct("<6Q80x")
"""cache_hits, mask_hits, masks_tried, missed, lost, upcalls"""
METER = Struct("<QQIIQQQQQ")
"""full_at, cost, counts_bytes, rate, burst, packets, bytes, dropped_packets, dropped_bytes"""
POLICER = Struct("<QQQ8x")
"""full_at, cost, burst"""
INJECTION = Struct("<IIIIIHHII48s")
"""in_port, recirc_id, skb_mark, skb_priority, dp_hash, recirculations, list_count, list, valid, tunnel"""
OP = Struct("<BBHIQQQ")
"""code, a8, a16, a32, value, mask, extra"""
UPCALL = Struct("<IHBxIIQH2xI64x208s")
"""size, in_port, reason, captured, length, time_ns, recirculations, flow, key (the rest of the record by offset)"""
CONTROL = Struct("<IIIIIIQ")
"""code, count, mask, first, result, pad, now_ns"""


class DATAPATH:
    """Offsets within `struct datapath` (the variable `dp`), bytes."""

    VERSION: Final = 0
    LAYOUT: Final = 4
    CONTROLLER: Final = 8
    INJECT_IFINDEX: Final = 12
    OPTION_MASKS: Final = 16
    OPTION_QUOTA: Final = 20
    NETWORK: Final = 24
    HASH_KEYS: Final = 64
    HASH_KEYS_BYTES: Final = 256
    MASKS: Final = HASH_KEYS + HASH_KEYS_BYTES
    EXPLICIT_DROPS: Final = MASKS + MASK.size * MAX_MASKS
    CRC32C_ZEROS: Final = EXPLICIT_DROPS + 256 * 8
    STAGE_ID: Final = CRC32C_ZEROS + 17 * 32 * 4
    STAGE_RESULT: Final = STAGE_ID + 4 * STAGE
    STAGE_KEY: Final = STAGE_RESULT + 4 * STAGE
    INJECTED: Final = STAGE_KEY + 208
    ALIVE_NS: Final = INJECTED + 8
    READER: Final = STAGE_KEY + 256
    READER_WORDS: Final = 64
    VIEWS: Final = READER + 8 * READER_WORDS
    VIEW_N_MASKS: Final = MASK.size
    VIEW_ORDER: Final = MASK.size + 64
    VIEW_SIZE: Final = VIEW_ORDER + 2 * MAX_MASKS


class UpcallOffset:
    """Offsets within `struct upcall`, bytes."""

    USERDATA_LENGTH: Final = 7
    FLOW: Final = 28
    USERDATA: Final = 32
    OFFLOAD: Final = 310
    PACKET: Final = 320


class Verdict(IntEnum):
    """`enum verdict`: what a flow's action word begins with."""

    DROP = 0
    OUTPUT = 1
    LIST = 2


class ControlCode(IntEnum):
    """`enum control_code`: requests to the program vs_control."""

    INSERT = 0
    REMOVE = 1
    FIND = 2
    LOOKUP = 3
    EXPIRE = 4
    OPEN = 5


class ControlResult(IntEnum):
    """`enum control_result`; above, bit 31 marks the id of a flow that is there already."""

    OK = 0
    EXISTS = 1
    FULL = 2
    ABSENT = 3
    WAITING = 4
