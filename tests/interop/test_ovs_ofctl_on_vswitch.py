"""Debian's ovs-ofctl at `vswitch run --simulate`: each of its commands, with each version that it speaks, ends and
prints as at the real ovs-vswitchd.

What is compared is what the command prints, and for those that change something the flows, groups and meters after it.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.lab import patience, wait_until
from tests.ofctl_peer import BRIDGE, OpenVswitch, Result
from tests.running import Running

VERSIONS = tuple(f"OpenFlow1{minor}" for minor in range(6))
FLOWS = """\
table=0,priority=100,in_port=1,dl_vlan=5,actions=strip_vlan,output:2
tcp,nw_dst=10.0.0.0/8,tp_dst=80,idle_timeout=60,hard_timeout=300,actions=output:2,output:3
ip,nw_src=192.168.1.1,cookie=0x1234,actions=mod_nw_tos:32,NORMAL
arp,arp_op=1,priority=9,actions=CONTROLLER:128
table=1,priority=0,actions=resubmit(,2)
table=2,priority=0,reg0=0x5/0xff,actions=load:0x7->NXM_NX_REG1[0..15]
"""
OTHERS = """\
table=0,priority=100,in_port=1,dl_vlan=5,actions=strip_vlan,output:3
table=4,priority=1,actions=drop
"""
GROUPS = """\
group_id=1,type=all,bucket=output:1,bucket=output:2
group_id=2,type=select,bucket=weight:3,actions=output:1,bucket=weight:5,actions=output:2
"""
BUNDLE = """\
flow add table=5,priority=5,ip,actions=drop
group add group_id=9,type=all,bucket=output:1
flow delete table=2
"""
PACKET = "ffffffffffff02000000000188b5" + "00" * 46
METER = "meter=1,kbps,burst,stats,band=type=drop,rate=1000,burst_size=50"
FROM_1_1, FROM_1_3, FROM_1_4, FROM_1_5 = VERSIONS[1:], VERSIONS[3:], VERSIONS[4:], VERSIONS[5:]
"""Which version has what; before, ovs-ofctl itself refuses, and says so."""


class Ours:
    """The switch, and ovs-ofctl at it."""

    def __init__(self, folder: Path) -> None:
        ports = [word for number in (1, 2, 3) for word in ("--port", f"p{number},port_no={number}")]
        self.snoop = f"unix:{folder}/snoop"
        self.running = Running(
            BRIDGE, folder, *ports, "--simulate", "--fail-mode", "secure", "--snoop", f"p{self.snoop}"
        )
        self.folder = folder

    def ovs_ofctl(self, *arguments: str, content: str = "") -> Result:
        words = [self.running.socket if word == BRIDGE else word for word in arguments]
        environment = {**os.environ, "LC_ALL": "C", "OVS_RUNDIR": str(self.folder)}
        done = subprocess.run(["ovs-ofctl", *words], capture_output=True, text=True, check=False, input=content,
                              timeout=60 * patience(), env=environment)  # fmt: skip
        return Result(done.returncode, done.stdout, done.stderr)

    def close(self) -> None:
        self.running.close()


@pytest.fixture(scope="module")
def _ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ours]:
    with closing(Ours(tmp_path_factory.mktemp("vswitch"))) as ours:
        yield ours
        assert ours.running.process.poll() is None
        assert "Traceback" not in ours.running.said(), ours.running.said()


Pair = tuple[Ours, OpenVswitch]


@pytest.fixture
def pair(_ours: Ours, ovs: OpenVswitch) -> Pair:
    """Both with the same flows, groups and meter, and nothing else."""
    for each in (_ours, ovs):
        for words in (["del-flows"], ["-OOpenFlow15", "del-groups"], ["-OOpenFlow13", "del-meters"]):
            done = each.ovs_ofctl(*words, BRIDGE)
            assert done.status == 0, done
        for words, content in (
            (["add-flows", BRIDGE, "-"], FLOWS),
            (["-OOpenFlow13", "add-groups", BRIDGE, "-"], GROUPS),
            (["-OOpenFlow13", "add-meter", BRIDGE, METER], ""),
        ):
            done = each.ovs_ofctl(*words, content=content)
            assert done.status == 0, done
    return _ours, ovs


def plain(text: str) -> str:
    """Without what is one switch's own: times, xids, sockets, addresses."""
    text = re.sub(r"unix:\S+/([^/\s:]+)", r"\1", text)
    text = text.replace(f"{BRIDGE}.mgmt", BRIDGE)
    text = re.sub(r"^[0-9TZ:.-]+\|\d+\|", "", text, flags=re.MULTILINE)
    text = re.sub(r"\(xid=0x[0-9a-f]+\)", "(xid=0x-)", text)
    text = re.sub(r"duration([=:]?)[0-9.]+s", r"duration\1-s", text)
    text = re.sub(r"(lookup|matched)=\d+", r"\1=-", text)  # what was sent out by other tests is counted too
    text = re.sub(r"(drop|errs|frame|over|crc|coll)=[0?]", r"\1=-", text)
    text = re.sub(r"^ +(CUSTOM Statistics|[rt]x_(custom|q0)_.*)\n", "", text, flags=re.MULTILINE)  # of dummy devices
    return re.sub(r"(idle_age|hard_age)=\d+", r"\1=-", text)


STATE = [
    ("-OOpenFlow14", "dump-flows", BRIDGE), ("-OOpenFlow15", "dump-groups", BRIDGE),
    ("-OOpenFlow13", "dump-meters", BRIDGE), ("-OOpenFlow14", "dump-table-desc", BRIDGE),
]  # fmt: skip


def assert_same(ours: Result, theirs: Result) -> None:
    """But for the order of flows and groups, in which neither promises anything."""
    assert sorted(plain(ours.out).splitlines()) == sorted(plain(theirs.out).splitlines()), (ours.err, theirs.err)
    assert (ours.status, plain(ours.err)) == (theirs.status, plain(theirs.err))


def check_alike(pair: Pair, *words: str, content: str = "", succeeds: bool = True) -> None:
    """Both end and print alike."""
    ours, theirs = (each.ovs_ofctl(*words, content=content) for each in pair)
    assert_same(ours, theirs)
    assert succeeds is (ours.status == 0), ours


# ---- commands that look

LOOKS = [
    ("get-frags",), ("dump-ports", "p1"), ("dump-ports", "2"), ("dump-flows",),
    ("dump-flows", "table=0,tcp"), ("dump-flows", "cookie=0x1234/-1"), ("--no-stats", "dump-flows"),
    ("--names", "dump-flows"), ("--sort=priority", "dump-flows"), ("--rsort=in_port", "dump-flows"),
    ("--strict", "dump-flows", "table=1"), ("dump-aggregate",), ("dump-aggregate", "table=2"),
    ("dump-flows", "out_port=2"),
    ("probe",), ("-m", "dump-flows"),
]  # fmt: skip
LOOKS_FROM_1_1 = [
    ("dump-groups",), ("dump-groups", "2"), ("dump-group-stats",), ("dump-group-stats", "group_id=1"),
    ("dump-flows", "out_group=1"),
]  # fmt: skip
LOOKS_FROM_1_3 = [
    ("dump-meters",), ("dump-meters", "meter=1"), ("meter-stats",), ("meter-stats", "meter=1"),
]  # fmt: skip
ALL_LOOKS = [
    (version, words)
    for versions, rows in ((VERSIONS, LOOKS), (FROM_1_1, LOOKS_FROM_1_1), (FROM_1_3, LOOKS_FROM_1_3),
                           (FROM_1_4, [("dump-table-desc",)]))
    for version in versions
    for words in rows
]  # fmt: skip


def line(version: str, words: tuple[str, ...]) -> list[str]:
    """The command with the switch in its place: behind its name."""
    at = next(index for index, word in enumerate(words) if not word.startswith("-"))
    return ["-O", version, *words[: at + 1], BRIDGE, *words[at + 1 :]]


@pytest.mark.parametrize(
    ("version", "words"), ALL_LOOKS, ids=lambda each: each if isinstance(each, str) else " ".join(each)
)
def test_it_prints_the_same(pair: Pair, version: str, words: tuple[str, ...]) -> None:
    check_alike(pair, *line(version, words))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_switch_describes_itself(pair: Pair, version: str) -> None:
    """What each says of itself is its own; that it is understood is common."""
    ours, _ = pair
    shown = ours.ovs_ofctl("-O", version, "show", BRIDGE)
    assert shown.status == 0, shown
    assert "n_tables:254" in shown.out
    assert all(re.search(rf"^ {number}\(p{number}\): addr:", shown.out, re.MULTILINE) for number in (1, 2, 3))
    described = ours.ovs_ofctl("-O", version, "dump-desc", BRIDGE)
    assert described.status == 0
    assert "Software: " in described.out
    ports = ours.ovs_ofctl("-O", version, "dump-ports-desc", BRIDGE)
    assert ports.status == 0
    assert ports.out.count("addr:") == 3
    one = ours.ovs_ofctl("-O", version, "dump-ports-desc", BRIDGE, "2")
    assert one.status == 0
    assert " 2(p2)" in one.out
    counted = ours.ovs_ofctl("-O", version, "dump-ports", BRIDGE)
    assert counted.status == 0
    assert counted.out.count("rx pkts=") == 3
    tables = ours.ovs_ofctl("-O", version, "dump-tables", BRIDGE)
    assert tables.status == 0
    assert "  table 0:\n    active=4, lookup=" in tables.out
    if version in FROM_1_3:
        features = ours.ovs_ofctl("-O", version, "meter-features", BRIDGE)
        assert features.status == 0
        assert "max_bands:1" in features.out
        groups = ours.ovs_ofctl("-O", version, "dump-group-features", BRIDGE)
        assert groups.status == 0
        assert "max_groups=0x10000" in groups.out
        tables = ours.ovs_ofctl("-O", version, "dump-table-features", BRIDGE)
        assert tables.status == 0
        assert "table 253" in tables.out
        assert ("meter" in tables.out) is (version not in FROM_1_5)


@pytest.mark.parametrize("version", VERSIONS)
def test_there_are_no_queues(pair: Pair, version: str) -> None:
    """Devices of Open vSwitch's dummy kind have one."""
    ours, _ = pair
    for words in (("queue-stats", BRIDGE), ("queue-stats", BRIDGE, "p1")):
        counted = ours.ovs_ofctl("-O", version, *words)
        assert (counted.status, counted.out.rstrip().endswith("0 queues")) == (0, True), counted
    assert ours.ovs_ofctl("-O", version, "queue-get-config", BRIDGE, "p1").status == 0


OPTIONS = [
    "add {class=0xffff,type=0,len=4}->tun_metadata0",
    "add {class=0xffff,type=1,len=0}->tun_metadata63,{class=0xff,type=1,len=8}->tun_metadata7",
    "ADD {class=0xffff,type=0,len=8}->tun_metadata1",  # in capitals: it is refused
    "ADD {class=0xffff,type=2,len=8}->tun_metadata0",
    "ADD {class=1,type=1,len=4}->tun_metadata3,{class=1,type=1,len=4}->tun_metadata4",
    "ADD {class=1,type=1,len=4}->tun_metadata3,{class=1,type=2,len=4}->tun_metadata3",
    "add {class=1,type=1,len=124}->tun_metadata10,{class=1,type=2,len=116}->tun_metadata11",
    "ADD {class=1,type=3,len=8}->tun_metadata12",
    "add {class=1,type=3,len=4}->tun_metadata12",
    "del {class=9,type=9,len=4}->tun_metadata12,{class=1,type=3,len=4}->tun_metadata50",
    "del {class=1,type=1,len=124}->tun_metadata10",
    "add {class=1,type=1,len=124}->tun_metadata9",
    "del",
]


@pytest.mark.parametrize("version", VERSIONS)
def test_options_of_tunnels_are_mapped(pair: Pair, version: str) -> None:
    for line in ["del", *OPTIONS]:
        command, *maps = line.split(" ", 1)
        succeeds = command.islower() and version != "OpenFlow11"  # for which ovs-ofctl itself refuses
        check_alike(pair, "-O", version, f"{command.lower()}-tlv-map", BRIDGE, *maps, succeeds=succeeds)
        check_alike(pair, "-O", version, "dump-tlv-map", BRIDGE)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("set-frags", BRIDGE, "reassemble"), "OFPT_ERROR"),
        (("ct-flush-zone", BRIDGE, "5"), "OFPBRC_BAD_SUBTYPE"),
        (("ct-flush", BRIDGE), "OFPBRC_BAD_SUBTYPE"),
        (("dump-ipfix-bridge", BRIDGE), "OFPBRC_BAD_SUBTYPE"),
        (("dump-ipfix-flow", BRIDGE), "OFPBRC_BAD_SUBTYPE"),
        (("add-flow", BRIDGE, "ct_state=+trk,ip,actions=drop"), "OFPT_ERROR"),
        (("add-flow", BRIDGE, "ip,actions=ct(commit)"), "OFPT_ERROR"),
    ],
    ids=lambda each: each if isinstance(each, str) else " ".join(each),
)
def test_what_there_is_not_is_refused(pair: Pair, version: str, words: tuple[str, ...], said: str) -> None:
    ours, _ = pair
    refused = ours.ovs_ofctl("-O", version, *words)
    if "ct_state" in words[-1]:
        said = "none of the usable flow formats" if version == "OpenFlow11" else said  # it has no room for them
    assert said in refused.out + refused.err
    assert "***" not in refused.out + refused.err, "not the whole message is sent back"
    if not words[0].startswith("dump"):
        assert refused.status == 1


# ---- commands that change

CHANGES = [
    (("add-flow", "table=3,priority=7,udp,tp_dst=53,actions=output:2"), ""),
    (("add-flow", "cookie=7,idle_timeout=9,hard_timeout=8,send_flow_rem,ip,actions=mod_dl_src:0:0:0:0:0:1,3"), ""),
    (("add-flow", "in_port=p1,ipv6,actions=push_vlan:0x8100,set_field:4100->vlan_vid,output:p2"), ""),
    (("add-flow", "table=9,tun_id=5,actions=learn(table=10,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[]),note:01.02"), ""),
    (("add-flows", "-"), OTHERS),
    (("--bundle", "add-flows", "-"), OTHERS),
    (("mod-flows", "ip,actions=drop"), ""),
    (("mod-flows", "cookie=0x1234/-1,actions=drop"), ""),
    (("--strict", "mod-flows", "priority=9,arp,arp_op=1,actions=2"), ""),
    (("del-flows",), ""),
    (("del-flows", "table=0,ip"), ""),
    (("--strict", "del-flows", "priority=9,arp,arp_op=1"), ""),
    (("del-flows", "out_port=3"), ""),
    (("replace-flows", "-"), OTHERS),
    (("--readd", "replace-flows", "-"), OTHERS),
    (("--bundle", "replace-flows", "-"), OTHERS),
    (("packet-out", "1", "output:2", PACKET), ""),
    (("packet-out", f"in_port=1,packet={PACKET},actions=resubmit(,0)"), ""),
    (("set-frags", "drop"), ""),
    (("set-frags", "normal"), ""),
    (("mod-port", "p1", "no-flood"), ""),
    (("mod-port", "p1", "flood"), ""),
    (("mod-port", "2", "no-packet-in"), ""),
    (("mod-port", "2", "packet-in"), ""),
    (("mod-port", "p3", "no-receive"), ""),
    (("mod-port", "p3", "receive"), ""),
    (("mod-port", "p3", "no-forward"), ""),
    (("mod-port", "p3", "forward"), ""),
]  # fmt: skip
CHANGES_FROM_1_1 = [
    (("add-group", "group_id=5,type=ff,bucket=watch_port:1,actions=output:2"), ""),
    (("add-groups", "-"), "group_id=6,type=indirect,bucket=output:3\n"),
    (("mod-group", "group_id=1,type=all,bucket=output:3"), ""),
    (("--may-create", "mod-group", "group_id=8,type=all,bucket=output:3"), ""),
    (("del-groups",), ""),
    (("del-groups", "group_id=1"), ""),
    (("add-flow", "table=6,actions=group:1"), ""),
    (("add-flow", "table=6,actions=goto_table:7"), ""),
    (("add-flow", "table=6,actions=write_metadata:0x5/0xff,clear_actions"), ""),
]
CHANGES_FROM_1_3 = [
    (("add-meter", "meter=2,pktps,band=type=drop,rate=10"), ""),
    (("mod-meter", "meter=1,kbps,band=type=drop,rate=7"), ""),
    (("del-meters",), ""),
    (("del-meters", "meter=1"), ""),
    (("add-flow", "table=6,actions=meter:1,output:2"), ""),
]
CHANGES_FROM_1_4 = [
    (("bundle", "-"), BUNDLE),
    (("--bundle", "add-groups", "-"), "group_id=6,type=indirect,bucket=output:3\n"),
    (("add-flow", "table=6,importance=5,actions=drop"), ""),
    (("mod-table", "0", "evict"), ""),
    (("mod-table", "0", "noevict"), ""),
    (("mod-table", "3", "vacancy:20,80"), ""),
    (("mod-table", "3", "novacancy"), ""),
]
CHANGES_FROM_1_5 = [
    (("insert-buckets", "group_id=1,command_bucket_id=last,bucket=bucket_id:9,actions=output:3"), ""),
    (("remove-buckets", "group_id=1,command_bucket_id=first"), ""),
    (("remove-buckets", "group_id=2,command_bucket_id=all"), ""),
    (("add-flow", "table=6,actions=clone(output:1),output:2"), ""),
]
ALL_CHANGES = [
    (version, words, content)
    for versions, rows in ((VERSIONS, CHANGES), (FROM_1_1, CHANGES_FROM_1_1), (FROM_1_3, CHANGES_FROM_1_3),
                           (FROM_1_4, CHANGES_FROM_1_4), (FROM_1_5, CHANGES_FROM_1_5))
    for version in versions
    for words, content in rows
]  # fmt: skip


@pytest.mark.parametrize(
    ("version", "words", "content"),
    ALL_CHANGES,
    ids=lambda each: each[:40] if isinstance(each, str) else " ".join(each),
)
def test_it_does_the_same(pair: Pair, version: str, words: tuple[str, ...], content: str) -> None:
    ours, theirs = (each.ovs_ofctl(*line(version, words), content=content) for each in pair)
    assert_same(ours, theirs)
    for look in STATE:
        check_alike(pair, *look)


# ---- the others


@pytest.mark.parametrize("version", VERSIONS)
def test_echoes_come_back(pair: Pair, version: str) -> None:
    ours, _ = pair
    pinged = ours.ovs_ofctl("-O", version, "ping", BRIDGE, "100")
    assert (pinged.status, pinged.out.count("100 bytes from")) == (0, 10), pinged
    measured = ours.ovs_ofctl("-O", version, "benchmark", BRIDGE, "50", "200")
    assert measured.status == 0
    assert "s/round trip" in measured.out or "bandwidth" in measured.out or "Finished" in measured.out, measured


@pytest.mark.parametrize("version", VERSIONS)
def test_flows_are_compared_with_a_file(pair: Pair, version: str, tmp_path: Path) -> None:
    path = tmp_path / "flows"
    path.write_text(OTHERS)
    ours, theirs = (each.ovs_ofctl("-O", version, "diff-flows", BRIDGE, str(path)) for each in pair)
    assert (ours.status, ours.out) == (theirs.status, theirs.out)
    assert ours.status == 2, ours
    for each in pair:
        each.ovs_ofctl("-O", version, "replace-flows", BRIDGE, str(path))
    assert_same(*(each.ovs_ofctl("-O", version, "diff-flows", BRIDGE, str(path)) for each in pair))


def watched(words: list[str], folder: Path, output: Path, act: Callable[[], None], last: str) -> tuple[int, str]:
    """How `ovs-ofctl` ends, and what it prints, while `act` is done and until it has printed `last`."""
    with output.open("w") as file:
        watching = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", "ovs-ofctl", *words],
            stdout=file, stderr=file, stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C", "OVS_RUNDIR": str(folder)},
        )  # fmt: skip
    try:
        with suppress(subprocess.TimeoutExpired):
            watching.wait(1.0 * patience())  # nothing tells that it is connected
        if watching.returncode is None:
            act()
            wait_until(lambda: last in output.read_text(), f"ovs-ofctl prints {last}", 10)
    finally:
        watching.terminate()
        watching.wait(20 * patience())
    return watching.returncode, plain(output.read_text())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("words", [[], ["watch:"], ["watch:!initial"], ["invalid_ttl"]], ids=str)
def test_what_happens_is_watched(pair: Pair, version: str, words: list[str], tmp_path: Path) -> None:
    """Packet-ins and flows that come and go."""
    shown = []
    for each in pair:
        socket = each.running.socket if isinstance(each, Ours) else BRIDGE

        def act(each: Ours | OpenVswitch = each) -> None:
            each.ovs_ofctl("add-flow", BRIDGE, "table=11,priority=5,ip,actions=drop")
            each.ovs_ofctl("del-flows", BRIDGE, "table=11")
            each.ovs_ofctl("packet-out", BRIDGE, "1", "controller", PACKET)

        command = ["-O", version, "monitor", socket, "65534", *words]
        status, text = watched(command, each.folder, tmp_path / "printed", act, "dl_type=0x88b5")
        shown.append((status, "\n".join(sorted(text.splitlines()))))
    assert shown[0][1] == shown[1][1]
    assert shown[0][0] == shown[1][0]


@pytest.mark.parametrize("version", VERSIONS)
def test_who_snoops_sees_the_messages(pair: Pair, version: str, tmp_path: Path) -> None:
    ours, _ = pair

    def act() -> None:
        assert ours.ovs_ofctl("-O", version, "add-flow", BRIDGE, "table=12,actions=drop").status == 0

    command = ["-O", version, "snoop", ours.snoop]
    _, text = watched(command, ours.folder, tmp_path / "printed", act, "OFPT_BARRIER_REPLY")
    assert "OFPT_FLOW_MOD" in text


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("words", [
    ("add-flow", "table=0,ip,actions=group:77"), ("add-flow", "check_overlap,priority=100,in_port=1,actions=2"),
    ("mod-port", "p9", "up"), ("packet-out", "1", "group:77", PACKET), ("mod-port", "77", "down"),
    ("add-meter", "meter=1,kbps,band=type=drop,rate=7"), ("mod-meter", "meter=99,kbps,band=type=drop,rate=7"),
    ("add-group", "group_id=1,type=all,bucket=output:3"), ("mod-group", "group_id=99,type=all,bucket=output:3"),
    ("insert-buckets", "group_id=99,command_bucket_id=last,bucket=bucket_id:9,actions=output:3"),
    ("add-flow", "actions=meter:99"), ("dump-ports", "77"), ("dump-group-stats", "99"), ("meter-stats", "meter=99"),
    ("mod-table", "0", "controller"), ("dump-table-desc",), ("bundle", "-"),
], ids=" ".join)  # fmt: skip
def test_what_cannot_be_done_is_refused_alike(pair: Pair, version: str, words: tuple[str, ...]) -> None:
    content = "flow add ip,actions=drop\nflow add actions=group:77\n" if words[0] == "bundle" else ""
    ours, theirs = (each.ovs_ofctl(*line(version, words), content=content) for each in pair)
    assert_same(ours, theirs)
    for look in STATE:
        check_alike(pair, *look)
