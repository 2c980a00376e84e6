"""The switch on its datapath, without its connections: messages in, answers and packets out.

It holds what decides (tables, groups, meters, ports, learned addresses), answers packets that come up by it, keeps the
megaflows right, and counts. Nothing here waits or knows of sockets; `bridge` lets it work when there is something to
do.

What the engine says by itself goes to three functions: `on_event` gets messages that nobody asked for, `on_packet` what
controllers are to be sent of packets.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from vswitch.api.datapath import Datapath
from vswitch.base.errors import NotFoundError, VswitchError
from vswitch.bridge.effects import Effects
from vswitch.bridge.features import Features, mirrors_changed
from vswitch.bridge.handler import Handler, PacketForControllers
from vswitch.bridge.megaflows import Megaflows, Standing
from vswitch.bridge.meters import DatapathMeters, PolicedHere
from vswitch.bridge.options import BridgeOptions, TableSettings
from vswitch.bridge.packet_outs import PacketOuts, may_wait
from vswitch.bridge.packet_trace import PacketTrace, trace_packet
from vswitch.bridge.packets import Paused, packet_in
from vswitch.bridge.ports import datapath_id_of, datapath_number, describe, openflow_number, stats_of
from vswitch.bridge.restoration import Restoration
from vswitch.bridge.revalidation import Revalidator
from vswitch.bridge.sends import Sends
from vswitch.bridge.view import BridgeView
from vswitch.datapath.ebpf.netdev import Netdev
from vswitch.fields import SLOTS
from vswitch.messages.actions import FlowAction
from vswitch.messages.base import Message
from vswitch.messages.control import BarrierRequest
from vswitch.messages.flows import FlowMod, PacketIn, PacketOut, Resume
from vswitch.messages.match import FlowMatch
from vswitch.messages.ports import PortConfig, PortDescription, PortMod
from vswitch.messages.stats import FlowStatsRequest, PortStats, QueueDescription, QueueStats, StatsRequest
from vswitch.model.actions import Recirculate, walk
from vswitch.model.port import Port, PortChange, PortEvent, PortKind
from vswitch.ofproto.admission import Admission
from vswitch.ofproto.meters import MAX_METERS
from vswitch.ofproto.normal import MacTable
from vswitch.ofproto.paths import Paths
from vswitch.ofproto.run import ALL_BITS
from vswitch.ofproto.session import Session
from vswitch.ofproto.settings import McastSnooping, Mirror
from vswitch.ofproto.statistics import Identity
from vswitch.ofproto.switch import Outcome, Removal, Switch
from vswitch.ofproto.tables import Change
from vswitch.ofproto.translation import ANY_PORT_CHANGE, Dependency, PortVlan, Translation

__all__ = ["Engine"]

logger = logging.getLogger("vswitch")

PUSH_NS = 500_000_000
"""Counters go from megaflows to rules so often, and timeouts of rules are looked at: both are true to a second."""

PUSH_AT_ONCE, PUSH_TICKS = 4000, 8
"""Megaflows that are credited in one tick, some 15 ms; more if there are so many that they would take more than so many
ticks, of which there are ten a second."""

EXPIRE_NS = 500_000_000
"""Idle megaflows go so often: who is idle is found by a look at all of them."""

MOST_GATHERED = 64
"""Packet-outs that wait to be sent together."""

RECIRC_ID = SLOTS["recirc_id"]

ENTER_AT_ONCE = 2000
"""Megaflows that are entered into the index in one go, while nothing else waits."""


_GATHERING = (FlowMod, PacketOut)
"""Messages that what was gathered need not be sent before."""


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
        room = backend.options.max_meters
        self.switch = Switch(self._identity(), max_flows=options.max_flows, max_meters=min(room, MAX_METERS))
        self._configure_tables(options)
        self.view = BridgeView(self.switch, MacTable(options.max_macs, options.mac_age_s * 10**9))
        self.features = Features(options, self.view, self.now_ns)
        self.sends = Sends()
        self.paused = Paused()
        self.megaflows = Megaflows(
            datapath.flows, backend.flows, self.sends, self.now_ns, self._used, options.max_megaflows
        )
        self.paths = Paths(self.view)
        self._vlans = dict(options.vlans)
        self.revalidator = Revalidator(self.megaflows, self._translate_again, self.paths.clear)
        self.effects = Effects(self.switch, self.view.macs, self.revalidator, self._carry_out)
        self.effects.credit_mirrors = self.features.credit
        self.meters = DatapathMeters(datapath.meters, self.switch.meters, room)
        self.policed = PolicedHere(self.switch.meters)
        self.handler = Handler(
            self.view, self.megaflows, self.sends, self.effects, self.now_ns, self.meters.number,
            options.idle_timeout_s, self.paths,
        )  # fmt: skip
        self.packet_outs = PacketOuts(
            backend, self.view, self.paths, self.paused, self.sends, self.handler, self.effects, self.now_ns
        )
        self._store = backend.flows
        self._port_events = backend.ports
        self._next_push_ns = self._next_expiry_ns = 0
        self._removed: list[Removal] = []
        self._pushing = 0  # so many are credited in this tick, of those that have counted
        self._gathered: list[PacketOut | Resume] = []
        self._telling = False  # packet-ins of a batch are handed over
        self.metered_packets = 0
        self.switch.ports.statistics = self._port_statistics
        self.switch.ports.queue_statistics = self._queue_statistics
        self.queue_counters: Callable[[str, int], tuple[int, int, int] | None] = lambda _port, _queue: None
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

    def _identity(self) -> Identity:
        """What was given; else what follows from ports and name."""
        options = self.options
        number = options.datapath_id
        if number is None:
            number = datapath_id_of(self.datapath.name, self.datapath.ports)
        return Identity(datapath_id=number, serial=options.serial, datapath=options.description)

    def reconfigure(self, options: BridgeOptions) -> None:
        """Have these settings from now on; what they do not bear on stays as it is."""
        before, self.options = self.options, options
        if (identity := self._identity()) != self.switch.identity:
            self.switch.identify(identity)
        if (options.tables, options.max_flows) != (before.tables, before.max_flows):
            self._configure_tables(options)
        if (options.max_macs, options.mac_age_s) != (before.max_macs, before.mac_age_s):
            self.macs_changed(self.view.macs.resize(options.max_macs, options.mac_age_s * 10**9))
        self.handler.idle_timeout_s = options.idle_timeout_s
        self.megaflows.limit = options.max_megaflows
        if len(self.megaflows) > self.megaflows.limit:
            self.megaflows.evict()
        for name in before.vlans.keys() | options.vlans.keys():
            if before.vlans.get(name) != options.vlans.get(name):
                self._put_vlan(name, options.vlans.get(name))
        self._reconfigure_features(before, options)
        self.configure()
        if before.waits and not options.waits:
            self.end_restoring()
        self.settle()

    def _reconfigure_features(self, before: BridgeOptions, options: BridgeOptions) -> None:
        features = self.features
        if options.mirrors != before.mirrors:
            self.count(self.now_ns())
            features.set_mirrors(options.mirrors)
        if options.mcast_snooping != before.mcast_snooping:
            self.mcast_changed(features.set_snooping(options.mcast_snooping))
        features.protected, features.flood_vlans = options.protected, options.flood_vlans
        features.forward_bpdu = options.forward_bpdu

    def _configure_tables(self, options: BridgeOptions) -> None:
        """Flows that are more than a table may have from now on stay."""
        self.switch.tables.max_flows = options.max_flows
        for table in self.switch.tables:
            settings = options.tables.get(table.number, TableSettings())
            table.name, table.eviction = settings.name, settings.evicts
            table.max_flows = options.max_flows if settings.max_flows is None else settings.max_flows

    # ---- messages

    def handle(
        self,
        message: Message,
        xid: int,
        session: Session,
        take_parts: Callable[[Iterator[tuple[Message, int | None]]], None] | None = None,
    ) -> list[tuple[Message, int]]:
        """Do what a message says; the answers to it, a refusal among them, each with its xid. `take_parts` is given
        what may be long, behind these answers: its parts are made as they are taken."""
        now_ns = self.now_ns()
        if isinstance(message, StatsRequest | FlowStatsRequest):
            self.settle()
            self.count(now_ns)
        elif isinstance(message, BarrierRequest) or (self._gathered and type(message) not in _GATHERING):
            self.settle()
        outcome = self.switch.handle(message, xid, session, now_ns, in_parts=take_parts is not None)
        self._carry_out(outcome)
        if take_parts is not None and outcome.parts is not None:
            take_parts((part, xid) for part in outcome.parts)
        return outcome.replies

    def flow_mod(self, mod: FlowMod, *, version: int = 4) -> None:
        """Do what a flow-mod says that comes from this program. OpenFlowError: it is refused."""
        self._carry_out(self.switch.flow_mod(mod, self.now_ns(), version=version))

    def _carry_out(self, outcome: Outcome) -> None:
        """What a change of the switch brings with it, besides answers."""
        # hot: once per flow-mod
        if outcome.changes:
            self._note(outcome.changes)
            self._removed += outcome.removed
        if outcome.groups:
            self._groups_changed({change.group.id for change in outcome.groups})
        if outcome.meters:
            self.revalidator.note_parts([("meter", number) for number in self.meters.sync(outcome.meters)])
            self.handler.passes = self.policed.passes_slow_path if self.policed.polices_slow_path else None
        for port in outcome.ports:
            self._port_changed(port)
        if outcome.configuration:
            self.configure()
        for message in outcome.events:
            self.on_event(message)
        for session, message, xid in outcome.addressed:
            self.on_addressed(session, message, xid)
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
            vlans={port.number: self._vlans[port.name] for port in self.switch.ports if port.name in self._vlans},
            standalone=before.standalone if standalone is None else standalone,
            miss="controller" if self.switch.sends_misses else "drop",
            misses=misses,
        )
        config = self.features.apply(config, {port.name: port.number for port in self.switch.ports})
        if config != before:
            self.view.config = config
            alike = replace(before, mirrors=config.mirrors) == config
            parts = mirrors_changed(before, config) if alike else None
            if parts is None:
                self.revalidator.note_all()
            else:
                self.revalidator.note_parts(parts)

    def set_mirrors(self, mirrors: Iterable[Mirror]) -> None:
        """These from now on."""
        self.count(self.now_ns())
        self.features.set_mirrors(mirrors)
        self.features_changed()

    def set_snooping(self, wanted: McastSnooping | None) -> None:
        """Multicast is snooped so from now on."""
        self.mcast_changed(self.features.set_snooping(wanted))
        self.features_changed()

    def features_changed(self) -> None:
        """Features were set."""
        self.configure()
        self.settle()

    def mcast_changed(self, parts: Iterable[Dependency]) -> None:
        """Groups, or ports of routers, are others now."""
        found = set(parts)
        if found:
            self.revalidator.note_parts(found)

    def set_vlan(self, name: str, vlan: PortVlan | None) -> None:
        """How the port of this name treats VLANs from now on; None: as a trunk of all. What was learned there, in other
        VLANs, is forgotten."""
        self._put_vlan(name, vlan)
        self.configure()
        self.settle()

    def _put_vlan(self, name: str, vlan: PortVlan | None) -> None:
        if vlan is None:
            self._vlans.pop(name, None)
        else:
            self._vlans[name] = vlan
        for port in self.switch.ports:
            if port.name == name:
                self.macs_changed(self.view.macs.flush(port.number))

    def set_queues(self, name: str, queues: Iterable[int]) -> None:
        """The port of this name has these."""
        ports = self.switch.ports
        number = next((port.number for port in ports if port.name == name), None)
        if number is None:
            return
        for key in [key for key in ports.queues if key[0] == number]:
            del ports.queues[key]
        for queue in queues:
            ports.queues[number, queue] = QueueDescription(number, queue)

    # ---- packets

    def take_upcalls(self) -> bool:
        """Answer a batch of what came up. Whether there may be more."""
        # hot: once per batch
        self.settle()
        upcalls = self.upcalls
        handler = self.handler
        upcalls.handle(handler.answer if handler.passes is None else handler.answer_if_it_passes)
        self.megaflows.end_batch()
        if self.handler.told:
            self.tell_controllers()
        self.settle()
        if len(self.megaflows) >= self.megaflows.limit:
            self.megaflows.evict()
        return upcalls.busy

    def settle(self) -> None:
        """Let no packet see what has changed, from now on. Flows that went have counted all by then; that is told, and
        packet-outs that were gathered go."""
        if self.revalidator:
            self.revalidator.settle()
        if self._removed and not self.revalidator:  # else what megaflows had counted has changed flows once more
            removed, self._removed = self._removed, []
            for each in removed:
                self.on_event(each.message())
        if self._gathered:
            gathered, self._gathered = self._gathered, []
            self.packet_outs.send(gathered)

    def call_ends(self) -> None:
        """The program has asked for something. It is settled at once, or, if the program was just told of a packet,
        when it has been told of all of the batch."""
        if not self._telling:
            self.settle()

    def rest(self) -> bool:
        """Nothing waits: do what was put off. Whether there is more of it."""
        index = self.megaflows.index
        index.work(ENTER_AT_ONCE)
        return index.behind

    def tell_controllers(self) -> None:
        """Hand over what packets are for controllers."""
        now_ns = self.now_ns()
        self._telling = True
        try:
            for told in self.handler.take_told():
                if told.send.snoop is not None:
                    self.features.read(told, self.packet_outs, self.revalidator)
                    continue
                meter = told.send.meter
                if len(self.switch.meters) and not self.policed.passes_to_controllers(meter, told.length, now_ns):
                    self.metered_packets += 1
                    continue
                self.on_packet(packet_in(told, self.paused), told)
        finally:
            self._telling = False

    def _send_out(self, packet: PacketOut | Resume) -> None:
        """Carry out a packet-out, or let a packet go on that was paused; if it may wait, with others."""
        if may_wait(packet):
            self._gathered.append(packet)
            if len(self._gathered) >= MOST_GATHERED:
                self.settle()
        else:
            self.settle()
            self.packet_outs.send((packet,))

    def trace(
        self, key: int, frame: bytes | None, actions: tuple[FlowAction, ...] | None = None, *, consistent: bool = False
    ) -> PacketTrace:
        """What would become of the packet with this key (of a flow). `actions`: of a packet-out with them, which have
        to fit the packet if they are to be `consistent`. OpenFlowError: they are refused."""
        if actions is not None:
            match = FlowMatch.from_ints(key, ALL_BITS) if consistent else None
            Admission(self.switch.groups, self.switch.meters, match, None).check(actions)
        return trace_packet(self.datapath.name, self.view, key, frame, self.now_ns(), actions)

    def _translate_again(self, standing: Standing) -> Translation:
        return self.handler.translate_again(standing)

    # ---- counting and time

    def _used(self, translation: Translation, packets: int, size: int, used_ns: int) -> None:
        self.effects.used(translation, packets, size, used_ns)

    def count(self, now_ns: int) -> None:
        """Let all counters be true."""
        self.megaflows.push(now_ns)
        self.meters.count()

    def _port_statistics(self, number: int) -> PortStats | None:
        try:
            counted = self.datapath.ports.stats(datapath_number(number))
        except NotFoundError:
            return None
        return stats_of(number, counted, 0)

    def _queue_statistics(self, number: int, queue: int) -> QueueStats | None:
        try:
            counted = self.queue_counters(self.datapath.ports[datapath_number(number)].name, queue)
        except VswitchError:  # it has just gone
            return None
        return None if counted is None else QueueStats(number, queue, *counted, 0)

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
            self.macs_changed(self.view.macs.expire(now_ns))
            self.mcast_changed(self.view.mcast.expire(now_ns))
            if len(self.view.frozen) > self.view.frozen.limit // 2:
                self._forget_frozen()
        self.settle()
        if self.restoration.is_due(now_ns) and not self.options.waits:
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
        logger.info("%s: port %d (%s): %s", self.datapath.name, event.port.number, event.port.name, event.change.value)
        if event.change is PortChange.REMOVED:
            number = openflow_number(event.port.number)
            self.macs_changed(self.view.macs.flush(number))
            self.mcast_changed(self.view.mcast.flush(number))
            self._carry_out(self.switch.port_removed(number))
            self.configure()
            return
        with contextlib.suppress(NotFoundError):  # that it was removed is told next
            self._put_port(describe(self.datapath.ports[event.port.number]))  # several may have happened to it by now

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
        self.configure()

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
                    devices.set_up(_seen_by_host(device, devices), up)
            except VswitchError as problem:
                logger.warning("%s: %s", device.name, problem)

    def macs_changed(self, where: Iterable[tuple[int, int]]) -> None:
        """These (vlan, mac) are somewhere else now, or nowhere."""
        parts: list[Dependency] = [("mac", vlan, mac) for vlan, mac in where]
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


def _seen_by_host(port: Port, devices: Netdev) -> int:
    """The device that is up or down: of an internal port the host's end. NotFoundError if that is elsewhere."""
    assert port.ifindex is not None
    if port.kind is not PortKind.INTERNAL:
        return port.ifindex
    end = devices.device(port.ifindex)
    if end.peer_elsewhere or end.peer_ifindex is None:
        raise NotFoundError(f"the device of port {port.name} is in another network namespace")
    return end.peer_ifindex
