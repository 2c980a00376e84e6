"""`Bridge.trace` and the words of ofproto/trace: what is told, and that nothing is changed by telling it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from textwrap import dedent
from typing import Any

import pytest

from vswitch import Bridge, ConfigError, OpenFlowError, TextError
from vswitch.bridge.trace_command import TraceRequest, read_trace
from vswitch.control.commands import CommandError
from vswitch.messages.match import FlowMatch
from vswitch.packet import build
from vswitch.packet.parse import parse

A, B = 0x020000000001, 0x020000000002
TCP = build.ethernet(B, A, 0x0800, build.ipv4(0x0A000001, 0x0A000002, 6, build.tcp(3000, 80, 0, 0, 2)))
FIN = build.ethernet(B, A, 0x0800, build.ipv4(0x0A000001, 0x0A000002, 6, build.tcp(3000, 80, 0, 0, 1)))
MPLS = TCP[:12] + bytes.fromhex("8847 00010140") + TCP[14:]
LEARN = "learn(table=3,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[])"
FLOWS = [
    "table=0,priority=9,cookie=5,tcp,tcp_dst=80,actions=goto_table:1",
    f"table=1,idle_timeout=30,tcp,actions=meter:1,{LEARN},fin_timeout(idle_timeout=5),normal",
    "table=0,priority=8,mpls,actions=pop_mpls:0x0800,goto_table:2",
    "table=2,ip,nw_dst=10.0.0.0/8,actions=dec_ttl,output:2",
    "table=0,priority=7,udp,actions=group:1",
]  # fmt: skip


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    with Bridge.simulate(3, fail_mode="secure", name="br0") as bridge:
        bridge.add_meter("meter=1,pktps,bands=type=drop,rate=10")
        bridge.add_group("group_id=1,type=select,selection_method=dp_hash,bucket=output:2,bucket=output:3")
        bridge.add_flows(FLOWS)
        yield bridge


def state(bridge: Bridge) -> str:
    """All that a trace might change, of the bridge and its datapath."""
    engine = bridge._engine
    macs = engine.view.macs
    rules = [[getattr(rule, name) for name in rule.__slots__] for table in engine.switch.tables for rule in table]
    tables = [(table.lookups, table.matched) for table in engine.switch.tables]
    addresses = [(entry.vlan, entry.mac, entry.port, entry.used_ns) for entry in macs.entries()]
    counted = (macs.learned, macs.moved, macs.evicted, len(engine.view.frozen), engine.view.frozen._last)
    flows = [(repr(flow.rule), flow.stats) for flow in bridge.datapath.flows.dump()]
    what: tuple[Any, ...] = (
        rules, tables, addresses, counted, flows, bridge.stats(), bridge.datapath.stats(), bridge.dump_groups(),
        bridge.dump_meters(), [bridge.datapath.ports.stats(number) for number in (1, 2, 3)],
        engine.revalidator.changes, bool(engine.revalidator), bridge.datapath.sent(),
    )  # fmt: skip
    return repr(what)


TRACES: list[tuple[str, bytes | None, str | None]] = [
    ("in_port=1,tcp,tcp_dst=80,dl_src=02:00:00:00:00:09", None, None),
    ("in_port=2", TCP, None),
    ("in_port=1", FIN, None),
    ("in_port=1", MPLS, None),
    ("in_port=1,udp", None, None),
    ("in_port=1", TCP, "learn(table=3,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[]),normal,controller,output:9"),
]


@pytest.mark.parametrize(("flow", "frame", "actions"), TRACES, ids=[flow for flow, _, _ in TRACES])
def test_a_trace_changes_nothing(bridge: Bridge, flow: str, frame: bytes | None, actions: str | None) -> None:
    for data in (TCP, MPLS):  # so that there is something that could be changed
        bridge.receive(data, 1)
    bridge.advance(seconds=1)
    bridge.receive(TCP, 1)
    bridge.dump_flows()  # counters go from megaflows to rules
    before = state(bridge)
    told = bridge.trace(flow, frame, actions=actions)
    assert not told.parts[0].answer.error
    assert state(bridge) == before
    bridge.receive(TCP, 2)
    assert state(bridge) != before  # it would show


def test_the_text_is_that_of_ofproto_trace(bridge: Bridge) -> None:
    told = bridge.trace("in_port=1,tcp,tcp_dst=80,dl_src=02:00:00:00:00:01,nw_ttl=64")
    lines = str(told).splitlines()
    assert lines[0] == (
        "Flow: tcp,in_port=1,vlan_tci=0x0000,dl_src=02:00:00:00:00:01,dl_dst=00:00:00:00:00:00,nw_src=0.0.0.0,"
        "nw_dst=0.0.0.0,nw_tos=0,nw_ecn=0,nw_ttl=64,nw_frag=no,tp_src=0,tp_dst=80,tcp_flags=0"
    )
    assert "\n".join(lines[1:-2]) == dedent(
        """
        bridge("br0")
        -------------
         0. tcp,tp_dst=80, priority 9, cookie 0x5
            goto_table:1
         1. tcp, priority 32768
            meter:1
            learn(table=3,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[])
            fin_timeout(idle_timeout=5)
            NORMAL
             -> no learned MAC for destination, flooding

        Final flow: unchanged"""
    )
    assert lines[-2].startswith(
        "Megaflow: recirc_id=0,eth,tcp,in_port=1,vlan_tci=0x0000/0x1000,dl_src=02:00:00:00:00:01,"
    )
    assert lines[-1] == "Datapath actions: meter(1),2,3"
    assert told.datapath_actions == "meter(1),2,3"


def test_the_same_is_there_for_programs(bridge: Bridge) -> None:
    told = json.loads(json.dumps(bridge.trace("in_port=1", TCP).as_dict()))
    assert told["bridge"] == "br0"
    assert told["flow"].startswith("tcp,in_port=1,")
    first, second = told["steps"][0], told["steps"][0]["steps"][0]["steps"][0]
    assert first["rule"] == {"match": "tcp,tp_dst=80", "priority": 9, "cookie": 5}
    assert second["table"] == 1
    assert told["datapath_actions"] == "meter(1),2,3"
    assert told["recirculated"] == []


def test_ports_may_have_names(bridge: Bridge) -> None:
    text = bridge.trace("in_port=port3", MPLS).text(names=True)
    assert "Flow: mpls,in_port=port3," in text
    assert "Datapath actions: dec_ttl,port2" in text


def test_a_recirculated_packet_is_traced_on(bridge: Bridge) -> None:
    told = bridge.trace("in_port=1", MPLS)
    assert len(told.parts) == 2
    text = told.text()
    assert "Datapath actions: pop_mpls(eth_type=0x800),recirc(0x" in text
    assert "\nrecirc(0x1) - resume\n====" in text
    assert text.endswith("Datapath actions: dec_ttl,2\n")
    assert told.as_dict()["recirculated"][0]["datapath_actions"] == "dec_ttl,2"
    assert [sent.port for sent in bridge.receive(MPLS, 1)] == [2]


def test_what_a_packet_becomes_by_its_hash_is_what_the_datapath_does(bridge: Bridge) -> None:
    for port in range(20):
        frame = build.ethernet(B, A, 0x0800, build.ipv4(1, 2, 17, build.udp(port, 9)))
        told = bridge.trace("in_port=1", frame)
        (sent,) = bridge.receive(frame, 1)
        assert told.as_dict()["recirculated"][0]["datapath_actions"] == str(sent.port)


def test_of_a_frame_the_flow_says_but_what_is_not_in_it(bridge: Bridge) -> None:
    told = bridge.trace("in_port=3,pkt_mark=4,tun_id=7,tcp,tcp_dst=22,reg1=5", TCP)
    assert told.parts[0].key == parse(TCP, FlowMatch(in_port=3, skb_mark=4, tun_id=7).value)


def test_a_packet_out_is_traced_by_its_actions(bridge: Bridge) -> None:
    told = bridge.trace("in_port=1", TCP, actions="set_field:02:00:00:00:00:07->eth_dst,resubmit(,2)")
    assert told.datapath_actions == "dec_ttl,set(eth(dst=02:00:00:00:00:07)),2"
    with pytest.raises(OpenFlowError, match="bad_out_group"):
        bridge.trace("in_port=1", actions="group:9")


@pytest.mark.parametrize(
    ("flow", "frame", "kind", "reason"),
    [
        ("in_prt=1", None, TextError, "no field is called 'in_prt'"),
        ("tcp_dst=80", None, TextError, "tcp_dst"),
        ("ip,nw_src=10.0.0.0/8", None, ConfigError, "ipv4_src: a packet has one value, not all within the mask"),
        ("in_port=1", bytes(13), ConfigError, "a frame of 13 bytes is shorter than an Ethernet header"),
    ],
)
def test_what_is_no_packet_is_refused(
    bridge: Bridge, flow: str, frame: bytes | None, kind: type[Exception], reason: str
) -> None:
    with pytest.raises(kind, match=reason):
        bridge.trace(flow, frame)


# ---- words

PORTS = {"p1": 1, "p2": 2, "br0": 0xFFFFFFFE}


def read(*words: str, packet_out: bool = False) -> TraceRequest:
    return read_trace(words, "br0", PORTS, packet_out=packet_out)


def key(**fields: Any) -> int:
    return FlowMatch(**fields).value


WORDS = [
    (("br0", "in_port=1"), TraceRequest(key(in_port=1))),
    (("br0", "in_port=p2"), TraceRequest(key(in_port=2))),
    (("br0", "tcp"), TraceRequest(key(in_port=0xFFFFFFFF, eth_type=0x0800, ip_proto=6))),
    (("br0", "in_port=1,dl_vlan=5"), TraceRequest(key(in_port=1, vlan_vid=0x1005))),
    (("--names", "br0", "in_port=1"), TraceRequest(key(in_port=1), names=True)),
    (("br0", "in_port=1", TCP.hex(), "--names"), TraceRequest(parse(TCP, 1), TCP, names=True)),
    (("in_port(2),eth()",), TraceRequest(key(in_port=2))),
    (("in_port(br0),eth_type(0x0806)",), TraceRequest(key(in_port=0xFFFFFFFE, eth_type=0x0806))),
    (("br0", "in_port(2)", TCP.hex()), TraceRequest(parse(TCP, 2), TCP)),
]


@pytest.mark.parametrize(("words", "request_"), WORDS, ids=[" ".join(words)[:40] for words, _ in WORDS])
def test_words_are_read(words: tuple[str, ...], request_: TraceRequest) -> None:
    assert read(*words) == request_


def test_a_generated_packet_looks_like_its_flow() -> None:
    flow = "in_port=1,tcp,nw_dst=10.0.0.2,tcp_dst=80"
    for options, length in (
        (("-generate",), 64),
        (("--generate", "--l7-len", "5"), 5),
        (("-generate", "--l7", "0102"), 2),
    ):
        found = read("br0", flow, *options)
        assert found.frame is not None
        assert parse(found.frame, 1) == found.key
        assert len(found.frame) == 54 + length


def test_actions_end_the_words_of_a_packet_out() -> None:
    found = read("br0", "in_port=1", "-consistent", "-generate", "output:2,p1", packet_out=True)
    assert found.actions is not None
    assert [getattr(action, "port", None) for action in found.actions] == [2, 1]
    assert found.consistent


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("br0",), "syntax error at br0 (or the bridge name was omitted)"),
        (("br1", "in_port=1"), "br1: unknown bridge"),
        (("br1", "in_port(1)"), "Cannot find the datapath"),
        (("in_port(9)",), "no OpenFlow port for datapath port 9"),
        (("in_port(1",), "syntax error at in_port(1: "),
        (("br0", "in_prt=1"), "Bad openflow flow syntax: in_prt=1: no field is called 'in_prt'"),
        (("br0", "in_port=1", "zz"), "Trailing garbage in packet data"),
        (("br0", "in_port=1", "001122"), "Packet data too short for Ethernet"),
        (("br0", "in_port=1", "00", "00"), "too many arguments"),
        (("br0", "in_port=1", "-consistent"), "-consistent: unknown option"),
        (("br0", "in_port=1", "--no-names"), "--no-names: unknown option"),
        (("br0", "in_port=1", "--l7"), "Missing argument for option --l7"),
        (("br0", "in_port=1", "--l7", "01"), "--l7 is of use only with -generate"),
        (("br0", "in_port=1", "-generate", "--l7-len", "x"), "--l7-len x: not a number of bytes"),
        (("br0", "in_port=1", "-generate", "--l7-len", "65001"), "a payload of more than 65000 bytes"),
        (("br0", "in_port=1", "--ct-next", "trk"), "--ct-next: there is no connection tracking"),
        (("br0", "in_port=1", "-generate", TCP.hex()), "Syntax error: a packet is given"),
    ],
)
def test_wrong_words_are_refused_as_open_vswitch_does(words: tuple[str, ...], text: str) -> None:
    with pytest.raises(CommandError) as refused:
        read(*words)
    assert str(refused.value).startswith(text)
