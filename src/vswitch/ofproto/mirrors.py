"""Mirrors: copies of packets that come in or go out, to a port or a VLAN (SPAN and RSPAN).

A packet is copied as it comes in, before any table has seen it, and as it goes out, changed as it is by then. Each
mirror copies it once, whatever ports it passes. A copy is sent as NORMAL sends a packet of the VLAN that the original
is of at its port; so mirrors apply to whatever goes out, by flows, groups, NORMAL and packet-outs alike. Those whose
tags are not known, as a header that hid them was just taken off, are not copied.

Invariant: an answer depends on each port that it would be copied at ("port", n), so that a change of mirrors concerns
the megaflows of their ports alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vswitch.fields.registry import SLOTS
from vswitch.ofproto.packet import BlindError
from vswitch.ofproto.places import IN_PORT
from vswitch.ofproto.tagging import PLAIN, carries, is_open, note, send, vlan_of
from vswitch.ofproto.translation import ANY_PORT_CHANGE

if TYPE_CHECKING:
    from vswitch.ofproto.run import Run
    from vswitch.ofproto.settings import PlacedMirror

__all__ = ["mirror_in", "mirror_out"]

_ETH_DST = SLOTS["eth_dst"]
_RESERVED, _RESERVED_MASK = 0x0180C2000000, 0xFFFFFFFFFFF0


def mirror_in(run: Run) -> None:
    """The packet comes in."""
    run.plain = False
    in_port = IN_PORT.take(run.packet.key)
    if run.view.ports.get(in_port) is not None:
        _mirror(run, in_port, [each for each in run.view.config.mirrors if _has(each.sources, in_port)])


def mirror_out(run: Run, port: int) -> None:
    """The packet, as it is now, goes out of this port."""
    run.plain = False
    _mirror(run, port, [each for each in run.view.config.mirrors if _has(each.destinations, port)])


def _has(ports: frozenset[int] | None, number: int) -> bool:
    return ports is None or number in ports


def _mirror(run: Run, port: int, mirrors: list[PlacedMirror]) -> None:
    """Copy it, unless that takes bits that nobody knows any more: by then it cannot be looked at anew, as parts of what
    it is to do are done."""
    mirrors = [each for each in mirrors if each.name not in run.mirrored]
    if not mirrors:
        return
    packet = run.packet
    saved, emitted, before = packet.snapshot(), packet.emitted, len(packet.emitted)
    own = (run.action_set, run.frames, run.stage, run.hashed, run.depth, run.copies, run.mirrored, run.mirrors)
    try:
        _copy(run, port, mirrors)
    except BlindError:
        packet.restore(saved)
        packet.emitted = emitted
        del emitted[before:]
        (run.action_set, run.frames, run.stage, run.hashed, run.depth, run.copies, run.mirrored, run.mirrors) = own
        note(run, ">> not copied by mirrors: what tags it has is not known")


def _copy(run: Run, port: int, mirrors: list[PlacedMirror]) -> None:
    own = run.view.config.vlans.get(port, PLAIN)
    vlan = vlan_of(run, own, _say_nothing)
    if vlan is None:
        return
    for each in mirrors:
        if each.name not in run.mirrored and not (each.vlans and vlan not in each.vlans):
            alike = tuple(
                other.name
                for other in run.view.config.mirrors
                if (other.output, other.output_vlan) == (each.output, each.output_vlan)
                and other.name not in run.mirrored
                and (other in mirrors or other is each)
                and not (other.vlans and vlan not in other.vlans)
            )
            run.mirrored |= set(alike)
            run.mirrors += alike
            if each.output is not None:
                run.depends.add(("port", each.output))
                if is_open(run, each.output):
                    send(run, vlan, [each.output], own, each.snaplen)
            elif each.output_vlan is not None and each.output_vlan != vlan:
                _flood(run, each.output_vlan, each.snaplen)


def _flood(run: Run, vlan: int, truncate: int) -> None:
    """To all ports of a VLAN, but for packets that no switch passes on."""
    if _ETH_DST.take(run.packet.consult(_ETH_DST.place(_RESERVED_MASK))) == _RESERVED:
        return
    run.depends.add(ANY_PORT_CHANGE)
    config = run.view.config
    ports = [
        port.number
        for port in run.view.ports
        if is_open(run, port.number) and port.number not in config.reserved and carries(run, port.number, vlan, PLAIN)
    ]
    send(run, vlan, ports, PLAIN, truncate)


def _say_nothing(_run: Run, _text: str) -> None:
    """A packet that may not come in is not copied; that it is dropped, others say."""
