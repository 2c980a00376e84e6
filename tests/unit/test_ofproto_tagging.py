"""dot1q-tunnel ports, tags for priorities, and protected ports, as Open vSwitch's trace shows them."""

from __future__ import annotations

import pytest

from tests.pipeline import PlainView
from vswitch.fields.kinds import OPENFLOW_PORTS as PORT
from vswitch.messages import actions as a
from vswitch.messages.match import FlowMatch
from vswitch.model import actions as dp
from vswitch.ofproto.translate import translate
from vswitch.ofproto.translation import Config, MacLearned, PortVlan, Translation
from vswitch.packet import build
from vswitch.packet.parse import parse

UNTAGGED = build.ethernet(0x020000000001, 0x020000000002, 0x88B5, b"x" * 40)


def tag(vid: int, pcp: int = 3) -> bytes:
    return build.vlan(UNTAGGED, vid, pcp)


TUNNELS = {
    1: PortVlan("dot1q-tunnel", 10),
    2: PortVlan("dot1q-tunnel", 10, cvlans=frozenset({20}), ethertype=0x8100),
    3: PortVlan("access", 10),
    5: PortVlan("native-untagged", 10),
}


def switch(config: Config) -> PlainView:
    view = PlainView(6, config)
    view.add(0, FlowMatch(), a.Output(PORT["NORMAL"]))
    return view


def run(config: Config, frame: bytes, in_port: int) -> Translation:
    return translate(switch(config), parse(frame, in_port), frame, 0)


def by_headers(answer: Translation) -> dict[str, list[int]]:
    """The ports that get the packet, by what was pushed (+) and popped (-) for them."""
    found: dict[str, list[int]] = {}

    def walk(actions: tuple[dp.Action, ...], before: str) -> None:
        for action in actions:
            if isinstance(action, dp.Output):
                found.setdefault(before, []).append(action.port)
            elif isinstance(action, dp.Clone):
                walk(action.actions, before)
            elif isinstance(action, dp.PushVlan):
                before += f"+{action.tpid:x}/{action.vid}/{action.pcp}"
            elif isinstance(action, dp.PopVlan):
                before += "-"
            elif isinstance(action, dp.SetField):
                before += f"={action.name}:{action.value}"

    walk(answer.actions, "")
    return {headers: sorted(ports) for headers, ports in found.items()}


@pytest.mark.parametrize(
    ("in_port", "frame", "wanted"),
    [
        (1, UNTAGGED, {"": [3, 5], "+88a8/10/0": [0, 4, 6]}),
        (1, tag(20), {"": [2, 5], "+88a8/10/0": [0, 4, 6]}),
        (1, tag(30), {"": [5], "+88a8/10/0": [0, 4, 6]}),
        (1, tag(0), {"": [5], "-": [3], "+88a8/10/0": [0, 4, 6]}),
        (2, UNTAGGED, {}),
        (2, tag(30), {}),
        (2, tag(20), {"": [1, 5], "+8100/10/0": [0, 4, 6]}),
        (3, UNTAGGED, {"": [1, 5], "+8100/10/0": [0, 4, 6]}),
        (4, tag(10), {"": [0, 6], "-": [1, 3, 5]}),
        (4, build.vlan(tag(20), 10, 1), {"": [0, 6], "-": [1, 2, 3, 5]}),
    ],
)
def test_a_tag_on_a_tunnel_port_is_the_customers(in_port: int, frame: bytes, wanted: dict[str, list[int]]) -> None:
    assert by_headers(run(Config(vlans=TUNNELS), frame, in_port)) == wanted


def test_addresses_behind_a_tunnel_port_are_of_its_vlan() -> None:
    assert run(Config(vlans=TUNNELS), tag(20), 1).effects == (MacLearned(10, 0x020000000002, 1),)


def priorities(word: str) -> Config:
    return Config(
        vlans={
            3: PortVlan("access", 10, priority_tags=word),
            5: PortVlan("native-untagged", 10, priority_tags=word),
            6: PortVlan(priority_tags=word),
        }
    )


@pytest.mark.parametrize("word", ["always", "if-nonzero"])
def test_a_priority_keeps_its_tag_where_that_is_wanted(word: str) -> None:
    config = priorities(word)
    assert by_headers(run(config, tag(10), 4)) == {"": [0, 1, 2, 6], "=vlan_vid:0": [3, 5]}
    assert by_headers(run(config, tag(10, 0), 4)) == {"": [0, 1, 2, 6], "-": [3, 5]}


def test_a_tag_of_neither_vlan_nor_priority_is_kept_where_all_are() -> None:
    assert by_headers(run(priorities("always"), tag(0, 0), 4)) == {"": [6], "-": [0, 1, 2]}
    for word in ("if-nonzero", "no"):
        assert by_headers(run(priorities(word), tag(0, 0), 4)) == {"-": [0, 1, 2, 6]}
    assert by_headers(run(priorities("no"), tag(10), 4)) == {"": [0, 1, 2, 6], "-": [3, 5]}


def test_protected_ports_do_not_reach_each_other() -> None:
    config = Config(protected=frozenset({1, 2}))
    assert by_headers(run(config, UNTAGGED, 1)) == {"": [0, 3, 4, 5, 6]}
    assert by_headers(run(config, UNTAGGED, 3)) == {"": [0, 1, 2, 4, 5, 6]}
    view = switch(config)
    view.macs.learn(MacLearned(0, 0x020000000001, 2), 0)
    assert translate(view, parse(UNTAGGED, 1), UNTAGGED, 0).actions == ()
    by_flows = (a.Output(2), a.Output(3), a.Output(PORT["IN_PORT"]))
    assert translate(view, parse(UNTAGGED, 1), UNTAGGED, 0, actions=by_flows).actions == (dp.Output(3),)


def test_nothing_is_learned_in_a_vlan_that_is_flooded() -> None:
    config = Config(flood_vlans=frozenset({10}))
    view = switch(config)
    view.macs.learn(MacLearned(10, 0x020000000001, 2), 0)
    answer = translate(view, parse(tag(10), 1), tag(10), 0)
    assert answer.effects == ()
    assert len(answer.actions) == 6


def test_a_customers_priority_is_that_of_the_tag_before_it_where_priorities_are_kept() -> None:
    config = Config(
        vlans={
            1: PortVlan("dot1q-tunnel", 10),
            2: PortVlan(priority_tags="if-nonzero"),
            3: PortVlan("access", 10, priority_tags="always"),
        }
    )
    assert by_headers(run(config, tag(0), 1)) == {"": [3], "+88a8/10/3": [2], "+88a8/10/0": [0, 4, 5, 6]}
