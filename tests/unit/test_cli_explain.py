"""`vswitch explain`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import ARP, Ether

from vswitch.cli.main import main

POLICIES = """
from vswitch import Table, arp_reply, drop, output

table = Table({80: 3})
number = 5

def web(packet):
    return output(table.get(packet.tcp_dst, 2)) if packet.in_port == 1 else drop

def answer(packet):
    return arp_reply(packet, "02:00:00:00:00:09")

def wrong(packet):
    return 5

def raising(packet):
    raise RuntimeError("no")
"""

WEB = bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(src="10.0.0.1") / TCP(sport=5, dport=80))
ASKS = bytes(Ether(src="02:00:00:00:00:01") / ARP(op=1, psrc="10.0.0.1", pdst="10.0.0.9", hwsrc="02:00:00:00:00:01"))


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "policies.py"
    path.write_text(POLICIES)
    return str(path)


def test_it_tells_what_is_read_and_what_follows(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", f"{file}:web", WEB.hex(":")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":", 1)[0] for line in lines] == ["reads", "reads", "megaflow", "actions"]
    assert lines[1] == "reads:    entry 80 of a table"
    assert lines[2].startswith("megaflow: priority(0),")
    assert "tcp(dst=80)" in lines[2]
    assert lines[3] == "actions:  3"
    assert "in_port(1)" in lines[2]
    assert main(["explain", f"{file}:web", WEB.hex(), "--in-port", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["actions"], told["reply"], told["state"]) == ("drop(reason=0)", None, [])


def test_it_tells_of_a_reply(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", f"{file}:answer", ASKS.hex(), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["megaflow"] is None
    assert Ether(bytes.fromhex(told["reply"]))[ARP].psrc == "10.0.0.9"
    assert main(["explain", f"{file}:answer", ASKS.hex()]) == 0
    assert "none, for this packet alone, as it is a reply" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("policy", "packet", "status", "sentence"),
    [
        ("{file}:nothing", "00" * 14, 1, "has no policy 'nothing'"),
        ("{file}:number", "00" * 14, 1, "has no policy 'number'"),
        ("{file}:wrong", "00" * 14, 1, "5"),
        ("{file}:raising", "00" * 14, 1, "the policy raised RuntimeError: no"),
        ("{file}:answer", "00" * 14, 1, "no ARP request"),
        ("/nowhere.py:web", "00" * 14, 1, "/nowhere.py does not exist"),
        ("nowhere:web", "00" * 14, 1, "nowhere cannot be loaded: ModuleNotFoundError"),
        ("web", "00" * 14, 2, "'web' is not FILE.py:NAME or MODULE:NAME"),
        ("{file}:web", "xyz", 2, "packet 'xyz' is not hexadecimal"),
    ],
)
def test_what_cannot_be_gets_a_sentence(
    file: str, capsys: pytest.CaptureFixture[str], policy: str, packet: str, status: int, sentence: str
) -> None:
    assert main(["explain", policy.format(file=file), packet]) == status
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("vswitch")
    assert sentence in said.err
