"""The switch that controllers speak to: one message in, and out come replies, events, changes, and packets to be sent.

`Switch.handle` is all of OpenFlow but the encoding and the packets. It decides and changes tables; what is to be done
in the world outside is in the `Outcome`, and the bridge does it. There is no clock here: who calls says what time it
is.

Invariant: a message is done as a whole or, if it is refused, not at all; its refusal is among the replies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from vswitch.messages import control as c
from vswitch.messages import stats as s
from vswitch.messages.base import Message
from vswitch.messages.control import ControllerRole
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.flows import (
    NO_BUFFER,
    Bucket,
    FlowFlags,
    FlowMod,
    FlowRemoved,
    FlowRemovedReason,
    GroupMod,
    MeterMod,
    PacketOut,
    Resume,
    TableMod,
)
from vswitch.messages.ports import PortDescription, PortMod, PortStatus, PortStatusReason
from vswitch.ofproto.admission import Admission
from vswitch.ofproto.bundle import handle_bundle_add, handle_bundle_control
from vswitch.ofproto.groups import GroupChange, Groups
from vswitch.ofproto.journal import Journal
from vswitch.ofproto.meters import MAX_METERS, MeterTable
from vswitch.ofproto.monitor import add_monitors, cancel_monitor, missed, updates
from vswitch.ofproto.ports import Ports
from vswitch.ofproto.rule import Rule
from vswitch.ofproto.session import Session
from vswitch.ofproto.statistics import Identity, Statistics
from vswitch.ofproto.tables import MAX_FLOWS, TABLES, Change, FlowTables
from vswitch.ofproto.tunnel_options import OptionTable

__all__ = ["MAX_SESSIONS", "Outcome", "Removal", "Switch"]

MAX_SESSIONS = 256
"""Connections of controllers and tools at a time, the program's own among them: some megabyte may wait for each."""
_SERIAL = 1 << 63
_ASKED, _CHANNEL, _ROLE, _SHORT_ID = 0, 1, 2, 5
"""Why a controller's status is told: OpenFlow 1.5.1 section 7.4.8."""
_ATOMIC_ORDERED = 0b11


@dataclass(frozen=True, slots=True)
class Removal:
    """A flow that went at that time, of which controllers are to be told: when all that has passed it is counted."""

    rule: Rule
    reason: FlowRemovedReason
    at_ns: int

    def message(self) -> FlowRemoved:
        """What they are told."""
        rule = self.rule
        return FlowRemoved(
            rule.match, rule.priority, rule.table, rule.cookie, self.reason, self.at_ns - rule.created_ns,
            rule.idle_timeout_s, rule.hard_timeout_s, rule.packets, rule.bytes,
        )  # fmt: skip


@dataclass(slots=True)
class Outcome:
    """What follows from a message, or from time.

    `replies`: to the session that sent it, each with the request's xid. `events`: to be offered to every session that
    `wants` them. `addressed`: (session, message, xid) for just that session, already asked whether it wants it.
    `removed`: flows that went, and it is to be told; they may not have counted all until whoever holds translations has
    given up those that `changes` are about. `changes`, `groups`, `ports`: what is other than it was, for whoever holds
    translations; `meters`: those that were added, changed or deleted. `packets`: to be executed in order. `parts`: a
    reply behind the others that may be long, in parts that are made as they are taken (None: there is none).
    """

    replies: list[tuple[Message, int]] = field(default_factory=list)
    events: list[Message] = field(default_factory=list)
    addressed: list[tuple[Session, Message, int]] = field(default_factory=list)
    removed: list[Removal] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    groups: list[GroupChange] = field(default_factory=list)
    meters: list[int] = field(default_factory=list)
    ports: list[PortDescription] = field(default_factory=list)
    packets: list[PacketOut | Resume] = field(default_factory=list)
    configuration: bool = False
    parts: Iterator[s.MultipartReply] | None = None

    def absorb(self, other: Outcome) -> None:
        """What follows from another one follows too."""
        self.replies += other.replies
        self.events += other.events
        self.addressed += other.addressed
        self.removed += other.removed
        self.changes += other.changes
        self.groups += other.groups
        self.meters += other.meters
        self.ports += other.ports
        self.packets += other.packets
        self.configuration = self.configuration or other.configuration


class Switch:
    """All that OpenFlow knows of one bridge. `fragments`: how fragments are treated (0 normal, 1 drop, 3 nx_match)."""

    def __init__(
        self, identity: Identity | None = None, *, max_flows: int = MAX_FLOWS, max_meters: int = MAX_METERS
    ) -> None:
        self.journal = Journal()
        self.identity = identity or Identity()
        self.groups = Groups(self.journal)
        self.groups.check = self._check_bucket
        self.meters = MeterTable(self.journal, max_meters=max_meters)
        self.options = OptionTable()
        self.ports = Ports(self.journal)
        self.tables = FlowTables(self.groups, self.meters, self.journal, max_flows=max_flows)
        self.statistics = Statistics(self.identity, self.tables, self.groups, self.meters, self.ports)
        self.sessions: list[Session] = []
        self.fragments = 0
        self.generation: int | None = None
        self._pending_version = 4

    def identify(self, identity: Identity) -> None:
        """This is who the switch is from now on; controllers that are connected have been told otherwise."""
        self.identity = self.statistics.identity = identity

    # ---- sessions

    def connect(self, session: Session) -> None:
        """There is one more controller. OpenFlowError: there are too many."""
        if len(self.sessions) >= MAX_SESSIONS:
            raise OpenFlowError("hello_failed.eperm", f"there are {MAX_SESSIONS} connections already")
        self.sessions.append(session)

    def disconnect(self, session: Session) -> None:
        """It is gone, and what it has not committed."""
        if session in self.sessions:
            self.sessions.remove(session)
        session.bundles.clear()
        session.monitors.clear()
        session.missed.clear()

    def channel_changed(self, session: Session, *, up: bool) -> Outcome:
        """It has connected, or is gone: what controllers are told of that."""
        return Outcome(events=_status_changed(session, _CHANNEL, up=up))

    def wants(self, session: Session, message: Message, *, implicit_miss: bool = False) -> bool:
        """Whether the session is told of this."""
        return session.wants(message, implicit_miss=implicit_miss)

    @property
    def sends_misses(self) -> bool:
        """Whether some controller is told of packets that no flow takes (OpenFlow before 1.3)."""
        return any(session.version < 4 and not session.secondary for session in self.sessions)

    def pause_monitors(self, session: Session) -> Outcome:
        """The session does not keep up: no more of its monitors until `resume_monitors`."""
        outcome = Outcome()
        if session.monitors and not session.monitors_paused:
            session.monitors_paused = True
            outcome.addressed.append((session, _pause(session, paused=True), 0))
        return outcome

    def resume_monitors(self, session: Session) -> Outcome:
        """The session takes things again: some of what it has missed or, after all of that, that it is paused no more.
        To be called until it is not."""
        outcome = Outcome()
        if session.missed:
            told = missed(session)
            if told:
                outcome.addressed.append((session, s.MultipartReply("flow_monitor", tuple(told)), 0))
        elif session.monitors_paused:
            session.monitors_paused = False
            outcome.addressed.append((session, _pause(session, paused=False), 0))
        return outcome

    # ---- messages

    def handle(
        self, message: Message, xid: int, session: Session, now_ns: int, *, in_parts: bool = False
    ) -> Outcome:  # fmt: skip
        """Do what a message says. What is refused is an `Error` among the replies. `in_parts`: statistics are given as
        the `parts` of the outcome."""
        outcome = Outcome()
        try:
            if session.secondary and type(message) in _CHANGING and not _only_asks(message):
                raise OpenFlowError("bad_request.is_slave", "a secondary controller changes nothing")
            handler = _HANDLERS.get(type(message))
            if handler is None:
                raise OpenFlowError("bad_request.bad_type", f"{type(message).__name__} is no request to a switch")
            if in_parts and handler == Switch._statistics:
                outcome.parts = self._in_parts(message, session, now_ns)
            else:
                handler(self, message, xid, session, now_ns, outcome)
        except OpenFlowError as error:
            outcome.replies.append((c.Error(error.error, error.data, error.text), xid))
        self._tell(outcome, session, xid, now_ns)
        return outcome

    def flow_mod(self, mod: FlowMod, now_ns: int, *, version: int = 4, learned: bool = False) -> Outcome:
        """Do what a flow-mod says that came from no controller: by a program, or by a learn action. OpenFlowError: it
        is refused."""
        outcome = Outcome()
        apply = self.tables.apply_learned(mod, now_ns) if learned else self.tables.apply(mod, now_ns, version=version)
        outcome.changes += apply
        self._tell(outcome, None, 0, now_ns)
        return outcome

    def expire(self, now_ns: int) -> Outcome:
        """Take out the flows whose time is over. Counters and `used_ns` of flows are to be true before."""
        outcome = Outcome(changes=self.tables.expire(now_ns))
        if outcome.changes:
            self._tell(outcome, None, 0, now_ns)
        return outcome

    def port_changed(self, port: PortDescription, now_ns: int) -> Outcome:
        """There is this port, or it has another state."""
        known = port.number in self.ports
        outcome = Outcome()
        if self.ports.put(port, now_ns):
            there = self.ports.get(port.number)
            assert there is not None
            outcome.ports.append(there)
            outcome.events.append(PortStatus(PortStatusReason.MODIFY if known else PortStatusReason.ADD, there))
        return outcome

    def port_removed(self, number: int) -> Outcome:
        """The port is there no more."""
        gone = self.ports.remove(number)
        if gone is None:
            return Outcome()
        return Outcome(ports=[gone], events=[PortStatus(PortStatusReason.DELETE, gone)])

    # ---- who is told

    def _tell(self, outcome: Outcome, sender: Session | None, xid: int, now_ns: int) -> None:
        """Say of which flow-removed is to be sent, make monitor updates and table-status of what has changed."""
        if not outcome.changes:
            return
        for change in outcome.changes:
            rule = change.rule
            if change.reason is not None and rule.flags & FlowFlags.SEND_FLOW_REM:
                outcome.removed.append(Removal(rule, change.reason, now_ns))
        for session in self.sessions:
            if session.monitors:
                told = updates(session, outcome.changes, own=session is sender, xid=xid)
                if told:
                    outcome.addressed.append((session, s.MultipartReply("flow_monitor", tuple(told)), 0))
        for number in {change.rule.table for change in outcome.changes}:
            table = self.tables[number]
            if table.vacancy:
                outcome.events.extend(table.vacancy_event())

    # ---- what changes something

    def apply(self, message: Message, session: Session, xid: int, now_ns: int, outcome: Outcome) -> None:
        """Do a message that may be in a bundle. OpenFlowError: it is refused."""
        _MODIFIERS[type(message)](self, message, xid, session, now_ns, outcome)

    def _flow_mod(
        self, mod: FlowMod, _xid: int, session: Session, now_ns: int, outcome: Outcome
    ) -> None:  # hot: once per flow-mod
        if mod.buffer_id != NO_BUFFER:
            raise OpenFlowError("bad_request.buffer_unknown", f"there is no buffer {mod.buffer_id:#x}: none is kept")
        outcome.changes += self.tables.apply(mod, now_ns, version=session.version)

    def _group_mod(self, mod: GroupMod, xid: int, session: Session, now_ns: int, outcome: Outcome) -> None:
        self._pending_version = session.version
        changes = self.groups.apply(mod, now_ns)
        outcome.groups += changes
        for change in changes:
            if change.kind == "deleted":
                outcome.changes += self.tables.remove_all(change.group.rules, FlowRemovedReason.GROUP_DELETE)
        self._forward(mod, xid, session, outcome)

    def _meter_mod(self, mod: MeterMod, xid: int, session: Session, now_ns: int, outcome: Outcome) -> None:
        gone = self.meters.apply(mod, now_ns)
        for meter in gone:
            outcome.changes += self.tables.remove_all(meter.rules, FlowRemovedReason.METER_DELETE)
        outcome.meters += [meter.id for meter in gone] or [mod.id]
        self._forward(mod, xid, session, outcome)

    def _forward(self, mod: GroupMod | MeterMod, xid: int, session: Session, outcome: Outcome) -> None:
        """Tell other controllers of a request (OpenFlow 1.4.1 section 7.4.5)."""
        for other in self.sessions:
            if other is not session:
                message = c.RequestForward(mod, xid)
                if other.wants(message):
                    outcome.addressed.append((other, message, xid))

    def _port_mod(self, mod: PortMod, _xid: int, _session: Session, _now_ns: int, outcome: Outcome) -> None:
        changed = self.ports.apply(mod)
        if changed is not None:
            outcome.ports.append(changed)
            outcome.events.append(PortStatus(PortStatusReason.MODIFY, changed))

    def _table_mod(self, mod: TableMod, _xid: int, _session: Session, _now_ns: int, outcome: Outcome) -> None:
        self.tables.configure(mod)
        outcome.configuration = True

    def _packet_out(self, message: PacketOut, _xid: int, session: Session, _now_ns: int, outcome: Outcome) -> None:
        if message.buffer_id != NO_BUFFER:
            text = f"there is no buffer {message.buffer_id:#x}: none is kept"
            raise OpenFlowError("bad_request.buffer_unknown", text)
        Admission(self.groups, self.meters, None, None, session.version).check(message.actions)
        outcome.packets.append(message)

    def _resume(self, message: Resume, _xid: int, _session: Session, _now_ns: int, outcome: Outcome) -> None:
        outcome.packets.append(message)

    def _check_bucket(self, bucket: Bucket) -> None:
        Admission(self.groups, self.meters, None, None, self._pending_version).check(bucket.actions)

    # ---- what asks

    def _statistics(self, message: Message, xid: int, session: Session, now_ns: int, outcome: Outcome) -> None:
        if isinstance(message, s.StatsRequest) and message.kind == "controller_status":
            reply = self._controllers()
        else:
            reply = self.statistics.answer(message, session.version, now_ns)
        outcome.replies.append((reply, xid))

    def _in_parts(self, message: Message, session: Session, now_ns: int) -> Iterator[s.MultipartReply]:
        if isinstance(message, s.StatsRequest) and message.kind == "controller_status":
            return iter((self._controllers(),))
        return self.statistics.parts(message, session.version, now_ns)

    def _table_features(
        self, message: s.TableFeaturesRequest, xid: int, session: Session, now_ns: int, outcome: Outcome
    ) -> None:
        if len(session.table_features) + len(message.tables) > TABLES:
            session.table_features = ()
            text = f"table features: more than the {TABLES} tables that there are"
            raise OpenFlowError("table_features_failed.too_many", text)
        tables = session.table_features + message.tables
        session.table_features = tables if message.more else ()
        if message.more:
            return
        if tables:
            self.statistics.set_table_features(tables, session.version)
            outcome.configuration = True
        self._statistics(message, xid, session, now_ns, outcome)

    def _controllers(self) -> s.MultipartReply:
        told = tuple(_status(each, _ASKED) for each in self.sessions if _is_controller(each))
        return s.MultipartReply("controller_status", told)

    def _bundle_features(
        self, message: s.BundleFeaturesRequest, xid: int, _session: Session, _now_ns: int, outcome: Outcome
    ) -> None:
        if message.flags:
            raise OpenFlowError("bad_request.multipart_bad_sched", "bundles are not scheduled")
        outcome.replies.append((s.MultipartReply("bundle_features", (s.BundleFeatures(_ATOMIC_ORDERED),)), xid))

    def _other_statistics(
        self, message: s.ExperimenterMultipart, _xid: int, _session: Session, _now_ns: int, _outcome: Outcome
    ) -> None:
        raise OpenFlowError("bad_request.bad_experimenter", f"unknown experimenter {message.experimenter:#x}")

    def _features(self, _message: Message, xid: int, session: Session, _now_ns: int, outcome: Outcome) -> None:
        outcome.replies.append((self.statistics.features(session.version), xid))

    def _get_config(self, _message: Message, xid: int, session: Session, _now_ns: int, outcome: Outcome) -> None:
        reply = c.GetConfigReply(self.fragments, session.miss_send_length, session.invalid_ttl)
        outcome.replies.append((reply, xid))

    def _set_config(
        self, message: c.SetConfig, _xid: int, session: Session, _now_ns: int, outcome: Outcome
    ) -> None:  # fmt: skip
        changes = not session.secondary and message.fragments != self.fragments
        if changes and message.fragments not in (0, 1, 3):
            raise OpenFlowError("switch_config_failed.bad_flags", "set-config: fragments are not put together")
        session.miss_send_length = message.miss_send_length
        session.invalid_ttl = message.invalid_ttl
        if not changes:
            return  # a secondary controller sets what concerns itself
        self.fragments = message.fragments
        outcome.configuration = True

    def _barrier(self, _message: Message, xid: int, _session: Session, _now_ns: int, outcome: Outcome) -> None:
        outcome.replies.append((c.BarrierReply(), xid))

    def _echo(self, message: c.EchoRequest, xid: int, _session: Session, _now_ns: int, outcome: Outcome) -> None:
        outcome.replies.append((c.EchoReply(message.data), xid))

    def _ignore(self, _message: Message, _xid: int, _session: Session, _now_ns: int, _outcome: Outcome) -> None:
        """Replies and errors of controllers are about nothing here."""

    def _experimenter(
        self, message: c.Experimenter, _xid: int, _session: Session, _now_ns: int, _outcome: Outcome
    ) -> None:
        raise OpenFlowError("bad_request.bad_experimenter", f"unknown experimenter {message.experimenter:#x}")

    def _queue_config(
        self, message: c.QueueConfigRequest, xid: int, _session: Session, _now_ns: int, outcome: Outcome
    ) -> None:
        found = self.ports.queue_descriptions(message.port)
        queues = tuple((each.queue, each.min_rate, each.max_rate, each.port) for each in found)
        outcome.replies.append((c.QueueConfigReply(message.port, queues), xid))

    # ---- roles, and what is told

    def _role(self, message: c.RoleRequest, xid: int, session: Session, _now_ns: int, outcome: Outcome) -> None:
        if message.role in (ControllerRole.PRIMARY, ControllerRole.SECONDARY) and message.generation_id is not None:
            if self.generation is not None and (message.generation_id - self.generation) % (1 << 64) >= _SERIAL:
                text = f"role request: generation {message.generation_id} is older than {self.generation}"
                raise OpenFlowError("role_request_failed.stale", text)
            self.generation = message.generation_id
        if message.role != ControllerRole.NO_CHANGE:
            if message.role == ControllerRole.PRIMARY:
                for other in self.sessions:
                    if other is not session and other.role == ControllerRole.PRIMARY:
                        other.role = ControllerRole.SECONDARY
                        outcome.events += _status_changed(other, _ROLE)
                        status = c.RoleStatus(other.role, 0, self.generation)
                        if other.wants(status):
                            outcome.addressed.append((other, status, 0))
            if session.role != message.role:
                session.role = message.role
                outcome.events += _status_changed(session, _ROLE)
        generation = None if message.nicira else self.generation
        outcome.replies.append((c.RoleReply(session.role, generation, message.nicira, message.short_id), xid))

    def _set_async(self, message: c.SetAsync, _xid: int, session: Session, _now_ns: int, _outcome: Outcome) -> None:
        session.set_async(message.config)

    def _get_async(self, _message: Message, xid: int, session: Session, _now_ns: int, outcome: Outcome) -> None:
        outcome.replies.append((c.AsyncGet(session.async_config()), xid))

    def _monitor(
        self, message: s.FlowMonitorRequest, xid: int, session: Session, _now_ns: int, outcome: Outcome
    ) -> None:
        self._monitors(s.FlowMonitorRequests((message,)), xid, session, _now_ns, outcome)

    def _monitors(
        self, message: s.FlowMonitorRequests, xid: int, session: Session, _now_ns: int, outcome: Outcome
    ) -> None:
        found = add_monitors(session, message.requests, self.tables)
        outcome.replies.append((s.MultipartReply("flow_monitor", tuple(found)), xid))

    def _cancel(
        self, message: s.FlowMonitorCancel, _xid: int, session: Session, _now_ns: int, _outcome: Outcome
    ) -> None:
        cancel_monitor(session, message.id)

    # ---- Nicira's

    def _table_ids(
        self, message: c.FlowModTableId, _xid: int, session: Session, _now_ns: int, _outcome: Outcome
    ) -> None:
        session.table_ids = message.on

    def _flow_format(
        self, message: c.SetFlowFormat, _xid: int, session: Session, _now_ns: int, _outcome: Outcome
    ) -> None:
        if message.format not in (0, 2):
            raise OpenFlowError("bad_request.eperm", f"unknown flow format {message.format}")
        session.flow_format = message.format

    def _packet_in_format(
        self, message: c.SetPacketInFormat, _xid: int, session: Session, _now_ns: int, _outcome: Outcome
    ) -> None:
        if message.format not in (0, 1, 2):
            raise OpenFlowError("bad_request.eperm", f"unknown packet-in format {message.format}")
        session.packet_in_format = message.format

    def _controller_id(
        self, message: c.SetControllerId, _xid: int, session: Session, _now_ns: int, outcome: Outcome
    ) -> None:
        if session.controller_id != message.id:
            session.controller_id = message.id
            outcome.events += _status_changed(session, _SHORT_ID)

    def _tlv_mod(self, message: c.TlvTableMod, _xid: int, _session: Session, _now_ns: int, _outcome: Outcome) -> None:
        self.options.apply(message)

    def _tlv_table(self, _message: Message, xid: int, _session: Session, _now_ns: int, outcome: Outcome) -> None:
        outcome.replies.append((self.options.reply(), xid))


def _is_controller(session: Session) -> bool:
    return bool(session.name) and not session.service


def _status(session: Session, reason: int, *, up: bool = True) -> s.ControllerStatus:
    return s.ControllerStatus(session.controller_id, int(session.role), reason, up, session.name)


def _status_changed(session: Session, reason: int, *, up: bool = True) -> list[Message]:
    if not _is_controller(session):
        return []
    return [s.ControllerStatusChanged(_status(session, reason, up=up))]


def _pause(session: Session, *, paused: bool) -> Message:
    """That its monitors are paused, or are no more, as its version says so."""
    if session.version < 5:
        return s.FlowMonitorPause(paused)
    return s.MultipartReply("flow_monitor", (s.FlowMonitorUpdate("paused" if paused else "resumed"),))


def _only_asks(message: Message) -> bool:
    return isinstance(message, s.TableFeaturesRequest) and not message.tables


_Handler = Callable[[Switch, Any, int, Session, int, Outcome], None]
_MODIFIERS: dict[type[Message], _Handler] = {
    FlowMod: Switch._flow_mod,
    GroupMod: Switch._group_mod,
    MeterMod: Switch._meter_mod,
    PortMod: Switch._port_mod,
    TableMod: Switch._table_mod,
    PacketOut: Switch._packet_out,
}
"""What may be in a bundle."""
_CHANGING = {
    *_MODIFIERS, Resume, s.TableFeaturesRequest, c.BundleControl, c.BundleAdd, c.TlvTableMod,
}  # fmt: skip
_HANDLERS: dict[type[Message], _Handler] = {
    **_MODIFIERS,
    Resume: Switch._resume,
    s.StatsRequest: Switch._statistics,
    s.FlowStatsRequest: Switch._statistics,
    s.TableFeaturesRequest: Switch._table_features,
    s.FlowMonitorRequest: Switch._monitor,
    s.FlowMonitorRequests: Switch._monitors,
    s.FlowMonitorCancel: Switch._cancel,
    s.BundleFeaturesRequest: Switch._bundle_features,
    s.ExperimenterMultipart: Switch._other_statistics,
    c.FeaturesRequest: Switch._features,
    c.GetConfigRequest: Switch._get_config,
    c.SetConfig: Switch._set_config,
    c.BarrierRequest: Switch._barrier,
    c.EchoRequest: Switch._echo,
    c.EchoReply: Switch._ignore,
    c.Hello: Switch._ignore,
    c.Error: Switch._ignore,
    c.Experimenter: Switch._experimenter,
    c.QueueConfigRequest: Switch._queue_config,
    c.RoleRequest: Switch._role,
    c.SetAsync: Switch._set_async,
    c.AsyncGet: Switch._get_async,
    c.BundleControl: handle_bundle_control,
    c.BundleAdd: handle_bundle_add,
    c.FlowModTableId: Switch._table_ids,
    c.SetFlowFormat: Switch._flow_format,
    c.SetPacketInFormat: Switch._packet_in_format,
    c.SetControllerId: Switch._controller_id,
    c.TlvTableMod: Switch._tlv_mod,
    c.TlvTableRequest: Switch._tlv_table,
}
