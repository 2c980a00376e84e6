"""Strategies of hypothesis: matches, actions, flows, groups and meters of OpenFlow as texts can write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from vswitch.fields.openflow import OPENFLOW_FIELDS, FlowField
from vswitch.messages.actions import (
    HASH_FIELDS,
    Bundle,
    CheckPacketLarger,
    ClearActions,
    Clone,
    Conjunction,
    Controller,
    CopyTtlIn,
    CopyTtlOut,
    Ct,
    CtClear,
    DebugRecirculate,
    Decap,
    DecMplsTtl,
    DecTtl,
    DeleteField,
    Encap,
    Enqueue,
    Exit,
    FinTimeout,
    FlowAction,
    GotoTable,
    Group,
    Learn,
    LearnSpec,
    Meter,
    ModField,
    ModVlanPcp,
    ModVlanVid,
    Multipath,
    Nat,
    Note,
    Output,
    OutputReg,
    PopMpls,
    PopPbb,
    PopQueue,
    PopVlan,
    PushMpls,
    PushPbb,
    PushVlan,
    RegLoad,
    RegMove,
    Resubmit,
    Sample,
    SetField,
    SetMplsLabel,
    SetMplsTc,
    SetMplsTtl,
    SetQueue,
    SetTunnel,
    StackPop,
    StackPush,
    WriteActions,
    WriteMetadata,
)
from vswitch.messages.flows import (
    ANY_GROUP,
    ANY_PORT,
    Bucket,
    FlowCommand,
    FlowFlags,
    FlowMod,
    GroupCommand,
    GroupMod,
    GroupType,
    MeterBand,
)
from vswitch.messages.match import FlowMatch, SubField
from vswitch.messages.stats import FlowStats, MeterConfig
from vswitch.text.flow_values import subfield_width

__all__ = [
    "any_action",
    "any_actions",
    "flow_mods",
    "flow_stats",
    "group_mods",
    "matches",
    "meters",
    "plain_actions",
    "ports",
    "subfields",
    "u8",
    "u16",
    "u32",
    "u64",
]

u8, u16, u32, u64 = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 32, 64))
ports = st.one_of(st.integers(0, 0xFEFF), st.sampled_from([0xFFFFFFF8, 0xFFFFFFFA, 0xFFFFFFFB, 0xFFFFFFFC, 0xFFFFFFFE]))
"""Port numbers that packets can be sent to, the controllers' left out."""

ANYWHERE = [
    "in_port", "metadata", "eth_dst", "eth_src", "tun_id", "skb_mark", "conj_id", "recirc_id", "dp_hash", "ct_mark",
    "ct_zone", "ct_label", *(f"reg{number}" for number in range(16)),
]  # fmt: skip
IP = ["ip_dscp", "ip_ecn", "ip_ttl"]
V4, V6 = [*IP, "ipv4_src", "ipv4_dst"], [*IP, "ipv6_src", "ipv6_dst", "ipv6_label"]
ARP = ["arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha"]
MPLS = ["mpls_label", "mpls_tc", "mpls_bos", "mpls_ttl"]
SHAPES: tuple[tuple[Mapping[str, int], list[str]], ...] = (
    ({}, []),
    ({"eth_type": 0x88CC}, []),
    ({"eth_type": 0x05FF}, []),
    ({"eth_type": 0x0806}, ARP),
    ({"eth_type": 0x8035}, ARP),
    ({"eth_type": 0x8847}, MPLS),
    ({"eth_type": 0x8848}, MPLS),
    ({"eth_type": 0x0800}, V4),
    ({"eth_type": 0x86DD}, V6),
    ({"eth_type": 0x0800, "ip_proto": 47}, V4),
    ({"eth_type": 0x0800, "ip_proto": 1}, [*V4, "icmpv4_type", "icmpv4_code"]),
    ({"eth_type": 0x86DD, "ip_proto": 58}, [*V6, "icmpv6_type", "icmpv6_code"]),
    ({"eth_type": 0x86DD, "ip_proto": 58, "icmpv6_type": 135, "icmpv6_code": 0}, [*V6, "nd_target", "nd_sll"]),
    ({"eth_type": 0x86DD, "ip_proto": 58, "icmpv6_type": 136, "icmpv6_code": 0}, [*V6, "nd_target", "nd_tll"]),
    *(
        ({"eth_type": eth_type, "ip_proto": protocol}, [*fields, f"{word}_src", f"{word}_dst", *more])
        for eth_type, fields in ((0x0800, V4), (0x86DD, V6))
        for protocol, word, more in ((6, "tcp", ["tcp_flags"]), (17, "udp", []), (132, "sctp", []))
    ),
)
"""What a match fixes, and which fields it may have then."""


def _masks(field: FlowField) -> st.SearchStrategy[int]:
    whole = st.just(field.max)
    if not field.maskable or field.name in ("ip_frag", "tcp_flags"):
        return whole
    if field.view.kind.prefix_masks:
        prefixes = st.integers(1, field.bits).map(lambda length: field.max ^ (field.max >> length))
        top = 0xF << field.bits - 4  # a mask that begins with a digit, ovs-ofctl takes for the length of a prefix
        return st.one_of(whole, prefixes, st.integers(1, field.max).map(lambda mask: mask | top))
    return st.one_of(whole, st.integers(1, field.max))


@st.composite
def matches(draw: st.DrawFn) -> FlowMatch:
    """Matches whose fields have what they need."""
    fixed, possible = draw(st.sampled_from(SHAPES))
    fields: dict[str, Any] = dict(fixed)
    for name in draw(st.lists(st.sampled_from([*ANYWHERE, *possible]), unique=True, max_size=8)):
        field = OPENFLOW_FIELDS[name]
        if field.view.kind.name == "ofport":
            fields[name] = draw(ports)
        else:
            mask = draw(_masks(field))
            most = 0xFF if name == "arp_op" else field.max  # ovs-ofctl keeps no more of it
            fields[name] = (draw(st.integers(0, most)) & mask, mask)
    if fixed.get("eth_type") in (0x0800, 0x86DD) and draw(st.booleans()):
        words = [(0, 1), (1, 1), (1, 3), (0, 2)]  # later fragments have no ports
        fields["ip_frag"] = draw(st.sampled_from(words if "ip_proto" in fixed else [*words, (3, 3)]))
    tags = st.sampled_from([(0x1000, 0x1000), (0, 0x1000), (0x1005, 0x1FFF), (0x7000, 0xF000), (0x3123, 0xFFFF)])
    if draw(st.booleans()):
        fields["vlan_tci"] = draw(tags)
    if draw(st.integers(0, 4)) == 0:
        name, most = draw(st.sampled_from([("tun_src", 1 << 32), ("tun_ipv6_src", 1 << 128)]))
        fields[name] = draw(st.integers(1, most - 1))
    return FlowMatch(**fields)


# ---- actions

FREE = (
    "reg0",
    "reg7",
    "metadata",
    "xreg1",
    "xxreg3",
    "eth_src",
    "eth_dst",
    "tun_id",
    "vlan_tci",
    "skb_mark",
    "in_port",
)
"""Fields that every packet has and that can be written."""


@st.composite
def subfields(draw: st.DrawFn, bits: int | None = None) -> SubField:
    """Bits of a field that can be written, as many as are asked for."""
    names = [name for name in FREE if bits is None or subfield_width(OPENFLOW_FIELDS[name]) >= bits]
    field = OPENFLOW_FIELDS[draw(st.sampled_from(names))]
    width = subfield_width(field)
    count = draw(st.integers(1, width)) if bits is None else bits
    return SubField(field, draw(st.integers(0, width - count)), count)


@st.composite
def reg_loads(draw: st.DrawFn) -> RegLoad:
    """Any value into any bits, 64 at most: Nicira's action holds no more."""
    destination = draw(subfields().filter(lambda found: found.bits <= 64))
    return RegLoad(destination, draw(st.integers(0, (1 << destination.bits) - 1)))


@st.composite
def reg_moves(draw: st.DrawFn) -> RegMove:
    """Bits to as many bits."""
    source = draw(subfields())
    return RegMove(source, draw(subfields(source.bits)))


@st.composite
def set_fields(draw: st.DrawFn, masked: bool) -> SetField:
    """A field that every packet has."""
    field = OPENFLOW_FIELDS[draw(st.sampled_from([name for name in FREE if name not in ("in_port", "vlan_tci")]))]
    mask = draw(st.integers(1, field.max)) if masked else field.max
    return SetField(field, draw(st.integers(0, field.max)) & mask, mask)


@st.composite
def learns(draw: st.DrawFn) -> Learn:
    """Flows to be learned, of all kinds of steps."""
    specs = []
    for kind in draw(st.lists(st.sampled_from(["match", "load", "output", "value", "put"]), max_size=4)):
        destination = draw(subfields())
        number = draw(st.integers(0, (1 << destination.bits) - 1))
        if kind == "output":
            specs.append(LearnSpec("output", 16, draw(subfields(16)), 0, None))
        elif kind in ("match", "load"):
            specs.append(LearnSpec(kind, destination.bits, draw(subfields(destination.bits)), 0, destination))
        else:
            step = "match" if kind == "value" else "load"
            if step == "match" and destination.field.name == "in_port" and number >= 0xFF00:
                number = 0xFFFE
            specs.append(LearnSpec(step, destination.bits, None, number, destination))
    return Learn(
        tuple(specs),
        table=draw(st.integers(1, 253)),
        idle_timeout_s=draw(u16),
        hard_timeout_s=draw(u16),
        priority=draw(u16),
        cookie=draw(u64),
        send_flow_rem=draw(st.booleans()),
        delete_learned=draw(st.booleans()),
        fin_idle_timeout_s=0,
        fin_hard_timeout_s=0,
        limit=draw(st.sampled_from([0, 5])),
        result=draw(st.one_of(st.none(), subfields(1))),
    )


def controllers() -> st.SearchStrategy[Controller]:
    """Those that say more than an output to the controllers does."""
    made = st.builds(
        Controller,
        max_len=u16,
        controller_id=u16,
        reason=st.integers(0, 5),
        userdata=st.binary(max_size=9),
        pause=st.booleans(),
        meter=st.one_of(st.none(), st.integers(1, 0xFFFF)),
    )
    return made.filter(lambda each: each != Controller(each.max_len))


def plain_actions() -> st.SearchStrategy[FlowAction]:
    """Actions that every flow may have, in every version, in the form that ovs-ofctl prints them for OpenFlow 1.3."""
    outputs = ports.map(Output)
    return st.one_of(
        outputs,
        u16.map(lambda length: Output(0xFFFFFFFD, length)),
        st.builds(Output, st.integers(1, 100), st.just(0), st.integers(14, 9000)),
        st.builds(OutputReg, subfields(16)),
        controllers(),
        st.integers(0, 0xFFFFFF00).map(Group),
        st.builds(
            Bundle,
            st.sampled_from(HASH_FIELDS),
            u16,
            st.sampled_from(["active_backup", "hrw"]),
            st.lists(st.integers(1, 0xFEFF), max_size=4).map(tuple),
            st.one_of(st.none(), subfields(16)),
        ),
        reg_loads(),
        reg_moves(),
        set_fields(False),
        st.sampled_from([Exit(), PopQueue()]),
        u32.map(SetQueue),
        subfields().map(StackPush),
        subfields().map(StackPop),
        st.builds(CheckPacketLarger, u16, subfields(1)),
        st.builds(Resubmit, st.one_of(st.none(), st.integers(0, 0xFEFF)), st.integers(0, 254)),
        st.integers(0, 0xFEFF).map(Resubmit),
        st.builds(
            Multipath,
            st.sampled_from(HASH_FIELDS),
            u16,
            st.sampled_from(["modulo_n", "hash_threshold", "hrw", "iter_hash"]),
            u16,
            u16,
            subfields(16),
        ),
        learns(),
        st.builds(
            Sample,
            st.integers(1, 0xFFFF),
            u32,
            u32,
            u32,
            st.one_of(st.none(), st.integers(1, 0xFEFF)),
            st.sampled_from(["", "ingress", "egress"]),
        ),
        st.lists(st.binary(min_size=8, max_size=8), max_size=2).map(lambda parts: Note(b"".join(parts) + b"123456")),
    )


NESTED = st.one_of(plain_actions(), st.lists(plain_actions(), max_size=3).map(lambda found: Clone(tuple(found))))


@st.composite
def nats(draw: st.DrawFn) -> Nat:
    """Translations, as they are within `Ct`."""
    kind = draw(st.sampled_from(["", "src", "dst"]))
    if not kind:
        return Nat()
    if draw(st.booleans()):
        return Nat(kind)
    version, bits = draw(st.sampled_from([(4, 32), (6, 128)]))
    first = draw(st.integers(1, (1 << bits) - 2))
    last = draw(st.one_of(st.just(0), st.integers(first, (1 << bits) - 1)))
    low = draw(st.one_of(st.just(0), st.integers(1, 0xFFFF)))
    high = draw(st.one_of(st.just(0), st.integers(low, 0xFFFF))) if low else 0
    flags = draw(st.sampled_from([{}, {"hash": True}, {"random": True}, {"persistent": True, "random": True}]))
    return Nat(kind, version, first, last, low, high, **flags)


@st.composite
def cts(draw: st.DrawFn) -> Ct:
    """Through connection tracking."""
    commit = draw(st.booleans())
    inside: list[FlowAction] = [draw(nats())] if draw(st.booleans()) else []
    if commit and draw(st.booleans()):
        inside.append(RegLoad(SubField(OPENFLOW_FIELDS["ct_mark"], 3, 4), draw(st.integers(0, 15))))
    return Ct(
        commit,
        commit and draw(st.booleans()),
        draw(st.one_of(u16, st.builds(SubField, st.just(OPENFLOW_FIELDS["reg3"]), st.integers(0, 16), st.just(16)))),
        draw(st.one_of(st.none(), st.integers(0, 254))),
        draw(st.sampled_from([0, 21, 69])) if commit else 0,
        tuple(inside),
    )


def encap_nsh(kind: int, data: bytes) -> Encap:
    """A header of network services with both of its properties."""
    option = b"\x12\x34\x05" + bytes([len(data)]) + data + bytes(-len(data) % 8)
    return Encap(0x1894F, ((4, 1, bytes([kind, 0, 0, 0])), (4, 2, option)))


def any_action() -> st.SearchStrategy[FlowAction]:
    """Every action that can be applied, also those that need another match or another version."""
    return st.one_of(
        NESTED,
        set_fields(True),
        st.builds(Enqueue, st.integers(1, 0xFEFF), u32),
        st.one_of(
            st.builds(ModField, st.sampled_from(["eth_src", "eth_dst"]), st.integers(0, (1 << 48) - 1)),
            st.builds(ModField, st.sampled_from(["ipv4_src", "ipv4_dst"]), u32),
            st.builds(ModField, st.sampled_from(["tp_src", "tp_dst"]), u16),
            st.builds(ModField, st.just("ip_ttl"), u8),
            st.builds(ModField, st.just("ip_ecn"), st.integers(0, 3)),
            st.builds(ModField, st.just("ip_tos"), st.integers(0, 63).map(lambda dscp: dscp << 2)),
        ),
        st.builds(ModVlanVid, st.integers(0, 4095), st.booleans()),
        st.builds(ModVlanPcp, st.integers(0, 7), st.booleans()),
        st.builds(PopVlan, st.booleans()),
        st.sampled_from([PushVlan(0x8100), PushVlan(0x88A8), PushMpls(0x8847), PushMpls(0x8848)]),
        u16.map(PopMpls),
        u16.map(PushPbb),
        st.integers(0, 0xFFFFF).map(SetMplsLabel),
        st.integers(0, 7).map(SetMplsTc),
        u8.map(SetMplsTtl),
        st.lists(u16, min_size=1, max_size=3).map(lambda ids: DecTtl(tuple(ids))),
        st.sampled_from([PopPbb(), DecMplsTtl(), CopyTtlIn(), CopyTtlOut(), CtClear(), DebugRecirculate(), Decap()]),
        u32.map(SetTunnel),
        u64.map(lambda key: SetTunnel(key, True)),
        st.just(DeleteField(OPENFLOW_FIELDS["reg0"])),
        st.builds(Resubmit, st.one_of(st.none(), st.integers(0, 0xFEFF)), st.integers(0, 254), st.just(True)),
        st.integers(2, 64).flatmap(
            lambda count: st.builds(Conjunction, u32, st.integers(0, count - 1), st.just(count))
        ),
        st.builds(FinTimeout, u16, u16),
        cts(),
        st.sampled_from([0, 0x1894F, 0x18847, 0x18848]).map(Encap),
        st.builds(encap_nsh, st.integers(1, 2), st.binary(max_size=12)),
        st.builds(lambda space, kind: Decap(space << 16 | kind), u16, u16),
    )  # fmt: skip


@st.composite
def any_actions(draw: st.DrawFn, action: st.SearchStrategy[FlowAction] | None = None) -> tuple[FlowAction, ...]:
    """All actions of a flow, instructions included, in their order."""
    each = any_action() if action is None else action
    found: list[FlowAction] = []
    if draw(st.integers(0, 5)) == 0:
        found.append(Meter(draw(st.integers(1, 0xFFFF0000))))
    found += draw(st.lists(each, max_size=5))
    if draw(st.integers(0, 5)) == 0:
        found.append(ClearActions())
    if draw(st.integers(0, 5)) == 0:
        found.append(WriteActions(tuple(draw(st.lists(ports.map(Output), min_size=1, max_size=2)))))
    if draw(st.integers(0, 5)) == 0:
        mask = draw(st.integers(1, (1 << 64) - 1))
        found.append(WriteMetadata(draw(u64) & mask, mask))
    if draw(st.integers(0, 5)) == 0:
        found.append(GotoTable(draw(st.integers(1, 253))))
    return tuple(found)


# ---- flows, groups, meters

FLAGS = st.lists(st.sampled_from([flag for flag in FlowFlags if flag < 1 << 16]), unique=True).map(
    lambda flags: sum(map(int, flags))
)


@st.composite
def flow_mods(draw: st.DrawFn, action: st.SearchStrategy[FlowAction] | None = None) -> FlowMod:
    """Additions of flows."""
    return FlowMod(
        FlowCommand.ADD,
        draw(matches()),
        draw(any_actions(action)),
        priority=draw(u16),
        table=draw(st.one_of(st.none(), st.just(0))),
        cookie=draw(u64),
        idle_timeout_s=draw(u16),
        hard_timeout_s=draw(u16),
        flags=draw(FLAGS),
        importance=draw(u16),
    )


@st.composite
def flow_stats(draw: st.DrawFn) -> FlowStats:
    """Flows with what they have counted."""
    return FlowStats(
        draw(matches()),
        draw(any_actions()),
        draw(u16),
        draw(st.integers(0, 254)),
        draw(u64),
        draw(st.integers(0, 10**15)),
        draw(u64),
        draw(u64),
        draw(u16),
        draw(u16),
        draw(FLAGS),
        draw(u16),
        draw(st.one_of(st.none(), u16)),
        draw(st.one_of(st.none(), u16)),
    )


@st.composite
def group_mods(draw: st.DrawFn, action: st.SearchStrategy[FlowAction] | None = None) -> GroupMod:
    """Groups of all types, with selection methods."""
    kind = draw(st.sampled_from(list(GroupType)))
    watched = kind is GroupType.FAST_FAILOVER
    watching = watched or kind is GroupType.SELECT
    buckets = st.builds(
        Bucket,
        st.lists(any_action() if action is None else action, max_size=3).map(tuple),
        u16 if kind is GroupType.SELECT else st.just(0),
        st.integers(1, 0xFEFF) if watched else st.just(ANY_PORT),
        st.one_of(st.just(ANY_GROUP), st.integers(0, 0xFFFFFF00)) if watching else st.just(ANY_GROUP),
        st.none(),
    )
    members: dict[str, Any] = {}
    if kind is GroupType.SELECT and draw(st.booleans()):
        members = {"selection": draw(st.sampled_from(["hash", "dp_hash"])), "selection_param": draw(u64)}
        if members["selection"] == "hash" and draw(st.booleans()):
            members["fields"] = (("ipv4_src", 0xFFFFFFFF), ("ipv4_dst", draw(st.integers(1, 0xFFFFFFFF))))
    found = draw(st.lists(buckets, min_size=1, max_size=1 if kind is GroupType.INDIRECT else 3))
    return GroupMod(GroupCommand.ADD, draw(st.integers(0, 0xFFFFFF00)), kind, tuple(found), **members)


@st.composite
def meters(draw: st.DrawFn) -> MeterConfig:
    """Meters that drop."""
    burst = draw(st.booleans())
    band = st.builds(MeterBand, st.integers(1, 0xFFFFFFFF), u32 if burst else st.just(0))
    flags = draw(st.sampled_from([1, 2])) | 4 * burst | draw(st.sampled_from([0, 8]))
    return MeterConfig(draw(st.integers(1, 0xFFFF0000)), flags, tuple(draw(st.lists(band, min_size=1, max_size=3))))
