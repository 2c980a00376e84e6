"""A whole switch on the simulated datapath, programmed without a socket."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from vswitch import ConfigError, Datapath
from vswitch.bridge.bridge import Bridge
from vswitch.messages.base import Message
from vswitch.messages.control import BarrierReply, BarrierRequest, EchoReply, EchoRequest
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.flows import (
    FlowCommand,
    FlowMod,
    FlowRemoved,
    FlowRemovedReason,
    GroupCommand,
    GroupMod,
    MeterCommand,
    MeterMod,
    PacketIn,
    PacketInReason,
    Resume,
    TableMod,
)
from vswitch.messages.match import FlowMatch
from vswitch.messages.ports import PortStatus, PortStatusReason
from vswitch.messages.stats import AggregateStats, FlowStatsRequest, MultipartReply, PortStats, StatsRequest, TableStats
from vswitch.packet import build

A, B, C = 0x020000000001, 0x020000000002, 0x020000000003
LENGTH = 62


def frame(source: int = A, target: int = B, number: int = 0) -> bytes:
    """UDP from one address to another; `number` makes its port."""
    payload = build.udp(1000 + number, 2000, bytes(20))
    return build.ethernet(target, source, 0x0800, build.ipv4(source & 0xFF, target & 0xFF, 17, payload))


def ports(bridge: Bridge, data: bytes, in_port: int = 1) -> list[int]:
    """Where a frame goes out."""
    return [sent.port for sent in bridge.receive(data, in_port)]


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    """Four ports, and no flow."""
    with Bridge.simulate(4, fail_mode="secure") as bridge:
        yield bridge


# ---- forwarding


def test_without_controllers_it_is_a_learning_switch() -> None:
    with Bridge.simulate(4) as bridge:
        assert ports(bridge, frame(A, B), 1) == [2, 3, 4]
        assert ports(bridge, frame(B, A), 2) == [1]
        assert ports(bridge, frame(A, B), 1) == [2]
        assert [flow.priority for flow in bridge.dump_flows()] == [0]


def test_a_secure_switch_without_flows_drops(bridge: Bridge) -> None:
    assert ports(bridge, frame()) == []
    assert not bridge.dump_flows()


def test_flows_are_given_as_text_or_as_messages(bridge: Bridge) -> None:
    bridge.add_flow("in_port=1,actions=2")
    bridge.add_flow(FlowMod(FlowCommand.ADD, FlowMatch(in_port=2)))
    assert ports(bridge, frame()) == [2]
    assert ports(bridge, frame(), 2) == []
    assert len(bridge.dump_flows()) == 2
    assert len(bridge.dump_flows("in_port=1")) == 1
    bridge.delete_flows("in_port=1")
    assert ports(bridge, frame()) == []
    with pytest.raises(ConfigError, match="command ADD is given to delete"):
        bridge.delete_flows(FlowMod(FlowCommand.ADD))


def test_ports_go_by_name_in_text() -> None:
    with Bridge.simulate(["left", ("right", 7)], fail_mode="secure") as bridge:
        bridge.add_flow("in_port=left,actions=output:right")
        assert ports(bridge, frame()) == [7]


def test_a_flow_that_is_refused_changes_nothing(bridge: Bridge) -> None:
    with pytest.raises(OpenFlowError, match="bad_table_id"):
        bridge.add_flow(FlowMod(FlowCommand.ADD, table=255))
    assert not bridge.dump_flows()


def test_packets_go_through_many_tables(bridge: Bridge) -> None:
    for table in range(7):
        bridge.add_flow(f"table={table},actions=load:{table}->NXM_NX_REG{table}[],resubmit(,{table + 1})")
    bridge.add_flow("table=7,reg3=3,reg6=6,actions=3,4")
    assert ports(bridge, frame()) == [3, 4]
    assert ports(bridge, frame(B, C)) == [3, 4]
    assert bridge.stats()["megaflows"] == 1


# ---- a change withdraws what it affects, and no more


def test_a_better_flow_withdraws_the_megaflows_that_it_takes_and_no_others(bridge: Bridge) -> None:
    bridge.add_flow("priority=1,actions=4")
    bridge.add_flow("priority=5,in_port=4,udp,tp_src=1,actions=drop")  # so that ports are looked at there
    bridge.add_flow("priority=10,in_port=1,udp,tp_src=9,actions=drop")
    bridge.add_flow("priority=10,in_port=2,udp,tp_src=9,actions=drop")
    assert ports(bridge, frame(number=1), 1) == [4]
    assert ports(bridge, frame(number=1), 2) == [4]
    before = bridge.stats()
    assert before["megaflows"] == 2
    bridge.add_flow("priority=20,in_port=1,udp,tp_src=1001,actions=3")
    after = bridge.stats()
    assert (after["withdrawn"] - before["withdrawn"], after["megaflows"]) == (1, 1)
    assert ports(bridge, frame(number=1), 1) == [3]
    assert ports(bridge, frame(number=2), 1) == [4]


def test_a_worse_flow_withdraws_nothing(bridge: Bridge) -> None:
    bridge.add_flow("priority=10,actions=2")
    ports(bridge, frame())
    bridge.add_flow("priority=5,actions=3")
    assert bridge.stats()["looked_at"] == 0
    assert ports(bridge, frame()) == [2]


def test_a_flow_that_goes_withdraws_the_megaflows_that_passed_it(bridge: Bridge) -> None:
    bridge.add_flow("priority=10,in_port=1,actions=2")
    bridge.add_flow("priority=10,in_port=2,actions=1")
    bridge.add_flow("priority=1,actions=4")
    ports(bridge, frame())
    ports(bridge, frame(), 2)
    bridge.delete_flows("priority=10,in_port=1", strict=True)
    assert bridge.stats()["megaflows"] == 1
    assert ports(bridge, frame()) == [4]
    assert ports(bridge, frame(), 2) == [1]


def test_a_flow_with_other_actions_withdraws_too(bridge: Bridge) -> None:
    bridge.add_flow("in_port=1,actions=2")
    ports(bridge, frame())
    bridge.modify_flows("in_port=1,actions=3")
    assert ports(bridge, frame()) == [3]


def test_megaflows_that_would_be_the_same_stay(bridge: Bridge) -> None:
    bridge.add_flow("priority=10,in_port=1,actions=2")
    ports(bridge, frame())
    before = bridge.stats()
    bridge.add_flow("priority=10,in_port=1,actions=2")
    after = bridge.stats()
    assert after["looked_at"] == before["looked_at"] + 1
    assert after["withdrawn"] == before["withdrawn"]
    ports(bridge, frame())
    assert [flow.packets for flow in bridge.dump_flows()] == [2]


def test_a_moved_address_withdraws_what_led_to_it() -> None:
    with Bridge.simulate(4) as bridge:
        ports(bridge, frame(A, B), 1)
        ports(bridge, frame(B, A), 2)
        assert ports(bridge, frame(A, B), 1) == [2]
        ports(bridge, frame(B, C), 3)
        assert ports(bridge, frame(A, B), 1) == [3]


def test_a_port_that_goes_is_forgotten() -> None:
    with Bridge.simulate(4) as bridge:
        told: list[Message] = []
        bridge.on_message(told.append)
        ports(bridge, frame(A, B), 1)
        ports(bridge, frame(B, A), 2)
        bridge.datapath.ports.remove(2)
        bridge.process()
        assert ports(bridge, frame(A, B), 1) == [3, 4]
        bridge.datapath.ports.add("new", 2)
        assert ports(bridge, frame(A, C), 1) == [2, 3, 4]
        assert [(each.reason, each.port.number) for each in told if isinstance(each, PortStatus)] == [
            (PortStatusReason.DELETE, 2),
            (PortStatusReason.ADD, 2),
        ]


def test_a_group_that_changes_withdraws_what_went_through_it(bridge: Bridge) -> None:
    bridge.add_group("group_id=1,type=all,bucket=output:2")
    bridge.add_flow("in_port=1,actions=group:1")
    assert ports(bridge, frame()) == [2]
    bridge.modify_group("group_id=1,type=all,bucket=output:3,bucket=output:4")
    assert ports(bridge, frame()) == [3, 4]
    bridge.delete_groups()
    assert ports(bridge, frame()) == []
    assert not bridge.dump_flows()


def test_after_a_barrier_no_packet_sees_what_was(bridge: Bridge) -> None:
    bridge.add_flow("actions=2")
    ports(bridge, frame())
    for number in range(20):
        wanted = number % 2 + 2
        mod = FlowMod(FlowCommand.ADD, actions=bridge.dump_flows()[0].actions, priority=100 + number)
        replies = bridge.send(mod, BarrierRequest())
        assert replies == [BarrierReply()]
        bridge.modify_flows(f"actions={wanted}")
        assert ports(bridge, frame()) == [wanted]


def test_many_changes_at_once_are_settled_together(bridge: Bridge) -> None:
    bridge.add_flow("priority=1,actions=2")
    bridge.add_flow("priority=2,in_port=4,udp,tp_src=7,actions=drop")
    for number in range(50):
        ports(bridge, frame(number=number))
    bridge.add_flows(f"priority=10,in_port=1,udp,tp_src={1000 + number},actions=3" for number in range(0, 50, 2))
    assert [ports(bridge, frame(number=number)) for number in range(4)] == [[3], [2], [3], [2]]


# ---- counters


def test_every_flow_counts_what_was_sent(bridge: Bridge) -> None:
    bridge.add_flow("table=0,actions=resubmit(,1)")
    bridge.add_flow("table=1,in_port=1,actions=2")
    bridge.add_flow("table=1,in_port=2,actions=1")
    for number in range(10):
        ports(bridge, frame(number=number), 1 + number % 2)
    counted = {(flow.table, flow.match.take("in_port")[0]): (flow.packets, flow.bytes) for flow in bridge.dump_flows()}
    assert counted == {(0, 0): (10, 10 * LENGTH), (1, 1): (5, 5 * LENGTH), (1, 2): (5, 5 * LENGTH)}
    (reply,) = bridge.send(FlowStatsRequest("aggregate", table=1))
    assert isinstance(reply, MultipartReply)
    assert reply.entries == (AggregateStats(10, 10 * LENGTH, 2),)
    (reply,) = bridge.send(StatsRequest("table"))
    assert isinstance(reply, MultipartReply)
    tables = [each for each in reply.entries if isinstance(each, TableStats)]
    assert [(each.lookups, each.matched) for each in tables[:3]] == [(10, 10), (10, 10), (0, 0)]


def test_a_flow_that_goes_tells_all_that_it_has_counted(bridge: Bridge) -> None:
    told: list[Message] = []
    bridge.on_message(told.append)
    bridge.add_flow("in_port=1,send_flow_rem,actions=2")
    for _ in range(7):
        ports(bridge, frame())
    bridge.delete_flows()
    removed = told[-1]
    assert isinstance(removed, FlowRemoved)
    assert (removed.packets, removed.bytes, removed.reason) == (7, 7 * LENGTH, FlowRemovedReason.DELETE)


def test_groups_count_and_so_do_their_buckets(bridge: Bridge) -> None:
    bridge.add_group("group_id=1,type=all,bucket=output:2,bucket=output:3")
    bridge.add_flow("actions=group:1")
    for _ in range(4):
        ports(bridge, frame())
    _, (stats,) = bridge.dump_groups()
    assert (stats.packets, stats.bytes, [each.packets for each in stats.buckets]) == (4, 4 * LENGTH, [4, 4])


def test_meters_let_pass_what_they_say_and_count_the_rest(bridge: Bridge) -> None:
    bridge.add_meter("meter=77,pktps,burst,stats,band=type=drop,rate=10,burst_size=3")
    bridge.add_flow("in_port=1,actions=meter:77,2")
    went = [ports(bridge, frame()) for _ in range(10)]
    assert went == [[2]] * 3 + [[]] * 7
    (config,), (stats,) = bridge.dump_meters()
    assert config.id == 77
    assert (stats.packets, stats.bands, stats.flows) == (10, ((7, 7 * LENGTH),), 1)
    bridge.delete_meters()
    assert not bridge.dump_flows()


def test_packets_to_controllers_pass_the_meter_of_them_all_or_their_own(bridge: Bridge) -> None:
    seen: list[PacketIn] = []
    bridge.on_packet_in(seen.append)
    bridge.add_meter("meter=controller,pktps,burst,stats,band=type=drop,rate=10,burst_size=3")
    bridge.add_meter("meter=5,pktps,burst,stats,band=type=drop,rate=1,burst_size=1")
    bridge.add_flow("in_port=1,actions=controller")
    bridge.add_flow("in_port=2,actions=controller(meter_id=5)")
    for _ in range(10):
        ports(bridge, frame(), 1)
    assert len(seen) == 3
    for _ in range(10):
        ports(bridge, frame(), 2)
    assert len(seen) == 4
    bridge.advance(0.3)
    ports(bridge, frame(), 1)
    assert len(seen) == 5
    _, stats = bridge.dump_meters()
    of_action, virtual = [(each.packets, each.bytes, each.bands) for each in stats]
    assert virtual == (11, 11 * LENGTH, ((7, 7 * LENGTH),))
    assert of_action == (10, 10 * LENGTH, ((9, 9 * LENGTH),))


def test_a_meter_that_flows_and_packets_to_controllers_share_counts_both(bridge: Bridge) -> None:
    bridge.on_packet_in(lambda _packet: None)
    bridge.add_meter("meter=5,pktps,burst,stats,band=type=drop,rate=10,burst_size=3")
    bridge.add_flow("in_port=1,actions=controller(meter_id=5)")
    bridge.add_flow("in_port=2,actions=meter:5,3")
    for _ in range(5):
        ports(bridge, frame(), 1)
        ports(bridge, frame(), 2)
    _, (stats,) = bridge.dump_meters()
    assert (stats.packets, stats.bands) == (10, ((4, 4 * LENGTH),))


@pytest.mark.parametrize("unit", ["pktps", "kbps"])
def test_packets_that_miss_pass_the_meter_of_the_slow_path(bridge: Bridge, unit: str) -> None:
    bits = LENGTH * 8 // 100
    rate, burst = (10, 3) if unit == "pktps" else (bits, 1 + 3 * LENGTH * 8 // 1000)
    bridge.add_meter(f"meter=slowpath,{unit},burst,stats,band=type=drop,rate={rate},burst_size={burst}")
    for number in range(20):
        bridge.add_flow(f"udp,tp_src={1000 + number},actions=2")
    went = [ports(bridge, frame(number=number)) for number in range(10)]
    passed = went.count([2])
    assert went == [[2]] * passed + [[]] * (10 - passed)
    assert passed == (3 if unit == "pktps" else 4)
    assert [ports(bridge, frame(number=0)) for _ in range(10)] == [[2]] * 10  # its megaflow stands: no slow path
    bridge.advance(0.2)
    assert ports(bridge, frame(number=11)) == [2]
    _, (stats,) = bridge.dump_meters()
    assert (stats.packets, stats.bytes) == (11, 11 * LENGTH)
    assert stats.bands == ((10 - passed, (10 - passed) * LENGTH),)
    assert bridge.stats()["policed"] == 10 - passed
    bridge.delete_meters("meter=slowpath")
    assert [ports(bridge, frame(number=number)) for number in range(12, 20)] == [[2]] * 8


GOING: dict[str, tuple[str, Message, FlowRemovedReason]] = {
    "deleted": ("actions=2", FlowMod(FlowCommand.DELETE), FlowRemovedReason.DELETE),
    "with its group": ("actions=group:1", GroupMod(GroupCommand.DELETE, 1), FlowRemovedReason.GROUP_DELETE),
    "with its meter": ("actions=meter:1,2", MeterMod(MeterCommand.DELETE, 1), FlowRemovedReason.METER_DELETE),
    "evicted": ("hard_timeout=9,actions=2", FlowMod(FlowCommand.ADD, FlowMatch(in_port=4)), FlowRemovedReason.EVICTION),
}


@pytest.mark.parametrize("how", GOING)
def test_flow_removed_has_what_passed_until_no_packet_could(how: str) -> None:
    flow, message, reason = GOING[how]
    with Bridge.simulate(4, fail_mode="secure", max_flows=1) as bridge:
        told: list[Message] = []
        bridge.on_message(told.append)
        bridge.send(TableMod(0, eviction=True))
        bridge.add_group("group_id=1,type=all,bucket=output:2")
        bridge.add_meter("meter=1,pktps,band=type=drop,rate=1000")
        bridge.add_flow(f"send_flow_rem,in_port=1,{flow}")
        assert [ports(bridge, frame()) for _ in range(2)] == [[2]] * 2
        bridge._engine.handle(message, 1, bridge._local.session)
        bridge.datapath.receive(frame(), 1)  # its megaflow stands yet
        assert [sent.port for sent in bridge.datapath.sent()] == [2]
        assert not told
        bridge.process()
        (removed,) = told
        assert isinstance(removed, FlowRemoved)
        assert (removed.reason, removed.packets, removed.bytes) == (reason, 3, 3 * LENGTH)


def test_each_meter_that_can_be_polices(bridge: Bridge) -> None:
    for number in range(1, 301):
        bridge.add_meter(f"meter={number},pktps,band=type=drop,rate={1000 if number < 300 else 1}")
    bridge.add_flow("in_port=1,actions=meter:300,2")
    assert [ports(bridge, frame()) for _ in range(50)] == [[2]] + [[]] * 49
    bridge.delete_meters("meter=7")
    bridge.add_meter("meter=301,pktps,band=type=drop,rate=2")
    bridge.add_flow("in_port=1,actions=meter:301,2")
    assert [ports(bridge, frame()) for _ in range(50)] == [[2]] * 2 + [[]] * 48


def test_there_are_no_more_meters_than_the_datapath_has() -> None:
    with Datapath.simulate(2, max_meters=3) as datapath:
        bridge = Bridge(datapath, fail_mode="secure")
        (features,) = [each for reply in bridge.send(StatsRequest("meter_features")) for each in reply.entries]  # type: ignore[attr-defined]
        assert features.max_meters == 3
        for number in range(1, 4):
            bridge.add_meter(f"meter={number},kbps,band=type=drop,rate=1")
        with pytest.raises(OpenFlowError, match="out_of_meters"):
            bridge.add_meter("meter=4,kbps,band=type=drop,rate=1")
        bridge.close()


@pytest.mark.parametrize(
    ("meter", "error"),
    [
        ("pktps,band=type=drop,rate=1000000001", "bad_rate"),
        ("kbps,band=type=drop,rate=4294967295", "bad_rate"),
        ("kbps,burst,band=type=drop,rate=1000000,burst_size=1000000001", "bad_burst"),
        ("kbps,burst,band=type=drop,rate=1,burst_size=4503600", "bad_burst"),
        ("kbps,burst,band=type=drop,rate=1,burst_size=4503599", ""),
        ("kbps,band=type=drop,rate=1000000000", ""),
    ],
)
def test_a_meter_that_the_datapath_cannot_have_is_refused(bridge: Bridge, meter: str, error: str) -> None:
    if error:
        with pytest.raises(OpenFlowError, match=f"meter_mod_failed.{error}"):
            bridge.add_meter(f"meter=1,{meter}")
    else:
        bridge.add_meter(f"meter=1,{meter}")
    assert len(bridge.dump_meters()[0]) == (not error)


def test_ports_count(bridge: Bridge) -> None:
    bridge.add_flow("actions=2")
    ports(bridge, frame())
    (reply,) = bridge.send(StatsRequest("port", 2))
    assert isinstance(reply, MultipartReply)
    (stats,) = reply.entries
    assert isinstance(stats, PortStats)
    assert (stats.port, stats.tx_packets, stats.tx_bytes) == (2, 1, LENGTH)


# ---- time


def test_flows_time_out_when_they_are_idle_and_not_before(bridge: Bridge) -> None:
    told: list[Message] = []
    bridge.on_message(told.append)
    bridge.add_flow("in_port=1,idle_timeout=5,send_flow_rem,actions=2")
    for _ in range(4):
        assert ports(bridge, frame()) == [2]
        bridge.advance(4)
    assert len(bridge.dump_flows()) == 1
    bridge.advance(2)
    assert not bridge.dump_flows()
    removed = told[-1]
    assert isinstance(removed, FlowRemoved)
    assert (removed.reason, removed.packets) == (FlowRemovedReason.IDLE_TIMEOUT, 4)
    assert ports(bridge, frame()) == []


def test_flows_time_out_at_last(bridge: Bridge) -> None:
    bridge.add_flow("in_port=1,hard_timeout=3,actions=2")
    bridge.advance(2.5)
    assert ports(bridge, frame()) == [2]
    bridge.advance(1)
    assert ports(bridge, frame()) == []


def test_idle_megaflows_go(bridge: Bridge) -> None:
    bridge.add_flow("actions=2")
    ports(bridge, frame())
    bridge.advance(8)
    ports(bridge, frame())
    bridge.advance(8)
    assert bridge.stats()["megaflows"] == 1
    bridge.advance(3)
    assert bridge.stats()["megaflows"] == 0
    assert [flow.packets for flow in bridge.dump_flows()] == [2]


def test_learned_addresses_age() -> None:
    with Bridge.simulate(3, mac_age_s=15) as bridge:
        ports(bridge, frame(B, A), 2)
        assert ports(bridge, frame(A, B), 1) == [2]
        bridge.advance(20)
        assert ports(bridge, frame(A, B), 1) == [2, 3]


# ---- packets for the program


def test_what_no_flow_takes_comes_to_the_program(bridge: Bridge) -> None:
    seen: list[PacketIn] = []
    bridge.on_packet_in(seen.append)
    data = frame()
    ports(bridge, data, 3)
    (packet,) = seen
    assert (packet.frame, packet.reason, packet.metadata) == (data, PacketInReason.NO_MATCH, FlowMatch(in_port=3))


@pytest.mark.parametrize(
    ("meter", "passed"), [("pktps,band=type=drop,rate=10", 10), ("kbps,band=type=drop,rate=1", 40)]
)
def test_a_meter_whose_burst_is_not_said_lets_a_second_pass_and_any_packet(
    bridge: Bridge, meter: str, passed: int
) -> None:
    bridge.add_meter(f"meter=1,{meter}")
    bridge.add_flow("in_port=1,actions=meter:1,2")
    assert len([port for _ in range(40) for port in ports(bridge, frame())]) == passed
    told: list[PacketIn] = []
    bridge.on_packet_in(told.append)
    bridge.add_meter(f"meter=controller,{meter}")
    bridge.add_flow("in_port=2,actions=controller")
    for _ in range(40):
        ports(bridge, frame(), 2)
    assert len(told) == passed


def test_a_program_that_comes_later_is_told_of_what_was_dropped_until_then(bridge: Bridge) -> None:
    assert ports(bridge, frame()) == []
    seen: list[PacketIn] = []
    bridge.on_packet_in(seen.append)
    ports(bridge, frame())
    assert len(seen) == 1


def test_the_program_answers_by_a_flow_and_a_packet(bridge: Bridge) -> None:
    @bridge.on_packet_in
    def answer(packet: PacketIn) -> None:
        bridge.add_flow("in_port=1,actions=2")
        bridge.packet_out(packet.frame, "output:2", in_port=1)

    assert ports(bridge, frame()) == [2]
    assert ports(bridge, frame()) == [2]
    assert bridge.stats()["misses"] == 2


def test_answers_to_packets_that_came_up_together_take_effect_together(bridge: Bridge) -> None:
    bridge.add_flow("priority=1,in_port=2,actions=3")
    while_told: list[int] = []

    @bridge.on_packet_in
    def answer(packet: PacketIn) -> None:
        bridge.add_flow(f"priority=9,in_port={packet.in_port},actions=4")
        bridge.packet_out(packet.frame, f"output:{2 + len(while_told)}", in_port=packet.in_port)
        while_told.append(len(bridge.datapath.sent()))

    for number in range(3):
        bridge.datapath.receive(frame(number=number), 1)
    bridge.process()
    assert while_told == [0, 0, 0]
    assert [sent.port for sent in bridge.datapath.sent()] == [2, 3, 4], "in the order that the program gave"
    assert bridge.stats()["packet_outs"] == 3
    assert ports(bridge, frame()) == [4]


@pytest.mark.parametrize("message", [BarrierRequest(), FlowStatsRequest("flow"), StatsRequest("port", 2)])
def test_what_the_program_sends_does_not_wait_behind_what_asks_about_it(bridge: Bridge, message: Message) -> None:
    sent: list[list[int]] = []

    @bridge.on_packet_in
    def answer(packet: PacketIn) -> None:
        bridge.packet_out(packet.frame, "output:2", in_port=1)
        bridge.send(message)
        sent.append([each.port for each in bridge.datapath.sent()])

    for number in range(2):
        bridge.datapath.receive(frame(number=number), 1)
    bridge.process()
    assert sent == [[2], [2]]


def test_a_packet_through_the_tables_sees_the_flows_of_before_and_overtakes_nothing(bridge: Bridge) -> None:
    @bridge.on_packet_in
    def answer(packet: PacketIn) -> None:
        bridge.packet_out(packet.frame, "output:2", in_port=1)
        bridge.add_flow("in_port=1,actions=3")
        bridge.packet_out(packet.frame, "table", in_port=1)
        bridge.modify_flows("in_port=1,actions=4")

    assert ports(bridge, frame()) == [2, 3]
    assert ports(bridge, frame()) == [4]


def test_flows_send_packets_to_the_program_beside_forwarding_them(bridge: Bridge) -> None:
    seen: list[PacketIn] = []
    bridge.on_packet_in(seen.append)
    bridge.add_flow("cookie=0x77,in_port=1,actions=load:5->NXM_NX_REG2[],2,controller(max_len=20,reason=action)")
    for _ in range(3):
        assert ports(bridge, frame()) == [2]
    assert [(len(each.frame), each.total_length, each.reason, each.cookie) for each in seen] == [
        (LENGTH, LENGTH, PacketInReason.ACTION, 0x77)
    ] * 3
    assert seen[0].metadata == FlowMatch(in_port=1, reg2=5)


def test_a_packet_is_sent_through_the_tables(bridge: Bridge) -> None:
    bridge.add_flow("in_port=1,actions=3")
    bridge.datapath.sent()
    bridge.packet_out(frame(), "table", in_port=1)
    assert [sent.port for sent in bridge.datapath.sent()] == [3]
    assert [flow.packets for flow in bridge.dump_flows()] == [1]


def test_a_callback_that_fails_costs_nothing_but_itself(bridge: Bridge, caplog: pytest.LogCaptureFixture) -> None:
    @bridge.on_packet_in
    def fail(_packet: PacketIn) -> None:
        raise ValueError("oh")

    seen: list[PacketIn] = []
    bridge.on_packet_in(seen.append)
    ports(bridge, frame())
    assert len(seen) == 1
    assert "a callback failed at PacketIn" in caplog.text


def test_any_message_may_be_sent(bridge: Bridge) -> None:
    assert bridge.send(EchoRequest(b"x"), EchoRequest(b"y")) == [EchoReply(b"x"), EchoReply(b"y")]


def test_a_packet_is_paused_and_goes_on_when_it_is_resumed(bridge: Bridge) -> None:
    seen: list[PacketIn] = []
    bridge.on_packet_in(seen.append)
    bridge.add_flow("in_port=1,actions=load:7->NXM_NX_REG1[],controller(pause,userdata=01.02),resubmit(,5)")
    bridge.add_flow("table=5,reg1=7,actions=3")
    assert ports(bridge, frame()) == []
    (packet,) = seen
    assert packet.userdata == b"\x01\x02"
    bridge.datapath.sent()
    bridge.send(Resume(packet))
    assert [sent.port for sent in bridge.datapath.sent()] == [3]
    bridge.send(Resume(replace(packet, continuation=bytes(8))))  # which stands for nothing
    assert not bridge.datapath.sent()
    assert bridge.stats()["refused_packets"] == 1


# ---- what comes back to the pipeline


def test_a_select_group_hashes_flows_to_its_buckets(bridge: Bridge) -> None:
    bridge.add_group(
        "group_id=9,type=select,selection_method=dp_hash,bucket=weight:1,output:2,bucket=weight:1,output:3"
    )
    bridge.add_flow("in_port=1,actions=group:9")
    went = [ports(bridge, frame(number=number)) for number in range(40)]
    assert {tuple(each) for each in went} == {(2,), (3,)}
    assert [ports(bridge, frame(number=number)) for number in range(40)] == went
    _, (stats,) = bridge.dump_groups()
    assert stats.packets == 80
    assert [each.packets for each in stats.buckets] == [2 * went.count([2]), 2 * went.count([3])]


def test_a_fast_failover_group_goes_by_the_ports_that_are_there(bridge: Bridge) -> None:
    bridge.add_group("group_id=10,type=ff,bucket=watch_port:2,output:2,bucket=watch_port:3,output:3")
    bridge.add_flow("in_port=1,actions=group:10")
    assert ports(bridge, frame()) == [2]
    bridge.datapath.ports.remove(2)
    bridge.process()
    assert ports(bridge, frame()) == [3]


def test_flows_are_learned_by_packets_and_go_when_none_comes(bridge: Bridge) -> None:
    bridge.add_flow(
        "in_port=1,actions=learn(table=3,idle_timeout=5,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[]),4"
    )
    bridge.add_flow("in_port=4,actions=resubmit(,3)")
    assert ports(bridge, frame(B, A), 4) == []
    assert ports(bridge, frame(A, B), 1) == [4]
    assert ports(bridge, frame(B, A), 4) == [1]
    for _ in range(6):
        bridge.advance(3)
        ports(bridge, frame(B, A), 4)
    assert len(bridge.dump_flows("table=3")) == 1
    bridge.advance(7)
    assert not bridge.dump_flows("table=3")
    assert ports(bridge, frame(B, A), 4) == []


def test_what_was_learned_goes_with_the_flow_that_taught_it_and_stays_away(bridge: Bridge) -> None:
    learn = "learn(table=3,cookie=7,delete_learned,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])"
    bridge.add_flow(f"in_port=1,actions={learn},4")
    bridge.add_flow("in_port=4,actions=resubmit(,3)")
    ports(bridge, frame(A, B))
    assert ports(bridge, frame(B, A), 4) == [1]
    ports(bridge, frame(A, B))  # counted by its megaflow, and told to nobody yet
    bridge.delete_flows("in_port=1")
    assert ports(bridge, frame(B, A), 4) == []
    bridge.advance(2)
    assert not bridge.dump_flows("table=3")


# ---- bounds


def test_the_number_of_megaflows_is_bounded_and_the_busy_ones_stay() -> None:
    with Bridge.simulate(4, fail_mode="secure", max_megaflows=64) as bridge:
        bridge.add_flow("priority=1,actions=2")
        for number in range(300):
            bridge.add_flow(f"priority=2,udp,tp_src={1000 + number},actions=3")
        busy = frame(number=0)
        for number in range(1, 300):
            assert ports(bridge, frame(number=number)) == [3]
            assert ports(bridge, busy) == [3]
            bridge.advance(0.6 if number % 20 == 0 else 0.001)
            assert bridge.stats()["megaflows"] <= 64
        assert bridge.stats()["evicted"] > 0
        before = bridge.stats()["misses"]
        ports(bridge, busy)
        assert bridge.stats()["misses"] == before
        assert sum(flow.packets for flow in bridge.dump_flows()) == 2 * 299 + 1


def test_settings_that_cannot_be_are_refused() -> None:
    refused: list[tuple[dict[str, Any], str]] = [
        ({"fail_mode": "open"}, "neither standalone nor secure"),
        ({"controllers": ["ptcp:1"]}, "connected to"),
        ({"listen": ["tcp:1.2.3.4"]}, "listened at"),
        ({"datapath_id": 0}, "outside"),
        ({"versions": frozenset({7})}, "1..6"),
        ({"max_megaflows": 1}, "max_megaflows 1 is outside"),
        ({"colour": "red"}, "no setting 'colour'"),
    ]
    for setting, problem in refused:
        with pytest.raises(ConfigError, match=problem), Bridge.simulate(1, **setting):
            pass
