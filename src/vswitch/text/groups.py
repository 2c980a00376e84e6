"""Groups of the flow text, `ipv4(src=...,dst=...)`: which fields each holds, and what it says about a packet.

All of it follows from the registry: a field names its groups and members, and what it needs. A field
without a text of its own (`ip_dscp`, part of `ip_tos`) stands alone under its own name: `ip_dscp(10)`.
The group `raw` is not the registry's: its members are the 64-bit words of the key, whatever lies in them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vswitch.fields import FIELDS, KEY_WORDS, Field, Slot
from vswitch.fields.kinds import KINDS
from vswitch.text.scan import Scanner
from vswitch.text.values import Names, Numbers, format_value, parse_value

__all__ = ["GROUPS", "NEEDS", "RAW", "WORDS", "Member", "Needs", "format_group", "read_group", "texts"]

RAW = "raw"
Needs = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True, slots=True)
class Member:
    """`value` and `mask`, in the field's own bits, as they stand at `position` of a text."""

    view: Field
    value: int
    mask: int
    position: int


def texts(view: Field) -> tuple[tuple[str, str], ...]:
    """The (group, member) under which a field can be written; member "" for a group that is one value."""
    return view.texts or ((view.name, ""),)


def _word(number: int) -> Field:
    slot = Slot(f"word{number}", offset=8 * number, size=8, wire=False)
    doc = "64 bits of the flow key as a little-endian number"
    return Field(slot.name, slot, 0, 64, KINDS["hexadecimal"], ((RAW, f"w{number}"),), (), False, doc)


WORDS = tuple(_word(number) for number in range(KEY_WORDS))


def _groups() -> dict[str, dict[str, Field]]:
    groups: dict[str, dict[str, Field]] = {}
    for view in (*FIELDS.values(), *WORDS):
        for group, member in texts(view):
            groups.setdefault(group, {})[member] = view
    return groups


def _needs(members: Iterable[Field]) -> Needs:
    """What all of `members` need, those aside that the others are asked about (`vlan_present`)."""
    asked = {need for view in members for need, _ in view.prerequisites}
    told = [dict(view.prerequisites) for view in members if view.name not in asked]
    common = [need for need in told[0] if all(need in needs for needs in told)]
    return tuple((need, tuple(dict.fromkeys(v for needs in told for v in needs[need]))) for need in common)


def _own(members: Iterable[Field]) -> list[Field]:
    """The fields that stand in this group alone, or all if there is none: they tell what the group is about."""
    everything = list(members)
    return [view for view in everything if len(texts(view)) == 1] or everything


GROUPS: dict[str, dict[str, Field]] = _groups()
"""group -> member -> field."""

NEEDS: dict[str, Needs] = {group: _needs(_own(members.values())) for group, members in GROUPS.items()}
"""What the mere name of a group says: `tcp()` is ip_proto 6. Of fields that stand in several groups, `ipv4(ttl=1)`,
it tells which kind of packet is meant."""


def read_group(scanner: Scanner, group: str, ports: Numbers) -> list[Member]:
    """The members of `group`, whose name has been read: `(src=...,dst=...)`, or `(value)`."""
    if "" in GROUPS[group]:
        return [_read_value(scanner, GROUPS[group][""], ports)]
    members: list[Member] = []
    for position in scanner.parentheses():
        name = scanner.word(f"a member of {group}")
        view = GROUPS[group].get(name)
        if view is None:
            raise scanner.fail(f"{group} has no member {name!r}, it has {', '.join(GROUPS[group])}", position)
        if any(member.view is view for member in members):
            raise scanner.fail(f"{name} is given twice", position)
        if view.kind.flag_names and scanner.peek() == "(":
            members.append(_read_value(scanner, view, ports, empty="0"))
        else:
            scanner.expect("=")
            members.append(_read_member(scanner, view, ports))
    return members


def format_group(group: str, members: Iterable[tuple[str, Field, int, int]], names: Names = None) -> str:
    """The text of a group from its (member, field, value, mask)."""
    parts = []
    for member, view, value, mask in members:
        text = format_value(view, value, mask, names)
        if not member:
            return f"{group}({text})"
        parts.append(f"{member}({text})" if view.kind.flag_names else f"{member}={text}")
    return f"{group}({','.join(parts)})"


def _read_member(scanner: Scanner, view: Field, ports: Numbers) -> Member:
    position = scanner.here()
    text = scanner.value(f"a value of {view.name}")
    with scanner.blame(position):
        return Member(view, *parse_value(view, text, ports), position)


def _read_value(scanner: Scanner, view: Field, ports: Numbers, empty: str = "") -> Member:
    """One value in parentheses; `empty` is what it means if there is none, "" if there must be one."""
    read: list[Member] = []
    for position in scanner.parentheses():
        if read:
            raise scanner.fail("expected ')'", position)
        read.append(_read_member(scanner, view, ports))
    if not read:
        if not empty:
            raise scanner.fail(f"expected a value of {view.name} in the parentheses", scanner.here() - 1)
        read.append(Member(view, *parse_value(view, empty), scanner.here() - 1))
    return read[0]
