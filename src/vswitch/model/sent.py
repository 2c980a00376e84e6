"""Packets that went out of a simulated datapath."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Sent"]


@dataclass(frozen=True, slots=True)
class Sent:
    """A packet that went out of port number `port`, with what goes along with it on this machine: mark, priority, and
    the tunnel fields that were set for it (name, value)."""

    port: int
    packet: bytes
    skb_mark: int = 0
    skb_priority: int = 0
    tunnel: tuple[tuple[str, int], ...] = ()
