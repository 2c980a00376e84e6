"""How tables are configured: table-mod of OpenFlow 1.1 and later, and the table descriptions of 1.4 and later.

In 1.1 and 1.2 the configuration says what becomes of packets that no flow takes; 1.3 has nothing to configure; from 1.4
on it switches eviction and vacancy events, which have their parameters in properties.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from vswitch.base.errors import ConfigError
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.flows import TableMod
from vswitch.messages.stats import TableDescription
from vswitch.openflow.records import bad_length, sized_records, unpack, unsaid
from vswitch.openflow.stats import Records
from vswitch.openflow.wire import properties, property_bytes

__all__ = ["TABLE_DESCRIPTION", "decode_table_description", "decode_table_mod", "encode_table_mod"]

_MOD = Struct("!B3xI")
_DESCRIPTION = Struct("!HBxI")

_MISS = ("controller", "continue", "drop")
_DEPRECATED = 3
_EVICTION_ON, _VACANCY_ON = 1 << 2, 1 << 3
_EVICTION, _VACANCY = 2, 3
_EVICTION_CONTENT = Struct("!I")
_VACANCY_CONTENT = Struct("!BBBx")
_PERCENT = 100


@dataclass(slots=True)
class _Parameters:
    """What the properties of a configuration say."""

    eviction_flags: int = 0
    down: int = 0
    up: int = 0
    now: int = 0


def _parameters(data: bytes, what: str) -> _Parameters:
    found = _Parameters()
    for kind, content in properties(data, what, once=True):
        layout = {_EVICTION: _EVICTION_CONTENT, _VACANCY: _VACANCY_CONTENT}.get(kind)
        if layout is None:
            name = "bad_property.bad_experimenter" if kind == 0xFFFF else "bad_property.bad_type"
            raise OpenFlowError(name, f"{what} has a property {kind:#x} that is not known")
        if len(content) != layout.size:
            raise bad_length(f"property {kind} of {what}", len(content) + 4, layout.size + 4, "bad_property.bad_len")
        if kind == _EVICTION:
            (found.eviction_flags,) = layout.unpack(content)
        else:
            found.down, found.up, found.now = layout.unpack(content)
            if max(found.down, found.up, found.now) > _PERCENT or found.down > found.up:
                raise OpenFlowError(
                    "bad_property.bad_value",
                    f"vacancy of {found.now} % between {found.down} % and {found.up} %, which are to ascend up to 100",
                )
    return found


def _properties_of(flags: int | None, vacancy: tuple[int, int, int] | None) -> bytes:
    data = b"" if flags is None else property_bytes(_EVICTION, _EVICTION_CONTENT.pack(flags))
    return data if vacancy is None else data + property_bytes(_VACANCY, _VACANCY_CONTENT.pack(*vacancy))


def encode_table_mod(message: TableMod, version: int) -> bytes:
    """The body of a table-mod. OpenFlowError: the version has none, or cannot say this."""
    if version < 2:
        raise unsaid(version, "has no table-mod", "bad_request.bad_type")
    if version < 5 and (message.eviction is not None or message.vacancy is not None):
        raise unsaid(version, "has neither eviction nor vacancy of tables", "table_mod_failed.bad_config")
    if message.miss is not None and version > 3:
        raise unsaid(version, "has a flow for what no other takes, no configuration", "table_mod_failed.bad_config")
    if version == 4:
        return _MOD.pack(message.table, 0)
    if version < 4:
        if message.miss not in _MISS:
            raise ConfigError(f"table-mod: miss {message.miss!r} is none of {', '.join(_MISS)}")
        return _MOD.pack(message.table, _MISS.index(message.miss))
    config = _EVICTION_ON * bool(message.eviction) | _VACANCY_ON * bool(message.vacancy)
    vacancy = (message.vacancy_down, message.vacancy_up, 0) if message.vacancy else None
    flags = message.eviction_flags or None
    return _MOD.pack(message.table, config) + _properties_of(flags, vacancy)


def decode_table_mod(body: bytes, version: int) -> TableMod:
    """Of such a body. OpenFlowError: there is none, lengths do not fit, bits of no meaning."""
    if version < 2:
        raise unsaid(version, "has no table-mod", "bad_request.bad_type")
    table, config = unpack(_MOD, body[: _MOD.size] if version >= 5 else body, "table-mod")
    if version < 4:
        if config >= len(_MISS):
            raise OpenFlowError("table_mod_failed.bad_config", f"table-mod with configuration {config:#x}, at most 2")
        return TableMod(table, _MISS[config])
    allowed = _DEPRECATED if version == 4 else _DEPRECATED | _EVICTION_ON | _VACANCY_ON
    if config & ~allowed:
        raise OpenFlowError("table_mod_failed.bad_config", f"table-mod with configuration {config:#x}")
    if version == 4:
        return TableMod(table)
    told = _parameters(body[_MOD.size :], "table-mod")
    eviction, vacancy = bool(config & _EVICTION_ON), bool(config & _VACANCY_ON)
    return TableMod(table, None, eviction, told.eviction_flags, vacancy, told.down, told.up)


def _encode_description(entry: TableDescription, _version: int) -> bytes:
    config = _EVICTION_ON * entry.eviction | _VACANCY_ON * entry.vacancy
    vacancy = (entry.vacancy_down, entry.vacancy_up, entry.vacancy_now)
    flags = entry.eviction_flags or None
    rest = _properties_of(flags, vacancy if entry.vacancy or any(vacancy) else None)
    return _DESCRIPTION.pack(_DESCRIPTION.size + len(rest), entry.table, config) + rest


def _decode_descriptions(data: bytes, _version: int) -> tuple[object, ...]:
    found = []
    for (_, table, config), rest in sized_records(_DESCRIPTION, data, "table description"):
        told = _parameters(rest, "table description")
        eviction, vacancy = bool(config & _EVICTION_ON), bool(config & _VACANCY_ON)
        found.append(TableDescription(table, eviction, told.eviction_flags, vacancy, told.down, told.up, told.now))
    return tuple(found)


def decode_table_description(data: bytes, version: int) -> TableDescription:
    """The one that a table-status message has. OpenFlowError: there is not just one."""
    found = _decode_descriptions(data, version)
    if len(found) != 1:
        raise OpenFlowError("bad_request.bad_len", f"{len(found)} table descriptions, and not one")
    (entry,) = found
    assert isinstance(entry, TableDescription)
    return entry


TABLE_DESCRIPTION = Records(_encode_description, _decode_descriptions)
"""The entries of "table_description" replies."""
