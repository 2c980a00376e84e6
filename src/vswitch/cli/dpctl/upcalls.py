"""What `show` says of packets that came up: what became of them, why they were dropped, how long they waited."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from vswitch import PortStats, UpcallStats

__all__ = ["describe", "lines", "of_port"]

_QUANTILES = (0.5, 0.9, 0.99)
_UNITS = ((1_000_000, "s"), (1000, "ms"), (1, "us"))


def lines(stats: UpcallStats, histogram: bool) -> Iterator[str]:
    """Nothing if nothing came up."""
    if not stats.arrived:
        return
    names = ("arrived", "handled", "joined", "installed", "failed", "released", "dropped", "waiting")
    yield f"upcalls: {_listed({name: getattr(stats, name) for name in names})}"
    if stats.drops:
        yield f"upcall drops: {_listed(stats.drops)}"
    if any(stats.waits):
        yield f"upcall waits: {' '.join(_quantile(stats, share) for share in _QUANTILES)}"
        if histogram:
            last = len(stats.waits) - 1
            bounds = [f"<{_time(1 << bucket)}" for bucket in range(last)] + [_beyond(stats)]
            yield f"upcalls by wait: {_listed({bound: n for bound, n in zip(bounds, stats.waits, strict=True) if n})}"


def of_port(stats: PortStats) -> str:
    """What came up of one port, what did not, and what it has of the ring."""
    text = f"upcalls:{stats.upcalls} lost:{stats.lost}"
    if stats.upcall_quota_bytes:
        return f"{text} waiting:{stats.upcall_bytes} of {stats.upcall_quota_bytes} bytes"
    return f"{text} waiting:{stats.upcall_bytes} bytes" if stats.upcall_bytes else text


def describe(stats: UpcallStats) -> dict[str, Any]:
    """As JSON."""
    return {**asdict(stats), "dropped": stats.dropped, "waiting": stats.waiting}


def _listed(counts: Mapping[str, int]) -> str:
    return " ".join(f"{name}:{count}" for name, count in counts.items())


def _quantile(stats: UpcallStats, share: float) -> str:
    """What so many packets waited at most; of those beyond the histogram it is only known what they waited at least."""
    wait_s = stats.wait_s(share)
    bound = _beyond(stats) if math.isinf(wait_s) else f"<{_time(round(wait_s * 1e6))}"
    return f"{100 * share:g}%{bound}"


def _beyond(stats: UpcallStats) -> str:
    return f">{(1 << len(stats.waits) - 2) // 1_000_000}s"


def _time(us: int) -> str:
    """Rounded up, as it is an upper bound: to a tenth below ten."""
    size, unit = next((size, unit) for size, unit in _UNITS if us >= size)
    tenths = -(-us * 10 // size)
    if tenths < 100 and tenths % 10:
        return f"{tenths / 10}{unit}"
    return f"{-(-us // size)}{unit}"
