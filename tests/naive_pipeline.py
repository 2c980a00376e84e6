"""OpenFlow's pipeline, carried out as the specification tells it: one packet, its bytes, one action after the other.

Nothing is clever here, and nothing is shared with `vswitch.ofproto` but the parser and what changes bytes. Each action
changes the frame at once, and the frame is parsed anew whenever somebody looks at it. A lookup tries all rules in order
of priority.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from vswitch.datapath.simulated import rewrite
from vswitch.fields.kinds import OPENFLOW_PORTS as PORT
from vswitch.fields.openflow import OPENFLOW_FIELDS, PIPELINE_SLOTS, FlowField
from vswitch.fields.registry import FIELDS, SLOTS
from vswitch.messages import actions as a
from vswitch.messages.flows import ANY_GROUP, ANY_PORT, Bucket, GroupType
from vswitch.messages.match import SubField
from vswitch.messages.ports import PortConfig, PortDescription
from vswitch.model import actions as dp
from vswitch.ofproto.settings import PlacedMirror
from vswitch.packet.parse import headers, parse

LOCAL = PORT["LOCAL"]
UNSET = 0xFFFFFFF7


@dataclass
class NaiveRule:
    value: int
    mask: int
    priority: int
    actions: tuple[a.FlowAction, ...]


@dataclass
class NaiveGroup:
    type: GroupType
    buckets: tuple[Bucket, ...]


@dataclass
class NaiveSwitch:
    tables: dict[int, list[NaiveRule]] = field(default_factory=dict)
    groups: dict[int, NaiveGroup] = field(default_factory=dict)
    ports: dict[int, PortDescription] = field(default_factory=dict)
    macs: dict[tuple[int, int], int] = field(default_factory=dict)
    vlans: dict[int, tuple[str, int, tuple[int, ...]]] = field(default_factory=dict)
    mirrors: tuple[PlacedMirror, ...] = ()
    protected: frozenset[int] = frozenset()
    fragments: int = 0
    miss: str = "controller"
    choose: Callable[[int], int] = lambda size: 0


@dataclass
class NaivePacket:
    """What it is: the bytes, and what the pipeline remembers."""

    frame: bytes
    pipeline: dict[str, int]
    stack: list[int] = field(default_factory=list)
    action_set: list[a.FlowAction] = field(default_factory=list)

    def copy(self) -> NaivePacket:
        return NaivePacket(self.frame, dict(self.pipeline), list(self.stack), list(self.action_set))

    @property
    def key(self) -> int:
        key = 0
        for name, value in self.pipeline.items():
            slot = PIPELINE_SLOTS.get(name) or SLOTS[name]
            key |= slot.place(value)
        return parse(self.frame, key)


class ExitError(Exception):
    pass


class EndOfListError(Exception):
    pass


@dataclass
class Result:
    """`sent`: (port, frame, priority, mark); `controllers`: (reason, frame, metadata); `learned`: (vlan, mac, port).
    `garbage`: a field was set of a header that the Ethernet type promises, but that is none."""

    sent: list[tuple[int, bytes, int, int]] = field(default_factory=list)
    controllers: list[tuple[int, bytes, int]] = field(default_factory=list)
    learned: list[tuple[int, int, int]] = field(default_factory=list)
    garbage: bool = False


def is_there(each: FlowField, key: int) -> bool:
    for name, allowed in each.prerequisites:
        value = OPENFLOW_FIELDS[name].view.take(key)
        if name == "vlan_vid":
            if not value & 0x1000:
                return False
        elif value not in allowed:
            return False
    needs = [name for name, _ in each.prerequisites]
    if "ip_proto" in needs and FIELDS["ip_frag"].take(key) & 2:
        return False
    return not ("icmpv6_type" in needs and FIELDS["icmpv6_code"].take(key))


def takes_the_rest(rule: NaiveRule | None) -> bool:
    """Whether it is its table's miss (OpenFlow 1.3.5 section 5.4)."""
    return rule is not None and not rule.priority and not rule.mask


class Naive:
    def __init__(self, switch: NaiveSwitch) -> None:
        self.switch = switch
        self.result = Result()
        self.in_group = 0
        self.priority = 0
        self.mirrored: set[str] = set()

    def run(self, frame: bytes, in_port: int, **metadata: int) -> Result:
        """`metadata`: the packet's mark and priority as it comes in."""
        packet = NaivePacket(frame, {"in_port": in_port, "actset_output": UNSET, **metadata})
        self.priority = metadata.get("skb_priority", 0)
        key = packet.key
        if self.switch.fragments == 1 and FIELDS["ip_frag"].take(key):
            return self.result
        port = self.switch.ports.get(in_port)
        if port is not None and port.config & (PortConfig.NO_RECV | PortConfig.DOWN):
            return self.result
        if in_port in {each.output for each in self.switch.mirrors}:
            return self.result
        if port is not None:
            self.mirror(packet, in_port, out=False)
        try:
            self.table(packet, 0, goto=True)
            self.finish(packet)
        except ExitError:
            pass
        return self.result

    def finish(self, packet: NaivePacket) -> None:
        actions, packet.action_set = self.ordered(packet.action_set), []
        with contextlib.suppress(EndOfListError):
            self.carry_out(packet, actions, None)

    # ---- tables

    def table(self, packet: NaivePacket, number: int, *, goto: bool, in_port: int | None = None) -> None:
        key = packet.key
        if in_port is not None:
            slot = SLOTS["in_port"]
            key = key & ~slot.mask | slot.place(in_port)
        if not self.switch.fragments and FIELDS["ip_frag"].take(key):
            key &= ~(SLOTS["tp_src"].mask | SLOTS["tp_dst"].mask)
        rules = sorted(self.switch.tables.get(number, []), key=lambda rule: -rule.priority)
        found = next((rule for rule in rules if key & rule.mask == rule.value), None)
        if found is None:
            if goto and self.switch.miss == "controller":
                self.controller(packet, 0)
            elif goto and self.switch.miss == "continue" and number < 253:
                self.table(packet, number + 1, goto=True)
            return
        with contextlib.suppress(EndOfListError):
            self.carry_out(packet, found.actions, number, found)

    def carry_out(
        self, packet: NaivePacket, actions: Iterable[a.FlowAction], table: int | None, rule: NaiveRule | None = None
    ) -> None:
        for action in actions:
            self.action(packet, action, table, rule)

    def action(  # noqa: C901
        self, packet: NaivePacket, action: a.FlowAction, table: int | None, rule: NaiveRule | None
    ) -> None:
        match action:
            case a.GotoTable(number):
                self.table(packet, number, goto=True)
            case a.Resubmit(in_port, number):
                self.table(packet, (table or 0) if number == 255 else number, goto=False, in_port=in_port)
            case a.Output(port, _, truncate):
                self.output(packet, port, truncate, 4 if self.in_group else 0 if takes_the_rest(rule) else 1)
            case a.OutputReg(source):
                self.output(packet, self.read(packet, source), 0, 1)
            case a.Controller(_, _, reason):
                self.controller(packet, 0 if reason == 1 and takes_the_rest(rule) else reason)
            case a.Group(number):
                self.group(packet, number, table)
            case a.Clone(inner):
                copy = packet.copy()
                with contextlib.suppress(ExitError):
                    with contextlib.suppress(EndOfListError):
                        self.carry_out(copy, inner, table, rule)
                    self.finish(copy)  # as Open vSwitch does it
            case a.Exit():
                raise ExitError
            case a.WriteActions(more):
                packet.action_set.extend(more)
                self.note_output(packet)
            case a.ClearActions():
                packet.action_set.clear()
                self.note_output(packet)
            case a.CheckPacketLarger(length, destination):
                self.write(packet, destination, int(len(packet.frame) > length))
            case a.Note() | a.Learn() | a.FinTimeout() | a.Conjunction() | a.Meter():
                pass
            case a.Enqueue(port, queue):
                before = packet.pipeline.get("skb_priority", 0)
                packet.pipeline["skb_priority"] = 0x10000 | queue + 1
                self.output(packet, port, 0, 1)
                packet.pipeline["skb_priority"] = before
            case a.SetQueue(queue):
                packet.pipeline["skb_priority"] = 0x10000 | queue + 1
            case a.PopQueue():
                packet.pipeline["skb_priority"] = self.priority
            case _:
                self.change(packet, action)

    def note_output(self, packet: NaivePacket) -> None:
        outputs = [each for each in packet.action_set if isinstance(each, a.Output)]
        groups = [each for each in packet.action_set if isinstance(each, a.Group)]
        packet.pipeline["actset_output"] = UNSET if groups or not outputs else outputs[-1].port

    # ---- output

    def output(self, packet: NaivePacket, port: int, truncate: int, reason: int) -> None:
        in_port = packet.pipeline["in_port"]
        if port == PORT["CONTROLLER"]:
            self.controller(packet, reason)
        elif port == PORT["IN_PORT"]:
            self.send(packet, in_port, truncate)
        elif port in (PORT["FLOOD"], PORT["ALL"]):
            for number, each in self.switch.ports.items():
                if number != in_port and (port == PORT["ALL"] or not each.config & PortConfig.NO_FLOOD):
                    self.send(packet, number, truncate)
        elif port == PORT["NORMAL"]:
            self.normal(packet)
        elif port != in_port:
            self.send(packet, port, truncate)

    def send(self, packet: NaivePacket, port: int, truncate: int = 0) -> None:
        found = self.switch.ports.get(port)
        if found is None or found.config & (PortConfig.NO_FWD | PortConfig.DOWN):
            return
        if {port, packet.pipeline["in_port"]} <= self.switch.protected:
            return
        frame = packet.frame[:truncate] if truncate else packet.frame
        self.result.sent.append(
            (port, frame, packet.pipeline.get("skb_priority", 0), packet.pipeline.get("skb_mark", 0))
        )
        self.mirror(packet, port, out=True)

    def controller(self, packet: NaivePacket, reason: int) -> None:
        metadata = sum(
            PIPELINE_SLOTS[name].place(value)
            for name, value in packet.pipeline.items()
            if name in PIPELINE_SLOTS and name != "actset_output"
        )
        self.result.controllers.append((reason, packet.frame, metadata))

    def normal(self, packet: NaivePacket) -> None:
        key = packet.key
        in_port = packet.pipeline["in_port"]
        vlan = self.vlan_at(packet.frame, in_port)
        source, destination = SLOTS["eth_src"].take(key), SLOTS["eth_dst"].take(key)
        if vlan is None or destination >> 4 == 0x0180C2000000 >> 4:
            return
        learned = None
        if not source >> 40 & 1 and not self.in_group:
            self.result.learned.append((vlan, source, in_port))
            learned = source
        where = None if destination >> 40 & 1 else self.switch.macs.get((vlan, destination))
        if destination == learned:
            where = in_port
        outputs = {each.output for each in self.switch.mirrors}
        for number, port in self.switch.ports.items():
            flooded = where is None and not port.config & PortConfig.NO_FLOOD
            if number == in_port or not (flooded or where == number) or number in outputs:
                continue
            if self.reaches(packet.frame, in_port, number, vlan):
                copy = packet.copy()
                copy.frame = self.tagged(copy.frame, in_port, number, vlan)
                self.send(copy, number)

    def mode(self, number: int | None) -> tuple[str, int, tuple[int, ...]]:
        return self.switch.vlans.get(number, ("trunk", 0, ())) if number is not None else ("trunk", 0, ())

    def vlan_at(self, frame: bytes, number: int) -> int | None:
        """The VLAN of a packet that is at this port."""
        mode, tag, carried = self.mode(number)
        vid = FIELDS["vlan_vid"].take(parse(frame))
        if mode == "dot1q-tunnel":
            return tag if not carried or vid in carried else None
        if mode == "access" and vid:
            return None
        vlan = tag if not vid and mode != "trunk" else vid
        return vlan if self.carries(number, vlan) else None

    def carries(self, number: int, vlan: int) -> bool:
        mode, tag, trunks = self.mode(number)
        if mode in ("access", "dot1q-tunnel"):
            return vlan == tag
        if mode != "trunk" and not vlan:
            return not tag
        return not trunks or vlan in trunks or (mode != "trunk" and vlan == tag)

    def reaches(self, frame: bytes, at: int | None, number: int, vlan: int) -> bool:
        """Whether a packet of this VLAN, which is at the one port, may go out of the other."""
        if not self.carries(number, vlan):
            return False
        mode, _, carried = self.mode(number)
        behind = self.mode(at)[0] == "dot1q-tunnel"
        key = parse(frame)
        customer = FIELDS["vlan_vid" if behind else "cvlan_vid"].take(key)
        if mode == "dot1q-tunnel" and carried:
            return customer in carried
        return not (mode == "access" and behind and customer)

    def tagged(self, frame: bytes, at: int | None, number: int, vlan: int) -> bytes:
        """As the port wants packets of this VLAN."""
        mode, tag, _ = self.mode(number)
        key = parse(frame)
        has = FIELDS["vlan_present"].take(key)
        bare = not vlan or mode in ("access", "dot1q-tunnel") or (mode == "native-untagged" and vlan == tag)
        if self.mode(at)[0] == "dot1q-tunnel":
            if bare:
                return rewrite.pop_vlan(frame) if has and mode == "access" else frame
            return rewrite.push_vlan(frame, dp.PushVlan(vlan, 0, 0x88A8))
        if bare:
            if mode != "access" and not vlan and FIELDS["vlan_pcp"].take(key):
                return frame  # the tag is for the priority
            return rewrite.pop_vlan(frame)
        if has:
            return rewrite.set_vlan(frame, vlan, 0xFFF)
        return rewrite.push_vlan(frame, dp.PushVlan(vlan))

    # ---- mirrors

    def mirror(self, packet: NaivePacket, at: int, *, out: bool) -> None:
        """The packet passes this port."""
        for each in self.switch.mirrors:
            ports = each.destinations if out else each.sources
            if FIELDS["eth_type"].take(packet.key) in (0x8100, 0x88A8):
                self.result.garbage = True  # a third tag: what lies behind it is not known
            vlan = self.vlan_at(packet.frame, at)
            if vlan is None or each.name in self.mirrored or (ports is not None and at not in ports):
                continue
            if each.vlans and vlan not in each.vlans:
                continue
            self.mirrored.add(each.name)
            frame, came_by = packet.frame, at
            targets = [] if each.output is None else [each.output]
            if each.output_vlan is not None:
                if each.output_vlan == vlan or SLOTS["eth_dst"].take(packet.key) >> 4 == 0x0180C2000000 >> 4:
                    continue
                vlan = each.output_vlan
                outputs = {other.output for other in self.switch.mirrors}
                targets = [
                    number
                    for number in self.switch.ports
                    if number not in outputs and self.reaches(frame, None, number, vlan)
                ]
            for number in targets:
                copy = packet.copy()
                copy.frame = self.tagged(frame, came_by if each.output is not None else None, number, vlan)
                self.send(copy, number, each.snaplen)

    # ---- groups

    def group(self, packet: NaivePacket, number: int, table: int | None) -> None:
        group = self.switch.groups.get(number)
        if group is None:
            return
        chosen: list[Bucket]
        if group.type == GroupType.ALL:
            chosen = list(group.buckets)
        elif group.type == GroupType.INDIRECT:
            chosen = list(group.buckets[:1])
        elif group.type == GroupType.FAST_FAILOVER:
            chosen = [each for each in group.buckets if self.live(each)][:1]
        else:
            live = [each for each in group.buckets if each.weight and self.live(each)]
            chosen = [live[self.switch.choose(len(live))]] if live else []
        for bucket in chosen:
            copy = packet.copy()
            copy.action_set = []
            self.in_group += 1
            with contextlib.suppress(ExitError, EndOfListError):
                self.carry_out(copy, self.ordered(list(bucket.actions)), table)
            self.in_group -= 1

    def live(self, bucket: Bucket) -> bool:
        if bucket.watch_port == ANY_PORT and bucket.watch_group == ANY_GROUP:
            return True
        port = self.switch.ports.get(bucket.watch_port)
        if port is not None and not port.config & PortConfig.DOWN and not port.state & 3:
            return True
        group = self.switch.groups.get(bucket.watch_group)
        return group is not None and any(self.live(each) for each in group.buckets)

    def ordered(self, actions: list[a.FlowAction]) -> list[a.FlowAction]:
        """OpenFlow 1.5.1 section 5.6, with one of each kind, the last."""

        def last(*kinds: type) -> list[a.FlowAction]:
            return [each for each in actions if isinstance(each, kinds)][-1:]

        end = last(a.Group) or last(a.Output)
        if not end:
            return []
        fields = [each for each in actions if isinstance(each, a.SetField | a.RegLoad | a.RegMove | a.ModField)]
        return [
            *last(a.PopVlan), *last(a.PopMpls), *last(a.PushMpls), *last(a.PushVlan), *last(a.DecTtl),
            *last(a.DecMplsTtl), *fields, *last(a.SetQueue), *end,
        ]  # fmt: skip

    # ---- changes

    def read(self, packet: NaivePacket, source: SubField) -> int:
        return source.field.view.take(packet.key) >> source.start & (1 << source.bits) - 1

    def write(self, packet: NaivePacket, destination: SubField, value: int) -> None:
        mask = (1 << destination.bits) - 1 << destination.start
        self.set(packet, destination.field, value << destination.start & mask, mask)

    def set(self, packet: NaivePacket, each: FlowField, value: int, mask: int) -> None:
        key = packet.key
        if not is_there(each, key):
            return
        name = each.name
        slot = each.view.slot
        if slot.name == "vlan_tci":
            self.set_tag(packet, value << each.view.shift, mask << each.view.shift)
        elif slot.name in PIPELINE_SLOTS or name in ("in_port", "skb_mark", "tun_id"):
            self.set_pipeline(packet, slot.offset, slot.size, value, mask, slot.name)
        else:
            at = headers(packet.frame)
            l4 = any(need == "ip_proto" for need, _ in each.prerequisites)
            self.result.garbage |= bool(each.prerequisites) and (at.l4 if l4 else at.l3) is None
            self.result.garbage |= name in ("nd_sll", "nd_tll") and at.link_address is None
            packet.frame = rewrite.set_field(packet.frame, dp.SetField(name, value, mask))

    def set_pipeline(self, packet: NaivePacket, offset: int, size: int, value: int, mask: int, name: str) -> None:
        """Registers share their bits with the wider ones: all is kept in words of 32 bits and metadata."""
        if name.startswith(("xreg", "xxreg")):
            words = size // 4
            first = (offset - PIPELINE_SLOTS["reg0"].offset) // 4
            for index in range(words):
                shift = 32 * (words - 1 - index)
                self.set_pipeline(
                    packet, 0, 4, value >> shift & 0xFFFFFFFF, mask >> shift & 0xFFFFFFFF, f"reg{first + index}"
                )
            return
        packet.pipeline[name] = packet.pipeline.get(name, 0) & ~mask | value

    def set_tag(self, packet: NaivePacket, value: int, mask: int) -> None:
        has = bool(FIELDS["vlan_present"].take(packet.key))
        if mask & 0x1000:
            if has and not value & 0x1000:
                packet.frame = rewrite.pop_vlan(packet.frame)
                return
            if not has:
                if not value & 0x1000:
                    return
                packet.frame = rewrite.push_vlan(packet.frame, dp.PushVlan(0))
        elif not has:
            return
        mask &= ~0x1000
        packet.frame = rewrite.set_vlan(packet.frame, value & mask, mask)

    def change(self, packet: NaivePacket, action: a.FlowAction) -> None:  # noqa: C901
        key = packet.key
        eth_type = FIELDS["eth_type"].take(key)
        match action:
            case a.SetField(each, value, mask):
                self.set(packet, each, value & mask, mask)
            case a.RegLoad(destination, value):
                self.write(packet, destination, value)
            case a.RegMove(source, destination):
                if is_there(source.field, key):
                    self.write(packet, destination, self.read(packet, source))
            case a.StackPush(source):
                packet.stack.append(self.read(packet, source))
            case a.StackPop(destination):
                if packet.stack:
                    self.write(packet, destination, packet.stack.pop())
            case a.WriteMetadata(value, mask):
                self.set_pipeline(packet, 0, 8, value & mask, mask, "metadata")
            case a.SetTunnel(number):
                packet.pipeline["tun_id"] = number
            case a.ModField(name, value):
                self.mod(packet, name, value)
            case a.ModVlanVid(vid, push) | a.ModVlanPcp(vid, push):
                if push and not FIELDS["vlan_present"].take(key):
                    packet.frame = rewrite.push_vlan(packet.frame, dp.PushVlan(0))
                is_vid = isinstance(action, a.ModVlanVid)
                packet.frame = rewrite.set_vlan(packet.frame, vid if is_vid else vid << 13, 0xFFF if is_vid else 0xE000)
            case a.PopVlan():
                packet.frame = rewrite.pop_vlan(packet.frame)
            case a.PushVlan(tpid):
                tag = dp.PushVlan(FIELDS["vlan_vid"].take(key), FIELDS["vlan_pcp"].take(key), tpid)
                packet.frame = rewrite.push_vlan(packet.frame, tag)
            case a.PushMpls(wanted):
                self.push_mpls(packet, key, eth_type, wanted)
            case a.PopMpls(wanted):
                packet.frame = rewrite.pop_mpls(packet.frame, wanted)
            case a.DecTtl():
                if eth_type in (0x0800, 0x86DD):
                    ttl = FIELDS["ip_ttl"].take(key)  # 0 of an IP header that is none
                    self.lowered(packet, None if ttl <= 1 else rewrite.dec_ttl(packet.frame))
            case a.DecMplsTtl():
                if eth_type in (0x8847, 0x8848):
                    ttl = FIELDS["mpls_ttl"].take(key)
                    self.lowered(
                        packet,
                        None if ttl <= 1 else rewrite.set_field(packet.frame, dp.SetField("mpls_ttl", ttl - 1)),
                    )
            case a.SetMplsLabel(value) | a.SetMplsTc(value) | a.SetMplsTtl(value):
                name = {a.SetMplsLabel: "mpls_label", a.SetMplsTc: "mpls_tc", a.SetMplsTtl: "mpls_ttl"}[type(action)]
                packet.frame = rewrite.set_field(packet.frame, dp.SetField(name, value))
            case _:
                raise AssertionError(f"{action} is not known here")

    def push_mpls(self, packet: NaivePacket, key: int, eth_type: int, wanted: int) -> None:
        if eth_type in (0x8847, 0x8848):
            new = dp.PushMpls(
                FIELDS["mpls_label"].take(key), FIELDS["mpls_tc"].take(key), FIELDS["mpls_ttl"].take(key), 0, wanted
            )
        elif eth_type in (0x0800, 0x86DD):
            label = 2 if eth_type == 0x86DD else 0
            new = dp.PushMpls(label, FIELDS["ip_dscp"].take(key) & 7, FIELDS["ip_ttl"].take(key) or 64, 1, wanted)
        else:
            new = dp.PushMpls(0, 0, 64, 1, wanted)
        packet.frame = rewrite.push_mpls(packet.frame, new)

    def lowered(self, packet: NaivePacket, frame: bytes | None) -> None:
        if frame is None:
            self.controller(packet, 2)
            raise EndOfListError
        packet.frame = frame

    def mod(self, packet: NaivePacket, name: str, value: int) -> None:
        if name in ("tp_src", "tp_dst"):
            for protocol in ("tcp", "udp", "sctp"):
                each = OPENFLOW_FIELDS[f"{protocol}{name[2:]}"]
                self.set(packet, each, value, 0xFFFF)
            return
        each = OPENFLOW_FIELDS[name]
        self.set(packet, each, value & (0xFC if name == "ip_tos" else each.max), 0xFC if name == "ip_tos" else each.max)
