"""`vswitch dpctl`, the real command line, around hosts: megaflows, and packets out of the datapath and into it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from tests.datapaths import frame as numbered_frame
from tests.datapaths import is_test
from tests.lab import Host, patience
from tests.shell import ENVIRONMENT, Shell, monitoring, refused
from vswitch import Datapath, Output

Hosts = tuple[Host, Host, Host]


@pytest.fixture
def shell() -> Shell:
    return Shell()


@pytest.fixture
def dp(name: str, hosts: Hosts, shell: Shell) -> str:
    """The name of a datapath with the first two hosts as its ports 1 and 2."""
    shell.dpctl("add-dp", name, *(host.port for host in hosts[:2]))
    return name


# ---- flows


def test_flows_are_added_changed_and_removed(shell: Shell, dp: str, hosts: Hosts) -> None:
    h1, h2, _ = hosts
    shell.dpctl("add-flow", dp, f"in_port({h1.port})", h2.port)
    shell.dpctl("add-flow", dp, "priority(10),in_port(2)", "1")
    assert shell.dpctl("get-flow", dp, "in_port(1)") == "in_port(1), packets:0, bytes:0, used:never, actions:2\n"
    assert h1.ping(h2.ip).received == 3

    shell.dpctl("mod-flow", dp, "in_port(1)", "drop")
    assert h1.ping(h2.ip).received == 0
    counted = shell.dpctl("mod-flow", "-s", dp, "in_port(1)", "2")
    assert re.fullmatch(r"packets:6, bytes:\d+, used:\S+s\n", counted)
    assert shell.dpctl("mod-flow", "-s", "--clear", dp, "in_port(1)", "2").startswith("packets:")
    assert shell.dpctl("get-flow", dp, "in_port(1)") == "in_port(1), packets:0, bytes:0, used:never, actions:2\n"
    assert h1.ping(h2.ip).received == 3

    assert "no megaflow" in refused("mod-flow", dp, "in_port(3)", "2")
    shell.dpctl("mod-flow", "--may-create", dp, "in_port(3)", "2")
    shell.dpctl("del-flow", dp, "in_port(3)")
    assert shell.dpctl("del-flow", "-s", dp, shell.dpctl("get-flow", dp, "in_port(1)").strip()).startswith("packets:")
    assert len(shell.dpctl("dump-flows", dp).splitlines()) == 1
    shell.dpctl("del-flows", dp)
    assert shell.dpctl("dump-flows", dp) == ""
    assert shell.dpctl("dump-flows", "--json", dp) == "[]\n"


def test_refused_flows_get_a_sentence(shell: Shell, dp: str) -> None:
    shell.dpctl("add-flow", dp, "in_port(1)", "2")
    for words, part in (
        (("add-flow", dp, "in_port(1)", "2"), "megaflow priority(0),in_port(1) exists already"),
        (
            ("add-flow", dp, "in_port(1),eth_type(0x0806)", "2"),
            "megaflow priority(0),in_port(1),eth_type(0x0806) overlaps priority(0),in_port(1)",
        ),
        (("add-flow", dp, "in_port(1", "2"), "expected ',' or ')' at character 9: 'in_port(1'"),
        (("add-flow", dp, "in_port(2)", "2,jump(3)"), "'jump'"),
        (("add-flow", dp, "in_port(nothing)", "2"), "no port is called 'nothing'"),
        (("get-flow", dp, "in_port(7)"), "no megaflow priority(0),in_port(7)"),
        (("del-flow", dp, "priority(1),in_port(1)"), "no megaflow priority(1),in_port(1)"),
        (("dump-flows", dp, "filter=in_port"), "expected"),
        (("dump-flows", dp, "type=offloaded"), "none is offloaded"),
        (("dump-flows", "nothing"), "datapath nothing does not exist"),
    ):
        assert part in refused(*words)
    assert "filter=MATCH" in refused("dump-flows", dp, "pmd=-1", status=2)


def test_statistics_of_what_is_changed_or_removed_as_json(shell: Shell, dp: str) -> None:
    shell.dpctl("add-flow", dp, "in_port(1)", "2")
    for words in (
        ("mod-flow", "-s", "--json", dp, "in_port(1)", "drop"),
        ("del-flow", "-s", "--json", dp, "in_port(1)"),
    ):
        assert json.loads(shell.dpctl(*words)) == {"packets": 0, "bytes": 0, "used_s": None}


def test_rules_that_no_packet_reaches_come_with_a_warning(shell: Shell, dp: str) -> None:
    wide, narrow = "priority(9),in_port(1)", "priority(5),in_port(1),eth_type(0x0806)"
    shell.dpctl("add-flow", dp, wide, "2")
    said = f"vswitch: no packet reaches {narrow}, as {wide} takes all of its packets\n"
    for words, text in ((("add-flow", dp, narrow, "2"), ""), (("add-flows", dp, "-"), f"{narrow},actions:2\n")):
        result = shell.run("dpctl", *words, text=text)
        assert (result.returncode, result.stdout, result.stderr) == (0, "", said)
        shell.dpctl("del-flow", dp, narrow)
    shell.dpctl("del-flow", dp, wide)
    shell.dpctl("add-flow", dp, narrow, "2")
    result = shell.run("dpctl", "add-flows", dp, "-", text=f"{wide},actions:2\npriority(8),in_port(1),actions:3\n")
    assert result.stderr == f"vswitch: no packet reaches priority(8),in_port(1), as {wide} takes all of its packets\n"


def test_closed_standard_input_gets_a_sentence(dp: str) -> None:
    line = f"{sys.executable} -m vswitch dpctl add-flows {dp} - <&-"
    result = subprocess.run(["sh", "-c", line], capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert (result.returncode, result.stderr) == (1, "vswitch: the standard input is closed\n")


def test_timeouts_come_with_a_warning(shell: Shell, dp: str) -> None:
    result = shell.run("dpctl", "add-flow", dp, "in_port(1),idle_timeout(5)", "2")
    assert result.returncode == 0
    assert result.stderr == "vswitch: timeouts pass only while some process controls the datapath\n"


FLOWS = """\
# all kinds
priority(1),in_port(1),eth_type(0x0806),actions:2
in_port(h2-port),priority(1),eth_type(0x0806),actions:h1-port

priority(100),in_port(1),eth_type(0x0800),ipv4(dst=10.0.0.0/255.0.0.0),tcp(dst=80),actions:set(ipv4(ttl=3)),2
priority(100),in_port(1),eth_type(0x0800),ipv4(dst=10.0.0.0/255.0.0.0),tcp(dst=81),actions:push_vlan(vid=5,pcp=1),2
priority(7),vlan(vid=3),eth_type(0x86dd),ipv6(src=2001:db8::/ffff:ffff::),udp(),actions:pop_vlan,clone(1),2
priority(65535),eth_type(0x8847),mpls(label=7),actions:userspace(pid=0,userdata(0102ff)) # to Python
any,priority(0),actions:drop
"""


def rules(shell: Shell, dp: str, *words: str) -> list[str]:
    """What a dump says but statistics."""
    return sorted(
        re.sub(r" packets:.* actions:", " actions:", line)
        for line in shell.dpctl("dump-flows", dp, *words).splitlines()
    )


@pytest.mark.parametrize("words", [["--names"], ["-m", "--no-names"]], ids=" ".join)
def test_a_dump_can_be_added_again(shell: Shell, dp: str, hosts: Hosts, words: list[str], tmp_path: Path) -> None:
    shell.dpctl("add-flows", dp, "-", text=FLOWS)
    hosts[0].ping(hosts[1].ip, count=1)
    before = rules(shell, dp)
    dump = tmp_path / "flows.txt"
    dump.write_text(shell.dpctl("dump-flows", *words, dp))
    assert (hosts[0].port in dump.read_text()) == (words == ["--names"])
    assert "standard input:1: " in shell.refused("dpctl", "add-flows", dp, "-", text=dump.read_text())
    shell.dpctl("del-flows", dp)
    shell.dpctl("add-flows", dp, str(dump))
    assert rules(shell, dp) == before
    assert len(before) == 7


BAD_FILES = [
    ("in_port(1),actions:2\n\nin_port(2)\n", "flows.txt:3: expected 'actions:'"),
    ("in_port(1),actions:2\nin_port(1),actions:3\n", "flows.txt:2: line 1 has the same match and priority"),
    ("in_port(1),actions:2\n# here\nin_port(9),actions:3\n", "flows.txt:3: megaflow .* exists already"),
    ("in_port(1),actions:2\neth_type(0x0806),actions:3\n", "flows.txt:[12]: megaflow .* overlaps"),
]


@pytest.mark.parametrize(("text", "sentence"), BAD_FILES, ids=[row[1].partition(": ")[2] for row in BAD_FILES])
def test_a_file_is_added_whole_or_not_at_all(shell: Shell, dp: str, text: str, sentence: str, tmp_path: Path) -> None:
    shell.dpctl("add-flow", dp, "in_port(9)", "1")
    file = tmp_path / "flows.txt"
    file.write_text(text)
    assert re.search(sentence, refused("add-flows", dp, str(file)))
    assert len(shell.dpctl("dump-flows", dp).splitlines()) == 1


def test_a_file_that_cannot_be_read_is_named(shell: Shell, dp: str, tmp_path: Path) -> None:
    assert refused("add-flows", dp, "/nowhere/flows") == "/nowhere/flows: No such file or directory"
    assert refused("add-flows", dp, str(tmp_path)) == f"{tmp_path}: Is a directory"
    (tmp_path / "noise").write_bytes(bytes(range(128, 256)) * 2)
    assert f"{tmp_path}/noise:1: expected" in refused("add-flows", dp, str(tmp_path / "noise"))


def test_dumps_are_filtered_and_can_be_json(shell: Shell, dp: str, hosts: Hosts) -> None:
    shell.dpctl("add-flows", dp, "-", text=FLOWS)
    h1, _, _ = hosts
    everything = shell.dpctl("dump-flows", dp, "type=ovs").splitlines()
    filtered = shell.dpctl("dump-flows", dp, f"filter=in_port({h1.port})").splitlines()
    assert len(everything) == 7
    assert filtered == [line for line in everything if "in_port(1)" in line]
    flows = json.loads(shell.dpctl("dump-flows", dp, "--json"))
    assert [flow["match_text"] in line for flow, line in zip(flows, everything, strict=True)] == [True] * 7
    (flow,) = json.loads(shell.dpctl("dump-flows", dp, "--json", "--names", "filter=eth_type(0x0800),tcp(dst=80)"))
    assert (flow["priority"], flow["packets"], flow["actions_text"]) == (100, 0, f"set(ip(ttl=3)),{hosts[1].port}")
    assert flow["match"]["tcp_dst"] == {"value": "80", "mask": "0xffff"}
    assert json.loads(shell.dpctl("get-flow", dp, "--json", "--names", "any"))["match_text"] == "any"


# ---- packets


def send_udp(host: Host, to: Host, count: int = 1) -> bytes:
    """Send frames from one host to the other; what they look like."""
    udp = IP(src=host.ip, dst=to.ip) / UDP(sport=1000, dport=2000) / b"hello"
    frame = bytes(Ether(dst=to.mac, src=host.mac) / udp)
    host.send(frame, times=count)
    return frame


def test_monitor_prints_packets_that_execute_takes(shell: Shell, dp: str, hosts: Hosts) -> None:
    h1, h2, _ = hosts
    with monitoring(dp, "-x", "-c", "2") as process:
        frame = send_udp(h1, h2, 2)
        output, errors = process.communicate(timeout=20 * patience())
    assert (process.returncode, errors) == (0, "")
    line, packet = output.splitlines()[:2]
    assert output.splitlines()[2:] == [line, packet]
    assert line == (
        f"miss: in_port(1),eth(dst={h2.mac},src={h1.mac}),eth_type(0x0800),"
        f"ipv4(src={h1.ip},dst={h2.ip},tos=0x0,ttl=64,frag=no),udp(src=1000,dst=2000), length:{len(frame)}"
    )
    assert packet == f"  {frame.hex()}"
    with h2.capturing(lambda arrived: arrived == frame) as frames:
        shell.dpctl("execute", dp, packet.strip(), h2.port)
        frames.wait_for(1)
    assert len(frames) == 1


def test_monitor_tells_what_a_userspace_action_carries(shell: Shell, dp: str, hosts: Hosts) -> None:
    h1, h2, _ = hosts
    shell.dpctl("add-flow", dp, "in_port(1)", "userspace(pid=0,userdata(0102ff))")
    with monitoring(dp, "--json", "-c", "1") as process:
        frame = send_udp(h1, h2)
        output, _ = process.communicate(timeout=20 * patience())
    described = json.loads(output)
    assert "udp(src=1000,dst=2000)" in described.pop("key_text")
    assert described == {
        "reason": "action", "port": 1, "length": len(frame), "userdata": "0102ff", "packet": frame.hex(),
    }  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_monitor_ends_cleanly_when_told_to(shell: Shell, dp: str, hosts: Hosts, number: signal.Signals) -> None:
    h1, h2, _ = hosts
    with monitoring(dp, "--names") as process:
        assert "is controlled by another process" in refused("del-flows", dp)
        send_udp(h1, h2)
        assert process.stdout is not None
        assert process.stdout.readline().startswith(f"miss: in_port({h1.port}),")  # at once, though it is a pipe
        process.send_signal(number)
        assert process.communicate(timeout=20 * patience()) == ("", "")
        assert process.returncode == 0
    send_udp(h1, h2)
    assert json.loads(shell.dpctl("show", "--json", dp))[0]["ports"][1]["stats"]["drops"] == {"no_flow": 1}


def test_monitor_looks_on_while_a_program_answers(dp: str, hosts: Hosts) -> None:
    h1, h2, _ = hosts
    with Datapath.open(dp) as program, monitoring(dp, "-x", "-c", "3") as monitor:
        program.start_upcalls()
        sent = [numbered_frame(number=number) for number in range(3)]
        with h2.capturing(is_test) as frames:
            for each in sent:
                h1.send(each)
                for miss in program.misses(timeout_s=10):
                    miss.send(Output(2))
                    break
            frames.wait_for(3)
        output, errors = monitor.communicate(timeout=20 * patience())
        assert (monitor.returncode, errors) == (0, "")
        assert [line for line in output.splitlines() if line.startswith("  ")] == [f"  {each.hex()}" for each in sent]
        assert output.startswith("miss: in_port(1),")
        assert program.upcall_stats.handled == 3


def test_monitor_ends_when_the_datapath_is_removed(dp: str, hosts: Hosts) -> None:
    with Datapath.open(dp) as program, monitoring(dp) as monitor:
        program._delete()
        output, errors = monitor.communicate(timeout=20 * patience())
    assert (monitor.returncode, output) == (1, "")
    assert errors == f"vswitch: datapath {dp} does not exist any more\n"


def test_monitor_ends_after_a_time(shell: Shell, dp: str) -> None:
    with monitoring(dp, "--timeout", "0.2") as process:
        assert process.communicate(timeout=20 * patience()) == ("", "")
    assert process.returncode == 0


def test_execute_looks_a_packet_up_or_does_what_it_is_told(shell: Shell, dp: str, hosts: Hosts) -> None:
    h1, h2, _ = hosts
    shell.dpctl("add-flow", dp, "in_port(1)", "push_vlan(vid=7),2")
    frame = bytes(Ether(dst=h2.mac, src=h1.mac, type=0x88B5) / b"12345678")
    text = frame.hex(":")
    tagged = frame[:12] + bytes.fromhex("81000007") + frame[12:]
    with h2.capturing(lambda arrived: b"12345678" in arrived) as frames:
        shell.dpctl("execute", dp, text, "--in-port", h1.port)
        shell.dpctl("execute", dp, text, "push_vlan(vid=7),2")
        shell.dpctl("execute", dp, text, "2", "1")
        shell.dpctl("execute", dp, text, "set(eth(src=02:00:00:00:00:99)),2")
        frames.wait_for(4)
    assert list(frames) == [
        tagged,
        tagged,
        frame,
        frame.replace(bytes.fromhex(h1.mac.replace(":", "")), bytes.fromhex("020000000099")),
    ]
    for wrong, part in (
        (("00", "2"), "a packet of 1 bytes is outside 14.."),
        ((text, "2", "nothing"), "no port is called 'nothing'"),
        ((text, "2", "70000"), "70000 is outside"),
        ((text, "jump(3)", "1"), "'jump'"),
    ):
        assert part in refused("execute", dp, *wrong)
