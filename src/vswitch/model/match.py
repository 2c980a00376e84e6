"""Keys and matches over the flow key.

A key is what one packet looks like; a match is a set of keys: those that agree with `value` in the bits
of `mask`. Both hold one int in the layout of `vswitch.fields`.

Invariant: `value & ~mask == 0`, so two equal sets of keys are equal objects.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import index
from typing import Any

from vswitch.base.errors import ConfigError
from vswitch.fields import FIELDS, KEY_BYTES, SLOTS, Field, field
from vswitch.fields.kinds import FRAGMENTS

__all__ = ["Key", "Match", "field_value", "field_value_and_mask"]

FieldValue = int | str | ipaddress.IPv4Address | ipaddress.IPv6Address | ipaddress.IPv4Network | ipaddress.IPv6Network
"""What a caller may write for a field: a number, the field's text form, or an address or network object."""


@dataclass(frozen=True, slots=True)
class Key:
    """What one packet looks like. Fields are attributes: `key.tcp_dst` is an int, zero where the packet has no such
    header. `value`: all of them, as one int whose little-endian bytes are the kernel's `union flow_key`.

    AttributeError: there is no such field."""

    value: int

    def __init__(self, value: int) -> None:
        # hot: once per upcall
        _set_key(self, value)

    def __getattr__(self, name: str) -> int:
        found = FIELDS.get(name)
        if found is None:
            raise AttributeError(f"a key has no field {name!r}")
        return found.take(self.value)

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> Key:
        """From `union flow_key` as the kernel lays it out (208 bytes)."""
        return cls(int.from_bytes(data, "little"))

    def to_bytes(self) -> bytes:
        """The kernel's `union flow_key` (208 bytes)."""
        return self.value.to_bytes(KEY_BYTES, "little")

    def has(self, name: str) -> bool:
        """Whether the packet has the header that field `name` is part of (its prerequisites are met).
        ConfigError: unknown field."""
        return all(
            FIELDS[need].take(self.value) in allowed and self.has(need) for need, allowed in field(name).prerequisites
        )

    def __repr__(self) -> str:
        shown = (f"{f.name}={f.format(f.take(self.value))}" for f in _VIEWS if f.take(self.value) and self.has(f.name))
        return f"Key({', '.join(shown)})"


@dataclass(frozen=True, slots=True)
class Match:
    """A set of keys: those with `key & mask == value`. Write it with fields: `Match(tcp_dst=80,
    ipv4_dst="10.0.0.0/8")`.

    A value is an int, text as docs/fields.md shows it, an `ipaddress` object, or a pair (value, mask).
    What a field needs is added: `tcp_dst` adds `ip_proto=6`, `ipv4_dst` adds `eth_type=0x0800`.
    ConfigError: unknown field, value out of its bound, value bits outside of the mask, or two fields that
    no packet can have together.

    `value` and `mask` are ints in the layout of `Key`. `key in match` says whether a packet is of the set.
    """

    value: int = 0
    mask: int = 0

    def __init__(self, /, **fields: FieldValue | tuple[FieldValue, FieldValue]) -> None:
        value, mask = _combine(fields)
        object.__setattr__(self, "value", value)
        object.__setattr__(self, "mask", mask)

    @classmethod
    def from_ints(cls, value: int, mask: int) -> Match:
        """From ints in the layout of `Key`; bits of `value` outside of `mask` are ignored. What fields need is not
        added."""
        # hot: once per upcall and megaflow; the slots' own setters take half the time of object.__setattr__
        match = object.__new__(cls)
        _set_value(match, value & mask)
        _set_mask(match, mask)
        return match

    @classmethod
    def exact(cls, key: Key, *names: str) -> Match:
        """The keys that agree with `key` in the fields `names` and in what these need. ConfigError: unknown field."""
        mask = 0
        pending = list(names)
        while pending:
            found = field(pending.pop())
            mask |= found.mask
            pending.extend(need for need, _ in found.prerequisites)
        return cls.from_ints(key.value, mask)

    def __hash__(self) -> int:
        return hash(self.value ^ self.mask)  # hot: several times per megaflow

    def __contains__(self, key: Key) -> bool:
        return key.value & self.mask == self.value

    def overlaps(self, other: Match) -> bool:
        """Whether some packet is in both."""
        return not (self.value ^ other.value) & self.mask & other.mask

    def covers(self, other: Match) -> bool:
        """Whether every packet of `other` is in this one."""
        return self.mask & ~other.mask == 0 and other.value & self.mask == self.value

    def fields(self) -> dict[str, tuple[int, int]]:
        """The fields constrained: name -> (value, mask), both in the field's own bits."""
        return {name: (FIELDS[name].take(self.value) & mask, mask) for name, mask in self._masked()}

    def _masked(self) -> Iterator[tuple[str, int]]:
        """Names and masks, one view for every bit constrained, in the registry's order."""
        rest = self.mask
        for view in _VIEWS:
            bits = rest & view.mask
            if bits and self._applies(view):
                rest &= ~view.mask
                yield view.name, view.take(bits)
        for view in _VIEWS:  # bits of headers that the match does not imply: named by the first view that has them
            bits = rest & view.mask
            if bits:
                rest &= ~view.mask
                yield view.name, view.take(bits)

    def _applies(self, view: Field) -> bool:
        return all(
            self.mask & FIELDS[need].mask == FIELDS[need].mask and FIELDS[need].take(self.value) in allowed
            for need, allowed in view.prerequisites
        )

    def __repr__(self) -> str:
        shown = (_show(FIELDS[name], value, mask) for name, (value, mask) in self.fields().items())
        return f"Match({', '.join(shown)})"


_set_key = Key.__dict__["value"].__set__
_set_value = Match.__dict__["value"].__set__
_set_mask = Match.__dict__["mask"].__set__

_VIEWS = tuple(f for f in FIELDS.values() if f.texts)
"""One view for every bit pattern that has a text; `ip_dscp` and `ip_ecn` are parts of `ip_tos`."""


def _show(view: Field, value: int, mask: int) -> str:
    plain = view.kind.name in ("decimal", "hexadecimal", "ethertype")
    text = view.format(value) if plain else repr(view.format(value))
    if mask == view.max:
        return f"{view.name}={text}"
    prefix = view.bits - (~mask & view.max).bit_length()
    if view.kind.prefix_masks and mask == view.max ^ (view.max >> prefix):
        return f"{view.name}='{view.format(value)}/{prefix}'"
    return f"{view.name}=({text}, {mask:#x})"


def field_value(view: Field, written: FieldValue) -> int:
    """The int for what a caller wrote for one field."""
    if isinstance(written, bool) or not isinstance(written, int | str):
        if isinstance(written, ipaddress.IPv4Address | ipaddress.IPv6Address):
            return field_value(view, str(written))
        if not isinstance(written, bool) and hasattr(written, "__index__"):  # a packet's field, in a policy
            return field_value(view, index(written))
        raise ConfigError(f"{view.name}: {written!r} is neither a number nor text")
    if isinstance(written, str):
        return view.parse(written)
    if not 0 <= written <= view.max:
        raise ConfigError(f"{view.name} {written} is outside 0..{view.max}")
    return written


def field_value_and_mask(view: Field, written: FieldValue | tuple[FieldValue, FieldValue]) -> tuple[int, int]:
    """(value, mask) in the field's own bits. Text may carry `/prefix` (addresses) or `/mask`."""
    if isinstance(written, tuple):
        if len(written) != 2:
            raise ConfigError(f"{view.name}: {written!r} is not a pair (value, mask)")
        value, mask = field_value(view, written[0]), field_value(view, written[1])
    elif isinstance(written, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return field_value_and_mask(view, str(written))
    elif isinstance(written, str) and "/" in written:
        value_text, _, mask_text = written.partition("/")
        value = view.parse(value_text)
        if view.kind.prefix_masks and mask_text.isdecimal():
            if len(mask_text) > 3 or int(mask_text) > view.bits:
                raise ConfigError(f"{view.name}: prefix /{mask_text} is longer than {view.bits} bits")
            mask = view.max ^ (view.max >> int(mask_text))
        else:
            mask = view.parse(mask_text)
    else:
        return field_value(view, written), view.max
    if value & ~mask:
        raise ConfigError(f"{view.name}: value {view.format(value)} has bits outside of its mask {view.format(mask)}")
    return value, mask


def _combine(fields: Mapping[str, Any]) -> tuple[int, int]:
    """Value and mask of all fields and of what they need."""
    value = mask = 0
    given: dict[str, tuple[int, int]] = {name: field_value_and_mask(field(name), w) for name, w in fields.items()}
    for name, (own_value, own_mask) in given.items():
        view = FIELDS[name]
        new_value, new_mask = view.slot.place(own_value << view.shift), view.slot.place(own_mask << view.shift)
        if (value ^ new_value) & mask & new_mask:
            raise ConfigError(f"{name} contradicts another field of the match that lies in the same bits")
        value, mask = value | new_value, mask | new_mask
    pending = list(given)
    choices: list[tuple[str, str, tuple[int, ...]]] = []
    while pending:
        name = pending.pop()
        for need, allowed in FIELDS[name].prerequisites:
            if len(allowed) > 1:
                choices.append((name, need, allowed))
                continue
            view = FIELDS[need]
            _check_need(name, view, allowed, value, mask)
            if mask & view.mask != view.mask:
                value, mask = value | view.place(allowed[0]), mask | view.mask
                pending.append(need)
    for name, need, allowed in choices:  # only now is it known what the fields say together
        view = FIELDS[need]
        _check_need(name, view, allowed, value, mask)
        if mask & view.mask != view.mask and name in given and (given[name][0] == 0 or _shared(FIELDS[name])):
            raise ConfigError(f"{name} needs {need}: say whether {_options(view, allowed)}")
    return value, mask


def _check_need(name: str, view: Field, allowed: tuple[int, ...], value: int, mask: int) -> None:
    held, held_mask = view.take(value), view.take(mask)
    if not any((held ^ option) & held_mask == 0 for option in allowed):
        raise ConfigError(f"{name} needs {view.name} to be {_options(view, allowed)}, not {view.format(held)}")


def _shared(view: Field) -> bool:
    """Whether other kinds of packets hold something else in these bits."""
    return any(slot is not view.slot and slot.shares_with(view.slot) for slot in SLOTS.values())


def _options(view: Field, allowed: tuple[int, ...]) -> str:
    return " or ".join(view.format(option) for option in allowed)


FRAGMENT_NO, FRAGMENT_FIRST, FRAGMENT_LATER = FRAGMENTS.values()
"""Values of the field `ip_frag`."""
