"""Bundles, and other messages that hold messages: OpenFlow 1.4's, and ONF's extension for 1.3 and earlier.

The message within a bundle is whole, with a header of its own, whose version and xid must be those of the outer one.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

from vswitch.messages.base import Message
from vswitch.messages.control import BundleAdd, BundleControl, BundleControlType, RequestForward
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.flows import GroupMod, MeterMod
from vswitch.openflow.wire import HEADER, HEADER_BYTES, Dialect, need, pad8, version_name

__all__ = [
    "decode_bundle_add",
    "decode_bundle_control",
    "decode_request_forward",
    "encode_bundle_add",
    "encode_bundle_control",
    "encode_request_forward",
]

_CONTROL = Struct("!IHH")
_ADD = Struct("!I2xH")
_FLAGS = 3
_TIMED = 1 << 2

Decode = Callable[[bytes, Dialect], tuple[Message, int]]
Encode = Callable[[Message, Dialect, int], bytes]


def _check_flags(flags: int) -> None:
    if flags & ~_FLAGS:
        error = "bundle_failed.sched_not_supported" if flags & _TIMED else "bundle_failed.bad_flags"
        raise OpenFlowError(error, f"a bundle has no flags {flags:#x}")


def decode_bundle_control(body: bytes, _dialect: Dialect) -> BundleControl:
    """OpenFlow 1.4.1 section 7.3.9.2."""
    need(body, _CONTROL.size, "bad_request.bad_len", "a bundle control")
    bundle, kind, flags = _CONTROL.unpack_from(body)
    _check_flags(flags)
    if kind > BundleControlType.DISCARD_REPLY:
        raise OpenFlowError("bundle_failed.bad_type", f"bundle control {kind} is not known")
    return BundleControl(bundle, BundleControlType(kind), flags)


def encode_bundle_control(message: BundleControl, _dialect: Dialect) -> bytes:
    """As it is read."""
    return _CONTROL.pack(message.bundle, message.type, message.flags)


def _inner_length(body: bytes, at: int, error: str) -> int:
    if len(body) - at < HEADER_BYTES:
        raise OpenFlowError(error, f"a message takes {HEADER_BYTES} bytes, {len(body) - at} are there")
    length: int = HEADER.unpack_from(body, at)[2]
    if length < HEADER_BYTES or at + length > len(body):
        raise OpenFlowError(error, f"a message of {length} bytes, where {len(body) - at} are left")
    return length


def decode_bundle_add(body: bytes, dialect: Dialect, xid: int, decode: Decode) -> BundleAdd:
    """OpenFlow 1.4.1 section 7.3.9.6; `decode` reads the message within."""
    need(body, _ADD.size, "bad_request.bad_len", "a bundle add")
    bundle, flags = _ADD.unpack_from(body)
    length = _inner_length(body, _ADD.size, "bundle_failed.msg_bad_len")
    raw = body[_ADD.size : _ADD.size + length]
    if raw[0] != dialect.version:
        what = f"a message of OpenFlow {version_name(raw[0])} in a bundle of {version_name(dialect.version)}"
        raise OpenFlowError("bundle_failed.bad_version", what)
    _check_flags(flags)
    message, inner_xid = decode(raw, dialect)
    if inner_xid != xid:
        raise OpenFlowError("bundle_failed.msg_bad_xid", f"xid {inner_xid:#x} in a message of xid {xid:#x}")
    return BundleAdd(bundle, flags, message, inner_xid, raw)


def encode_bundle_add(message: BundleAdd, dialect: Dialect, xid: int, encode: Encode) -> bytes:
    """As it is read; the message within gets the xid of the outer one."""
    return _ADD.pack(message.bundle, message.flags) + encode(message.message, dialect, xid)


def decode_request_forward(body: bytes, dialect: Dialect, decode: Decode) -> RequestForward:
    """OpenFlow 1.4.1 section 7.4.6."""
    length = _inner_length(body, 0, "bad_request.bad_len")
    message, xid = decode(body[:length], dialect)
    if not isinstance(message, GroupMod | MeterMod):
        raise OpenFlowError("bad_request.bad_type", "only group-mods and meter-mods are forwarded")
    return RequestForward(message, xid)


def encode_request_forward(message: RequestForward, dialect: Dialect, encode: Encode) -> bytes:
    """As it is read."""
    return pad8(encode(message.message, dialect, message.xid))
