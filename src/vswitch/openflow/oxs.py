"""OXS: statistics of flows as OpenFlow 1.5 writes them, a list of fields with headers (1.5.1 section 7.2.4.2).

The list begins with its own length and is padded to 8 bytes. Fields of other classes are passed over: a switch may tell
more than we know.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from vswitch.messages.errors import OpenFlowError
from vswitch.openflow.records import bad_length, seconds, to_ns

__all__ = ["decode_oxs", "encode_oxs"]

_CLASS: Final = 0x8002
_HEAD = Struct("!HH")
_FIELD = Struct("!HBB")
_PAIR, _WORD, _LONG = Struct("!II"), Struct("!I"), Struct("!Q")

_NAMES: Final = {0: "duration_ns", 1: "idle_ns", 4: "packets", 5: "bytes", 3: "flows"}
"""Number -> name, in the order of writing, which is Open vSwitch's."""
_LAYOUTS: Final = {0: _PAIR, 1: _PAIR, 3: _WORD, 4: _LONG, 5: _LONG}
_HEADERS: Final = {_NAMES[number]: _FIELD.pack(_CLASS, number << 1, each.size) for number, each in _LAYOUTS.items()}
_FULL = Struct("!HH4sII4sII4sQ4sQ4x")
_FULL_LENGTH: Final = 52
_FULL_HEADERS: Final = tuple(_HEADERS[name] for name in ("duration_ns", "idle_ns", "packets", "bytes"))


def encode_oxs(**values: int | None) -> bytes:
    """The list of the values that are known: `duration_ns`, `idle_ns`, `packets`, `bytes`, `flows`."""
    duration_ns, idle_ns = values.get("duration_ns"), values.get("idle_ns")
    packets, octets = values.get("packets"), values.get("bytes")
    if duration_ns is not None and idle_ns is not None and packets is not None and octets is not None:  # hot: flows
        first, second, third, fourth = _FULL_HEADERS
        return _FULL.pack(
            0, _FULL_LENGTH, first, *seconds(duration_ns), second, *seconds(idle_ns), third, packets, fourth, octets
        )
    content = b""
    for number, name in _NAMES.items():
        value = values.get(name)
        if value is not None:
            layout = _LAYOUTS[number]
            content += _HEADERS[name] + (layout.pack(*seconds(value)) if layout is _PAIR else layout.pack(value))
    length = 4 + len(content)
    return _HEAD.pack(0, length) + content + bytes(-length % 8)


def decode_oxs(data: bytes, at: int, what: str) -> tuple[dict[str, int], int]:
    """The values of the list at `at`, by the names of `encode_oxs`, and where what follows its padding begins.
    OpenFlowError: lengths that do not fit, a field twice."""
    left = len(data) - at
    if left < 4:
        raise bad_length(f"statistics of {what}", left, "at least 4")
    length = _HEAD.unpack_from(data, at)[1]
    after = at + length + -length % 8
    if length < 4 or after > len(data):
        raise bad_length(f"statistics of {what}", length, f"4 to {left} with their padding")
    return _fields(data, at + 4, at + length, what), after


def _fields(data: bytes, at: int, end: int, what: str) -> dict[str, int]:
    values: dict[str, int] = {}
    while at < end:
        if end - at < 4:
            raise bad_length(f"statistics field of {what}", end - at, "at least 4")
        group, number, length = _FIELD.unpack_from(data, at)
        at += 4
        if length > end - at:
            raise bad_length(f"statistics field {number >> 1} of {what}", length, f"at most {end - at}")
        name = _NAMES.get(number >> 1) if group == _CLASS else None
        if name is not None:
            layout = _LAYOUTS[number >> 1]
            if length != layout.size:
                raise bad_length(f"statistics field {name} of {what}", length, layout.size)
            if name in values:
                raise OpenFlowError("bad_request.bad_len", f"statistics of {what} have {name} twice")
            fields = layout.unpack_from(data, at)
            values[name] = to_ns(*fields) if layout is _PAIR else fields[0]
        at += length
    return values
