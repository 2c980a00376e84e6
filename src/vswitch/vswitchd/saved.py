"""The flows of a bridge between one daemon and the next: groups, meters, flows, as messages of OpenFlow 1.5 in a file.

A daemon that is ended writes them (RUNDIR/bridges/NAME/flows). The next one loads them before it answers a packet, and
removes the file: so one that is killed leaves none that would be old. What flows have counted begins anew, and so do
their timeouts.

Invariant: the file is whole, or not there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from vswitch.base.errors import VswitchError
from vswitch.bridge.bridge import Bridge
from vswitch.messages.base import Message
from vswitch.messages.control import TlvTableMod, TlvTableReply, TlvTableRequest
from vswitch.messages.flows import FlowCommand, FlowMod, GroupCommand, GroupMod, MeterCommand, MeterMod
from vswitch.openflow.codec import decode, encode
from vswitch.openflow.wire import HEADER, HEADER_BYTES, ProtocolError

__all__ = ["load", "save"]

logger = logging.getLogger("vswitch")

VERSION = 6
"""OpenFlow 1.5, which has all that flows here can say."""

AT_ONCE = 500
"""Messages that are loaded before others have their turn: some tens of milliseconds."""


def _messages(bridge: Bridge) -> Iterator[Message]:
    """Those that make a bridge without flows have the flows of this one. Groups that others name come before them."""
    for reply in bridge.send(TlvTableRequest()):
        if isinstance(reply, TlvTableReply) and reply.maps:
            yield TlvTableMod(0, reply.maps)
    groups, _ = bridge.dump_groups()
    for group in groups:  # empty at first, so that they may name each other
        yield GroupMod(GroupCommand.ADD, group.id, group.type)
    for group in groups:
        yield GroupMod(
            GroupCommand.MODIFY, group.id, group.type, group.buckets, selection=group.selection,
            selection_param=group.selection_param, fields=group.fields,
        )  # fmt: skip
    meters, _ = bridge.dump_meters()
    for meter in meters:
        yield MeterMod(MeterCommand.ADD, meter.id, meter.flags, meter.bands)
    for flow in bridge.dump_flows():
        yield FlowMod(
            FlowCommand.ADD, flow.match, flow.actions, flow.priority, flow.table, flow.cookie,
            idle_timeout_s=flow.idle_timeout_s, hard_timeout_s=flow.hard_timeout_s, flags=flow.flags,
            importance=flow.importance,
        )  # fmt: skip


def save(bridge: Bridge, path: Path) -> int:
    """Write the flows of the bridge; how many messages. OSError: there is no file, as before."""
    part = path.with_name(f"{path.name}.part")
    count = 0
    try:
        with part.open("wb") as file:
            for message in _messages(bridge):
                try:
                    file.write(encode(message, VERSION, 0))
                    count += 1
                except VswitchError as problem:
                    logger.warning("%s: %s is not kept: %s", bridge.name, type(message).__name__, problem)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return count


def _read(path: Path) -> Iterator[bytes]:
    """The messages of the file. ProtocolError: it has others."""
    with path.open("rb") as file:
        while head := file.read(HEADER_BYTES):
            if len(head) < HEADER_BYTES or head[0] != VERSION:
                raise ProtocolError(f"{path}: here begins no message of version {VERSION}: {head.hex()}")
            length = HEADER.unpack(head)[2]
            body = file.read(max(length - HEADER_BYTES, 0))
            if len(head) + len(body) != length:
                raise ProtocolError(f"{path}: a message of {length} bytes ends after {len(head) + len(body)}")
            yield head + body


async def load(bridge: Bridge, path: Path) -> int:
    """Have the flows in the file, if there is one, and no others; how many messages were of use. The file is gone then.
    One that nobody has written here changes nothing."""
    if not path.exists():
        return 0
    loaded = refused = 0
    try:
        for _ in _read(path):  # whether it is whole
            pass
        bridge.delete_flows()
        messages = _read(path)
        while several := list(islice(messages, AT_ONCE)):
            for data in several:
                try:
                    bridge.send(decode(data)[0])
                    loaded += 1
                except VswitchError as problem:
                    refused += 1
                    logger.warning("%s: something that was kept is refused: %s", bridge.name, problem)
            await asyncio.sleep(0)
    except (OSError, ProtocolError) as problem:
        logger.warning("%s: the flows that were kept cannot be read: %s", bridge.name, problem)
    path.unlink(missing_ok=True)
    logger.info("%s: %d flows, groups and meters are as they were, %d are not", bridge.name, loaded, refused)
    return loaded
