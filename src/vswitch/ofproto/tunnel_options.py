"""Which Geneve options are to be fields of packets: what controllers have said by NXT_TLV_TABLE_MOD.

The map is kept, checked and told as Open vSwitch does. Flows with such fields are refused: the datapath's key has no
options, so no packet has any.
"""

from __future__ import annotations

from vswitch.messages.control import TlvMap, TlvTableMod, TlvTableReply
from vswitch.messages.errors import OpenFlowError

__all__ = ["MAX_OPTION_BYTES", "OPTION_FIELDS", "OptionTable"]

MAX_OPTION_BYTES = 256
"""Of all options that are fields, as in Open vSwitch."""
OPTION_FIELDS = 64
"""tun_metadata0 to tun_metadata63."""

_ADD, _DELETE, _CLEAR = range(3)


class OptionTable:
    """Index of a field -> the option that it is."""

    def __init__(self) -> None:
        self._maps: dict[int, TlvMap] = {}

    def apply(self, mod: TlvTableMod) -> None:
        """Add or take away maps: all of those in the message, or none. OpenFlowError: which of them cannot be."""
        if mod.command == _CLEAR:
            self._maps = {}
        elif mod.command == _DELETE:
            gone = {each.index for each in mod.maps}
            self._maps = {index: each for index, each in self._maps.items() if index not in gone}
        elif mod.command == _ADD:
            self._add(mod.maps)
        else:
            raise OpenFlowError("nicira.tlv_bad_command", f"unknown command {mod.command} of a TLV table")

    def _add(self, new: tuple[TlvMap, ...]) -> None:
        maps = dict(self._maps)
        options = {(each.option_class, each.option_type) for each in maps.values()}
        for each in new:
            option = each.option_class, each.option_type
            if each.index in maps:
                raise OpenFlowError("nicira.tlv_already_mapped", f"tun_metadata{each.index} is an option already")
            if option in options:
                named = f"class {each.option_class:#x}, type {each.option_type:#x}"
                raise OpenFlowError("nicira.tlv_dup_entry", f"the option of {named} is a field already")
            maps[each.index] = each
            options.add(option)
        size = sum(each.length for each in maps.values())
        if size > MAX_OPTION_BYTES:
            text = f"options of {size} bytes in all exceed {MAX_OPTION_BYTES}"
            raise OpenFlowError("nicira.tlv_table_full", text)
        self._maps = maps

    def reply(self) -> TlvTableReply:
        """All of it, in order of the fields."""
        maps = tuple(self._maps[index] for index in sorted(self._maps))
        return TlvTableReply(MAX_OPTION_BYTES, OPTION_FIELDS, maps)
