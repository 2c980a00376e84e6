"""`vswitch dpctl`, the real command line, around hosts: datapaths, ports, meters, and who else is there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.datapaths import ROOT
from tests.lab import Host, Lab
from tests.shell import ENVIRONMENT, Shell, on_terminal, refused
from vswitch import Datapath, Match, Output

Hosts = tuple[Host, Host, Host]


@pytest.fixture
def shell() -> Shell:
    return Shell()


@pytest.fixture
def dp(name: str, hosts: Hosts, shell: Shell) -> str:
    """The name of a datapath with the first two hosts as its ports 1 and 2."""
    shell.dpctl("add-dp", name, *(host.port for host in hosts[:2]))
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
            yield Shell(("nsenter", "--mount", "--root", "--wd", f"--target={holder.pid}", "sh", "-c"), environment)
        finally:
            holder.kill()


# ---- a datapath that needs nobody


def test_datapath_forwards_with_no_process_left(alone: Shell, hosts: Hosts, lab: Lab) -> None:
    h1, h2, _ = hosts
    alone(
        f"vswitch dpctl add-dp dp0 && vswitch dpctl add-if dp0 {h1.port},port_no=1 {h2.port},port_no=2 && "
        "vswitch dpctl add-flow dp0 'in_port(1)' 2 && vswitch dpctl add-flow dp0 'in_port(2)' 1"
    )
    assert h1.ping(h2.ip).received == 3
    assert alone("vswitch dpctl list") == "dp0\n"
    dump = alone("vswitch dpctl dump-flows")
    assert re.search(r"^in_port\(1\), packets:3, bytes:\d+, used:.*, actions:2$", dump, re.MULTILINE)
    alone("vswitch dpctl del-dp dp0")
    assert h1.ping(h2.ip).received == 0
    assert alone("vswitch dpctl list; vswitch dpctl show") == ""


def test_datapath_may_be_left_out_where_there_is_one(alone: Shell, lab: Lab) -> None:
    sentence = alone.refused("vswitch dpctl del-flows")
    assert sentence == "there is no datapath"
    alone("vswitch dpctl add-dp dp0")
    for line in (
        "add-flow 'in_port(1)' 2",
        "get-flow 'in_port(1)'",
        "dump-flows filter='in_port(1)'",
        "add-flows -",
        "add-meter id=1 rate=1",
        "dump-meters",
    ):
        alone(f"vswitch dpctl {line}")
    assert alone("vswitch dpctl monitor --timeout 0.1 2>/dev/null") == ""
    alone("vswitch dpctl add-dp dp1")
    assert alone.refused("vswitch dpctl del-flows") == "there are 2 datapaths: say which of dp0, dp1"
    assert alone("vswitch dpctl dump-dps --json") == '["dp0", "dp1"]\n'
    assert re.findall(r"^\S.*", alone("vswitch dpctl show"), re.MULTILINE) == ["dp0:", "dp1:"]


# ---- datapaths


def pins(name: str) -> Path:
    return ROOT / name


def device_names() -> set[str]:
    lines = Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]
    return {line.partition(":")[0].strip() for line in lines}


def test_add_dp_takes_ports_and_sizes(shell: Shell, name: str, hosts: Hosts) -> None:
    h1, h2, _ = hosts
    words = ["--max-flows", "2", "--max-ports=3", "--no-local"]
    shell.dpctl("add-dp", name, f"{h1.port},port_no=7", h2.port, *words)
    lines = shell.dpctl("show", name).splitlines()
    assert lines[0] == f"{name}:"
    assert lines[-2:] == [f"  port 1: {h2.port}", f"  port 7: {h1.port}"]
    text = "".join(f"in_port({number}),actions:drop\n" for number in range(3))
    assert "max_flows" in shell.refused("dpctl", "add-flows", name, "-", text=text)
    assert refused("add-dp", name) == f"datapath {name} exists already"
    assert "max_flows 0 is outside 1.." in refused("add-dp", "other", "--max-flows", "0")
    assert "a/b" in refused("add-dp", "a/b")


def test_add_dp_makes_nothing_if_a_port_cannot_be(shell: Shell, name: str, hosts: Hosts) -> None:
    before = device_names()
    assert "nowhere" in refused("add-dp", name, hosts[0].port, "nowhere")
    assert device_names() == before
    assert not pins(name).exists()


def test_del_dp_leaves_nothing_behind(shell: Shell, name: str, hosts: Hosts) -> None:
    before = device_names()
    shell.dpctl("add-dp", name, hosts[0].port, "tap7,type=tap", "int7,type=internal")
    assert {"tap7", "int7", name} <= device_names()
    assert pins(name).exists()
    assert f"{name}\n" in shell.dpctl("list")
    shell.dpctl("del-dp", name)
    assert device_names() == before
    assert not pins(name).exists()
    assert f"{name}\n" not in shell.dpctl("list")
    assert refused("del-dp", name) == f"datapath {name} does not exist"


def test_renamed_device_is_shown_by_its_name(shell: Shell, dp: str, hosts: Hosts) -> None:
    """With nobody in control who could hear of it."""
    h1, h2, _ = hosts
    for words in (("set", h1.port, "down"), ("set", h1.port, "name", "uplink"), ("set", h2.port, "down"),
                  ("set", h2.port, "name", h1.port)):  # fmt: skip
        subprocess.run(["ip", "link", *words], check=True)
    assert f"\n  port 1: uplink (down)\n  port 2: {h1.port} (down)\n" in shell.dpctl("show", dp)
    with Datapath.open(dp, control=False) as datapath:
        assert datapath.ports.names() == {0: dp, 1: "uplink", 2: h1.port}
        assert datapath.ports.numbers() == {dp: 0, "uplink": 1, h1.port: 2}
        assert h2.port not in datapath.ports
        assert "uplink" in datapath.ports
        assert [datapath.ports[which].name for which in (1, "uplink", h1.port)] == ["uplink", "uplink", h1.port]
        assert datapath.ports[h1.port].number == 2
        assert datapath.ports.stats("uplink") == datapath.ports.stats(1)
    shell.dpctl("add-flow", dp, "in_port(uplink)", h1.port)
    assert shell.dpctl("dump-flows", "--names", dp).startswith("in_port(uplink), ")
    assert refused("del-if", dp, h2.port) == f"datapath {dp} has no port '{h2.port}'"
    shell.dpctl("del-if", dp, "uplink")
    assert "uplink" not in shell.dpctl("show", dp)


def test_show_on_a_closed_output_gets_a_sentence(dp: str) -> None:
    for words in (f"show {dp}", f"show {dp} --json", "list", f"dump-meters {dp} --json"):
        line = f"{sys.executable} -m vswitch dpctl {words} >&-"
        result = subprocess.run(["sh", "-c", line], capture_output=True, text=True, env=ENVIRONMENT, check=False)
        assert (result.returncode, result.stderr) == (1, "vswitch: output: Bad file descriptor\n")


def test_show_tells_what_was_counted(shell: Shell, dp: str, hosts: Hosts) -> None:
    h1, h2, _ = hosts
    shell.dpctl("add-flow", dp, "in_port(1)", "2")
    assert h1.ping(h2.ip).received == 0  # nobody takes what h2 answers
    text = shell.dpctl("show", "-s", dp)
    assert re.search(r"^  lookups: hit:[1-9]\d* missed:[1-9]\d* lost:\d+$", text, re.MULTILINE)
    assert re.search(r"^  flows: 1$", text, re.MULTILINE)
    assert re.search(r"^  masks: hit:\d+ total:1 hit/pkt:\d\.\d\d$", text, re.MULTILINE)
    assert re.search(r"^  cache: hit:\d+ hit-rate:\d+\.\d\d%$", text, re.MULTILINE)
    assert f"\n  port 0: {dp} (internal, down)\n    RX packets:0 errors:0 dropped:0 bytes:0\n" in text
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
    assert "does not exist" in refused("show", "nothing")


# ---- ports


def ports(shell: Shell, dp: str) -> list[str]:
    return re.findall(r"^  port (.*)$", shell.dpctl("show", dp), re.MULTILINE)


def test_ports_are_added_all_or_none(shell: Shell, name: str, hosts: Hosts) -> None:
    h1, h2, _ = hosts
    shell.dpctl("add-dp", name, "--no-local")
    shell.dpctl("add-if", name, f"{h1.port},port_no=5,type=system", "tap7,type=tap,port_no=0")
    assert ports(shell, name) == ["0: tap7 (tap)", f"5: {h1.port}"]
    assert "nowhere" in refused("add-if", name, h2.port, "int7,type=internal", "nowhere")
    assert "port number 5" in refused("add-if", name, f"{h2.port},port_no=5")
    assert h1.port in refused("add-if", name, h1.port)
    assert ports(shell, name) == ["0: tap7 (tap)", f"5: {h1.port}"]
    assert "int7" not in device_names()


def test_ports_are_taken_out_by_name_or_number_all_or_none(shell: Shell, dp: str, hosts: Hosts) -> None:
    h1, h2, _ = hosts
    shell.dpctl("add-if", dp, "int7,type=internal")
    assert ports(shell, dp)[-1] == "3: int7 (internal, down)"
    assert "nothing" in refused("del-if", dp, h1.port, "nothing")
    shell.dpctl("del-if", dp, h1.port, "3", "int7")
    assert ports(shell, dp) == [f"0: {dp} (internal, down)", f"2: {h2.port}"]
    assert h1.port in device_names()
    assert "int7" not in device_names()


def test_a_port_that_is_down_or_away_is_shown_so(shell: Shell, dp: str, hosts: Hosts) -> None:
    subprocess.run(["ip", "link", "set", hosts[0].port, "down"], check=True)
    subprocess.run(["ip", "link", "delete", hosts[1].port], check=True)
    assert ports(shell, dp) == [
        f"0: {dp} (internal, down)",
        f"1: {hosts[0].port} (down)",
        f"2: {hosts[1].port} (device away)",
    ]
    assert "away" in refused("set-if", dp, f"{hosts[1].port},peer_redirect=true")


def sent_by(device: str) -> int:
    fields = re.search(rf"{device}:(.*)", Path("/proc/thread-self/net/dev").read_text())
    assert fields
    return int(fields[1].split()[9])


def test_peer_redirect_can_be_changed_and_nothing_else(shell: Shell, dp: str, hosts: Hosts) -> None:
    h1, h2, _ = hosts
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
        assert part in refused("set-if", dp, *words)
    assert "mtu=9" in refused("set-if", dp, f"{h2.port},mtu=9", status=2)
    assert h1.ping(h2.ip, count=1).received == 1


# ---- meters


def test_meters_are_made_changed_and_removed(shell: Shell, dp: str, hosts: Hosts) -> None:
    h1, h2, _ = hosts
    shell.dpctl("add-meter", dp, "id=3", "rate=1", "unit=pktps", "burst=1")
    shell.dpctl("add-flows", dp, "-", text="in_port(1),actions:meter(3),2\nin_port(2),actions:1\n")
    h1.ping(h2.ip, count=20, interval_s=0.01)
    (meter,) = json.loads(shell.dpctl("dump-meters", dp, "--json"))
    assert (meter["number"], meter["rate"], meter["unit"], meter["burst"]) == (3, 1, "pktps", 1)
    assert meter["dropped_packets"] >= 10
    text = shell.dpctl("dump-meters", dp)
    assert re.fullmatch(
        rf"id=3 rate=1 unit=pktps burst=1, packets:\d+, bytes:\d+, dropped_packets:{meter['dropped_packets']}, "
        r"dropped_bytes:\d+\n", text
    )  # fmt: skip
    assert "meter 3 exists already" in refused("add-meter", dp, "id=3", "rate=1")
    shell.dpctl("mod-meter", dp, "id=3", "rate=1000000")
    assert shell.dpctl("dump-meters", dp).startswith("id=3 rate=1000000 unit=kbps burst=100000, packets:0")
    assert h1.ping(h2.ip).received == 3
    shell.dpctl("del-meter", dp, "3")
    assert shell.dpctl("dump-meters", dp) == ""
    assert refused("del-meter", dp, "3") == "meter 3 does not exist"
    assert refused("mod-meter", dp, "id=3", "rate=1") == "meter 3 does not exist"
    assert "meter 256 is outside 0..255" in refused("add-meter", dp, "id=256", "rate=1")


# ---- beside another process


def test_others_look_on_while_one_controls(shell: Shell, name: str, hosts: Hosts) -> None:
    h1, h2, _ = hosts
    with Datapath.create(name, ports=[h1.port, h2.port]) as datapath:
        datapath.flows.add(Match(in_port=1), Output(2))
        datapath.meters.set(1, 1000)
        assert "  flows: 1\n" in shell.dpctl("show", name)
        assert f"{name}\n" in shell.dpctl("list")
        assert shell.dpctl("dump-flows", name).startswith("in_port(1), ")
        assert shell.dpctl("get-flow", name, "in_port(1)").startswith("in_port(1), ")
        assert shell.dpctl("dump-meters", name).startswith("id=1 ")
        commands = [
            ["del-dp", name], ["add-if", name, "x"], ["set-if", name, "x"], ["del-if", name, "x"],
            ["add-flow", name, "any", "1"], ["add-flows", name, os.devnull], ["mod-flow", name, "any", "1"],
            ["del-flow", name, "any"], ["del-flows", name], ["execute", name, "00" * 14, "1"],
            ["add-meter", name, "id=1", "rate=1"], ["mod-meter", name, "id=1", "rate=1"], ["del-meter", name, "1"],
        ]  # fmt: skip
        program = f"from vswitch.cli.main import main; print({{main(['dpctl', *words]) for words in {commands}}})"
        result = Shell((sys.executable, "-c")).run(program)
        assert result.stdout == "{1}\n"
        busy = f"vswitch: datapath {name} is controlled by another process (pid {os.getpid()})\n"
        assert result.stderr == busy * len(commands)
        assert len(datapath.flows) == 1


# ---- pipes and terminals


def test_a_closed_pipe_is_no_error(shell: Shell, dp: str) -> None:
    text = "".join(f"priority(1),in_port({number}),actions:drop\n" for number in range(10000))
    shell.dpctl("add-flows", dp, "-", text=text)
    line = f'{sys.executable} -m vswitch dpctl dump-flows {dp} | head -n 1; echo "${{PIPESTATUS[@]}}"'
    result = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, env=ENVIRONMENT, timeout=60, check=True
    )
    assert result.stdout.splitlines()[1:] == ["141 0"]
    assert result.stderr == ""
    line = f"{sys.executable} -m vswitch dpctl dump-flows {dp} >/dev/full"
    result = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, env=ENVIRONMENT, timeout=60, check=False
    )
    assert (result.returncode, result.stderr) == (1, "vswitch: output: No space left on device\n")


def test_a_terminal_gets_names_and_progress(shell: Shell, dp: str, hosts: Hosts, tmp_path: Path) -> None:
    file = tmp_path / "flows.txt"
    file.write_text("".join(f"priority(1),in_port({number}),actions:2\n" for number in range(10000)))
    assert "lines read: " in on_terminal("dpctl", "add-flows", dp, str(file))
    shown = on_terminal("dpctl", "dump-flows", dp, "filter=in_port(1)")
    assert shown.startswith(f"priority(1),in_port({hosts[0].port}), packets:0")
    assert shown.endswith(f"actions:{hosts[1].port}\r\n")
    assert "actions:2" in on_terminal("dpctl", "dump-flows", "--no-names", dp, "filter=in_port(1)")
    assert json.loads(on_terminal("dpctl", "show", "--json", dp))[0]["flows"] == 10000
