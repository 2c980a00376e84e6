"""Actions that change the packet: its fields, its headers, its registers, its stack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vswitch.fields.openflow import PIPELINE_SLOTS
from vswitch.fields.registry import FIELDS, MPLS, MPLS_MULTICAST
from vswitch.messages import actions as a
from vswitch.messages.flows import PacketInReason
from vswitch.ofproto.paths import Piece
from vswitch.ofproto.places import ETH_TYPE, IP_PROTO, LATER_FRAGMENT, PLACES, TCI, Place
from vswitch.ofproto.run import Halt, Run, TranslationError, bits_place

__all__ = ["DO_FIELDS"]

_METADATA = PIPELINE_SLOTS["metadata"]
_LIMIT = 1 << 14
_set_cache: dict[int, tuple[object, Place, int, int]] = {}
"""What was computed of an action, by its identity; it stays alive in here, so no other has that."""
_move_cache: dict[int, tuple[object, Place, int, Place, int, Piece]] = {}


def _remember(action: object, place: Place, bits: int, value: int) -> tuple[object, Place, int, int]:
    if len(_set_cache) >= _LIMIT:
        _set_cache.clear()
    row = _set_cache[id(action)] = action, place, bits, value
    return row


def _set(run: Run, place: Place, bits: int, value: int, sources: int = 0) -> None:
    """Set bits of a field, if the packet has it."""
    packet = run.packet
    if not place.needs or packet.has(place):
        packet.write(place, bits, value, sources)


def _set_field(run: Run, action: a.SetField) -> None:
    # hot: once per action
    row = _set_cache.get(id(action))
    if row is None:
        place = PLACES[action.field.name]
        row = _remember(action, place, place.put(action.mask), place.put(action.value & action.mask))
    _set(run, row[1], row[2], row[3])


def _reg_load(run: Run, action: a.RegLoad) -> None:
    row = _set_cache.get(id(action))
    if row is None:
        place, bits = bits_place(action.destination)
        row = _remember(action, place, bits, place.put(action.value << action.destination.start) & bits)
    _set(run, row[1], row[2], row[3])


def _reg_move(run: Run, action: a.RegMove) -> None:
    # hot: once per action
    row = _move_cache.get(id(action))
    if row is None:
        places = (*bits_place(action.source), *bits_place(action.destination))
        if len(_move_cache) >= _LIMIT:
            _move_cache.clear()
        row = _move_cache[id(action)] = action, *places, Piece.of(action.source, places, action.destination)
    _, source, from_bits, destination, to_bits, piece = row
    packet = run.packet
    if (source.needs and not packet.has(source)) or (destination.needs and not packet.has(destination)):
        return
    sources = packet.sources(from_bits)
    whole = not from_bits & ~packet.fresh
    packet.write(destination, to_bits, piece.value(packet.key), sources, piece if whole else None)


def _stack_push(run: Run, action: a.StackPush) -> None:
    place, bits = bits_place(action.source)
    packet = run.packet
    sources = packet.sources(bits)
    packet.stack = (*packet.stack, (place.get(packet.key & bits) >> action.source.start, action.source.bits, sources))


def _stack_pop(run: Run, action: a.StackPop) -> None:
    packet = run.packet
    if not packet.stack:
        if run.recorder is not None:
            run.recorder.note(">> stack underflow")
        return
    *rest, (value, _, sources) = packet.stack
    place, bits = bits_place(action.destination)
    there = packet.has(place)
    packet.stack = tuple(rest)
    if there:
        value &= (1 << action.destination.bits) - 1
        packet.write(place, bits, place.put(value << action.destination.start), sources)


def _write_metadata(run: Run, action: a.WriteMetadata) -> None:
    bits = _METADATA.place(action.mask)
    run.packet.assign(bits, _METADATA.place(action.value & action.mask))


def _set_tunnel(run: Run, action: a.SetTunnel) -> None:
    place = PLACES["tun_id"]
    _set(run, place, place.bits, place.put(action.id))


# ---- as OpenFlow 1.0 and 1.1 have it

_L4_PORTS = {6: ("tcp_src", "tcp_dst"), 17: ("udp_src", "udp_dst"), 132: ("sctp_src", "sctp_dst")}


def _mod_field(run: Run, action: a.ModField) -> None:
    packet = run.packet
    name = action.field
    if name in ("tp_src", "tp_dst"):
        if ETH_TYPE.take(packet.consult(ETH_TYPE.mask)) not in (0x0800, 0x86DD):
            return
        protocol = IP_PROTO.take(packet.consult(IP_PROTO.mask))
        if protocol not in _L4_PORTS or packet.consult(LATER_FRAGMENT):
            return
        name = _L4_PORTS[protocol][name == "tp_dst"]
    place = PLACES[name]
    bits, value = place.bits, place.put(action.value)
    if name == "ip_tos":
        bits, value = place.put(0xFC), place.put(action.value & 0xFC)
    _set(run, place, bits, value)


_VLAN_VID, _VLAN_PCP = FIELDS["vlan_vid"], FIELDS["vlan_pcp"]
_PRESENT = TCI.place(0x1000)


def _mod_vlan(run: Run, bits: int, value: int, *, push: bool) -> None:
    packet = run.packet
    if not packet.consult(_PRESENT):
        if not push:
            return
        packet.push_vlan(0x8100)
    packet.write_tag(bits, value)


def _mod_vlan_vid(run: Run, action: a.ModVlanVid) -> None:
    _mod_vlan(run, _VLAN_VID.mask, _VLAN_VID.place(action.vid & 0xFFF), push=action.push)


def _mod_vlan_pcp(run: Run, action: a.ModVlanPcp) -> None:
    _mod_vlan(run, _VLAN_PCP.mask, _VLAN_PCP.place(action.pcp & 7), push=action.push)


# ---- headers


def _push_vlan(run: Run, action: a.PushVlan) -> None:
    run.packet.push_vlan(action.ethertype)


def _pop_vlan(run: Run, _action: a.PopVlan) -> None:
    run.packet.pop_vlan()


def _push_mpls(run: Run, action: a.PushMpls) -> None:
    run.packet.push_mpls(action.ethertype)


def _pop_mpls(run: Run, action: a.PopMpls) -> None:
    if action.ethertype < 0x0600:
        raise TranslationError(f"pop_mpls: Ethernet type {action.ethertype:#06x} is below 0x0600")
    run.packet.pop_mpls(action.ethertype)


def _mpls(name: str, member: str) -> Callable[[Run, Any], None]:
    place = PLACES[name]

    def do(run: Run, action: Any) -> None:
        _set(run, place, place.bits, place.put(getattr(action, member)))

    return do


# ---- time to live


def _dec_ttl(run: Run, action: a.DecTtl) -> None:
    packet = run.packet
    if ETH_TYPE.take(packet.consult(ETH_TYPE.mask)) not in (0x0800, 0x86DD):
        return
    if not packet.lower_ttl():
        _exceeded(run, action.controllers)


def _dec_mpls_ttl(run: Run, _action: a.DecMplsTtl) -> None:
    packet = run.packet
    if ETH_TYPE.take(packet.consult(ETH_TYPE.mask)) not in (MPLS, MPLS_MULTICAST):
        return
    place = PLACES["mpls_ttl"]
    ttl = place.get(packet.consult(place.bits))
    if ttl <= 1:
        _exceeded(run, (0,))
        return
    packet.write(place, place.bits, place.put(ttl - 1))


def _exceeded(run: Run, controllers: tuple[int, ...]) -> None:
    """The packet goes to the controllers, and this list of actions is over."""
    if run.recorder is not None:
        run.recorder.note(">> decrement TTL exception")
    for number in controllers:
        run.send(run.controller_send(PacketInReason.INVALID_TTL, 0xFFFF, controller_id=number))
    run.halt = Halt.RETURN


def _unsupported(what: str) -> Callable[[Run, Any], None]:
    def do(_run: Run, _action: Any) -> None:
        raise TranslationError(f"{what} is not supported")

    return do


DO_FIELDS: dict[type, Callable[[Run, Any], None]] = {
    a.SetField: _set_field,
    a.RegLoad: _reg_load,
    a.RegMove: _reg_move,
    a.StackPush: _stack_push,
    a.StackPop: _stack_pop,
    a.WriteMetadata: _write_metadata,
    a.SetTunnel: _set_tunnel,
    a.ModField: _mod_field,
    a.ModVlanVid: _mod_vlan_vid,
    a.ModVlanPcp: _mod_vlan_pcp,
    a.PushVlan: _push_vlan,
    a.PopVlan: _pop_vlan,
    a.PushMpls: _push_mpls,
    a.PopMpls: _pop_mpls,
    a.SetMplsLabel: _mpls("mpls_label", "label"),
    a.SetMplsTc: _mpls("mpls_tc", "tc"),
    a.SetMplsTtl: _mpls("mpls_ttl", "ttl"),
    a.DecTtl: _dec_ttl,
    a.DecMplsTtl: _dec_mpls_ttl,
    a.CopyTtlIn: _unsupported("copy_ttl_in"),
    a.CopyTtlOut: _unsupported("copy_ttl_out"),
    a.PushPbb: _unsupported("push_pbb"),
    a.PopPbb: _unsupported("pop_pbb"),
    a.Encap: _unsupported("encap"),
    a.Decap: _unsupported("decap"),
    a.Ct: _unsupported("ct"),
    a.CtClear: _unsupported("ct_clear"),
    a.Nat: _unsupported("nat"),
    a.DeleteField: _unsupported("delete_field"),
}
