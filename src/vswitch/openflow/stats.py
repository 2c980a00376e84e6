"""Statistics and descriptions whose records are of fixed layout: the switch, tables, ports, queues, groups, meters.

A layout is a row: for a version and all that follow it until the next row. What a record's fields mean is said once,
for all versions, in a pair of functions; `RECORDS` has the pair of each kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, TypeVar

from vswitch.base.errors import ConfigError
from vswitch.messages.stats import (
    ALL_TABLE_BITMAPS,
    AggregateStats,
    BucketStats,
    Description,
    GroupFeatures,
    GroupStats,
    MeterFeatures,
    MeterStats,
    PortStats,
    QueueStats,
    TableStats,
)
from vswitch.openflow.oxs import decode_oxs, encode_oxs
from vswitch.openflow.records import (
    bad_length,
    counter,
    fixed_records,
    known,
    port_from_wire,
    port_to_wire,
    seconds,
    sized_records,
    text_bytes,
    text_from,
    to_ns,
    unpack,
)
from vswitch.openflow.wire import properties, property_bytes

__all__ = ["RECORDS", "Records", "row"]

Row = TypeVar("Row")


def row(rows: dict[int, Row], version: int) -> Row:
    """The row of the last version that is not after this one."""
    return rows[max(since for since in rows if since <= version)]


@dataclass(frozen=True, slots=True)
class Records:
    """How the entries of a reply are written: `encode` one, `decode` all. `single`: it has just one."""

    encode: Callable[[Any, int], bytes]
    decode: Callable[[bytes, int], tuple[object, ...]]
    single: bool = False


# ---- the switch

_DESCRIPTION = Struct("!256s256s256s32s256s")
_SIZES = (("manufacturer", 256), ("hardware", 256), ("software", 256), ("serial", 32), ("datapath", 256))


def _encode_description(entry: Description, _version: int) -> bytes:
    return _DESCRIPTION.pack(*(text_bytes(getattr(entry, name), size, name) for name, size in _SIZES))


def _decode_description(data: bytes, _version: int) -> tuple[object, ...]:
    return (Description(*map(text_from, unpack(_DESCRIPTION, data, "description"))),)


# ---- flows together

_AGGREGATE = Struct("!QQI4x")


def _encode_aggregate(entry: AggregateStats, version: int) -> bytes:
    if version < 6:
        return _AGGREGATE.pack(entry.packets, entry.bytes, entry.flows)
    return encode_oxs(packets=entry.packets, bytes=entry.bytes, flows=entry.flows)


def _decode_aggregate(data: bytes, version: int) -> tuple[object, ...]:
    if version < 6:
        return (AggregateStats(*unpack(_AGGREGATE, data, "aggregate statistics")),)
    values, after = decode_oxs(data, 0, "aggregate statistics")
    if after != len(data):
        raise bad_length("aggregate statistics", len(data), after)
    return (AggregateStats(values.get("packets", 0), values.get("bytes", 0), values.get("flows", 0)),)


# ---- tables

_TABLE = {
    1: Struct("!B3x32sIIIQQ"),
    2: Struct("!B7x32sIIIIIIIIQQ"),
    3: Struct("!B7x32sQQIIQQQQIIIIQQ"),
    4: Struct("!B3xIQQ"),
}


def _encode_table(entry: TableStats, version: int) -> bytes:
    layout = row(_TABLE, version)
    counters = (entry.active, entry.lookups, entry.matched)
    if version >= 4:
        return layout.pack(entry.table, *counters)
    bitmaps = entry.bitmaps or ALL_TABLE_BITMAPS[version]
    if len(bitmaps) != len(ALL_TABLE_BITMAPS[version]):
        raise ConfigError(f"table {entry.table} has {len(bitmaps)} bitmaps, and not {len(ALL_TABLE_BITMAPS[version])}")
    return layout.pack(entry.table, text_bytes(entry.name, 32, "table"), *bitmaps, entry.max_entries, *counters)


def _decode_table(data: bytes, version: int) -> tuple[object, ...]:
    records = fixed_records(row(_TABLE, version), data, "table statistics")
    if version >= 4:
        return tuple(TableStats(*fields) for fields in records)
    found = []
    for table, name, *bitmaps, max_entries, active, lookups, matched in records:
        told = tuple(bitmaps) if tuple(bitmaps) != ALL_TABLE_BITMAPS[version] else ()
        found.append(TableStats(table, active, lookups, matched, text_from(name), max_entries, told))
    return tuple(found)


# ---- ports

_PORT = {1: Struct("!H6x12Q"), 2: Struct("!I4x12Q"), 4: Struct("!I4x12QII")}
_PORT_HEAD = Struct("!H2xIII8Q")
_ETHERNET = Struct("!4x4Q")
_ETHERNET_PROPERTY, _EXPERIMENTER_PROPERTY = 0, 0xFFFF
_INTEL, _CUSTOM_COUNTERS = 0x0000AA01, 2
_CUSTOM = Struct("!II2xH")
_COUNTER = Struct("!Q")
_MAX_NAME = 255
_TRAFFIC = ("rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_dropped", "tx_dropped", "rx_errors", "tx_errors")
_ALWAYS = 4
"""So many counters every port keeps."""
_FRAMES = ("rx_frame_errors", "rx_over_errors", "rx_crc_errors", "collisions")


def _encode_port(entry: PortStats, version: int) -> bytes:
    port = port_to_wire(entry.port, version)
    traffic = [counter(getattr(entry, name)) for name in _TRAFFIC]
    frames = [counter(getattr(entry, name)) for name in _FRAMES]
    if version < 4:
        return row(_PORT, version).pack(port, *traffic, *frames)
    if version == 4:
        return _PORT[4].pack(port, *traffic, *frames, *seconds(entry.duration_ns))
    rest = property_bytes(_ETHERNET_PROPERTY, _ETHERNET.pack(*frames))
    if entry.custom:
        rest += property_bytes(_EXPERIMENTER_PROPERTY, _custom_bytes(entry.custom))
    length = _PORT_HEAD.size + len(rest)
    return _PORT_HEAD.pack(length, port, *seconds(entry.duration_ns), *traffic) + rest


def _custom_bytes(counters: tuple[tuple[str, int], ...]) -> bytes:
    names = [name.encode() for name, _ in counters]
    if max(map(len, names)) > _MAX_NAME:
        raise ConfigError(f"a counter's name has {max(map(len, names))} bytes, at most {_MAX_NAME} can be sent")
    return _CUSTOM.pack(_INTEL, _CUSTOM_COUNTERS, len(counters)) + b"".join(
        bytes([len(name)]) + name + _COUNTER.pack(value) for name, (_, value) in zip(names, counters, strict=True)
    )


def _custom_of(content: bytes) -> tuple[tuple[str, int], ...]:
    """The counters, if the property is of this experimenter and type."""
    if len(content) < _CUSTOM.size:
        raise bad_length("experimenter's statistics of a port", len(content), f"at least {_CUSTOM.size}")
    experimenter, kind, count = _CUSTOM.unpack_from(content)
    if (experimenter, kind) != (_INTEL, _CUSTOM_COUNTERS):
        return ()
    found = []
    at = _CUSTOM.size
    for _ in range(count):
        end = at + 1 + content[at] if at < len(content) else len(content)
        if end + _COUNTER.size > len(content):
            raise bad_length("counters of a port", len(content), f"{count} counters with their names")
        found.append((content[at + 1 : end].decode("utf-8", "replace"), _COUNTER.unpack_from(content, end)[0]))
        at = end + _COUNTER.size
    return tuple(found)


def _decode_port(data: bytes, version: int) -> tuple[object, ...]:
    if version >= 5:
        return tuple(_port_of(*record) for record in sized_records(_PORT_HEAD, data, "port statistics"))
    found = []
    for port, *counters in fixed_records(row(_PORT, version), data, "port statistics"):
        duration_ns = to_ns(*counters[12:]) if version == 4 else 0
        found.append(_port_stats(port_from_wire(port, version), duration_ns, counters[:8], counters[8:12]))
    return tuple(found)


def _port_of(fields: tuple[Any, ...], rest: bytes) -> PortStats:
    _, port, whole, part, *traffic = fields
    frames: tuple[int, ...] = (counter(None),) * 4
    custom: tuple[tuple[str, int], ...] = ()
    for kind, content in properties(rest, "port statistics", once=True):
        if kind == _ETHERNET_PROPERTY:
            frames = unpack(_ETHERNET, content, "Ethernet statistics of a port")
        elif kind == _EXPERIMENTER_PROPERTY:
            custom = _custom_of(content) or custom
    return _port_stats(port, to_ns(whole, part), traffic, frames, custom)


def _port_stats(
    port: int,
    duration_ns: int,
    traffic: Sequence[int],
    frames: Sequence[int],
    custom: tuple[tuple[str, int], ...] = (),
) -> PortStats:
    always, rare = traffic[:_ALWAYS], map(known, (*traffic[_ALWAYS:], *frames))
    counters: dict[str, Any] = dict(zip(_TRAFFIC + _FRAMES, (*always, *rare), strict=True))
    return PortStats(port, duration_ns, **counters, custom=custom)


# ---- queues

_QUEUE = {1: Struct("!H2xI3Q"), 2: Struct("!II3Q"), 4: Struct("!II3QII"), 5: Struct("!H6xII3QII")}


def _encode_queue(entry: QueueStats, version: int) -> bytes:
    fields = (port_to_wire(entry.port, version), entry.queue, entry.tx_bytes, entry.tx_packets, entry.tx_errors)
    layout = row(_QUEUE, version)
    if version < 4:
        return layout.pack(*fields)
    if version == 4:
        return layout.pack(*fields, *seconds(entry.duration_ns))
    return layout.pack(layout.size, *fields, *seconds(entry.duration_ns))


def _decode_queue(data: bytes, version: int) -> tuple[object, ...]:
    layout = row(_QUEUE, version)
    if version < 5:
        return tuple(_queue_of(fields, version) for fields in fixed_records(layout, data, "queue statistics"))
    found = []
    for (_, *fields), rest in sized_records(layout, data, "queue statistics"):
        for _ in properties(rest, "queue statistics", once=True):
            pass  # experimenters' alone
        found.append(_queue_of(fields, version))
    return tuple(found)


def _queue_of(fields: Sequence[int], version: int) -> QueueStats:
    port, queue, octets, packets, errors, *time = fields
    return QueueStats(port_from_wire(port, version), queue, octets, packets, errors, to_ns(*time) if time else 0)


# ---- groups

_TIMED_GROUP = Struct("!H2xII4xQQII")
_GROUP = {1: _TIMED_GROUP, 2: Struct("!H2xII4xQQ"), 4: _TIMED_GROUP}
"""Nicira's groups of OpenFlow 1.0 are counted as 1.3's are."""
_BUCKET = Struct("!QQ")
_GROUP_FEATURES = Struct("!II4I4I")


def _encode_group(entry: GroupStats, version: int) -> bytes:
    layout = row(_GROUP, version)
    buckets = b"".join(_BUCKET.pack(each.packets, each.bytes) for each in entry.buckets)
    length = layout.size + len(buckets)
    fields = (length, entry.id, entry.references, entry.packets, entry.bytes)
    return layout.pack(*fields, *(seconds(entry.duration_ns) if layout is _TIMED_GROUP else ())) + buckets


def _decode_group(data: bytes, version: int) -> tuple[object, ...]:
    found = []
    for (_, group, references, packets, octets, *time), rest in sized_records(
        row(_GROUP, version), data, "group statistics"
    ):
        buckets = tuple(BucketStats(*each) for each in fixed_records(_BUCKET, rest, "bucket statistics"))
        found.append(GroupStats(group, references, packets, octets, to_ns(*time) if time else 0, buckets))
    return tuple(found)


def _encode_group_features(entry: GroupFeatures, _version: int) -> bytes:
    return _GROUP_FEATURES.pack(entry.types, entry.capabilities, *entry.max_groups, *entry.actions)


def _decode_group_features(data: bytes, _version: int) -> tuple[object, ...]:
    types, capabilities, *rest = unpack(_GROUP_FEATURES, data, "group features")
    return (GroupFeatures(types, capabilities, tuple(rest[:4]), tuple(rest[4:])),)


# ---- meters

_METER = Struct("!IH6xIQQII")
_BAND = Struct("!QQ")
_METER_FEATURES = Struct("!IIIBB2x")
_METER_FEATURES_REST = Struct("!I4x")


def _encode_meter(entry: MeterStats, _version: int) -> bytes:
    bands = b"".join(_BAND.pack(*each) for each in entry.bands)
    length = _METER.size + len(bands)
    return _METER.pack(entry.id, length, entry.flows, entry.packets, entry.bytes, *seconds(entry.duration_ns)) + bands


def _decode_meter(data: bytes, _version: int) -> tuple[object, ...]:
    found = []
    for (meter, _, flows, packets, octets, *time), rest in sized_records(_METER, data, "meter statistics", 1):
        bands: tuple[Any, ...] = tuple(fixed_records(_BAND, rest, "band statistics"))
        found.append(MeterStats(meter, flows, packets, octets, to_ns(*time), bands))
    return tuple(found)


def _encode_meter_features(entry: MeterFeatures, version: int) -> bytes:
    # Open vSwitch takes and sends the record of OpenFlow 1.3 in 1.5 too, so the rest is sent only if it says something.
    data = _METER_FEATURES.pack(
        entry.max_meters, entry.band_types, entry.capabilities, entry.max_bands, entry.max_colors
    )
    return data + _METER_FEATURES_REST.pack(entry.features) if version >= 6 and entry.features else data


def _decode_meter_features(data: bytes, version: int) -> tuple[object, ...]:
    features = 0
    if version >= 6 and len(data) > _METER_FEATURES.size:
        rest = data[_METER_FEATURES.size :]
        (features,) = unpack(_METER_FEATURES_REST, rest, "meter features behind OpenFlow 1.3's")
        data = data[: _METER_FEATURES.size]
    meters, bands, capabilities, most_bands, colors = unpack(_METER_FEATURES, data, "meter features")
    return (MeterFeatures(meters, bands, capabilities, most_bands, colors, features),)


RECORDS = {
    "description": Records(_encode_description, _decode_description, single=True),
    "aggregate": Records(_encode_aggregate, _decode_aggregate, single=True),
    "table": Records(_encode_table, _decode_table),
    "port": Records(_encode_port, _decode_port),
    "queue": Records(_encode_queue, _decode_queue),
    "group": Records(_encode_group, _decode_group),
    "group_features": Records(_encode_group_features, _decode_group_features, single=True),
    "meter": Records(_encode_meter, _decode_meter),
    "meter_features": Records(_encode_meter_features, _decode_meter_features, single=True),
}
"""kind -> its records."""
