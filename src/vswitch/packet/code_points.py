"""Numbers that standards assigned, as far as parser and builders share them.

Those that fields have as prerequisites (Ethernet types, IP protocols) stand in `vswitch.fields.registry`.
"""

from __future__ import annotations

VLAN_PROTOCOLS = (0x8100, 0x88A8)
"""Tag protocol identifiers: customer tag and service tag (IEEE 802.1Q table 9-1)."""

HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION = 0, 43, 44, 51, 60
"""IPv6 extension headers (RFC 8200 section 4, RFC 4302)."""

ARP_REQUEST, ARP_REPLY = 1, 2
"""ARP operations (RFC 826)."""

ICMP_ECHO_REPLY, ICMP_ECHO_REQUEST = 0, 8
"""ICMP types (RFC 792)."""

ICMPV6_ECHO_REQUEST, ICMPV6_ECHO_REPLY = 128, 129
"""ICMPv6 types (RFC 4443 section 4)."""

NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT = 135, 136
"""ICMPv6 types of neighbour discovery (RFC 4861 sections 4.3 and 4.4)."""

SOURCE_LINK_ADDRESS, TARGET_LINK_ADDRESS = 1, 2
"""Options of neighbour discovery that hold a link-layer address (RFC 4861 section 4.6.1)."""
