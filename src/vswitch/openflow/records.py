"""Records: what bodies of statistics and descriptions are made of.

A body is a list of records, of one fixed layout, or of which each states its own length; behind a record's fixed part
there may be properties (type, length, content, padded to 8 bytes). What is read here is the peer's: a length that does
not fit is an `OpenFlowError`, and nothing is read outside of the record that was given.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Any

from vswitch.base.errors import ConfigError
from vswitch.messages.errors import OpenFlowError
from vswitch.openflow.wire import port_from_16, port_to_16, version_name

__all__ = [
    "UNKNOWN",
    "bad_length",
    "counter",
    "fixed_records",
    "known",
    "port_from_wire",
    "port_to_wire",
    "seconds",
    "sized_records",
    "text_bytes",
    "text_from",
    "to_ns",
    "unpack",
    "unsaid",
]

UNKNOWN = (1 << 64) - 1
"""What stands for a counter that is not kept."""

_SECOND = 1_000_000_000


def bad_length(what: str, length: int, wanted: object, error: str = "bad_request.bad_len") -> OpenFlowError:
    """The error for a record that has `length` bytes and not those that are `wanted`."""
    return OpenFlowError(error, f"{what} has {length} bytes, and not {wanted}")


def unsaid(version: int, what: str, error: str = "bad_request.bad_multipart") -> OpenFlowError:
    """The error for what a version has no words for; `error` is what a peer of that version would answer."""
    return OpenFlowError(error, f"OpenFlow {version_name(version)} {what}")


def unpack(layout: Struct, data: bytes, what: str) -> tuple[Any, ...]:
    """The fields of a record that has just this layout. OpenFlowError: it is shorter or longer."""
    if len(data) != layout.size:
        raise bad_length(what, len(data), layout.size)
    return layout.unpack(data)


def fixed_records(layout: Struct, data: bytes, what: str) -> Iterator[tuple[Any, ...]]:
    """The fields of each record of a list. OpenFlowError: the last one is cut off."""
    if len(data) % layout.size:
        raise bad_length(f"list of {what}", len(data), f"a multiple of {layout.size}")
    return layout.iter_unpack(data)


def sized_records(
    layout: Struct, data: bytes, what: str, length_at: int = 0
) -> Iterator[tuple[tuple[Any, ...], bytes]]:
    """The fields of each record, and what follows them in it; field number `length_at` is the length of the whole.
    OpenFlowError: a record says that it is shorter than its fixed part, or longer than what is there."""
    offset, end = 0, len(data)
    while offset < end:
        if end - offset < layout.size:
            raise bad_length(what, end - offset, f"at least {layout.size}")
        fields = layout.unpack_from(data, offset)
        length = fields[length_at]
        if length < layout.size or length > end - offset:
            raise bad_length(what, length, f"{layout.size} to {end - offset}")
        yield fields, data[offset + layout.size : offset + length]
        offset += length


def to_ns(whole: int, rest: int) -> int:
    """Nanoseconds of seconds and nanoseconds."""
    return whole * _SECOND + rest


def seconds(duration_ns: int) -> tuple[int, int]:
    """Seconds and nanoseconds; all ones, which stand for a duration that is not known, if it does not fit."""
    whole, rest = divmod(duration_ns, _SECOND)
    return (whole, rest) if whole <= 0xFFFFFFFF else (0xFFFFFFFF, 0xFFFFFFFF)


def counter(value: int | None) -> int:
    """A counter as it is sent."""
    return UNKNOWN if value is None else value


def known(value: int) -> int | None:
    """A counter as it is told of."""
    return None if value == UNKNOWN else value


def text_bytes(text: str, size: int, what: str) -> bytes:
    """A text as a field of `size` bytes, the last of which is zero. ConfigError: it does not fit."""
    data = text.encode()
    if len(data) >= size:
        raise ConfigError(f"{what} {text!r} has {len(data)} bytes, at most {size - 1} can be sent")
    return data


def text_from(data: bytes) -> str:
    """The text before the first zero; bytes that are no UTF-8 are replaced."""
    return data.partition(b"\0")[0].decode("utf-8", "replace")


def port_to_wire(port: int, version: int) -> int:
    """The number of a port as a version has it."""
    return port if version > 1 else port_to_16(port)


def port_from_wire(port: int, version: int) -> int:
    """The number of a port with 32 bits."""
    return port if version > 1 else port_from_16(port)
