"""Parsers of others read what is dumped: those of the package `ovs`, which programs around Open vSwitch use."""

from __future__ import annotations

import re
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from ovs.flow.decoders import EthMask, IntMask, IPMask
from ovs.flow.odp import ODPFlow
from ovs.flow.ofp import OFPFlow

from tests.openflow_texts import matches
from tests.pipeline_random import random_frame
from vswitch import Bridge, Megaflow
from vswitch.messages.actions import Output
from vswitch.messages.match import FlowMatch
from vswitch.messages.stats import FlowStats
from vswitch.model.actions import Output as DatapathOutput
from vswitch.text import format_megaflow
from vswitch.text.flow import format_flow, parse_flow

# actions as they are written, and as that parser knows them
ACTIONS: list[tuple[str, list[dict[str, Any]]]] = [
    ("drop", [{"drop": True}]),
    ("normal", [{"output": {"port": "NORMAL"}}]),
    ("output:2,in_port", [{"output": {"port": 2}}, {"output": {"port": "IN_PORT"}}]),
    ("output(port=2,max_len=100)", [{"output": {"port": 2, "max_len": 100}}]),
    ("controller:128", [{"CONTROLLER": {"max_len": 128}}]),
    ("resubmit(,3)", [{"resubmit": {"port": "", "table": 3}}]),
    ("group:7", [{"group": 7}]),
    ("meter:9,goto_table:4", [{"meter": 9}, {"goto_table": 4}]),
    ("dec_ttl", [{"dec_ttl": True}]),
    ("strip_vlan,mod_nw_tos:32", [{"strip_vlan": True}, {"mod_nw_tos": 32}]),
    ("clone(output:3)", [{"clone": [{"output": {"port": 3}}]}]),
    ("conjunction(5,1/2)", [{"conjunction": {"id": 5, "k": 1, "n": 2}}]),
    ("write_actions(output:1)", [{"write_actions": [{"output": {"port": 1}}]}]),
    ("set_queue:3,pop_queue,exit", [{"set_queue": 3}, {"pop_queue": True}, {"exit": True}]),
    ("load:7->NXM_NX_REG1[0..15]", [{"load": {"value": 7, "dst": {"field": "NXM_NX_REG1", "start": 0, "end": 15}}}]),
    (
        "move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]",
        [{"move": {"src": {"field": "NXM_OF_ETH_SRC"}, "dst": {"field": "NXM_OF_ETH_DST"}}}],
    ),
    (
        "learn(table=3,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])",
        [{"learn": [{"table": 3}, {"NXM_OF_ETH_DST[]": {"field": "NXM_OF_ETH_SRC"}},
                    {"output": {"port": "NXM_OF_IN_PORT[]"}}]}],
    ),
    ("ct(commit,zone=5)", [{"ct": {"commit": True, "zone": 5}}]),
    ("push_vlan:0x8100,pop_mpls:0x0800", [{"push_vlan": 0x8100}, {"pop_mpls": 0x0800}]),
    ("note:00.11", [{"note": "00.11"}]),
]  # fmt: skip

OWN_WORDS = re.compile(
    r"\b(?:present=|cvlan\(|raw\(|dec_ttl|set\(ip\(|pop_mpls\(|age:|priority\(|idle_timeout\(|hard_timeout\()"
)
"""What a megaflow here has and one of Open vSwitch's has not: docs/compatibility.md."""

PIPELINE = """\
in_port=1,priority=200,ip,actions=dec_ttl,mod_nw_src:1.2.3.4,mod_dl_dst:02:00:00:00:00:09,3
in_port=1,priority=190,ipv6,actions=set_field:2001:db8::1->ipv6_src,1,3,controller
in_port=2,priority=150,arp,actions=set_field:2->arp_op,move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[],in_port
in_port=2,priority=140,tcp,actions=set_field:80->tcp_dst,clone(push_mpls:0x8847,set_field:9->mpls_label,1),2
in_port=2,priority=140,udp,tp_dst=53,actions=meter:1,2
in_port=2,priority=130,icmp,actions=output(port=3,max_len=100)
in_port=3,priority=100,tcp,tcp_flags=+syn-ack,actions=push_vlan:0x8100,set_field:4101->vlan_vid,1
in_port=3,priority=90,ip,nw_frag=no,actions=1
"""


def dumped(text: str) -> OFPFlow:
    """A flow as the line that dump-flows has of it, read by that parser."""
    mod = parse_flow(text)
    stats = FlowStats(
        mod.match, mod.actions, 9, 3, 0x12, 1_500_000_000, 4, 5, 6, 7, 0, idle_age_s=8, hard_age_s=9
    )  # fmt: skip
    return OFPFlow(format_flow(stats))


@pytest.mark.parametrize(("text", "known"), ACTIONS)
def test_actions_of_flows(text: str, known: list[dict[str, Any]]) -> None:
    assert dumped(f"actions={text}").actions == known


def test_what_a_flow_has_counted() -> None:
    flow = dumped("tcp6,in_port=1,actions=drop")
    assert flow.info == {
        "cookie": 0x12, "duration": 1.5, "table": 3, "n_packets": 4, "n_bytes": 5, "idle_timeout": 6, "hard_timeout": 7,
        "idle_age": 8, "hard_age": 9,
    }  # fmt: skip
    assert flow.match == {"priority": 9, "tcp6": True, "in_port": 1}


@settings(max_examples=200)
@given(matches())
def test_matches_of_flows(match: FlowMatch) -> None:
    found = OFPFlow(format_flow(FlowStats(match, (Output(2),), 9, 0, 0, 0, 0, 0))).match
    for name, value in found.items():
        if isinstance(value, IntMask) and name.startswith("reg"):
            assert (value.value, value.mask) == match.take(name)
        elif isinstance(value, EthMask) and name in ("dl_src", "dl_dst"):
            mask = int(value._mask) if value._mask else (1 << 48) - 1
            assert (int(value.eth), mask) == match.take(name.replace("dl", "eth"))
        elif isinstance(value, IPMask) and name in ("ipv6_src", "ipv6_dst") and value._ipnet:
            assert (int(value._ipnet.network), int(value._ipnet.netmask)) == match.take(name)
    for name in (f"reg{number}" for number in range(16)):
        assert (name in found) == bool(match.take(name)[1])


def test_megaflows_but_for_words_of_our_own() -> None:
    chance = Random(3)
    read: list[tuple[Megaflow, ODPFlow]] = []
    with Bridge.simulate(3, fail_mode="secure") as bridge:
        bridge.add_meter("meter=1,pktps,bands=type=drop,rate=10")
        for line in PIPELINE.splitlines():
            bridge.add_flow(line)
        for _ in range(600):
            bridge.receive(random_frame(chance), in_port=chance.choice((1, 2, 3)))
        megaflows = [replace(each, priority=0, idle_timeout_s=None) for each in bridge.datapath.flows.dump()]
    for each in megaflows:
        text = format_megaflow(each)
        if not OWN_WORDS.search(text):
            read.append((each, ODPFlow(text)))
    assert len(read) > 20
    for each, flow in read:
        assert flow.match["in_port"] == each.match.fields()["in_port"][0]
        assert flow.info["packets"] == each.stats.packets
        outputs = [action["output"]["port"] for action in flow.actions if "output" in action]
        assert outputs == [action.port for action in each.actions if isinstance(action, DatapathOutput)]
