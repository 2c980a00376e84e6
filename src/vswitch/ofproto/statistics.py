"""Answers to those requests that change nothing: who the switch is, what it can do, and what it has counted.

An answer may be taken in parts: what it is about is settled when it is asked for, each part is made when it is taken,
and flows that are gone by then are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vswitch.messages import stats as s
from vswitch.messages.base import Message
from vswitch.messages.control import Capability, FeaturesReply
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.flows import ANY_PORT
from vswitch.ofproto.features import table_features
from vswitch.ofproto.groups import Groups
from vswitch.ofproto.meters import MeterTable
from vswitch.ofproto.ports import Ports
from vswitch.ofproto.rule import NS_PER_S, Rule
from vswitch.ofproto.tables import TABLES, FlowTables

__all__ = ["Identity", "Statistics"]

_EVERY_VERSION = Capability.FLOW_STATS | Capability.TABLE_STATS | Capability.PORT_STATS | Capability.QUEUE_STATS
PART_STEPS = 1024
"""Entries, and actions and buckets in them, of one part of an answer: a message of some 50 KB, in milliseconds."""

_ACTIONS_OF_1_0 = 0xFFF
"""Output to enqueue: all twelve."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the switch is: a number of 64 bits, and texts."""

    datapath_id: int = 0
    manufacturer: str = "vswitch"
    hardware: str = "eBPF"
    software: str = ""
    serial: str = "None"
    datapath: str = "None"


class Statistics:
    """Looks into the tables and never changes them, but for what a controller says of their features."""

    def __init__(
        self, identity: Identity, tables: FlowTables, groups: Groups, meters: MeterTable, ports: Ports
    ) -> None:
        self.identity = identity
        self._tables = tables
        self._groups = groups
        self._meters = meters
        self._ports = ports

    def features(self, version: int) -> FeaturesReply:
        """Who the switch is."""
        capabilities = int(_EVERY_VERSION)
        if version == 1:
            capabilities |= Capability.ARP_MATCH_IP
        else:
            capabilities |= Capability.GROUP_STATS
        if version >= 5:
            capabilities |= Capability.BUNDLES
        if version >= 6:
            capabilities |= Capability.FLOW_MONITORING
        return FeaturesReply(
            self.identity.datapath_id, 0, TABLES, capabilities, 0, _ACTIONS_OF_1_0, tuple(self._ports)
        )  # fmt: skip

    def answer(self, request: Message, version: int, now_ns: int) -> s.MultipartReply:
        """The reply to a request for statistics or descriptions. OpenFlowError: it is about what does not exist."""
        kind, nicira, entries = self._entries(request, version, now_ns)
        return s.MultipartReply(kind, tuple(entries), nicira=nicira)

    def parts(self, request: Message, version: int, now_ns: int) -> Iterator[s.MultipartReply]:
        """The same reply in parts. OpenFlowError, at once: it is about what does not exist."""
        return _in_parts(*self._entries(request, version, now_ns))

    def _entries(self, request: Message, version: int, now_ns: int) -> tuple[str, bool, Iterable[object]]:
        """Kind, whether it is Nicira's, and the entries of a reply."""
        if isinstance(request, s.FlowStatsRequest):
            return request.kind, request.nicira, self._flows(request, now_ns)
        if isinstance(request, s.TableFeaturesRequest):
            return "table_features", False, (table_features(each, version) for each in self._tables)
        assert isinstance(request, s.StatsRequest)
        kind = request.kind
        answer = getattr(self, f"_{kind}", None) if kind in _KINDS else None
        if answer is None:
            raise OpenFlowError("bad_request.bad_multipart", f"multipart request: unknown kind {kind!r}")
        return kind, False, answer(request, version, now_ns)

    # ---- flows

    def _flows(self, request: s.FlowStatsRequest, now_ns: int) -> Iterable[object]:
        rules = self._tables.matching(
            request.match, request.table, request.out_port, request.out_group, request.cookie, request.cookie_mask
        )
        if request.kind == "aggregate":
            packets, size = sum(rule.packets for rule in rules), sum(rule.bytes for rule in rules)
            return (s.AggregateStats(packets, size, len(rules)),)
        return (flow_stats(rule, now_ns) for rule in rules if not rule.removed)

    def _table(self, _request: s.StatsRequest, _version: int, _now_ns: int) -> list[object]:
        return [
            s.TableStats(each.number, len(each), each.lookups, each.matched, each.name, each.max_flows)
            for each in self._tables
        ]

    def _table_description(self, _request: s.StatsRequest, _version: int, _now_ns: int) -> list[object]:
        return [each.description() for each in self._tables]

    # ---- the switch

    def _description(self, _request: s.StatsRequest, _version: int, _now_ns: int) -> list[object]:
        own = self.identity
        return [s.Description(own.manufacturer, own.hardware, own.software, own.serial, own.datapath)]

    # ---- ports and queues

    def _port(self, request: s.StatsRequest, _version: int, now_ns: int) -> list[s.PortStats]:
        return self._ports.port_statistics(request.number, now_ns)

    def _port_description(self, request: s.StatsRequest, version: int, _now_ns: int) -> list[object]:
        return [*self._ports.chosen(request.number if version >= 6 else ANY_PORT)]

    def _queue(self, request: s.StatsRequest, _version: int, now_ns: int) -> list[s.QueueStats]:
        return self._ports.queue_statistics_of(request.number, request.queue, now_ns)

    def _queue_description(self, request: s.StatsRequest, _version: int, _now_ns: int) -> list[s.QueueDescription]:
        return self._ports.queue_descriptions(request.number, request.queue)

    # ---- groups and meters

    def _group(self, request: s.StatsRequest, _version: int, now_ns: int) -> Iterable[object]:
        return (each.statistics(now_ns) for each in self._groups.chosen(request.number))

    def _group_description(self, request: s.StatsRequest, version: int, _now_ns: int) -> Iterable[object]:
        chosen = self._groups.chosen(request.number) if version >= 6 else list(self._groups)
        return (each.description() for each in chosen)

    def _group_features(self, _request: s.StatsRequest, _version: int, _now_ns: int) -> list[object]:
        return [self._groups.features()]

    def _meter(self, request: s.StatsRequest, _version: int, now_ns: int) -> Iterable[object]:
        return (each.statistics(now_ns) for each in self._meters.chosen(request.number))

    def _meter_config(self, request: s.StatsRequest, _version: int, _now_ns: int) -> Iterable[object]:
        return (each.config() for each in self._meters.chosen(request.number))

    def _meter_features(self, _request: s.StatsRequest, _version: int, _now_ns: int) -> list[object]:
        return [self._meters.features()]

    # ---- tables are set

    def set_table_features(self, wanted: tuple[s.TableFeatures, ...], version: int) -> None:
        """Let tables have these names, sizes and metadata. OpenFlowError: a table cannot be like that; none is changed
        then. What tables can do is fixed."""
        seen = set[int]()
        for each in wanted:
            if each.table >= TABLES:
                raise _refuse("bad_table", f"table features: table {each.table} exceeds the last table {TABLES - 1}")
            if each.table in seen:
                raise _refuse("bad_table", f"table features: table {each.table} twice")
            seen.add(each.table)
            there = table_features(self._tables[each.table], version)
            if not len(self._tables[each.table]) <= each.max_entries <= self._tables.max_flows:
                text = f"table features: table {each.table} of {each.max_entries} flows"
                raise _refuse("bad_max_ent", f"{text}: at most {self._tables.max_flows}, and those that are in it")
            if each.metadata_match & ~there.metadata_match or each.metadata_write & ~there.metadata_write:
                raise _refuse("bad_metadata", f"table features: metadata of table {each.table}")
            if each.properties and each.properties != there.properties:
                raise _refuse("eperm", f"table features: what table {each.table} can do is fixed")
        for each in wanted:
            table = self._tables[each.table]
            table.name, table.max_flows = each.name, each.max_entries


def _refuse(code: str, text: str) -> OpenFlowError:
    return OpenFlowError(f"table_features_failed.{code}", text)


_KINDS = {
    "description", "table", "table_description", "port", "port_description", "queue", "queue_description", "group",
    "group_description", "group_features", "meter", "meter_config", "meter_features",
}  # fmt: skip


def _in_parts(kind: str, nicira: bool, entries: Iterable[object]) -> Iterator[s.MultipartReply]:
    """At least one; all but the last say that more follow."""
    left = iter(entries)
    part = _part(left)
    while part:
        following = _part(left)
        yield s.MultipartReply(kind, part, bool(following), nicira)
        part = following
        if not following:
            return
    yield s.MultipartReply(kind, (), False, nicira)


def _part(entries: Iterator[object]) -> tuple[object, ...]:
    """The next ones, as many as PART_STEPS allow."""
    part: list[object] = []
    steps = 0
    for entry in entries:
        part.append(entry)
        steps += _steps(entry)
        if steps >= PART_STEPS:
            break
    return tuple(part)


def _steps(entry: object) -> int:
    if isinstance(entry, s.FlowStats):
        return 1 + len(entry.actions)
    if isinstance(entry, s.GroupDescription):
        return 1 + sum(1 + len(bucket.actions) for bucket in entry.buckets)
    return 1 + len(entry.buckets) if isinstance(entry, s.GroupStats) else 1


def flow_stats(rule: Rule, now_ns: int) -> s.FlowStats:
    """A flow and what it has counted. # hot: once per flow and dump"""
    return s.FlowStats(
        rule.match, rule.actions, rule.priority, rule.table, rule.cookie, now_ns - rule.created_ns, rule.packets,
        rule.bytes, rule.idle_timeout_s, rule.hard_timeout_s, rule.flags, rule.importance,
        (now_ns - rule.used_ns) // NS_PER_S, (now_ns - rule.modified_ns) // NS_PER_S,
    )  # fmt: skip
