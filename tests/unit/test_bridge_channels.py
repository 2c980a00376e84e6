"""Controllers on real sockets, around a simulated switch: what they say, what they are told, and what they do wrong."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.certificates import make_certificates
from vswitch import ConfigError
from vswitch.bridge import floods
from vswitch.bridge.bridge import Bridge
from vswitch.bridge.floods import LEAST_BATCH, MANY
from vswitch.bridge.pacing import WAITING
from vswitch.bridge.window import MOST
from vswitch.messages.base import Message
from vswitch.messages.control import (
    AsyncConfig,
    BarrierReply,
    BarrierRequest,
    BundleAdd,
    BundleControl,
    BundleControlType,
    ControllerRole,
    EchoReply,
    EchoRequest,
    Error,
    FeaturesReply,
    FeaturesRequest,
    Hello,
    RoleReply,
    RoleRequest,
    SetAsync,
    SetConfig,
)
from vswitch.messages.flows import FlowCommand, FlowMod, FlowRemoved, PacketIn
from vswitch.messages.match import FlowMatch
from vswitch.messages.ports import PortMod, PortStatus
from vswitch.messages.stats import (
    ControllerStatus,
    ControllerStatusChanged,
    MultipartReply,
    StatsRequest,
)
from vswitch.ofproto import switch
from vswitch.openflow.codec import decode, encode
from vswitch.packet import build
from vswitch.transport import streams
from vswitch.transport.targets import Tls

FRAME = build.ethernet(0x020000000002, 0x020000000001, 0x88B5, bytes(46))


OPEN: list[Peer] = []
"""Peers of the test that runs."""


class Peer:
    """A controller: the other end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, version: int) -> None:
        self.reader, self.writer, self.version = reader, writer, version
        OPEN.append(self)

    async def send(self, *messages: Message, xid: int = 7) -> None:
        self.writer.write(b"".join(encode(message, self.version, xid) for message in messages))
        await self.writer.drain()

    async def raw(self) -> bytes:
        async with asyncio.timeout(20):
            head = await self.reader.readexactly(8)
            return head + await self.reader.readexactly(int.from_bytes(head[2:4], "big") - 8)

    async def receive(self, kind: type[Message] | None = None) -> Message:
        """The next message (of this kind); echo requests are answered on the way."""
        while True:
            message, xid = decode(await self.raw())
            if isinstance(message, EchoRequest):
                await self.send(EchoReply(message.data), xid=xid)
            elif kind is None or isinstance(message, kind):
                return message

    async def hello(self) -> None:
        await self.send(Hello(frozenset({self.version})))
        await self.receive(Hello)

    async def ask(self, *messages: Message) -> Message:
        """The first answer."""
        await self.send(*messages)
        return await self.receive()

    async def is_over(self) -> bool:
        """Whether the switch ends the connection."""
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionError):
                while await self.reader.read(65536):
                    pass
        return True

    def close(self) -> None:
        self.writer.close()


async def connect(port: int, version: int = 4, *, hello: bool = True) -> Peer:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    peer = Peer(reader, writer, version)
    if hello:
        await peer.hello()
    return peer


@asynccontextmanager
async def served(bridge: Bridge) -> AsyncIterator[int]:
    """The bridge at work; the port that it is heard at."""
    ready = asyncio.Event()
    task = asyncio.create_task(bridge.serve(ready.set))
    await asyncio.wait({task, asyncio.create_task(ready.wait())}, return_when=asyncio.FIRST_COMPLETED)
    try:
        yield next(iter(bridge.listening().values()), 0)
    finally:
        for peer in OPEN:
            peer.close()
        OPEN.clear()
        bridge.stop()
        await task
        for peer in OPEN:
            peer.close()
        OPEN.clear()


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def run(test: Callable[[Bridge, int], Awaitable[None]], **settings: object) -> None:
    """A test with a secure bridge that listens for controllers."""

    async def whole() -> None:
        chosen: dict[str, Any] = {"fail_mode": "secure", "listen": ["ptcp:0:127.0.0.1"], **settings}
        with Bridge.simulate(3, **chosen) as bridge:
            async with served(bridge) as port:
                await test(bridge, port)

    asyncio.run(whole())


ADD = FlowMod(FlowCommand.ADD, FlowMatch(in_port=1), priority=5)


# ---- what they say, and are told


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5, 6])
def test_each_version_is_spoken(version: int) -> None:
    async def test(bridge: Bridge, port: int) -> None:
        peer = await connect(port, version)
        features = await peer.ask(FeaturesRequest())
        assert isinstance(features, FeaturesReply)
        assert features.datapath_id == bridge.datapath_id
        await peer.send(ADD, BarrierRequest())
        assert await peer.receive() == BarrierReply()
        assert len(bridge.dump_flows()) == 1

    run(test)


def test_only_the_versions_that_were_chosen_are_spoken() -> None:
    async def test(bridge: Bridge, port: int) -> None:
        peer = await connect(port, 6, hello=False)
        await peer.send(Hello(frozenset({6}), bitmap=True))
        assert await peer.is_over()
        peer = await connect(port, 4)
        assert isinstance(await peer.ask(FeaturesRequest()), FeaturesReply)

    run(test, versions=frozenset({1, 4}))


def test_a_message_may_come_byte_by_byte() -> None:
    async def test(bridge: Bridge, port: int) -> None:
        peer = await connect(port)
        for byte in encode(ADD, 4, 1) + encode(BarrierRequest(), 4, 2):
            peer.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert await peer.receive() == BarrierReply()
        assert len(bridge.dump_flows()) == 1

    run(test)


def test_what_is_refused_is_said_with_its_xid_and_the_rest_is_done() -> None:
    async def test(bridge: Bridge, port: int) -> None:
        peer = await connect(port)
        await peer.send(FlowMod(FlowCommand.ADD, table=255), xid=99)
        await peer.send(BarrierRequest(), xid=100)
        error, xid = decode(await peer.raw())
        assert isinstance(error, Error)
        assert (error.error, xid) == ("flow_mod_failed.bad_table_id", 99)
        assert decode(await peer.raw()) == (BarrierReply(), 100)

    run(test)


def test_packets_that_no_flow_takes_are_told_as_the_version_has_it() -> None:
    async def test(bridge: Bridge, port: int) -> None:
        old, new = await connect(port, 1), await connect(port, 4)
        await until(lambda: len(bridge.connections()) == 2)
        bridge.receive(FRAME)
        packet = await old.receive(PacketIn)
        assert isinstance(packet, PacketIn)
        assert (packet.frame, packet.metadata) == (FRAME, FlowMatch(in_port=1))
        assert await new.ask(BarrierRequest()) == BarrierReply()

    run(test)


def test_ports_and_flows_that_go_are_told() -> None:
    async def test(bridge: Bridge, port: int) -> None:
        peer = await connect(port)
        await peer.send(FlowMod(FlowCommand.ADD, FlowMatch(in_port=1), priority=5, flags=1), BarrierRequest())
        await peer.receive(BarrierReply)
        bridge.delete_flows()
        removed = await peer.receive()
        assert isinstance(removed, FlowRemoved)
        assert removed.priority == 5
        bridge.datapath.ports.remove(3)
        status = await peer.receive()
        assert isinstance(status, PortStatus)
        assert status.port.number == 3

    run(test)


def test_roles_say_who_may_change_and_who_is_told() -> None:
    async def test(bridge: Bridge, port: int) -> None:
        first, second = await connect(port), await connect(port)
        assert isinstance(await first.ask(RoleRequest(ControllerRole.PRIMARY, 1)), RoleReply)
        assert isinstance(await second.ask(RoleRequest(ControllerRole.SECONDARY, 1)), RoleReply)
        refused = await second.ask(ADD)
        assert isinstance(refused, Error)
        assert refused.error == "bad_request.is_slave"
        assert await first.ask(ADD, BarrierRequest()) == BarrierReply()
        bridge.add_flow("in_port=2,actions=controller")
        bridge.receive(FRAME, 2)
        assert isinstance(await first.receive(), PacketIn)
        assert await second.ask(BarrierRequest()) == BarrierReply()
        assert isinstance(await second.ask(RoleRequest(ControllerRole.PRIMARY, 2)), RoleReply)
        refused = await first.ask(ADD)
        assert isinstance(refused, Error)

    run(test)


def test_controllers_that_ask_for_it_are_told_who_comes_and_goes() -> None:
    async def test(_bridge: Bridge, port: int) -> None:
        watcher = await connect(port, 6)
        await watcher.send(SetAsync(AsyncConfig((("cont_status", 0b1111111),), ())), BarrierRequest())
        await watcher.receive(BarrierReply)
        other = await connect(port, 6)
        host, number = other.writer.get_extra_info("sockname")
        came = await watcher.receive()
        assert came == ControllerStatusChanged(ControllerStatus(0, 1, 1, True, f"tcp:{host}:{number}"))
        listed = await watcher.ask(StatsRequest("controller_status"))
        assert isinstance(listed, MultipartReply)
        addresses = [peer.writer.get_extra_info("sockname") for peer in (watcher, other)]
        assert [each.uri for each in listed.entries] == [f"tcp:{host}:{at}" for host, at in addresses]  # type: ignore[attr-defined]
        other.close()
        went = await watcher.receive()
        assert went == ControllerStatusChanged(ControllerStatus(0, 1, 1, False, f"tcp:{host}:{number}"))

    run(test)


def test_tools_at_the_management_socket_are_told_nothing_unasked(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("b") / "m"

    async def test(bridge: Bridge, _port: int) -> None:
        reader, writer = await asyncio.open_unix_connection(str(path))
        tool = Peer(reader, writer, 4)
        await tool.hello()
        bridge.add_flow("actions=controller")
        bridge.receive(FRAME)
        assert await tool.ask(BarrierRequest()) == BarrierReply()
        await tool.send(SetConfig(miss_send_length=100), BarrierRequest())
        await tool.receive(BarrierReply)
        bridge.receive(FRAME)
        assert isinstance(await tool.receive(), PacketIn)

    run(test, management=f"punix:{path}")


def test_who_looks_on_sees_what_controllers_say_and_are_told(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("b") / "s"

    async def test(_bridge: Bridge, port: int) -> None:
        reader, writer = await asyncio.open_unix_connection(str(path))
        snoop = Peer(reader, writer, 4)
        await snoop.hello()
        peer = await connect(port)
        data = encode(BarrierRequest(), 4, 55)
        peer.writer.write(data[:3])
        await asyncio.sleep(0.05)
        peer.writer.write(data[3:])
        await peer.receive(BarrierReply)
        seen = [decode(await snoop.raw()) for _ in range(4)]
        assert [type(message) for message, _ in seen[:2]] == [Hello, Hello]
        assert seen[2:] == [(BarrierRequest(), 55), (BarrierReply(), 55)]

    run(test, snoop=f"punix:{path}")


# ---- TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tls]:
    return make_certificates(tmp_path_factory.mktemp("tls"))


def test_controllers_connect_by_tls_if_their_certificate_is_signed(certificates: dict[str, Tls]) -> None:
    async def test(_bridge: Bridge, port: int) -> None:
        context = certificates["controller"].context(server=False)
        peer = Peer(*await asyncio.open_connection("127.0.0.1", port, ssl=context), 4)
        await peer.hello()
        assert await peer.ask(BarrierRequest()) == BarrierReply()
        strange = certificates["stranger"].context(server=False)
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await Peer(*await asyncio.open_connection("127.0.0.1", port, ssl=strange), 4).hello()
        plain = Peer(*await asyncio.open_connection("127.0.0.1", port), 4)
        await plain.send(Hello(frozenset({4})))
        assert await plain.is_over()

    run(test, listen=["pssl:0:127.0.0.1"], tls=certificates["switch"])


def test_the_switch_connects_by_tls_to_a_controller_that_is_signed_alone(certificates: dict[str, Tls]) -> None:
    async def whole() -> None:
        greeted: list[str] = []

        def taking(who: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
            async def controller(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await Peer(reader, writer, 4).hello()
                greeted.append(who)

            return controller

        targets, servers = [], []
        for who in ("controller", "stranger"):
            context = certificates[who].context(server=True)
            server = await asyncio.start_server(taking(who), "127.0.0.1", 0, ssl=context)
            servers.append(server)
            targets.append(f"ssl:127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with Bridge.simulate(1, controllers=targets, tls=certificates["switch"]) as bridge:
            async with served(bridge):
                await until(lambda: greeted and any(each.get("last_error") for each in bridge.connections()))
                errors = [each["last_error"] for each in bridge.connections() if "target" in each]
        for server in servers:
            server.close()
        assert greeted == ["controller"]
        assert errors == ["", "TLS: CERTIFICATE_VERIFY_FAILED"]

    asyncio.run(whole())


def test_who_is_silent_before_tls_is_counted_and_ended_and_others_go_on(
    certificates: dict[str, Tls], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MAX_STREAMS", 3)

    async def test(bridge: Bridge, port: int) -> None:
        silent = [Peer(*await asyncio.open_connection("127.0.0.1", port), 4) for _ in range(3)]
        more = [Peer(*await asyncio.open_connection("127.0.0.1", port), 4) for _ in range(3)]
        for peer in more:
            assert await peer.is_over()
        assert not any(peer.reader.at_eof() for peer in silent)
        plain = await connect(list(bridge.listening().values())[1])
        assert await plain.ask(BarrierRequest()) == BarrierReply()
        silent.pop().close()
        context = certificates["controller"].context(server=False)

        async def agree() -> bool:
            try:
                peer = Peer(*await asyncio.open_connection("127.0.0.1", port, ssl=context), 4)
            except OSError:  # the place of the one that went is not free yet
                return False
            await peer.hello()
            return True

        async with asyncio.timeout(20):
            while not await agree():
                await asyncio.sleep(0.01)

    run(test, listen=["pssl:0:127.0.0.1", "ptcp:0:127.0.0.1"], tls=certificates["switch"])


def test_who_does_not_agree_on_tls_in_time_is_ended(
    certificates: dict[str, Tls], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "HANDSHAKE_S", 0.1)

    async def test(_bridge: Bridge, port: int) -> None:
        assert await Peer(*await asyncio.open_connection("127.0.0.1", port), 4).is_over()

    run(test, listen=["pssl:0:127.0.0.1"], tls=certificates["switch"])


def test_one_controller_too_many_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch, "MAX_SESSIONS", 3)

    async def test(bridge: Bridge, port: int) -> None:
        first, second = await connect(port), await connect(port)
        third = await connect(port)
        refused = await third.receive(Error)
        assert isinstance(refused, Error)
        assert (refused.error, refused.data) == ("hello_failed.eperm", b"there are 3 connections already")
        assert await third.is_over()
        for peer in (first, second):
            assert await peer.ask(BarrierRequest()) == BarrierReply()
        assert len(bridge.connections()) == 2
        first.close()
        await until(lambda: len(bridge.connections()) == 1)
        assert await (await connect(port)).ask(BarrierRequest()) == BarrierReply()

    run(test)


def test_a_target_of_tls_needs_certificates() -> None:
    with (
        Bridge.simulate(1, controllers=["ssl:127.0.0.1"]) as bridge,
        pytest.raises(ConfigError, match="needs a private key"),
    ):
        bridge.run()


# ---- what they do wrong


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: switch\r\n\r\n",
        bytes(100),
        bytes([4, 0, 0, 4]) + bytes(100),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        encode(FeaturesRequest(), 4, 1),
    ],
    ids=["http", "zeros", "length 4", "tls", "no hello"],
)
def test_garbage_ends_its_own_connection_alone(data: bytes) -> None:
    async def test(_bridge: Bridge, port: int) -> None:
        good, bad = await connect(port), await connect(port, hello=False)
        bad.writer.write(data)
        await bad.writer.drain()
        assert await bad.is_over()
        assert await good.ask(BarrierRequest()) == BarrierReply()

    run(test)


def test_garbage_within_messages_is_refused_and_the_connection_goes_on() -> None:
    async def test(_bridge: Bridge, port: int) -> None:
        peer = await connect(port)
        whole = encode(ADD, 4, 9)
        for at in range(8, len(whole)):
            peer.writer.write(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        await peer.writer.drain()
        assert await peer.ask(FeaturesRequest()) is not None
        await peer.send(BarrierRequest())
        await peer.receive(BarrierReply)

    run(test)


def test_answers_come_in_the_order_of_the_requests_those_to_what_cannot_be_read_too() -> None:
    async def test(_bridge: Bridge, port: int) -> None:
        peer = await connect(port)
        bad = bytearray(encode(ADD, 4, 11))
        bad[24] = 99  # table 0's command is none
        bad[25] = 99
        peer.writer.write(
            bytes(bad) + encode(BarrierRequest(), 4, 12) + encode(EchoRequest(b"x"), 4, 13)
            + encode(BarrierRequest(), 4, 14)
        )  # fmt: skip
        answers = [decode(await peer.raw()) for _ in range(4)]
        assert [xid for _, xid in answers] == [11, 12, 13, 14]
        assert isinstance(answers[0][0], Error)

    run(test)


def test_a_bundle_about_a_port_that_was_removed_meanwhile_does_nothing() -> None:
    async def test(bridge: Bridge, port: int) -> None:
        peer = await connect(port, 5)
        mac = next(each.mac for each in bridge._engine.switch.ports if each.number == 3)
        parts = [ADD, PortMod(3, mac, 0, 0), FlowMod(FlowCommand.ADD, FlowMatch(in_port=2))]
        for xid, part in enumerate(parts, 100):
            await peer.send(BundleAdd(1, 3, part, xid), xid=xid)
        bridge.datapath.ports.remove(3)
        assert isinstance(await peer.receive(), PortStatus)
        await peer.send(BundleControl(1, BundleControlType.COMMIT_REQUEST, 3), BarrierRequest())
        refused = [await peer.receive(), await peer.receive()]
        assert [each.error for each in refused if isinstance(each, Error)] == [
            "port_mod_failed.bad_port", "bundle_failed.msg_failed",
        ]  # fmt: skip
        await peer.receive(BarrierReply)
        assert not bridge.dump_flows()

    run(test)


def test_half_a_message_holds_nobody_up() -> None:
    async def test(bridge: Bridge, port: int) -> None:
        good, half = await connect(port), await connect(port)
        half.writer.write(encode(ADD, 4, 1)[:20])
        await half.writer.drain()
        assert await good.ask(BarrierRequest()) == BarrierReply()
        half.close()
        await until(lambda: len(bridge.connections()) == 1)
        assert not bridge.dump_flows()

    run(test)


def test_a_controller_that_stops_reading_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "STALL_S", 0.5)

    async def test(bridge: Bridge, port: int) -> None:
        bridge.add_flow("actions=controller")
        good, stuck = await connect(port), await connect(port)
        stuck.reader._transport.pause_reading()  # type: ignore[attr-defined]
        big = build.ethernet(0x020000000002, 0x020000000001, 0x88B5, bytes(1400))
        received = 0
        for _ in range(3000):
            bridge.receive(big)
            await good.receive(PacketIn)
            received += 1
        assert received == 3000
        states = [each for each in bridge.connections() if each["dropped_packet_ins"]]
        assert len(states) == 1

    run(test, probe_s=0)


def test_a_port_that_floods_leaves_a_slow_controller_to_others() -> None:
    async def test(bridge: Bridge, port: int) -> None:
        bridge.add_flow("actions=controller")
        peer = await connect(port)
        for _ in range(MOST + WAITING + MANY):
            bridge.receive(FRAME, 1)
        (state,) = bridge.connections()
        assert (state["floods"], state["dropped_packet_ins"]) == ({}, MANY)
        await until(lambda: bridge.connections()[0]["floods"] == {1: 1.0})
        bridge.receive(FRAME, 2)
        in_ports: list[int] = []
        while 2 not in in_ports:
            message = await peer.receive(PacketIn)
            assert isinstance(message, PacketIn)
            in_ports.append(message.in_port)
        assert MOST <= in_ports.count(1) <= MOST + 2 * LEAST_BATCH
        (state,) = bridge.connections()
        assert state["dropped_packet_ins"] == MANY + WAITING - floods.WAITING

    run(test, probe_s=0)


# ---- probes, rates, fail modes


def test_a_controller_is_asked_whether_it_is_there_and_ended_if_it_is_not() -> None:
    async def test(bridge: Bridge, port: int) -> None:
        silent, lively = await connect(port), await connect(port)
        asked, _ = decode(await silent.raw())
        assert isinstance(asked, EchoRequest)
        ended = asyncio.create_task(silent.is_over())
        while not ended.done():
            message, xid = decode(await lively.raw())
            if isinstance(message, EchoRequest):
                await lively.send(EchoReply(message.data), xid=xid)
        assert len(bridge.connections()) == 1

    run(test, probe_s=0.3)


def test_packet_ins_come_at_the_rate_that_was_set_and_of_all_ports() -> None:
    async def test(bridge: Bridge, port: int) -> None:
        bridge.add_flow("actions=controller")
        peer = await connect(port)
        for _ in range(100):
            bridge.receive(FRAME, 1)
        bridge.receive(FRAME, 2)
        await peer.send(BarrierRequest())
        seen: list[int] = []
        while not isinstance(message := await peer.receive(), BarrierReply):
            assert isinstance(message, PacketIn)
            seen.append(message.metadata.take("in_port")[0])
        assert seen == [1] * 5
        while 2 not in seen:
            message = await peer.receive(PacketIn)
            assert isinstance(message, PacketIn)
            seen.append(message.metadata.take("in_port")[0])
        assert len(seen) < 12

    run(test, packet_in_rate_per_s=50, packet_in_burst=5)


def test_without_its_controller_a_standalone_switch_learns_and_with_it_does_as_it_is_told() -> None:
    async def whole() -> None:
        peers: list[Peer] = []

        async def controller(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peer = Peer(reader, writer, 4)
            await peer.hello()
            peers.append(peer)

        server = await asyncio.start_server(controller, "127.0.0.1", 0)
        target = f"tcp:127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with Bridge.simulate(3, controllers=[target], fail_mode="standalone", probe_s=0.2) as bridge:
            async with served(bridge):
                await until(lambda: peers)
                assert not bridge.receive(FRAME)
                server.close()
                peers[0].close()
                await until(lambda: bridge.receive(FRAME))
                assert [sent.port for sent in bridge.receive(FRAME)] == [2, 3]
        server.close()

    asyncio.run(whole())


def test_without_its_controller_a_secure_switch_goes_on_by_its_flows() -> None:
    async def whole() -> None:
        with Bridge.simulate(3, controllers=["tcp:127.0.0.1:1"], fail_mode="secure", probe_s=0.05) as bridge:
            bridge.add_flow("in_port=1,actions=3")
            async with served(bridge):
                await asyncio.sleep(0.5)
                assert [sent.port for sent in bridge.receive(FRAME)] == [3]
                assert not bridge.receive(FRAME, 2)
                (state,) = bridge.connections()
                assert state["last_error"] == "Connection refused"

    asyncio.run(whole())
