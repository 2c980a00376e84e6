"""NORMAL: where addresses are learned, and how each port wants its packets."""

from __future__ import annotations

from tests.pipeline import LOCAL, PlainGroup, PlainView
from vswitch.fields.kinds import OPENFLOW_PORTS as PORT
from vswitch.fields.openflow import OPENFLOW_FIELDS
from vswitch.messages import actions as a
from vswitch.messages.flows import Bucket, GroupType
from vswitch.messages.match import FlowMatch
from vswitch.messages.ports import PortConfig
from vswitch.model import actions as dp
from vswitch.ofproto.normal import MacTable
from vswitch.ofproto.translate import translate
from vswitch.ofproto.translation import ANY_PORT_CHANGE, Config, MacLearned, PortVlan, Translation
from vswitch.packet import build
from vswitch.packet.parse import parse

S = 1_000_000_000
HOST1, HOST2 = 0x020000000001, 0x020000000002
UNTAGGED = build.ethernet(HOST1, HOST2, 0x88B5, b"x" * 40)
TAG5, TAG7 = build.vlan(UNTAGGED, 5, 3), build.vlan(UNTAGGED, 7)
PRIORITY_TAG = build.vlan(UNTAGGED, 0, 3)
OUT = tuple(dp.Output(number) for number in range(6))


def switch(**vlans: PortVlan) -> PlainView:
    """Four ports, `p1` to `p4`."""
    view = PlainView(config=Config(vlans={int(name[1:]): mode for name, mode in vlans.items()}))
    view.add(0, FlowMatch(), a.Output(PORT["NORMAL"]))
    return view


def run(view: PlainView, frame: bytes = UNTAGGED, in_port: int = 1) -> Translation:
    return translate(view, parse(frame, in_port), frame, 0)


def access(tag: int) -> PortVlan:
    return PortVlan("access", tag)


# ---- the table of addresses


def test_an_address_is_where_it_was_seen_last() -> None:
    macs = MacTable()
    assert macs.learn(MacLearned(0, 5, 1), 0) == [(0, 5)]
    assert macs.learn(MacLearned(0, 5, 1), 1) == []
    assert macs.learn(MacLearned(7, 5, 3), 1) == [(7, 5)]
    assert macs.learn(MacLearned(0, 5, 2), 2) == [(0, 5)]
    assert (macs.lookup(0, 5), macs.lookup(7, 5), macs.lookup(0, 6)) == (2, 3, None)
    assert macs.moved == 1


def test_addresses_age() -> None:
    macs = MacTable(age_ns=10 * S)
    macs.learn(MacLearned(0, 5, 1), 0)
    macs.learn(MacLearned(0, 6, 1), 5 * S)
    macs.learn(MacLearned(0, 5, 1), 6 * S)
    assert macs.expire(14 * S) == []
    assert macs.expire(15 * S) == [(0, 6)]
    assert macs.expire(16 * S) == [(0, 5)]
    assert len(macs) == 0


def test_a_port_that_makes_addresses_up_pushes_out_its_own() -> None:
    macs = MacTable(limit=10)
    for mac in (1, 2):
        macs.learn(MacLearned(0, mac, 1), 0)
    for mac in range(100, 200):
        macs.learn(MacLearned(0, mac, 2), mac)
    assert len(macs) == 10
    assert (macs.lookup(0, 1), macs.lookup(0, 2), macs.lookup(0, 199), macs.lookup(0, 100)) == (1, 1, 2, None)
    assert macs.learn(MacLearned(0, 3, 3), 300) == [(0, 3), (0, 192)]
    assert macs.evicted == 93


def test_static_addresses_stay() -> None:
    macs = MacTable(limit=2, age_ns=S)
    macs.add_static(MacLearned(0, 1, 1), 0)
    macs.learn(MacLearned(0, 1, 2), 5)
    assert macs.expire(100 * S) == []
    macs.learn(MacLearned(0, 2, 1), 5)
    assert macs.learn(MacLearned(0, 3, 1), 5) == [(0, 3), (0, 2)]
    assert macs.flush() == [(0, 3)]
    assert macs.lookup(0, 1) == 1


def test_flush_of_a_port() -> None:
    macs = MacTable()
    macs.learn(MacLearned(0, 1, 1), 0)
    macs.learn(MacLearned(0, 2, 2), 0)
    assert macs.flush(1) == [(0, 1)]
    assert macs.lookup(0, 2) == 2


# ---- forwarding


def test_an_unknown_address_is_flooded_and_the_source_learned() -> None:
    view = switch()
    view.configure(3, PortConfig.NO_FLOOD)
    answer = run(view)
    assert answer.actions == (OUT[2], OUT[4], OUT[0])
    assert answer.effects == (MacLearned(0, HOST2, 1),)
    assert {("mac", 0, HOST1), ("mac", 0, HOST2), ANY_PORT_CHANGE} <= answer.depends
    wanted = OPENFLOW_FIELDS["eth_src"].mask | OPENFLOW_FIELDS["eth_dst"].mask
    assert answer.mask & OPENFLOW_FIELDS["eth_src"].mask | answer.mask & OPENFLOW_FIELDS["eth_dst"].mask == wanted
    assert not answer.mask & OPENFLOW_FIELDS["eth_type"].mask


def test_a_known_address_has_its_port() -> None:
    view = switch()
    view.macs.learn(MacLearned(0, HOST1, 3), 0)
    assert run(view).actions == (OUT[3],)
    assert run(view, in_port=3).actions == ()
    assert run(view, TAG5).actions == (OUT[2], OUT[3], OUT[4], OUT[0])
    view.configure(3, PortConfig.NO_FLOOD)
    assert run(view).actions == (OUT[3],)
    view.configure(3, PortConfig.DOWN)
    assert run(view).actions == ()


def test_multicast_is_flooded_and_reserved_addresses_are_not() -> None:
    view = switch()
    multicast = build.ethernet(0x01005E000001, HOST2, 0x88B5, bytes(40))
    assert run(view, multicast).actions == (OUT[2], OUT[3], OUT[4], OUT[0])
    reserved = build.ethernet(0x0180C2000003, HOST2, 0x88B5, bytes(40))
    assert run(view, reserved).actions == ()
    assert run(view, reserved).effects == ()
    view.config = Config(forward_bpdu=True)
    assert run(view, reserved).actions == (OUT[2], OUT[3], OUT[4], OUT[0])


def test_what_is_not_learned() -> None:
    view = switch()
    from_multicast = build.ethernet(HOST1, 0x010000000001, 0x88B5, bytes(40))
    assert run(view, from_multicast).effects == ()
    assert run(view, in_port=PORT["CONTROLLER"]).effects == ()
    assert run(view, in_port=LOCAL).effects == (MacLearned(0, HOST2, LOCAL),)
    view = PlainView()
    view.groups[1] = PlainGroup(GroupType.INDIRECT, (Bucket((a.Output(PORT["NORMAL"]),)),))
    view.add(0, FlowMatch(), a.Group(1))
    answer = run(view)
    assert answer.effects == ()
    assert len(answer.actions) == 4


def test_standalone_is_normal_whatever_the_tables_say() -> None:
    view = PlainView(config=Config(standalone=True))
    view.add(0, FlowMatch(), a.Output(2))
    assert run(view).actions == (OUT[2], OUT[3], OUT[4], OUT[0])


# ---- VLANs


def test_access_ports_of_one_vlan() -> None:
    view = switch(p1=access(5), p2=access(5), p3=access(7))
    view.configure(LOCAL, PortConfig.NO_FLOOD)
    answer = run(view)
    assert answer.actions == (OUT[2], dp.PushVlan(5), OUT[4])
    assert answer.effects == (MacLearned(5, HOST2, 1),)
    assert run(view, TAG5).actions == ()
    assert run(view, TAG5, 4).actions == (dp.PopVlan(), OUT[1], OUT[2])
    assert run(view, TAG7, 4).actions == (dp.PopVlan(), OUT[3])


def test_trunks_carry_what_they_are_told() -> None:
    view = switch(p2=PortVlan(trunks=frozenset((5,))), p3=PortVlan(trunks=frozenset((7,))))
    view.configure(LOCAL, PortConfig.NO_FLOOD)
    assert run(view, TAG5).actions == (OUT[2], OUT[4])
    assert run(view, TAG5, 3).actions == ()
    assert run(view, TAG7, 3).actions == (OUT[1], OUT[4])


def test_native_vlans() -> None:
    view = switch(p1=PortVlan("native-untagged", 5), p2=PortVlan("native-tagged", 5), p3=access(5), p4=access(7))
    view.configure(LOCAL, PortConfig.NO_FLOOD)
    assert run(view).actions == (OUT[3], dp.PushVlan(5), OUT[2])
    assert run(view, UNTAGGED, 2).actions == (OUT[1], OUT[3])
    assert run(view, TAG5, 2).actions == (dp.PopVlan(), OUT[1], OUT[3])
    assert run(view, TAG7, 2).actions == (OUT[1], dp.PopVlan(), OUT[4])


def test_a_tag_without_a_vlan() -> None:
    view = switch(p1=access(5), p2=access(5))
    view.configure(LOCAL, PortConfig.NO_FLOOD)
    view.configure(3, PortConfig.NO_FLOOD)
    answer = run(view, PRIORITY_TAG)
    assert answer.effects == (MacLearned(5, HOST2, 1),)
    assert answer.actions[-1:] == (OUT[2],)
