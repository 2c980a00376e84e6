"""What tables can do: the multipart of OpenFlow 1.3, 1.4 and 1.5, asked for, told of, and asked to be otherwise.

A table has properties, each a list: of instructions, of tables, of actions, of fields. They stay as the wire has them,
as numbers; `_CONTENTS` says which list a property has and since which version. An item that is an experimenter's has
eight bytes, all of which are its number.
"""

from __future__ import annotations

from struct import Struct

from vswitch.messages.errors import OpenFlowError
from vswitch.messages.stats import TableFeatures
from vswitch.openflow.records import bad_length, sized_records, text_bytes, text_from, unsaid
from vswitch.openflow.stats import Records
from vswitch.openflow.wire import properties, property_bytes

__all__ = ["TABLE_FEATURES"]

_HEAD = Struct("!HBBI32sQQII")
"""Length, table, command (1.5), features (1.5), name, metadata, configuration or capabilities, entries."""
_COMMANDS = 4
_EXPERIMENTER_CLASS = 0xFFFF
_EXPERIMENTERS = 0xFFFE
"""Properties from this type on are experimenters'."""
_EXPERIMENTER_HEAD_BYTES = 8

_CONTENTS: dict[int, tuple[str, int]] = {
    **dict.fromkeys((0, 1), ("instructions", 4)),
    **dict.fromkeys((2, 3), ("tables", 4)),
    **dict.fromkeys((4, 5, 6, 7), ("actions", 4)),
    **dict.fromkeys((8, 10, 12, 13, 14, 15), ("fields", 4)),
    16: ("tables", 5),
    **dict.fromkeys((18, 19, 20, 21), ("fields", 6)),
    22: ("values", 6),
    **dict.fromkeys((0xFFFE, 0xFFFF), ("words", 4)),
}
"""Type of a property -> its list, and the version since which there is such a property."""

_ITEM = Struct("!HH")
_EXPERIMENTER_ITEM = Struct("!HHI")
_WORD, _LONG = Struct("!I"), Struct("!Q")


def _items(content: bytes, what: str) -> tuple[int, ...]:
    """Types of instructions or actions."""
    found = []
    offset, end = 0, len(content)
    while offset < end:
        if end - offset < _ITEM.size:
            raise bad_length(f"entry of {what}", end - offset, "at least 4", "bad_property.bad_len")
        kind, length = _ITEM.unpack_from(content, offset)
        wanted = _EXPERIMENTER_ITEM.size if kind == _EXPERIMENTER_CLASS else _ITEM.size
        if length != wanted or length > end - offset:
            raise bad_length(f"entry {kind} of {what}", length, wanted, "bad_property.bad_len")
        found.append(kind if wanted == _ITEM.size else _LONG.unpack_from(content, offset)[0])
        offset += length
    return tuple(found)


def _field_headers(content: bytes, what: str) -> tuple[int, ...]:
    found = []
    offset, end = 0, len(content)
    while offset < end:
        layout = _LONG if content[offset : offset + 2] == b"\xff\xff" else _WORD
        if layout.size > end - offset:
            raise bad_length(f"field of {what}", end - offset, layout.size, "bad_property.bad_len")
        found.append(layout.unpack_from(content, offset)[0])
        offset += layout.size
    return tuple(found)


def _words(content: bytes, what: str) -> tuple[int, ...]:
    if len(content) % 4:
        raise bad_length(what, len(content), "a multiple of 4", "bad_property.bad_len")
    return tuple(word for (word,) in _WORD.iter_unpack(content))


def _numbers(kind: int, content: bytes, what: str) -> tuple[int, ...]:
    of = _CONTENTS[kind][0]
    if of == "tables":
        return tuple(content)
    if kind >= _EXPERIMENTERS and len(content) < _EXPERIMENTER_HEAD_BYTES:
        raise bad_length(what, len(content), f"at least {_EXPERIMENTER_HEAD_BYTES}", "bad_property.bad_len")
    return {"instructions": _items, "actions": _items, "fields": _field_headers}.get(of, _words)(content, what)


def _content(kind: int, numbers: tuple[int, ...]) -> bytes:
    of = _CONTENTS[kind][0]
    if of == "tables":
        return bytes(numbers)
    if of in ("instructions", "actions"):
        return b"".join(
            _ITEM.pack(number, _ITEM.size) if number <= 0xFFFF else _LONG.pack(number) for number in numbers
        )
    return b"".join((_WORD if number <= 0xFFFFFFFF else _LONG).pack(number) for number in numbers)


def _known(kind: int, version: int) -> bool:
    return kind in _CONTENTS and _CONTENTS[kind][1] <= version


def _encode(entry: TableFeatures, version: int) -> bytes:
    data = b""
    for kind, numbers in entry.properties:
        if not _known(kind, version):
            raise unsaid(version, f"has no property {kind:#x} of tables", "bad_property.bad_type")
        data += property_bytes(kind, _content(kind, numbers))
    command, features = (entry.command, entry.features) if version >= 6 else (0, 0)
    return (
        _HEAD.pack(
            _HEAD.size + len(data), entry.table, command, features, text_bytes(entry.name, 32, "table"),
            entry.metadata_match, entry.metadata_write, entry.capabilities, entry.max_entries,
        )
        + data
    )  # fmt: skip


def _decode(data: bytes, version: int) -> tuple[object, ...]:
    found = []
    for fields, rest in sized_records(_HEAD, data, "table features"):
        _, table, command, features, name, metadata_match, metadata_write, capabilities, max_entries = fields
        if version < 6:
            command = features = 0
        if command >= _COMMANDS:
            raise OpenFlowError("table_features_failed.bad_command", f"command {command} of table features, at most 3")
        told = []
        for kind, content in properties(rest, f"table {table}", once=True):
            if not _known(kind, version):
                raise OpenFlowError(
                    "bad_property.bad_type", f"table {table} has a property {kind:#x} that is not known"
                )
            told.append((kind, _numbers(kind, content, f"property {kind} of table {table}")))
        found.append(
            TableFeatures(
                table, text_from(name), metadata_match, metadata_write, capabilities, max_entries, tuple(told),
                command, features,
            )
        )  # fmt: skip
    return tuple(found)


TABLE_FEATURES = Records(_encode, _decode)
"""The entries of "table_features", in requests and in replies."""
