"""What one run of a policy has read of its packet: bits of the key, and no more.

A policy can be seen as a decision tree over the bits of the key. Each question reads bits in an order that depends on
nothing but the bits read before it, most significant first, and stops as soon as the answer is certain. So two packets
that agree in the bits that were read take the same way, and two that do not, part at one of these bits: megaflows made
of traces never overlap, and together they cover whatever the policy has been asked.

Invariant: an answer is a function of the bits that are known when it is given.
"""

from __future__ import annotations

from functools import lru_cache

from vswitch.fields import FIELDS, SLOTS, Field
from vswitch.model.match import Key, Match

__all__ = ["Trace"]


@lru_cache(4096)
def _placed(slot: str, mask: int) -> int:
    """Bits of a slot as bits of the key. Masks recur from packet to packet."""
    return SLOTS[slot].place(mask)


class Trace:
    """The packet with this key, and which bits of it are known.

    Numbers are those of slots, in which a field is `bits` bits from `shift` on. They become bits of the key, whose
    bytes are in network order, when all has been read.
    """

    __slots__ = ("_known", "_values", "key")

    def __init__(self, key: Key) -> None:
        self.key = key
        self._known: dict[str, int] = {}
        self._values: dict[str, int] = {}

    @property
    def match(self) -> Match:
        """The packets that agree with this one in all that was read."""
        mask = 0
        for slot, bits in self._known.items():
            mask |= _placed(slot, bits)
        return Match.from_ints(self.key.value, mask)

    def _slot_value(self, field: Field) -> int:
        # hot: for each question
        slot = field.slot
        value = self._values.get(slot.name)
        if value is None:
            value = self._values[slot.name] = slot.take(self.key.value)
        return value

    def value(self, field: Field) -> int:
        """The value of a field, all of which is known from now on."""
        return self.bits(field, field.max)

    def bits(self, field: Field, mask: int) -> int:
        """The value of those bits of a field that are in `mask`, all of which are known from now on."""
        name = field.slot.name
        self._known[name] = self._known.get(name, 0) | mask << field.shift
        return self._slot_value(field) >> field.shift & mask

    def is_equal(self, field: Field, mask: int, other: int) -> bool:
        """Whether the bits in `mask` are `other`: if not, known from the top to the first bit that differs."""
        if other & ~mask:
            return False  # whatever the packet
        value = self._slot_value(field) >> field.shift & mask
        known = self._known.get(field.slot.name, 0) >> field.shift
        differs = value ^ other
        if differs & known:
            return False
        read = mask & -1 << differs.bit_length() - 1 if differs else mask
        self._known[field.slot.name] = self._known.get(field.slot.name, 0) | read << field.shift
        return not differs

    def settle(self, field: Field, mask: int, begin: int, end: int) -> None:
        """Make it certain that the bits in `mask` are a number in begin..end - 1, which they are: known from the top
        until every number that begins so is between the two."""
        name = field.slot.name
        value = self._slot_value(field) >> field.shift & mask
        known = self._known.get(name, 0) >> field.shift & mask
        least = value & known
        if begin <= least and least | mask & ~known < end:
            return
        level = mask.bit_length()  # bits below it need not be known
        if begin > 0:
            level = min(level, (value ^ begin - 1).bit_length() - 1)
        if end <= mask:
            level = min(level, (value ^ end).bit_length() - 1)
        self._known[name] = self._known.get(name, 0) | (mask & -1 << level) << field.shift

    def peek(self, field: Field, mask: int) -> int:
        """The value of these bits, which stay unknown: an answer must not follow from it unless `settle` says so."""
        return self._slot_value(field) >> field.shift & mask

    def has(self, field: Field) -> bool:
        """Whether the packet has the header that a field is part of. That a packet with ip_proto 6 is one of IP is not
        asked: no other has one."""
        for need, allowed in field.prerequisites:
            needed = FIELDS[need]
            if not any(self.is_equal(needed, needed.max, each) for each in allowed):
                return False
        return True
