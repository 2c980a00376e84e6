"""Commands that look at a switch and its ports, tables, groups, meters and queues, and those that configure these."""

from __future__ import annotations

from argparse import Namespace

from vswitch.base.errors import ConfigError, NotFoundError
from vswitch.cli.arguments import UsageError
from vswitch.cli.ofctl.client import Switch, is_error
from vswitch.cli.ofctl.common import Session, changing, entries, fail, finish, print_answer, print_answers, session
from vswitch.messages import control, stats
from vswitch.messages.flows import ALL_GROUPS, ANY_PORT, TableMod
from vswitch.messages.ports import PortConfig, PortDescription, PortMod
from vswitch.openflow.codec import decode

__all__ = [
    "dump_desc", "dump_group_features", "dump_group_stats", "dump_groups", "dump_meters", "dump_ports",
    "dump_ports_desc", "dump_table_desc", "dump_table_features", "dump_tables", "get_frags", "meter_features",
    "meter_stats", "mod_port", "mod_table", "queue_get_config", "queue_stats", "set_frags", "show",
]  # fmt: skip

_FRAGMENTS = ("normal", "drop", "reassemble", "nx-match")
ALL_QUEUES = 0xFFFFFFFF
ALL_METERS = 0xFFFFFFFF
_OPENFLOW_1_3, _OPENFLOW_1_4 = 4, 5
_MODIFY = 1


def show(arguments: Namespace) -> None:
    """What the switch is, its ports, and how it treats fragments."""
    with session(arguments) as found:
        switch = found.switch
        features = switch.ask(control.FeaturesRequest())
        print_answers(found, [features])
        reply, _ = decode(features)
        assert isinstance(reply, control.FeaturesReply)
        if switch.version >= _OPENFLOW_1_3 or len(reply.ports) >= 800:
            print_answers(found, switch.ask_all(stats.StatsRequest("port_description")))
        print_answer(found, control.GetConfigRequest())


def _dump(arguments: Namespace, kind: str, number: int = ANY_PORT, queue: int = ALL_QUEUES) -> None:
    with session(arguments) as found:
        print_answers(found, found.switch.ask_all(stats.StatsRequest(kind, number, queue)))


def dump_desc(arguments: Namespace) -> None:
    """Who made the switch."""
    _dump(arguments, "description")


def dump_tables(arguments: Namespace) -> None:
    """How tables are used."""
    _dump(arguments, "table")


def _needs(found: Session, version: int, what: str) -> None:
    if found.switch.version < version:
        raise ConfigError(f"{what} needs OpenFlow 1.{version - 1} or later (-O OpenFlow1{version - 1})")


def dump_table_desc(arguments: Namespace) -> None:
    """How tables are configured."""
    with session(arguments) as found:
        _needs(found, _OPENFLOW_1_4, "dump-table-desc")
        print_answers(found, found.switch.ask_all(stats.StatsRequest("table_description")))


def dump_table_features(arguments: Namespace) -> None:
    """What tables can do, those that are alike but once."""
    from vswitch.text.openflow_print_tables import format_features
    from vswitch.text.openflow_words import Style

    with session(arguments) as found:
        _needs(found, _OPENFLOW_1_3, "dump-table-features")
        tables = [
            each
            for each in entries(found.switch, stats.TableFeaturesRequest())
            if isinstance(each, stats.TableFeatures)
        ]
        text = format_features(tables, Style(found.switch.version))
        print(text.removeprefix("\n"))


# ---- ports


def dump_ports(arguments: Namespace) -> None:
    """What ports have counted."""
    with session(arguments) as found:
        number = ANY_PORT if arguments.port is None else found.port(arguments.port)
        print_answers(found, found.switch.ask_all(stats.StatsRequest("port", number)))


def dump_ports_desc(arguments: Namespace) -> None:
    """What ports are."""
    with session(arguments) as found:
        number = ANY_PORT if arguments.port is None else found.port(arguments.port)
        print_answers(found, found.switch.ask_all(stats.StatsRequest("port_description", number)))


_PORT_ACTIONS = {
    word: (bit, sets)
    for bit, set_by, cleared_by in (
        (PortConfig.DOWN, "down", "up"),
        (PortConfig.NO_STP, "no-stp", "stp"),
        (PortConfig.NO_RECV, "no-receive", "receive"),
        (PortConfig.NO_RECV_STP, "no-receive-stp", "receive-stp"),
        (PortConfig.NO_FLOOD, "no-flood", "flood"),
        (PortConfig.NO_FWD, "no-forward", "forward"),
        (PortConfig.NO_PACKET_IN, "no-packet-in", "packet-in"),
    )
    for word, sets in ((set_by, True), (cleared_by, False))
}


def mod_port(arguments: Namespace) -> None:
    """Changes a bit of a port's configuration."""
    if arguments.action not in _PORT_ACTIONS:
        raise UsageError(f"{arguments.action!r} is none of {', '.join(_PORT_ACTIONS)}")
    bit, sets = _PORT_ACTIONS[arguments.action]
    with changing(arguments) as found:
        port = _find_port(found, arguments.port)
        message = PortMod(port.number, port.mac, bit if sets else 0, bit)
        finish(found, found.switch.send_all([message]))


def _find_port(found: Session, text: str) -> PortDescription:
    number = found.port(text)
    for each in found.names.descriptions:
        if each.number == number:
            return each
    raise NotFoundError(f"{found.switch.target}: there is no port {text}")


# ---- tables

_MISSES = ("controller", "continue", "drop")


def mod_table(arguments: Namespace) -> None:
    """Configures a table."""
    with changing(arguments) as found:
        message = _table_mod(found, found.table(arguments.table), arguments.setting)
        finish(found, found.switch.send_all([message]))


def _table_mod(found: Session, table: int, setting: str) -> TableMod | stats.TableFeaturesRequest:
    version = found.switch.version
    if setting in _MISSES:
        if version not in (2, 3):
            raise ConfigError(f"mod-table {setting} needs OpenFlow 1.1 or 1.2 (-O OpenFlow11)")
        return TableMod(table, setting)
    if setting.startswith("name:"):
        _needs(found, _OPENFLOW_1_3, "mod-table name:")
        return _renamed(found, table, setting.removeprefix("name:"))
    word, _, numbers = setting.partition(":")
    if word not in ("evict", "noevict", "vacancy", "novacancy"):
        raise UsageError(f"{setting!r} is none of drop, continue, controller, name:NAME, evict, noevict, "
                         "vacancy:LOW,HIGH, novacancy")  # fmt: skip
    _needs(found, _OPENFLOW_1_4, f"mod-table {word}")
    return _with_setting(_table_now(found.switch, table), word, numbers)


def _renamed(found: Session, table: int, name: str) -> stats.TableFeaturesRequest:
    from dataclasses import replace

    features = [
        each for each in entries(found.switch, stats.TableFeaturesRequest())
        if isinstance(each, stats.TableFeatures) and each.table == table
    ]  # fmt: skip
    if not features:
        raise NotFoundError(f"{found.switch.target}: there is no table {table}")
    return stats.TableFeaturesRequest((replace(features[0], name=name, command=_MODIFY),))


def _table_now(switch: Switch, table: int) -> TableMod:
    """How it is configured: what is not changed stays so."""
    for each in entries(switch, stats.StatsRequest("table_description")):
        assert isinstance(each, stats.TableDescription)
        if table in (each.table, 255):
            return TableMod(table, None, each.eviction, 0, each.vacancy, each.vacancy_down, each.vacancy_up)
    raise NotFoundError(f"{switch.target}: there is no table {table}")


def _with_setting(now: TableMod, word: str, numbers: str) -> TableMod:
    from dataclasses import replace

    if word in ("evict", "noevict"):
        return replace(now, eviction=word == "evict")
    if word == "novacancy":
        return replace(now, vacancy=False, vacancy_down=0, vacancy_up=0)
    low, _, high = numbers.partition(",")
    if not (low.isdigit() and high.isdigit() and int(low) <= int(high) <= 100):
        raise UsageError(f"vacancy:{numbers}: two numbers in percent are needed, low and high, at most 100")
    return replace(now, vacancy=True, vacancy_down=int(low), vacancy_up=int(high))


# ---- fragments


def _config(switch: Switch) -> control.GetConfigReply:
    data = switch.ask(control.GetConfigRequest())
    if is_error(data):
        fail([data])
    reply, _ = decode(data)
    assert isinstance(reply, control.GetConfigReply)
    return reply


def get_frags(arguments: Namespace) -> None:
    """How fragments are treated."""
    with session(arguments) as found:
        print(_FRAGMENTS[_config(found.switch).fragments])


def set_frags(arguments: Namespace) -> None:
    """Lets them be treated otherwise, and looks whether they are."""
    if arguments.mode not in _FRAGMENTS:
        raise UsageError(f"{arguments.mode!r} is none of {', '.join(_FRAGMENTS)}")
    mode = _FRAGMENTS.index(arguments.mode)
    with changing(arguments) as found:
        now = _config(found.switch)
        if now.fragments == mode:
            return
        change = control.SetConfig(mode, now.miss_send_length, now.invalid_ttl)
        finish(found, found.switch.send_all([change]))
        if _config(found.switch).fragments != mode:
            raise ConfigError(f"{arguments.switch}: the switch does not treat fragments as {arguments.mode}")


# ---- queues


def _queue(text: str | None) -> int:
    if text is None or text.upper() in ("ALL", "ANY"):
        return ALL_QUEUES
    if not text.isdigit() or int(text) >= ALL_QUEUES:
        raise UsageError(f"queue {text!r} is neither a number nor ALL")
    return int(text)


def queue_stats(arguments: Namespace) -> None:
    """What queues have counted."""
    with session(arguments) as found:
        number = _port_or_any(found, arguments.port)
        print_answers(found, found.switch.ask_all(stats.StatsRequest("queue", number, _queue(arguments.queue))))


def _port_or_any(found: Session, text: str | None) -> int:
    if text is None or text.upper() in ("ALL", "ANY"):
        return ANY_PORT
    return found.port(text)


def queue_get_config(arguments: Namespace) -> None:
    """Which queues there are. OpenFlow 1.0 cannot be asked about all ports at once."""
    with session(arguments) as found:
        switch, number = found.switch, _port_or_any(found, arguments.port)
        if switch.version >= _OPENFLOW_1_4:
            request = stats.StatsRequest("queue_description", number, _queue(arguments.queue))
            print_answers(found, switch.ask_all(request))
        elif switch.version == 1 and number == ANY_PORT:
            ports = [each.number for each in found.names.descriptions if each.number < 0xFFFFFF00]
            print_answers(found, [switch.ask(control.QueueConfigRequest(each)) for each in ports])
        else:
            print_answer(found, control.QueueConfigRequest(number))


# ---- groups and meters: what they are, what they have counted


def _group_number(text: str | None) -> int:
    if text is None:
        return ALL_GROUPS
    word = text.removeprefix("group_id=")
    if word.upper() == "ALL":
        return ALL_GROUPS
    if not word.isdigit() or int(word) > ALL_GROUPS:
        raise UsageError(f"group {text!r} is neither group_id=N nor group_id=all")
    return int(word)


def dump_groups(arguments: Namespace) -> None:
    """What groups are. Before OpenFlow 1.5 it is always all of them."""
    _dump(arguments, "group_description", _group_number(arguments.group))


def dump_group_stats(arguments: Namespace) -> None:
    """What groups have counted."""
    _dump(arguments, "group", _group_number(arguments.group))


def dump_group_features(arguments: Namespace) -> None:
    """What groups there can be."""
    _dump(arguments, "group_features")


_METER_WORDS = {"all": ALL_METERS, "controller": 0xFFFFFFFE, "slowpath": 0xFFFFFFFD}


def meter_number(text: str | None) -> int:
    """The meter that `meter=N` means."""
    if text is None:
        return ALL_METERS
    word = text.removeprefix("meter=")
    if word.lower() in _METER_WORDS:
        return _METER_WORDS[word.lower()]
    if not word.isdigit() or not 0 < int(word) <= 0xFFFF0000:
        raise UsageError(f"meter {text!r} is none of meter=N, meter=all, meter=controller, meter=slowpath")
    return int(word)


def _dump_meters(arguments: Namespace, kind: str, number: int = ALL_METERS) -> None:
    with session(arguments) as found:
        _needs(found, _OPENFLOW_1_3, f"{kind.replace('_', ' ')}")
        print_answers(found, found.switch.ask_all(stats.StatsRequest(kind, number)))


def dump_meters(arguments: Namespace) -> None:
    """What meters are."""
    _dump_meters(arguments, "meter_config", meter_number(arguments.meter))


def meter_stats(arguments: Namespace) -> None:
    """What meters have counted."""
    _dump_meters(arguments, "meter", meter_number(arguments.meter))


def meter_features(arguments: Namespace) -> None:
    """What meters there can be."""
    _dump_meters(arguments, "meter_features")
