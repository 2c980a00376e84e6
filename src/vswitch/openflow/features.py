"""What OpenFlow 1.5 tells of bundles and of controllers.

Times of bundles are four of seconds and nanoseconds; here they are nanoseconds.
"""

from __future__ import annotations

from struct import Struct

from vswitch.messages.errors import OpenFlowError
from vswitch.messages.stats import BundleFeatures, BundleFeaturesRequest, ControllerStatus
from vswitch.openflow.records import bad_length, sized_records, to_ns
from vswitch.openflow.stats import Records
from vswitch.openflow.wire import properties, property_bytes

__all__ = [
    "BUNDLE_FEATURES",
    "CONTROLLER_STATUS",
    "decode_bundle_features_request",
    "encode_bundle_features_request",
]

_REQUEST = Struct("!I4x")
_REPLY = Struct("!H6x")
_TIMES_PROPERTY = 1
_TIMES = Struct("!4x" + "QI4x" * 4)
_TIMESTAMP, _TIME_SET = 1, 2
_SECOND = 1_000_000_000

_STATUS = Struct("!HHIBB6x")
_URI_PROPERTY = 0
_UP, _DOWN = 0, 1

Times = tuple[int, int, int, int]


def _times_bytes(times: Times | None) -> bytes:
    if times is None:
        return b""
    return property_bytes(_TIMES_PROPERTY, _TIMES.pack(*(part for each in times for part in divmod(each, _SECOND))))


def _times_from(data: bytes, what: str) -> Times | None:
    times = None
    for kind, content in properties(data, what, once=True):
        if kind == 0xFFFF:
            continue
        if kind != _TIMES_PROPERTY:
            raise OpenFlowError("bad_property.bad_type", f"{what} has a property {kind:#x} that is not known")
        if len(content) != _TIMES.size:
            raise bad_length(f"times of {what}", len(content), _TIMES.size, "bad_property.bad_len")
        parts = _TIMES.unpack(content)
        if max(parts[1::2]) >= _SECOND:
            raise OpenFlowError("bad_property.bad_value", f"times of {what} have more than a second of nanoseconds")
        times = (to_ns(*parts[0:2]), to_ns(*parts[2:4]), to_ns(*parts[4:6]), to_ns(*parts[6:8]))
    return times


def encode_bundle_features_request(message: BundleFeaturesRequest, _version: int) -> bytes:
    """The body of the request."""
    return _REQUEST.pack(message.flags) + _times_bytes(message.times)


def decode_bundle_features_request(data: bytes, _version: int) -> BundleFeaturesRequest:
    """Of such a body. OpenFlowError: lengths do not fit, bad_property.*."""
    if len(data) < _REQUEST.size:
        raise bad_length("bundle features request", len(data), f"at least {_REQUEST.size}")
    (flags,) = _REQUEST.unpack_from(data)
    return BundleFeaturesRequest(flags, _times_from(data[_REQUEST.size :], "bundle features request"))


def _encode_bundle_features(entry: BundleFeatures, _version: int) -> bytes:
    return _REPLY.pack(entry.capabilities) + _times_bytes(entry.times)


def _decode_bundle_features(data: bytes, _version: int) -> tuple[object, ...]:
    if len(data) < _REPLY.size:
        raise bad_length("bundle features", len(data), f"at least {_REPLY.size}")
    (capabilities,) = _REPLY.unpack_from(data)
    return (BundleFeatures(capabilities, _times_from(data[_REPLY.size :], "bundle features")),)


BUNDLE_FEATURES = Records(_encode_bundle_features, _decode_bundle_features, single=True)
"""The entry of a "bundle_features" reply."""


def _encode_status(entry: ControllerStatus, _version: int) -> bytes:
    uri = property_bytes(_URI_PROPERTY, entry.uri.encode()) if entry.uri else b""
    channel = _UP if entry.up else _DOWN
    return _STATUS.pack(_STATUS.size + len(uri), entry.short_id, entry.role, entry.reason, channel) + uri


def _decode_status(data: bytes, _version: int) -> tuple[object, ...]:
    found = []
    for (_, short_id, role, reason, channel), rest in sized_records(_STATUS, data, "controller status"):
        uri = ""
        for kind, content in properties(rest, "controller status", once=True):
            if kind == _URI_PROPERTY:
                uri = content.decode("utf-8", "replace")
        found.append(ControllerStatus(short_id, role, reason, channel == _UP, uri))
    return tuple(found)


CONTROLLER_STATUS = Records(_encode_status, _decode_status)
"""The entries of "controller_status" replies, and the content of a controller-status message."""
