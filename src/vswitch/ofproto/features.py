"""What the tables can do, as table features of OpenFlow 1.3 and later tell it."""

from __future__ import annotations

from functools import cache

from vswitch.fields.openflow import OPENFLOW_FIELDS, FlowField
from vswitch.messages.stats import TableFeatures
from vswitch.ofproto.admission import LAST_TABLE
from vswitch.ofproto.tables import FlowTable

__all__ = ["table_features"]

# OpenFlow 1.3.5 section A.3.5.5: types of properties; each has a second one, the next number, for table-miss flows.
_INSTRUCTIONS, _NEXT_TABLES, _WRITE_ACTIONS, _APPLY_ACTIONS = 0, 2, 4, 6
_MATCH, _WILDCARDS, _WRITE_SET, _APPLY_SET = 8, 10, 12, 14
_GOTO, _METER = 1, 6
_METER_ACTION_SINCE = 6
_ACTIONS = (0, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25)
"""Output, TTL of MPLS set and decremented, VLAN and MPLS pushed and popped, queue, group, TTL of IP set and
decremented, set-field (OpenFlow 1.3.5 section A.2.5)."""


def _header(each: FlowField, *, mask: bool) -> int:
    """Its OXM or NXM header in 32 bits."""
    code = each.oxm or each.nxm
    assert code is not None
    length = each.length * (2 if mask else 1)
    return code[0] << 16 | code[1] << 9 | mask << 8 | length


@cache
def _properties(number: int, meters: bool) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """Of table `number`. `meters`: whether meter is an instruction, which it is no more in OpenFlow 1.5."""
    fields = [
        each
        for each in OPENFLOW_FIELDS.values()
        if (each.oxm or each.nxm) and not each.refused and each.name != "packet_type"
    ]
    last = number == LAST_TABLE
    instructions = tuple(each for each in range(_GOTO, _METER + meters) if not (last and each == _GOTO))
    following = tuple(range(number + 1, LAST_TABLE + 1))
    matched = tuple(_header(each, mask=each.maskable) for each in fields)
    wild = tuple(_header(each, mask=False) for each in fields)
    settable = tuple(_header(each, mask=False) for each in fields if each.writable)
    rows: list[tuple[int, tuple[int, ...]]] = []
    for kind, values in ((_INSTRUCTIONS, instructions), (_NEXT_TABLES, following), (_WRITE_ACTIONS, _ACTIONS)):
        rows += [(kind, values), (kind + 1, values)]
    rows += [(_APPLY_ACTIONS, _ACTIONS), (_APPLY_ACTIONS + 1, _ACTIONS), (_MATCH, matched), (_WILDCARDS, wild)]
    for kind in (_WRITE_SET, _APPLY_SET):
        rows += [(kind, settable), (kind + 1, settable)]
    return tuple(rows)


def table_features(table: FlowTable, version: int = 4) -> TableFeatures:
    """What a table can do, and how large it may be, as a version of OpenFlow has it. It has no name if it was given
    none: tools print its number then."""
    capabilities = (1 if table.eviction else 0) | (1 << 2 if table.vacancy else 0)
    return TableFeatures(
        table.number, table.name, table.metadata_match, table.metadata_write, capabilities,
        table.max_flows, _properties(table.number, version < _METER_ACTION_SINCE),
    )  # fmt: skip
