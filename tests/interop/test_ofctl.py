"""`vswitch ofctl` beside ovs-ofctl on the same switch: what both print of it, and what both make of it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import wait_until
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


WATCHES = ["watch:", "watch:!initial", "watch:!own,!delete,tcp", "watch:!actions,table=1"]


@pytest.mark.parametrize("watch", WATCHES)
@pytest.mark.parametrize("version", VERSIONS)
def test_both_are_told_the_same_of_changes(programmed: OpenVswitch, version: str, watch: str, tmp_path: Path) -> None:
    log, changes = tmp_path / "log", {name: tmp_path / name for name in ("theirs", "ours")}
    commands = {
        "theirs": ["ovs-ofctl", "-vconsole:off", "-vvconn:file:dbg", f"--log-file={log}"],
        "ours": [sys.executable, "-m", "vswitch", "ofctl"],
    }
    processes: dict[str, subprocess.Popen[str]] = {}
    try:
        for name, command in commands.items():
            words = [*command, "-O", version, "monitor", BRIDGE, watch]
            with changes[name].open("w") as file:
                processes[name] = subprocess.Popen(
                    words, env=programmed.environment, stdout=subprocess.PIPE, stderr=file, text=True
                )
        ours = processes["ours"].stdout
        assert ours is not None
        first = ours.readline()
        wait_until(lambda: log.exists() and "BARRIER_REPLY" in log.read_text(), "theirs listens")
        for flow in ("table=1,tcp,tp_dst=22,actions=output:1", "table=1,udp,actions=drop", "tcp,actions=output:2"):
            assert programmed.ovs_ofctl("add-flow", BRIDGE, flow).status == 0
        assert programmed.ovs_ofctl("del-flows", BRIDGE, "table=1").status == 0
        wait_until(lambda: alike(changes) and "table=1" in changes["ours"].read_text(), "both are told the same")
    finally:
        for process in processes.values():
            process.terminate()
        told = {name: process.communicate()[0] for name, process in processes.items()}
    assert plain(first + told["ours"]) == plain(told["theirs"])


def alike(files: dict[str, Path]) -> bool:
    """Whether both have the same in them, but for what ovs-ofctl says at its end."""
    return plain(files["ours"].read_text()) == plain(files["theirs"].read_text())
