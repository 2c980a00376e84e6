"""What compares our megaflows with Open vSwitch's notices one that is wrong."""

from __future__ import annotations

from contextlib import nullcontext
from random import Random

import pytest

from tests.megaflow_oracle import compare, naive_switch, read_megaflow
from tests.pipeline import PlainView
from tests.pipeline_machine import Machine
from tests.unit.test_ofproto_translate import UDP
from vswitch.fields.registry import SLOTS
from vswitch.messages.actions import Output
from vswitch.messages.match import FlowMatch
from vswitch.ofproto.translation import Config
from vswitch.packet.parse import parse

TOLD = "recirc_id=0,eth,udp,in_port=1,nw_frag=no,tp_dst=2"

MISSING = {
    "no port": SLOTS["tp_dst"].mask,
    "a bit of the port less": SLOTS["tp_dst"].place(2),
    "no protocol": SLOTS["ip_proto"].mask,
}


@pytest.mark.parametrize(
    ("change", "fails"),
    [
        ("nothing", False),
        ("no port", True),
        ("a bit of the port less", True),
        ("no protocol", True),
        ("an address more", True),
    ],
)
def test_a_megaflow_that_is_wrong_is_noticed(change: str, fails: bool) -> None:
    view = PlainView(3, Config(miss="drop"))
    view.add(0, FlowMatch(eth_type=0x0800, ip_proto=17, udp_dst=2), Output(2))
    machine = Machine(view)
    machine.receive(UDP, 1)
    mask, _, answer = machine.megaflows[0]
    changed = mask & ~MISSING.get(change, 0) | (SLOTS["eth_src"].mask if change == "an address more" else 0)
    machine.megaflows[0] = (changed, parse(UDP, 1) & changed, answer._replace(mask=changed))
    with pytest.raises(AssertionError) if fails else nullcontext():
        compare(view, machine, naive_switch(view), Random(1), UDP, 1, TOLD)


def test_a_trace_is_read() -> None:
    text = "recirc_id=0,skb_priority=0,eth,ip,in_port=3,vlan_tci=0x1000/0x1ff8,nw_dst=128.0.0.0/1,nw_tos=8,nw_frag=no"
    wanted = FlowMatch(
        eth_type=0x0800,
        in_port=3,
        recirc_id=0,
        vlan_tci=(0x1000, 0x1FF8),
        ipv4_dst="128.0.0.0/1",
        ip_dscp=2,
        ip_frag=(0, 1),
    )
    assert read_megaflow(text) == (wanted.value, wanted.mask | SLOTS["skb_priority"].mask)
