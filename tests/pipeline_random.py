"""Random pipelines, and random packets that have something to do with them."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from tests.naive_pipeline import NaiveGroup, NaiveRule, NaiveSwitch
from tests.pipeline import LOCAL, PlainGroup, PlainView, set_field
from vswitch.fields.kinds import OPENFLOW_PORTS as PORT
from vswitch.fields.openflow import OPENFLOW_FIELDS
from vswitch.messages import actions as a
from vswitch.messages.flows import ANY_GROUP, ANY_PORT, Bucket, GroupType
from vswitch.messages.match import FlowMatch, SubField
from vswitch.messages.ports import PortConfig
from vswitch.ofproto.settings import PlacedMirror
from vswitch.ofproto.translation import Config, MacLearned, PortVlan
from vswitch.packet import build

MACS = (0x020000000001, 0x020000000002, 0x0200000000F1, 0x01005E000001)
VIDS = (0, 5, 7, 0xFFF)
IPV4 = (0x0A000001, 0x0A000002, 0x0A010001, 0xC0A80001)
IPV6 = (0xFE80 << 112 | 1, 0x20010DB8 << 96 | 1, 0x20010DB8 << 96 | 2)
PORTS = (53, 80, 81, 0x8000)
TTLS = (0, 1, 2, 3, 64, 255)
TOS = (0, 1, 0xB8, 0x20)
LABELS = (0, 3, 16, 0xFFFFF)


# ---- packets


def random_frame(chance: Random) -> bytes:
    pick = chance.choice
    kind = pick(("ipv4", "ipv4", "ipv4", "ipv6", "arp", "mpls", "mpls", "other"))
    eth_type, payload = _network(chance, kind)
    frame = build.ethernet(pick(MACS), pick(MACS[:3]), eth_type, payload)
    for _ in range(pick((0, 0, 0, 1, 1, 2, 3))):
        frame = build.vlan(frame, pick(VIDS), pick((0, 3, 7)), pick((0x8100, 0x88A8)))
    return frame


def variant(chance: Random, frame: bytes) -> bytes:
    """Almost the same: some bits of it are flipped."""
    data = bytearray(frame)
    for _ in range(chance.choice((1, 1, 2, 5))):
        data[chance.randrange(min(len(data), 80))] ^= 1 << chance.randrange(8)
    return bytes(data)


def _network(chance: Random, kind: str) -> tuple[int, bytes]:
    pick = chance.choice
    if kind == "ipv4":
        return 0x0800, _ipv4(chance)
    if kind == "ipv6":
        protocol, payload = _transport(chance, 58)
        return 0x86DD, build.ipv6(
            pick(IPV6), pick(IPV6), protocol, payload, traffic_class=pick(TOS), label=pick((0, 5)), hop_limit=pick(TTLS)
        )
    if kind == "arp":
        return 0x0806, build.arp(pick((1, 2)), pick(MACS[:3]), pick(IPV4), pick(MACS[:3]), pick(IPV4))
    if kind == "mpls":
        depth = pick((1, 1, 2, 3, 4))
        entries = b""
        for left in range(depth, 0, -1):
            entry = pick(LABELS) << 12 | pick((0, 5)) << 9 | (left == 1) << 8 | pick(TTLS)
            entries += entry.to_bytes(4, "big")
        return pick((0x8847, 0x8848)), entries + _ipv4(chance)
    return pick((0x88B5, 0x0801)), chance.randbytes(20)


def _ipv4(chance: Random) -> bytes:
    pick = chance.choice
    protocol, payload = _transport(chance, 1)
    packet = bytearray(build.ipv4(pick(IPV4), pick(IPV4), protocol, payload, tos=pick(TOS), ttl=pick(TTLS)))
    fragment = pick((0, 0, 0, 0, 0, 0x2000, 0x0008)) if protocol != 132 else 0
    if fragment:
        packet[6:8] = fragment.to_bytes(2, "big")
    return bytes(packet)


def _transport(chance: Random, icmp: int) -> tuple[int, bytes]:
    pick = chance.choice
    protocol = pick((6, 17, 17, icmp, 89))
    if protocol == 6:
        return 6, build.tcp(pick(PORTS), pick(PORTS), 1, 2, pick((0x10, 0x02, 0x11)), b"x" * pick((0, 40)))
    if protocol == 17:
        return 17, build.udp(pick(PORTS), pick(PORTS), b"x" * pick((0, 5, 100)))
    if protocol == 1:
        return 1, bytes((pick((0, 8)), pick((0, 1)), 0, 0, 0, 0, 0, 0))
    if protocol == 58:
        kind = pick((128, 135, 136))
        option = bytes((1 if kind == 135 else 2, 1)) + pick(MACS[:3]).to_bytes(6, "big")
        body = pick(IPV6).to_bytes(16, "big") + option
        return 58, bytes((kind, pick((0, 0, 1)), 0, 0, 0, 0, 0, 0)) + body
    return protocol, chance.randbytes(24)


# ---- rules

_VALUES: dict[str, tuple[int, ...]] = {
    "eth_src": MACS, "eth_dst": MACS, "eth_type": (0x0800, 0x86DD, 0x0806, 0x8847), "ipv4_src": IPV4, "ipv4_dst": IPV4,
    "ipv6_src": IPV6, "ipv6_dst": IPV6, "ip_ttl": TTLS, "ip_dscp": (0, 46, 8), "ip_ecn": (0, 1), "ip_tos": TOS,
    "tcp_src": PORTS, "tcp_dst": PORTS, "udp_src": PORTS, "udp_dst": PORTS, "arp_op": (1, 2), "arp_spa": IPV4,
    "arp_tpa": IPV4, "arp_sha": MACS, "arp_tha": MACS, "icmpv4_type": (0, 8), "icmpv6_type": (128, 135, 136),
    "nd_target": IPV6, "nd_sll": MACS, "nd_tll": MACS, "mpls_label": LABELS, "mpls_tc": (0, 5), "mpls_bos": (0, 1),
    "mpls_ttl": TTLS, "vlan_vid": tuple(0x1000 | vid for vid in VIDS), "vlan_pcp": (0, 3, 7), "in_port": (1, 2, 3),
    "metadata": (0, 1, 2, 0x100000001), "reg0": (0, 1, 2, 0x0A000001), "reg1": (0, 1, 5), "reg2": (0, 64, 80),
    "tun_id": (0, 1, 5), "skb_mark": (0, 1), "ip_proto": (6, 17, 1, 58), "ipv6_label": (0, 5), "xreg0": (0, 1, 2),
    "actset_output": (1, 2, 0xFFFFFFF7), "ip_frag": (0, 1, 3), "tcp_flags": (2, 16), "xxreg0": (0, 1 << 64, 5),
}  # fmt: skip
_NEEDED = {
    "ip": ({"eth_type": 0x0800}, {"eth_type": 0x86DD}),
}


def random_match(chance: Random) -> FlowMatch:
    """Of up to four fields, with what they need."""
    chosen: dict[str, int | tuple[int, int]] = {}
    for _ in range(chance.choice((0, 1, 1, 2, 2, 3, 4))):
        name = chance.choice(tuple(_VALUES))
        each = OPENFLOW_FIELDS[name]
        fields: dict[str, int | tuple[int, int]] = {name: _value(chance, name)}
        for need, allowed in each.prerequisites:
            fields[need] = (0x1000, 0x1000) if need == "vlan_vid" else chance.choice(allowed)
        if any(other in chosen and chosen[other] != value for other, value in fields.items()):
            continue
        try:
            FlowMatch(**chosen, **{each: value for each, value in fields.items() if each not in chosen})
        except ValueError:
            continue
        chosen.update(fields)
    return FlowMatch(**chosen)


def _value(chance: Random, name: str) -> int | tuple[int, int]:
    each = OPENFLOW_FIELDS[name]
    value = chance.choice(_VALUES[name])
    if name == "vlan_vid" and chance.random() < 0.3:
        return chance.choice(((0x1000, 0x1000), 0))  # some tag, or none
    if each.maskable and chance.random() < 0.4:
        mask = (
            each.max ^ (1 << chance.randrange(each.bits)) - 1
            if chance.random() < 0.7
            else chance.getrandbits(each.bits)
        )
        return value & mask, mask
    return value


_SETTABLE = tuple(name for name in _VALUES if OPENFLOW_FIELDS[name].writable)
_MOVABLE = tuple(
    name for name in _VALUES if name not in ("actset_output", "in_port", "ip_frag", "vlan_vid", "mpls_bos")
)


def _subfield(chance: Random, name: str, bits: int) -> SubField:
    each = OPENFLOW_FIELDS[name]
    return SubField(each, chance.randrange(each.bits - bits + 1), bits)


def random_set(chance: Random) -> a.FlowAction:
    name = chance.choice(_SETTABLE)
    each = OPENFLOW_FIELDS[name]
    value = chance.choice(_VALUES[name])
    if name == "in_port":
        return set_field(name, value)
    if each.maskable and name != "vlan_vid" and chance.random() < 0.3:
        return set_field(name, value, chance.getrandbits(each.bits) | 1)
    return set_field(name, value)


def random_change(chance: Random) -> a.FlowAction:
    """Something that changes the packet."""
    kind = chance.randrange(16)
    if kind < 6:
        return random_set(chance)
    if kind < 8:
        source = chance.choice(_MOVABLE)
        destination = chance.choice([name for name in _SETTABLE if name != "in_port"])
        most = min(OPENFLOW_FIELDS[source].bits, OPENFLOW_FIELDS[destination].bits)
        bits = chance.choice((most, max(1, most // 2), 1))
        return a.RegMove(_subfield(chance, source, bits), _subfield(chance, destination, bits))
    if kind == 8:
        return a.ModField(*chance.choice((("tp_src", 80), ("tp_dst", 53), ("ip_tos", 0xB8), ("ipv4_src", IPV4[0]))))
    if kind == 9:
        return chance.choice((a.ModVlanVid(5), a.ModVlanPcp(3), a.PopVlan(), a.PushVlan(0x8100), a.PushVlan(0x88A8)))
    if kind == 10:
        return chance.choice((a.PopVlan(), a.PushVlan()))
    if kind == 11:
        return chance.choice((a.PushMpls(), a.PopMpls(0x0800), a.PopMpls(0x8847), a.PushMpls(0x8848)))
    if kind == 12:
        return a.DecTtl()
    if kind == 13:
        return chance.choice((a.DecMplsTtl(), a.SetMplsLabel(77), a.SetMplsTtl(9), a.SetMplsTc(2)))
    if kind == 14:
        name = chance.choice(_MOVABLE)
        each = OPENFLOW_FIELDS[name]
        return a.StackPush(_subfield(chance, name, chance.choice((each.bits, 1))))
    if chance.random() < 0.5:
        return chance.choice((a.SetQueue(1), a.PopQueue(), a.SetTunnel(5), a.WriteMetadata(0x10, 0xF0)))
    name = chance.choice([name for name in _SETTABLE if name != "in_port"])
    each = OPENFLOW_FIELDS[name]
    return a.StackPop(_subfield(chance, name, chance.choice((each.bits, 1))))


def random_output(chance: Random, groups: int) -> a.FlowAction:
    kind = chance.randrange(12)
    if kind < 7:
        return a.Output(chance.choice((1, 2, 3, 4, 9, LOCAL, PORT["IN_PORT"])))
    if kind == 7:
        return a.Output(chance.choice((PORT["FLOOD"], PORT["ALL"])))
    if kind == 8:
        return a.Output(chance.choice((PORT["CONTROLLER"], PORT["NORMAL"])), 0xFFFF)
    if kind == 9:
        return chance.choice((a.Enqueue(3, 1), a.OutputReg(SubField.of("reg0")), a.Controller(reason=1)))
    if kind == 10:
        return a.Output(chance.choice((2, 3)), 0, 40)
    return a.Group(chance.randrange(1, groups + 2))


def random_actions(chance: Random, table: int, tables: int, groups: int) -> tuple[a.FlowAction, ...]:
    actions: list[a.FlowAction] = []
    for _ in range(chance.choice((0, 1, 2, 3, 4))):
        kind = chance.randrange(10)
        if kind < 5:
            actions.append(random_change(chance))
        elif kind < 8:
            actions.append(random_output(chance, groups))
        elif kind == 8 and table + 1 < tables:
            in_port = chance.choice((None, None, 3))
            actions.append(a.Resubmit(in_port, chance.randrange(table + 1, tables)))
        elif chance.random() < 0.5:
            inner = tuple(
                random_change(chance) if chance.random() < 0.5 else random_output(chance, groups) for _ in range(2)
            )
            actions.append(a.Clone(inner))
        elif chance.random() < 0.5:
            actions.append(a.CheckPacketLarger(chance.choice((60, 80)), SubField.of("reg1", 0, 1)))
        elif chance.random() < 0.2:
            actions.append(a.Exit())
    if chance.random() < 0.1:
        actions.append(a.ClearActions())
    if chance.random() < 0.2:
        actions.append(a.WriteActions(random_bucket_actions(chance, groups)))
    if chance.random() < 0.1:
        actions.append(a.WriteMetadata(chance.choice((1, 2)), 0xFF))
    if table + 1 < tables and chance.random() < 0.6:
        actions.append(a.GotoTable(chance.randrange(table + 1, tables)))
    return tuple(actions)


def random_bucket_actions(chance: Random, groups: int) -> tuple[a.FlowAction, ...]:
    kinds = (a.SetField, a.PushVlan, a.PopVlan, a.DecTtl, a.SetQueue, a.PushMpls, a.PopMpls)
    changes = [each for each in (random_change(chance) for _ in range(3)) if isinstance(each, kinds)]
    end: list[a.FlowAction] = []
    if chance.random() < 0.9:
        end.append(a.Output(chance.choice((1, 2, 3, 4, PORT["IN_PORT"], PORT["FLOOD"]))))
    if groups and chance.random() < 0.15:
        end.append(a.Group(chance.randrange(1, groups + 1)))
    return (*changes, *end)


def random_vlans(chance: Random) -> dict[int, tuple[str, int, tuple[int, ...]]]:
    """Ports that are no plain trunks, in some switches."""
    if chance.random() < 0.7:
        return {}
    kinds = ("trunk", "access", "native-untagged", "native-tagged")
    return {
        number: (chance.choice(kinds), chance.choice((5, 7)), chance.choice(((), (5,), (0, 5))))
        for number in (1, 2, 3, LOCAL)
        if chance.random() < 0.7
    }


def random_features(chance: Random, view: PlainView, naive: NaiveSwitch) -> None:
    """Ports of all modes, protected ones, mirrors, for a switch of `random_switch`. Mirrors copy what goes out of one
    port at most: of several, the first would decide what the copy is like, and which that is, nobody says."""
    ports, vlans = (1, 2, 3, 4, LOCAL), (0, 5, 7)
    kinds = ("trunk", "access", "native-untagged", "native-tagged", "dot1q-tunnel", "dot1q-tunnel")
    modes: dict[int, tuple[str, int, tuple[int, ...]]] = {
        number: (chance.choice(kinds), chance.choice((5, 5, 7)), chance.choice(((), (), (5,), (0, 5))))
        for number in ports
        if chance.random() < 0.6
    }

    def some() -> frozenset[int] | None:
        return chance.choice((None, frozenset(), frozenset(each for each in ports if chance.random() < 0.4)))

    def one() -> frozenset[int]:
        return frozenset(chance.sample(ports, chance.choice((0, 1, 1))))

    mirrors = []
    for number, output in enumerate(chance.sample((2, 3, 4, None), chance.choice((0, 1, 1, 2)))):
        selected = frozenset(each for each in vlans if chance.random() < 0.5) if chance.random() < 0.4 else frozenset()
        mirrors.append(
            PlacedMirror(
                f"m{number}", some(), one(), selected, output, chance.choice((5, 7)) if output is None else None,
                chance.choice((0, 0, 20)),
            )
        )  # fmt: skip
    naive.vlans, naive.mirrors = modes, tuple(mirrors)
    naive.protected = frozenset(each for each in ports if chance.random() < 0.3)
    view.config = replace(
        view.config,
        vlans={
            number: PortVlan(mode, tag, cvlans=frozenset(carried))
            if mode == "dot1q-tunnel"
            else PortVlan(mode, tag, frozenset(carried))
            for number, (mode, tag, carried) in modes.items()
        },
        mirrors=naive.mirrors,
        protected=naive.protected,
    )


def random_switch(chance: Random, *, select: bool = False) -> tuple[PlainView, NaiveSwitch]:
    """The same tables for translation and for the naive interpreter."""
    fragments = chance.choice((0, 0, 3, 1))
    miss = chance.choice(("controller", "drop", "continue"))
    modes = random_vlans(chance)
    vlans = {number: PortVlan(mode, tag, frozenset(trunks)) for number, (mode, tag, trunks) in modes.items()}
    view = PlainView(4, Config(fragments=fragments, miss=miss, vlans=vlans))
    naive = NaiveSwitch(vlans=modes, fragments=fragments, miss=miss)
    for number in (LOCAL, 1, 2, 3, 4):
        config = chance.choice((0, 0, 0, 0, PortConfig.NO_FLOOD, PortConfig.NO_FWD, PortConfig.DOWN))
        state = chance.choice((0, 0, 0, 1))
        view.configure(number, int(config) if number != 1 else 0, state)
    naive.ports = {port.number: port for port in view.ports}
    groups = chance.choice((0, 2, 4))
    for number in range(1, groups + 1):
        kinds = [GroupType.ALL, GroupType.INDIRECT, GroupType.FAST_FAILOVER]
        kind = chance.choice([*kinds, GroupType.SELECT, GroupType.SELECT] if select else kinds)
        buckets = tuple(
            Bucket(
                random_bucket_actions(chance, number - 1),
                weight=chance.choice((0, 1, 1, 3)),
                watch_port=chance.choice((1, 2, 3, ANY_PORT)),
                watch_group=ANY_GROUP,
            )
            for _ in range(chance.choice((1, 2, 3)))
        )
        if kind == GroupType.INDIRECT:
            buckets = buckets[:1]
        fields = (("ipv4_src", 0xFFFFFFFF), ("eth_dst", 0xFF))
        view.groups[number] = PlainGroup(
            kind, buckets, chance.choice(("hash", "dp_hash", "")), chance.choice((0, 7)), chance.choice((fields, ()))
        )
        naive.groups[number] = NaiveGroup(kind, buckets)
    for vlan, mac, port in ((0, MACS[0], 2), (5, MACS[1], 3)):
        view.macs.learn(MacLearned(vlan, mac, port), 0)
        naive.macs[vlan, mac] = port
    tables = chance.choice((1, 2, 3, 4))
    for table in range(tables):
        for priority in range(chance.choice((1, 2, 4, 8))):
            match = FlowMatch() if priority == 0 else random_match(chance)
            if view.tables[table].classifier.find(match, priority):
                continue
            actions = random_actions(chance, table, tables, groups)
            view.add(table, match, *actions, priority=priority)
            naive.tables.setdefault(table, []).append(NaiveRule(match.value, match.mask, priority, actions))
    return view, naive
