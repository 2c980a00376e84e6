"""Upcalls: packets that the datapath sent up to Python."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from vswitch.model.match import Key

__all__ = ["Offload", "Upcall", "UpcallReason"]


class UpcallReason(Enum):
    """Why a packet came up."""

    MISS = 0
    """No megaflow takes it."""
    ACTION = 1
    """A userspace action sent it."""


@dataclass(frozen=True, slots=True)
class Offload:
    """What the sender left to the network card: `struct virtio_net_hdr` of linux/virtio_net.h, 10 bytes.

    A GSO packet is one of up to 64 KB that stands for many of `gso_size` bytes of payload; with
    `partial_checksum` the L4 checksum is only that of the pseudo header so far. `vswitch.packet.segment` does what
    is left to do."""

    header: bytes = bytes(10)

    @property
    def gso_size(self) -> int:
        """Payload bytes of each segment, 0 for a plain packet."""
        return int.from_bytes(self.header[4:6], "little")

    @property
    def partial_checksum(self) -> bool:
        """Whether the L4 checksum is still to be completed."""
        return bool(self.header[0] & 1)


@dataclass(frozen=True, slots=True)
class Upcall:
    """One packet sent up. `packet`: the whole frame (Ethernet header first, VLAN tags in place);
    `length`: its length on the wire, longer than `packet` if it was truncated."""

    key: Key
    packet: bytes
    reason: UpcallReason = UpcallReason.MISS
    userdata: bytes = b""
    offload: Offload = Offload()
    length: int = 0

    @property
    def port(self) -> int:
        """Number of the port that the packet came in by."""
        return self.key.in_port
