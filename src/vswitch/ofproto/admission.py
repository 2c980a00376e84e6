"""What a flow, a bucket or a packet-out may ask for: which actions there are, where, and what they need of the packet.

Actions are gone through in order, with what is known of the packet so far: the flow's match, as earlier actions have
changed it. What the datapath cannot do is refused here, with the reason, before anything is changed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import Any

from vswitch.fields.kinds import OPENFLOW_PORTS
from vswitch.fields.openflow import OPENFLOW_FIELDS, FlowField
from vswitch.messages import actions as a
from vswitch.messages.actions import FlowAction
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.match import FlowMatch, SubField, missing_need
from vswitch.ofproto.groups import Groups
from vswitch.ofproto.meters import LAST_METER, MeterTable
from vswitch.ofproto.ports import MAX_OPENFLOW_PORT

__all__ = ["LAST_TABLE", "REFUSED_ACTIONS", "Admission", "check_match", "taught"]

LAST_TABLE = 253
"""Tables 0 to 253 are controllers'."""
MAX_ACTIONS = 4096
"""Actions of one flow, nested ones included: about what one message of 64 KB holds."""
MAX_DEPTH = 8
"""Nesting of clone and the like."""

_NO_CONNECTIONS = "there is no connection tracking"
REFUSED_ACTIONS: dict[type[FlowAction], str] = {
    a.Ct: _NO_CONNECTIONS,
    a.CtClear: _NO_CONNECTIONS,
    a.Nat: _NO_CONNECTIONS,
    a.Encap: "the datapath pushes no such header",
    a.Decap: "the datapath takes no such header away",
    a.PushPbb: "the datapath has no provider backbone bridging",
    a.PopPbb: "the datapath has no provider backbone bridging",
    a.DeleteField: "there are no tunnel options",
    a.DebugRecirculate: "it is of no use here",
    a.CopyTtlOut: "the datapath copies no TTL from header to header",
    a.CopyTtlIn: "the datapath copies no TTL from header to header",
}
"""Action -> why no flow may have it."""

_REFUSED_BITS = reduce(or_, (each.mask for each in OPENFLOW_FIELDS.values() if each.refused))
"""Some are also those of headers that other packets have; the match as a whole tells which."""

_PORTS = {OPENFLOW_PORTS[name] for name in ("IN_PORT", "TABLE", "NORMAL", "FLOOD", "ALL", "CONTROLLER", "LOCAL")}
_ETH_TYPE, _VLAN_TCI = OPENFLOW_FIELDS["eth_type"], OPENFLOW_FIELDS["vlan_tci"]
_VLAN_PRESENT = OPENFLOW_FIELDS["vlan_vid"].view.place(0x1000)
_ETHERTYPE_MPLS, _ETHERTYPE_IP = (0x8847, 0x8848), (0x0800, 0x86DD)
_VLAN_TYPES = (0x8100, 0x88A8)
_MOD_FIELDS = {
    "ipv4_src": "ipv4_src", "ipv4_dst": "ipv4_dst", "ip_tos": "ip_tos", "ip_ecn": "ip_ecn", "ip_ttl": "ip_ttl",
    "eth_src": "eth_src", "eth_dst": "eth_dst",
}  # fmt: skip


def check_match(match: FlowMatch) -> None:
    """OpenFlowError: it has a field that nothing here sets. # hot: once per flow-mod"""
    if match.mask & _REFUSED_BITS:
        for each, _, _ in match.fields():
            if each.refused:
                raise OpenFlowError("bad_match.bad_field", f"match of {each.name}: {each.refused}")


def taught(table: int, cookie: int) -> int:
    """Flows that are learned into a table with that cookie, as one number."""
    return table << 64 | cookie


def _refuse(code: str, text: str) -> OpenFlowError:
    return OpenFlowError(f"bad_action.{code}", text)


class Admission:
    """Looks through one list of actions. `match`: of the flow, None where it is not known what packets come. `table`:
    of the flow, None in a bucket or packet-out. `uses`: the groups and meters named, and the flows that are taught
    until the actions go, once `check` is through. `named`: groups and meters must be there."""

    __slots__ = (
        "_conjunctive", "_count", "_depth", "_groups", "_in_set", "_mask", "_meters", "_value", "_version", "named",
        "table", "uses",
    )  # fmt: skip

    def __init__(
        self, groups: Groups, meters: MeterTable, match: FlowMatch | None, table: int | None, version: int = 4
    ) -> None:
        self._groups = groups
        self._meters = meters
        self._version = version
        self._value, self._mask = (0, -1) if match is None else (match.value, match.mask)
        self.table = table
        self.named = True
        self.uses: tuple[tuple[str, int], ...] = ()
        self._depth = 0
        self._count = 0
        self._in_set = False
        self._conjunctive = False

    def check(self, actions: tuple[FlowAction, ...]) -> tuple[tuple[str, int], ...]:
        """What they use: ("group", id), ("meter", id), ("learned", `taught`). OpenFlowError: one is
        refused. # hot: once per flow-mod"""
        self._count += len(actions)
        if self._count > MAX_ACTIONS:
            raise _refuse("too_many", f"more than {MAX_ACTIONS} actions")
        for action in actions:
            checker = _CHECKERS.get(type(action))
            if checker is not None:
                checker(self, action)
            elif type(action) not in _PLAIN:
                raise _refuse("bad_type", f"{_word(action)}: {REFUSED_ACTIONS.get(type(action), 'unknown action')}")
        if self._conjunctive:
            for action in actions:
                if not isinstance(action, a.Conjunction | a.Note):
                    raise OpenFlowError("nicira.bad_conjunction", f"{_word(action)} beside a conjunction")
        return self.uses

    def _nested(self, actions: tuple[FlowAction, ...], *, in_set: bool = False) -> None:
        if self._depth >= MAX_DEPTH:
            raise _refuse("too_many", f"actions are nested deeper than {MAX_DEPTH}")
        before = self._value, self._mask, self._in_set
        self._depth += 1
        self._in_set = in_set or self._in_set
        self.check(actions)
        self._depth -= 1
        self._value, self._mask, self._in_set = before

    # ---- what is known of the packet

    @property
    def _known(self) -> bool:
        return self._mask != -1

    def _needs(self, each: FlowField, what: str) -> None:
        if self._known and each.prerequisites:
            missing = missing_need(FlowMatch.from_ints(self._value, self._mask), each)
            if missing is not None:
                raise _refuse("match_inconsistent", f"{what} needs a match of {missing}")

    def _needs_type(self, types: tuple[int, ...], what: str) -> None:
        if self._checks and not (
            self._mask & _ETH_TYPE.mask == _ETH_TYPE.mask and _ETH_TYPE.view.take(self._value) in types
        ):
            shown = " or ".join(f"{each:#06x}" for each in types)
            raise _refuse("match_inconsistent", f"{what} needs a match of eth_type {shown}")

    def _becomes(self, each: FlowField, value: int) -> None:
        if self._known:
            self._mask |= each.mask
            self._value = self._value & ~each.mask | each.view.place(value)

    @property
    def _checks(self) -> bool:
        """Whether actions other than set_field and load must fit the packets. In OpenFlow 1.0 and in action sets they
        do nothing to packets that they do not fit, as Open vSwitch has it."""
        return self._version >= 2 and not self._in_set and self._known

    def _needs_tag(self, what: str) -> None:
        if self._known and not self._value & self._mask & _VLAN_PRESENT:
            raise _refuse("match_inconsistent", f"{what} needs a match of a VLAN tag")

    # ---- one check for each kind

    def _port(self, number: int) -> None:
        if number > MAX_OPENFLOW_PORT and number not in _PORTS:
            raise _refuse("bad_out_port", f"output to port {number:#x}, which is past the last, {MAX_OPENFLOW_PORT:#x}")

    def _output(self, action: a.Output) -> None:
        if action.port > MAX_OPENFLOW_PORT and action.port not in _PORTS:
            self._port(action.port)

    def _output_reg(self, action: a.OutputReg) -> None:
        self._read(action.source)

    def _enqueue(self, action: a.Enqueue) -> None:
        if action.port > MAX_OPENFLOW_PORT and action.port not in (OPENFLOW_PORTS["IN_PORT"], OPENFLOW_PORTS["LOCAL"]):
            raise _refuse("bad_out_port", f"enqueue to port {action.port:#x}")

    def _group(self, action: a.Group) -> None:
        if action.id not in self._groups and self.named:
            raise _refuse("bad_out_group", f"there is no group {action.id}")
        self._use("group", action.id)

    def _meter(self, action: a.Meter) -> None:
        if (action.id not in self._meters or action.id > LAST_METER) and self.named:
            raise OpenFlowError("meter_mod_failed.invalid_meter", f"there is no meter {action.id}")
        self._use("meter", action.id)

    def _use(self, kind: str, number: int) -> None:
        if (kind, number) not in self.uses:
            self.uses += ((kind, number),)

    def _bundle(self, action: a.Bundle) -> None:
        for member in action.members:
            self._port(member)
        if action.fields not in a.HASH_FIELDS:
            raise _refuse("bad_argument", f"bundle: unknown fields {action.fields!r}")
        if action.destination is not None:
            self._write(action.destination)

    def _multipath(self, action: a.Multipath) -> None:
        if action.fields not in a.HASH_FIELDS:
            raise _refuse("bad_argument", f"multipath: unknown fields {action.fields!r}")
        if action.max_link >> action.destination.bits:
            raise _refuse("bad_argument", f"multipath: {action.max_link} does not fit {action.destination.bits} bits")
        self._write(action.destination)

    def _read(self, part: SubField) -> None:
        self._needs(part.field, part.field.name)

    def _write(self, part: SubField) -> None:
        if not part.field.writable:
            raise _refuse("bad_set_argument", f"{part.field.name} cannot be written")
        self._settable(part.field)
        self._needs(part.field, part.field.name)

    def _settable(self, each: FlowField) -> None:
        if each.refused:
            raise _refuse("bad_set_argument", f"{each.name}: {each.refused}")

    def _set_field(self, action: a.SetField) -> None:
        each = action.field
        if not each.writable:
            raise _refuse("bad_set_argument", f"set_field of {each.name}, which cannot be written")
        if action.value & ~action.mask or action.mask > each.max:
            raise _refuse(
                "bad_set_argument", f"set_field of {each.name}: {action.value:#x} has bits outside of its mask"
            )
        self._settable(each)
        if each.prerequisites:
            self._needs(each, f"set_field of {each.name}")
        if each.name == "vlan_vid":
            self._needs_tag("set_field of vlan_vid")
        if each.name in ("vlan_vid", "vlan_tci") and self._known:
            place = each.view.slot.place(action.mask << each.view.shift)
            self._mask |= place
            self._value = self._value & ~place | each.view.place(action.value)

    def _reg_load(self, action: a.RegLoad) -> None:
        self._write(action.destination)
        if action.value >> action.destination.bits:
            raise _refuse("bad_argument", f"load of {action.value:#x} into {action.destination.bits} bits")
        if action.destination.field.name == "vlan_vid":
            self._needs_tag("load into vlan_vid")
        if action.destination.field.name == "vlan_tci":
            self._becomes(_VLAN_TCI, 0x1000)

    def _reg_move(self, action: a.RegMove) -> None:
        if action.source.bits != action.destination.bits:
            raise _refuse("bad_argument", f"move of {action.source.bits} bits to {action.destination.bits}")
        self._read(action.source)
        self._write(action.destination)

    def _mod_field(self, action: a.ModField) -> None:
        name = _MOD_FIELDS.get(action.field)
        if not self._checks:
            return
        if name is not None:
            self._needs(OPENFLOW_FIELDS[name], f"set of {action.field}")
        else:
            match = FlowMatch.from_ints(self._value, self._mask)
            direction = action.field[2:]
            fields = [OPENFLOW_FIELDS[protocol + direction] for protocol in ("tcp", "udp", "sctp")]
            if all(missing_need(match, each) for each in fields):
                raise _refuse("match_inconsistent", f"set of {action.field} needs a match of TCP, UDP or SCTP")

    def _mod_vlan(self, action: a.ModVlanVid | a.ModVlanPcp) -> None:
        value, most = (action.vid, 0xFFF) if isinstance(action, a.ModVlanVid) else (action.pcp, 7)
        if value > most:
            raise _refuse("bad_argument", f"{_word(action)} {value} is past {most}")
        if not action.push and self._checks:
            self._needs_tag(_word(action))
        if self._known:
            self._mask |= _VLAN_PRESENT
            self._value |= _VLAN_PRESENT

    def _push_vlan(self, action: a.PushVlan) -> None:
        if action.ethertype not in _VLAN_TYPES:
            raise _refuse("bad_argument", f"push_vlan of type {action.ethertype:#06x}")
        self._becomes(_VLAN_TCI, 0x1000)

    def _pop_vlan(self, _action: a.PopVlan) -> None:
        if self._checks:
            self._needs_tag("pop_vlan")
        self._becomes(_VLAN_TCI, 0)

    def _push_mpls(self, action: a.PushMpls) -> None:
        if action.ethertype not in _ETHERTYPE_MPLS:
            raise _refuse("bad_argument", f"push_mpls of type {action.ethertype:#06x}")
        self._becomes(_ETH_TYPE, action.ethertype)

    def _pop_mpls(self, action: a.PopMpls) -> None:
        self._needs_type(_ETHERTYPE_MPLS, "pop_mpls")
        self._becomes(_ETH_TYPE, action.ethertype)

    def _mpls(self, action: FlowAction) -> None:
        self._needs_type(_ETHERTYPE_MPLS, _word(action))

    def _dec_ttl(self, _action: a.DecTtl) -> None:
        self._needs_type(_ETHERTYPE_IP, "dec_ttl")

    def _stack_push(self, action: a.StackPush) -> None:
        self._read(action.source)

    def _stack_pop(self, action: a.StackPop) -> None:
        self._write(action.destination)

    def _larger(self, action: a.CheckPacketLarger) -> None:
        if action.destination.bits != 1:
            raise _refuse("bad_set_argument", "check_pkt_larger needs a destination of one bit")
        self._write(action.destination)

    def _goto(self, action: a.GotoTable) -> None:
        if action.table > LAST_TABLE:
            raise OpenFlowError(
                "bad_instruction.bad_table_id", f"goto_table {action.table} is past the last, {LAST_TABLE}"
            )
        if self.table is not None and action.table <= self.table:
            text = f"goto_table {action.table} in table {self.table}: it goes only forwards"
            raise OpenFlowError("bad_instruction.bad_table_id", text)

    def _resubmit(self, action: a.Resubmit) -> None:
        if action.ct:
            raise _refuse("bad_type", f"resubmit with ct: {_NO_CONNECTIONS}")

    def _write_actions(self, action: a.WriteActions) -> None:
        if self._depth:
            raise _refuse("bad_type", "write_actions within other actions")
        for each in action.actions:
            if type(each) not in _IN_SET:
                raise _refuse("bad_type", f"{_word(each)} in an action set")
        self._nested(action.actions, in_set=True)

    def _clone(self, action: a.Clone) -> None:
        self._nested(action.actions)

    def _conjunction(self, action: a.Conjunction) -> None:
        if self.table is None or self._depth:
            raise _refuse("bad_type", "conjunction outside of a flow's actions")
        if not 2 <= action.count <= 64 or not 0 <= action.clause < action.count:
            text = f"conjunction: clause {action.clause} of {action.count}, which is to be 2..64"
            raise OpenFlowError("nicira.bad_conjunction", text)
        self._conjunctive = True

    def _learn(self, action: a.Learn) -> None:
        if action.table > LAST_TABLE:
            raise _refuse("bad_argument", f"learn into table {action.table}, past the last, {LAST_TABLE}")
        if action.delete_learned:
            self._use("learned", taught(action.table, action.cookie))
        learned = Admission(self._groups, self._meters, FlowMatch(), action.table, self._version)
        for spec in action.specs:
            if spec.source is not None:
                self._read(spec.source)
            if spec.destination is not None:
                learned._learned(spec, spec.destination)
        if action.result is not None:
            if action.result.bits != 1:
                raise _refuse("bad_set_argument", "learn needs a result of one bit")
            self._write(action.result)

    def _learned(self, spec: a.LearnSpec, destination: SubField) -> None:
        """One step of a learn action, if this is what is known of packets that take the learned flow."""
        each = destination.field
        if spec.kind == "load" and not each.writable:
            raise _refuse("bad_set_argument", f"learn: {each.name} cannot be written")
        self._needs(each, f"learn of {each.name}")
        if spec.kind == "match" and spec.source is None:
            self._becomes(each, spec.value << destination.start)

    def _fin_timeout(self, _action: a.FinTimeout) -> None:
        if self._known and self._version >= 2:
            self._needs(OPENFLOW_FIELDS["tcp_src"], "fin_timeout")


def _word(action: FlowAction) -> str:
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in type(action).__name__).lstrip("_")


_CHECKERS: dict[type[FlowAction], Callable[[Admission, Any], None]] = {
    a.Output: Admission._output,
    a.OutputReg: Admission._output_reg,
    a.Enqueue: Admission._enqueue,
    a.Group: Admission._group,
    a.Meter: Admission._meter,
    a.Bundle: Admission._bundle,
    a.Multipath: Admission._multipath,
    a.SetField: Admission._set_field,
    a.RegLoad: Admission._reg_load,
    a.RegMove: Admission._reg_move,
    a.ModField: Admission._mod_field,
    a.ModVlanVid: Admission._mod_vlan,
    a.ModVlanPcp: Admission._mod_vlan,
    a.PopVlan: Admission._pop_vlan,
    a.PushVlan: Admission._push_vlan,
    a.PushMpls: Admission._push_mpls,
    a.PopMpls: Admission._pop_mpls,
    a.SetMplsLabel: Admission._mpls,
    a.SetMplsTc: Admission._mpls,
    a.SetMplsTtl: Admission._mpls,
    a.DecMplsTtl: Admission._mpls,
    a.DecTtl: Admission._dec_ttl,
    a.StackPush: Admission._stack_push,
    a.StackPop: Admission._stack_pop,
    a.CheckPacketLarger: Admission._larger,
    a.GotoTable: Admission._goto,
    a.Resubmit: Admission._resubmit,
    a.WriteActions: Admission._write_actions,
    a.Clone: Admission._clone,
    a.Conjunction: Admission._conjunction,
    a.Learn: Admission._learn,
    a.FinTimeout: Admission._fin_timeout,
}
_PLAIN = {
    a.SetTunnel, a.SetQueue, a.PopQueue, a.ClearActions, a.WriteMetadata, a.Exit, a.Sample, a.Note,
    a.Controller,
}  # fmt: skip
_IN_SET = {
    a.Output, a.Group, a.Enqueue, a.SetQueue, a.SetField, a.RegLoad, a.RegMove, a.ModField, a.ModVlanVid, a.ModVlanPcp,
    a.PushVlan, a.PopVlan, a.PushMpls, a.PopMpls, a.SetMplsLabel, a.SetMplsTc, a.SetMplsTtl, a.DecMplsTtl, a.DecTtl,
    a.SetTunnel, a.Resubmit, a.Note,
}  # fmt: skip
