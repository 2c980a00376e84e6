"""Debian's ovs-ofctl and `vswitch ofctl` at a switch of ours, which is simulated: both print the same and do the same.

The real ovs-vswitchd as a peer of both is in tests/interop.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.bridges import serving
from tests.lab import patience
from tests.ofctl_peer import Result, run_ofctl
from vswitch.bridge.bridge import Bridge
from vswitch.cli.ofctl.table import OFCTL

VERSIONS = tuple(f"OpenFlow1{minor}" for minor in range(6))
FLOWS = """\
table=0,priority=100,in_port=1,dl_vlan=5,actions=strip_vlan,output:2
tcp,nw_dst=10.0.0.0/8,tp_dst=80,idle_timeout=60,hard_timeout=300,actions=output:2,output:3
ipv6,ipv6_src=2001:db8::/32,cookie=0x1234,actions=mod_nw_tos:32,NORMAL
arp,arp_op=1,priority=9,actions=CONTROLLER:128
table=1,priority=0,actions=resubmit(,2),learn(table=3,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])
table=2,priority=0,reg0=0x5/0xff,actions=load:0x7->NXM_NX_REG1[0..15]
"""
GROUPS = """\
group_id=1,type=all,bucket=output:1,bucket=output:2
group_id=2,type=select,bucket=weight:3,actions=output:1,bucket=weight:5,actions=output:2
"""
METER = "meter=1,kbps,burst,stats,band=type=drop,rate=1000,burst_size=50"
BUNDLE = "flow add table=5,ip,actions=drop\ngroup add group_id=9,type=all,bucket=output:1\nflow delete table=2\n"
PACKET = "ffffffffffff02000000000188b5" + "00" * 46

LOOKS = {
    0: [
        "show", "dump-desc", "dump-tables", "get-frags", "dump-ports", "dump-ports SW 2", "dump-ports-desc",
        "dump-flows", "dump-flows SW table=0,tcp", "--no-stats --names dump-flows", "--sort=priority dump-flows",
        "--rsort=in_port dump-flows", "-m dump-flows", "--no-stats --color=always dump-flows", "dump-aggregate",
        "dump-aggregate SW out_port=2", "queue-get-config SW 1", "queue-stats", "dump-tlv-map", "probe",
    ],
    1: ["dump-groups", "dump-group-stats SW group_id=1", "dump-flows SW out_group=1"],
    2: ["dump-group-features"],
    3: ["dump-table-features", "dump-meters", "meter-stats", "meter-features"],
    4: ["dump-table-desc"],
}  # fmt: skip
"""Commands that look, by the first version (1.x) that has them; SW is the switch, behind the command if not named."""

CHANGES: dict[int, list[tuple[str, str]]] = {
    0: [
        ("add-flow SW udp,actions=drop", ""), ("add-flows SW -", "udp,actions=2\ndelete table=2\n"),
        ("mod-flows SW tcp,actions=1", ""), ("--strict mod-flows SW priority=9,arp,arp_op=1,actions=1", ""),
        ("del-flows SW table=0,tcp", ""), ("--strict del-flows SW table=1,priority=0", ""), ("del-flows SW", ""),
        ("mod-port SW p2 no-flood", ""),
        ("set-frags SW drop", ""), ("packet-out SW 1 output:2 " + PACKET, ""), ("add-flow SW udp,actions=group:77", ""),
        ("add-flow SW actions=nonsense", ""),
    ],
    1: [
        ("add-group SW group_id=7,type=indirect,bucket=output:3", ""), ("add-groups SW -", "group_id=8,type=all\n"),
        ("mod-group SW group_id=1,type=all,bucket=output:3", ""), ("del-groups SW group_id=1", ""),
        ("--may-create mod-group SW group_id=8,type=all,bucket=output:3", ""), ("mod-table SW 3 drop", ""),
    ],
    3: [
        ("replace-flows SW -", "table=7,ip,actions=drop\n"),
        ("add-meter SW meter=2,pktps,band=type=drop,rate=9", ""),
        ("mod-meter SW meter=1,pktps,band=type=drop,rate=7", ""), ("del-meters SW meter=1", ""), ("del-meters", ""),
    ],
    4: [
        ("bundle SW -", BUNDLE), ("--bundle add-flows SW -", "udp,actions=2\n"), ("mod-table SW 4 evict", ""),
        ("mod-table SW 5 vacancy:10,20", ""),
    ],
    5: [
        ("insert-buckets SW group_id=1,command_bucket_id=first,bucket=bucket_id:9,actions=output:3", ""),
        ("remove-buckets SW group_id=1,command_bucket_id=last", ""),
    ],
}  # fmt: skip
"""Commands that change something, likewise, with what they read from their standard input."""

SNAPSHOT = ("dump-flows", "dump-groups", "dump-meters", "dump-table-desc", "dump-ports-desc", "get-frags")

Row = TypeVar("Row")


class Programs:
    """Both programs at one switch."""

    def __init__(self, folder: Path) -> None:
        self.target = f"unix:{folder}/br0.mgmt"

    def theirs(self, words: list[str], content: str = "") -> Result:
        done = subprocess.run(["ovs-ofctl", *words], capture_output=True, text=True, check=False, input=content,
                              timeout=30 * patience(), env={**os.environ, "LC_ALL": "C"})  # fmt: skip
        return Result(done.returncode, done.stdout, done.stderr)

    def ours(self, words: list[str], content: str = "") -> Result:
        return run_ofctl(words, content)

    def line(self, version: str, command: str) -> list[str]:
        """The words of a command, with the switch in it."""
        words = command.split(" ")
        if "SW" not in words:
            words.append("SW")
        return ["-O", version, *(self.target if word == "SW" else word for word in words)]

    def reset(self) -> None:
        for words, content in (
            ("del-flows SW", ""), ("-O OpenFlow15 del-groups SW", ""), ("-O OpenFlow13 del-meters SW", ""),
            ("-O OpenFlow14 mod-table SW all noevict", ""), ("-O OpenFlow14 mod-table SW all novacancy", ""),
            ("-O OpenFlow11 mod-table SW all continue", ""), ("mod-port SW p2 flood", ""), ("set-frags SW normal", ""),
            ("add-flows SW -", FLOWS), ("-O OpenFlow15 add-groups SW -", GROUPS),
            (f"-O OpenFlow13 add-meter SW {METER}", ""),
        ):  # fmt: skip
            done = self.ours([self.target if word == "SW" else word for word in words.split(" ")], content)
            assert done.status == 0, (words, done)

    def snapshot(self) -> list[str]:
        found = [self.ours(self.line("OpenFlow15", each)) for each in SNAPSHOT]
        assert not any(each.status for each in found), found
        return [line for each in found for line in plain(each.out)]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    folder = tmp_path_factory.mktemp("switch")
    ports = [("p1", 1), ("p2", 2), ("p3", 3)]
    with (
        Bridge.simulate(ports, fail_mode="secure", management=f"punix:{folder}/br0.mgmt") as bridge,
        serving(bridge),
    ):
        programs = Programs(folder)
        programs.reset()
        yield programs


def plain(text: str) -> list[str]:
    """Its lines, without what another moment changes."""
    text = re.sub(r"\(xid=0x[0-9a-f]+\)", "(xid=0x-)", text)
    text = re.sub(r"duration([=:]?)[^,\s]+", r"duration\1-", text)
    text = re.sub(r"(idle_age|hard_age)=\d+", r"\1=-", text)
    return text.splitlines()


def in_turn(rows: dict[int, list[Row]]) -> list[tuple[str, Row]]:
    """Each with one of its versions."""
    return [
        (VERSIONS[since + number % (6 - since)], row) for since, some in rows.items() for number, row in enumerate(some)
    ]


def first_and_last(rows: dict[int, list[Row]]) -> list[tuple[str, Row]]:
    """Each with its first version, with 1.3 and with 1.5."""
    return [
        (VERSIONS[minor], row) for since, some in rows.items() for minor in sorted({since, 3, 5}) if minor >= since
        for row in some
    ]  # fmt: skip


@pytest.mark.parametrize(("version", "command"), first_and_last(LOOKS))
def test_both_print_the_same(programs: Programs, version: str, command: str) -> None:
    words = programs.line(version, command)
    theirs, ours = programs.theirs(words), programs.ours(words)
    assert (theirs.status, ours.status) == (0, 0), (theirs.err, ours.err)
    assert plain(ours.out) == plain(theirs.out)


@pytest.mark.parametrize(("version", "change"), in_turn(CHANGES))
def test_both_do_the_same(programs: Programs, version: str, change: tuple[str, str]) -> None:
    command, content = change
    words = programs.line(version, command)
    left = []
    before = programs.snapshot()
    for run in (programs.theirs, programs.ours):
        done = run(words, content)
        left.append((done.status, plain(done.out), after := programs.snapshot()))
        if after != before:
            programs.reset()
    assert left[0] == left[1]


def test_what_is_left_out_of_ovs_ofctl_is_named() -> None:
    """All that its help names is there."""
    said, listed = (
        subprocess.run(["ovs-ofctl", word], capture_output=True, text=True, check=True).stdout
        for word in ("--help", "list-commands")
    )
    ours = {name for command in OFCTL.commands for name in (command.name, *command.aliases)}
    named = set(re.findall(r"^  (?:\[--may-create\] )?([a-z][a-z-]+) [A-Z\[]", said, re.MULTILINE))
    assert {"show", "mod-group", "ct-flush", "ofp-parse-pcap"} <= named
    assert named <= ours
    left_out = {line.split()[0] for line in listed.splitlines()[1:] if line.strip()} - ours
    assert "parse-nxm" in left_out
    page = (Path(__file__).parents[2] / "docs/compatibility.md").read_text(encoding="utf-8")
    assert not [name for name in left_out if f"`{name}`" not in page]
