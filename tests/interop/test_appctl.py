"""The commands of a bridge at its control socket and at ovs-vswitchd's: the same answers and refusals.

And `vswitch appctl` speaks to ovs-vswitchd. Known differences: ovs-vswitchd takes VLANs and addresses that there cannot
be, and learns from a packet whose bytes are given to a trace.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.ofctl_peer import BRIDGE, OpenVswitch
from vswitch import Bridge
from vswitch.cli.appctl import main
from vswitch.control.commands import CommandError

FLOWS = [
    "table=0,priority=9,tcp,tcp_dst=80,actions=resubmit(,1)",
    "table=0,cookie=0x7,priority=8,udp,actions=load:0x5->NXM_NX_REG1[],resubmit(,2),output:3",
    "table=1,actions=normal",
    "table=2,priority=3,udp,reg1=5,actions=mod_dl_dst:02:00:00:00:00:07,output:2",
    "table=0,priority=2,dl_vlan=5,actions=strip_vlan,output:2",
]
TCP = "02000000000202000000000108004500002800010000400600000a0000010a0000020bb8005000000000000000005002200000000000"
FLOW = "in_port=1,tcp,tcp_dst=80,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02,nw_ttl=64"


@pytest.fixture
def bridge(ovs: OpenVswitch) -> Iterator[Bridge]:
    """Ours, with the ports and flows that theirs has."""
    for flow in FLOWS:
        assert ovs.ovs_ofctl("add-flow", BRIDGE, flow).status == 0
    with Bridge.simulate([("p1", 1), ("p2", 2), ("p3", 3)], name=BRIDGE, fail_mode="secure") as bridge:
        bridge.datapath.ports.add(BRIDGE, 0)
        bridge.process()
        bridge.add_flows(FLOWS)
        yield bridge
        ovs.appctl("fdb/flush", BRIDGE)


def ours(bridge: Bridge, *words: str) -> str:
    """What is printed, and if it is a refusal what that is."""
    try:
        text = bridge._commands.commands.call(words[0], words[1:]).text
    except CommandError as refusal:
        return f"refused: {refusal}\n"
    return text if isinstance(text, str) else "".join(text)


def theirs(ovs: OpenVswitch, *words: str) -> str:
    command = ["ovs-appctl", f"--target={ovs.folder / 'vswitchd.ctl'}", *words]
    done = subprocess.run(command, env=ovs.environment, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        return f"refused: {done.stderr.partition('ovs-appctl: ')[0]}"
    return done.stdout


COMMANDS = [
    "nosuch",
    "ofproto/list",
    "ofproto/list x",
    "fdb/show",
    f"fdb/show {BRIDGE}",
    "fdb/show nosuch",
    f"fdb/show {BRIDGE} x",
    f"fdb/stats-show {BRIDGE}",
    "fdb/stats-show nosuch",
    f"fdb/stats-clear {BRIDGE}",
    "fdb/stats-clear",
    "fdb/flush",
    f"fdb/flush {BRIDGE}",
    "fdb/flush nosuch",
    f"fdb/del {BRIDGE} 0 00:00:00:00:00:09",
    f"fdb/del {BRIDGE} 0 zz",
    f"fdb/add {BRIDGE} p1 0 zz",
    f"fdb/add {BRIDGE} p1 0",
    "bridge/dump-flows nosuch",
    "bridge/reconnect nosuch",
    f"bridge/reconnect {BRIDGE}",
    "coverage/read-counter nosuch",
    "revalidator/wait",
    "revalidator/purge",
    "dpif/dump-flows nosuch",
    "dpif/show-dp-features nosuch",
    f"dpif/dump-flows {BRIDGE}",
    "ofproto/trace",
    f"ofproto/trace {BRIDGE}",
    "ofproto/trace nosuch in_port=1",
    f"ofproto/trace {BRIDGE} in_port=1 zz",
    f"ofproto/trace {BRIDGE} in_port=1 001122",
    f"ofproto/trace {BRIDGE} in_port=1 00 00",
    f"ofproto/trace {BRIDGE} in_port=1 --l7",
    f"ofproto/trace {BRIDGE} in_port=1 -consistent",
    "ofproto/trace in_port(77),eth()",
    "version x",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_answered_in_the_same_words(ovs: OpenVswitch, bridge: Bridge, command: str) -> None:
    words = command.split()
    assert ours(bridge, *words) == theirs(ovs, *words)


def test_static_addresses_are_shown_alike(ovs: OpenVswitch, bridge: Bridge) -> None:
    rows = (("p1", "0", "02:00:00:00:00:09"), ("p2", "4095", "02:00:00:00:00:0a"), (BRIDGE, "7", "02:00:00:00:00:0b"))
    for row in rows:
        assert ours(bridge, "fdb/add", BRIDGE, *row) == theirs(ovs, "fdb/add", BRIDGE, *row) == ""
    for command in ("fdb/show", "fdb/stats-show"):
        assert sorted(ours(bridge, command, BRIDGE).splitlines()) == sorted(theirs(ovs, command, BRIDGE).splitlines())
    for _, vlan, mac in rows:
        assert ours(bridge, "fdb/del", BRIDGE, vlan, mac) == theirs(ovs, "fdb/del", BRIDGE, vlan, mac) == ""


def test_flows_are_listed_alike(ovs: OpenVswitch, bridge: Bridge) -> None:
    def lines(text: str) -> list[str]:
        kept = [line for line in text.splitlines() if not line.startswith("table_id=254")]  # its hidden ones
        return sorted(re.sub(r"duration=\d+s", "duration=", line) for line in kept)

    assert lines(ours(bridge, "bridge/dump-flows", BRIDGE)) == lines(theirs(ovs, "bridge/dump-flows", BRIDGE))


def test_features_of_the_datapath_have_the_same_names(ovs: OpenVswitch, bridge: Bridge) -> None:
    mine, other = (
        [line.partition(":")[0] for line in text.splitlines()]
        for text in (ours(bridge, "dpif/show-dp-features", BRIDGE), theirs(ovs, "dpif/show-dp-features", BRIDGE))
    )
    assert mine == other


TRACES = [
    f"ofproto/trace {BRIDGE} {FLOW}",
    f"ofproto/trace {BRIDGE} {FLOW} --names",
    f"ofproto/trace --names {BRIDGE} in_port=p1,udp",
    f"ofproto/trace {BRIDGE} udp,reg3=7",
    f"ofproto/trace {BRIDGE} in_port=LOCAL,dl_vlan=5",
    f"ofproto/trace {BRIDGE} in_port=99,ipv6",
    f"ofproto/trace {BRIDGE} in_port=1,arp,arp_op=1",
    f"ofproto/trace {BRIDGE} in_port=1,udp,udp_dst=53 -generate --l7-len 5",
    f"ofproto/trace {BRIDGE} in_port=1,dl_vlan=5 {TCP[:24]}81000005{TCP[24:]}",
    "ofproto/trace in_port(1),eth(src=02:00:00:00:00:01),eth_type(0x0800),ipv4(proto=17),udp(dst=9)",
    f"ofproto/trace-packet-out {BRIDGE} {FLOW} set_field:02:00:00:00:00:09->eth_dst,output:2,resubmit(,0)",
    f"ofproto/trace-packet-out {BRIDGE} in_port=1 {TCP} output:9",
    f"ofproto/trace-packet-out -consistent {BRIDGE} in_port=1,udp output:2,output:3",
]


@pytest.mark.parametrize("command", TRACES)
def test_traces_are_told_in_the_same_words(ovs: OpenVswitch, bridge: Bridge, command: str) -> None:
    """But for megaflows, whose masks may differ, the local port's number in the datapath, the order in which a flood
    leaves, and that theirs learns."""

    def without_what_may_differ(text: str) -> list[str]:
        found = [line for line in text.splitlines() if not line.startswith(("Megaflow: ", "     -> learned that"))]
        actions = re.sub(r"\b100\b", "0", found[-1])
        return [*found[:-1], *sorted(actions.removeprefix("Datapath actions: ").split(","))]

    words = command.split()
    told = ours(bridge, *words)
    assert not told.startswith("refused")
    assert without_what_may_differ(told) == without_what_may_differ(theirs(ovs, *words))


def test_inconsistent_actions_are_refused_by_the_same_error(ovs: OpenVswitch, bridge: Bridge) -> None:
    words = ("ofproto/trace-packet-out", "-consistent", BRIDGE, "in_port=1,tcp", "pop_vlan,output:2")
    assert theirs(ovs, *words) == "refused: Bad actions: OFPBAC_MATCH_INCONSISTENT\n"
    assert ours(bridge, *words).startswith("refused: Bad actions: OFPBAC_MATCH_INCONSISTENT")


def test_vswitch_appctl_speaks_to_ovs_vswitchd(ovs: OpenVswitch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-t", str(ovs.folder / "vswitchd.ctl"), "ofproto/list"]) == 0
    assert capsys.readouterr().out == f"{BRIDGE}\n"
    with pytest.raises(CommandError, match='"nosuch" is not a valid command'):
        main(["-t", str(ovs.folder / "vswitchd.ctl"), "nosuch"])
