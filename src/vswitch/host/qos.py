"""What a port sends, and in which order: quality of service as a database says it, as values.

The types are those of Open vSwitch, which are kinds of the kernel's qdiscs. With `linux-htb` a port has queues: each
gets its least rate, may borrow up to its most, and comes before those of a greater priority number. Queue 0 is the
default: what no flow has put into a queue goes there. A packet's queue is in its priority (skb->priority), as class
1:N+1 for queue N.

Invariant: a `Qos` is what the kernel can be asked for; what a database says that makes no sense is refused by
`parse_qos`, naming the key, the value and the bound. Keys that are not known are left alone, as they may be others'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from vswitch.base.errors import ConfigError

__all__ = ["KINDS", "MAX_QUEUE", "QOS_TYPES", "Qos", "Queue", "QueueCounters", "parse_qos"]

MAX_QUEUE: Final = 0xEFFF
"""The greatest number of a queue: its class is one more, and 1:fffe is the port's own."""

MAX_RATE_BPS: Final = 10**13
_MAX_BURST_BITS: Final = 8 * ((1 << 32) - 1)
_MAX_U32: Final = (1 << 32) - 1
_MAX_MICROSECONDS: Final = 60_000_000

KINDS: Final[Mapping[str, tuple[str, Mapping[str, tuple[int, int]]]]] = {
    "linux-htb": ("htb", {}),
    "linux-fq_codel": (
        "fq_codel",
        {
            "target": (1, _MAX_MICROSECONDS),
            "limit": (1, _MAX_U32),
            "interval": (1, _MAX_MICROSECONDS),
            "flows": (1, 65536),
            "quantum": (256, _MAX_U32),
        },
    ),
    "linux-codel": (
        "codel",
        {"target": (1, _MAX_MICROSECONDS), "limit": (1, _MAX_U32), "interval": (1, _MAX_MICROSECONDS)},
    ),
    "linux-sfq": ("sfq", {"quantum": (256, 1 << 19), "perturb": (0, 3600)}),
    "linux-netem": (
        "netem",
        {
            "latency": (0, _MAX_MICROSECONDS),
            "jitter": (0, _MAX_MICROSECONDS),
            "limit": (1, _MAX_U32),
            "loss": (0, 100),
        },
    ),
}
"""Type -> the qdisc's kind, and its settings with their bounds: times in microseconds, `limit` in packets, `quantum` in
bytes, `perturb` in seconds, `loss` in percent."""

QOS_TYPES: Final = (*KINDS, "linux-noop")
"""Those that there are. `linux-noop` leaves the port's qdiscs to others."""


@dataclass(frozen=True, slots=True)
class Queue:
    """Of `linux-htb`; 0 where nothing is said. `min_rate_bps`: what it gets at least; `max_rate_bps`: at most, by
    default what the port has; `burst_bits`: what it may send at once; `priority`: of two that want what is left, the
    smaller comes first."""

    min_rate_bps: int = 0
    max_rate_bps: int = 0
    burst_bits: int = 0
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Qos:
    """`type`: one of `QOS_TYPES`. `max_rate_bps`, `queues` (by number): of `linux-htb`; a rate of 0 is that of the
    link, 100 Mbit/s if it has none. `settings`: of the others, see `KINDS`; what is not said is as in the kernel."""

    type: str
    max_rate_bps: int = 0
    queues: Mapping[int, Queue] = field(default_factory=dict)
    settings: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QueueCounters:
    """What has left a queue, and `errors`, what was dropped as it was full, since the queue was made."""

    bytes: int
    packets: int
    errors: int


def parse_qos(type_: str, other_config: Mapping[str, str], queues: Mapping[int, Mapping[str, str]]) -> Qos:
    """Of a row of table QoS: its type, its other_config, and that of each of its queues. ConfigError."""
    if type_ == "linux-noop":
        return Qos(type_)
    if type_ not in KINDS:
        raise ConfigError(f"QoS type {type_!r} is none of {', '.join(QOS_TYPES)}")
    bounds = KINDS[type_][1]
    settings = {
        key: _number(f"QoS {type_}", key, text, *bounds[key]) for key, text in other_config.items() if key in bounds
    }
    if type_ != "linux-htb":
        return Qos(type_, settings=settings)
    rate = _number("QoS linux-htb", "max-rate", other_config.get("max-rate", "0"), 0, MAX_RATE_BPS)
    return Qos(type_, rate, {number: _queue(number, config) for number, config in sorted(queues.items())})


def _queue(number: int, config: Mapping[str, str]) -> Queue:
    if not 0 <= number <= MAX_QUEUE:
        raise ConfigError(f"queue {number} is outside 0..{MAX_QUEUE}")
    return Queue(
        *(
            _number(f"queue {number}", key, config.get(key, "0"), 0, most)
            for key, most in (
                ("min-rate", MAX_RATE_BPS),
                ("max-rate", MAX_RATE_BPS),
                ("burst", _MAX_BURST_BITS),
                ("priority", _MAX_U32),
            )
        )
    )


def _number(what: str, key: str, text: str, least: int, most: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 20 or not least <= int(text) <= most:
        raise ConfigError(f"{what}: {key} {text!r} is no number of {least}..{most}")
    return int(text)
