"""Any match, any action, any message of OpenFlow: strategies for tests of codecs and of what lies behind them.

What is made here is what a wire can say without loss: `matches()` hold what their fields need, and `actions(version)`
are those that this version (wire number) has of its own or by Nicira's extensions, in the form in which they are read.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from vswitch.fields.openflow import OPENFLOW_FIELDS, FlowField
from vswitch.messages import actions as act
from vswitch.messages import control as ctl
from vswitch.messages.base import Message
from vswitch.messages.flows import (
    ANY_GROUP,
    ANY_PORT,
    Bucket,
    FlowCommand,
    FlowFlags,
    FlowMod,
    FlowRemoved,
    FlowRemovedReason,
    GroupCommand,
    GroupMod,
    GroupType,
    MeterBand,
    MeterCommand,
    MeterMod,
    PacketIn,
    PacketInReason,
    PacketOut,
    Resume,
)
from vswitch.messages.match import FlowMatch, SubField
from vswitch.messages.ports import PortDescription, PortMod, PortStatus, PortStatusReason
from vswitch.messages.stats import ControllerStatus, ControllerStatusChanged, TableDescription

VERSIONS = (1, 2, 3, 4, 5, 6)

U8, U16, U32, U64 = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 32, 64))
PORTS = st.one_of(st.integers(1, 0xFEFF), st.sampled_from([0xFFFFFFF8, 0xFFFFFFFA, 0xFFFFFFFB, 0xFFFFFFFC, 0xFFFFFFFE]))
TABLES = st.integers(0, 253)

# What makes a packet have a field, for those that need more than one value can give.
_STACKS: tuple[dict[str, object], ...] = (
    {},
    {"eth_type": 0x0800},
    {"eth_type": 0x86DD},
    {"eth_type": 0x0806},
    {"eth_type": 0x8847},
    {"eth_type": 0x0800, "ip_proto": 6},
    {"eth_type": 0x86DD, "ip_proto": 6},
    {"eth_type": 0x0800, "ip_proto": 17},
    {"eth_type": 0x86DD, "ip_proto": 17},
    {"eth_type": 0x0800, "ip_proto": 132},
    {"eth_type": 0x0800, "ip_proto": 1},
    {"eth_type": 0x86DD, "ip_proto": 58},
    {"eth_type": 0x86DD, "ip_proto": 58, "icmpv6_type": 135},
    {"eth_type": 0x86DD, "ip_proto": 58, "icmpv6_type": 136},
)
_WHOLE = {"vlan_tci", "ip_tos"}
_TUNNEL = {"tun_src", "tun_dst", "tun_ipv6_src", "tun_ipv6_dst"}


def _holds(stack: dict[str, object], field: FlowField, vlan: bool) -> bool:
    return all(
        vlan if name == "vlan_vid" else stack.get(name) in allowed for name, allowed in field.prerequisites
    ) and field.name not in {"eth_type", "ip_proto", "vlan_vid", *stack}


@st.composite
def matches(draw, names: frozenset[str] | None = None, most: int = 6) -> FlowMatch:
    """A match of some fields, of these `names` if given, that some packet can have together."""
    stack = dict(draw(st.sampled_from(_STACKS)))
    vlan = draw(st.booleans())
    written: dict[str, Any] = dict(stack)
    if vlan:
        written["vlan_vid"] = draw(st.one_of(st.just((0x1000, 0x1000)), st.integers(0x1000, 0x1FFF)))
    elif draw(st.integers(0, 5)) == 0:
        written["vlan_vid"] = 0
    known = [
        field for field in OPENFLOW_FIELDS.values()
        if _holds(stack, field, vlan) and field.name not in _WHOLE and "xreg" not in field.name
        and not (field.name.startswith("ct_ipv6") and "ip_proto" in stack)
    ]  # fmt: skip
    tunnel = draw(st.sampled_from(["tun_src", "tun_ipv6_src"]))
    for field in draw(st.lists(st.sampled_from(known), max_size=most, unique_by=lambda each: each.name)):
        if field.name in _TUNNEL and ("ipv6" in field.name) != ("ipv6" in tunnel):
            continue
        written[field.name] = draw(_written(field))
    if names is not None:
        written = {name: value for name, value in written.items() if name in names}
    return FlowMatch(**written)


def _written(field: FlowField) -> st.SearchStrategy[object]:
    if field.view.kind.name == "ofport":
        return PORTS
    values = st.integers(1 if field.name.startswith("tun_ipv6") else 0, field.max)
    if field.name == "ip_frag":
        values = st.sampled_from([0, 1, 3])
    if not field.maskable or field.name == "ip_frag" or field.name in _TUNNEL:
        return values
    return st.one_of(
        values, st.tuples(values, st.integers(1, field.max)).map(lambda pair: (pair[0] & pair[1], pair[1]))
    )


SUB_FIELDS = st.sampled_from(
    [each for each in OPENFLOW_FIELDS.values() if each.writable and each.name not in {"in_port", "ip_tos"}]
).flatmap(
    lambda field: st.integers(0, field.bits - 1).flatmap(
        lambda start: st.integers(1, min(64, field.bits - start)).map(lambda bits: SubField(field, start, bits))
    )
)
REGISTER_BIT = st.integers(0, 31).map(lambda bit: SubField.of("reg3", bit, 1))


@st.composite
def set_fields(draw, masked: bool) -> act.SetField:
    field = draw(st.sampled_from(sorted(each.name for each in OPENFLOW_FIELDS.values() if each.writable)))
    known = OPENFLOW_FIELDS[field]
    value = draw(PORTS if field == "in_port" else st.integers(0, known.max))
    if field == "ip_tos":
        value &= 0xFC
    mask = draw(st.integers(1, known.max)) if masked and known.maskable else known.max
    return act.SetField(known, value & mask, mask)


@st.composite
def moves(draw) -> act.RegMove:
    destination = draw(SUB_FIELDS)
    wide = [each for each in OPENFLOW_FIELDS.values() if each.bits >= destination.bits and each.name != "ip_tos"]
    source = draw(st.sampled_from(wide))
    start = draw(st.integers(0, source.bits - destination.bits))
    return act.RegMove(SubField(source, start, destination.bits), destination)


@st.composite
def loads(draw) -> act.RegLoad:
    destination = draw(SUB_FIELDS)
    return act.RegLoad(destination, draw(st.integers(0, (1 << destination.bits) - 1)))


@st.composite
def learn_specs(draw) -> act.LearnSpec:
    destination = draw(SUB_FIELDS)
    kind = draw(st.sampled_from(["match", "load", "output"]))
    if kind != "output" and draw(st.booleans()):
        return act.LearnSpec(
            kind, destination.bits, None, draw(st.integers(0, (1 << destination.bits) - 1)), destination
        )
    source = draw(moves()).source if kind == "output" else draw(_source(destination.bits))
    return act.LearnSpec(kind, source.bits, source, 0, None if kind == "output" else destination)


def _source(bits: int) -> st.SearchStrategy[SubField]:
    wide = [each for each in OPENFLOW_FIELDS.values() if each.bits >= bits and each.name != "ip_tos"]
    return st.sampled_from(wide).flatmap(
        lambda field: st.integers(0, field.bits - bits).map(lambda start: SubField(field, start, bits))
    )


def _hash(members: st.SearchStrategy[tuple[int, ...]], destination: st.SearchStrategy[SubField | None]):
    return st.builds(
        act.Bundle,
        st.sampled_from(act.HASH_FIELDS),
        U16,
        st.sampled_from(["active_backup", "hrw"]),
        members,
        destination,
    )


_NATS = st.one_of(
    st.builds(act.Nat, st.sampled_from(["", "src", "dst"]), persistent=st.booleans()),
    st.builds(
        act.Nat, st.just("src"), st.just(4), U32, st.integers(1, 1 << 31), st.integers(1, 9), st.integers(10, 99)
    ),
    st.builds(
        act.Nat, st.just("dst"), st.just(6), st.integers(0, 1 << 127), st.integers(1, 1 << 127), hash=st.booleans()
    ),
    st.builds(act.Nat, st.just("dst"), st.just(4), U32, random=st.booleans()),
)

_REG16 = st.sampled_from([SubField.of("reg0", 0, 16), SubField.of("reg7", 16, 16)])

NICIRA_ACTIONS: st.SearchStrategy[act.FlowAction] = st.one_of(
    st.builds(act.Resubmit, st.one_of(st.none(), st.integers(1, 0xFEFF)), st.one_of(st.just(255), TABLES)),
    st.builds(act.Resubmit, st.none(), TABLES, st.just(True)),
    st.just(act.PopQueue()),
    st.integers(1, 5).flatmap(lambda n: st.binary(min_size=8 * n - 2, max_size=8 * n - 2)).map(act.Note),
    st.builds(
        act.Multipath, st.sampled_from(act.HASH_FIELDS), U16,
        st.sampled_from(["modulo_n", "hash_threshold", "hrw", "iter_hash"]), st.integers(0, 255), U32,
        st.just(SubField.of("reg1", 4, 12)),
    ),
    _hash(st.lists(PORTS, max_size=5).map(tuple), st.none()),
    _hash(st.lists(PORTS, max_size=5).map(tuple), st.just(SubField.of("reg1", 0, 16))),
    st.builds(
        act.OutputReg,
        st.builds(SubField.of, st.sampled_from(["reg0", "tcp_src", "xreg0"]), st.integers(0, 4), st.just(11)), U16,
    ),
    st.builds(act.Exit),
    st.builds(act.FinTimeout, U16, U16),
    st.builds(act.Controller, U16, U16, U8),
    st.builds(
        act.Controller, U16, U16, U8, st.binary(min_size=1, max_size=20), st.booleans(), st.one_of(st.none(), U32)
    ),
    st.builds(act.DecTtl, st.lists(U16, min_size=2, max_size=6).map(tuple)),
    SUB_FIELDS.map(act.StackPush),
    SUB_FIELDS.map(act.StackPop),
    st.builds(act.Sample, st.integers(1, 65535), U32, U32, U32),
    st.builds(
        act.Sample, st.integers(1, 65535), U32, U32, U32, st.integers(1, 99),
        st.sampled_from(["", "ingress", "egress"]),
    ),
    st.integers(2, 64).flatmap(lambda n: st.builds(act.Conjunction, U32, st.integers(0, n - 1), st.just(n))),
    st.builds(act.CtClear),
    st.builds(
        act.Ct, st.just(True), st.booleans(), st.one_of(U16, _REG16), st.one_of(st.none(), TABLES), U16,
        st.one_of(st.just(()), st.tuples(_NATS), st.just((act.Note(bytes(6)),))),
    ),
    st.builds(act.Encap, U32, st.lists(st.tuples(U16, U8, st.binary(max_size=9)), max_size=3).map(tuple)),
    st.builds(act.Decap, st.one_of(st.none(), st.integers(0, 9))),
    st.builds(act.CheckPacketLarger, U16, REGISTER_BIT),
    st.builds(act.Output, PORTS, st.just(0), st.integers(14, 1 << 31)),
    st.builds(act.DebugRecirculate),
    st.builds(
        act.Learn, st.lists(learn_specs(), max_size=4).map(tuple), TABLES, U16, U16, U16, U64, st.booleans(),
        st.booleans(), U16, U16, st.integers(0, 9), st.one_of(st.none(), REGISTER_BIT),
    ),
)  # fmt: skip

_OUTPUTS = st.one_of(st.builds(act.Output, PORTS, U16), st.builds(act.Output, st.just(0xFFFFFFFD), U16))
_MODS_10 = st.one_of(
    st.builds(act.ModField, st.sampled_from(["eth_src", "eth_dst"]), st.integers(0, (1 << 48) - 1)),
    st.builds(act.ModField, st.sampled_from(["ipv4_src", "ipv4_dst"]), U32),
    st.builds(act.ModField, st.just("ip_tos"), st.integers(0, 63).map(lambda dscp: dscp << 2)),
    st.builds(act.ModField, st.sampled_from(["tp_src", "tp_dst"]), U16),
)
_SINCE_11 = st.one_of(
    st.builds(act.CopyTtlIn), st.builds(act.CopyTtlOut),
    st.builds(act.PushVlan, st.sampled_from([0x8100, 0x88A8])), st.builds(act.PopVlan),
    st.builds(act.ModField, st.just("ip_ttl"), U8),
)  # fmt: skip
_MPLS = st.one_of(
    st.builds(act.PushMpls, st.sampled_from([0x8847, 0x8848])), st.builds(act.PopMpls, U16),
    st.builds(act.SetMplsTtl, U8), st.builds(act.DecMplsTtl), st.builds(act.DecTtl), st.builds(act.SetQueue, U32),
    st.builds(act.Group, st.integers(0, 0xFFFFFF00)), moves(),
)  # fmt: skip
_MPLS_11 = st.one_of(st.builds(act.SetMplsLabel, st.integers(0, 0xFFFFF)), st.builds(act.SetMplsTc, st.integers(0, 7)))


def _own_actions(version: int) -> st.SearchStrategy[act.FlowAction]:
    kinds = [_OUTPUTS, _MPLS]
    if version == 1:
        kinds += [
            _MODS_10, _MPLS_11, st.builds(act.Enqueue, PORTS, U32), st.builds(act.ModVlanVid, st.integers(0, 4095)),
            st.builds(act.ModVlanPcp, st.integers(0, 7)), st.just(act.PopVlan(strip=True)),
        ]  # fmt: skip
    else:
        kinds.append(_SINCE_11)
    if version < 3:
        kinds += [st.builds(act.SetTunnel, U32), st.builds(act.SetTunnel, U64, st.just(True))]
    if version < 6:
        kinds.append(loads())
    if version == 2:
        kinds += [
            _MODS_10, _MPLS_11, st.builds(act.ModVlanVid, st.integers(0, 4095), st.just(False)),
            st.builds(act.ModVlanPcp, st.integers(0, 7), st.just(False)),
            st.builds(act.ModField, st.just("ip_ecn"), st.integers(0, 3)),
        ]  # fmt: skip
    if version >= 3:
        kinds.append(set_fields(masked=version >= 6))
    if version >= 4:
        kinds += [st.builds(act.PushPbb), st.builds(act.PopPbb)]
    if version >= 6:
        kinds.append(st.builds(act.Meter, U32))
    return st.one_of(kinds)


def actions(version: int, most: int = 5) -> st.SearchStrategy[tuple[act.FlowAction, ...]]:
    """Lists of actions, those within others included."""
    one = st.one_of(_own_actions(version), NICIRA_ACTIONS)
    inner = st.lists(one, max_size=3).map(tuple).map(act.Clone)
    return st.lists(st.one_of(one, one, one, inner), max_size=most).map(tuple)


@st.composite
def flow_actions(draw, version: int) -> tuple[act.FlowAction, ...]:
    """Those of a flow: with instructions, where the version has them."""
    applied: tuple[act.FlowAction, ...] = draw(actions(version))
    if version == 1:
        return applied
    meter = [act.Meter(draw(U32))] if 4 <= version <= 5 and draw(st.booleans()) else []
    behind: list[act.FlowAction] = []
    if draw(st.booleans()):
        behind.append(act.ClearActions())
    if draw(st.booleans()):
        behind.append(act.WriteActions(draw(actions(version, 3))))
    if draw(st.booleans()):
        behind.append(act.WriteMetadata(draw(U64), draw(U64)))
    if draw(st.booleans()):
        behind.append(act.GotoTable(draw(TABLES)))
    return (*meter, *applied, *behind)


# ---- messages


@st.composite
def old_matches(draw, version: int) -> FlowMatch:
    """Those that OpenFlow 1.0 or 1.1 can say without Nicira's extensions."""
    stack = dict(draw(st.sampled_from(_STACKS[:11])))
    written: dict[str, Any] = {}
    if draw(st.booleans()):
        written["in_port"] = draw(PORTS)
    for name in ("eth_src", "eth_dst"):
        if draw(st.booleans()):
            written[name] = draw(st.integers(0, (1 << 48) - 1))
    if draw(st.booleans()):
        written["vlan_vid"] = draw(st.sampled_from([0, 0x1005, 0x1FFF]))
        if written["vlan_vid"] and draw(st.booleans()):
            written["vlan_pcp"] = draw(st.integers(0, 7))
    written |= stack
    if stack.get("eth_type") == 0x8847 and version == 2:
        written["mpls_label"] = draw(st.integers(0, 0xFFFFF))
    if stack.get("eth_type") in (0x0800, 0x0806):
        names = ("ipv4_src", "ipv4_dst") if stack["eth_type"] == 0x0800 else ("arp_spa", "arp_tpa")
        for name in names:
            address, bits = draw(U32), draw(st.integers(0, 32))
            mask = 0xFFFFFFFF << 32 - bits & 0xFFFFFFFF
            if mask:
                written[name] = (address & mask, mask)
    prefix = {6: "tcp", 17: "udp", 132: "sctp"}.get(stack.get("ip_proto", 0))
    if prefix and draw(st.booleans()):
        written[f"{prefix}_src"] = draw(U16)
    return FlowMatch(**written)


def _frames() -> st.SearchStrategy[bytes]:
    return st.binary(max_size=64)


@st.composite
def pipelines(draw, version: int, port: st.SearchStrategy[int] = PORTS) -> FlowMatch:
    """What is told of a packet besides its bytes."""
    written: dict[str, Any] = {"in_port": draw(port)}
    if version >= 3:
        for name in draw(st.lists(st.sampled_from(["metadata", "tun_id", "reg0", "reg9", "skb_mark"]), unique=True)):
            written[name] = draw(st.integers(0, OPENFLOW_FIELDS[name].max))
    return FlowMatch(**written)


@st.composite
def flow_mods(draw, version: int) -> FlowMod:
    command = draw(st.sampled_from(FlowCommand))
    deletes = command >= FlowCommand.DELETE
    cookie_mask = draw(U64) if command is not FlowCommand.ADD else 0
    cookie = draw(U64)
    if version == 1 and cookie_mask:
        cookie &= cookie_mask
    flags = draw(st.integers(0, {1: 3, 2: 3, 3: 7}.get(version, 31)))
    if version <= 2 and command is FlowCommand.ADD:
        flags |= FlowFlags.RESET_COUNTS
    old = old_matches(version)
    return FlowMod(
        command, draw(old if version == 2 else st.one_of(old, matches())), draw(flow_actions(version)), draw(U16),
        None if version == 1 else draw(TABLES), cookie, cookie_mask, draw(U16), draw(U16), flags,
        draw(U16) if version >= 5 else 0, draw(U32), draw(PORTS) if deletes else ANY_PORT,
        draw(U32) if deletes and version > 1 else ANY_GROUP,
    )  # fmt: skip


@st.composite
def flow_removals(draw, version: int) -> FlowRemoved:
    most = {1: 2, 5: 5, 6: 5}.get(version, 3)
    return FlowRemoved(
        draw(old_matches(version) if version < 3 else matches()), draw(U16), 0 if version == 1 else draw(TABLES),
        draw(U64), draw(st.sampled_from([each for each in FlowRemovedReason if each <= most])),
        draw(st.integers(0, (1 << 32) * 10**9 - 1)), draw(U16), draw(U16) if version >= 3 else 0, draw(U64), draw(U64),
    )  # fmt: skip


@st.composite
def packet_ins(draw, version: int, shape: int = 0) -> PacketIn:
    """`shape`: as `Dialect.packet_in` has it; 1 and 2 tell more than OpenFlow 1.0 does."""
    wide = 3 if shape else version
    frame = draw(_frames())
    reasons = [each for each in PacketInReason if each <= (5 if version >= 5 else 2)]
    return PacketIn(
        frame, draw(U16), draw(st.sampled_from(reasons)), draw(pipelines(wide)), draw(TABLES) if wide > 1 else 0,
        draw(U64) if shape or version >= 4 else (1 << 64) - 1, draw(U32),
        *((draw(st.binary(max_size=9)), draw(st.binary(max_size=9))) if shape == 2 else ()),
    )  # fmt: skip


@st.composite
def packet_outs(draw, version: int) -> PacketOut:
    port = st.one_of(st.integers(1, 0xFEFF), st.sampled_from([0xFFFFFFFD, 0xFFFFFFFE, 0xFFFFFFFF]))
    metadata = draw(pipelines(version if version == 6 else 1, port))
    return PacketOut(draw(_frames()), draw(actions(version)), metadata, draw(U32))


@st.composite
def port_descriptions(draw, version: int) -> PortDescription:
    config, state, features = (0x7F, 1, 0xF87F) if version == 1 else (0x65, 7, 0xFFFF)
    # `features`: the bits that there are in 1.0, as later versions number them
    bits = st.integers(0, 0xFFFF).map(lambda each: each & features)
    speeds = (0, 0) if version == 1 else (draw(U32), draw(U32))
    return PortDescription(
        draw(PORTS), draw(st.integers(0, (1 << 48) - 1)), draw(st.text("abcdef0123-", max_size=15)),
        draw(st.integers(0, 0x7F)) & config, draw(st.integers(0, 7)) & state, draw(bits), draw(bits), draw(bits),
        draw(bits), *speeds,
    )  # fmt: skip


@st.composite
def port_mods(draw, version: int) -> PortMod:
    known = 0x7F if version == 1 else 0x65
    config, mask = draw(st.integers(0, 0x7F)) & known, draw(st.integers(0, 0x7F)) & known
    advertise = draw(U16) & (0xF87F if version == 1 else 0xFFFF)
    return PortMod(draw(PORTS), draw(st.integers(0, (1 << 48) - 1)), config, mask, advertise)


@st.composite
def buckets(draw, version: int) -> Bucket:
    number = draw(st.one_of(st.none(), st.integers(0, 0xFFFFFF00))) if version in (1, 6) else None
    port = draw(st.one_of(st.just(ANY_PORT), PORTS))
    return Bucket(draw(actions(version, 3)), draw(U16), port, draw(U32), number)


_SELECTIONS = st.one_of(
    st.just(("", 0, ())),
    st.tuples(st.just("dp_hash"), U64, st.just(())),
    st.tuples(
        st.just("hash"), U64,
        st.lists(st.tuples(st.sampled_from(["ipv4_src", "tcp_dst"]), st.integers(1, 0xFFFF)), max_size=2).map(tuple),
    ),
)  # fmt: skip


@st.composite
def group_mods(draw, version: int) -> GroupMod:
    new = version in (1, 6)
    command = draw(st.sampled_from([each for each in GroupCommand if new or each not in (3, 5)]))
    bucket = draw(st.sampled_from([0, 7, 0xFFFFFF00, 0xFFFFFFFD, 0xFFFFFFFE])) if command in (3, 5) else 0xFFFFFFFF
    return GroupMod(
        command, draw(U32), draw(st.sampled_from(GroupType)),
        tuple(draw(st.lists(buckets(version), max_size=3))), bucket,
        *(draw(_SELECTIONS) if new else ()),
    )  # fmt: skip


_BANDS = st.one_of(
    st.builds(MeterBand, U32, U32), st.builds(MeterBand, U32, U32, st.just("dscp_remark"), st.integers(0, 63))
)
_METER_MODS = st.builds(
    MeterMod,
    st.sampled_from(MeterCommand),
    U32,
    st.sampled_from([0, 1, 2, 4, 5, 8, 13, 14]),
    st.lists(_BANDS, max_size=3).map(tuple),
)


@st.composite
def _configs(draw, kinds: int, whole: bool) -> ctl.AsyncConfig:
    names = (
        "packet_in", "port_status", "flow_removed", "role_status", "table_status", "requestforward", "flow_stats",
        "cont_status",
    )[:kinds]  # fmt: skip
    halves = []
    for _ in range(2):
        chosen = names if whole else [name for name in names if draw(st.booleans())]
        halves.append(tuple((name, draw(U32)) for name in chosen))
    return ctl.AsyncConfig(*halves)


@st.composite
def _roles(draw, version: int, cls: type[Any]) -> Any:
    if version < 3 or draw(st.booleans()):
        return cls(draw(st.sampled_from([ctl.ControllerRole.EQUAL, ctl.ControllerRole.PRIMARY])), None, True)
    role = draw(st.sampled_from(ctl.ControllerRole))
    says = cls is ctl.RoleReply or role >= ctl.ControllerRole.PRIMARY
    short_id = draw(st.one_of(st.none(), st.integers(1, 0xFFFF))) if version == 6 else None
    return cls(role, draw(st.integers(0, (1 << 64) - 2)) if says else None, False, short_id)


@st.composite
def _features(draw, version: int) -> ctl.FeaturesReply:
    known = {1: 0x30067, 2: 0x1006F, 3: 0x16F, 4: 0x16F, 5: 0x16F, 6: 0x76F}[version]
    told = tuple(draw(st.lists(port_descriptions(version), max_size=3))) if version <= 3 else ()
    return ctl.FeaturesReply(
        draw(U64), draw(U32), draw(U8), draw(U32) & known, draw(U8) if version >= 4 else 0,
        draw(U32) if version == 1 else 0, told,
    )  # fmt: skip


_MAPS = st.lists(
    st.builds(ctl.TlvMap, U16, U8, st.integers(1, 31).map(lambda words: 4 * words), st.integers(0, 63)), max_size=4
).map(tuple)
_ERRORS = st.sampled_from(["hello_failed.incompatible", "bad_request.bad_len", "bad_action.bad_type", "77/1"])


def _control(version: int) -> list[st.SearchStrategy[Message]]:
    ttl = st.booleans() if version in (2, 3) else st.just(False)
    return [
        st.builds(ctl.Hello, st.frozensets(st.integers(1, 70), min_size=1)),
        st.builds(ctl.Error, _ERRORS, st.binary(max_size=64)),
        st.builds(ctl.EchoRequest, st.binary(max_size=20)), st.builds(ctl.EchoReply, st.binary(max_size=20)),
        st.builds(ctl.Experimenter, st.integers(1, 0x2000), U32, st.binary(max_size=20)),
        st.builds(ctl.FeaturesRequest), _features(version), st.builds(ctl.GetConfigRequest),
        st.builds(ctl.GetConfigReply, st.integers(0, 3), U16, ttl),
        st.builds(ctl.SetConfig, st.integers(0, 3), U16, ttl),
        st.builds(ctl.BarrierRequest), st.builds(ctl.BarrierReply),
        _roles(version, ctl.RoleRequest), _roles(version, ctl.RoleReply),
        st.builds(ctl.SetAsync, _configs(3, True), st.just(True)),
        st.builds(ctl.SetAsync, _configs(8, False), st.just(True)),
        st.builds(ctl.BundleControl, U32, st.sampled_from(ctl.BundleControlType), st.integers(0, 3)),
        st.builds(ctl.FlowModTableId, st.booleans()), st.builds(ctl.SetFlowFormat, st.sampled_from([0, 2])),
        st.builds(ctl.SetPacketInFormat, st.integers(0, 2)), st.builds(ctl.SetControllerId, U16),
        st.builds(ctl.TlvTableMod, st.integers(0, 2), _MAPS), st.builds(ctl.TlvTableRequest),
        st.builds(ctl.TlvTableReply, U32, U16, _MAPS),
    ]  # fmt: skip


def _later(version: int) -> list[st.SearchStrategy[Message]]:
    """Messages that not every version has."""
    found: list[st.SearchStrategy[Message]] = []
    if version >= 4:
        config = _configs(3, True) if version == 4 else _configs(8, False)
        found += [_METER_MODS, st.builds(ctl.SetAsync, config), st.builds(ctl.AsyncGet, st.one_of(st.none(), config))]
    if version >= 5:
        role = st.sampled_from([ctl.ControllerRole.EQUAL, ctl.ControllerRole.SECONDARY])
        found += [
            st.builds(ctl.RoleStatus, role, st.integers(0, 2), st.one_of(st.none(), st.integers(0, 99))),
            st.builds(
                ctl.TableStatus, st.integers(3, 4),
                st.builds(
                    TableDescription, TABLES, st.booleans(), st.integers(1, 7), st.just(True), st.integers(1, 50),
                    st.integers(51, 99), st.integers(0, 100),
                ),
            ),
            st.builds(ctl.RequestForward, st.one_of(group_mods(version), _METER_MODS), U32),
        ]  # fmt: skip
    if version >= 6:
        status = st.builds(
            ControllerStatus, st.integers(0, 0xFFFF), st.integers(0, 3), st.integers(0, 6), st.booleans(),
            st.sampled_from(["", "tcp:192.0.2.1:6653"]),
        )  # fmt: skip
        found.append(st.builds(ControllerStatusChanged, status))
    return found


def messages(version: int) -> st.SearchStrategy[Message]:
    """Any message of this version but statistics, which `tests.openflow_stats` has."""
    changes: list[st.SearchStrategy[Message]] = [flow_mods(version), group_mods(version), port_mods(version)]
    bundled = st.builds(ctl.BundleAdd, U32, st.integers(0, 3), st.one_of(changes), st.just(XID))
    port_status = st.builds(PortStatus, st.sampled_from(PortStatusReason), port_descriptions(version))
    resume = st.builds(Resume, packet_ins(version, 2))
    return st.one_of(
        *changes, flow_removals(version), packet_ins(version), packet_outs(version), port_status, resume, bundled,
        st.one_of(_control(version)), *_later(version),
    )  # fmt: skip


XID = 0x12345678
"""Of the messages that are made here, for those that hold others."""
