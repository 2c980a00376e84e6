"""NORMAL for packets to groups, where multicast is snooped (RFC 4541).

What hosts and routers say of groups is answered by hand: the packet goes up alone, and comes back with what was read of
it (`Run.snooped`). Other packets go where their group is wanted, and to routers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vswitch.fields.kinds import OPENFLOW_PORTS
from vswitch.fields.openflow import OPENFLOW_FIELDS
from vswitch.fields.registry import SLOTS
from vswitch.messages import actions as a
from vswitch.messages.flows import PacketInReason
from vswitch.ofproto.membership import MLD_TYPES, is_local
from vswitch.ofproto.places import ETH_TYPE, IP_PROTO, LATER_FRAGMENT
from vswitch.ofproto.tagging import note, reaches, send
from vswitch.ofproto.translation import ANY_PORT_CHANGE, Frame, PortVlan

if TYPE_CHECKING:
    from vswitch.ofproto.run import Run

__all__ = ["snooped"]

_IPV4, _IPV6 = 0x0800, 0x86DD
_IGMP, _ICMPV6 = 2, 58
_BROADCAST = (1 << 48) - 1
_ETH_DST = SLOTS["eth_dst"]
_MLD_TYPE = OPENFLOW_FIELDS["icmpv6_type"].view
_ADDRESSES = {_IPV4: SLOTS["ipv4_dst"], _IPV6: SLOTS["ipv6_dst"]}
_NORMAL = OPENFLOW_PORTS["NORMAL"]


def snooped(run: Run, vlan: int, in_port: int, own: PortVlan) -> bool:
    """Whether it is seen to: else the packet is to be flooded."""
    packet = run.packet
    if _ETH_DST.take(packet.consult(_ETH_DST.mask)) == _BROADCAST:
        return False
    kind = ETH_TYPE.take(packet.consult(ETH_TYPE.mask))
    if kind not in _ADDRESSES:
        return False
    settings = run.view.config.snooping
    assert settings is not None
    run.plain = False
    if _is_said(run, kind):
        if not run.snooped:
            _ask(run, vlan)
            return True
        if run.snooped != "report":
            note(run, "-> multicast query, flooding")
            return False
        note(run, "-> multicast report, forwarding to routers")
        _forward(run, vlan, in_port, own, settings.flood_reports_ports)
        return True
    slot = _ADDRESSES[kind]
    group = slot.take(packet.consult(slot.mask))
    if is_local(group):
        note(run, "-> multicast to all of a network, flooding")
        return False
    run.depends.add(("mcast", vlan, group))
    ports = run.view.mcast.ports(vlan, group)
    if ports is None:
        if settings.flood_unregistered:
            note(run, "-> unregistered multicast, flooding")
            return False
        note(run, "-> unregistered multicast, forwarding to routers")
        ports = frozenset()
    else:
        note(run, "-> forwarding to ports of the group")
    _forward(run, vlan, in_port, own, ports | settings.flood_ports)
    return True


def _is_said(run: Run, kind: int) -> bool:
    """Whether the packet is one of IGMP or MLD."""
    packet = run.packet
    protocol = IP_PROTO.take(packet.consult(IP_PROTO.mask))
    if kind == _IPV4:
        return protocol == _IGMP
    if protocol != _ICMPV6 or packet.consult(LATER_FRAGMENT):
        return False
    return _MLD_TYPE.slot.take(packet.consult(_MLD_TYPE.mask)) >> _MLD_TYPE.shift in MLD_TYPES


def _ask(run: Run, vlan: int) -> None:
    """Let it be read; then it comes back to here, with nothing behind it."""
    note(run, "-> multicast report or query, read by the slow path")
    run.packet.commit()
    state = replace(run.frozen([Frame((a.Output(_NORMAL),), run.stage)]), action_set=())
    send_up = run.controller_send(PacketInReason.ACTION, 0xFFFF)
    run.send(replace(send_up, snoop=vlan, pause=state))


def _forward(run: Run, vlan: int, in_port: int, own: PortVlan, ports: frozenset[int]) -> None:
    """To these, and to routers."""
    run.depends |= {("mrouter", vlan), ANY_PORT_CHANGE}
    wanted = sorted((ports | run.view.mcast.routers(vlan)) - {in_port})
    send(run, vlan, [each for each in wanted if reaches(run, in_port, each, vlan)], own)
