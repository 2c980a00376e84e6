"""Mirrors: which packets are copied, when, and how."""

from __future__ import annotations

import pytest

from tests.pipeline import PlainGroup, PlainView, set_field
from vswitch.base.errors import ConfigError
from vswitch.fields.kinds import OPENFLOW_PORTS as PORT
from vswitch.fields.registry import SLOTS
from vswitch.messages import actions as a
from vswitch.messages.flows import Bucket, GroupType
from vswitch.messages.match import FlowMatch
from vswitch.model import actions as dp
from vswitch.ofproto.settings import Mirror, PlacedMirror, placed
from vswitch.ofproto.translate import translate
from vswitch.ofproto.translation import ANY_PORT_CHANGE, Config, PortVlan, Translation
from vswitch.packet import build
from vswitch.packet.parse import parse

UNTAGGED = build.ethernet(0x020000000001, 0x020000000002, 0x88B5, b"x" * 40)
RESERVED = build.ethernet(0x0180C200000E, 0x020000000002, 0x88B5, b"x" * 40)
TAG10, TAG7 = build.vlan(UNTAGGED, 10, 3), build.vlan(UNTAGGED, 7, 3)
OUT = tuple(dp.Output(number) for number in range(7))
PUSH10 = dp.PushVlan(10)
VLANS = {3: PortVlan("access", 10), 4: PortVlan("native-untagged", 10)}


def mirror(
    sources: set[int] | None = frozenset(),  # type: ignore[assignment]
    destinations: set[int] | None = frozenset(),  # type: ignore[assignment]
    vlans: set[int] = frozenset(),  # type: ignore[assignment]
    output: int | None = 6,
    output_vlan: int | None = None,
    snaplen: int = 0,
    name: str = "m",
) -> PlacedMirror:
    return PlacedMirror(
        name,
        None if sources is None else frozenset(sources),
        None if destinations is None else frozenset(destinations),
        frozenset(vlans),
        output,
        output_vlan,
        snaplen,
    )


ALL = mirror(None, None)


def switch(*mirrors: PlacedMirror, actions: tuple[a.FlowAction, ...] = (a.Output(PORT["NORMAL"]),)) -> PlainView:
    """Six ports: 3 is an access port of VLAN 10, 4 a trunk whose native VLAN that is."""
    view = PlainView(6, Config(vlans=VLANS, mirrors=mirrors))
    view.add(0, FlowMatch(), *actions)
    return view


def run(view: PlainView, frame: bytes = UNTAGGED, in_port: int = 1) -> Translation:
    return translate(view, parse(frame, in_port), frame, 0)


def outputs(answer: Translation) -> list[int]:
    return [action.port for _, action in dp.walk(answer.actions) if isinstance(action, dp.Output)]


def test_what_comes_in_is_copied_first_and_once() -> None:
    answer = run(switch(ALL))
    assert outputs(answer) == [6, 2, 5, 0]
    assert answer.mirrors == ("m",)


def test_a_copy_has_the_tag_of_its_vlan() -> None:
    answer = run(switch(ALL), in_port=3)
    assert answer.actions[0] == dp.Clone((PUSH10, OUT[6]))
    assert sorted(outputs(answer)) == [0, 1, 2, 4, 5, 6]
    tagged = run(switch(ALL), TAG10)
    assert tagged.actions[0] == OUT[6]
    assert sorted(outputs(tagged)) == [0, 2, 3, 4, 5, 6]


def test_what_comes_in_by_the_output_of_a_mirror_is_dropped() -> None:
    assert run(switch(ALL), in_port=6).actions == ()
    assert run(switch(ALL, actions=(a.Output(2),)), in_port=6).actions == ()


def test_flows_may_send_to_the_output_of_a_mirror() -> None:
    assert run(switch(ALL, actions=(a.Output(6),))).actions == (OUT[6], OUT[6])


def test_what_goes_out_is_copied_as_it_is_then() -> None:
    change = set_field("vlan_vid", 0x1007)
    answer = run(switch(mirror(destinations={5}), actions=(a.Output(2), change, a.Output(5), a.Output(5))))
    assert answer.actions == (OUT[2], dp.PushVlan(7), OUT[5], OUT[6], OUT[5])


def test_what_goes_out_of_an_access_port_is_copied_with_its_tag_and_cut() -> None:
    answer = run(switch(mirror(destinations={3}, snaplen=100)), TAG10)
    text = str(answer.actions)
    assert "Truncate" in text
    assert "PushVlan(vid=10, pcp=0" in text
    assert run(switch(mirror(destinations={3}))).mirrors == ()


def test_vlans_are_selected() -> None:
    view = switch(mirror({1, 3}, vlans={10}))
    assert run(view, in_port=3).mirrors == ("m",)
    assert run(view).mirrors == ()
    assert run(view, TAG10).mirrors == ("m",)
    assert run(switch(mirror(vlans={10})), in_port=3).mirrors == ()


def test_copies_to_a_vlan_go_to_its_ports() -> None:
    answer = run(switch(mirror(None, None, output=None, output_vlan=10)))
    assert sorted(outputs(answer)) == [0, 0, 1, 2, 2, 3, 4, 5, 5, 6, 6]
    assert ANY_PORT_CHANGE in answer.depends
    view = switch(mirror(None, None, output=None, output_vlan=10))
    assert run(view, in_port=3).mirrors == ("m",)
    assert sorted(outputs(run(view, in_port=3))) == [0, 1, 2, 4, 5, 6]
    assert run(view, RESERVED).actions == ()


def test_packet_outs_and_groups_are_copied_too() -> None:
    view = switch(mirror(destinations={2}))
    buckets = (a.Output(2),), (set_field("eth_src", 5), a.Output(2))
    view.groups[1] = PlainGroup(GroupType.ALL, tuple(map(Bucket, buckets)))
    key = parse(UNTAGGED, 1)
    answer = translate(view, key, UNTAGGED, 0, actions=(a.Group(1),))
    assert outputs(answer).count(6) == 1
    assert outputs(answer).count(2) == 2
    assert answer.mirrors == ("m",)


def test_a_copy_is_not_made_anew_by_a_packet_that_comes_back() -> None:
    view = switch(ALL, actions=(a.DebugRecirculate(), a.Output(2)))
    first = run(view)
    assert outputs(first) == [6]
    (number,) = [each.id for each in first.actions if isinstance(each, dp.Recirculate)]
    again = translate(view, parse(UNTAGGED, 1) | SLOTS["recirc_id"].place(number), UNTAGGED, 0)
    assert outputs(again) == [2]
    assert again.mirrors == ()


def test_two_mirrors_with_one_output_make_one_copy() -> None:
    answer = run(switch(mirror({1}, name="a"), mirror({1}, name="b"), actions=(a.Output(2),)))
    assert answer.actions == (OUT[6], OUT[2])
    assert answer.mirrors == ("a", "b")


def test_answers_depend_on_the_ports_of_mirrors() -> None:
    answer = run(switch(mirror({1}), actions=(a.Output(2),)))
    assert {("port", 1), ("port", 2), ("port", 6)} <= answer.depends


def test_mirrors_are_placed_where_their_ports_are() -> None:
    wanted = (
        Mirror("a", select_src_port=frozenset({"p1", "away"}), output_port="p2"),
        Mirror("b", select_all=True, output_port="away"),
        Mirror("c", select_all=True, output_vlan=9),
    )
    found = placed(wanted, {"p1": 1, "p2": 2})
    assert [each.name for each in found] == ["a", "c"]
    assert (found[0].sources, found[0].destinations, found[0].ports) == (frozenset({1}), frozenset(), frozenset({1, 2}))
    assert found[1].ports is None


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ({}, "either an output port or an output VLAN"),
        ({"output_port": "a", "output_vlan": 3}, "either an output port or an output VLAN"),
        ({"output_vlan": 4096}, "output VLAN 4096 is outside 1..4095"),
        ({"output_port": "a", "snaplen": 13}, "snaplen 13 is outside 14..65535"),
        ({"output_port": "a", "select_vlan": frozenset({4096})}, "selected VLAN 4096 is outside 0..4095"),
    ],
)
def test_mirrors_that_cannot_be_are_refused(words: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Mirror("m", **words)  # type: ignore[arg-type]
