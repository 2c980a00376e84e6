"""What one run of a policy has read of its packet: bits of the key, and no more.

A policy can be seen as a decision tree over the bits of the key. Each question reads bits in an order that depends on
nothing but the bits read before it, most significant first, and stops as soon as the answer is certain. So two packets
that agree in the bits that were read take the same way, and two that do not, part at one of these bits: megaflows made
of traces never overlap, and together they cover whatever the policy has been asked.

Invariant: an answer is a function of the bits that are known when it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

from vswitch.base.errors import ConfigError
from vswitch.fields import FIELDS, KEY_BYTES, SLOTS, Field
from vswitch.fields.kinds import FRAGMENTS
from vswitch.model.match import Key, Match

__all__ = ["VIEWS", "Trace", "View"]


class View:
    """A field, with at hand what a trace needs of it: where its slot lies, and what a packet that has it meets."""

    __slots__ = ("begin", "end", "field", "has_ports", "max", "needs", "order", "shift", "slot", "version")

    def __init__(self, field: Field, needs: tuple[tuple[View, tuple[int, ...]], ...]) -> None:
        slot = field.slot
        self.field = field
        self.slot = slot.name
        self.begin, self.end = slot.offset, slot.offset + slot.size
        self.order: Literal["big", "little"] = "big" if slot.wire else "little"
        self.shift = field.shift
        self.max = field.max
        self.needs = needs
        self.version = {"ipv4": 4, "ipv6": 6}.get(field.kind.name, 0)  # of IP, whose addresses it holds
        self.has_ports = any(need.field.name == "ip_proto" for need, _ in needs)


def _views() -> dict[str, View]:
    views: dict[str, View] = {}
    needs: dict[tuple[tuple[str, tuple[int, ...]], ...], tuple[tuple[View, tuple[int, ...]], ...]] = {}

    def view(field: Field) -> View:
        if field.name not in views:
            if field.prerequisites not in needs:
                needs[field.prerequisites] = tuple((view(FIELDS[need]), of) for need, of in field.prerequisites)
            views[field.name] = View(field, needs[field.prerequisites])
        return views[field.name]

    for field in FIELDS.values():
        view(field)
    return views


VIEWS = _views()
"""All fields. Those that need the same have the same `needs`."""

_FRAGMENT, _LATER = VIEWS["ip_frag"], FRAGMENTS["later"]


@lru_cache(4096)
def _placed(slot: str, mask: int) -> int:
    """Bits of a slot as bits of the key. Masks recur from packet to packet."""
    return SLOTS[slot].place(mask)


class _Finished(dict[str, int]):
    """What is known of a packet whose policy has answered. Who has kept it, to read it in a later run, would read what
    no megaflow is made of."""

    def get(self, *_slot: object) -> Any:
        raise ConfigError("this packet's policy has answered: keep what you read of a packet, int(packet.tcp_dst)")

    __setitem__ = get


_FINISHED = _Finished()


class Trace:
    """The packet with this key, and which bits of it are known.

    Numbers are those of slots, in which a field is its bits from `shift` on. They become bits of the key, whose bytes
    are in network order, when all has been read.
    """

    __slots__ = ("_bytes", "_frame", "_has", "_known", "_values", "hashed", "key", "whole")

    def __init__(self, key: Key, frame: Callable[[], bytes] | None = None) -> None:
        # hot, as all here: once per upcall, and for each question
        self.key = key
        self._frame = frame
        self.whole = False
        self.hashed = 0  # how often a field was: who keeps a value can tell so that there is one within
        self._bytes = key.value.to_bytes(KEY_BYTES, "little")
        self._known: dict[str, int] = {}
        self._values: dict[str, int] = {}
        self._has: dict[int, bool] = {}

    @property
    def frame(self) -> bytes:
        """All bytes of the packet, which no megaflow can tell from others: it is read `whole`. ConfigError: of this
        packet nothing but the key is known."""
        if self._frame is None:
            raise ConfigError("the frame is not there: this packet is a key, as in explain(key)")
        self.whole = True
        return self._frame()

    @property
    def match(self) -> Match:
        """The packets that agree with this one in all that was read."""
        mask = 0
        for slot, bits in self._known.items():
            mask |= _placed(slot, bits)
        return Match.from_ints(self.key.value, mask)

    def finish(self) -> Match:
        """The same; nothing can be read any more."""
        match = self.match
        self._known = _FINISHED
        return match

    def peek(self, view: View, mask: int) -> int:
        """The value of these bits, which stay unknown: an answer must not follow from it unless `settle` says so."""
        value = self._values.get(view.slot)
        if value is None:
            value = self._values[view.slot] = int.from_bytes(self._bytes[view.begin : view.end], view.order)
        return value >> view.shift & mask

    def bits(self, view: View, mask: int) -> int:
        """The value of those bits of a field that are in `mask`, all of which are known from now on."""
        slot, shift = view.slot, view.shift
        self._known[slot] = self._known.get(slot, 0) | mask << shift
        value = self._values.get(slot)  # as in `peek`, without another call
        if value is None:
            value = self._values[slot] = int.from_bytes(self._bytes[view.begin : view.end], view.order)
        return value >> shift & mask

    def is_equal(self, view: View, mask: int, other: int) -> bool:
        """Whether the bits in `mask` are `other`: if not, known from the top to the first bit that differs."""
        if other & ~mask:
            return False  # whatever the packet
        slot, shift = view.slot, view.shift
        known = self._known.get(slot, 0)
        value = self._values.get(slot)
        if value is None:
            value = self._values[slot] = int.from_bytes(self._bytes[view.begin : view.end], view.order)
        differs = (value >> shift & mask) ^ other
        if not differs:
            self._known[slot] = known | mask << shift
            return True
        if not differs & known >> shift:
            self._known[slot] = known | (mask & -1 << differs.bit_length() - 1) << shift
        return False

    def settle(self, view: View, mask: int, begin: int, end: int) -> tuple[int, int]:
        """Make it certain that the bits in `mask` are a number in begin..end - 1, which they are: known from the top
        until every number that begins so is between the two. The least and the most that they can be."""
        value = self.peek(view, mask)
        before = self._known.get(view.slot, 0)
        known = before >> view.shift & mask
        least, most = value & known, value & known | mask & ~known
        if begin <= least and most < end:
            return least, most
        level = mask.bit_length()  # bits below it need not be known
        if begin > 0:
            level = min(level, (value ^ begin - 1).bit_length() - 1)
        if end <= mask:
            level = min(level, (value ^ end).bit_length() - 1)
        known |= mask & -1 << level
        self._known[view.slot] = before | known << view.shift
        return value & known, value & known | mask & ~known

    def has(self, view: View) -> bool:
        """Whether the packet has the header that a field is part of. That a packet with ip_proto 6 is one of IP is not
        asked: no other has one."""
        found = self._has.get(id(view.needs))
        if found is None:
            found = self._meets(view.needs)
            if found and view.has_ports:  # a later fragment has nothing of L4
                found = not self.is_equal(_FRAGMENT, _FRAGMENT.max, _LATER)
            self._has[id(view.needs)] = found
        return found

    def _meets(self, needs: tuple[tuple[View, tuple[int, ...]], ...]) -> bool:
        for need, allowed in needs:
            for each in allowed:
                if self.is_equal(need, need.max, each):
                    break
            else:
                return False
        return True
