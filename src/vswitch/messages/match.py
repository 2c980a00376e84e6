"""Sets of packets as OpenFlow's flows name them: the datapath's fields, and those of the pipeline.

Invariant: `value & ~mask == 0`, so two equal sets are equal objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vswitch.base.errors import ConfigError
from vswitch.fields.openflow import OPENFLOW_FIELDS, FlowField, flow_field
from vswitch.model.match import FieldValue, field_value_and_mask

__all__ = ["FlowMatch", "SubField", "missing_need"]


@dataclass(frozen=True, slots=True)
class FlowMatch:
    """The packets with `key & mask == value`, over the key of a flow (`vswitch.fields.openflow`). Write it with fields:
    `FlowMatch(in_port=1, ipv4_dst="10.0.0.0/8", reg3=(1, 0xff))`.

    What a field needs is added where only one value is possible, as `Match` does. ConfigError: unknown field, value out
    of its bound, or fields that no packet has together.
    """

    value: int = 0
    mask: int = 0

    def __init__(self, /, **fields: FieldValue | tuple[FieldValue, FieldValue]) -> None:
        value = mask = 0
        pending: list[tuple[str, Any]] = list(fields.items())
        while pending:
            name, written = pending.pop()
            each = flow_field(name)
            own_value, own_mask = field_value_and_mask(each.view, written)
            new_value = each.view.slot.place(own_value << each.view.shift)
            new_mask = each.view.slot.place(own_mask << each.view.shift)
            if (value ^ new_value) & mask & new_mask:
                raise ConfigError(f"{name} contradicts another field of the match that lies in the same bits")
            value, mask = value | new_value, mask | new_mask
            for need, allowed in each.prerequisites:
                if len(allowed) == 1 and need not in fields:
                    wanted = allowed[0]
                    pending.append((need, (wanted, wanted) if need == "vlan_vid" else wanted))
        object.__setattr__(self, "value", value)
        object.__setattr__(self, "mask", mask)

    @classmethod
    def from_ints(cls, value: int, mask: int) -> FlowMatch:
        """From ints in the layout of a flow's key; bits of `value` outside of `mask` are ignored."""
        match = object.__new__(cls)
        _set_value(match, value & mask)
        _set_mask(match, mask)
        return match

    def __contains__(self, key: int) -> bool:
        return key & self.mask == self.value

    def overlaps(self, other: FlowMatch) -> bool:
        """Whether some packet is in both."""
        return not (self.value ^ other.value) & self.mask & other.mask

    def covers(self, other: FlowMatch) -> bool:
        """Whether every packet of `other` is in this one."""
        return self.mask & ~other.mask == 0 and other.value & self.mask == self.value

    def take(self, name: str) -> tuple[int, int]:
        """(value, mask) of a field, in its own bits. ConfigError: there is no such field."""
        view = flow_field(name).view
        return view.take(self.value), view.take(self.mask)

    def fields(self) -> Iterator[tuple[FlowField, int, int]]:
        """Each field that is constrained with value and mask, one for every bit, those first that others need."""
        rest = self.mask
        for applying in (True, False):  # then bits of headers that the match does not imply
            for each in _IN_ORDER:
                bits = rest & each.mask
                if bits and (not applying or missing_need(self, each) is None):
                    rest &= ~each.mask
                    yield each, each.view.take(self.value) & each.view.take(bits), each.view.take(bits)

    def __repr__(self) -> str:
        shown = (
            f"{each.name}={each.view.format(value)!r}" if mask == each.max else f"{each.name}=({value:#x}, {mask:#x})"
            for each, value, mask in self.fields()
        )
        return f"FlowMatch({', '.join(shown)})"


_set_value = FlowMatch.__dict__["value"].__set__
_set_mask = FlowMatch.__dict__["mask"].__set__

_PARTS = {"vlan_vid", "vlan_pcp", "ip_dscp", "ip_ecn"}
"""Views on part of another field, which stands for them."""
_IN_ORDER = tuple(each for each in OPENFLOW_FIELDS.values() if each.name not in _PARTS and "xreg" not in each.name)


def missing_need(match: FlowMatch, each: FlowField) -> str | None:
    """The first field that `each` needs and that `match` does not hold; None if it has all."""
    for need, allowed in each.prerequisites:
        view = OPENFLOW_FIELDS[need].view
        bits = view.slot.place((allowed[0] if need == "vlan_vid" else view.max) << view.shift)
        if match.mask & bits != bits:
            return need
        if not any((match.value ^ view.slot.place(option << view.shift)) & bits == 0 for option in allowed):
            return need
    return None


@dataclass(frozen=True, slots=True)
class SubField:
    """Bits `start` to `start` + `bits` - 1 of a field, 0 being the least significant: NXM_NX_REG0[0..15]."""

    field: FlowField
    start: int
    bits: int

    def __post_init__(self) -> None:
        if self.start < 0 or self.bits < 1 or self.start + self.bits > self.field.bits:
            last = self.start + self.bits - 1
            raise ConfigError(f"{self.field.name}[{self.start}..{last}] is outside of its {self.field.bits} bits")

    @classmethod
    def of(cls, name: str, start: int = 0, bits: int | None = None) -> SubField:
        """Of the field of this name, all of it if `bits` is None. ConfigError: there is none, or it has fewer bits."""
        found = flow_field(name)
        return cls(found, start, found.bits - start if bits is None else bits)
