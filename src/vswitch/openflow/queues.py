"""Queues of a port: as OpenFlow 1.0 to 1.3 asks for them by a message of its own, and 1.4 and later by a multipart.

Both say the same: per queue a minimal and a maximal rate, in tenths of a percent. Properties of experimenters are
passed over.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct

from vswitch.messages.control import QueueConfigReply, QueueConfigRequest
from vswitch.messages.stats import QueueDescription
from vswitch.openflow.records import (
    bad_length,
    port_from_wire,
    port_to_wire,
    sized_records,
    unpack,
    unsaid,
)
from vswitch.openflow.stats import Records, row
from vswitch.openflow.wire import properties, property_bytes

__all__ = [
    "QUEUE_DESCRIPTION",
    "decode_queue_config_reply",
    "decode_queue_config_request",
    "encode_queue_config_reply",
    "encode_queue_config_request",
]

_NO_RATE = 0xFFFF
_MIN_RATE, _MAX_RATE = 1, 2

_REQUEST = {1: Struct("!H2x"), 2: Struct("!I4x")}
_REPLY = {1: Struct("!H6x"), 2: Struct("!I4x")}
_QUEUE = {1: Struct("!IH2x"), 3: Struct("!IIH6x")}
_OLD_PROPERTY = Struct("!HH4x")
_OLD_RATE = Struct("!H6x")

_DESCRIPTION = Struct("!IIH6x")
_RATE = Struct("!H2x")


def _check_version(version: int) -> None:
    if version > 4:
        raise unsaid(version, "has no queue-get-config, but queue descriptions", "bad_request.bad_type")


def encode_queue_config_request(message: QueueConfigRequest, version: int) -> bytes:
    """The body of queue-get-config. OpenFlowError: the version has none."""
    _check_version(version)
    return row(_REQUEST, version).pack(port_to_wire(message.port, version))


def decode_queue_config_request(body: bytes, version: int) -> QueueConfigRequest:
    """Of such a body. OpenFlowError: the version has none, or another length."""
    _check_version(version)
    (port,) = unpack(row(_REQUEST, version), body, "queue-get-config request")
    return QueueConfigRequest(port_from_wire(port, version))


def encode_queue_config_reply(message: QueueConfigReply, version: int) -> bytes:
    """The body of the answer. OpenFlowError: the version has none."""
    _check_version(version)
    layout = row(_QUEUE, version)
    data = row(_REPLY, version).pack(port_to_wire(message.port, version))
    for queue, min_rate, max_rate, port in message.queues:
        rates = b"".join(
            _OLD_PROPERTY.pack(kind, _OLD_PROPERTY.size + _OLD_RATE.size) + _OLD_RATE.pack(rate)
            for kind, rate in ((_MIN_RATE, min_rate), (_MAX_RATE, max_rate))
            if rate != _NO_RATE
        )
        length = layout.size + len(rates)
        data += (layout.pack(queue, port, length) if version >= 3 else layout.pack(queue, length)) + rates
    return data


def decode_queue_config_reply(body: bytes, version: int) -> QueueConfigReply:
    """Of such a body. OpenFlowError: the version has none, or lengths do not fit."""
    _check_version(version)
    head = row(_REPLY, version)
    (wire_port,) = unpack(head, body[: head.size], "queue-get-config reply")
    port = port_from_wire(wire_port, version)
    queues = []
    records = sized_records(row(_QUEUE, version), body[head.size :], "queue", 2 if version >= 3 else 1)
    for (queue, *between, _), rest in records:
        rates = {_MIN_RATE: _NO_RATE, _MAX_RATE: _NO_RATE}
        for (kind, _), content in sized_records(_OLD_PROPERTY, rest, "property of a queue", 1):
            if kind in rates:
                (rates[kind],) = unpack(_OLD_RATE, content, "rate of a queue")
        queues.append((queue, rates[_MIN_RATE], rates[_MAX_RATE], between[0] if between else port))
    return QueueConfigReply(port, tuple(queues))


def _rates(entry: QueueDescription) -> Iterable[bytes]:
    for kind, rate in ((_MIN_RATE, entry.min_rate), (_MAX_RATE, entry.max_rate)):
        if rate != _NO_RATE:
            yield property_bytes(kind, _RATE.pack(rate))


def _encode_description(entry: QueueDescription, _version: int) -> bytes:
    rates = b"".join(_rates(entry))
    return _DESCRIPTION.pack(entry.port, entry.queue, _DESCRIPTION.size + len(rates)) + rates


def _decode_descriptions(data: bytes, _version: int) -> tuple[object, ...]:
    found = []
    for (port, queue, _), rest in sized_records(_DESCRIPTION, data, "queue description", 2):
        rates = {_MIN_RATE: _NO_RATE, _MAX_RATE: _NO_RATE}
        for kind, content in properties(rest, "queue description", once=True):
            if kind in rates:
                if len(content) != _RATE.size:
                    raise bad_length("rate of a queue", len(content), _RATE.size, "bad_property.bad_len")
                (rates[kind],) = _RATE.unpack(content)
        found.append(QueueDescription(port, queue, rates[_MIN_RATE], rates[_MAX_RATE]))
    return tuple(found)


QUEUE_DESCRIPTION = Records(_encode_description, _decode_descriptions)
"""The entries of "queue_description" replies."""
