"""The actions of flows: all of OpenFlow 1.0 to 1.5 and of Nicira's extensions, without their encodings.

Instructions are actions here, as in ovs-ofctl's text: a flow's actions are one tuple, in which `Meter` comes first and
then what is applied, `ClearActions`, `WriteActions`, `WriteMetadata` and `GotoTable` in this order; the codecs of
OpenFlow 1.1 and later sort them into instructions. Ports are numbers of 32 bits, reserved ones included
(`vswitch.fields.kinds.OPENFLOW_PORTS`).

What changes a field has several forms, as the wire and the text have: `SetField` (OpenFlow 1.2), `RegLoad` (Nicira),
`ModField` and its like (OpenFlow 1.0 and 1.1).
"""

from __future__ import annotations

from dataclasses import dataclass

from vswitch.fields.openflow import FlowField
from vswitch.messages.match import SubField

__all__ = [
    "HASH_FIELDS",
    "Bundle",
    "CheckPacketLarger",
    "ClearActions",
    "Clone",
    "Conjunction",
    "Controller",
    "CopyTtlIn",
    "CopyTtlOut",
    "Ct",
    "CtClear",
    "DebugRecirculate",
    "DecMplsTtl",
    "DecTtl",
    "Decap",
    "DeleteField",
    "Encap",
    "Enqueue",
    "Exit",
    "FinTimeout",
    "FlowAction",
    "GotoTable",
    "Group",
    "Learn",
    "LearnSpec",
    "Meter",
    "ModField",
    "ModVlanPcp",
    "ModVlanVid",
    "Multipath",
    "Nat",
    "Note",
    "Output",
    "OutputReg",
    "PopMpls",
    "PopPbb",
    "PopQueue",
    "PopVlan",
    "PushMpls",
    "PushPbb",
    "PushVlan",
    "RegLoad",
    "RegMove",
    "Resubmit",
    "Sample",
    "SetField",
    "SetMplsLabel",
    "SetMplsTc",
    "SetMplsTtl",
    "SetQueue",
    "SetTunnel",
    "StackPop",
    "StackPush",
    "WriteActions",
    "WriteMetadata",
]  # fmt: skip


HASH_FIELDS = (
    "eth_src", "symmetric_l4", "symmetric_l3l4", "symmetric_l3l4+udp", "nw_src", "nw_dst", "symmetric_l3",
)  # fmt: skip
"""What `Bundle` and `Multipath` hash, by Nicira's numbers from 0."""


class FlowAction:
    """One of the actions below."""

    __slots__ = ()


# ---- output


@dataclass(frozen=True, slots=True)
class Output(FlowAction):
    """Send it out of `port`; `max_len` bytes of it to the controller (0xffff: all), if the port is CONTROLLER
    (what a controller says there for another port means nothing, but it finds it again).
    `truncate`: no more than so many bytes of it out of any port (Nicira's output(port=,max_len=)); 0: all."""

    port: int
    max_len: int = 0
    truncate: int = 0


@dataclass(frozen=True, slots=True)
class OutputReg(FlowAction):
    """Send it out of the port whose number is in `source`."""

    source: SubField
    max_len: int = 0xFFFF


@dataclass(frozen=True, slots=True)
class Enqueue(FlowAction):
    """OpenFlow 1.0: out of `port`, by its queue."""

    port: int
    queue: int


@dataclass(frozen=True, slots=True)
class Controller(FlowAction):
    """Nicira's controller and controller2: to controllers of this id, with a reason of its own. `pause`: the packet
    goes on when a controller resumes it."""

    max_len: int = 0xFFFF
    controller_id: int = 0
    reason: int = 1
    userdata: bytes = b""
    pause: bool = False
    meter: int | None = None


@dataclass(frozen=True, slots=True)
class Group(FlowAction):
    """Let the group have it."""

    id: int


@dataclass(frozen=True, slots=True)
class Bundle(FlowAction):
    """Nicira's bundle and bundle_load: one of `members`, chosen by a hash of `fields` (a word of `HASH_FIELDS`), by
    `algorithm` "active_backup" or "hrw". It goes out of that port, or the port's number into `destination`."""

    fields: str
    basis: int
    algorithm: str
    members: tuple[int, ...]
    destination: SubField | None = None


# ---- fields


@dataclass(frozen=True, slots=True)
class SetField(FlowAction):
    """Put `value` into the bits `mask` of a field."""

    field: FlowField
    value: int
    mask: int


@dataclass(frozen=True, slots=True)
class RegLoad(FlowAction):
    """Nicira's load: `value` into bits of a field."""

    destination: SubField
    value: int


@dataclass(frozen=True, slots=True)
class RegMove(FlowAction):
    """Copy bits of a field to bits of another."""

    source: SubField
    destination: SubField


@dataclass(frozen=True, slots=True)
class ModField(FlowAction):
    """OpenFlow 1.0 and 1.1: set "eth_src", "eth_dst", "ipv4_src", "ipv4_dst", "ip_tos" (its upper six bits), "ip_ecn",
    "ip_ttl", or "tp_src" or "tp_dst", the ports of whatever protocol it is."""

    field: str
    value: int


@dataclass(frozen=True, slots=True)
class ModVlanVid(FlowAction):
    """Set the VLAN id; without a tag, one is pushed in OpenFlow 1.0 (`push`)."""

    vid: int
    push: bool = True


@dataclass(frozen=True, slots=True)
class ModVlanPcp(FlowAction):
    """Set the VLAN priority; without a tag, one is pushed in OpenFlow 1.0 (`push`)."""

    pcp: int
    push: bool = True


@dataclass(frozen=True, slots=True)
class PopVlan(FlowAction):
    """Take the outermost VLAN tag away, if there is one. `strip`: as OpenFlow 1.0 wrote it (strip_vlan)."""

    strip: bool = False


@dataclass(frozen=True, slots=True)
class PushVlan(FlowAction):
    """A new outermost tag of this type (0x8100, 0x88a8)."""

    ethertype: int = 0x8100


@dataclass(frozen=True, slots=True)
class PushMpls(FlowAction):
    """A new outermost MPLS entry (0x8847, 0x8848)."""

    ethertype: int = 0x8847


@dataclass(frozen=True, slots=True)
class PopMpls(FlowAction):
    """Take the outermost MPLS entry away; the packet's Ethernet type is then this one."""

    ethertype: int


@dataclass(frozen=True, slots=True)
class SetMplsLabel(FlowAction):
    """OpenFlow 1.1: the label of the outermost entry."""

    label: int


@dataclass(frozen=True, slots=True)
class SetMplsTc(FlowAction):
    """OpenFlow 1.1: its traffic class."""

    tc: int


@dataclass(frozen=True, slots=True)
class SetMplsTtl(FlowAction):
    """Its time to live."""

    ttl: int


@dataclass(frozen=True, slots=True)
class DecMplsTtl(FlowAction):
    """One less; at 1 it goes to the controller and no further."""


@dataclass(frozen=True, slots=True)
class DecTtl(FlowAction):
    """One less of IP's; at 1 it goes to the controllers of these ids and no further. (0,): OpenFlow's own action."""

    controllers: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True)
class CopyTtlOut(FlowAction):
    """From the second outermost header with a time to live to the outermost."""


@dataclass(frozen=True, slots=True)
class CopyTtlIn(FlowAction):
    """From the outermost header with a time to live to the second outermost."""


@dataclass(frozen=True, slots=True)
class PushPbb(FlowAction):
    """A provider backbone bridging header (0x88e7)."""

    ethertype: int = 0x88E7


@dataclass(frozen=True, slots=True)
class PopPbb(FlowAction):
    """Take it away."""


@dataclass(frozen=True, slots=True)
class SetTunnel(FlowAction):
    """Nicira's set_tunnel and set_tunnel64: the key of the tunnel that it goes out by."""

    id: int
    wide: bool = False


@dataclass(frozen=True, slots=True)
class SetQueue(FlowAction):
    """The queue of whatever port it goes out of."""

    queue: int


@dataclass(frozen=True, slots=True)
class PopQueue(FlowAction):
    """Nicira: the queue as it was at first."""


@dataclass(frozen=True, slots=True)
class StackPush(FlowAction):
    """Put bits of a field onto the packet's stack."""

    source: SubField


@dataclass(frozen=True, slots=True)
class StackPop(FlowAction):
    """Put what is on top of the stack into bits of a field."""

    destination: SubField


@dataclass(frozen=True, slots=True)
class DeleteField(FlowAction):
    """Nicira: a tunnel option is there no more."""

    field: FlowField


@dataclass(frozen=True, slots=True)
class CheckPacketLarger(FlowAction):
    """Nicira: into a bit, whether the packet is longer than `length` bytes."""

    length: int
    destination: SubField


# ---- where it goes on


@dataclass(frozen=True, slots=True)
class Resubmit(FlowAction):
    """Look it up once more, in `table` (255: this one), as if it had come in by `in_port` (None: as it has), and go on
    here afterwards. `ct`: also as connection tracking's original direction."""

    in_port: int | None = None
    table: int = 255
    ct: bool = False


@dataclass(frozen=True, slots=True)
class GotoTable(FlowAction):
    """Instruction: go on in that table."""

    table: int


@dataclass(frozen=True, slots=True)
class WriteActions(FlowAction):
    """Instruction: put these into the packet's action set, which is carried out at the end."""

    actions: tuple[FlowAction, ...]


@dataclass(frozen=True, slots=True)
class ClearActions(FlowAction):
    """Instruction: empty the packet's action set."""


@dataclass(frozen=True, slots=True)
class WriteMetadata(FlowAction):
    """Instruction: `value` into the bits `mask` of metadata."""

    value: int
    mask: int = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Meter(FlowAction):
    """Drop it if the meter says so."""

    id: int


@dataclass(frozen=True, slots=True)
class Clone(FlowAction):
    """Do this to a copy of it."""

    actions: tuple[FlowAction, ...]


@dataclass(frozen=True, slots=True)
class Exit(FlowAction):
    """No more tables, no more actions (but for the action set)."""


@dataclass(frozen=True, slots=True)
class Conjunction(FlowAction):
    """Nicira: clause number `clause` (from 0) of `count` of conjunction `id` holds."""

    id: int
    clause: int
    count: int


@dataclass(frozen=True, slots=True)
class Multipath(FlowAction):
    """Nicira: a hash of `fields` (as of `Bundle`), reduced to 0..`max_link` by `algorithm` ("modulo_n",
    "hash_threshold", "hrw", "iter_hash"), into bits of a field."""

    fields: str
    basis: int
    algorithm: str
    max_link: int
    argument: int
    destination: SubField


@dataclass(frozen=True, slots=True)
class LearnSpec:
    """One step of making a learned flow: `kind` "match", "load" or "output"; from `source` or from `value` of `bits`
    bits; to `destination` (None for "output")."""

    kind: str
    bits: int
    source: SubField | None
    value: int
    destination: SubField | None


@dataclass(frozen=True, slots=True)
class Learn(FlowAction):
    """Nicira: add or change a flow in `table`, made from the packet by `specs`. `limit`: no more than so many of this
    cookie; whether one was added goes into `result` then."""

    specs: tuple[LearnSpec, ...]
    table: int = 1
    idle_timeout_s: int = 0
    hard_timeout_s: int = 0
    priority: int = 0x8000
    cookie: int = 0
    send_flow_rem: bool = False
    delete_learned: bool = False
    fin_idle_timeout_s: int = 0
    fin_hard_timeout_s: int = 0
    limit: int = 0
    result: SubField | None = None


@dataclass(frozen=True, slots=True)
class FinTimeout(FlowAction):
    """Nicira: when a TCP FIN or RST passes, the flow's timeouts are no longer than these."""

    idle_timeout_s: int
    hard_timeout_s: int


@dataclass(frozen=True, slots=True)
class Sample(FlowAction):
    """Nicira: with a chance of `probability` in 65535 to collectors. `direction`: "", "ingress", "egress"."""

    probability: int
    collector_set_id: int = 0
    observation_domain_id: int = 0
    observation_point_id: int = 0
    sampling_port: int | None = None
    direction: str = ""


@dataclass(frozen=True, slots=True)
class Note(FlowAction):
    """Nicira: bytes without a meaning."""

    data: bytes


# ---- what is read and written, and not done yet


@dataclass(frozen=True, slots=True)
class Nat(FlowAction):
    """Within `Ct`: `kind` "src", "dst" or "" (as the connection is). Addresses are of `version` 4 or 6 (0: none). The
    last address and the last port are 0 if there is no range, the first port is 0 if there are no ports."""

    kind: str = ""
    version: int = 0
    first_address: int = 0
    last_address: int = 0
    first_port: int = 0
    last_port: int = 0
    persistent: bool = False
    hash: bool = False
    random: bool = False


@dataclass(frozen=True, slots=True)
class Ct(FlowAction):
    """Nicira: through connection tracking, in `zone` (a number, or bits of a field); go on in `table` (None: here)."""

    commit: bool = False
    force: bool = False
    zone: int | SubField = 0
    table: int | None = None
    alg: int = 0
    actions: tuple[FlowAction, ...] = ()


@dataclass(frozen=True, slots=True)
class CtClear(FlowAction):
    """Nicira: forget what connection tracking found."""


@dataclass(frozen=True, slots=True)
class Encap(FlowAction):
    """Nicira: a header of this packet type around it, with properties: class, type, and the value as bytes, those
    included that fill it up to words of eight bytes with its header of four."""

    packet_type: int
    properties: tuple[tuple[int, int, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Decap(FlowAction):
    """Nicira: take the outermost header away; `packet_type` then (None: as the header says)."""

    packet_type: int | None = None


@dataclass(frozen=True, slots=True)
class DebugRecirculate(FlowAction):
    """Nicira: recirculate it, for tests."""
