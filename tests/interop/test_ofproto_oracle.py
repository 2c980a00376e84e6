"""Flow-mods, groups and bundles on our tables and on Open vSwitch's: what is left, and what is refused, is the same."""

from __future__ import annotations

import random
import re
import socket
import time
from pathlib import Path

import pytest

from tests.ofctl_peer import BRIDGE, OpenVswitch
from tests.ofproto import TAUGHT_STEPS, Desk
from vswitch.base.errors import ConfigError
from vswitch.messages.actions import DecTtl, FlowAction, GotoTable, Group, Meter, Output, PopVlan, WriteActions
from vswitch.messages.base import Message
from vswitch.messages.control import (
    AsyncGet,
    BarrierRequest,
    BundleAdd,
    BundleControl,
    BundleControlType,
    ControllerRole,
    Error,
    Hello,
    RoleRequest,
)
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.flows import (
    ALL_TABLES,
    Bucket,
    FlowCommand,
    FlowFlags,
    FlowMod,
    GroupCommand,
    GroupMod,
    GroupType,
    MeterBand,
    MeterCommand,
    MeterMod,
    PacketOut,
)
from vswitch.messages.match import FlowMatch
from vswitch.messages.ports import PortMod
from vswitch.messages.stats import StatsRequest
from vswitch.openflow.codec import decode, encode
from vswitch.openflow.wire import HEADER, HEADER_BYTES
from vswitch.text.flow import parse_flow

MATCHES = {
    "": FlowMatch(),
    "in_port=1": FlowMatch(in_port=1),
    "in_port=2": FlowMatch(in_port=2),
    "ip,in_port=1": FlowMatch(in_port=1, eth_type=0x800),
    "ip": FlowMatch(eth_type=0x800),
    "ip,nw_dst=10.0.0.0/8": FlowMatch(ipv4_dst="10.0.0.0/8"),
    "ip,nw_dst=10.1.0.0/16": FlowMatch(ipv4_dst="10.1.0.0/16"),
    "tcp,nw_dst=10.1.2.3": FlowMatch(ip_proto=6, ipv4_dst="10.1.2.3"),
    "tcp,tp_dst=80": FlowMatch(eth_type=0x800, ip_proto=6, tcp_dst=80),
    "arp": FlowMatch(eth_type=0x806),
    "tcp,tp_dst=0x50/0xfff0": FlowMatch(eth_type=0x800, ip_proto=6, tcp_dst=(0x50, 0xFFF0)),
    "reg1=0x5": FlowMatch(reg1=5),
}
ACTIONS: dict[str, tuple[FlowAction, ...]] = {
    "drop": (),
    "output:1": (Output(1),),
    "output:2,output:1": (Output(2), Output(1)),
    "write_actions(output:3)": (WriteActions((Output(3),)),),
    "group:1": (Group(1),),
    "group:2": (Group(2),),
}
WORDS = {
    FlowCommand.ADD: "add",
    FlowCommand.MODIFY: "modify",
    FlowCommand.MODIFY_STRICT: "modify_strict",
    FlowCommand.DELETE: "delete",
    FlowCommand.DELETE_STRICT: "delete_strict",
}
ERRORS = {
    "bad_action.bad_out_group": "OFPBAC_BAD_OUT_GROUP",
    "flow_mod_failed.overlap": "OFPFMFC_OVERLAP",
    "group_mod_failed.group_exists": "OFPGMFC_GROUP_EXISTS",
    "group_mod_failed.unknown_group": "OFPGMFC_UNKNOWN_GROUP",
}
LOOSE = (FlowCommand.MODIFY, FlowCommand.DELETE)
Line = tuple[int, int, str, str, int, int]


def draw_flow(chance: random.Random, *, plain: bool = False) -> tuple[str, FlowMod]:
    """A flow-mod as text and as message. `plain`: one that every version has, and that is never refused."""
    command = chance.choices(tuple(WORDS), (6, 2, 2, 1, 2))[0]
    strict = command in (FlowCommand.ADD, FlowCommand.MODIFY_STRICT, FlowCommand.DELETE_STRICT)
    deletes = command in (FlowCommand.DELETE, FlowCommand.DELETE_STRICT)
    match, actions = (
        chance.choice(list(MATCHES)[: -2 if plain else None]),
        chance.choice(list(ACTIONS)[: 3 if plain else None]),
    )
    priority, table = chance.choice((1, 2)), chance.choice((0, 1))
    parts = [match] if match else []
    cookie = cookie_mask = idle = flags = 0
    out_port = out_group = 0xFFFFFFFF
    if strict:
        parts.append(f"priority={priority}")
    if deletes and not plain and chance.random() < 0.2:
        table = ALL_TABLES
    else:
        parts.append(f"table={table}")
    if command == FlowCommand.ADD:
        cookie, idle = chance.randrange(4), chance.choice((0, 10))
        parts += [f"cookie={cookie}", f"idle_timeout={idle}"]
        if not plain and chance.random() < 0.2:
            flags = FlowFlags.CHECK_OVERLAP
            parts.append("check_overlap")
    elif not plain and chance.random() < 0.4:
        cookie, cookie_mask = chance.randrange(4), chance.choice((1, 2, 3))
        cookie &= cookie_mask
        parts.append(f"cookie={cookie}/{cookie_mask}")
    if deletes:
        if chance.random() < 0.3:
            out_port = chance.choice((1, 2, 3))
            parts.append(f"out_port={out_port}")
        elif not plain and chance.random() < 0.3:
            out_group = chance.choice((1, 2))
            parts.append(f"out_group={out_group}")
    else:
        parts.append(f"actions={actions}")
    mod = FlowMod(
        command, MATCHES[match], () if deletes else ACTIONS[actions], priority if strict else 0x8000, table, cookie,
        cookie_mask, idle, 0, flags, out_port=out_port, out_group=out_group,
    )  # fmt: skip
    return f"{WORDS[command]} {','.join(parts)}", mod


def draw_group(chance: random.Random) -> tuple[str, GroupMod]:
    number = chance.choice((1, 2))
    kind = chance.random()
    if kind < 0.5:
        return f"group delete group_id={number}", GroupMod(GroupCommand.DELETE, number)
    word, command = ("add", GroupCommand.ADD) if kind < 0.8 else ("modify", GroupCommand.MODIFY)
    port = chance.choice((1, 2))
    text = f"group {word} group_id={number},type=all,bucket=output:{port}"
    return text, GroupMod(command, number, buckets=(Bucket((Output(port),)),))


def theirs(ovs: OpenVswitch) -> list[Line]:
    done = ovs.ovs_ofctl("-OOpenFlow14", "--no-stats", "--no-names", "dump-flows", BRIDGE)
    assert done.status == 0, done
    lines = []
    for text in done.out.splitlines():
        if "actions=" not in text:
            continue
        head, actions = text.strip().split(" actions=")
        values = dict(re.findall(r"(cookie|table|idle_timeout|priority)=(\w+)", head))
        match = re.sub(r"\b(cookie|table|idle_timeout|priority)=\w+,?|\b(check_overlap|reset_counts)\b", "", head)
        lines.append((int(values.get("table", "0")), int(values.get("priority", "32768")), match.strip(" ,"), actions,
                      int(values.get("cookie", "0"), 16), int(values.get("idle_timeout", "0"))))  # fmt: skip
    return sorted(lines)


def ours(desk: Desk) -> list[Line]:
    matches = {match: text for text, match in MATCHES.items()}
    actions = {known: text for text, known in ACTIONS.items()}
    return sorted(
        (rule.table, rule.priority, matches[rule.match], actions[rule.actions], rule.cookie, rule.idle_timeout_s)
        for rule in desk.rules()
    )


def commit(desk: Desk, messages: list[Message]) -> str:
    """Do them in a bundle; the error of the one that is refused, if one is."""
    for index, message in enumerate(messages):
        desk.send(BundleAdd(1, 3, message, index), xid=index)
    replies = desk.send(BundleControl(1, BundleControlType.COMMIT_REQUEST, 3)).replies
    return next((reply.error for reply, _ in replies if isinstance(reply, Error)), "")


@pytest.mark.parametrize("seed", range(6))
def test_bundles_of_flows_and_groups_leave_the_same(ovs: OpenVswitch, seed: int) -> None:
    chance, desk = random.Random(seed), Desk(5)
    for _ in range(15):
        # Groups in bundles of their own: with flows that name them, ovs-vswitchd 3.1 may crash. Its loose commands now
        # and then miss flows that were added before in the same bundle.
        drawn: list[tuple[str, Message]]
        if chance.random() < 0.3:
            drawn = [draw_group(chance)]
        else:
            drawn = [draw_flow(chance) for _ in range(chance.randrange(1, 6))]
            drawn.sort(key=lambda each: getattr(each[1], "command", 0) not in LOOSE)
        texts = [text if text.startswith("group") else f"flow {text}" for text, _ in drawn]
        done = ovs.ovs_ofctl("-OOpenFlow14", "bundle", BRIDGE, "-", content="\n".join(texts) + "\n")
        error = commit(desk, [message for _, message in drawn])
        assert (done.status == 0) == (not error), (texts, done, error)
        if error:
            assert ERRORS[error] in done.err, texts
        assert ours(desk) == theirs(ovs), texts


REQUESTS: list[Message] = [
    FlowMod(FlowCommand.ADD, table=ALL_TABLES),
    FlowMod(FlowCommand.MODIFY, table=ALL_TABLES),
    FlowMod(FlowCommand.ADD, buffer_id=5),
    FlowMod(FlowCommand.ADD, actions=(Group(9),)),
    FlowMod(FlowCommand.MODIFY, actions=(Group(9),)),
    FlowMod(FlowCommand.ADD, actions=(Meter(9),)),
    FlowMod(FlowCommand.ADD, actions=(Output(0xFF00),)),
    FlowMod(FlowCommand.ADD, actions=(DecTtl(),)),
    FlowMod(FlowCommand.ADD, actions=(PopVlan(),)),
    FlowMod(FlowCommand.ADD, table=3, actions=(GotoTable(3),)),
    FlowMod(FlowCommand.ADD, table=3, actions=(GotoTable(2),)),
    FlowMod(FlowCommand.DELETE),
    GroupMod(GroupCommand.DELETE, 0xFFFFFF05),
    GroupMod(GroupCommand.DELETE, 77),
    GroupMod(GroupCommand.MODIFY, 77),
    GroupMod(GroupCommand.ADD, 0xFFFFFF05),
    GroupMod(GroupCommand.ADD, 50, GroupType.INDIRECT),
    GroupMod(GroupCommand.ADD, 50, GroupType.FAST_FAILOVER, (Bucket((), id=0),)),
    GroupMod(GroupCommand.ADD, 51, GroupType.ALL, (Bucket((), weight=5, id=0),)),
    MeterMod(MeterCommand.ADD, 0, 1, (MeterBand(5),)),
    MeterMod(MeterCommand.ADD, 8, 0, (MeterBand(5),)),
    MeterMod(MeterCommand.ADD, 8, 3, (MeterBand(5),)),
    MeterMod(MeterCommand.ADD, 8, 1, (MeterBand(0),)),
    MeterMod(MeterCommand.ADD, 8, 1),
    MeterMod(MeterCommand.ADD, 8, 1, (MeterBand(5, kind="dscp_remark", prec_level=1),)),
    MeterMod(MeterCommand.MODIFY, 8, 1, (MeterBand(5),)),
    MeterMod(MeterCommand.DELETE, 8),
    PortMod(9, 0x020000000009, 1, 1),
    PortMod(1, 0x020000000077, 1, 1),
    PacketOut(b"", (), FlowMatch(in_port=1), buffer_id=9),
    PacketOut(b"", (Group(9),), FlowMatch(in_port=1)),
    StatsRequest("meter", 77),
    StatsRequest("group", 77),
    StatsRequest("port", 77),
    StatsRequest("queue", 77),
    StatsRequest("queue", 1, 77),
    AsyncGet(),
]


def roles() -> list[Message]:
    """Requests about roles, of a generation that no switch has heard of yet."""
    generation = time.time_ns()
    return [
        RoleRequest(ControllerRole.SECONDARY, generation),
        FlowMod(FlowCommand.ADD),
        GroupMod(GroupCommand.ADD, 1),
        MeterMod(MeterCommand.DELETE, 1),
        PacketOut(b"", (), FlowMatch(in_port=1)),
        RoleRequest(ControllerRole.PRIMARY, generation - 1),
        RoleRequest(ControllerRole.PRIMARY, generation + 1),
        FlowMod(FlowCommand.DELETE),
    ]


def answers(path: Path, version: int, messages: list[Message]) -> dict[int, str]:
    """What a switch answers, by xid: the error, or the kind of message."""
    found: dict[int, str] = {}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(path))
        connection.sendall(HEADER.pack(version, 0, HEADER_BYTES, 0))
        for xid, message in enumerate([*messages, BarrierRequest()], 1):
            connection.sendall(encode(message, version, xid))
        stream = connection.makefile("rb")
        while len(messages) + 1 not in found:
            head = stream.read(HEADER_BYTES)
            message, xid = decode(head + stream.read(HEADER.unpack(head)[2] - HEADER_BYTES))
            if isinstance(message, Hello):
                continue
            found[xid] = message.error if isinstance(message, Error) else type(message).__name__
    return found


def speaks(message: Message, version: int) -> bool:
    """Whether that version of OpenFlow has such a message, and says all of it."""
    if version == 1 and isinstance(message, FlowMod) and message.table:
        return False
    if version < 3 and isinstance(message, RoleRequest):  # Nicira's has no generation
        return False
    try:
        encode(message, version, 1)
    except (ConfigError, OpenFlowError):
        return False
    return True


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5, 6])
def test_what_is_refused_is_refused_with_the_same_error(ovs: OpenVswitch, version: int) -> None:
    requests = [each for each in REQUESTS + roles() if speaks(each, version)]
    theirs = answers(ovs.folder / f"{BRIDGE}.mgmt", version, requests)
    desk = Desk(version)
    for xid, request in enumerate(requests, 1):
        replies = desk.send(request, xid=xid).replies
        ours = [reply.error if isinstance(reply, Error) else type(reply).__name__ for reply, _ in replies]
        assert ours == ([theirs[xid]] if xid in theirs else []), request


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("version", "words"), [(1, "OpenFlow10"), (2, "OpenFlow11"), (3, "OpenFlow12"), (4, "OpenFlow13")]
)
def test_flow_mods_of_each_version_leave_the_same(ovs: OpenVswitch, version: int, words: str, seed: int) -> None:
    chance, desk = random.Random(seed), Desk(version)
    for _ in range(5):
        drawn = [draw_flow(chance, plain=True) for _ in range(chance.randrange(2, 12))]
        content = "\n".join(text for text, _ in drawn) + "\n"
        done = ovs.ovs_ofctl(f"-O{words}", "add-flows", BRIDGE, "-", content=content)
        assert done.status == 0, (content, done)
        for _, mod in drawn:
            desk.do(mod)
        assert ours(desk) == theirs(ovs), content


@pytest.mark.parametrize("name", TAUGHT_STEPS)
def test_what_was_learned_goes_with_the_same_flows(ovs: OpenVswitch, name: str) -> None:
    steps, _ = TAUGHT_STEPS[name]
    done = ovs.ovs_ofctl("-OOpenFlow13", "add-flows", BRIDGE, "-", content="\n".join(steps) + "\n")
    assert done.status == 0, done
    desk = Desk()
    desk.write(steps)
    assert sorted((rule.table, rule.cookie) for rule in desk.rules()) == [(line[0], line[4]) for line in theirs(ovs)]


ADMITTED = """
pop_vlan | dec_ttl | set_vlan_vid:5 | set_vlan_pcp:3 | mod_vlan_vid:5 | push_vlan:0x8100 | strip_vlan | clear_actions
set_field:0x1005->vlan_vid | set_field:5->vlan_pcp | push_vlan:0x8100,set_field:0x1005->vlan_vid | clone(pop_vlan)
push_vlan:0x8100,pop_vlan | pop_vlan,pop_vlan | pop_vlan,push_vlan:0x8100,pop_vlan | clone(push_vlan:0x8100),pop_vlan
push_mpls:0x8847 | push_mpls:0x8847,set_mpls_ttl:3 | pop_mpls:0x0800 | pop_mpls:0x0800,dec_ttl | dec_mpls_ttl
set_mpls_label:3 | set_mpls_tc:1 | push_mpls:0x8847,dec_ttl | push_mpls:0x8847,set_field:80->tcp_dst | clone(dec_ttl)
write_actions(pop_vlan) | write_actions(dec_ttl) | write_actions(dec_mpls_ttl) | write_actions(pop_mpls:0x0800)
write_actions(set_field:0x1005->vlan_vid) | write_actions(push_vlan:0x8100,set_field:0x1005->vlan_vid)
write_actions(set_field:1.2.3.4->ip_dst) | write_actions(set_field:80->tcp_dst) | write_actions(set_mpls_label:3)
write_actions(mod_nw_ttl:4) | write_actions(mod_tp_dst:4) | write_actions(set_vlan_pcp:3) | mod_nw_tos:4 | mod_tp_dst:4
load:5->NXM_OF_VLAN_TCI[] | load:0x1005->NXM_OF_VLAN_TCI[] | load:1->OXM_OF_VLAN_PCP[] | load:1->NXM_NX_IP_TTL[]
move:NXM_NX_REG0[0..11]->OXM_OF_VLAN_VID[0..11] | move:OXM_OF_VLAN_VID[0..11]->NXM_NX_REG0[0..11] | push:NXM_OF_IP_SRC[]
pop:NXM_OF_IP_SRC[] | output:NXM_OF_IP_SRC[] | fin_timeout(idle_timeout=3) | set_field:1->arp_op
learn(table=3,NXM_OF_IP_DST[]=NXM_OF_IP_SRC[]) | learn(table=3,eth_type=0x800,NXM_OF_IP_DST[]=NXM_OF_IP_SRC[])
learn(table=3,load:NXM_OF_IP_SRC[]->NXM_NX_REG0[]) | learn(table=3,load:5->NXM_OF_IP_TOS[])
learn(table=3,eth_type=0x800,load:5->NXM_OF_IP_TOS[]) | learn(table=3,load:5->OXM_OF_VLAN_PCP[])
learn(table=3,vlan_tci=0x1005,load:5->OXM_OF_VLAN_PCP[]) | learn(table=3,NXM_OF_TCP_DST[]=NXM_OF_TCP_SRC[])
learn(table=3,NXM_OF_ETH_TYPE[]=NXM_OF_ETH_TYPE[],NXM_OF_IP_DST[]=NXM_OF_IP_SRC[])
"""
ADMITTED_FOR = (
    "", "ip", "ipv6", "tcp", "mpls", "arp", "vlan_tci=0x1000/0x1000", "ip,vlan_tci=0x1000/0x1000", "dl_vlan=5",
)  # fmt: skip


@pytest.mark.parametrize("match", ADMITTED_FOR)
@pytest.mark.parametrize("version", [1, 2, 3, 4, 5, 6])
def test_actions_are_admitted_for_the_same_matches(ovs: OpenVswitch, version: int, match: str) -> None:
    """What a version of OpenFlow cannot say is left out."""
    texts = [each.strip() for line in ADMITTED.strip().splitlines() for each in line.split("|")]
    mods = [parse_flow(f"table=0,{match},actions={text}".replace(",,", ",")) for text in texts]
    requests = [decode(encode(mod, version, 1))[0] for mod in mods if speaks(mod, version)]
    assert len(requests) > len(texts) // 2
    theirs = answers(ovs.folder / f"{BRIDGE}.mgmt", version, requests)
    desk = Desk(version)
    for xid, request in enumerate(requests, 1):
        ours = [reply.error for reply, _ in desk.send(request, xid=xid).replies if isinstance(reply, Error)]
        assert ours == ([theirs[xid]] if xid in theirs else []), request
