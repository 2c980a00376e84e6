"""The switch on its datapath, without its connections: messages in, answers and packets out.

It holds what decides (tables, groups, meters, ports, learned addresses), answers packets that come up by it, keeps the
megaflows right, and counts. Nothing here waits or knows of sockets; `bridge` lets it work when there is something to
do.

What the engine says by itself goes to three functions: `on_event` gets messages that nobody asked for, `on_packet` what
controllers are to be sent of packets.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

from vswitch.api.datapath import Datapath
from vswitch.base.errors import NotFoundError, VswitchError
from vswitch.base.limits import MAX_PORT
from vswitch.bridge.effects import Effects
from vswitch.bridge.handler import Handler, PacketForControllers
from vswitch.bridge.megaflows import Megaflows, Standing
from vswitch.bridge.meters import ControllerMeters, DatapathMeters
from vswitch.bridge.options import BridgeOptions
from vswitch.bridge.packets import Paused, packet_in
from vswitch.bridge.ports import datapath_number, describe, mac_of, openflow_number, stats_of
from vswitch.bridge.restoration import Restoration
from vswitch.bridge.revalidation import Revalidator
from vswitch.bridge.sends import Sends
from vswitch.bridge.view import BridgeView
from vswitch.datapath.ebpf.netdev import Netdev
from vswitch.fields import SLOTS
from vswitch.messages.base import Message
from vswitch.messages.control import BarrierRequest
from vswitch.messages.flows import FlowMod, PacketIn, PacketOut, Resume
from vswitch.messages.ports import PortConfig, PortDescription, PortMod
from vswitch.messages.stats import FlowStatsRequest, PortStats, StatsRequest
from vswitch.model.actions import Recirculate, walk
from vswitch.model.port import PortChange, PortEvent
from vswitch.ofproto.normal import MacTable
from vswitch.ofproto.paths import Paths
from vswitch.ofproto.session import Session
from vswitch.ofproto.statistics import Identity
from vswitch.ofproto.switch import Outcome, Switch
from vswitch.ofproto.tables import Change
from vswitch.ofproto.translate import translate
from vswitch.ofproto.translation import ANY_PORT_CHANGE, Dependency, Translation
from vswitch.packet.parse import parse

__all__ = ["Engine"]

logger = logging.getLogger("vswitch")

PUSH_NS = 500_000_000
"""Counters go from megaflows to rules so often, and timeouts of rules are looked at: both are true to a second."""

PUSH_AT_ONCE, PUSH_TICKS = 4000, 8
"""Megaflows that are credited in one tick, some 15 ms; more if there are so many that they would take more than so many
ticks, of which there are ten a second."""

EXPIRE_NS = 500_000_000
"""Idle megaflows go so often: who is idle is found by a look at all of them."""

MIN_FRAME, MAX_FRAME = 14, 65549
"""Bytes of a frame that can be sent."""

IN_PORT, RECIRC_ID = SLOTS["in_port"], SLOTS["recirc_id"]

ENTER_AT_ONCE = 2000
"""Megaflows that are entered into the index in one go, while nothing else waits."""


class Engine:
    """One bridge."""

    def __init__(self, datapath: Datapath, options: BridgeOptions) -> None:
        backend = datapath.backend
        self.datapath = datapath
        self.options = options
        self.now_ns = backend.now_ns
        self.on_event: Callable[[Message], None] = lambda _message: None
        self.on_packet: Callable[[PacketIn, PacketForControllers], None] = lambda _packet, _what: None
        self.on_addressed: Callable[[Session, Message, int], None] = lambda _session, _message, _xid: None
        self.switch = Switch(Identity(datapath_id=self._datapath_id()), max_flows=options.max_flows)
        self.view = BridgeView(self.switch, MacTable(options.max_macs, options.mac_age_s * 10**9))
        self.sends = Sends()
        self.paused = Paused()
        self.megaflows = Megaflows(
            datapath.flows, backend.flows, self.sends, self.now_ns, self._used, options.max_megaflows
        )
        self.paths = Paths(self.view)
        self.revalidator = Revalidator(self.megaflows, self._translate_again, self.paths.clear)
        self.effects = Effects(self.switch, self.view.macs, self.revalidator, self._carry_out)
        self.meters = DatapathMeters(datapath.meters, self.switch.meters, backend.options.max_meters)
        self.handler = Handler(
            self.view, self.megaflows, self.sends, self.effects, self.now_ns, self.meters.number,
            options.idle_timeout_s, self.paths,
        )  # fmt: skip
        self._store = backend.flows
        self._port_events = backend.ports
        self._next_push_ns = self._next_expiry_ns = 0
        self._pushing = 0  # so many are credited in this tick, of those that have counted
        self.controller_meters = ControllerMeters(self.switch.meters)
        self.packet_outs = self.refused_packets = self.metered_packets = 0
        self.switch.ports.statistics = self._port_statistics
        self.switch.tables.before_removal = self.megaflows.push_rule
        self.upcalls = datapath.start_upcalls()
        self.upcalls.on_installed = self.megaflows.installed
        self.upcalls.make_way = self.megaflows.make_way
        self.megaflows.upcalls = self.upcalls
        for port in datapath.ports:
            self._put_port(describe(port))
        backend.ports.forget_events()
        self.configure()
        self.adopted = len(datapath.flows)
        self.restoration = Restoration(self.now_ns(), round(options.restore_s * 1e9) if self.adopted else 0)
        self.handler.exactly = bool(self.restoration)
        if self.adopted and not self.restoration:
            self.end_restoring()

    def _datapath_id(self) -> int:
        """What was given; else from the address of the local port, or of that with the lowest number."""
        if self.options.datapath_id is not None:
            return self.options.datapath_id
        return next((mac_of(port) for port in self.datapath.ports), 0x020000000000 | hash(self.datapath.name) & 0xFFFF)

    # ---- messages

    def handle(self, message: Message, xid: int, session: Session) -> list[tuple[Message, int]]:
        """Do what a message says; the answers to it, a refusal among them, each with its xid."""
        now_ns = self.now_ns()
        if isinstance(message, StatsRequest | FlowStatsRequest):
            self._count(now_ns)
        elif isinstance(message, BarrierRequest):
            self.settle()
        outcome = self.switch.handle(message, xid, session, now_ns)
        self._carry_out(outcome)
        return outcome.replies

    def flow_mod(self, mod: FlowMod, *, version: int = 4) -> None:
        """Do what a flow-mod says that comes from this program. OpenFlowError: it is refused."""
        self._carry_out(self.switch.flow_mod(mod, self.now_ns(), version=version))

    def _carry_out(self, outcome: Outcome) -> None:
        """What a change of the switch brings with it, besides answers."""
        # hot: once per flow-mod
        if outcome.changes:
            self._note(outcome.changes)
        if outcome.groups:
            self._groups_changed({change.group.id for change in outcome.groups})
        if outcome.meters:
            self.revalidator.note_parts([("meter", number) for number in self.meters.sync()])
        for port in outcome.ports:
            self._port_changed(port)
        if outcome.configuration:
            self.configure()
        for message in outcome.events:
            self.on_event(message)
        for session, message, xid in outcome.addressed:
            self.on_addressed(session, message, xid)
        if outcome.packets:
            self.settle()
            for packet in outcome.packets:
                self._send_out(packet)

    def _groups_changed(self, numbers: set[int]) -> None:
        """Megaflows depend on the groups that they were in, and on those that one of these was watched by."""
        self.revalidator.note_parts([("group", number) for number in numbers])

    def _note(self, changes: Iterable[Change]) -> None:
        revalidator = self.revalidator
        for change in changes:
            if change.kind == "added":
                if change.replaces is not None:
                    revalidator.note_removed(change.replaces)
                revalidator.note_added(change.rule)
            elif change.kind == "removed":
                revalidator.note_removed(change.rule)
            else:
                revalidator.note_modified(change.rule)

    def configure(self, *, standalone: bool | None = None) -> None:
        """What holds for the whole switch may be another now."""
        before = self.view.config
        misses = {table.number: table.miss for table in self.switch.tables if table.miss}
        config = replace(
            before,
            fragments=self.switch.fragments,
            standalone=before.standalone if standalone is None else standalone,
            miss="controller" if self.switch.sends_misses else "drop",
            misses=misses,
        )
        if config != before:
            self.view.config = config
            self.revalidator.note_all()

    # ---- packets

    def take_upcalls(self) -> bool:
        """Answer a batch of what came up. Whether there may be more."""
        # hot: once per batch
        self.settle()
        upcalls = self.upcalls
        upcalls.handle(self.handler.answer)
        self.megaflows.end_batch()
        if self.handler.told:
            self.tell_controllers()
        if self.revalidator:
            self.settle()
        if len(self.megaflows) >= self.megaflows.limit:
            self.megaflows.evict()
        return upcalls.busy

    def settle(self) -> None:
        """Let no packet see what has changed, from now on."""
        if self.revalidator:
            self.revalidator.settle()

    def rest(self) -> bool:
        """Nothing waits: do what was put off. Whether there is more of it."""
        index = self.megaflows.index
        index.work(ENTER_AT_ONCE)
        return index.behind

    def tell_controllers(self) -> None:
        """Hand over what packets are for controllers."""
        now_ns = self.now_ns()
        for told in self.handler.take_told():
            if len(self.switch.meters) and not self.controller_meters.passes(told.send.meter, told.length, now_ns):
                self.metered_packets += 1
                continue
            self.on_packet(packet_in(told, self.paused), told)

    def _send_out(self, packet: PacketOut | Resume) -> None:
        """Carry out a packet-out, or let a packet go on that was paused."""
        self.packet_outs += 1
        now_ns = self.now_ns()
        given = packet if isinstance(packet, PacketOut) else packet.packet
        metadata, frame = given.metadata, given.frame
        if not MIN_FRAME <= len(frame) <= MAX_FRAME:
            self.refused_packets += 1
            return
        key = parse(frame, 0) & ~metadata.mask | metadata.value
        if isinstance(packet, PacketOut):
            known = self.paths.follow(key, packet.actions)
            translation = known or translate(self.view, key, frame, now_ns, actions=packet.actions, paths=self.paths)
        else:
            state = self.paused.get(packet.packet.continuation)
            if state is None:
                self.refused_packets += 1
                return
            translation = translate(self.view, key, frame, now_ns, resume=state)
        self._execute(translation, key, frame, now_ns)

    def _execute(self, translation: Translation, key: int, frame: bytes, now_ns: int) -> None:
        """Do to one packet what its translation says."""
        self.effects.credit(translation, 1, len(frame), now_ns)
        if translation.effects:
            self.effects.perform(translation.effects, now_ns)
        numbers: tuple[int, ...] = ()
        actions = translation.actions
        if translation.controllers or translation.meters:
            numbers = self.sends.acquire(translation.controllers) or ()
            actions = self.handler.for_datapath(translation, numbers)
        port = datapath_number(IN_PORT.take(key))
        try:
            if actions:
                self.datapath.execute(frame, actions, in_port=port if port <= MAX_PORT else 0)
        except VswitchError as problem:
            self.refused_packets += 1
            logger.debug("a packet-out was not sent: %s", problem)
        finally:
            self.sends.release(numbers)

    def _translate_again(self, standing: Standing) -> Translation:
        return self.handler.translate_again(standing)

    # ---- counting and time

    def _used(self, translation: Translation, packets: int, size: int, used_ns: int) -> None:
        self.effects.used(translation, packets, size, used_ns)

    def _count(self, now_ns: int) -> None:
        """Let all counters be true."""
        self.megaflows.push(now_ns)
        self.meters.count()

    def _port_statistics(self, number: int) -> PortStats | None:
        try:
            counted = self.datapath.ports.stats(datapath_number(number))
        except NotFoundError:
            return None
        return stats_of(number, counted, 0)

    def tick(self) -> None:
        """See to the time that has gone by: call it some times a second."""
        now_ns = self.now_ns()
        if now_ns >= self._next_expiry_ns:
            self._next_expiry_ns = now_ns + EXPIRE_NS
            self.megaflows.expire(now_ns)
        if not self._pushing and now_ns >= self._next_push_ns:
            self._next_push_ns = now_ns + PUSH_NS
            self._pushing = max(PUSH_AT_ONCE, self.megaflows.look_who_counts() // PUSH_TICKS)
        if self._pushing and not self.megaflows.push_some(now_ns, self._pushing):
            self._pushing = 0
            self.meters.count()
            self._carry_out(self.switch.expire(now_ns))
            self._macs_gone(self.view.macs.expire(now_ns))
            if len(self.view.frozen) > self.view.frozen.limit // 2:
                self._forget_frozen()
        self.settle()
        if self.restoration.is_due(now_ns):
            self.end_restoring()

    def end_restoring(self) -> int:
        """The flows are loaded: megaflows of an earlier process go, and all packets are answered by the flows. How many
        they were."""
        self.restoration.end()
        self.handler.exactly = False
        count = self.megaflows.forget_strangers()
        if count:
            logger.info("%s: %d megaflows of an earlier process are gone", self.datapath.name, count)
        return count

    def close(self) -> None:
        """No more packets are answered."""
        self.settle()
        self.datapath.flows.on_removal = self.megaflows.forget

    # ---- ports

    def ports_fileno(self) -> int:
        """Readable when something happens to ports."""
        return self._port_events.fileno()

    def follow_ports(self) -> None:
        """See to what has happened to ports."""
        for event in self._port_events.events():
            self._port_event(event)
        self.settle()

    def _port_event(self, event: PortEvent) -> None:
        logger.info("port %d (%s): %s", event.port.number, event.port.name, event.change.value)
        if event.change is PortChange.REMOVED:
            number = openflow_number(event.port.number)
            self._macs_gone(self.view.macs.flush(number))
            self._carry_out(self.switch.port_removed(number))
        else:
            self._put_port(describe(event.port))

    def _put_port(self, port: PortDescription) -> None:
        """There is this port, as its device is now. Whether that is down is a matter of the device alone."""
        now_ns = self.now_ns()
        known = self.switch.ports.get(port.number)
        if known is not None and (known.config ^ port.config) & PortConfig.DOWN:
            mod = PortMod(port.number, known.mac, port.config & PortConfig.DOWN, PortConfig.DOWN)
            self.switch.ports.apply(mod)
            self._carry_out(self.switch.port_changed(replace(port, mac=port.mac), now_ns))
            return
        self._carry_out(self.switch.port_changed(port, now_ns))

    def _port_changed(self, port: PortDescription) -> None:
        """Megaflows that go out of it, come in by it, or flood, and groups that watch it, may be others now."""
        parts: list[Dependency] = [("port", port.number), ANY_PORT_CHANGE]
        self.revalidator.note_parts(parts)
        self._set_device(port)

    def _set_device(self, port: PortDescription) -> None:
        """A port-mod may want the device up or down."""
        if self.datapath.backend.simulated:
            return
        try:
            device = self.datapath.ports[datapath_number(port.number)]
        except NotFoundError:
            return
        up = not port.config & PortConfig.DOWN
        if device.ifindex is not None and device.up != up:
            try:
                with Netdev() as devices:
                    devices.set_up(device.ifindex, up)
            except VswitchError as problem:
                logger.warning("%s: %s", device.name, problem)

    def _macs_gone(self, gone: Iterable[tuple[int, int]]) -> None:
        parts: list[Dependency] = [("mac", vlan, mac) for vlan, mac in gone]
        if parts:
            self.revalidator.note_parts(parts)

    def _forget_frozen(self) -> None:
        """Ways on of packets that no megaflow leads to any more."""
        used: set[int] = set()
        for standing in self.megaflows:
            used.add(RECIRC_ID.take(standing.key))
            for _, action in walk(standing.rule.actions):
                if isinstance(action, Recirculate):
                    used.add(action.id)
        self.view.frozen.keep(used)
