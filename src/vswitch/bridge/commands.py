"""What a bridge can be asked at its control socket: the commands of `ovs-appctl` that a bridge alone can answer.

Names, words and layouts are those of ovs-vswitchd, so that what reads them there reads them here; lines that say what
ovs-vswitchd has no counterpart of stand behind those. Long answers are made line by line, of what was there at first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from vswitch.base.errors import ConfigError
from vswitch.base.limits import MAX_ACTION_DEPTH, MAX_MPLS_LABELS
from vswitch.bridge.ports import LOCAL, datapath_number
from vswitch.bridge.trace_command import read_trace
from vswitch.control.commands import Answer, CommandError, Commands
from vswitch.control.coverage import Coverage, Gauge
from vswitch.fields.kinds import KINDS
from vswitch.messages.errors import OpenFlowError
from vswitch.model.port import PortKind, PortStats
from vswitch.ofproto.normal import MacEntry
from vswitch.ofproto.rule import NS_PER_S, Rule
from vswitch.ofproto.translation import MacLearned
from vswitch.text.flow_actions_format import format_flow_actions
from vswitch.text.flow_match import format_flow_match
from vswitch.text.flow_words import read_port
from vswitch.text.megaflow import format_megaflow
from vswitch.text.openflow_words import error_name

if TYPE_CHECKING:
    from vswitch.bridge.bridge import Bridge

__all__ = ["BridgeCommands"]

DEFAULT_PRIORITY = 0x8000
MAX_VLAN = 4095
_GROUP_ADDRESS = 1 << 40
_OLD_LOCAL = 0xFFFE
"""The local port, as OpenFlow 1.0 numbers it."""

_PACKET = "{[dp_name] odp_flow | bridge br_flow} [OPTIONS...]"
_FDB_HEAD = " port  VLAN  MAC                Age\n"
_MDB_HEAD = " port  VLAN  GROUP                Age\n"


_FEATURES: dict[str, str | int] = {
    "Masked set action": "Yes", "Tunnel push pop": "No", "Ufid": "No", "Truncate action": "Yes",
    "Clone action": "Yes", "Sample nesting": MAX_ACTION_DEPTH, "Conntrack eventmask": "No", "Conntrack clear": "No",
    "Max dp_hash algorithm": 0, "Check pkt length action": "Yes", "Conntrack timeout policy": "No",
    "Explicit Drop action": "Yes", "Optimized Balance TCP mode": "No", "Conntrack all-zero IP SNAT": "No",
    "MPLS Label add": "No", "Max VLAN headers": 2, "Max MPLS depth": MAX_MPLS_LABELS, "Recirc": "Yes",
    "CT state": "No", "CT zone": "No", "CT mark": "No", "CT label": "No", "CT state NAT": "No",
    "CT orig tuple": "No", "CT orig tuple for IPv6": "No", "IPv6 ND Extension": "No",
}  # fmt: skip
"""What the datapath has of what ovs-vswitchd asks of one, in its words."""


class _Address(NamedTuple):
    """A row of fdb/show. `age`: in seconds, None for one that stays."""

    port: int | str
    vlan: int
    mac: str
    age: int | None

    @classmethod
    def of(cls, entry: MacEntry, now_ns: int) -> _Address:
        port = "LOCAL" if entry.port == LOCAL else entry.port
        age = None if entry.static else max(now_ns - entry.used_ns, 0) // NS_PER_S
        return cls(port, entry.vlan, KINDS["mac"].format(entry.mac, 48), age)


class BridgeCommands:
    """The commands of one bridge; `tick` is to be called now and then, for what is told over time."""

    def __init__(self, bridge: Bridge, commands: Commands, now_s: float) -> None:
        self._bridge = bridge
        self._engine = bridge._engine
        self.commands = commands
        self._coverage = Coverage(now_s, self._totals())
        self._megaflows = Gauge()
        rows: list[tuple[str, str, int, int, Callable[[Sequence[str]], Answer]]] = [
            ("ofproto/list", "", 0, 0, self._list),
            ("ofproto/trace", f"{_PACKET} [-generate|packet]", 1, 16, self._trace),
            ("ofproto/trace-packet-out", f"[-consistent] {_PACKET} [-generate|packet] actions", 2, 17,
             self._trace_packet_out),
            ("fdb/show", "bridge", 1, 1, self._fdb_show),
            ("fdb/flush", "[bridge]", 0, 1, self._fdb_flush),
            ("mdb/show", "bridge", 1, 1, self._mdb_show),
            ("mdb/flush", "[bridge]", 0, 1, self._mdb_flush),
            ("fdb/add", "bridge port vlan mac", 4, 4, self._fdb_add),
            ("fdb/del", "bridge vlan mac", 3, 3, self._fdb_del),
            ("fdb/stats-show", "bridge", 1, 1, self._fdb_stats),
            ("fdb/stats-clear", "[bridge]", 0, 1, self._fdb_stats_clear),
            ("bridge/dump-flows", "bridge", 1, 1, self._dump_flows),
            ("bridge/reconnect", "[bridge]", 0, 1, self._reconnect),
            ("dpif/show", "", 0, 0, self._dpif_show),
            ("dpif/show-dp-features", "bridge", 1, 1, self._features),
            ("dpif/dump-dps", "", 0, 0, self._datapaths),
            ("dpctl/dump-dps", "", 0, 0, self._datapaths),
            ("dpctl/show", "[-s] [dp...]", 0, 4, self._dpctl_show),
            ("dpif/dump-flows", "[-m] [--names | --no-names] bridge", 1, 4, self._dump_megaflows),
            ("dpctl/dump-flows", "[-m] [--names | --no-names] [dp]", 0, 4, self._dump_megaflows),
            ("upcall/show", "", 0, 0, self._upcall_show),
            ("revalidator/wait", "", 0, 0, self._wait),
            ("revalidator/purge", "", 0, 0, self._purge),
            ("coverage/show", "", 0, 0, self._coverage_show),
            ("coverage/read-counter", "COUNTER", 1, 1, self._read_counter),
            ("memory/show", "", 0, 0, self._memory_show),
            ("exit", "[--cleanup]", 0, 1, self._exit),
        ]  # fmt: skip
        for row in rows:
            commands.add(*row)

    def tick(self, now_s: float) -> None:
        """See to the time that has gone by."""
        self._megaflows.look(len(self._engine.megaflows))
        if self._coverage.is_due(now_s):
            self._coverage.sample(now_s, self._totals())

    def _need(self, name: str, refusal: str = "no such bridge") -> None:
        if name != self._bridge.name:
            raise CommandError(refusal)

    # ---- tables

    def _list(self, _words: Sequence[str]) -> Answer:
        return Answer(f"{self._bridge.name}\n", lambda: [self._bridge.name])

    def _trace(self, words: Sequence[str]) -> Answer:
        return self._told(words, packet_out=False)

    def _trace_packet_out(self, words: Sequence[str]) -> Answer:
        return self._told(words, packet_out=True)

    def _told(self, words: Sequence[str], *, packet_out: bool) -> Answer:
        request = read_trace(words, self._bridge.name, self._bridge._local.port_numbers(), packet_out=packet_out)
        try:
            told = self._engine.trace(request.key, request.frame, request.actions, consistent=request.consistent)
        except OpenFlowError as problem:
            raise CommandError(f"Bad actions: {error_name(problem.error)} ({problem.text})") from None
        return Answer(told.text(names=request.names), lambda: told.as_dict(names=request.names))

    def _dump_flows(self, words: Sequence[str]) -> Answer:
        self._need(words[0], "Unknown bridge")
        now_ns = self._engine.now_ns()
        self._engine.count(now_ns)
        return Answer(_flow_line(rule, now_ns) for table in self._engine.switch.tables for rule in list(table))

    def _reconnect(self, words: Sequence[str]) -> Answer:
        for name in words:
            self._need(name, "Unknown bridge")
        self._bridge._controllers.reconnect()
        return Answer()

    # ---- addresses

    def _fdb_show(self, words: Sequence[str]) -> Answer:
        self._need(words[0])
        now_ns = self._engine.now_ns()
        rows = [_Address.of(entry, now_ns) for entry in self._engine.view.macs.entries()]
        lines = (
            f"{row.port:>5}  {row.vlan:4}  {row.mac}  {'static' if row.age is None else row.age:>3}\n" for row in rows
        )
        return Answer(chain([_FDB_HEAD], lines), lambda: [row._asdict() for row in rows])

    def _fdb_flush(self, words: Sequence[str]) -> Answer:
        for name in words:
            self._need(name)
        self._moved(self._engine.view.macs.flush())
        return Answer("table successfully flushed\n")

    def _mdb_show(self, words: Sequence[str]) -> Answer:
        self._need(words[0])
        rows = self._bridge.multicast_groups()
        lines = [_MDB_HEAD]
        for row in rows:
            what = "querier    " if row.group is None else _group(row.group)
            port = _OLD_LOCAL if row.port == LOCAL else row.port
            lines.append(f"{port:>5}  {row.vlan:4}  {what}{row.age_s:>12}\n")
        value = [{**row._asdict(), "group": None if row.group is None else _group(row.group)} for row in rows]
        return Answer("".join(lines), lambda: value)

    def _mdb_flush(self, words: Sequence[str]) -> Answer:
        for name in words:
            self._need(name)
        self._bridge.flush_multicast_groups()
        return Answer("table successfully flushed\n")

    def _fdb_add(self, words: Sequence[str]) -> Answer:
        name, port, vlan, mac = words
        self._need(name)
        number = self._bridge._local.port_numbers().get(port)
        if number is None:
            try:
                number = read_port(port)
            except ConfigError:
                number = -1
        if self._engine.switch.ports.get(number) is None:
            raise CommandError(f"{port}: no such port")
        seen = MacLearned(_vlan(vlan), _mac(mac), number)
        if seen.mac & _GROUP_ADDRESS:
            raise CommandError(f"{mac} is the address of a group, which is at no single port")
        self._moved(self._engine.view.macs.add_static(seen, self._engine.now_ns()))
        return Answer()

    def _fdb_del(self, words: Sequence[str]) -> Answer:
        name, vlan, mac = words
        self._need(name)
        gone = self._engine.view.macs.remove_static(_vlan(vlan), _mac(mac))
        if not gone:
            raise CommandError("could not find static mac entry")
        self._moved(gone)
        return Answer()

    def _moved(self, where: list[tuple[int, int]]) -> None:
        self._engine.macs_changed(where)
        self._engine.settle()

    def _fdb_stats(self, words: Sequence[str]) -> Answer:
        self._need(words[0])
        macs = self._engine.view.macs
        value = {
            "current": len(macs), "maximum": macs.limit, "static": sum(entry.static for entry in macs.entries()),
            "learned": macs.learned, "expired": macs.expired, "evicted": macs.evicted, "moved": macs.moved,
        }  # fmt: skip
        text = (
            f'Statistics for bridge "{self._bridge.name}":\n'
            f"  Current/maximum MAC entries in the table: {value['current']}/{value['maximum']}\n"
            f"  Current static MAC entries in the table : {value['static']}\n"
            f"  Total number of learned MAC entries     : {value['learned']}\n"
            f"  Total number of expired MAC entries     : {value['expired']}\n"
            f"  Total number of evicted MAC entries     : {value['evicted']}\n"
            f"  Total number of port moved MAC entries  : {value['moved']}\n"
        )
        return Answer(text, lambda: value)

    def _fdb_stats_clear(self, words: Sequence[str]) -> Answer:
        for name in words:
            self._need(name)
        self._engine.view.macs.clear_statistics()
        return Answer("statistics successfully cleared\n")

    # ---- the datapath

    def _dpif_show(self, _words: Sequence[str]) -> Answer:
        stats = self._bridge.datapath.stats()
        lines = [f"vswitch@{self._bridge.name}: hit:{stats.hit} missed:{stats.missed}", f"  {self._bridge.name}:"]
        ports = {port.number: port for port in self._bridge.datapath.ports}
        for port in self._engine.switch.ports:
            number = datapath_number(port.number)
            kind = ports[number].kind if number in ports else PortKind.SYSTEM
            shown = _OLD_LOCAL if port.number == LOCAL else port.number
            lines.append(f"    {port.name} {shown}/{number}: ({kind.value})")
        return Answer("\n".join([*lines, ""]))

    def _datapaths(self, _words: Sequence[str]) -> Answer:
        name = f"vswitch@{self._bridge.name}"
        return Answer(f"{name}\n", lambda: [name])

    def _features(self, words: Sequence[str]) -> Answer:
        self._need(words[0])
        return Answer("".join(f"{name}: {value}\n" for name, value in _FEATURES.items()), lambda: dict(_FEATURES))

    def _dpctl_show(self, words: Sequence[str]) -> Answer:
        for word in words:
            if word != "-s":
                self._need(word.removeprefix("vswitch@"))
        datapath = self._bridge.datapath
        stats = datapath.stats()
        lines = [
            f"vswitch@{datapath.name}:",
            f"  lookups: hit:{stats.hit} missed:{stats.missed} lost:{stats.lost}",
            f"  flows: {stats.flows}",
            f"  masks: hit:{stats.masks_tried} total:{stats.masks}",
        ]
        for port in datapath.ports:
            kind = "" if port.kind is PortKind.SYSTEM else f" ({port.kind.value})"
            lines.append(f"  port {port.number}: {port.name}{kind}")
            if "-s" in words:
                lines += _port_counters(datapath.ports.stats(port.number))
        return Answer("\n".join([*lines, ""]))

    def _dump_megaflows(self, words: Sequence[str]) -> Answer:
        names = {port.number: port.name for port in self._bridge.datapath.ports} if "--names" in words else None
        for word in words:
            if word not in ("-m", "--names", "--no-names"):
                self._need(word.removeprefix("vswitch@"))
        more = "-m" in words
        flows = self._bridge.datapath.flows.dump()
        return Answer(f"{format_megaflow(flow, names, more)}\n" for flow in flows)

    def _upcall_show(self, _words: Sequence[str]) -> Answer:
        engine, gauge = self._engine, self._megaflows
        revalidator = engine.revalidator
        value = {
            "flows": {
                "current": len(engine.megaflows), "avg": round(gauge.mean), "max": gauge.most,
                "limit": engine.megaflows.limit,
            },
            "misses": {"answered": engine.handler.misses, "not_installed": engine.handler.not_installed},
            "revalidation": {
                "changes": revalidator.changes, "looked_at": revalidator.looked_at,
                "withdrawn": revalidator.withdrawn, "evicted": engine.megaflows.evicted,
            },
            "last_change": revalidator.last._asdict(),
        }  # fmt: skip
        lines = [f"vswitch@{self._bridge.name}:"]
        for name, figures in value.items():
            shown = " ".join(f"({word.replace('_', ' ')} {figure})" for word, figure in figures.items())
            lines.append(f"  {name.replace('_', ' '):<14}: {shown}")
        return Answer("\n".join([*lines, ""]), lambda: value)

    def _wait(self, _words: Sequence[str]) -> Answer:
        self._engine.settle()
        return Answer()

    def _purge(self, _words: Sequence[str]) -> Answer:
        self._engine.megaflows.withdraw(list(self._engine.megaflows))
        return Answer()

    # ---- the process

    def _totals(self) -> dict[str, int]:
        """All that is counted and never goes down, but for what is cleared."""
        bridge, engine = self._bridge, self._engine
        stats, macs, control = bridge.datapath.stats(), engine.view.macs, bridge._control
        return {
            "datapath_hit": stats.hit, "datapath_cache_hit": stats.cache_hits, "datapath_missed": stats.missed,
            "datapath_upcall": stats.upcalls, "datapath_lost": stats.lost,
            "upcall_answered": engine.handler.misses, "upcall_not_installed": engine.handler.not_installed,
            "megaflow_looked_at": engine.revalidator.looked_at, "megaflow_withdrawn": engine.revalidator.withdrawn,
            "megaflow_evicted": engine.megaflows.evicted, "revalidate_change": engine.revalidator.changes,
            "packet_out": engine.packet_outs.sent, "packet_out_refused": engine.packet_outs.refused,
            "packet_in_metered": engine.metered_packets, "learn_refused": engine.effects.failed,
            "mac_learned": macs.learned, "mac_expired": macs.expired, "mac_evicted": macs.evicted,
            "mac_moved": macs.moved,
            "control_request": 0 if control is None else control.requests,
            "control_refused": 0 if control is None else control.refused,
            "control_displaced": 0 if control is None else control.displaced,
        }  # fmt: skip

    def _coverage_show(self, _words: Sequence[str]) -> Answer:
        totals = self._totals()
        return Answer(self._coverage.text(totals), lambda: totals)

    def _read_counter(self, words: Sequence[str]) -> Answer:
        total = self._totals().get(words[0])
        if total is None:
            raise CommandError("No such counter")
        return Answer(f"{total}\n", lambda: total)

    def _memory_show(self, _words: Sequence[str]) -> Answer:
        switch, view = self._engine.switch, self._engine.view
        value = {
            "connections": len(list(self._bridge._controllers)), "frozen": len(view.frozen),
            "groups": len(switch.groups), "macs": len(view.macs), "megaflows": len(self._engine.megaflows),
            "meters": len(switch.meters), "ports": len(switch.ports),
            "rules": sum(len(table) for table in switch.tables),
        }  # fmt: skip
        return Answer(" ".join(f"{name}:{count}" for name, count in value.items()) + "\n", lambda: value)

    def _exit(self, words: Sequence[str]) -> Answer:
        if words and words[0] != "--cleanup":
            raise CommandError(f"{words[0]}: unknown option")
        if words:
            self._bridge.datapath.keep(False)
        self._bridge.stop()
        return Answer()


def _port_counters(stats: PortStats) -> list[str]:
    return [
        f"    RX packets:{stats.rx_packets} errors:{stats.rx_errors} dropped:{sum(stats.drops.values())}",
        f"    TX packets:{stats.tx_packets} errors:{stats.tx_errors} dropped:{stats.tx_dropped}",
        f"    RX bytes:{stats.rx_bytes}  TX bytes:{stats.tx_bytes}",
    ]


def _flow_line(rule: Rule, now_ns: int) -> str:
    table = f"table_id={rule.table}, " if rule.table else ""
    priority = None if rule.priority == DEFAULT_PRIORITY else rule.priority
    return (
        f"{table}duration={(now_ns - rule.created_ns) // NS_PER_S}s, n_packets={rule.packets}, n_bytes={rule.bytes}, "
        f"{format_flow_match(rule.match, priority=priority)},actions={format_flow_actions(rule.actions) or 'drop'}\n"
    )


def _group(group: int) -> str:
    """Its address, as text."""
    return str(IPv6Address(group) if group >> 32 else IPv4Address(group))


def _vlan(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) > MAX_VLAN:
        raise CommandError(f"VLAN {text} is outside 0..{MAX_VLAN}")
    return int(text)


def _mac(text: str) -> int:
    try:
        return KINDS["mac"].parse(text, 48)
    except ValueError:
        raise CommandError("bad MAC address") from None
