"""What `vswitch ofctl` changes on a real Open vSwitch, seen by ovs-ofctl; and what both say when it is refused."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.interop.test_ofctl import FLOWS, GROUPS, assert_alike, plain
from tests.lab import wait_until
from tests.ofctl_peer import BRIDGE, OpenVswitch

DUMPS = (["--no-stats", "--sort", "dump-flows"], ["-OOpenFlow15", "dump-groups"], ["-OOpenFlow13", "dump-meters"])

BUNDLE = """\
flow add table=7,in_port=1,actions=2
group add group_id=77,type=all,bucket=2
flow delete table=2
"""
OTHERS = FLOWS.replace("output:2", "output:3").replace("table=2", "table=8").replace(",output:NXM_OF_IN_PORT[]", "")
"""Some of the flows have other actions, and some are in another table."""
CHANGES: list[tuple[list[str], str]] = [
    (["add-flows", BRIDGE, "-"], OTHERS),
    (["-OOpenFlow11", "add-flow", BRIDGE, "table=1,ip,actions=mod_nw_tos:32,dec_ttl,output:2"], ""),
    (["-OOpenFlow13", "add-flow", BRIDGE, "table=1,tcp,nw_dst=10.0.0.1,actions=set_field:5->tcp_dst,goto_table:2"], ""),
    (["-OOpenFlow15", "add-flow", BRIDGE, "in_port=p1,importance=7,actions=output:p2"], ""),
    (["add-flow", BRIDGE, "reg5=1/0xf,actions=NORMAL"], ""),
    (["--bundle", "add-flows", BRIDGE, "-"], OTHERS),
    (["-OOpenFlow13", "--bundle", "add-flows", BRIDGE, "-"], OTHERS),
    (["mod-flows", BRIDGE, "table=2,actions=drop"], ""),
    (["--strict", "mod-flows", BRIDGE, "table=2,priority=0,reg0=0x5/0xff,actions=drop"], ""),
    (["del-flows", BRIDGE, "ip"], ""),
    (["del-flows", BRIDGE, "cookie=0x1234/-1"], ""),
    (["--strict", "del-flows", BRIDGE, "table=0,priority=9,arp,arp_op=1"], ""),
    (["del-flows", BRIDGE, "out_port=2"], ""),
    (["del-flows", BRIDGE], ""),
    (["add-flows", BRIDGE, "-"], "delete table=2\nadd table=3,actions=drop\nmodify table=1,actions=exit\n"),
    (["-OOpenFlow13", "replace-flows", BRIDGE, "-"], "in_port=1,actions=2\ntable=1,tcp,actions=drop\n"),
    (["--bundle", "replace-flows", BRIDGE, "-"], "in_port=1,actions=2\ntable=1,tcp,actions=drop\n"),
    (["-OOpenFlow13", "add-group", BRIDGE, "group_id=9,type=select,bucket=weight:7,actions=1,bucket=2"], ""),
    (["add-group", BRIDGE, "group_id=9,type=all,bucket=1,bucket=2"], ""),
    (["-OOpenFlow13", "add-groups", BRIDGE, "-"], "group_id=9,type=all,bucket=1\ngroup_id=10,type=all,bucket=2\n"),
    (["--may-create", "mod-group", BRIDGE, "group_id=12,type=all,bucket=3"], ""),
    (["mod-group", BRIDGE, "group_id=1,type=all,bucket=3"], ""),
    (["-OOpenFlow15", "insert-buckets", BRIDGE, "group_id=2,command_bucket_id=last,bucket=bucket_id:7,actions=3"], ""),
    (["-OOpenFlow15", "remove-buckets", BRIDGE, "group_id=2,command_bucket_id=first"], ""),
    (["del-groups", BRIDGE, "group_id=1"], ""),
    (["-OOpenFlow13", "del-groups", BRIDGE], ""),
    (["-OOpenFlow13", "add-meter", BRIDGE, "meter=2,pktps,burst,band=type=drop,rate=10,burst_size=3"], ""),
    (["-OOpenFlow13", "mod-meter", BRIDGE, "meter=1,kbps,band=type=drop,rate=7"], ""),
    (["-OOpenFlow13", "del-meters", BRIDGE, "meter=1"], ""),
    (["bundle", BRIDGE, "-"], BUNDLE),
]  # fmt: skip


def prepare(ovs: OpenVswitch) -> None:
    ovs.reset()
    for words, content in (
        (["add-flows", BRIDGE, "-"], FLOWS), (["-OOpenFlow13", "add-groups", BRIDGE, "-"], GROUPS),
        (["-OOpenFlow13", "add-meter", BRIDGE, "meter=1,kbps,band=type=drop,rate=1000"], ""),
    ):  # fmt: skip
        assert ovs.ovs_ofctl(*words, content=content).status == 0


def state(ovs: OpenVswitch) -> list[list[str]]:
    """What is in the switch, as ovs-ofctl sees it."""
    return [sorted(plain(ovs.ovs_ofctl(*words, BRIDGE).out).splitlines()) for words in DUMPS]


@pytest.mark.parametrize(
    ("words", "content"), CHANGES, ids=lambda each: " ".join(each) if isinstance(each, list) else ""
)
def test_both_make_the_same_of_a_switch(ovs: OpenVswitch, words: list[str], content: str) -> None:
    prepare(ovs)
    before = state(ovs)
    theirs = ovs.ovs_ofctl(*words, content=content)
    wanted = state(ovs)
    prepare(ovs)
    ours = ovs.ofctl(*words, content=content)
    assert (ours.status, ours.err) == (0, "")
    assert theirs.status == 0, theirs.err
    assert state(ovs) == wanted != before


REFUSED = [
    ["add-flow", BRIDGE, "priority=7,check_overlap,in_port=1,actions=2"],
    ["-OOpenFlow13", "add-flow", BRIDGE, "actions=group:99"],
    ["-OOpenFlow13", "add-flow", BRIDGE, "table=254,actions=2"],
    ["add-group", BRIDGE, "group_id=1,type=all,bucket=1"],
    ["-OOpenFlow13", "add-meter", BRIDGE, "meter=1,kbps,band=type=drop,rate=1"],
]


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_a_refusal_is_printed_with_what_was_refused(ovs: OpenVswitch, words: list[str]) -> None:
    prepare(ovs)
    ovs.ovs_ofctl("add-flow", BRIDGE, "priority=7,actions=3")
    theirs, ours = ovs.ovs_ofctl(*words), ovs.ofctl(*words)
    assert ours.status == theirs.status == 1
    assert plain(ours.err) == plain(theirs.err)


def test_a_refused_bundle_changes_nothing_and_names_each_message(ovs: OpenVswitch) -> None:
    prepare(ovs)
    before = state(ovs)
    content = "flow add table=7,actions=2\nflow add table=7,in_port=3,actions=group:999\n"
    theirs, ours = (each("bundle", BRIDGE, "-", content=content) for each in (ovs.ovs_ofctl, ovs.ofctl))
    assert state(ovs) == before
    assert ours.status == theirs.status == 1
    assert plain(ours.err).splitlines()[:-1] == plain(theirs.err).splitlines()[:-1]


def test_a_file_with_a_wrong_line_changes_nothing_and_shows_the_place(ovs: OpenVswitch, tmp_path: Path) -> None:
    file = tmp_path / "flows"
    file.write_text("in_port=1,actions=2\nin_port=1,nw_dst=10.0.0.300,ip,actions=2\n")
    done = ovs.ofctl("add-flows", BRIDGE, str(file))
    assert done.status == 1
    assert f"{file}:2: " in done.err
    assert "10.0.0.300" in done.err
    assert ovs.ovs_ofctl("--no-stats", "dump-flows", BRIDGE).out == ""


SHOWN = [
    ["--no-stats"], ["--names"], ["--names", "--no-stats"], ["--sort"], ["--sort=in_port"], ["--rsort=priority"],
    ["--sort=nw_dst"], ["--color=always", "--no-stats"], ["-m"],
]  # fmt: skip


@pytest.mark.parametrize("options", SHOWN, ids=" ".join)
def test_flows_are_shown_as_the_options_say(ovs: OpenVswitch, options: list[str]) -> None:
    prepare(ovs)
    theirs, ours = (each(*options, "dump-flows", BRIDGE) for each in (ovs.ovs_ofctl, ovs.ofctl))
    alike = [plain(each.out).splitlines() for each in (ours, theirs)]
    if any("sort" in each for each in options) and "--sort=in_port" not in options:
        alike = [sorted(each) for each in alike]  # those that are alike in it stand in any order
    assert alike[0] == alike[1]
    assert len(alike[0]) >= 8


@pytest.mark.parametrize("what", ["table=2", "tcp", "in_port=p1", "cookie=0x1234/-1", "out_port=2", "table=9"])
@pytest.mark.parametrize("command", ["dump-flows", "dump-aggregate"])
def test_flows_are_chosen_as_ovs_ofctl_chooses_them(ovs: OpenVswitch, command: str, what: str) -> None:
    prepare(ovs)
    assert_alike(ovs, command, BRIDGE, what)
    assert_alike(ovs, "-OOpenFlow14", command, BRIDGE, what)


def test_two_sets_of_flows_are_compared(ovs: OpenVswitch, tmp_path: Path) -> None:
    prepare(ovs)
    file = tmp_path / "flows"
    file.write_text(FLOWS.replace("actions=drop", "actions=4") + "table=9,priority=3,actions=drop\n")
    theirs, ours = (each("diff-flows", BRIDGE, str(file)) for each in (ovs.ovs_ofctl, ovs.ofctl))
    assert ours.status == theirs.status == 2
    assert sorted(ours.out.splitlines()) == sorted(theirs.out.splitlines())
    file.write_text(FLOWS)
    assert ovs.ofctl("diff-flows", BRIDGE, str(file)) == (0, "", "")


CONFIGURED = [
    (["mod-port", BRIDGE, "p1", "no-flood"], ["mod-port", BRIDGE, "1", "flood"], ["show", BRIDGE]),
    (["-OOpenFlow15", "mod-port", BRIDGE, "LOCAL", "down"], ["mod-port", BRIDGE, "LOCAL", "up"], ["show", BRIDGE]),
    (["set-frags", BRIDGE, "nx-match"], ["set-frags", BRIDGE, "normal"], ["get-frags", BRIDGE]),
    (["-OOpenFlow14", "mod-table", BRIDGE, "3", "evict"], ["-OOpenFlow14", "mod-table", BRIDGE, "3", "noevict"],
     ["-OOpenFlow14", "dump-table-desc", BRIDGE]),
    (["-OOpenFlow14", "mod-table", BRIDGE, "3", "vacancy:10,20"],
     ["-OOpenFlow14", "mod-table", BRIDGE, "3", "novacancy"], ["-OOpenFlow14", "dump-table-desc", BRIDGE]),
    (["add-tlv-map", BRIDGE, "{class=0xffff,type=0,len=4}->tun_metadata0"], ["del-tlv-map", BRIDGE],
     ["dump-tlv-map", BRIDGE]),
]  # fmt: skip


@pytest.mark.parametrize(("change", "back", "look"), CONFIGURED, ids=lambda words: " ".join(words))
def test_a_switch_is_configured_and_back(ovs: OpenVswitch, change: list[str], back: list[str], look: list[str]) -> None:
    before = plain(ovs.ovs_ofctl(*look).out)
    assert ovs.ofctl(*change) == (0, "", "")
    changed = plain(ovs.ovs_ofctl(*look).out)
    assert changed != before
    assert plain(ovs.ofctl(*look).out) == changed
    assert ovs.ofctl(*back) == (0, "", "")
    assert plain(ovs.ovs_ofctl(*look).out) == before


def test_a_packet_goes_out_of_the_port_that_it_is_sent_to(ovs: OpenVswitch) -> None:
    frame = "50540000000550540000000608060001080006040001505400000006c0000201000000000000c0000202"
    for words in ([f"in_port=1,packet={frame},actions=output:2"], ["1", "output:2", frame], ["none", "2", frame]):
        before = ovs.ovs_ofctl("dump-ports", BRIDGE, "2").out
        assert ovs.ofctl("packet-out", BRIDGE, *words) == (0, "", "")
        assert ovs.ovs_ofctl("dump-ports", BRIDGE, "2").out != before


def test_what_looks_only_never_changes(ovs: OpenVswitch) -> None:
    done = ovs.ofctl("--read-only", "add-flow", BRIDGE, "actions=drop")
    assert (done.status, "--read-only" in done.err) == (1, True)
    assert ovs.ofctl("--read-only", "dump-flows", BRIDGE).status == 0
    assert ovs.ovs_ofctl("--no-stats", "dump-flows", BRIDGE).out == ""


@pytest.mark.parametrize("command", ["ct-flush", "dump-ipfix-bridge", "dump-ipfix-flow"])
def test_what_is_not_supported_says_so(ovs: OpenVswitch, command: str) -> None:
    done = ovs.ofctl(command, BRIDGE)
    assert (done.status, "not supported" in done.err) == (1, True)


def test_a_monitor_tells_of_changes_of_flows(ovs: OpenVswitch, tmp_path: Path) -> None:
    prepare(ovs)
    said = tmp_path / "said"
    with said.open("wb") as output:
        command = [sys.executable, "-m", "vswitch", "ofctl", "monitor", BRIDGE, "100", "watch:table=2"]
        process = subprocess.Popen(command, env=ovs.environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: "event=ADDED table=2" in said.read_text(), "what is there at first", 20)
        ovs.ovs_ofctl("add-flow", BRIDGE, "table=2,in_port=3,actions=2")
        wait_until(lambda: "event=ADDED table=2 cookie=0 in_port=3" in said.read_text(), "the new flow", 20)
        ovs.ovs_ofctl("del-flows", BRIDGE, "table=2,in_port=3")
        wait_until(lambda: "event=DELETED reason=delete table=2" in said.read_text(), "its end", 20)
    finally:
        process.terminate()
        process.wait(20)


def test_a_timeout_ends_a_monitor_as_sigalrm_would(ovs: OpenVswitch) -> None:
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "vswitch", "ofctl", "-t", "1", "monitor", BRIDGE], env=ovs.environment,
                          capture_output=True, text=True, check=False, timeout=60)  # fmt: skip
    assert done.returncode == 142
    assert time.monotonic() - begin >= 1


@pytest.mark.parametrize(("words", "lines"), [(["ping", BRIDGE], 10), (["benchmark", BRIDGE, "20", "50"], 2)])
def test_echoes_come_back(ovs: OpenVswitch, words: list[str], lines: int) -> None:
    done = ovs.ofctl(*words)
    assert (done.status, len(done.out.splitlines()), "not what was sent" in done.out) == (0, lines, False)
