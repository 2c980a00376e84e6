"""What tests of reactive programs share: UDP flows with numbered packets, and ways to answer them."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.lab import wait_until
from vswitch import (
    Datapath,
    Match,
    Miss,
    Output,
)
from vswitch.datapath.ebpf.layout import PORT_RING
from vswitch.packet import build
from vswitch.upcalls.batches import Upcalls
from vswitch.upcalls.miss import Answer

__all__ = ["finish", "forward", "is_udp", "numbers_by_flow", "owed", "running", "udp_frame", "whole_batches"]

MAC = {1: 0x020000000001, 2: 0x020000000099}  # nobody's, so that no host answers
FIVE_TUPLE = ("in_port", "eth_type", "ipv4_src", "ipv4_dst", "ip_proto", "udp_src", "udp_dst")


def udp_frame(flow: int, number: int) -> bytes:
    """Packet `number` of UDP flow `flow`."""
    segment = build.udp(1000 + flow, 2000, struct.pack("!I", number) + bytes(14))
    return build.ethernet(MAC[2], MAC[1], 0x0800, build.ipv4(0x0A000001, 0x0A000002, 17, segment))


class _Careless(Upcalls):
    """Takes as many packets at a time as there are, however slow the machine is."""

    _cost_ns = property(lambda _self: 0.0, lambda _self, _value: None)


def whole_batches(dp: Datapath) -> Upcalls:
    """The upcalls, of which a batch is all that waits, up to 256."""
    upcalls = dp.start_upcalls()
    upcalls.__class__ = _Careless
    return upcalls


def is_udp(frame: bytes) -> bool:
    return frame[12:14] == b"\x08\x00" and frame[23] == 17


def numbers_by_flow(frames: list[bytes]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for frame in frames:
        port, number = struct.unpack_from("!H", frame, 34)[0], struct.unpack_from("!I", frame, 42)[0]
        found.setdefault(port - 1000, []).append(number)
    return found


@contextmanager
def running(dp: Datapath, **arguments: object) -> Iterator[None]:
    """`dp.run()` in a thread of its own."""
    thread = threading.Thread(target=dp.run, kwargs=arguments, daemon=True)
    dp.start_upcalls()
    thread.start()
    try:
        yield
    finally:
        dp.stop()
        thread.join(5)
        assert not thread.is_alive()


def forward(miss: Miss) -> tuple[Match, Output]:
    return Match.exact(miss.key, *FIVE_TUPLE), Output(3 - miss.port)


def finish(dp: Datapath, handler: Callable[[Miss], Answer]) -> None:
    """Answer all that waits, until nothing is left to do."""
    upcalls = dp.start_upcalls()
    wait_until(lambda: not upcalls.handle(handler) and not upcalls.busy, "the upcalls to end")


def owed(dp: Datapath, port: int) -> int:
    """Bytes of the ring that count as taken by the port."""
    at = dp._kernel.ports.slot_of(port) * PORT_RING.size
    produced, consumed, *_ = PORT_RING.unpack_from(dp._kernel.state.memory["port_rings"].view, at)
    return int(produced - consumed)
