"""One line about a frame, as ovs-ofctl prints it below a packet-in: what a flow would match of it.

`tcp,vlan_tci=0x0000,dl_src=...,nw_src=10.0.0.1,...,tp_dst=81,tcp_flags=syn tcp_csum:7b7c`
"""

from __future__ import annotations

from collections.abc import Callable

from vswitch.fields import FIELDS
from vswitch.packet.parse import Headers, headers, parse

__all__ = ["format_frame"]

_FRAGMENTS = {0: "no", 1: "first", 3: "later"}
_CHECKSUMS = {6: ("tcp_csum", 16, 2, 20), 17: ("udp_csum", 6, 2, 8), 132: ("sctp_csum", 8, 4, 12)}
"""Protocol: word, where in its header the checksum lies, its bytes, the bytes of the header."""
_IGMP = 2
_ARP_ETHERNET_IPV4 = bytes.fromhex("000108000604")
_OF_ETHERNET = sum(
    FIELDS[name].slot.place((1 << 8 * FIELDS[name].slot.size) - 1)
    for name in ("eth_src", "eth_dst", "eth_type", "vlan_vid", "vlan_tpid", "cvlan_vid", "cvlan_tpid")
)


def format_frame(frame: bytes) -> str:
    """The line, without its end."""
    key, where = parse(frame), headers(frame)
    kind = _KINDS.get(_take(key, "eth_type"), _other)
    if kind is _ip and _is_cut(frame, where):
        key, where = key & _OF_ETHERNET, Headers()
    word, rest, checksum = kind(key, frame, where)
    parts = [
        *([word] if word else []),
        *_vlans(key),
        f"dl_src={_text(key, 'eth_src')}",
        f"dl_dst={_text(key, 'eth_dst')}",
    ]
    return ",".join(parts + rest) + checksum


def _is_cut(frame: bytes, where: Headers) -> bool:
    """Whether IP claims more bytes than there are: nothing is said of such a packet, then."""
    at = where.l3
    if at is None:
        return True
    if frame[at] >> 4 == 6:
        return at + 40 + int.from_bytes(frame[at + 4 : at + 6], "big") > len(frame)
    return at + int.from_bytes(frame[at + 2 : at + 4], "big") > len(frame)


def _take(key: int, name: str) -> int:
    return FIELDS[name].take(key)


def _text(key: int, name: str) -> str:
    return FIELDS[name].format(FIELDS[name].take(key))


def _vlans(key: int) -> list[str]:
    if not _take(key, "vlan_present"):
        return ["vlan_tci=0x0000"]
    parts = [f"dl_vlan={_take(key, 'vlan_vid')}", f"dl_vlan_pcp={_take(key, 'vlan_pcp')}"]
    if not _take(key, "cvlan_present"):
        return [*parts, "vlan_tci1=0x0000"]
    return [*parts, f"dl_vlan1={_take(key, 'cvlan_vid')}", f"dl_vlan_pcp1={_take(key, 'cvlan_pcp')}"]


Told = tuple[str, list[str], str]
"""The word of the protocol, fields behind the addresses of Ethernet, and the checksum."""


def _other(key: int, _frame: bytes, _where: Headers) -> Told:
    return "", [f"dl_type=0x{_take(key, 'eth_type'):04x}"], ""


def _arp(key: int, frame: bytes, where: Headers) -> Told:
    at = where.payload
    if _take(key, "eth_type") == 0x8035 and at is not None and frame[at : at + 6] == _ARP_ETHERNET_IPV4:
        key |= parse(frame[: at - 2] + b"\x08\x06" + frame[at:]) & ~FIELDS["eth_type"].mask
    fields = [f"{name}={_text(key, name)}" for name in ("arp_spa", "arp_tpa", "arp_op", "arp_sha", "arp_tha")]
    return "rarp" if _take(key, "eth_type") == 0x8035 else "arp", fields, ""


def _mpls(key: int, frame: bytes, where: Headers) -> Told:
    fields = [f"mpls_{name}={_take(key, f'mpls_{name}')}" for name in ("label", "tc", "ttl", "bos")]
    at = len(frame) if where.payload is None else where.payload
    for number in (1, 2):
        if frame[at + 2 : at + 3] and frame[at + 2] & 1:  # the bottom of the stack
            break
        at += 4
        entry = frame[at : at + 4]
        fields.append(f"mpls_lse{number}={int.from_bytes(entry, 'big') if len(entry) == 4 else 0}")
    return "mplsm" if _take(key, "eth_type") == 0x8848 else "mpls", fields, ""


def _ip(key: int, frame: bytes, where: Headers) -> Told:
    six = _take(key, "eth_type") == 0x86DD
    protocol = _take(key, "ip_proto")
    words = {6: "tcp", 17: "udp", 132: "sctp", 58 if six else 1: "icmp"}
    if six:
        fields = [f"ipv6_src={_text(key, 'ipv6_src')}", f"ipv6_dst={_text(key, 'ipv6_dst')}"]
        fields.append(f"ipv6_label=0x{_take(key, 'ipv6_label'):05x}")
    else:
        fields = [f"nw_src={_text(key, 'ipv4_src')}", f"nw_dst={_text(key, 'ipv4_dst')}"]
    if protocol not in words:
        fields.append(f"nw_proto={protocol}")
    tos = _take(key, "ip_tos")
    fragment = _take(key, "ip_frag")
    fields += [f"nw_tos={tos & 0xFC}", f"nw_ecn={tos & 3}", f"nw_ttl={_take(key, 'ip_ttl')}"]
    fields.append(f"nw_frag={_FRAGMENTS.get(fragment, '<error>')}")
    if protocol in words and fragment != 3:
        fields += _transport(key, words[protocol], six)
    elif protocol == _IGMP and fragment != 3 and not six:
        fields += _igmp(frame, where)
    word = words.get(protocol)
    return (f"{word}6" if six else word) if word else ("ipv6" if six else "ip"), fields, _checksum(frame, where, six)


def _transport(key: int, word: str, six: bool) -> list[str]:
    if word == "icmp":
        kind, code = _take(key, "icmpv6_type"), _take(key, "icmpv6_code")
        fields = [f"icmp_type={kind}", f"icmp_code={code}"]
        if six and kind in (135, 136) and code == 0:
            fields += [f"nd_target={_text(key, 'nd_target')}", f"nd_sll={_text(key, 'nd_sll')}"]
            fields.append(f"nd_tll={_text(key, 'nd_tll')}")
        return fields
    fields = [f"tp_src={_take(key, 'tcp_src')}", f"tp_dst={_take(key, 'tcp_dst')}"]
    if word == "tcp":
        fields.append(f"tcp_flags={_text(key, 'tcp_flags')}")
    return fields


def _payload(frame: bytes, where: Headers, six: bool) -> tuple[int, int] | None:
    """Protocol and offset of what IP carries, as far as its header alone tells; a fragment's too."""
    at = where.l3
    if at is None:
        return None
    if six:
        return (frame[at + 6], where.l4 or at + 40)
    return (frame[at + 9], at + 4 * (frame[at] & 15))


def _igmp(frame: bytes, where: Headers) -> list[str]:
    found = _payload(frame, where, False)
    if found is None or found[1] + 8 > len(frame):
        return []
    return [f"tp_src={frame[found[1]]}", f"tp_dst={frame[found[1] + 1]}"]


def _checksum(frame: bytes, where: Headers, six: bool) -> str:
    found = _payload(frame, where, six)
    if found is None:
        return ""
    protocol, at = found
    if protocol == (58 if six else 1):
        word, offset, size, least = ("icmp6_csum" if six else "icmp_csum"), 2, 2, 8
    elif protocol in _CHECKSUMS:
        word, offset, size, least = _CHECKSUMS[protocol]
    else:
        return ""
    if at + least > len(frame):
        return ""
    return f" {word}:{int.from_bytes(frame[at + offset : at + offset + size], 'big'):x}"


_KINDS: dict[int, Callable[[int, bytes, Headers], Told]] = {
    0x0800: _ip, 0x86DD: _ip, 0x0806: _arp, 0x8035: _arp, 0x8847: _mpls, 0x8848: _mpls,
}  # fmt: skip
