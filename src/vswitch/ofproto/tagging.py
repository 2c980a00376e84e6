"""VLANs at ports: of which VLAN a packet is that came in by one, and how it goes out of others.

In the datapath a packet is of a VLAN by its tag; ports may carry a VLAN without a tag (`PortVlan`). A port of mode
dot1q-tunnel carries one VLAN without a tag, too, and what tag there is belongs to the customer: so the same bytes are
of another VLAN according to the port that they are at, which is why each function here asks for that (`own`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vswitch.fields.registry import FIELDS
from vswitch.messages.ports import PortConfig
from vswitch.ofproto.places import PRESENT, TCI
from vswitch.ofproto.translation import PortVlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from vswitch.ofproto.run import Run

__all__ = ["PLAIN", "carries", "is_open", "note", "reaches", "send", "vlan_of"]

PLAIN = PortVlan()
"""A trunk of all VLANs."""
TUNNEL = "dot1q-tunnel"

_VID, _PCP = FIELDS["vlan_vid"], FIELDS["vlan_pcp"]
_INNER_PRESENT, _INNER_VID = FIELDS["cvlan_present"].mask, FIELDS["cvlan_vid"]
_TAG = TCI.mask & ~PRESENT
_CLOSED = PortConfig.NO_FWD | PortConfig.DOWN


def note(run: Run, text: str) -> None:
    """Tell who traces the packet."""
    if run.recorder is not None:
        run.recorder.note(text)


def is_open(run: Run, number: int) -> bool:
    """Whether there is this port, and it is neither down nor kept from forwarding."""
    port = run.view.ports.get(number)
    return port is not None and not port.config & _CLOSED


def vlan_of(run: Run, own: PortVlan, say: Callable[[Run, str], None] = note) -> int | None:
    """The VLAN that the packet is of, by its tag and the port that it is at; None if it may not be there, which is
    said to `say`."""
    packet = run.packet
    present = packet.consult(PRESENT)
    vid = _VID.take(packet.consult(_VID.mask)) if present else 0
    if own.mode == TUNNEL:
        if own.cvlans and vid not in own.cvlans:
            say(run, f"-> dropping packet of customer VLAN {vid}, which the port does not carry")
            return None
        return own.tag
    if own.mode == "access":
        if vid:
            say(run, "-> dropping VLAN tagged packet on an access port")
            return None
        return own.tag
    if not vid and own.mode != "trunk":
        return own.tag
    if not own.carries(vid):
        say(run, f"-> dropping packet of VLAN {vid}, which the port does not carry")
        return None
    return vid


def carries(run: Run, number: int, vlan: int, own: PortVlan) -> bool:
    """Whether a packet of this VLAN, which is at a port with `own`, may go out of port `number`."""
    other = run.view.config.vlans.get(number, PLAIN)
    if not other.carries(vlan):
        return False
    if other.mode == TUNNEL and other.cvlans:
        return _customer(run, own) in other.cvlans
    if other.mode == "access" and own.mode == TUNNEL:  # it would not know of the customer's VLANs
        return not _customer(run, own)
    return True


def reaches(run: Run, in_port: int, number: int, vlan: int) -> bool:
    """Whether packets of this VLAN that came in by the one port may go out of the other."""
    config = run.view.config
    if not is_open(run, number):
        return False
    if config.mirrors and number in config.reserved:
        return False
    return carries(run, number, vlan, config.vlans.get(in_port, PLAIN))


def _customer(run: Run, own: PortVlan) -> int:
    """The customer's VLAN of a packet, 0 if there is none."""
    packet = run.packet
    if not packet.consult(PRESENT):
        return 0
    if own.mode == TUNNEL:
        return _VID.take(packet.consult(_VID.mask))
    return _INNER_VID.take(packet.consult(_INNER_VID.mask)) if packet.consult(_INNER_PRESENT) else 0


def send(run: Run, vlan: int, ports: list[int], own: PortVlan = PLAIN, truncate: int = 0) -> None:
    """A packet of this VLAN, which is at a port with `own`, out of all of these, tagged as each wants it; those first
    that want it as it is."""
    if own.mode == TUNNEL:
        _send_from_tunnel(run, vlan, ports, own, truncate)
        return
    packet = run.packet
    vlans = run.view.config.vlans
    tagged = bool(packet.key & PRESENT)
    vid = _VID.take(packet.key) if tagged else 0
    keeps = tagged and vlan == 0 and bool(packet.consult(_PCP.mask))  # a tag that has nothing but a priority
    same: list[int] = []
    other: list[int] = []
    for number in ports:
        mode = vlans.get(number, PLAIN)
        if _is_bare(mode, vlan):
            as_it_is = not tagged or (vlan == 0 and _keeps_tag_of_none(mode, keeps=keeps))
        else:
            as_it_is = tagged and vid == vlan
        (same if as_it_is else other).append(number)
    for number in same:
        run.output(number, truncate)
    if other:
        run.on_copy(lambda: _retagged(run, vlan, other, truncate))


def _keeps_tag_of_none(mode: PortVlan, *, keeps: bool) -> bool:
    """Whether a packet of no VLAN that has a tag keeps it, which has a priority (`keeps`) or not."""
    if keeps:
        return mode.mode != "access" or mode.priority_tags != "no"
    return mode.mode != "access" and mode.priority_tags == "always"


def _is_bare(mode: PortVlan, vlan: int) -> bool:
    """Whether packets of this VLAN leave the port without a tag; those of no VLAN keep one for their priority alone."""
    if vlan == 0 or mode.mode in ("access", TUNNEL):
        return True
    return mode.mode == "native-untagged" and vlan == mode.tag


def _retagged(run: Run, vlan: int, ports: list[int], truncate: int) -> None:
    packet = run.packet
    vlans = run.view.config.vlans
    bare = [number for number in ports if _is_bare(vlans.get(number, PLAIN), vlan)]
    with_tag = [number for number in ports if number not in bare]
    priority = [number for number in bare if vlans.get(number, PLAIN).priority_tags != "no"]
    if priority and vlan and packet.consult(PRESENT) and packet.consult(_PCP.mask):
        bare = [number for number in bare if number not in priority]
        run.on_copy(lambda: _with_tag(run, 0, priority, truncate))
    if with_tag:
        _with_tag(run, vlan, with_tag, truncate)
    if bare:
        if packet.key & PRESENT:
            packet.pop_vlan()
        for number in bare:
            run.output(number, truncate)


def _with_tag(run: Run, vlan: int, ports: list[int], truncate: int) -> None:
    packet = run.packet
    if not packet.key & PRESENT:
        packet.push_vlan(0x8100)
    packet.write_tag(_VID.mask, _VID.place(vlan))
    for number in ports:
        run.output(number, truncate)


def _send_from_tunnel(run: Run, vlan: int, ports: list[int], own: PortVlan, truncate: int) -> None:
    """What tag the packet has is the customer's, and stays behind the one of the VLAN."""
    packet = run.packet
    vlans = run.view.config.vlans
    present = bool(packet.consult(PRESENT))
    bare = [number for number in ports if _is_bare(vlans.get(number, PLAIN), vlan)]
    wanting = [number for number in ports if vlans.get(number, PLAIN).priority_tags != "no"]
    if not (wanting and present and packet.consult(_PCP.mask)):  # there is no priority to be kept
        wanting = []
    stripped = [
        number for number in bare if present and vlans.get(number, PLAIN).mode == "access" and number not in wanting
    ]
    for number in bare:
        if number not in stripped:
            run.output(number, truncate)
    if stripped:
        run.on_copy(lambda: _stripped(run, stripped, truncate))
    pushed = [number for number in ports if number not in bare]
    plain, with_priority = (
        [each for each in pushed if each not in wanting],
        [each for each in pushed if each in wanting],
    )
    if plain:
        run.on_copy(lambda: _pushed(run, vlan, plain, own, truncate, _TAG))
    if with_priority:
        run.on_copy(lambda: _pushed(run, vlan, with_priority, own, truncate, _VID.mask))


def _stripped(run: Run, ports: list[int], truncate: int) -> None:
    run.packet.pop_vlan()
    for number in ports:
        run.output(number, truncate)


def _pushed(run: Run, vlan: int, ports: list[int], own: PortVlan, truncate: int, bits: int) -> None:
    """`bits`: those of the tag that are set; others are the customer's."""
    packet = run.packet
    packet.push_vlan(own.ethertype)
    packet.write_tag(bits, _VID.place(vlan))
    for number in ports:
        run.output(number, truncate)
