"""Packets that come up from a simulated datapath: the ring, with each port's share of it, and the way down again.

Records have the kernel's layout, so that the same code answers them.
"""

from __future__ import annotations

from collections.abc import Callable

from vswitch.datapath.backend import Look
from vswitch.datapath.ebpf.layout import UPCALL, UpcallOffset
from vswitch.model.upcall import Offload, UpcallReason

__all__ = ["SimulatedInjector", "SimulatedRing", "record", "room_for"]

_HEADER_BYTES = 8
_ROOMS = (128, 512, 2048, 9600, 66048)
"""The kernel's records have room for a packet of one of these lengths (bytes)."""

_MAX_KNOWN = 1024
"""Ways to look that are kept in mind, as many as the kernel has."""


def room_for(captured: int) -> int:
    """The bytes that a record takes of the ring for a packet of so many."""
    return UpcallOffset.PACKET + next(room for room in _ROOMS if captured <= room)


def record(
    packet: bytes,
    *,
    key: int,
    in_port: int,
    reason: UpcallReason,
    recirculations: int,
    captured: int,
    userdata: bytes,
    now_ns: int,
) -> bytes:
    """What a packet is in the ring, without the room behind it that it does not use."""
    data = bytearray(UpcallOffset.PACKET)
    key_bytes = key.to_bytes(208, "little")
    UPCALL.pack_into(
        data, 0, room_for(captured), in_port, reason.value, captured, len(packet), now_ns, recirculations, 0, key_bytes
    )  # fmt: skip
    data[UpcallOffset.USERDATA_LENGTH] = len(userdata)
    data[UpcallOffset.USERDATA : UpcallOffset.USERDATA + len(userdata)] = userdata
    return bytes(data) + packet[:captured]


class SimulatedRing:
    """One ring, and its reader; see `RingBuffer`, whose positions it has."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._area = bytearray(2 * size)
        self.view = memoryview(self._area).toreadonly()
        self.address = 0
        self.fd = 0
        self.consumer = self.producer = self.position = 0
        self._lengths: dict[int, int] = {}  # position of a record -> bytes that it takes

    def write(self, data: bytes, length: int) -> bool:
        """Put a record into it that takes `length` bytes. False: there is no room."""
        taken = (length + _HEADER_BYTES + 7) & -8
        if self.producer + taken - self.consumer > self.size:
            return False
        begin = (self.producer & self.size - 1) + _HEADER_BYTES
        self._area[begin : begin + len(data)] = data
        self._lengths[self.producer] = taken
        self.producer += taken
        return True

    def records(self, limit: int) -> list[int]:
        """The next records, by their offset into `view`."""
        found: list[int] = []
        while self.position < self.producer and len(found) < limit:
            found.append((self.position & self.size - 1) + _HEADER_BYTES)
            self.position += self._lengths[self.position]
        return found

    def position_of(self, offset: int) -> int:
        """Where the record begins that `records` gave by this offset."""
        return self.consumer + (offset - _HEADER_BYTES - self.consumer & self.size - 1)

    def advance(self, position: int | None = None) -> None:
        """What lies before may be overwritten."""
        position = self.position if position is None else position
        while self.consumer < position:
            self.consumer += self._lengths.pop(self.consumer)

    def close(self) -> None:
        """Nobody reads it any more."""
        self.fd = -1


class SimulatedInjector:
    """The way down: `execute` is called for each packet, with what it is to look like, a list or 0, and the frame."""

    def __init__(self, view: memoryview, execute: Callable[[Look, int, bytes], None]) -> None:
        self._view = view
        self._execute = execute
        self._known: dict[tuple[Look, int], int] = {}
        self._looks: dict[int, tuple[Look, int]] = {}
        self._last = 0
        self._waiting: list[tuple[tuple[Look, int], bytes]] = []
        self.failed = 0

    def entry(self, look: Look, list_word: int = 0) -> int:
        """A number for how a packet is to look; it is of use for the next packet."""
        number = self._known.get((look, list_word))
        if number is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
                self._looks.clear()
            self._last += 1
            number = self._known[look, list_word] = self._last
            self._looks[number] = (look, list_word)
        return number

    def entry_of_port(self, port: int) -> int:
        """As it came in by this port."""
        return self.entry((port, 0, 0, 0, 0, 0, bytes(48)))

    def forget(self, look: Look, list_word: int) -> None:
        """The list is about to go."""
        number = self._known.pop((look, list_word), None)
        if number is not None:
            del self._looks[number]

    def add(self, entry: int, address: int, length: int) -> None:
        """Send what lies in the ring."""
        begin = address + len(Offload().header)
        self._waiting.append((self._looks[entry], bytes(self._view[begin : address + length])))

    def add_copy(self, entry: int, data: bytes) -> None:
        """Send these bytes, which are as those of `add`."""
        self._waiting.append((self._looks[entry], data[len(Offload().header) :]))

    def flush(self) -> None:
        """Do it now."""
        waiting, self._waiting = self._waiting, []
        for (look, list_word), packet in waiting:
            self._execute(look, list_word, packet)

    def send(self, entry: int, packet: bytes, _offload: bytes = b"") -> None:
        """Send one packet at once."""
        self._execute(*self._looks[entry], packet)

    def close(self) -> None:
        """No more packets."""
