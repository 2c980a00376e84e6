"""`vswitch ofctl` beside ovs-ofctl on the same switch: what both print of it, and what both make of it."""

from __future__ import annotations

import re

import pytest

from tests.ofctl_peer import BRIDGE, OpenVswitch, Result

VERSIONS = ("OpenFlow10", "OpenFlow11", "OpenFlow12", "OpenFlow13", "OpenFlow14", "OpenFlow15")

FLOWS = """\
# a file of flows
table=0,priority=100,in_port=1,dl_vlan=5,actions=strip_vlan,output:2
tcp,nw_dst=10.0.0.0/8,tp_dst=80,idle_timeout=60,hard_timeout=300,actions=output:2,output:3
ip,nw_src=192.168.1.1,cookie=0x1234,actions=mod_nw_tos:32,dec_ttl,NORMAL
udp6,ipv6_src=fe80::/64,actions=drop
arp,arp_op=1,priority=9,actions=CONTROLLER:128
table=1,actions=resubmit(,2),learn(table=3,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])
table=2,priority=0,reg0=0x5/0xff,actions=load:0x7->NXM_NX_REG1[0..15],move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],exit
table=2,dl_src=00:11:22:33:44:55/ff:ff:ff:00:00:00,actions=FLOOD
"""
GROUPS = """\
group_id=1,type=all,bucket=output:1,bucket=output:2
group_id=2,type=select,bucket=weight:3,actions=output:1,bucket=weight:5,actions=output:2
group_id=3,type=ff,bucket=watch_port:1,actions=output:2,bucket=watch_port:2,actions=output:3
group_id=4,type=indirect,bucket=actions=mod_dl_dst:00:00:00:00:00:01,output:3
"""


def plain(text: str) -> str:
    """Without what changes from one call to the next."""
    text = re.sub(r"\(xid=0x[0-9a-f]+\)", "(xid=0x-)", text)
    text = re.sub(r"duration([=:]?)[0-9.]+s", r"duration\1-s", text)
    return re.sub(r"(idle_age|hard_age)=\d+", r"\1=-", text)


def both(ovs: OpenVswitch, *words: str) -> tuple[Result, Result]:
    theirs, ours = ovs.ovs_ofctl(*words), ovs.ofctl(*words)
    return theirs, ours


def assert_alike(ovs: OpenVswitch, *words: str) -> None:
    """Both print the same and end alike."""
    theirs, ours = both(ovs, *words)
    assert plain(ours.out) == plain(theirs.out), ours.err
    assert ours.status == theirs.status


LOOKS = [
    ("show",), ("dump-desc",), ("dump-tables",), ("dump-ports",), ("dump-ports-desc",), ("get-frags",),
    ("dump-flows",), ("dump-aggregate",), ("queue-stats",), ("queue-get-config",), ("dump-groups",),
    ("dump-group-stats",), ("dump-group-features",), ("dump-tlv-map",), ("probe",),
]  # fmt: skip


@pytest.fixture
def programmed(ovs: OpenVswitch) -> OpenVswitch:
    """With flows, groups and meters in it."""
    for words in (["add-flows"], ["-OOpenFlow13", "add-groups"], ["-OOpenFlow13", "add-meter"]):
        content = {"add-flows": FLOWS, "add-groups": GROUPS}.get(words[-1])
        rest = ["meter=1,kbps,burst,stats,band=type=drop,rate=1000,burst_size=50"] if content is None else ["-"]
        done = ovs.ovs_ofctl(*words, BRIDGE, *rest, content=content or "")
        assert done.status == 0, done
    return ovs


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("words", LOOKS, ids=lambda words: words[0])
def test_both_print_the_same_of_a_switch(programmed: OpenVswitch, version: str, words: tuple[str, ...]) -> None:
    assert_alike(programmed, "-O", version, words[0], BRIDGE, *words[1:])


@pytest.mark.parametrize("version", VERSIONS[3:])
@pytest.mark.parametrize("command", ["dump-meters", "meter-stats", "meter-features", "dump-table-features"])
def test_both_print_the_same_of_meters_and_tables(programmed: OpenVswitch, version: str, command: str) -> None:
    assert_alike(programmed, "-O", version, command, BRIDGE)


@pytest.mark.parametrize("version", VERSIONS[4:])
def test_both_print_the_same_configuration_of_tables(ovs: OpenVswitch, version: str) -> None:
    assert_alike(ovs, "-O", version, "dump-table-desc", BRIDGE)
