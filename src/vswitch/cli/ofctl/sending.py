"""How changes get to a switch: in the simplest format that says them, one after the other or as a bundle.

OpenFlow 1.0 says neither which table a flow is for nor much of what is matched. Nicira's extensions do; they are
switched on when they are needed, and an error of the switch then means that it does not have them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import count

from vswitch.base.errors import ConfigError, MachineError, VswitchError
from vswitch.cli.ofctl.common import Session, finish
from vswitch.cli.ofctl.options import formats_of
from vswitch.cli.ofctl.printing import format_bytes
from vswitch.messages.base import Message
from vswitch.messages.control import BundleAdd, BundleControl, BundleControlType, Error, FlowModTableId, SetFlowFormat
from vswitch.messages.flows import ALL_TABLES, Bucket, FlowMod, GroupMod
from vswitch.openflow.codec import decode
from vswitch.text.openflow_print import format_message
from vswitch.text.openflow_words import error_name

__all__ = ["change", "prepare_flows", "prepare_groups", "use_nxm"]

_ATOMIC_ORDERED = 3
_NXM = 2


def use_nxm(found: Session) -> bool:
    """In OpenFlow 1.0, has the switch speak of flows in Nicira's format; whether it will."""
    switch = found.switch
    if switch.version != 1 or not any(name.startswith("NXM") for name in formats_of(found.arguments)):
        return False
    if switch.send_all([SetFlowFormat(_NXM)]):
        if formats_of(found.arguments) & {"OpenFlow10-table_id", "OpenFlow10+table_id"}:
            return False
        raise MachineError(f"{switch.target}: the switch does not have Nicira's format of flows")
    return True


def prepare_flows(found: Session, mods: Sequence[FlowMod]) -> Sequence[FlowMod]:
    """The changes as the version of the connection can say them; extensions that they need are switched on."""
    switch = found.switch
    if switch.version > 1:
        return [_with_table(mod, switch.version) for mod in mods]
    formats = formats_of(found.arguments)
    if any(mod.table not in (None, ALL_TABLES) for mod in mods):
        if not any(name.endswith("+table_id") for name in formats):
            raise ConfigError(f"the format of flows {found.arguments.flow_format} names no tables")
        if switch.send_all([FlowModTableId(True)]):
            raise MachineError(f"{switch.target}: the switch cannot be told which table a flow is for")
        switch.name_tables()
        mods = [mod if mod.table is not None else replace(mod, table=ALL_TABLES) for mod in mods]
    if not any(name.startswith("OpenFlow10") for name in formats):
        use_nxm(found)
        switch.use_nxm()
    return mods


def _with_table(mod: FlowMod, version: int) -> FlowMod:
    """OpenFlow 1.1 and later want a table; 1.1 one alone, even to delete from."""
    if mod.table is None or (version == 2 and mod.table == ALL_TABLES):
        return replace(mod, table=0)
    return mod


def change(found: Session, messages: Iterable[Message]) -> None:
    """Sends them; fails with the first error of the switch."""
    if found.arguments.bundle:
        _as_bundle(found, messages)
    else:
        finish(found, found.switch.send_all(messages))


def _as_bundle(found: Session, messages: Iterable[Message]) -> None:
    switch = found.switch
    if switch.version < 4:
        raise ConfigError(f"bundles need OpenFlow 1.3 or later, 1.{switch.version - 1} was agreed on (see -O)")
    number = 0

    def control(kind: BundleControlType) -> list[bytes]:
        """Sends it; the error messages that come up to its answer."""
        return switch.errors_until(switch.send(BundleControl(number, kind, _ATOMIC_ORDERED)))

    errors = control(BundleControlType.OPEN_REQUEST)
    if not errors:
        errors = switch.send_all(BundleAdd(number, _ATOMIC_ORDERED, message) for message in messages)
        errors += control(BundleControlType.DISCARD_REQUEST if errors else BundleControlType.COMMIT_REQUEST)
    if errors:
        for data in errors:
            sys.stderr.write(_refused(data, found.arguments.more))
        raise MachineError(f"{switch.target}: the bundle was refused, nothing has changed")


def _refused(data: bytes, verbosity: int) -> str:
    """An error message about what is in a bundle, as `Error NAME for: MESSAGE`."""
    error, _ = decode(data)
    assert isinstance(error, Error)
    inner = error.data
    try:
        refused, xid = decode(inner)
    except VswitchError:
        return f"Error {error_name(error.error)} for: {format_bytes(inner, verbosity)}"
    message = refused.message if isinstance(refused, BundleAdd) else refused
    return f"Error {error_name(error.error)} for: {format_message(message, data[0], verbosity, xid=xid)}"


def prepare_groups(found: Session, mods: Iterable[GroupMod]) -> Iterable[GroupMod]:
    """The changes as the version can say them: where buckets have numbers, each gets one."""
    if found.switch.version not in (1, 6):
        return mods
    return [replace(mod, buckets=tuple(_numbered(mod.buckets))) for mod in mods]


def _numbered(buckets: Sequence[Bucket]) -> Iterable[Bucket]:
    taken = {bucket.id for bucket in buckets}
    free = (number for number in count() if number not in taken)
    return [bucket if bucket.id is not None else replace(bucket, id=next(free)) for bucket in buckets]
