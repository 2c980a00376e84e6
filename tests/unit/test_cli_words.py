"""The words of dpctl: ports, meters, filters, flows in files, keys as text."""

from __future__ import annotations

import io
import json
from argparse import Namespace

import pytest

from vswitch import ConfigError, Datapath, Key, Match, Output, PortKind, Rule, TextError, parse_match
from vswitch.base.limits import MAX_TEXT_CHARACTERS
from vswitch.cli.arguments import UsageError
from vswitch.cli.dpctl import common, flows, meters, packets
from vswitch.cli.dpctl.ports import Interface, read_interface
from vswitch.packet.parse import parse

INTERFACES = [
    ("veth1", Interface("veth1")),
    ("veth1,port_no=0", Interface("veth1", 0)),
    ("veth1,port_no=7,type=system", Interface("veth1", 7, PortKind.SYSTEM)),
    ("tap0,type=tap", Interface("tap0", None, PortKind.TAP)),
    ("int0,type=internal,port_no=3", Interface("int0", 3, PortKind.INTERNAL)),
    ("veth1,peer_redirect=true", Interface("veth1", peer_redirect=True)),
    ("veth1,peer_redirect=false", Interface("veth1", peer_redirect=False)),
]


@pytest.mark.parametrize(("text", "interface"), INTERFACES, ids=[text for text, _ in INTERFACES])
def test_interface_is_read(text: str, interface: Interface) -> None:
    assert read_interface(text) == interface


@pytest.mark.parametrize(
    "text",
    ["v,", "v,port_no", "v,port_no=", "v,port_no=-1", "v,port_no=+1", "v,type=", "v,kind=tap", "v,peer_redirect="],
)
def test_wrong_interface_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        read_interface(text)


METERS = [
    (None, "id=1 rate=1000", None, {"number": 1, "rate": 1000}),
    ("dp0", "id=1 rate=1000", "dp0", {"number": 1, "rate": 1000}),
    ("id=1", "rate=5 unit=pktps", None, {"number": 1, "rate": 5, "unit": "pktps"}),
    ("dp0", "burst=2.5 rate=5 id=2", "dp0", {"number": 2, "rate": 5, "burst": 2.5}),
]


@pytest.mark.parametrize(("dp", "words", "name", "settings"), METERS)
def test_meter_is_read_with_or_without_a_datapath(
    dp: str | None, words: str, name: str | None, settings: dict[str, object]
) -> None:
    assert meters._read(Namespace(dp=dp, settings=words.split())) == (name, settings)


PORTS = {"veth1": 1}


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("in_port(1)", Rule(Match(in_port=1))),
        ("in_port(veth1),priority(3)", Rule(Match(in_port=1), priority=3)),
        ("in_port(1), packets:0, bytes:0, used:never, actions:2", Rule(Match(in_port=1), (Output(2),))),
    ],
)
def test_flow_to_look_up_may_be_a_line_of_a_dump(text: str, rule: Rule) -> None:
    assert common.read_flow(text, PORTS) == rule


def test_filters_are_a_match_and_types_that_mean_everything() -> None:
    assert flows._read_filters([], PORTS) is None
    assert flows._read_filters(["type=ovs", "type=all,non-offloaded"], PORTS) is None
    assert flows._read_filters(["filter=in_port(veth1)", "type=ovs"], PORTS) == Match(in_port=1)
    with pytest.raises(ConfigError, match="type 'tc': all megaflows are in the eBPF datapath"):
        flows._read_filters(["type=ovs,tc"], PORTS)
    with pytest.raises(TextError):
        flows._read_filters(["filter=nope(1)"], PORTS)
    for words in (["pmd=-1"], ["filter=any", "filter=any"], ["filter"]):
        with pytest.raises(UsageError):
            flows._read_filters(words, PORTS)


FILE = """\
# megaflows of a test

in_port(1),actions:2
  in_port(veth1),eth_type(0x0806) , packets:3, bytes:126, used:0.5s, actions:drop # with a remark

priority(10),in_port(1),idle_timeout(5),actions:set(eth(src=02:00:00:00:00:01)),3
"""


def test_file_of_flows_is_read_with_the_numbers_of_lines() -> None:
    rules = flows._read_rules(io.StringIO(FILE), "flows.txt", PORTS)
    assert list(rules) == [3, 4, 6]
    assert rules[3] == Rule(Match(in_port=1), (Output(2),))
    assert rules[4] == Rule(Match(in_port=1, eth_type=0x0806))
    assert (rules[6].priority, rules[6].idle_timeout_s, len(rules[6].actions)) == (10, 5, 2)


WRONG_FILES = [
    ("in_port(1),actions:2\nin_port(2)\n", "flows.txt:2: expected 'actions:' at character 10"),
    ("in_port(x),actions:2", "flows.txt:1: .*no port is called 'x'"),
    ("in_port(1),actions:2\n\nin_port(0x1),actions:3", "flows.txt:3: line 1 has the same match and priority"),
    ("#\n" + "x" * (MAX_TEXT_CHARACTERS + 1), f"flows.txt:2: the line exceeds the bound of {MAX_TEXT_CHARACTERS}"),
    ("#" + "x" * (MAX_TEXT_CHARACTERS + 1), f"flows.txt:1: the line exceeds the bound of {MAX_TEXT_CHARACTERS}"),
]


@pytest.mark.parametrize(("text", "sentence"), WRONG_FILES, ids=[row[1][:30] for row in WRONG_FILES])
def test_what_is_wrong_in_a_file_has_its_line(text: str, sentence: str) -> None:
    with pytest.raises(Exception, match=sentence):
        flows._read_rules(io.StringIO(text), "flows.txt", PORTS)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_json_of_many_is_one_array(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    flows._print_json_array(json.dumps({"number": number}) for number in range(count))
    output = capsys.readouterr().out
    assert json.loads(output) == [{"number": number} for number in range(count)]
    assert output.endswith("]\n")


def test_datapath_may_be_left_out_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    there: list[str] = []
    monkeypatch.setattr(Datapath, "list", lambda: there)
    assert common._the_one("dp7") == "dp7"
    with pytest.raises(ConfigError, match="there is no datapath"):
        common._the_one(None)
    there.append("dp0")
    assert common._the_one(None) == "dp0"
    there.append("dp1")
    with pytest.raises(ConfigError, match="there are 2 datapaths: say which of dp0, dp1"):
        common._the_one(None)


@pytest.mark.parametrize(("value", "text"), [(100.0, "100"), (0.5, "0.5"), (12.345, "12.345"), (10**9, "1000000000")])
def test_number_has_a_fraction_only_if_it_needs_one(value: float, text: str) -> None:
    assert common.number(value) == text


ETHERNET = "020000000002 020000000001 "
IPV4 = "45000054 00004000 40010000 0a000001 0a000002 "
ETHERNET_TEXT = "eth(dst=02:00:00:00:00:02,src=02:00:00:00:00:01)"
IPV4_TEXT = "ipv4(src=10.0.0.1,dst=10.0.0.2,tos=0x0,ttl=64,frag=no)"
ARP = "0806 0001 0800 06 04 0001 020000000001 0a000001 000000000000 0a000002"
ARP_TEXT = "arp(op=1,sip=10.0.0.1,tip=10.0.0.2,sha=02:00:00:00:00:01,tha=00:00:00:00:00:00)"
KEYS = [
    (ETHERNET + "88b5 00", f"{ETHERNET_TEXT},eth_type(0x88b5)"),
    (ETHERNET + "8100 2005 88b5 00", f"{ETHERNET_TEXT},vlan(vid=5,pcp=1,tpid=0x8100),eth_type(0x88b5)"),
    (ETHERNET + "0800" + IPV4 + "00 00", f"{ETHERNET_TEXT},eth_type(0x0800),{IPV4_TEXT},icmp(type=0,code=0)"),
    (ETHERNET + ARP, f"{ETHERNET_TEXT},eth_type(0x0806),{ARP_TEXT}"),
]


@pytest.mark.parametrize(("packet", "text"), KEYS, ids=[text.rpartition("),")[2] for _, text in KEYS])
def test_key_is_written_as_the_match_of_the_packet_alone(packet: str, text: str) -> None:
    key = Key(parse(bytes.fromhex(packet), Match(in_port=3).value))
    assert packets.key_text(key) == f"in_port(3),{text}"
    assert packets.key_text(key, {3: "veth3"}) == f"in_port(veth3),{text}"
    assert key in parse_match(packets.key_text(key))


def test_metadata_is_written_if_there_is_some() -> None:
    key = Key(Match(in_port=1, recirc_id=7, skb_mark=3, tun_id=9, tun_src="192.0.2.1").value)
    text = packets.key_text(key)
    assert text.startswith("tunnel(tun_id=0x9,src=192.0.2.1,dst=0.0.0.0,")
    assert "skb_mark(0x3),recirc_id(0x7),in_port(1),eth_type(0x0000)" in text
    assert "skb_priority" not in text
    assert "ct_" not in text
