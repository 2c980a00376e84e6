"""The tunnel fields that a list of actions sets: the kernel takes all of a packet's at once."""

from __future__ import annotations

from collections.abc import Mapping

from vswitch.fields.kinds import TUNNEL_FLAGS
from vswitch.model.actions import SetField

__all__ = ["TUNNEL_DEFAULTS", "Tunnel", "set_tunnel_field"]

Tunnel = dict[str, int]
"""The tunnel fields that the list has set so far."""

TUNNEL_DEFAULTS: Tunnel = {"tun_ttl": 64, "tun_flags": 1 << TUNNEL_FLAGS.index("key")}
"""What they are before."""

_OTHER_FAMILY = {"tun_src": "tun_ipv6_", "tun_dst": "tun_ipv6_", "tun_ipv6_src": "tun_", "tun_ipv6_dst": "tun_"}


def set_tunnel_field(tunnel: Mapping[str, int], action: SetField) -> Tunnel:
    """The tunnel fields after one more is set; an address of one family takes those of the other away."""
    after = {**tunnel, action.name: tunnel.get(action.name, 0) & ~action.mask | action.value}
    if action.name in _OTHER_FAMILY:
        for end in ("src", "dst"):
            after.pop(_OTHER_FAMILY[action.name] + end, None)
    return after
