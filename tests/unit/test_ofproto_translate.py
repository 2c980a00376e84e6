"""Translation, case by case: what the datapath is told, and by which bits that was decided."""

from __future__ import annotations

from typing import Any

import pytest

from tests.pipeline import LOCAL, PlainGroup, PlainView, set_field
from vswitch.fields.kinds import OPENFLOW_PORTS as PORT
from vswitch.fields.openflow import OPENFLOW_FIELDS
from vswitch.fields.registry import SLOTS
from vswitch.messages import actions as a
from vswitch.messages.flows import Bucket, FlowCommand, GroupType, PacketInReason
from vswitch.messages.match import FlowMatch, SubField
from vswitch.messages.ports import PortConfig
from vswitch.model import actions as dp
from vswitch.ofproto.action_set import in_order, written
from vswitch.ofproto.translate import translate
from vswitch.ofproto.translation import ANY_PORT_CHANGE, Config, FinTimedOut, Learned, Translation
from vswitch.packet import build
from vswitch.packet.parse import parse

HOST1, HOST2 = 0x020000000001, 0x020000000002
UDP = build.ethernet(HOST1, HOST2, 0x0800, build.ipv4(0x0A000001, 0x0A000002, 17, build.udp(1, 2, b"abcd")))
TCP_FIN = build.ethernet(HOST1, HOST2, 0x0800, build.ipv4(0x0A000001, 0x0A000002, 6, build.tcp(1, 2, 3, 4, 0x11)))
MPLS = build.ethernet(HOST1, HOST2, 0x8847, bytes.fromhex("00010140") + UDP[14:])
TAGGED = build.vlan(UDP, 5, 3)
FLOOD, CONTROLLER, ALL, NORMAL = PORT["FLOOD"], PORT["CONTROLLER"], PORT["ALL"], PORT["NORMAL"]


def mask(*names: str) -> int:
    """The bits of these fields (of `ip_ttl&c0` some), and those that are in every answer."""
    bits = 0
    for each in ("in_port", "recirc_id", *names):
        name, _, part = each.partition("&")
        view = OPENFLOW_FIELDS[name].view
        bits |= view.place(int(part, 16)) if part else view.mask
    return bits


def run(view: PlainView, frame: bytes = UDP, in_port: int = 1, **more: Any) -> Translation:
    return translate(view, parse(frame, in_port), frame, 0, **more)


def once(*actions: a.FlowAction, frame: bytes = UDP, match: FlowMatch | None = None) -> Translation:
    """With one flow that does this."""
    view = PlainView()
    view.add(0, match or FlowMatch(), *actions)
    return run(view, frame)


def datapath(*actions: dp.Action | int) -> tuple[dp.Action, ...]:
    return tuple(dp.Output(each) if isinstance(each, int) else each for each in actions)


# ---- what the datapath is told

MOVE = a.RegMove(SubField.of("ipv4_src"), SubField.of("ipv4_dst"))
CASES: dict[str, tuple[tuple[a.FlowAction, ...], bytes, tuple[dp.Action | int, ...], tuple[str, ...]]] = {
    "output": ((a.Output(2),), UDP, (2,), ()),
    "nothing": ((), UDP, (), ()),
    "the port that it came in by": ((a.Output(1),), UDP, (), ()),
    "in_port": ((a.Output(PORT["IN_PORT"]),), UDP, (1,), ()),
    "local": ((a.Output(LOCAL),), UDP, (0,), ()),
    "all": ((a.Output(ALL),), UDP, (2, 3, 4, 0), ()),
    "a port that is not there": ((a.Output(77), a.Output(2)), UDP, (2,), ()),
    "truncated": ((a.Output(2, 0, 100), a.Output(3)), UDP, (dp.Truncate(100), 2, 3), ()),
    "set whatever it was": ((set_field("eth_dst", 5), a.Output(2)), UDP, (dp.SetField("eth_dst", 5), 2), ()),
    "set and not sent": ((a.Output(2), set_field("eth_dst", 5)), UDP, (2,), ()),
    "set twice": (
        (set_field("eth_dst", 4), set_field("eth_dst", 5), a.Output(2)), UDP, (dp.SetField("eth_dst", 5), 2), ()
    ),
    "set again to the same": (
        (set_field("eth_dst", 5), a.Output(2), set_field("eth_dst", 5), a.Output(3)), UDP,
        (dp.SetField("eth_dst", 5), 2, 3), (),
    ),
    "set in between": (
        (a.Output(2), set_field("eth_dst", 5), a.Output(3)), UDP, (2, dp.SetField("eth_dst", 5), 3), ()
    ),
    "set needs the header": (
        (set_field("ipv4_src", 5), a.Output(2)), UDP, (dp.SetField("ipv4_src", 5), 2), ("eth_type",)
    ),
    "no such header": ((set_field("arp_op", 5), a.Output(2)), UDP, (2,), ("eth_type",)),
    "bits of a field": (
        (set_field("eth_dst", 0xAB00, 0xFF00), a.Output(2)), UDP, (dp.SetField("eth_dst", 0xAB00, 0xFF00), 2), ()
    ),
    "registers are nothing to the datapath": ((set_field("reg0", 5), a.Output(2)), UDP, (2,), ()),
    "what is copied is matched": (
        (MOVE, a.Output(2)), UDP, (dp.SetField("ipv4_dst", 0x0A000001), 2), ("eth_type", "ipv4_src")
    ),
    "what is copied and not used is not": (
        (a.RegMove(SubField.of("eth_src"), SubField.of("xreg0", 0, 48)), a.Output(2)), UDP, (2,), ()
    ),
    "output to what a register has": (
        (a.RegLoad(SubField.of("reg0"), 3), a.OutputReg(SubField.of("reg0"))), UDP, (3,), ()
    ),
    "through the stack": (
        (
            a.StackPush(SubField.of("eth_src")), set_field("eth_src", 5), a.StackPop(SubField.of("eth_dst")),
            a.Output(2),
        ), UDP, (dp.SetField("eth_src", 5), dp.SetField("eth_dst", HOST2), 2), ("eth_src",),
    ),
    "push a tag": (
        (a.PushVlan(), set_field("vlan_vid", 0x1005), a.Output(2)), UDP, (dp.PushVlan(5), 2), ("vlan_vid&0x1000",)
    ),
    "OpenFlow 1.0 pushes": ((a.ModVlanVid(5), a.Output(2)), UDP, (dp.PushVlan(5), 2), ("vlan_vid&0x1000",)),
    "and sets": ((a.ModVlanVid(7), a.Output(2)), TAGGED, (dp.SetField("vlan_vid", 7), 2), ("vlan_vid&0x1000",)),
    "pop a tag": ((a.PopVlan(), a.Output(2)), TAGGED, (dp.PopVlan(), 2), ()),
    "push MPLS": (
        (a.PushMpls(), set_field("mpls_label", 9), set_field("mpls_tc", 0), set_field("mpls_ttl", 3), a.Output(2)), UDP,
        (dp.PushMpls(9, 0, 3, 1), 2), ("eth_type",),
    ),
    "MPLS has the time to live of IP": (
        (a.PushMpls(), a.Output(2)), UDP, (dp.PushMpls(0, 0, 64, 1), 2), ("eth_type", "ip_tos&0x1c", "ip_ttl")
    ),
    "dec_mpls_ttl": (
        (a.DecMplsTtl(), a.Output(2)), MPLS, (dp.SetField("mpls_ttl", 0x3F), 2), ("eth_type", "mpls_ttl")
    ),
    "pop MPLS": ((a.PopMpls(0x0800), a.Output(2)), MPLS, (dp.PopMpls(0x0800), 2), ("eth_type",)),
    "a copy": (
        (a.Clone((set_field("eth_dst", 5), a.Output(2))), a.Output(3)), UDP,
        (dp.Clone((dp.SetField("eth_dst", 5), dp.Output(2))), 3), (),
    ),
    "a copy at the end is none": (
        (a.Output(3), a.Clone((set_field("eth_dst", 5), a.Output(2)))), UDP, (3, dp.SetField("eth_dst", 5), 2), ()
    ),
    "a copy that does not change": ((a.Clone((a.Output(2),)), a.Output(3)), UDP, (2, 3), ()),
    "queue": ((a.SetQueue(2), a.Output(2)), UDP, (dp.SetField("skb_priority", 0x10003), 2), ()),
    "enqueue": ((a.Enqueue(2, 0),), UDP, (dp.SetField("skb_priority", 0x10001), 2), ()),
    "exit": ((a.Output(2), a.Exit(), a.Output(3)), UDP, (2,), ()),
    "action set": ((a.WriteActions((a.Output(2), set_field("eth_dst", 5))), ), UDP, (dp.SetField("eth_dst", 5), 2), ()),
    "action set without an end": ((a.Output(3), a.WriteActions((set_field("eth_dst", 5),))), UDP, (3,), ()),
    "cleared": ((a.WriteActions((a.Output(2),)), a.ClearActions()), UDP, (), ()),
    "the last of a kind": ((a.WriteActions((a.Output(2), a.Output(3))),), UDP, (3,), ()),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_datapath_is_told(case: str) -> None:
    actions, frame, wanted, consulted = CASES[case]
    answer = once(*actions, frame=frame)
    assert not answer.error
    assert answer.actions == datapath(*wanted)
    assert answer.mask == mask(*consulted)


@pytest.mark.parametrize(
    ("ttl", "bits"), [(255, 0x80), (64, 0xC0), (3, 0xFE), (2, 0xFE), (1, 0xFE), (0, 0xFE)]
)  # fmt: skip
def test_a_time_to_live_is_matched_by_its_first_bits(ttl: int, bits: int) -> None:
    frame = build.ethernet(HOST1, HOST2, 0x0800, build.ipv4(1, 2, 89, b"", ttl=ttl))
    answer = once(a.DecTtl(), a.Output(2), frame=frame)
    assert answer.mask == mask("eth_type") | OPENFLOW_FIELDS["ip_ttl"].view.place(bits)
    if ttl > 1:
        assert answer.actions == (dp.DecTtl(()), dp.Output(2))
    else:
        assert answer.actions == (dp.Userspace(bytes(4)),)
        assert answer.controllers[0].reason is PacketInReason.INVALID_TTL


def test_two_steps_need_two_bits_more() -> None:
    answer = once(a.DecTtl(), a.DecTtl(), a.Output(2))
    assert answer.actions == (dp.DecTtl(()), dp.DecTtl(()), dp.Output(2))
    assert answer.mask == mask("eth_type") | OPENFLOW_FIELDS["ip_ttl"].view.place(0xC0)


# ---- tables


def test_resubmit_comes_back_and_goto_does_not() -> None:
    view = PlainView()
    view.add(0, FlowMatch(), a.Resubmit(table=1), a.Output(3), a.GotoTable(2))
    first = view.add(1, FlowMatch(in_port=1), a.Output(2))
    last = view.add(2, FlowMatch(), a.Output(4))
    answer = run(view)
    assert answer.actions == datapath(2, 3, 4)
    assert answer.rules[1:] == (first, last)
    assert {("table", 0), ("table", 1), ("table", 2)} <= answer.depends


def test_resubmit_with_another_port_is_for_the_lookup_alone() -> None:
    view = PlainView()
    view.add(0, FlowMatch(), a.Resubmit(in_port=3, table=1))
    view.add(1, FlowMatch(in_port=3), a.Output(3), a.Output(1))
    assert run(view).actions == datapath(3)


def test_a_miss_goes_to_the_controller_or_not() -> None:
    for miss, actions in (("controller", (dp.Userspace(bytes(4)),)), ("drop", ())):
        answer = run(PlainView(config=Config(miss=miss)))
        assert answer.actions == actions
    assert run(PlainView()).controllers[0].miss
    view = PlainView(config=Config(miss="drop", misses={0: "continue"}))
    view.add(1, FlowMatch(), a.Output(2))
    assert run(view).actions == datapath(2)


def test_a_miss_of_resubmit_is_nothing() -> None:
    assert once(a.Resubmit(table=1), a.Output(2)).actions == datapath(2)


def test_tables_in_a_circle_are_stopped() -> None:
    answer = once(a.Resubmit(table=0), a.Output(2))
    assert answer.actions == ()
    assert "more than 64 deep" in answer.error


def test_a_tree_of_tables_is_stopped() -> None:
    view = PlainView()
    for table in range(13):
        view.add(table, FlowMatch(), a.Resubmit(table=table + 1), a.Resubmit(table=table + 1))
    answer = run(view)
    assert answer.actions == ()
    assert "more than 4096 lookups" in answer.error


def test_more_actions_than_the_datapath_has_are_an_error() -> None:
    answer = once(*(a.Output(2 + index % 3) for index in range(65)))
    assert answer.actions == ()
    assert "65 actions exceed the bound of 64" in answer.error


def test_rules_that_differ_in_what_was_asked_for_ask_for_nothing_more() -> None:
    view = PlainView()
    view.add(0, FlowMatch(eth_type=0x86DD), a.Output(1), priority=9)
    view.add(0, FlowMatch(vlan_vid=0x1005, eth_type=0x0806, arp_op=1), a.Output(1), priority=8)
    view.add(0, FlowMatch(vlan_vid=0x1006, eth_type=0x0806, arp_op=1), a.Output(1), priority=7)
    view.add(0, FlowMatch(), a.Output(2), priority=0)
    assert run(view).mask == mask("eth_type")
    view.add(0, FlowMatch(vlan_vid=0x1005, eth_type=0x0800, arp_op=1), a.Output(1), priority=6)
    assert run(view).mask == mask("eth_type", "vlan_vid")


def test_rules_that_differ_in_what_an_action_has_set_ask_for_nothing() -> None:
    view = PlainView()
    view.add(0, FlowMatch(), set_field("reg3", 5), a.GotoTable(1))
    view.add(1, FlowMatch(reg3=6, ipv4_dst="10.0.0.0/8", eth_src=HOST1), a.Output(1))
    view.add(1, FlowMatch(reg4=7, tun_id=5), a.Output(1))
    assert run(view).mask == mask()


def test_metadata_of_the_table_before_needs_no_bit() -> None:
    view = PlainView()
    view.add(0, FlowMatch(), a.WriteMetadata(5), a.GotoTable(1))
    view.add(1, FlowMatch(metadata=5), a.Output(2))
    answer = run(view)
    assert answer.actions == datapath(2)
    assert answer.mask == mask()


def test_what_was_copied_is_matched_where_it_is_looked_at() -> None:
    view = PlainView()
    view.add(0, FlowMatch(), a.RegMove(SubField.of("eth_src"), SubField.of("xreg0", 0, 48)), a.GotoTable(1))
    view.add(1, FlowMatch(xreg0=(HOST2 & 0xFFFF, 0xFFFF)), a.Output(2))
    answer = run(view)
    assert answer.actions == datapath(2)
    assert answer.mask == mask("eth_src")


# ---- ports


def test_ports_that_are_closed() -> None:
    view = PlainView()
    view.add(0, FlowMatch(), a.Output(2), a.Output(3), a.Output(FLOOD))
    view.configure(2, PortConfig.NO_FWD)
    view.configure(3, PortConfig.NO_FLOOD)
    view.configure(4, PortConfig.DOWN)
    answer = run(view)
    assert answer.actions == datapath(3, 0)
    assert ANY_PORT_CHANGE in answer.depends
    for config in (PortConfig.NO_RECV, PortConfig.DOWN):
        view.configure(1, config)
        assert run(view).actions == ()


def test_stp_has_its_own_closed_ports() -> None:
    view = PlainView()
    view.add(0, FlowMatch(), a.Output(2))
    stp = build.ethernet(0x0180C2000000, HOST2, 0x0027, bytes(40))
    view.configure(1, PortConfig.NO_RECV)
    assert run(view, stp).actions == datapath(2)
    view.configure(1, PortConfig.NO_RECV_STP)
    assert run(view, stp).actions == ()
    assert run(view).actions == datapath(2)


def test_a_port_may_not_send_misses() -> None:
    view = PlainView()
    view.configure(1, PortConfig.NO_PACKET_IN)
    assert run(view).actions == ()


# ---- controllers


def test_reasons() -> None:
    view = PlainView()
    view.add(0, FlowMatch(), a.Output(CONTROLLER, 128), a.Group(1), a.WriteActions((a.Output(CONTROLLER),)), cookie=9)
    view.groups[1] = PlainGroup(GroupType.ALL, (Bucket((a.Output(CONTROLLER),)),))
    sends = run(view).controllers
    assert [each.reason for each in sends] == [
        PacketInReason.ACTION, PacketInReason.GROUP, PacketInReason.ACTION_SET,
    ]  # fmt: skip
    assert (sends[0].max_len, sends[0].cookie, sends[0].table) == (128, 9, 0)
    assert [each.cookie for each in sends] == [9, 9, 9]
    view = PlainView()
    view.add(3, FlowMatch(), a.Output(CONTROLLER), priority=0)
    view.add(0, FlowMatch(), a.GotoTable(3))
    (send,) = run(view).controllers
    assert (send.reason, send.table) == (PacketInReason.NO_MATCH, 3)
    (send,) = run(view, actions=(a.Output(CONTROLLER),)).controllers
    assert send.reason is PacketInReason.PACKET_OUT


def test_a_controller_is_told_registers() -> None:
    (send,) = once(set_field("reg3", 7), a.SetTunnel(5), a.Controller(userdata=b"x", reason=0)).controllers
    assert send.metadata == FlowMatch(in_port=1, reg3=7, tun_id=5)
    assert (send.userdata, send.reason) == (b"x", 0)


def test_a_paused_packet_goes_on() -> None:
    view = PlainView()
    view.add(0, FlowMatch(), a.Resubmit(table=1), a.Output(3))
    view.add(1, FlowMatch(), set_field("reg0", 4), a.Controller(pause=True), a.OutputReg(SubField.of("reg0")))
    answer = run(view)
    assert answer.actions == (dp.Userspace(bytes(4)),)
    (send,) = answer.controllers
    assert send.pause is not None
    assert run(view, resume=send.pause).actions == datapath(4, 3)


def test_packet_out_through_the_tables() -> None:
    view = PlainView()
    view.add(0, FlowMatch(), a.Output(2))
    answer = run(view, actions=(set_field("eth_dst", 5), a.Output(PORT["TABLE"])))
    assert answer.actions == datapath(dp.SetField("eth_dst", 5), 2)
    answer = run(view, actions=(a.Output(FLOOD),), in_port=PORT["CONTROLLER"])
    assert answer.actions == datapath(1, 2, 3, 4, 0)


# ---- coming back


def test_what_lies_below_mpls_is_seen_when_it_comes_back() -> None:
    view = PlainView()
    view.add(0, FlowMatch(), a.PopMpls(0x0800), a.GotoTable(1))
    view.add(1, FlowMatch(eth_dst=HOST1), a.GotoTable(2))
    view.add(2, FlowMatch(ipv4_dst=0x0A000002), a.Output(2))
    answer = run(view, MPLS)
    assert answer.actions == (dp.PopMpls(0x0800), dp.Recirculate(1))
    again = translate(view, parse(UDP, 1 | 1 << 32), UDP, 0)
    assert again.actions == datapath(2)
    assert again.mask == mask("eth_type", "ipv4_dst")
    assert [rule.table for rule in answer.rules + again.rules] == [0, 1, 2]


def test_the_same_state_has_the_same_number() -> None:
    view = PlainView()
    view.add(0, FlowMatch(in_port=1), set_field("reg0", 1), a.PopMpls(0x0800), a.GotoTable(1))
    view.add(0, FlowMatch(in_port=2), set_field("reg0", 2), a.PopMpls(0x0800), a.GotoTable(1))
    view.add(1, FlowMatch(ipv4_dst=1), a.Output(2))
    first, second, third = run(view, MPLS), run(view, MPLS), run(view, MPLS, 2)
    assert first.actions == second.actions != third.actions
    assert len(view.frozen) == 2
    view.frozen.keep({1})
    assert len(view.frozen) == 1


def test_nothing_is_known_of_a_number() -> None:
    answer = translate(PlainView(), parse(UDP, 1 | 7 << 32), UDP, 0)
    assert (answer.actions, answer.error) == ((), "nothing is known of recirculation id 0x7")


def test_both_answers_to_a_length() -> None:
    view = PlainView()
    check = a.CheckPacketLarger(100, SubField.of("reg0", 0, 1))
    move = a.RegMove(SubField.of("reg0", 0, 1), SubField.of("eth_dst", 0, 1))
    view.add(0, FlowMatch(), check, move, a.Output(4))
    ways = (datapath(dp.SetField("eth_dst", bit, 1), 4) for bit in (1, 0))
    assert run(view).actions == (dp.CheckPacketLength(100, *ways),)


def test_rules_of_one_answer_are_not_counted_for_both() -> None:
    view = PlainView()
    first = view.add(0, FlowMatch(), a.Resubmit(table=1), a.Output(4))
    second = view.add(1, FlowMatch(), a.CheckPacketLarger(100, SubField.of("reg0", 0, 1)), a.GotoTable(2))
    larger = view.add(2, FlowMatch(reg0=1), a.Output(2))
    smaller = view.add(2, FlowMatch(reg0=0), a.Output(3))
    answer = run(view)
    assert answer.actions == (dp.CheckPacketLength(100, (dp.Recirculate(1),), (dp.Recirculate(2),)),)
    assert answer.rules == (first, second)
    for number, rule, port in ((1, larger, 2), (2, smaller, 3)):
        again = translate(view, parse(UDP, 1 | number << 32), UDP, 0)
        assert (again.actions, again.rules) == (datapath(port, 4), (rule,))


# ---- groups


def buckets(*weights: int, watch: int = 0xFFFFFFFF) -> tuple[Bucket, ...]:
    return tuple(Bucket((a.Output(2 + at),), weight, watch) for at, weight in enumerate(weights))


def test_buckets_start_from_the_same_packet() -> None:
    view = PlainView()
    first = Bucket((a.Output(2), set_field("eth_dst", 5)))  # an action set: the output comes last
    view.groups[1] = PlainGroup(GroupType.ALL, (first, Bucket((a.Output(3),))))
    view.add(0, FlowMatch(), a.Group(1))
    answer = run(view)
    assert answer.actions == datapath(dp.Clone((dp.SetField("eth_dst", 5), dp.Output(2))), 3)
    assert answer.buckets == ((1, 0), (1, 1))
    assert answer.mask == mask()


def test_failover_takes_the_first_that_is_alive() -> None:
    view = PlainView()
    view.groups[1] = PlainGroup(
        GroupType.FAST_FAILOVER, (Bucket((a.Output(2),), watch_port=2), Bucket((a.Output(3),), watch_port=3))
    )
    view.add(0, FlowMatch(), a.Group(1))
    answer = run(view)
    assert answer.actions == datapath(2)
    assert ("port", 2) in answer.depends
    view.configure(2, 0, state=1)
    assert run(view).actions == datapath(3)
    view.configure(3, PortConfig.DOWN)
    assert run(view).actions == ()


def test_select_by_the_hash_of_fields_matches_them() -> None:
    view = PlainView()
    view.groups[1] = PlainGroup(GroupType.SELECT, buckets(1, 1, 1), "hash", 0, (("ipv4_src", 0xFF),))
    view.add(0, FlowMatch(), a.Group(1))
    answer = run(view)
    assert len(answer.actions) == 1
    assert answer.mask == mask("eth_type") | OPENFLOW_FIELDS["ipv4_src"].view.place(0xFF)


def test_select_by_dp_hash_asks_the_datapath() -> None:
    view = PlainView()
    view.groups[1] = PlainGroup(GroupType.SELECT, buckets(1, 3))
    view.add(0, FlowMatch(), a.Group(1), a.Output(4))
    assert run(view).actions == (dp.Hash(0), dp.Recirculate(1))
    chosen = []
    for value in range(16):
        key = parse(UDP, 1 | 1 << 32 | OPENFLOW_FIELDS["dp_hash"].view.place(0xAB0 | value))
        answer = translate(view, key, UDP, 0)
        assert answer.mask == mask() | OPENFLOW_FIELDS["dp_hash"].view.place(0xF)
        assert answer.actions[1:] == datapath(4)
        chosen.append(answer.buckets[0][1])
    assert (chosen.count(0), chosen.count(1)) == (4, 12)


def test_a_bucket_that_dies_moves_only_its_own() -> None:
    view = PlainView()
    dying = Bucket((a.Output(4),), 1, watch_port=4)
    view.groups[1] = PlainGroup(GroupType.SELECT, (*buckets(1, 1), dying), "hash", 0, (("ipv4_src", 0xFFFFFFFF),))
    view.add(0, FlowMatch(), a.Group(1))
    frames = [build.ethernet(1, 2, 0x0800, build.ipv4(source, 2, 89, b"")) for source in range(60)]
    before = [run(view, frame).buckets[0][1] for frame in frames]
    view.configure(4, 0, state=1)
    after = [run(view, frame).buckets[0][1] for frame in frames]
    assert {first for first, second in zip(before, after, strict=True) if first != second} == {2}
    assert set(before) == {0, 1, 2}
    assert set(after) == {0, 1}


def test_what_is_known_is_set_back_without_a_copy() -> None:
    view = PlainView()
    view.add(0, FlowMatch(eth_dst=HOST1), a.Clone((set_field("eth_dst", 5), a.Output(2))), a.Output(3))
    sets = dp.SetField("eth_dst", 5), dp.SetField("eth_dst", HOST1)
    assert run(view).actions == datapath(sets[0], 2, sets[1], 3)


def test_more_copies_in_each_other_than_the_datapath_has() -> None:
    view = PlainView()
    inner: tuple[a.FlowAction, ...] = (set_field("eth_dst", 9), a.Output(2))
    for mac in range(4):
        inner = (set_field("eth_dst", mac), a.Clone(inner), a.Output(3))
    view.add(0, FlowMatch(), a.Clone(inner), a.Output(4))
    answer = run(view)
    assert not answer.error
    assert answer.mask == mask()  # only the outermost copy has what came in
    view.add(0, FlowMatch(), a.Clone((a.PopVlan(), *inner)), a.Output(4), priority=200)
    assert not run(view).error


# ---- what is to be done besides


def test_learn() -> None:
    view = PlainView()
    learn = a.Learn(
        (
            a.LearnSpec("match", 12, SubField.of("vlan_tci", 0, 12), 0, SubField.of("vlan_tci", 0, 12)),
            a.LearnSpec("match", 48, SubField.of("eth_src"), 0, SubField.of("eth_dst")),
            a.LearnSpec("match", 16, None, 0x0800, SubField.of("eth_type")),
            a.LearnSpec("load", 8, None, 7, SubField.of("reg1", 0, 8)),
            a.LearnSpec("output", 32, SubField.of("in_port"), 0, None),
        ),
        table=10, idle_timeout_s=5, cookie=3, send_flow_rem=True, fin_idle_timeout_s=2,
    )  # fmt: skip
    rule = view.add(0, FlowMatch(), learn, a.Output(2))
    answer = run(view)
    (effect,) = answer.effects
    assert isinstance(effect, Learned)
    assert effect.rule is rule
    mod = effect.flow_mod
    assert (mod.command, mod.table, mod.cookie, mod.flags) == (FlowCommand.MODIFY_STRICT, 10, 3, 1)
    assert mod.match == FlowMatch(vlan_tci=(0, 0xFFF), eth_dst=HOST2, eth_type=0x0800)
    assert mod.actions == (a.FinTimeout(2, 0), a.RegLoad(SubField.of("reg1", 0, 8), 7), a.Output(1))
    assert answer.mask == mask("eth_src") | OPENFLOW_FIELDS["vlan_tci"].view.place(0xFFF)


def test_learn_tells_whether_there_is_room() -> None:
    for limit, wanted in ((1, 3), (2, 2)):
        view = PlainView()
        view.add(5, FlowMatch(in_port=4), cookie=3)
        spec = a.LearnSpec("match", 48, SubField.of("eth_src"), 0, SubField.of("eth_dst"))
        view.add(
            0, FlowMatch(), a.Learn((spec,), table=5, cookie=3, limit=limit, result=SubField.of("reg0", 0, 1)),
            a.Resubmit(table=1),
        )  # fmt: skip
        view.add(1, FlowMatch(reg0=1), a.Output(2))
        view.add(1, FlowMatch(reg0=0), a.Output(3))
        answer = run(view)
        assert answer.actions == datapath(wanted)
        assert ("table", 5) in answer.depends


def test_an_action_set_keeps_the_last_of_each_kind_and_all_that_set_fields() -> None:
    fields = a.ModVlanVid(5), a.ModVlanVid(6)
    first = written((), (a.PushVlan(), a.PushVlan(0x88A8), fields[0], a.SetQueue(1), a.Output(1)))
    assert first == (a.PushVlan(0x88A8), fields[0], a.SetQueue(1), a.Output(1))
    again = written(written(first, (a.PushVlan(), a.SetQueue(2))), (a.PushVlan(), a.SetQueue(2), fields[1]))
    assert again == (fields[0], a.Output(1), a.PushVlan(), a.SetQueue(2), fields[1])
    assert in_order(again) == (a.PushVlan(), *fields, a.SetQueue(2), a.Output(1))


def test_fin_timeout_looks_at_two_flags() -> None:
    actions = (a.FinTimeout(3, 4), a.Output(2))
    answer = once(*actions, frame=TCP_FIN)
    (effect,) = answer.effects
    assert effect == FinTimedOut(answer.rules[0], 3, 4)
    assert answer.mask == mask("eth_type", "ip_proto") | OPENFLOW_FIELDS["tcp_flags"].view.place(5)
    assert once(*actions).effects == ()


def test_meters() -> None:
    view = PlainView()
    view.meters[3] = object()
    view.add(0, FlowMatch(), a.Meter(3), a.Output(2))
    answer = run(view)
    assert answer.actions == datapath(dp.Meter(3), 2)
    assert answer.meters == (3,)
    assert ("meter", 3) in answer.depends


# ---- fragments


def fragment(flags_and_offset: int) -> bytes:
    frame = bytearray(UDP)
    frame[20:22] = flags_and_offset.to_bytes(2, "big")
    return bytes(frame)


@pytest.mark.parametrize(
    ("handling", "offset", "wanted"),
    [(0, 0, (2,)), (0, 0x2000, (3,)), (0, 0x0010, (3,)), (1, 0, (2,)), (1, 0x2000, ()), (3, 0x2000, (2,)),
     (3, 0x0010, (3,))],
)  # fmt: skip
def test_fragments(handling: int, offset: int, wanted: tuple[int, ...]) -> None:
    view = PlainView(config=Config(fragments=handling))
    view.add(0, FlowMatch(udp_dst=2, eth_type=0x0800), a.Output(2))
    view.add(0, FlowMatch(), a.Output(3), priority=0)
    assert run(view, fragment(offset)).actions == datapath(*wanted)


# ---- what is refused


@pytest.mark.parametrize(
    "action", [a.PushPbb(), a.PopPbb(), a.Ct(), a.CtClear(), a.Encap(1), a.Decap(), a.CopyTtlIn(), a.CopyTtlOut()]
)
def test_what_the_datapath_cannot_do_drops_and_says_so(action: a.FlowAction) -> None:
    answer = once(action, a.Output(2))
    assert answer.actions == ()
    assert answer.error.endswith("is not supported")


# ---- the rest of Nicira's


def test_tunnel_fields_are_set_for_tunnels_alone() -> None:
    view = PlainView(config=Config(tunnel_ports=frozenset((3,))))
    view.add(0, FlowMatch(), a.SetTunnel(5), a.Output(2), a.Output(3), a.Output(4), a.Output(3))
    assert run(view).actions == datapath(2, dp.SetField("tun_id", 5), 3, 4, 3)


def test_output_to_a_reserved_port_in_a_register() -> None:
    for bits, port in ((16, 0xFFF8), (32, PORT["IN_PORT"])):
        answer = once(a.RegLoad(SubField.of("reg0", 0, bits), port), a.OutputReg(SubField.of("reg0", 0, bits)))
        assert answer.actions == datapath(1)


def test_the_queue_is_as_it_was() -> None:
    answer = once(a.SetQueue(1), a.Output(2), a.PopQueue(), a.Output(3))
    priority = SLOTS["skb_priority"].mask
    assert answer.actions == datapath(dp.SetField("skb_priority", 0x10002), 2, dp.SetField("skb_priority", 0), 3)
    assert answer.mask == mask() | priority


@pytest.mark.parametrize("algorithm", ["modulo_n", "hash_threshold", "hrw", "iter_hash"])
def test_multipath_spreads(algorithm: str) -> None:
    view = PlainView()
    into = SubField.of("reg0")
    view.add(0, FlowMatch(), a.Multipath("symmetric_l3l4", 3, algorithm, 2, 0, into), a.GotoTable(1))
    for link in range(3):
        view.add(1, FlowMatch(reg0=link), a.Output(2 + link))
    seen = set()
    for source in range(40):
        there = build.ethernet(1, 2, 0x0800, build.ipv4(source, 99, 6, build.tcp(1, 2, 3, 4, 2)))
        back = build.ethernet(2, 1, 0x0800, build.ipv4(99, source, 6, build.tcp(2, 1, 3, 4, 2)))
        answer = run(view, there)
        assert answer.actions == run(view, back).actions
        assert answer.mask == mask("eth_type", "ip_proto", "ipv4_src", "ipv4_dst", "tcp_src", "tcp_dst", "ip_frag&1")
        seen.add(answer.actions)
    assert seen == {datapath(2), datapath(3), datapath(4)}


def test_bundle_takes_members_that_are_alive() -> None:
    view = PlainView()
    view.add(0, FlowMatch(in_port=1), a.Bundle("eth_src", 0, "active_backup", (4, 3)))
    view.add(0, FlowMatch(in_port=2), a.Bundle("eth_src", 0, "hrw", (3, 4), SubField.of("reg0")), a.GotoTable(1))
    view.add(1, FlowMatch(), a.OutputReg(SubField.of("reg0")))
    assert run(view).actions == datapath(4)
    view.configure(4, 0, state=1)
    assert run(view).actions == datapath(3)
    for mac in range(20):
        assert run(view, build.ethernet(1, mac, 0x88B5, bytes(40)), 2).actions == datapath(3)


def test_a_note_a_clause_and_a_sample_are_nothing() -> None:
    assert once(a.Note(b"x"), a.Sample(65535), a.Output(2)).actions == datapath(2)


def test_dec_ttl_tells_each_controller() -> None:
    frame = build.ethernet(HOST1, HOST2, 0x0800, build.ipv4(1, 2, 89, b"", ttl=1))
    view = PlainView()
    view.add(0, FlowMatch(), a.Resubmit(table=1), a.Output(3))
    view.add(1, FlowMatch(), a.DecTtl((4, 5)), a.Output(2))
    answer = run(view, frame)
    assert [send.controller_id for send in answer.controllers] == [4, 5]
    assert answer.actions[2:] == datapath(3)  # the list that called goes on
