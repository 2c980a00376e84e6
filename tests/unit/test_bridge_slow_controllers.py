"""Controllers that ask for much, or are told much, and read slowly or not at all: they delay nobody else, what waits
for them is bounded, and nothing is lost to those that go on."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.test_bridge_channels import Peer, connect, run, until
from vswitch.bridge import channels
from vswitch.bridge.bridge import Bridge
from vswitch.bridge.channels import Channel
from vswitch.messages.control import BarrierReply, BarrierRequest
from vswitch.messages.flows import FlowCommand, FlowMod
from vswitch.messages.match import FlowMatch
from vswitch.messages.stats import FlowMonitorRequest, FlowStatsRequest, MultipartReply
from vswitch.ofproto import statistics
from vswitch.openflow.codec import encode
from vswitch.transport import streams


def test_a_controller_that_asks_and_does_not_read_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "STALL_S", 0.3)

    async def test(bridge: Bridge, port: int) -> None:
        bridge.add_flows(f"priority={number},actions=drop" for number in range(1000))
        good, stuck = await connect(port), await connect(port)
        stuck.reader._transport.pause_reading()  # type: ignore[attr-defined]
        stuck.writer.write(200 * encode(FlowStatsRequest(), 4, 1))
        await until(lambda: len(bridge.connections()) == 1)
        assert isinstance(await good.ask(FlowStatsRequest()), MultipartReply)

    run(test, probe_s=0)


def channel_of(bridge: Bridge, sent: int) -> Channel:
    """That of the peer to which most was sent, at least so many messages."""
    channel = max(bridge._controllers, key=lambda each: each.counters.sent)
    assert channel.counters.sent >= sent
    return channel


def test_for_a_controller_that_asks_and_does_not_read_no_more_is_done_than_is_buffered() -> None:
    async def test(bridge: Bridge, port: int) -> None:
        bridge.add_flows(f"priority={number},actions=drop" for number in range(1000))
        good, stuck = await connect(port), await connect(port)
        stuck.reader._transport.pause_reading()  # type: ignore[attr-defined]
        stuck.writer.write(280 * encode(FlowStatsRequest(), 4, 1))  # a slice, which asks for 22 MB
        await until(lambda: any(each.stream.is_full for each in bridge._controllers))
        assert await good.ask(BarrierRequest()) == BarrierReply()
        channel = channel_of(bridge, 10)
        assert channel.stream.is_full
        assert channel.stream.backlog < streams.HIGH_BYTES + channels.HAND_OVER_BYTES + (1 << 16)
        assert channel.counters.received < 150

    run(test, probe_s=0)


def test_between_parts_of_a_long_answer_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "TURN_NS", 0)
    monkeypatch.setattr(statistics, "PART_STEPS", 16)

    async def test(bridge: Bridge, port: int) -> None:
        bridge.add_flows(f"priority={number},actions=drop" for number in range(2000))
        good, asking = await connect(port), await connect(port)
        await asking.send(FlowStatsRequest(), BarrierRequest())
        parts = [await asking.receive(MultipartReply)]
        assert await good.ask(BarrierRequest()) == BarrierReply()
        assert channel_of(bridge, 1).stream.busy
        bridge.delete_flows("priority=1999", strict=True)
        while isinstance(part := await asking.receive(), MultipartReply):
            parts.append(part)
        assert part == BarrierReply()  # behind the last part, as it was asked for
        flows = [each for part in parts for each in part.entries]  # type: ignore[attr-defined]
        assert len({each.priority for each in flows}) == len(flows) in (1999, 2000)
        assert [part.more for part in parts] == [True] * (len(parts) - 1) + [False]  # type: ignore[attr-defined]

    run(test)


def test_who_sends_no_more_is_still_answered_all_that_it_has_asked_for() -> None:
    async def test(bridge: Bridge, port: int) -> None:
        bridge.add_flows(f"priority={number},actions=drop" for number in range(1000))
        peer = await connect(port)
        await peer.send(*[FlowStatsRequest()] * 12)
        peer.writer.write_eof()
        flows = 0
        for _ in range(12):
            more = True
            while more:
                part = await peer.receive(MultipartReply)
                assert isinstance(part, MultipartReply)
                flows, more = flows + len(part.entries), part.more
        assert flows == 12_000
        assert await peer.is_over()

    run(test)


def test_who_takes_long_to_read_is_not_taken_to_be_silent() -> None:
    async def test(bridge: Bridge, port: int) -> None:
        bridge.add_flows(f"priority={number},actions=drop" for number in range(1000))
        slow = await connect(port)
        slow.reader._transport.pause_reading()  # type: ignore[attr-defined]
        slow.writer.write(280 * encode(FlowStatsRequest(), 4, 1))
        await until(lambda: any(each.stream.is_full for each in bridge._controllers))
        await asyncio.sleep(0.6)
        assert [each.stream.is_full for each in bridge._controllers] == [True]

    run(test, probe_s=0.1)


def test_a_flow_monitor_that_is_not_read_is_paused_and_told_later_what_it_has_missed(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "HIGH_BYTES", 1 << 14)
    monkeypatch.setattr(streams, "LOW_BYTES", 1 << 13)
    path = tmp_path_factory.mktemp("b") / "c"
    long = ",".join(["output:2"] * 200)

    async def test(bridge: Bridge, _port: int) -> None:
        peer = Peer(*await asyncio.open_unix_connection(str(path)), 6)
        await peer.hello()
        assert isinstance(await peer.ask(FlowMonitorRequest(1, 0b11110)), MultipartReply)
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        (channel,) = bridge._controllers
        number = 0
        while not channel.stream.is_full:
            bridge.add_flow(f"priority={number},actions={long}")
            number += 1
            await asyncio.sleep(0)
        for missed in range(number, number + 200):
            bridge.add_flow(f"priority={missed},actions={long}")
            await asyncio.sleep(0)
        bridge.delete_flows("priority=0", strict=True)
        bridge.delete_flows(f"priority={number}", strict=True)
        assert channel.stream.is_full
        assert channel.stream.backlog < 1 << 16  # and not 200 * 3 KB
        peer.reader._transport.resume_reading()  # type: ignore[attr-defined]
        events: list[str] = []
        known: set[int] = set()
        while "resumed" not in events:
            update = await peer.receive(MultipartReply)
            for each in update.entries:  # type: ignore[attr-defined]
                events.append(each.event)
                if each.event in ("added", "removed"):
                    (known.add if each.event == "added" else known.remove)(each.priority)
        assert events.count("paused") == events.count("resumed") == 1
        assert known == {flow.priority for flow in bridge.dump_flows()}
        bridge.add_flow("priority=9999,actions=drop")
        update = await peer.receive(MultipartReply)
        assert [each.event for each in update.entries] == ["added"]  # type: ignore[attr-defined]

    run(test, listen=[f"punix:{path}"], probe_s=0)


def test_a_controller_that_floods_leaves_the_others_their_turn() -> None:
    async def test(bridge: Bridge, port: int) -> None:
        good, flood = await connect(port), await connect(port)
        flood.writer.write(
            b"".join(
                encode(FlowMod(FlowCommand.ADD, FlowMatch(in_port=1, eth_type=number), priority=5), 4, 1)
                for number in range(2000)
            )
        )
        assert await good.ask(BarrierRequest()) == BarrierReply()
        assert len(bridge.dump_flows()) < 2000
        await until(lambda: len(bridge.dump_flows()) == 2000)

    run(test)
