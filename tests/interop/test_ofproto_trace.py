"""The same flows in Open vSwitch and in translation: packets leave alike, by megaflows that are as wide, and a trace is
told in the same words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.ofctl_peer import BRIDGE, OpenVswitch
from tests.pipeline import PlainView
from tests.trace_peer import compare_pipeline, told
from tests.unit.test_ofproto_translate import MPLS, TAGGED, TCP_FIN, UDP
from vswitch.bridge.tracing import trace_writers
from vswitch.ofproto.trace import trace
from vswitch.ofproto.translation import Config
from vswitch.packet.parse import parse
from vswitch.text.flow import parse_flow

SEEDS_OF_A_BLOCK = 12

TRACES = {
    "tables": (
        UDP,
        [
            "table=0,ip actions=set_field:00:00:00:00:00:05->eth_dst,resubmit(,1)",
            "table=1,ip,cookie=0x5 actions=load:0x7->NXM_NX_REG0[],resubmit(,2),resubmit(,3)",
            "table=2,ip actions=output:3",
            "table=3,udp actions=output:2,resubmit(,4)",
            "table=4,priority=7 actions=resubmit(,5)",
        ],
    ),
    "action set": (
        TAGGED,
        [
            "table=0,priority=3 actions=write_actions(set_field:00:00:00:00:00:05->eth_src,output:2),goto_table:1",
            "table=1,dl_vlan=5 actions=pop_vlan,goto_table:2",
            "table=2 actions=output:1,output:77",
        ],
    ),
    "nothing": (TCP_FIN, []),
    "mpls": (MPLS, ["table=0,mpls,mpls_label=16 actions=set_mpls_ttl(7),output:2"]),
    "registers": (UDP, ["actions=load:0x7->NXM_NX_REG3[],load:0x9->OXM_OF_METADATA[],output:2"]),
}


@pytest.fixture
def switch(_openvswitch: OpenVswitch) -> Iterator[OpenVswitch]:
    _openvswitch.reset()
    yield _openvswitch
    _openvswitch.vsctl("remove", "open_vswitch", ".", "other_config", "vlan-limit")


@pytest.mark.parametrize("case", TRACES)
def test_a_trace_is_told_in_the_same_words(switch: OpenVswitch, case: str) -> None:
    frame, flows = TRACES[case]
    view = PlainView(ports=3, config=Config(miss="drop"))
    for text in flows:
        assert switch.ovs_ofctl("-OOpenFlow13", "add-flow", BRIDGE, text).status == 0
        mod = parse_flow(text)
        view.add(mod.table or 0, mod.match, *mod.actions, priority=mod.priority, cookie=mod.cookie)
    ours = trace(view, parse(frame, 1), frame, 0).text(trace_writers()).splitlines()
    theirs = told(switch, frame, 1).splitlines()

    def without_what_may_differ(lines: list[str]) -> list[str]:
        return [line for line in lines if not line.startswith(("Megaflow: ", "Datapath actions: "))]

    assert without_what_may_differ(ours) == without_what_may_differ(theirs)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(20))
def test_packets_leave_alike_by_megaflows_as_wide(switch: OpenVswitch, block: int) -> None:
    switch.vsctl("set", "open_vswitch", ".", "other_config:vlan-limit=2")
    seen: Counter[tuple[str, str]] = Counter()
    for seed in range(SEEDS_OF_A_BLOCK * block, SEEDS_OF_A_BLOCK * (block + 1)):
        seen += compare_pipeline(switch, seed)
    assert seen["", "packets"] > 50
    assert seen["", "flows"] > 10
    assert seen["", "packets that differ in what is not asked"] > 50
