"""`Bridge`: a whole OpenFlow switch on a datapath, for programs and for `vswitch run`.

    with Bridge.create("br0", ports=["veth1", "veth2"], controllers=["tcp:127.0.0.1:6653"]) as bridge:
        bridge.run()

A program may be the controller itself, in the same process and without a socket: it adds flows, is called with
packet-ins, sends packets, or sends any message of OpenFlow and gets the answers. Over `Bridge.simulate()` that needs
neither root nor devices: packets are those that the program gives to `receive`, time goes on when it says so.

Everything is done in one thread, that of the event loop in which `serve` runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from vswitch.api.datapath import Datapath
from vswitch.base.errors import ConfigError
from vswitch.base.version import VERSION
from vswitch.bridge.channels import Channel
from vswitch.bridge.collection import Collector, seldom
from vswitch.bridge.commands import BridgeCommands
from vswitch.bridge.control import ControlServer
from vswitch.bridge.controllers import Controllers, ControllerState
from vswitch.bridge.engine import Engine
from vswitch.bridge.features import MirrorStats
from vswitch.bridge.handler import PacketForControllers
from vswitch.bridge.local import LocalController
from vswitch.bridge.options import BridgeOptions
from vswitch.bridge.packet_trace import PacketTrace, key_of_packet
from vswitch.bridge.shedding import Shedding
from vswitch.bridge.vlans import port_vlan, vlan_set
from vswitch.control.commands import Answer, Commands
from vswitch.datapath.ebpf.state import Options
from vswitch.fields import SLOTS
from vswitch.messages.actions import FlowAction, Output
from vswitch.messages.base import Message
from vswitch.messages.control import Error
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.flows import (
    ALL_GROUPS,
    ALL_TABLES,
    FlowCommand,
    FlowMod,
    GroupCommand,
    GroupMod,
    MeterCommand,
    MeterMod,
    PacketIn,
    PacketInReason,
)
from vswitch.messages.match import FlowMatch
from vswitch.messages.stats import (
    FlowStats,
    FlowStatsRequest,
    GroupDescription,
    GroupStats,
    MeterConfig,
    MeterStats,
    StatsRequest,
)
from vswitch.model.sent import Sent
from vswitch.ofproto.meters import ALL_METERS, MAX_METERS
from vswitch.ofproto.session import Session
from vswitch.ofproto.settings import McastSnooping, Mirror
from vswitch.ofproto.snooping import MulticastGroup
from vswitch.openflow.connection import MAX_ERROR_DATA, Received
from vswitch.text.flow_match import parse_flow_match

if TYPE_CHECKING:
    from vswitch.datapath.simulated.backend import SimulatedBackend

__all__ = ["Bridge"]

logger = logging.getLogger("vswitch")

TICK_S = 0.1
"""How often time is looked at."""

LOOK_S = 0.02
"""How often it is looked at what comes up by a new flood."""

BATCHES = 4
"""Of packets that have come up, in one turn of the event loop: what was sent down has often brought up the next."""

NORMAL = 0xFFFFFFFA
IN_PORT = SLOTS["in_port"]
TABLE_MISS_SINCE = 4
"""OpenFlow 1.3: a flow that takes what no other does is its table's miss; before, what it does are actions as any."""


class Bridge:
    """A switch. `Bridge.create(name, ...)` makes one in the kernel, `Bridge.simulate(...)` one without. Settings are
    the members of `BridgeOptions`. As a context manager it is removed at the end of the block, or left forwarding if
    it is to be kept.
    """

    def __init__(self, datapath: Datapath, options: BridgeOptions | None = None, **settings: Any) -> None:
        """On a datapath that there is; it belongs to the bridge until `close`."""
        self.options = _options(options, settings)
        self.datapath = datapath
        self._engine = Engine(datapath, self.options)
        self._controllers = Controllers(self.options, self._new_session, self._handle, self._came, self._gone)
        self._local = LocalController(self._engine)
        self._shedding = Shedding(datapath.backend.ports)
        if self.options.new_flow_rate_per_s:
            datapath.limit_new_flows(self.options.new_flow_rate_per_s)
        self._engine.on_event = self._tell_all
        self._engine.on_addressed = self._tell_one
        self._engine.on_packet = self._tell_packet
        self._control: ControlServer | None = None
        self._commands = BridgeCommands(self, Commands(f"vswitch {VERSION}"), self._engine.now_ns() / 1e9)
        self._channels: dict[Session, Channel] = {}
        self._keep = False
        self.queue_counters: Callable[[str, int], tuple[int, int, int] | None] = lambda _port, _queue: None
        self._engine.queue_counters = lambda port, queue: self.queue_counters(port, queue)
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._turning = False
        self._told_datapath_id = self._engine.switch.identity.datapath_id
        self._last_s = self._look_s = 0.0
        self._add_default_flow()

    @classmethod
    @contextlib.contextmanager
    def create(
        cls,
        name: str,
        *,
        ports: Iterable[str | tuple[str, int | None]] = (),
        local: bool = True,
        keep: bool = False,
        options: BridgeOptions | None = None,
        **settings: Any,
    ) -> Iterator[Bridge]:
        """A bridge in the kernel, with these devices as its ports 1, 2, ... or of the numbers given with them. `keep`:
        it stays when the block ends, forwarding by the megaflows that there are. One of that name that an earlier
        process left, also one that was killed, is taken over, and forwards on by its megaflows while flows are loaded
        (`restore_s`). Errors are those of `Datapath.create`; if there is one, a datapath that was there stays."""
        chosen = _options(options, settings)
        left = _exists(name)
        sizes = None if left else Options(**_sizes(chosen))
        with Datapath.create(name, local=local, exist_ok=True, options=sizes) as datapath:
            datapath.keep(keep or left)
            for device, number in map(_pair, ports):
                if device not in datapath.ports:
                    datapath.ports.add(device, number)
            bridge = cls(datapath, chosen)
            datapath.keep(keep)
            if left:
                logger.info("%s: taken over with %d megaflows", name, bridge.stats()["adopted"])
            try:
                yield bridge
            finally:
                bridge.close()

    @classmethod
    @contextlib.contextmanager
    def simulate(
        cls,
        ports: Iterable[str | tuple[str, int | None]] | int = 4,
        *,
        name: str = "simulated",
        options: BridgeOptions | None = None,
        **settings: Any,
    ) -> Iterator[Bridge]:
        """A bridge on a simulated datapath. `ports`: names of its ports, with numbers or without, or how many."""
        chosen = _options(options, settings)
        count = ports if isinstance(ports, int) else 0
        with Datapath.simulate(count, name=name, **_sizes(chosen)) as datapath:
            for device, number in () if isinstance(ports, int) else (_pair(each) for each in ports):
                datapath.ports.add(device, number)
            bridge = cls(datapath, chosen)
            try:
                yield bridge
            finally:
                bridge.close()

    # ---- what it is

    @property
    def name(self) -> str:
        """What it is called."""
        return self.datapath.name

    @property
    def datapath_id(self) -> int:
        """By which controllers know it."""
        return self._engine.switch.identity.datapath_id

    def listening(self) -> dict[str, int]:
        """Of each passive target the port that it is heard at, while the bridge is served."""
        return self._controllers.ports()

    def stats(self) -> dict[str, int]:
        """What has happened so far: megaflows now, upcalls that were answered, or not for the slow path's meter,
        megaflows that were looked at again, that were withdrawn and evicted; packets of ports that flood a controller,
        which the kernel has dropped."""
        engine = self._engine
        return {
            "megaflows": len(engine.megaflows),
            "misses": engine.handler.misses,
            "policed": engine.handler.policed,
            "not_installed": engine.handler.not_installed,
            "looked_at": engine.revalidator.looked_at,
            "withdrawn": engine.revalidator.withdrawn,
            "evicted": engine.megaflows.evicted,
            "packet_outs": engine.packet_outs.sent,
            "refused_packets": engine.packet_outs.refused,
            "shed": self._shedding.shed,
            "adopted": engine.adopted,
        }

    def connections(self) -> list[dict[str, object]]:
        """Who is connected, and whom the bridge tries to reach."""
        return self._controllers.describe()

    def trace(
        self,
        flow: str | FlowMatch = "",
        frame: bytes | None = None,
        *,
        actions: FlowAction | Sequence[FlowAction] | str | None = None,
    ) -> PacketTrace:
        """What would become of a packet; nothing is changed or counted. `flow`: its fields, as ovs-ofctl writes them
        ("in_port=1,tcp,tcp_dst=80"); those that are not named are zero. `frame`: its bytes; then `flow` says but what
        is not in them (in_port, tunnel, mark). `actions`: as if a packet-out had it with these. TextError, ConfigError:
        it is no packet; OpenFlowError: the actions are refused."""
        match = parse_flow_match(flow, ports=self._local.port_numbers()) if isinstance(flow, str) else flow
        listed = None if actions is None else self._local.read_actions(actions)
        return self._engine.trace(key_of_packet(match, frame), frame, listed)

    def set_vlan(
        self, port: str, *, tag: int | None = None, trunks: Iterable[int] = (), vlan_mode: str | None = None,
        cvlans: Iterable[int] = (), qinq_ethtype: str = "802.1ad", priority_tags: str = "no",
    ) -> None:  # fmt: skip
        """How NORMAL treats VLANs at the port of this name from now on, in the words of Open vSwitch: `tag` alone is an
        access port, `trunks` alone a trunk of these, neither a trunk of all; `vlan_mode`: "access", "trunk",
        "native-tagged", "native-untagged", "dot1q-tunnel" with the customer's `cvlans` (all if there are none) and
        `qinq_ethtype` "802.1ad" or "802.1q" for the tag before theirs; `priority_tags`: "no", "always", "if-nonzero".
        ConfigError: they do not go together."""
        vlan = port_vlan(
            tag, trunks, vlan_mode, cvlans=cvlans, qinq_ethtype=qinq_ethtype, priority_tags=priority_tags
        )  # fmt: skip
        self._engine.set_vlan(port, vlan)

    def set_mirrors(self, mirrors: Iterable[Mirror]) -> None:
        """Copy packets so from now on, instead of as before; mirrors of the same name count on. Ports that they name
        may come later. ConfigError: there are more than 32, or two of one name."""
        self._engine.set_mirrors(mirrors)

    def mirror_stats(self) -> dict[str, MirrorStats]:
        """What each mirror has copied, by its name."""
        self._engine.count(self._engine.now_ns())
        return self._engine.features.mirror_stats()

    def set_mcast_snooping(self, snooping: McastSnooping | None) -> None:
        """Let multicast go where it is wanted alone; None: as broadcast, and what is known of groups is forgotten."""
        self._engine.set_snooping(snooping)

    def multicast_groups(self) -> list[MulticastGroup]:
        """Which ports want which group, and behind which there are routers."""
        return self._engine.features.groups()

    def flush_multicast_groups(self) -> None:
        """Forget what hosts and routers have said of groups."""
        self._engine.mcast_changed(self._engine.features.table.flush())
        self._engine.settle()

    def multicast_stats(self) -> dict[str, int]:
        """Groups there are and may be, how many came, were too old, or were pushed out; packets that were read."""
        return self._engine.features.stats()

    def set_protected(self, ports: Iterable[str]) -> None:
        """Nothing goes from one of these ports to another of them, by NORMAL or by flows."""
        self._engine.features.protected = frozenset(ports)
        self._engine.features_changed()

    def set_flood_vlans(self, vlans: Iterable[int]) -> None:
        """In these VLANs NORMAL learns nothing, and floods all. ConfigError: one is outside 0..4095."""
        self._engine.features.flood_vlans = vlan_set("flood_vlans", vlans)
        self._engine.features_changed()

    def set_forward_bpdu(self, wanted: bool) -> None:
        """Whether NORMAL forwards packets to reserved addresses (01:80:c2:00:00:0x) too."""
        self._engine.features.forward_bpdu = wanted
        self._engine.features_changed()

    async def reconfigure(self, options: BridgeOptions | None = None, **settings: Any) -> None:
        """Have these options from now on, or these settings in place of its own, while it is served or not. What has
        not changed goes on: connections stay, and so do flows, unless there are controllers now and were none, or the
        other way round, or the fail mode changes without any. Of targets that cannot be used `controller_states`
        tells. ConfigError: they make no sense, and nothing has changed."""
        before = self.options
        self.options = _options(options or before, settings)
        self._engine.reconfigure(self.options)
        had, has = bool(before.controllers), bool(self.options.controllers)
        if had != has or (not has and before.fail_mode != self.options.fail_mode):
            self._engine.flow_mod(FlowMod(FlowCommand.DELETE, table=ALL_TABLES))
            self._engine.configure(standalone=False)
            self._add_default_flow()
            self._engine.settle()
        elif self.options.fail_mode == "secure":
            self._engine.configure(standalone=False)
        if self._loop is not None:
            self._listen_for_packets(not self.options.waits)
            await self._controllers.reconfigure(self.options)
            if self._engine.switch.identity.datapath_id != self._told_datapath_id:
                self._controllers.reconnect()
        self._told_datapath_id = self._engine.switch.identity.datapath_id

    def _add_default_flow(self) -> None:
        """What a switch does that nobody controls."""
        if self.options.fail_mode == "standalone" and not self.options.controllers:
            mod = FlowMod(FlowCommand.ADD, actions=(Output(NORMAL),), priority=0)
            self._engine.flow_mod(mod)

    def controller_states(self) -> list[ControllerState]:
        """What has become of each target of a controller, while it is served."""
        return self._controllers.states()

    def set_queues(self, port: str, queues: Iterable[int]) -> None:
        """The port of this name has these queues, as controllers are told. Who makes them sets `queue_counters`: called
        with a port's name and a queue, it returns bytes and packets sent, and what was dropped."""
        self._engine.set_queues(port, queues)

    # ---- the program as the controller

    def send(self, *messages: Message) -> list[Message]:
        """Do what these messages say, in order; the answers to all of them. OpenFlowError: one is refused; those before
        it are done. When it returns, no packet sees what was before; called from a function that is told of packets,
        when all that came up together have been told."""
        return self._local.send(*messages)

    def add_flow(self, flow: str | FlowMod) -> None:
        """Add a flow: a message, or its text as ovs-ofctl has it. OpenFlowError: it is refused; TextError."""
        self._local.flow_mod(flow, "add")

    def add_flows(self, flows: Iterable[str | FlowMod]) -> None:
        """Add many; those before one that is refused are added."""
        self._local.flow_mods(flows, "add")

    def modify_flows(self, flow: str | FlowMod, *, strict: bool = False) -> None:
        """Other actions for the flows within a match; `strict`: for that of just this match and priority."""
        self._local.flow_mod(flow, "modify_strict" if strict else "modify")

    def delete_flows(self, flow: str | FlowMod = "", *, strict: bool = False) -> None:
        """Delete the flows within a match, by default all; `strict`: that of just this match and priority."""
        self._local.flow_mod(flow, "delete_strict" if strict else "delete")

    def dump_flows(self, flow: str = "") -> list[FlowStats]:
        """The flows within a match, with what they have counted by now."""
        return self._local.dump_flows(flow)

    def add_group(self, group: str | GroupMod) -> None:
        """Add a group: a message, or its text as ovs-ofctl has it. OpenFlowError: it is refused; TextError."""
        self._local.group_mod(group, GroupCommand.ADD)

    def modify_group(self, group: str | GroupMod) -> None:
        """Other buckets for a group."""
        self._local.group_mod(group, GroupCommand.MODIFY)

    def delete_groups(self, group: str | GroupMod = "") -> None:
        """Delete a group, by default all, with the flows that point to them."""
        self._local.group_mod(group or GroupMod(GroupCommand.DELETE, ALL_GROUPS), GroupCommand.DELETE)

    def dump_groups(self) -> tuple[list[GroupDescription], list[GroupStats]]:
        """What the groups are, and what they have counted by now."""
        return self._local.dump_groups()

    def add_meter(self, meter: str | MeterMod) -> None:
        """Add a meter: a message, or its text as ovs-ofctl has it. OpenFlowError: it is refused; TextError."""
        self._local.meter_mod(meter, MeterCommand.ADD)

    def modify_meter(self, meter: str | MeterMod) -> None:
        """Another rate for a meter."""
        self._local.meter_mod(meter, MeterCommand.MODIFY)

    def delete_meters(self, meter: str | MeterMod = "") -> None:
        """Delete a meter, by default all, with the flows that name them."""
        self._local.meter_mod(meter or MeterMod(MeterCommand.DELETE, ALL_METERS), MeterCommand.DELETE)

    def dump_meters(self) -> tuple[list[MeterConfig], list[MeterStats]]:
        """What the meters are, and what they have counted by now."""
        return self._local.dump_meters()

    def on_packet_in(self, callback: Callable[[PacketIn], object]) -> Callable[[PacketIn], object]:
        """Call `callback` with each packet-in (decorator); it may change flows and send packets, which is done together
        for the packets that came up together."""
        self._local.packet_callbacks.append(callback)
        self._local.session.version = 1  # who is told of packets that no flow takes
        self._engine.configure()
        self._engine.settle()
        return callback

    def on_message(self, callback: Callable[[Message], object]) -> Callable[[Message], object]:
        """Call `callback` with what the switch says unasked, packet-ins excepted: port-status, flow-removed, ...
        (decorator)."""
        self._local.event_callbacks.append(callback)
        return callback

    def packet_out(self, frame: bytes, actions: FlowAction | Sequence[FlowAction] | str, *, in_port: int) -> None:
        """Do actions to a frame, as if it had come in by that port of OpenFlow. OpenFlowError: they are refused."""
        self._local.packet_out(frame, actions, in_port)

    # ---- a simulated one

    def receive(self, frame: bytes, in_port: int | str = 1) -> list[Sent]:
        """Let a frame come in by a port of a simulated datapath, and do all that follows; what goes out."""
        self.datapath.sent()
        self.datapath.receive(frame, in_port)
        self.process()
        return list(self.datapath.sent())

    def advance(self, seconds: float) -> None:
        """Let time go by for a simulated datapath, and do all that follows."""
        backend: SimulatedBackend = self.datapath._simulation
        left_ns = round(seconds * 1e9)
        while left_ns > 0:
            step_ns = min(left_ns, round(TICK_S * 1e9))
            backend.advance(step_ns)
            left_ns -= step_ns
            self._engine.tick()
        self.process()

    def ask(self, command: str, words: Sequence[str] = ()) -> Answer:
        """Do what one of the commands of `vswitch appctl` says. CommandError: it cannot be done so."""
        return self._commands.commands.call(command, words)

    def follow_ports(self) -> None:
        """See to ports that were added, changed or removed, at once."""
        self._engine.follow_ports()

    def process(self) -> None:
        """Answer all that waits, without waiting for more."""
        engine = self._engine
        engine.follow_ports()
        while engine.upcalls.has_records or engine.upcalls.busy:
            if not engine.take_upcalls() and not engine.upcalls.has_records:
                break
        engine.settle()

    # ---- running

    def run(self) -> None:
        """Be the switch until `stop` is called, or Ctrl-C."""
        with contextlib.suppress(KeyboardInterrupt), seldom():
            asyncio.run(self.serve())

    def stop(self) -> None:
        """Let `run` or `serve` end; from the thread that it runs in, a signal's handler included."""
        if self._stop is not None:
            self._stop.set()

    async def serve(self, ready: Callable[[], None] | None = None, *, strict: bool = True) -> None:
        """Be the switch on the running event loop until `stop` is called. `ready` is called when controllers may
        connect. ConfigError: it cannot be listened at some place; if it is not `strict`, `controller_states` tells."""
        loop = self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        engine = self._engine
        simulated = self.datapath.backend.simulated
        await self._start_sockets(strict)
        self._listen_for_packets(not self.options.waits)
        if not simulated:
            loop.add_reader(engine.ports_fileno(), engine.follow_ports)
        self._last_s = loop.time()
        ticking = loop.create_task(self._tick(), name="tick")
        if ready is not None:
            ready()
        try:
            stopped = loop.create_task(self._stop.wait())
            await asyncio.wait({stopped, ticking}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if ticking.done():
                await ticking
        finally:
            ticking.cancel()
            self._listen_for_packets(False)
            if not simulated:
                loop.remove_reader(engine.ports_fileno())
            await self._stop_sockets()
            self._loop = self._stop = None

    def _listen_for_packets(self, listens: bool) -> None:
        """Take those that come up, or let them wait in the ring."""
        if self.datapath.backend.simulated or self._loop is None:
            return
        descriptor = self._engine.upcalls.fileno()
        if listens:
            self._loop.add_reader(descriptor, self._turn)
        else:
            self._loop.remove_reader(descriptor)

    async def _start_sockets(self, strict: bool) -> None:
        await self._controllers.start(strict=strict)
        if self.options.control:
            self._control = ControlServer(self.options.control, self._commands.commands)
            try:
                await self._control.start()
            except BaseException:
                await self._stop_sockets()
                raise

    async def _stop_sockets(self) -> None:
        await self._controllers.stop()
        if self._control is not None:
            await self._control.stop()
            self._control = None

    def _turn(self) -> None:
        """Packets have come up, or gates wait to be opened."""
        self._turning = False
        engine = self._engine
        if self._closed or self.options.waits:
            return
        if self._shedding.undecided and self._loop is not None and self._loop.time() >= self._look_s:
            self._look_s = self._loop.time() + LOOK_S
            self._shed()
        for _ in range(BATCHES):
            more = engine.take_upcalls()
            if not engine.upcalls.has_records:
                break
        if more or engine.megaflows.index.behind:
            self._turn_again(self._turn if more else self._rest)

    def _turn_again(self, work: Callable[[], None]) -> None:
        if not self._turning and self._loop is not None:
            self._turning = True
            self._loop.call_soon(work)

    def _rest(self) -> None:
        self._turning = False
        if not self._closed and self._engine.rest():
            self._turn_again(self._rest)

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        collector = Collector(loop.time())
        while True:
            await asyncio.sleep(TICK_S)
            try:
                self._let_time_go_by(loop.time())
                collector.tick(loop.time(), len(self._engine.megaflows))
            except Exception:  # said so; the switch goes on
                logger.exception("%s: what is done now and then failed", self.name)

    def _let_time_go_by(self, now_s: float) -> None:
        if self.datapath.backend.simulated:
            backend: SimulatedBackend = self.datapath._simulation
            backend.advance(round((now_s - self._last_s) * 1e9))
            self._last_s = now_s
            self.process()
        self._engine.tick()
        self._shed()
        self._controllers.tick(self._engine.now_ns())
        self._commands.tick(self._engine.now_ns() / 1e9)
        self._shedding.begin(self._controllers.told())
        self._mind_fail_mode()

    def _shed(self) -> None:
        self._shedding.tick([] if self._local.packet_callbacks else self._controllers.told())

    def _mind_fail_mode(self) -> None:
        if self.options.fail_mode == "standalone" and self.options.controllers:
            self._engine.configure(standalone=self._controllers.is_missed())

    # ---- controllers

    def _new_session(self) -> Session:
        return Session(0)

    def _came(self, channel: Channel) -> None:
        session = channel.session
        session.service = not channel.is_controller
        session.name = channel.stream.address
        if session.service:
            session.miss_send_length = 0
        try:
            self._engine.switch.connect(session)
        except OpenFlowError as error:
            logger.warning("%s: %s: refused: %s", self.name, channel.peer, error)
            channel.refuse(error)
            return
        self._channels[session] = channel
        channel.on_slice = self._engine.settle
        channel.stream.on_full = functools.partial(self._pause_monitors, channel)
        self._tell_status(session, up=True)
        self._engine.configure()
        self._mind_fail_mode()

    def _tell_status(self, session: Session, *, up: bool) -> None:
        for message in self._engine.switch.channel_changed(session, up=up).events:
            self._tell_all(message)

    def _gone(self, channel: Channel) -> None:
        if self._channels.pop(channel.session, None) is not None:
            self._engine.switch.disconnect(channel.session)
            self._tell_status(channel.session, up=False)
            self._engine.configure()

    def _handle(self, channel: Channel, received: Received) -> None:
        # hot: once per message
        engine, message = self._engine, received.message
        if isinstance(message, StatsRequest | FlowStatsRequest) and channel.stream.is_lost:
            return
        for reply, xid in engine.handle(message, received.xid, channel.session, channel.send_parts):
            if type(reply) is Error and not reply.data:
                channel.send(Error(reply.error, received.data[:MAX_ERROR_DATA]), xid)
            else:
                channel.send(reply, xid)
        if engine.restoration:
            engine.restoration.note(message, channel.session, engine.now_ns())

    def _pause_monitors(self, channel: Channel) -> None:
        """A peer does not keep up: what its flow monitors miss from now on it is told once it has."""
        paused = self._engine.switch.pause_monitors(channel.session).addressed
        for _, message, _ in paused:
            channel.send(message)
        if paused:
            channel.send_parts(self._catch_up(channel.session))

    def _catch_up(self, session: Session) -> Iterator[tuple[Message, int | None]]:
        while session.monitors_paused:
            for _, message, _ in self._engine.switch.resume_monitors(session).addressed:
                yield message, None

    def _tell_all(self, message: Message) -> None:
        for channel in self._controllers:
            if channel.session.wants(message):
                channel.tell(message)
        self._local.event(message)

    def _tell_one(self, session: Session, message: Message, xid: int) -> None:
        channel = self._channels.get(session)
        if channel is not None:
            channel.tell(message, xid or None)

    def _tell_packet(self, packet: PacketIn, told: PacketForControllers) -> None:
        # hot: once per packet-in
        send = told.send
        port = IN_PORT.take(told.key)
        now_ns = self._engine.now_ns()
        for channel in self._controllers:
            session = channel.session
            each = packet
            if send.rest and session.version < TABLE_MISS_SINCE:
                each = replace(packet, reason=PacketInReason.ACTION)
            if session.controller_id == send.controller_id and session.wants(each, implicit_miss=send.miss):
                channel.tell_packet(each, port, now_ns)
        if self._local.packet_callbacks and send.controller_id == 0:
            self._local.packet(packet)

    def keep(self) -> None:
        """Leave datapath and megaflows forwarding when the block ends."""
        self.datapath.keep()

    def close(self) -> None:
        """No more packets are answered."""
        if not self._closed:
            self._closed = True
            self._engine.close()

    def __enter__(self) -> Bridge:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _sizes(options: BridgeOptions) -> dict[str, int]:
    """Of the datapath that such a bridge needs: while megaflows are exchanged there are more of them."""
    return {"max_flows": options.max_megaflows + options.max_megaflows // 4, "max_meters": MAX_METERS}


def _options(options: BridgeOptions | None, settings: dict[str, Any]) -> BridgeOptions:
    known = {each.name for each in fields(BridgeOptions)}
    for name in settings:
        if name not in known:
            raise ConfigError(f"a bridge has no setting {name!r}; it has {', '.join(sorted(known))}")
    lists = {name: tuple(value) for name, value in settings.items() if name in ("controllers", "listen")}
    return replace(options or BridgeOptions(), **{**settings, **lists})


def _pair(port: str | tuple[str, int | None]) -> tuple[str, int | None]:
    return port if isinstance(port, tuple) else (port, None)


def _exists(name: str) -> bool:
    return name in Datapath.list()
