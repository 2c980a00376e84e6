"""Commands about tunnel options that are fields, and about connections that are tracked."""

from __future__ import annotations

import struct
from argparse import Namespace

from vswitch.base.errors import ConfigError
from vswitch.cli.arguments import UsageError
from vswitch.cli.ofctl.common import changing, finish, print_answer, session
from vswitch.messages.control import Experimenter, TlvTableMod, TlvTableRequest
from vswitch.text.flow_files import parse_tlv_maps
from vswitch.text.openflow_names import NICIRA

__all__ = ["add_tlv_map", "ct_flush_zone", "del_tlv_map", "dump_tlv_map", "refused"]

_ADD, _DELETE, _CLEAR = 0, 1, 2
_CT_FLUSH_ZONE = 29


def add_tlv_map(arguments: Namespace) -> None:
    """Makes tunnel options fields."""
    _change(arguments, TlvTableMod(_ADD, parse_tlv_maps(arguments.map)))


def del_tlv_map(arguments: Namespace) -> None:
    """Makes tunnel options, or all, fields no more."""
    if arguments.map is None:
        _change(arguments, TlvTableMod(_CLEAR))
    else:
        _change(arguments, TlvTableMod(_DELETE, parse_tlv_maps(arguments.map)))


def _change(arguments: Namespace, message: TlvTableMod) -> None:
    with changing(arguments) as found:
        finish(found, found.switch.send_all([message]))


def dump_tlv_map(arguments: Namespace) -> None:
    """Which tunnel options are fields."""
    with session(arguments) as found:
        print_answer(found, TlvTableRequest())


def refused(_arguments: Namespace) -> None:
    """What ovs-ofctl has and this has not."""
    raise ConfigError("this command is not supported: neither IPFIX nor a choice of tracked connections is")


def ct_flush_zone(arguments: Namespace) -> None:
    """Forgets the connections of a zone."""
    if not arguments.zone.isdigit() or int(arguments.zone) > 0xFFFF:
        raise UsageError(f"zone {arguments.zone!r} is outside 0..65535")
    content = struct.pack("!6xH", int(arguments.zone))
    with changing(arguments) as found:
        finish(found, found.switch.send_all([Experimenter(NICIRA, _CT_FLUSH_ZONE, content)]))
