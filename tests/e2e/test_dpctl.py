"""`vswitch dpctl`, the real command line, around hosts: datapaths, ports, flows, meters."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.lab import Host, Lab, patience
from vswitch import Datapath, Match, NotFoundError, Output, format_megaflow, parse_rule

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src")}


@dataclass
class Shell:
    """Runs `vswitch` as a user does: another process, in the namespace of the switch. `before`: what the command line
    begins with."""

    before: tuple[str, ...] = (sys.executable, "-m", "vswitch")
    environment: Mapping[str, str] = field(default_factory=lambda: ENVIRONMENT)

    def run(self, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.before, *words], input=text, capture_output=True, text=True, timeout=60 * patience(),
            env=self.environment, check=False,
        )  # fmt: skip

    def __call__(self, *words: str, text: str = "") -> str:
        """What it prints, if it goes well."""
        result = self.run(*words, text=text)
        assert (result.returncode, result.stderr) == (0, ""), f"{words}: {result.stderr}"
        return result.stdout

    def refused(self, *words: str, text: str = "", status: int = 1) -> str:
        """The sentence, if it does not."""
        result = self.run(*words, text=text)
        assert (result.returncode, result.stdout) == (status, ""), f"{words}: {result.stderr}"
        assert result.stderr.startswith("vswitch: ")
        assert result.stderr.count("\n") == 1, result.stderr
        return result.stderr.removeprefix("vswitch: ").rstrip("\n")

    def dpctl(self, command: str, *words: str, text: str = "") -> str:
        return self("dpctl", command, *words, text=text)


@pytest.fixture
def shell() -> Shell:
    return Shell()


@pytest.fixture
def name(lab: Lab) -> Iterator[str]:
    """Of a datapath that is gone in the end."""
    name = f"c{lab.name.removeprefix('vs-')}"
    yield name
    with suppress(NotFoundError):
        Datapath.delete(name)


@pytest.fixture
def hosts(lab: Lab) -> tuple[Host, Host]:
    return lab.host("h1", ip="10.0.0.1/24"), lab.host("h2", ip="10.0.0.2/24")


@pytest.fixture
def dp(name: str, hosts: tuple[Host, Host], shell: Shell) -> str:
    """A datapath with the hosts as its ports 1 and 2."""
    shell.dpctl("add-dp", name, *(host.port for host in hosts))
    return name


@pytest.fixture
def alone(tmp_path: Path, lab: Lab) -> Iterator[Shell]:
    """A shell with a bpf file system of its own, in which there are no datapaths of others, and `vswitch` in PATH."""
    program = tmp_path / "vswitch"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m vswitch "$@"\n')
    program.chmod(0o755)
    hold = "mount -t bpf bpf /sys/fs/bpf && echo mounted && exec sleep infinity"
    with subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", hold], stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "mounted\n"
            environment = {**ENVIRONMENT, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
            yield Shell(("nsenter", "--mount", f"--target={holder.pid}", "sh", "-c"), environment)
        finally:
            holder.kill()


# ---- a datapath that needs nobody


def test_datapath_forwards_with_no_process_left(alone: Shell, hosts: tuple[Host, Host], lab: Lab) -> None:
    h1, h2 = hosts
    alone(
        f"vswitch dpctl add-dp dp0 && vswitch dpctl add-if dp0 {h1.port},port_no=1 {h2.port},port_no=2 && "
        "vswitch dpctl add-flow dp0 'in_port(1)' 2 && vswitch dpctl add-flow dp0 'in_port(2)' 1"
    )
    assert h1.ping(h2.ip).received == 3
    assert alone("vswitch dpctl list") == "dp0\n"
    assert re.search(r"in_port\(1\), packets:[4-9], bytes:[0-9]+, used:.*, actions:2", alone("vswitch dpctl dump-flows"))
    alone("vswitch dpctl del-dp dp0")
    assert h1.ping(h2.ip, timeout_s=0.5).received == 0
    assert alone("vswitch dpctl list; vswitch dpctl show") == ""


def test_datapath_may_be_left_out_where_there_is_one(alone: Shell, lab: Lab) -> None:
    sentence = alone.refused("vswitch dpctl del-flows")
    assert sentence == "there is no datapath"
    alone("vswitch dpctl add-dp dp0")
    for line in (
        "add-flow 'in_port(1)' 2",
        "mod-flow 'in_port(1)' 3",
        "get-flow 'in_port(1)'",
        "del-flow 'in_port(1)'",
        "dump-flows filter='in_port(1)'",
        "dump-flows",
        "add-flows -",
        "del-flows",
        "add-meter id=1 rate=1",
        "mod-meter id=1 rate=2",
        "dump-meters",
        "del-meter 1",
    ):
        alone(f"vswitch dpctl {line}")
    assert alone("vswitch dpctl monitor --timeout 0.1 2>/dev/null") == ""
    alone("vswitch dpctl add-dp dp1")
    assert alone.refused("vswitch dpctl del-flows") == "there are 2 datapaths: say which of dp0, dp1"
    assert alone("vswitch dpctl dump-dps --json") == '["dp0", "dp1"]\n'
    assert re.findall(r"^\S.*", alone("vswitch dpctl show"), re.MULTILINE) == ["dp0:", "dp1:"]


# ---- datapaths


def pins(name: str) -> Path:
    return Path("/sys/fs/bpf/vswitch", name)


def devices() -> set[str]:
    return set(os.listdir(f"/proc/{os.getpid()}/task/{os.getpid()}/net/dev_snmp6")) if False else device_names()


def device_names() -> set[str]:
    lines = Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]
    return {line.partition(":")[0].strip() for line in lines}


def test_add_dp_takes_ports_and_sizes(shell: Shell, name: str, hosts: tuple[Host, Host]) -> None:
    h1, h2 = hosts
    words = ["--max-flows", "2", "--max-ports=3", "--no-local"]
    shell.dpctl("add-dp", name, f"{h1.port},port_no=7", h2.port, *words)
    lines = shell.dpctl("show", name).splitlines()
    assert lines[0] == f"{name}:"
    assert lines[-2:] == [f"  port 1: {h2.port}", f"  port 7: {h1.port}"]
    text = "".join(f"in_port({number}),actions:drop\n" for number in range(3))
    assert "max_flows" in shell.refused("dpctl", "add-flows", name, "-", text=text)
    assert shell.refused("dpctl", "add-dp", name) == f"datapath {name} exists already"
    assert "max_flows 0 is outside 1.." in shell.refused("dpctl", "add-dp", "other", "--max-flows", "0")
    assert "a/b" in shell.refused("dpctl", "add-dp", "a/b")


def test_add_dp_makes_nothing_if_a_port_cannot_be(shell: Shell, name: str, hosts: tuple[Host, Host]) -> None:
    before = device_names()
    assert "nowhere" in shell.refused("dpctl", "add-dp", name, hosts[0].port, "nowhere")
    assert device_names() == before
    assert not pins(name).exists()


def test_del_dp_leaves_nothing_behind(shell: Shell, name: str, hosts: tuple[Host, Host]) -> None:
    before = device_names()
    shell.dpctl("add-dp", name, hosts[0].port, "tap7,type=tap", "int7,type=internal")
    assert {"tap7", "int7", name} <= device_names()
    assert pins(name).exists()
    assert f"{name}\n" in shell.dpctl("list")
    shell.dpctl("del-dp", name)
    assert device_names() == before
    assert not pins(name).exists()
    assert f"{name}\n" not in shell.dpctl("list")
    assert shell.refused("dpctl", "del-dp", name) == f"datapath {name} does not exist"


def test_show_tells_what_was_counted(shell: Shell, dp: str, hosts: tuple[Host, Host]) -> None:
    h1, h2 = hosts
    shell.dpctl("add-flow", dp, "in_port(1)", "2")
    assert h1.ping(h2.ip, timeout_s=0.5).received == 0  # nobody takes what h2 answers
    text = shell.dpctl("show", "-s", dp)
    assert re.search(r"^  lookups: hit:[1-9]\d* missed:[1-9]\d* lost:\d+$", text, re.MULTILINE)
    assert re.search(r"^  flows: 1$", text, re.MULTILINE)
    assert re.search(r"^  masks: hit:\d+ total:1 hit/pkt:\d\.\d\d$", text, re.MULTILINE)
    assert re.search(r"^  cache: hit:\d+ hit-rate:\d+\.\d\d%$", text, re.MULTILINE)
    assert f"\n  port 0: {dp} (internal)\n    RX packets:0 errors:0 dropped:0 bytes:0\n" in text
    of_h2 = text.partition(f"\n  port 2: {h2.port}\n")[2]
    assert re.match(r"    RX packets:(\d+) errors:0 dropped:\1 bytes:\d+\n    TX packets:[1-9]", of_h2)
    assert re.search(r"^    upcalls:0 lost:\d+\n    drops: no_flow:\d+$", of_h2, re.MULTILINE)
    assert "RX" not in shell.dpctl("show", dp)
    assert re.search(rf"port 1: {h1.port} \(system, mtu=1500, mac=.*\)", shell("dpctl", "-m", "show", dp))

    (described,) = json.loads(shell.dpctl("show", "--json", dp))
    assert described["name"] == dp
    assert (described["flows"], described["masks"]) == (1, 1)
    assert described["hit"] >= 3 <= described["missed"]
    assert [(port["number"], port["name"], port["kind"]) for port in described["ports"]] == [
        (0, dp, "internal"), (1, h1.port, "system"), (2, h2.port, "system"),
    ]  # fmt: skip
    stats = described["ports"][2]["stats"]
    assert stats["drops"] == {"no_flow": stats["rx_packets"]}
    assert "does not exist" in shell.refused("dpctl", "show", "nothing")


# ---- ports


def ports(shell: Shell, dp: str) -> list[str]:
    return re.findall(r"^  port (.*)$", shell.dpctl("show", dp), re.MULTILINE)


def test_ports_are_added_all_or_none(shell: Shell, name: str, hosts: tuple[Host, Host]) -> None:
    h1, h2 = hosts
    shell.dpctl("add-dp", name, "--no-local")
    shell.dpctl("add-if", name, f"{h1.port},port_no=5,type=system", "tap7,type=tap,port_no=0")
    assert ports(shell, name) == ["0: tap7 (tap)", f"5: {h1.port}"]
    assert "nowhere" in shell.refused("dpctl", "add-if", name, h2.port, "int7,type=internal", "nowhere")
    assert "port number 5" in shell.refused("dpctl", "add-if", name, f"{h2.port},port_no=5")
    assert h1.port in shell.refused("dpctl", "add-if", name, h1.port)
    assert ports(shell, name) == ["0: tap7 (tap)", f"5: {h1.port}"]
    assert "int7" not in device_names()


def test_ports_are_taken_out_by_name_or_number_all_or_none(shell: Shell, dp: str, hosts: tuple[Host, Host]) -> None:
    h1, h2 = hosts
    shell.dpctl("add-if", dp, "int7,type=internal")
    assert ports(shell, dp)[-1] == "3: int7 (internal)"
    assert "nothing" in shell.refused("dpctl", "del-if", dp, h1.port, "nothing")
    shell.dpctl("del-if", dp, h1.port, "3", "int7")
    assert ports(shell, dp) == [f"0: {dp} (internal)", f"2: {h2.port}"]
    assert h1.port in device_names()
    assert "int7" not in device_names()


def test_a_port_that_is_down_or_away_is_shown_so(shell: Shell, dp: str, hosts: tuple[Host, Host]) -> None:
    subprocess.run(["ip", "link", "set", hosts[0].port, "down"], check=True)
    subprocess.run(["ip", "link", "delete", hosts[1].port], check=True)
    assert ports(shell, dp) == [f"0: {dp} (internal)", f"1: {hosts[0].port} (down)", f"2: {hosts[1].port} (device away)"]
    assert "away" in shell.refused("dpctl", "set-if", dp, f"{hosts[1].port},peer_redirect=true")


def sent_by(device: str) -> int:
    fields = re.search(rf"{device}:(.*)", Path("/proc/thread-self/net/dev").read_text())
    assert fields
    return int(fields[1].split()[9])


def test_peer_redirect_can_be_changed_and_nothing_else(shell: Shell, dp: str, hosts: tuple[Host, Host]) -> None:
    h1, h2 = hosts
    shell.dpctl("add-flows", dp, "-", text="in_port(1),actions:2\nin_port(2),actions:1\n")
    shell.dpctl("set-if", dp, f"{h2.port},port_no=2,type=system,peer_redirect=true")
    before = sent_by(h2.port)
    assert h1.ping(h2.ip).received == 3
    assert sent_by(h2.port) == before, "packets are handed to the other end"
    shell.dpctl("set-if", dp, f"{h2.port},peer_redirect=false", f"{h1.port}")
    assert h1.ping(h2.ip).received == 3
    assert sent_by(h2.port) >= before + 3
    for words, part in (
        ((f"{h2.port},port_no=3",), "has number 2, which cannot be changed"),
        ((f"{h2.port},type=tap",), "is of type system, which cannot be changed"),
        ((f"{h2.port},peer_redirect=true", "nothing,port_no=1"), "no port 'nothing'"),
        ((f"{dp},peer_redirect=true",), "is of type internal"),
    ):
        assert part in shell.refused("dpctl", "set-if", dp, *words)
    assert "mtu=9" in shell.refused("dpctl", "set-if", dp, f"{h2.port},mtu=9", status=2)
    assert h1.ping(h2.ip, count=1).received == 1


# ---- flows


def test_flows_are_added_changed_and_removed(shell: Shell, dp: str, hosts: tuple[Host, Host]) -> None:
    h1, h2 = hosts
    shell.dpctl("add-flow", dp, f"in_port({h1.port})", h2.port)
    shell.dpctl("add-flow", dp, "priority(10),in_port(2)", "1")
    assert shell.dpctl("get-flow", dp, "in_port(1)") == "in_port(1), packets:0, bytes:0, used:never, actions:2\n"
    assert h1.ping(h2.ip).received == 3

    shell.dpctl("mod-flow", dp, "in_port(1)", "drop")
    assert h1.ping(h2.ip, timeout_s=0.5).received == 0
    assert re.match(r"packets:([7-9]|\d\d), bytes:\d+, used:\S+s\n", shell.dpctl("mod-flow", "-s", dp, "in_port(1)", "2"))
    assert shell.dpctl("mod-flow", "-s", "--clear", dp, "in_port(1)", "2").startswith("packets:")
    assert shell.dpctl("get-flow", dp, "in_port(1)") == "in_port(1), packets:0, bytes:0, used:never, actions:2\n"
    assert h1.ping(h2.ip).received == 3

    assert "no megaflow" in shell.refused("dpctl", "mod-flow", dp, "in_port(3)", "2")
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
        (("add-flow", dp, "in_port(1)", "2"), "exists already"),
        (("add-flow", dp, "in_port(1),eth_type(0x0806)", "2"), "overlaps"),
        (("add-flow", dp, "in_port(1", "2"), "expected ',' or ')' at character 9: 'in_port(1'"),
        (("add-flow", dp, "in_port(2)", "2,jump(3)"), "'jump'"),
        (("add-flow", dp, "in_port(nothing)", "2"), "no port is called 'nothing'"),
        (("get-flow", dp, "in_port(7)"), "no megaflow"),
        (("del-flow", dp, "priority(1),in_port(1)"), "no megaflow"),
        (("dump-flows", dp, "filter=in_port"), "expected"),
        (("dump-flows", dp, "type=offloaded"), "none is offloaded"),
        (("dump-flows", "nothing"), "datapath nothing does not exist"),
    ):
        assert part in shell.refused("dpctl", *words)
    assert "filter=MATCH" in shell.refused("dpctl", "dump-flows", dp, "pmd=-1", status=2)


def test_timeouts_come_with_a_warning(shell: Shell, dp: str) -> None:
    result = shell.run("dpctl", "add-flow", dp, "in_port(1),idle_timeout(5)", "2")
    assert result.returncode == 0
    assert result.stderr == "vswitch: timeouts pass only while some process controls the datapath\n"


FLOWS = """\
# all kinds
in_port(1),eth_type(0x0806),actions:2
in_port(h2-port),eth_type(0x0806),actions:h1-port

priority(100),in_port(1),eth_type(0x0800),ipv4(dst=10.0.0.0/255.0.0.0),tcp(dst=80),actions:set(ipv4(ttl=3)),2
priority(100),in_port(1),eth_type(0x0800),ipv4(dst=10.0.0.0/255.0.0.0),tcp(dst=81),actions:push_vlan(vid=5,pcp=1),2
priority(7),vlan(vid=3),eth_type(0x86dd),ipv6(src=2001:db8::/ffff:ffff::),udp(),actions:pop_vlan,clone(1),2
priority(65535),eth_type(0x8847),mpls(label=7),actions:userspace(pid=0,userdata(0102ff)) # to Python
any,priority(1),actions:drop
"""


def rules(shell: Shell, dp: str, *words: str) -> list[str]:
    """What a dump says but statistics."""
    return sorted(re.sub(r" packets:.* actions:", " actions:", line) for line in shell.dpctl("dump-flows", dp, *words).splitlines())


@pytest.mark.parametrize("words", [[], ["--names"], ["-m"], ["-m", "--no-names"]], ids=" ".join)
def test_a_dump_can_be_added_again(
    shell: Shell, dp: str, hosts: tuple[Host, Host], words: list[str], tmp_path: Path
) -> None:
    shell.dpctl("add-flows", dp, "-", text=FLOWS)
    hosts[0].ping(hosts[1].ip, count=1)
    before = rules(shell, dp)
    dump = tmp_path / "flows.txt"
    dump.write_text(shell.dpctl("dump-flows", *words, dp))
    assert (hosts[0].port in dump.read_text()) == (words in (["--names"], ["-m"]))
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
    assert re.search(sentence, shell.refused("dpctl", "add-flows", dp, str(file)))
    assert len(shell.dpctl("dump-flows", dp).splitlines()) == 1


def test_a_file_that_cannot_be_read_is_named(shell: Shell, dp: str, tmp_path: Path) -> None:
    assert shell.refused("dpctl", "add-flows", dp, "/nowhere/flows") == "/nowhere/flows: No such file or directory"
    assert shell.refused("dpctl", "add-flows", dp, str(tmp_path)) == f"{tmp_path}: Is a directory"
    (tmp_path / "noise").write_bytes(bytes(range(128, 256)) * 2)
    assert f"{tmp_path}/noise:1: expected" in shell.refused("dpctl", "add-flows", dp, str(tmp_path / "noise"))


def test_dumps_are_filtered_and_can_be_json(shell: Shell, dp: str, hosts: tuple[Host, Host]) -> None:
    shell.dpctl("add-flows", dp, "-", text=FLOWS)
    h1, _ = hosts
    everything = shell.dpctl("dump-flows", dp, "type=ovs").splitlines()
    filtered = shell.dpctl("dump-flows", dp, f"filter=in_port({h1.port})").splitlines()
    assert len(everything) == 7
    assert filtered == [line for line in everything if "in_port(1)" in line]
    flows = json.loads(shell.dpctl("dump-flows", dp, "--json"))
    with Datapath.open(dp, control=False) as datapath:
        assert sorted(flow["match_text"] for flow in flows) == sorted(
            format_megaflow(flow).rpartition(", packets")[0].partition("),")[2] if flow.priority else
            format_megaflow(flow).partition(", packets")[0] for flow in datapath.flows
        )  # fmt: skip
    (flow,) = json.loads(shell.dpctl("dump-flows", dp, "--json", "--names", "filter=eth_type(0x0800),tcp(dst=80)"))
    assert (flow["priority"], flow["packets"], flow["actions_text"]) == (100, 0, f"set(ipv4(ttl=3)),{hosts[1].port}")
    assert flow["match"]["tcp_dst"] == {"value": "80", "mask": "0xffff"}
    assert json.loads(shell.dpctl("get-flow", dp, "--json", "--names", "any,priority(1)"))["match_text"] == "any"


# ---- meters


def test_meters_are_made_changed_and_removed(shell: Shell, dp: str, hosts: tuple[Host, Host]) -> None:
    h1, h2 = hosts
    shell.dpctl("add-meter", dp, "id=3", "rate=1", "unit=pktps", "burst=1")
    shell.dpctl("add-flows", dp, "-", text="in_port(1),actions:meter(3),2\nin_port(2),actions:1\n")
    h1.ping(h2.ip, count=20, interval_s=0.01, timeout_s=0.5)
    (meter,) = json.loads(shell.dpctl("dump-meters", dp, "--json"))
    assert (meter["number"], meter["rate"], meter["unit"], meter["burst"]) == (3, 1, "pktps", 1)
    assert meter["dropped_packets"] >= 10
    text = shell.dpctl("dump-meters", dp)
    assert re.fullmatch(
        rf"id=3 rate=1 unit=pktps burst=1, packets:\d+, bytes:\d+, dropped_packets:{meter['dropped_packets']}, "
        r"dropped_bytes:\d+\n", text
    )  # fmt: skip
    assert "meter 3 exists already" in shell.refused("dpctl", "add-meter", dp, "id=3", "rate=1")
    shell.dpctl("mod-meter", dp, "id=3", "rate=1000000")
    assert shell.dpctl("dump-meters", dp).startswith("id=3 rate=1000000 unit=kbps burst=100000, packets:0")
    assert h1.ping(h2.ip).received == 3
    shell.dpctl("del-meter", dp, "3")
    assert shell.dpctl("dump-meters", dp) == ""
    assert shell.refused("dpctl", "del-meter", dp, "3") == "meter 3 does not exist"
    assert shell.refused("dpctl", "mod-meter", dp, "id=3", "rate=1") == "meter 3 does not exist"
    assert "meter 256 is outside 0..255" in shell.refused("dpctl", "add-meter", dp, "id=256", "rate=1")


# ---- beside another process


def test_others_look_on_while_one_controls(shell: Shell, name: str, hosts: tuple[Host, Host]) -> None:
    h1, h2 = hosts
    with Datapath.create(name, ports=[h1.port, h2.port]) as datapath:
        datapath.flows.add(Match(in_port=1), Output(2))
        datapath.meters.set(1, 1000)
        busy = f"datapath {name} is controlled by another process (pid {os.getpid()})"
        assert "  flows: 1\n" in shell.dpctl("show", name)
        assert f"{name}\n" in shell.dpctl("list")
        assert shell.dpctl("dump-flows", name).startswith("in_port(1), ")
        assert shell.dpctl("get-flow", name, "in_port(1)").startswith("in_port(1), ")
        assert shell.dpctl("dump-meters", name).startswith("id=1 ")
        for words in (
            ("del-dp", name), ("add-if", name, "x"), ("set-if", name, "x"), ("del-if", name, "x"),
            ("add-flow", name, "any", "1"), ("add-flows", name, "-"), ("mod-flow", name, "any", "1"),
            ("del-flow", name, "any"), ("del-flows", name), ("monitor", name), ("execute", name, "00" * 14, "1"),
            ("add-meter", name, "id=1", "rate=1"), ("mod-meter", name, "id=1", "rate=1"), ("del-meter", name, "1"),
        ):  # fmt: skip
            assert shell.refused("dpctl", *words) == busy
        assert len(datapath.flows) == 1


# ---- pipes and terminals


def test_a_closed_pipe_is_no_error(shell: Shell, dp: str) -> None:
    text = "".join(f"priority(1),in_port({number}),actions:drop\n" for number in range(10000))
    shell.dpctl("add-flows", dp, "-", text=text)
    line = f'{sys.executable} -m vswitch dpctl dump-flows {dp} | head -n 1; echo "${{PIPESTATUS[@]}}"'
    result = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=ENVIRONMENT, timeout=60, check=True)
    assert result.stdout.splitlines()[1:] == ["141 0"]
    assert result.stderr == ""
    line = f"{sys.executable} -m vswitch dpctl dump-flows {dp} >/dev/full"
    result = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=ENVIRONMENT, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (1, "vswitch: output: No space left on device\n")


def on_terminal(*words: str) -> str:
    """What `vswitch` writes to a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "vswitch", *words], stdin=theirs, stdout=theirs, stderr=theirs, env=ENVIRONMENT
    ) as process:
        os.close(theirs)
        output = b""
        with suppress(OSError):  # how a terminal says that nobody is left at its other end
            while data := os.read(ours, 65536):
                output += data
        os.close(ours)
        assert process.wait(60 * patience()) == 0, output
    return output.decode()


def test_a_terminal_gets_names_and_progress(shell: Shell, dp: str, hosts: tuple[Host, Host], tmp_path: Path) -> None:
    file = tmp_path / "flows.txt"
    file.write_text("".join(f"priority(1),in_port({number}),actions:2\n" for number in range(10000)))
    assert "lines read: " in on_terminal("dpctl", "add-flows", dp, str(file))
    shown = on_terminal("dpctl", "dump-flows", dp, "filter=in_port(1)")
    assert shown.startswith(f"in_port({hosts[0].port}), packets:0")
    assert shown.endswith(f"actions:{hosts[1].port}\r\n")
    assert "actions:2" in on_terminal("dpctl", "dump-flows", "--no-names", dp, "filter=in_port(1)")
    assert json.loads(on_terminal("dpctl", "show", "--json", dp))[0]["flows"] == 10000
