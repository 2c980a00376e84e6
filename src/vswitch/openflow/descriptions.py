"""What ports, groups and meters are: the entries of their descriptions, made of what their mods are made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from struct import Struct

from vswitch.messages.errors import OpenFlowError
from vswitch.messages.flows import Bucket, GroupType
from vswitch.messages.ports import PortDescription
from vswitch.messages.stats import GroupDescription, MeterConfig
from vswitch.openflow.groups import (
    decode_bands,
    decode_buckets,
    decode_group_properties,
    encode_bands,
    encode_buckets,
    encode_group_properties,
)
from vswitch.openflow.ports import decode_ports, encode_port
from vswitch.openflow.records import bad_length, sized_records
from vswitch.openflow.stats import Records, row

__all__ = ["GROUP_DESCRIPTION", "METER_CONFIG", "PORT_DESCRIPTION"]


def _encode_port(entry: PortDescription, version: int) -> bytes:
    return encode_port(entry, version)


def _decode_ports(data: bytes, version: int) -> tuple[object, ...]:
    return decode_ports(data, 0, version)


PORT_DESCRIPTION = Records(_encode_port, _decode_ports)
"""The entries of "port_description" replies."""


_GROUP = {1: Struct("!HBxIH6x"), 2: Struct("!HBxI"), 6: Struct("!HBxIH6x")}
"""Nicira's groups of OpenFlow 1.0 are 1.5's."""
_WITH_IDS = (1, 6)


def _numbered(buckets: tuple[Bucket, ...]) -> Iterator[Bucket]:
    """Buckets that all have an id: who has none gets the least that is free, as who reads a description wants one."""
    taken = {each.id for each in buckets}
    free = (number for number in count() if number not in taken)
    for each in buckets:
        yield replace(each, id=next(free)) if each.id is None else each


def _encode_group(entry: GroupDescription, version: int) -> bytes:
    """Before OpenFlow 1.5, how a select group chooses is left out: there are no words for it."""
    layout = row(_GROUP, version)
    buckets = encode_buckets(_numbered(entry.buckets) if version in _WITH_IDS else entry.buckets, version)
    if version in _WITH_IDS:
        chosen = encode_group_properties((entry.selection, entry.selection_param, entry.fields))
        length = layout.size + len(buckets) + len(chosen)
        return layout.pack(length, entry.type, entry.id, len(buckets)) + buckets + chosen
    return layout.pack(layout.size + len(buckets), entry.type, entry.id) + buckets


def _decode_groups(data: bytes, version: int) -> tuple[object, ...]:
    found = []
    for (_, kind, group, *size), rest in sized_records(row(_GROUP, version), data, "group description"):
        if kind > GroupType.FAST_FAILOVER:
            raise OpenFlowError("group_mod_failed.bad_type", f"group {group} is of type {kind}, at most 3 is known")
        selection = decode_group_properties(rest[size[0] :]) if size else ("", 0, ())
        if size and size[0] > len(rest):
            raise bad_length(f"buckets of group {group}", size[0], f"at most {len(rest)}")
        buckets = decode_buckets(rest[: size[0]] if size else rest, version)
        found.append(GroupDescription(group, GroupType(kind), buckets, *selection))
    return tuple(found)


GROUP_DESCRIPTION = Records(_encode_group, _decode_groups)
"""The entries of "group_description" replies."""


_METER = Struct("!HHI")


def _encode_meter(entry: MeterConfig, _version: int) -> bytes:
    bands = encode_bands(entry.bands)
    return _METER.pack(_METER.size + len(bands), entry.flags, entry.id) + bands


def _decode_meters(data: bytes, _version: int) -> tuple[object, ...]:
    return tuple(
        MeterConfig(meter, flags, decode_bands(rest))
        for (_, flags, meter), rest in sized_records(_METER, data, "meter description")
    )


METER_CONFIG = Records(_encode_meter, _decode_meters)
"""The entries of "meter_config" replies."""
