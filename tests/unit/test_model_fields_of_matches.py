"""Matches written with fields, and keys read by them: what is understood, what is added, what is refused and how."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest

from vswitch.base.errors import ConfigError
from vswitch.fields import FIELDS, KEY_BYTES
from vswitch.model.match import Key, Match

Written = dict[str, object]


def bits(**fields: int) -> Match:
    """Exactly these fields."""
    value = mask = 0
    for name, own in fields.items():
        value, mask = value | FIELDS[name].place(own), mask | FIELDS[name].mask
    return Match.from_ints(value, mask)


# fields as written, all fields of the match
NEEDS: list[tuple[Written, Match]] = [
    ({}, Match.from_ints(0, 0)),
    ({"in_port": 1}, bits(in_port=1)),
    ({"ipv4_dst": "10.0.0.1"}, bits(ipv4_dst=0x0A000001, eth_type=0x0800)),
    ({"ipv4_dst": IPv4Address("10.0.0.1")}, bits(ipv4_dst=0x0A000001, eth_type=0x0800)),
    ({"ipv6_src": IPv6Address("::1")}, bits(ipv6_src=1, eth_type=0x86DD)),
    ({"tcp_dst": 80}, bits(tcp_dst=80, ip_proto=6)),
    ({"tcp_dst": "0x50"}, bits(tcp_dst=80, ip_proto=6)),
    ({"tcp_flags": "syn|ack"}, bits(tcp_flags=0x12, ip_proto=6)),
    ({"icmpv4_type": 8}, bits(icmpv4_type=8, ip_proto=1, eth_type=0x0800)),
    ({"nd_sll": 1}, bits(nd_sll=1, icmpv6_type=135, ip_proto=58, eth_type=0x86DD)),
    ({"nd_sll": 1, "nd_target": 0}, bits(nd_sll=1, nd_target=0, icmpv6_type=135, ip_proto=58, eth_type=0x86DD)),
    ({"vlan_vid": 0}, bits(vlan_vid=0, vlan_present=1)),
    ({"cvlan_vid": 5}, bits(cvlan_vid=5, cvlan_present=1, vlan_present=1)),
    ({"tun_src": 1}, bits(tun_src=1, tun_ipv6=0)),
    ({"tun_ipv6_src": 1}, bits(tun_ipv6_src=1, tun_ipv6=1)),
    ({"ip_ttl": 1}, bits(ip_ttl=1)),
    ({"ip_ttl": 0, "ipv4_dst": 1}, bits(ip_ttl=0, ipv4_dst=1, eth_type=0x0800)),
    ({"ipv4_dst": 1, "ip_ttl": 0}, bits(ip_ttl=0, ipv4_dst=1, eth_type=0x0800)),
    ({"mpls_label": 5, "eth_type": 0x8847}, bits(mpls_label=5, eth_type=0x8847)),
    ({"ip_dscp": 46, "ip_ecn": 1, "eth_type": 0x0800}, bits(ip_tos=46 << 2 | 1, eth_type=0x0800)),
    ({"arp_spa": 1, "arp_op": 1}, bits(arp_spa=1, arp_op=1, eth_type=0x0806)),
]

# fields as written, the mask of one of them
MASKS: list[tuple[Written, str, int]] = [
    ({"ipv4_dst": "10.0.0.0/8"}, "ipv4_dst", 0xFF000000),
    ({"ipv4_dst": "10.0.0.0/255.0.0.0"}, "ipv4_dst", 0xFF000000),
    ({"ipv4_dst": IPv4Network("10.0.0.0/8")}, "ipv4_dst", 0xFF000000),
    ({"ipv4_dst": "10.0.0.1/32"}, "ipv4_dst", 0xFFFFFFFF),
    ({"ipv6_dst": "::1/128"}, "ipv6_dst", (1 << 128) - 1),
    ({"ipv4_dst": "0.0.0.0/0"}, "ipv4_dst", 0),
    ({"ipv6_dst": IPv6Network("2001:db8::/32")}, "ipv6_dst", 0xFFFFFFFF << 96),
    ({"eth_dst": "01:00:00:00:00:00/01:00:00:00:00:00"}, "eth_dst", 1 << 40),
    ({"tcp_dst": (80, 0xFFF0)}, "tcp_dst", 0xFFF0),
    ({"tcp_dst": "80/0xfff0"}, "tcp_dst", 0xFFF0),
    ({"tcp_flags": "syn/syn|ack"}, "tcp_flags", 0x12),
    ({"ip_frag": "no/0xff", "eth_type": 0x0800}, "ip_frag", 0xFF),
]

REFUSED: list[tuple[Written, str]] = [
    ({"ipv5_dst": 1}, "no field is called 'ipv5_dst'"),
    ({"tcp_dst": 65536}, "tcp_dst 65536 is outside 0..65535"),
    ({"tcp_dst": -1}, "tcp_dst -1 is outside 0..65535"),
    ({"tcp_dst": "65536"}, "tcp_dst: 65536 is outside 0..65535"),
    ({"tcp_dst": "http"}, "tcp_dst: 'http' is not a number"),
    ({"tcp_dst": "1_0"}, "tcp_dst: '1_0' is not a number"),
    ({"tcp_dst": " 1"}, "tcp_dst: ' 1' is not a number"),
    ({"tcp_dst": 1.5}, "tcp_dst: 1.5 is neither a number nor text"),
    ({"tcp_dst": True}, "tcp_dst: True is neither a number nor text"),
    ({"tcp_dst": (1, 2, 3)}, "is not a pair"),
    ({"tcp_dst": (1, 2)}, "tcp_dst: value 1 has bits outside of its mask 2"),
    ({"ipv4_dst": "10.0.0.1/8"}, "value 10.0.0.1 has bits outside of its mask 255.0.0.0"),
    ({"ipv4_dst": "10.0.0.0/33"}, "prefix /33 is longer than 32 bits"),
    ({"ipv4_dst": "10.0.0.0/" + "9" * 5000}, "is longer than 32 bits"),
    ({"ipv4_dst": IPv6Address("::1")}, "ipv4_dst: '::1' is not an IPv4 address"),
    ({"ipv6_dst": "fe80::1%eth0"}, "ipv6_dst: 'fe80::1%eth0' has a scope"),
    ({"eth_dst": "1:2:3:4:5"}, "is not an Ethernet address"),
    ({"eth_dst": "-1:2:3:4:5:6"}, "is not an Ethernet address"),
    ({"ip_frag": "maybe"}, "ip_frag: 'maybe' is not a number"),
    ({"tcp_dst": 1, "udp_dst": 1}, "ip_proto to be"),
    ({"tcp_dst": 1, "udp_dst": 2}, "udp_dst contradicts another field"),
    ({"ip_tos": 0, "ip_dscp": 1, "eth_type": 0x0800}, "ip_dscp contradicts another field"),
    ({"ipv4_dst": 1, "eth_type": 0x0806}, "ipv4_dst needs eth_type to be 0x0800, not 0x0806"),
    ({"ipv4_dst": 1, "eth_type": (0x8000, 0x8000)}, "ipv4_dst needs eth_type to be 0x0800, not 0x8000"),
    ({"arp_op": 1, "ip_ttl": 5}, "ip_ttl needs eth_type to be 0x0800 or 0x86dd, not 0x0806"),
    ({"ip_ttl": 5, "arp_op": 1}, "ip_ttl needs eth_type to be 0x0800 or 0x86dd, not 0x0806"),
    ({"tcp_dst": 5, "arp_op": 1}, "ip_proto needs eth_type to be 0x0800 or 0x86dd, not 0x0806"),
    ({"arp_op": 1, "tcp_dst": 5}, "ip_proto needs eth_type to be 0x0800 or 0x86dd, not 0x0806"),
    ({"vlan_vid": 1, "vlan_present": 0}, "vlan_vid needs vlan_present to be 1, not 0"),
    ({"ip_ttl": 0}, "ip_ttl needs eth_type: say whether 0x0800 or 0x86dd"),
    ({"mpls_label": 5}, "mpls_label needs eth_type: say whether 0x8847 or 0x8848"),
    ({"nd_target": 1}, "nd_target needs icmpv6_type: say whether 135 or 136"),
]


@pytest.mark.parametrize(("written", "match"), NEEDS, ids=[str(written) for written, _ in NEEDS])
def test_what_fields_need_is_added(written: Written, match: Match) -> None:
    assert Match(**written) == match  # type: ignore[arg-type]


@pytest.mark.parametrize(("written", "name", "mask"), MASKS, ids=[str(written) for written, *_ in MASKS])
def test_masks_are_understood(written: Written, name: str, mask: int) -> None:
    match = Match(**written)  # type: ignore[arg-type]
    assert FIELDS[name].take(match.mask) == mask


@pytest.mark.parametrize(("written", "problem"), REFUSED, ids=[str(written)[:60] for written, _ in REFUSED])
def test_refusal_names_field_value_and_bound(written: Written, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Match(**written)  # type: ignore[arg-type]
    assert problem in str(caught.value)


# match, the fields that it is taken to constrain
NAMED = [
    (bits(tcp_dst=80, ip_proto=6), {"ip_proto": (6, 0xFF), "tcp_dst": (80, 0xFFFF)}),
    (bits(udp_dst=80, ip_proto=17), {"ip_proto": (17, 0xFF), "udp_dst": (80, 0xFFFF)}),
    (
        bits(icmpv4_type=8, ip_proto=1, eth_type=0x0800),
        {"eth_type": (0x0800, 0xFFFF), "ip_proto": (1, 0xFF), "icmpv4_type": (8, 0xFF)},
    ),
    (bits(arp_spa=1, eth_type=0x0806), {"eth_type": (0x0806, 0xFFFF), "arp_spa": (1, 0xFFFFFFFF)}),
    (bits(ipv4_src=1, eth_type=0x0800), {"eth_type": (0x0800, 0xFFFF), "ipv4_src": (1, 0xFFFFFFFF)}),
    (bits(udp_dst=80), {"tcp_dst": (80, 0xFFFF)}),
    (
        bits(arp_spa=1, eth_type=0x8847),
        {
            "eth_type": (0x8847, 0xFFFF),
            "mpls_label": (0, 0xFFFFF),
            "mpls_tc": (0, 7),
            "mpls_bos": (0, 1),
            "mpls_ttl": (1, 0xFF),
        },
    ),
    (Match(eth_type=(0x0806, 0x0FFF)), {"eth_type": (0x0806, 0x0FFF)}),
]


@pytest.mark.parametrize(("match", "fields"), NAMED, ids=[str(list(fields)) for _, fields in NAMED])
def test_bits_go_by_the_name_that_the_rest_of_the_match_gives_them(
    match: Match, fields: dict[str, tuple[int, int]]
) -> None:
    assert match.fields() == fields


def test_exact_match_holds_the_fields_and_what_they_need_and_nothing_else() -> None:
    key = Key(Match(tcp_dst=80, ipv4_src=1, in_port=7).value)
    assert Match.exact(key, "tcp_dst") == bits(tcp_dst=80, ip_proto=6, eth_type=0x0800)
    assert Match.exact(key) == Match()


def test_key_has_its_fields_as_attributes() -> None:
    key = Key(Match(tcp_dst=80, ipv4_src="10.0.0.1").value)
    assert (key.tcp_dst, key.ipv4_src, key.udp_dst, key.vlan_vid) == (80, 0x0A000001, 80, 0)
    with pytest.raises(AttributeError, match="a key has no field 'tcp_port'"):
        _ = key.tcp_port


def test_key_knows_which_headers_the_packet_has() -> None:
    key = Key(Match(tcp_dst=80, ipv4_src="10.0.0.1").value)
    assert [name for name in ("tcp_dst", "udp_dst", "ipv4_src", "arp_spa", "in_port", "vlan_vid") if key.has(name)] == [
        "tcp_dst",
        "ipv4_src",
        "in_port",
    ]
    assert not Key(bits(tcp_dst=80, ip_proto=6, eth_type=0x0806).value).has("tcp_dst")


def test_key_shows_what_the_packet_has() -> None:
    assert repr(Key(Match(tcp_dst=80, ipv4_src="10.0.0.1").value)) == (
        "Key(eth_type=0x0800, ipv4_src=10.0.0.1, ip_proto=6, tcp_dst=80)"
    )


def test_key_has_the_bytes_of_the_kernel() -> None:
    key = Key(Match(in_port=1, eth_dst="02:00:00:00:00:01").value)
    data = key.to_bytes()
    assert len(data) == KEY_BYTES
    assert data[:14] == bytes.fromhex("01000000 00000000 020000000001")
    assert not any(data[14:])
    assert Key.from_bytes(data) == Key.from_bytes(memoryview(data)) == key


def test_match_shows_its_fields_as_one_would_write_them() -> None:
    match = Match(in_port=1, ipv4_dst="10.0.0.0/8", tcp_dst=(80, 0xFFF0), eth_src=1)
    shown = repr(match)
    assert shown == (
        "Match(in_port=1, eth_src='00:00:00:00:00:01', eth_type=0x0800, ipv4_dst='10.0.0.0/8', "
        "ip_proto=6, tcp_dst=(80, 0xfff0))"
    )
    assert eval(shown, {"Match": Match}) == match
